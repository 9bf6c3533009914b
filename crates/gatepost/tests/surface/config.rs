//! Configuration files in `tests/config`: each `.yaml` has a `.txt` beside it with the exact
//! error, or with what the file comes to.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use gatepost::config::{self, Config};
use gateway::settings::{Connection, Issuer, Login};

use crate::golden;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

#[test]
fn each_file_is_read_or_refused_as_written_beside_it() {
    let mut cases: Vec<PathBuf> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yaml"))
        .collect();
    cases.sort();
    assert!(cases.len() > 30, "the cases are gone");
    golden::check_all(cases.iter().map(|case| {
        let outcome = match config::load(case) {
            Ok(config) => described(&config),
            Err(error) => format!("{error}\n"),
        };
        let outcome = outcome.replace(&format!("{}/", folder().display()), "");
        // A secret that someone wrote into the file by mistake is in no message.
        assert!(!outcome.contains("hunter2"), "{}: {outcome}", case.display());
        golden::check(&case.with_extension("txt"), &outcome)
    }));
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = config::load(Path::new("/nowhere/gatepost.yaml")).err().unwrap().to_string();
    assert_eq!(
        error,
        "/nowhere/gatepost.yaml: can't open it: No such file or directory (os error 2)"
    );
}

#[test]
fn a_file_has_a_size_that_it_may_not_pass() {
    let path = std::env::temp_dir().join(format!("gatepost-size-{}.yaml", std::process::id()));
    let text = "connections: { a: { address: db, user: u } }\n#";
    fs::write(&path, format!("{text}{}", "x".repeat((1 << 20) - text.len()))).unwrap();
    let at_the_limit = config::load(&path).err().map(|error| error.to_string());
    fs::write(&path, format!("{text}{}", "x".repeat((1 << 20) - text.len() + 1))).unwrap();
    let one_past = config::load(&path).err().unwrap().to_string();
    fs::remove_file(&path).unwrap();
    assert_eq!(at_the_limit, None);
    assert!(one_past.ends_with("it has more than 1048576 bytes"), "{one_past}");
}

#[test]
fn the_example_is_accepted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    if let Err(error) = config::load(&root.join("examples/gatepost.yaml")) {
        panic!("{error}");
    }
}

#[test]
fn the_schema_and_the_reference_are_published() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    golden::check_all([
        golden::check(&docs.join("gatepost.schema.json"), &config::schema()),
        golden::check(&docs.join("reference.md"), &config::reference()),
    ]);
}

/// Any bytes are a configuration or an error with a place, never a panic.
#[test]
fn broken_files_are_refused_in_words() {
    let whole = fs::read_to_string(folder().join("everything.yaml")).unwrap();
    let path = std::env::temp_dir().join(format!("gatepost-broken-{}.yaml", std::process::id()));
    for at in (0..whole.len()).step_by(7) {
        for insert in ["", "{", "\"", "\t", "- ", "*x ", "\0"] {
            let text = match insert {
                "" => whole[..at].to_owned(),
                insert => format!("{}{insert}{}", &whole[..at], &whole[at..]),
            };
            fs::write(&path, text).unwrap();
            if let Err(error) = config::load(&path) {
                assert!(!error.to_string().is_empty());
            }
        }
    }
    fs::remove_file(&path).unwrap();
}

fn described(config: &Config) -> String {
    let mut text = String::new();
    for listen in &config.listen {
        writeln!(text, "listen {listen}").unwrap();
    }
    if let Some(http) = config.http {
        writeln!(text, "http {http}").unwrap();
    }
    writeln!(text, "state {}", config.state).unwrap();
    let settings = &config.settings;
    writeln!(text, "tls {}", settings.tls.is_some()).unwrap();
    writeln!(text, "plaintext {:?}", settings.plaintext).unwrap();
    writeln!(text, "{:#?}", settings.bounds).unwrap();
    let mut connections: Vec<&Connection> =
        settings.connections.values().chain(&settings.any_database).map(AsRef::as_ref).collect();
    connections.sort_by_key(|it| &it.name);
    for it in connections {
        writeln!(text, "connection {} {:?} {:?}", it.name, it.hosts, it.connect_timeout).unwrap();
        match &it.login {
            Login::Gateway { user, database, password } => {
                let password = password.is_some();
                writeln!(text, "  as {user} to {database}, password {password}").unwrap();
            }
            Login::Database { database } => {
                writeln!(text, "  as the client, to {database:?}").unwrap()
            }
        }
    }
    let mut accounts: Vec<&String> = settings.accounts.keys().collect();
    accounts.sort();
    writeln!(text, "identities {accounts:?}").unwrap();
    let mut traits: Vec<_> = settings.traits.iter().collect();
    traits.sort_by_key(|(name, _)| *name);
    for (name, traits) in traits {
        writeln!(text, "{name} {:?} {:?}", traits.groups, traits.claims).unwrap();
    }
    for issuer in &settings.issuers {
        let Issuer { oidc, keys_age_max, ends_with_token, bearer, people, .. } = &**issuer;
        writeln!(text, "{oidc:?} {keys_age_max:?} {ends_with_token} {bearer:?}").unwrap();
        people.iter().for_each(|people| writeln!(text, "  {people:?}").unwrap());
    }
    match &settings.policies {
        None => writeln!(text, "no policies").unwrap(),
        Some(policies) => writeln!(text, "policies {:#?}", policies.names()).unwrap(),
    }
    text
}
