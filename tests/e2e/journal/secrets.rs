//! Secrets that pass through the gateway, in SQL, in parameters and at login, are nowhere in what
//! it writes: not in the journal, not in its log, not in its state file.

use std::fs;
use std::path::Path;

use e2e::{Gatepost, ROLE_PASSWORD, Role};

use super::records::{self, ended, login, text};
use crate::raw::{self, Raw};
use crate::setup::{self, Gate, Plan, Target};

/// In every secret, and in nothing else.
const HUSH: &str = "hu5h";

/// Every file below the directory of the gateway, sealed segments as they read.
fn everything(process: &Gatepost) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut directories = vec![process.place.directory.to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() && !is_given(&path) {
                let sealed = path.extension().is_some_and(|extension| extension == "zst");
                let bytes = if sealed { records::written(&path) } else { fs::read(&path).unwrap() };
                // What is preallocated is mostly zeros, and long to search.
                let pages = bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0));
                found.push((path.display().to_string(), pages.flatten().copied().collect()));
            }
        }
    }
    assert!(found.iter().any(|(name, _)| name.ends_with(".jsonl")), "a journal");
    assert!(found.iter().any(|(name, _)| name.ends_with("/log")), "a log");
    assert!(found.iter().any(|(name, _)| name.ends_with("/gatepost.db")), "a state file");
    found
}

/// What the test has put there itself.
fn is_given(path: &Path) -> bool {
    let name = path.file_name().unwrap();
    name == "upstream-password" || name == "gatepost.yaml"
}

#[track_caller]
fn assert_nowhere(process: &Gatepost, secrets: &[&str]) {
    for (name, bytes) in everything(process) {
        for secret in secrets {
            for form in forms(secret) {
                let at = bytes.windows(form.len()).position(|window| window == form.as_bytes());
                assert_eq!(at, None, "{form} ({secret}) is in {name}");
            }
        }
    }
}

/// As it is, and as something that writes bytes might write it.
fn forms(secret: &str) -> Vec<String> {
    let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    vec![secret.to_owned(), hex.to_uppercase(), hex]
}

fn start(database: &e2e::Database) -> Gate {
    let admin = database.login();
    Plan::gateway_as(database, &admin.user, &admin.password)
        .top("journal: { secrets: [pin, Steuernummer] }")
        .start()
}

#[test]
fn in_statements() {
    // (statement, whether PostgreSQL runs it)
    let statements = [
        ("CREATE ROLE ROLE_NAME LOGIN PASSWORD 'hu5h-1'", true),
        ("ALTER ROLE ROLE_NAME ENCRYPTED PASSWORD $x$hu5h-2$x$", true),
        ("ALTER USER ROLE_NAME WITH PASSWORD U&'hu5h\\002D3'", true),
        ("SELECT 1; ALTER USER ROLE_NAME PASSWORD E'hu5h\\x2d4' VALID UNTIL 'infinity'", true),
        ("DO $do$ BEGIN EXECUTE 'ALTER ROLE ROLE_NAME PASSWORD ''hu5h-5'''; END $do$", true),
        ("DROP ROLE ROLE_NAME; ALTER ROLE nobody_at_all PASSWORD 'hu5h-6'", false),
        ("CREATE EXTENSION dblink; CREATE EXTENSION postgres_fdw; CREATE EXTENSION pgcrypto", true),
        ("SELECT dblink_connect('host=127.0.0.1 port=1 user=u password=hu5h-7')", false),
        (
            "SELECT * FROM dblink('postgres://u:hu5h-8@127.0.0.1:1/d', 'SELECT 1') AS t(i int)",
            false,
        ),
        (
            "CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '127.0.0.1'); \
             CREATE USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (user 'u', password 'hu5h-9'); \
             ALTER USER MAPPING FOR CURRENT_USER SERVER s OPTIONS (SET password 'hu5h-10')",
            true,
        ),
        ("CREATE SUBSCRIPTION s CONNECTION 'port=1 password=hu5h-11' PUBLICATION p", false),
        ("SELECT pgp_sym_decrypt(pgp_sym_encrypt('open', 'hu5h-12'), 'hu5h-12')", true),
        ("SELECT crypt('hu5h-13', gen_salt('bf', 4)), hmac('open', 'hu5h-14', 'sha256')", true),
        ("CREATE TABLE people (pin text, \"Steuernummer\" text, name text)", true),
        ("INSERT INTO people (name, pin) VALUES ('open', 'hu5h-15')", true),
        ("UPDATE people SET \"Steuernummer\" = 'hu5h-16' WHERE PIN = 'hu5h-17'", true),
        ("SET app.pin = 'hu5h-18'; SELECT set_config('app.password', 'hu5h-19', false)", true),
        ("ALTER SYSTEM SET primary_conninfo = 'password=hu5h-20'", true),
        ("ALTER SYSTEM RESET primary_conninfo", true),
        ("COPY people FROM PROGRAM 'true hu5h-21'", true),
        ("-- password: hu5h-22\nSELECT 'open'", true),
        ("SELECT 'never closed hu5h-23", false),
        ("SELECT /* never closed hu5h-24", false),
        ("SELECT $tag$ never closed hu5h-25", false),
    ];
    let database = setup::database();
    let gate = start(&database);
    let mut raw = login(&gate, "teller");
    let role = format!("r_{}", database.name);
    let runs = |raw: &mut Raw, sql: &str, succeeds: bool| {
        let replies = raw.query(&sql.replace("ROLE_NAME", &role));
        let failed = replies.iter().any(|message| message.tag == b'E');
        assert_eq!(!failed, succeeds, "{sql}: {}", raw::show(&replies));
    };
    for (sql, succeeds) in statements {
        runs(&mut raw, sql, succeeds);
    }
    // Where it is not certain how PostgreSQL reads a text, none of it is recorded.
    runs(&mut raw, "SET standard_conforming_strings = off", true);
    runs(&mut raw, "SELECT 'a\\' PASSWORD hu5h-26 '", true);
    runs(&mut raw, "SET standard_conforming_strings = on", true);
    runs(&mut raw, "SET client_encoding = 'SJIS'", true);
    runs(&mut raw, "SELECT 'hu5h-27'", true);
    runs(&mut raw, "SET client_encoding = 'UTF8'", true);
    runs(&mut raw, "SELECT 'open again'", true);

    let session = ended(&gate, raw, "teller");
    let attempts: Vec<_> = session.iter().filter(|r| records::is(r, "statement")).collect();
    // What was cut out is said to be, and what is no secret is still there.
    let redacted = attempts.iter().filter(|r| r["text_redacted"].as_u64() >= Some(1)).count();
    // (Of comments before and behind a statement nothing is promised here.)
    assert!(redacted >= 19, "{:#?}", records::story(&session));
    let withheld = attempts.iter().filter(|r| r["text_withheld"].is_object()).count();
    assert_eq!(withheld, 7, "{:#?}", records::story(&session));
    let texts: Vec<&str> = attempts.iter().filter_map(|r| r["text"].as_str()).collect();
    assert!(texts.contains(&"SELECT 'open again'"));
    assert!(texts.iter().any(|text| text.starts_with("CREATE ROLE") && text.contains("***")));
    assert!(texts.iter().all(|text| !text.contains(HUSH)));

    gate.process.signal("TERM");
    let mut gate = gate;
    assert!(gate.process.wait_exit().success());
    assert_nowhere(&gate.process, &[HUSH, &gate.token, &database.login().password]);
}

#[test]
fn in_parameters_arguments_and_copied_data() {
    let database = setup::database();
    database.login().psql(
        "CREATE EXTENSION pgcrypto; CREATE TABLE people (pin text, name text); \
         CREATE FUNCTION greet(text) RETURNS text LANGUAGE sql AS 'SELECT $1'",
    );
    let gate = start(&database);
    let mut raw = login(&gate, "teller");
    let exchange = |raw: &mut Raw, bytes: &[Vec<u8>]| {
        raw.send(&bytes.concat());
        let replies = raw.until_ready();
        assert!(replies.iter().all(|m| m.tag != b'E'), "{}", raw::show(&replies));
    };
    for (sql, values) in [
        ("SELECT pgp_sym_encrypt($1, $2)", ["open-1", "hu5h-1"]),
        ("SELECT hmac($1, $2, 'sha256')", ["open-2", "hu5h-2"]),
        ("UPDATE people SET name = $1 WHERE pin = $2", ["open-3", "hu5h-3"]),
        ("SELECT set_config('app.' || $1, $2, false)", ["open_4", "hu5h-4"]),
    ] {
        // In text and in binary form, which is the same for text; at once, and prepared.
        let values: Vec<Option<&[u8]>> = values.iter().map(|v| Some(v.as_bytes())).collect();
        exchange(
            &mut raw,
            &[
                raw::parse("", sql, &[25, 25]),
                raw::bind("", "", &[], &values, &[]),
                raw::execute("", 0),
                raw::sync(),
            ],
        );
        exchange(&mut raw, &[raw::parse("s", sql, &[25, 25]), raw::sync()]);
        exchange(
            &mut raw,
            &[raw::bind("p", "s", &[1], &values, &[]), raw::execute("p", 0), raw::sync()],
        );
        // Bound, and never executed.
        exchange(&mut raw, &[raw::bind("", "s", &[], &values, &[]), raw::sync()]);
        exchange(&mut raw, &[raw::close(b'S', "s"), raw::sync()]);
    }
    // A statement that SQL prepared: nobody knows which parameter is a secret.
    raw.query("PREPARE q AS SELECT crypt($1, gen_salt('bf', 4))");
    exchange(
        &mut raw,
        &[raw::bind("", "q", &[], &[Some(b"hu5h-5")], &[]), raw::execute("", 0), raw::sync()],
    );
    let oid = raw.value("SELECT 'greet(text)'::regprocedure::oid").parse().unwrap();
    exchange(&mut raw, &[raw::function_call(oid, &[Some("hu5h-6")])]);
    raw.send(&raw::query("COPY people FROM STDIN"));
    assert_eq!(raw.read().map(|message| message.tag), Some(b'G'));
    exchange(&mut raw, &[raw::copy_data(b"hu5h-7\topen\n"), raw::copy_done()]);
    assert_eq!(raw.value("SELECT pin FROM people"), "hu5h-7", "results are not recorded");

    let session = ended(&gate, raw, "teller");
    let parameters: Vec<_> = session
        .iter()
        .flat_map(|record| record["parameters"].as_array().cloned().unwrap_or_default())
        .collect();
    let secret = parameters.iter().filter(|parameter| parameter["secret"] == true).count();
    // Three times one of each pair, where `app.` || $1 is a name that nobody knows.
    assert!(secret >= 3 * 4 + 2, "{parameters:#?}");
    for open in ["open-1", "open-2", "open-3"] {
        let count = parameters.iter().filter(|parameter| parameter["value"] == open).count();
        assert_eq!(count, 3, "{open}: {parameters:#?}");
    }
    gate.process.signal("TERM");
    let mut gate = gate;
    assert!(gate.process.wait_exit().success());
    assert_nowhere(&gate.process, &[HUSH, &gate.token]);
}

/// Credentials of clients, right and wrong ones, and those of the gateway.
#[test]
fn at_login() {
    let database = setup::database();
    let gate = Plan::gateway(&database).and(&Plan::observe(&database).named("*")).start();
    let target = gate.target();
    target.login().0.query("SELECT 1");
    let wrong = "gp_hu5h-hu5h-hu5h";
    let parameters = [("database", target.database.as_str())];
    Raw::refused(&gate.address(), setup::AGENT, wrong, &parameters);
    let client = gate.client(&database);
    assert_eq!(client.psql("SELECT 1"), "1");
    let mut gate = gate;
    gate.process.signal("TERM");
    assert!(gate.process.wait_exit().success());
    assert_nowhere(&gate.process, &[HUSH, &gate.token, ROLE_PASSWORD]);

    // The client's password passes the gateway in the clear, and nowhere else.
    let mut gate = Plan::observe(&database).start();
    let target = Target { address: gate.address(), ..Target::direct(&database, Role::Cleartext) };
    let raw = records::login_at(&target, "clear");
    let session = ended(&gate, raw, "clear");
    assert_eq!(text(&session[0], "role"), Role::Cleartext.name());
    let parameters = [("database", target.database.as_str())];
    Raw::refused(&gate.address(), &target.user, wrong, &parameters);
    gate.process.signal("TERM");
    assert!(gate.process.wait_exit().success());
    assert_nowhere(&gate.process, &[HUSH, ROLE_PASSWORD]);
}
