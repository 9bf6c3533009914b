//! The binary itself: help texts, exit codes, what goes to which stream.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::golden;

fn run(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gatepost"))
        .args(arguments)
        .current_dir(directory)
        .env_remove("GATEPOST_LOG")
        .env_remove("COLUMNS")
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// A directory of one test, gone at its end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gatepost-{name}-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

#[test]
fn every_help_text_is_as_written_down() {
    fn walk(command: &clap::Command, above: &[&str], results: &mut Vec<Result<(), String>>) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
        let output = run(&[above, &["--help"]].concat(), &std::env::temp_dir());
        assert_eq!(output.status.code(), Some(0));
        let name = [&["gatepost"], above].concat().join("-");
        results.push(golden::check(&folder.join(format!("{name}.txt")), text(&output.stdout)));
        let below = command.get_subcommands().filter(|it| it.get_name() != "help");
        for subcommand in below {
            walk(subcommand, &[above, &[subcommand.get_name()]].concat(), results);
        }
    }

    let mut results = Vec::new();
    walk(&gatepost::cli::definition(), &[], &mut results);
    assert!(results.len() >= 11);
    golden::check_all(results);
}

#[test]
fn exit_codes_tell_a_wrong_command_from_one_that_failed() {
    let directory = Directory::new("exit");
    std::fs::write(
        directory.0.join("good.yaml"),
        "connections: { a: { address: db, user: u } }\n\
         identities: { ci: { secret: { env: CI_TOKEN } } }\n",
    )
    .unwrap();
    std::fs::write(directory.0.join("bad.yaml"), "connections: {}\n").unwrap();
    for (arguments, code, stderr) in [
        (vec!["check", "good.yaml"], 0, ""),
        (
            vec!["check", "bad.yaml"],
            2,
            "bad.yaml:1:14: `connections` names no database\n  |\n1 | connections: {}\n  |              ^\n",
        ),
        (
            vec!["serve", "-c", "bad.yaml"],
            2,
            "bad.yaml:1:14: `connections` names no database\n  |\n1 | connections: {}\n  |              ^\n",
        ),
        (
            vec!["check"],
            2,
            "gatepost.yaml: can't open it: No such file or directory (os error 2)\n",
        ),
        (
            vec!["token", "list"],
            2,
            "gatepost.yaml: can't open it: No such file or directory (os error 2); name it with \
             -c, or the state file with --state\n",
        ),
        (vec!["token", "list", "--state", "no.db"], 1, "there is no state file no.db\n"),
        (
            vec!["token", "create", "a|b", "--state", "no.db"],
            2,
            "a name can't hold the character '|'\n",
        ),
        (
            vec!["token", "create", "ci", "-c", "good.yaml"],
            1,
            "`ci` has its secret from good.yaml, so a token of that name would open nothing\n",
        ),
    ] {
        let output = run(&arguments, &directory.0);
        assert_eq!(text(&output.stderr), stderr, "{arguments:?}");
        assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    }
    for wrong in [
        &["sevre"][..],
        &["token", "create", "a", "--for", "30"],
        &["token", "create", "a", "--state", "s", "-c", "c"],
        &["token", "revoke", "all", "--state", "no.db"],
        &["serve", "--log", "xml"],
        &[],
    ] {
        assert_eq!(run(wrong, &directory.0).status.code(), Some(2), "{wrong:?}");
    }
    assert!(!directory.0.join("no.db").exists(), "a refused command made a state file");
}

#[test]
fn a_bad_log_level_is_refused() {
    let started_with = |level: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["serve", "-c", "/nowhere.yaml"])
            .env("GATEPOST_LOG", level)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        text(&output.stderr).to_owned()
    };
    for bad in ["gateway=loud", "inof", "info,gateway", ",", "info, gateway=trace"] {
        let error = started_with(bad);
        assert!(error.starts_with("GATEPOST_LOG is not a level"), "{bad}: {error}");
    }
    for good in ["", "warn", "DEBUG", "off", "info,gateway=debug"] {
        let error = started_with(good);
        assert!(error.starts_with("/nowhere.yaml: can't open it"), "{good}: {error}");
    }
}

#[test]
fn a_token_is_printed_once_and_only_its_verifier_is_kept() {
    let directory = Directory::new("token");
    let state = ["--state", "s.db"];
    let made =
        run(&[&["token", "create", "agent-7", "--for", "30d"], &state[..]].concat(), &directory.0);
    assert_eq!(made.status.code(), Some(0), "{}", text(&made.stderr));
    let token = text(&made.stdout).strip_suffix('\n').unwrap();
    assert!(token.starts_with("gp_") && !token.contains(char::is_whitespace), "{token}");
    let note = text(&made.stderr);
    assert!(note.starts_with("token 1 for `agent-7`, good until 20"), "{note}");
    assert!(!note.contains(token));

    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(token.len()).any(|window| window == token.as_bytes()));
    }

    let again = run(&[&["token", "create", "agent-7"], &state[..]].concat(), &directory.0);
    assert_ne!(again.stdout, made.stdout);
    assert!(text(&again.stderr).contains("good until it is revoked"));

    let verifiers = verifiers(&directory.0.join("s.db"), "agent-7");
    assert_eq!(verifiers.len(), 2);
    let salt_of = |verifier: &String| verifier.rsplit_once('$').unwrap().0.to_owned();
    assert_eq!(salt_of(&verifiers[0]), salt_of(&verifiers[1]), "the salt depends on the name");
    assert_ne!(verifiers[0], verifiers[1]);

    let revoke = [&["token", "revoke", "1"], &state[..]].concat();
    assert_eq!(text(&run(&revoke, &directory.0).stdout), "token 1 is revoked\n");
    let twice = run(&revoke, &directory.0);
    assert_eq!(twice.status.code(), Some(1));
    assert!(text(&twice.stderr).starts_with("token 1 was revoked already, on 20"));
    let unknown = run(&[&["token", "revoke", "99"], &state[..]].concat(), &directory.0);
    assert_eq!(text(&unknown.stderr), "there is no token 99; see gatepost token list\n");

    let list = run(&[&["token", "list"], &state[..]].concat(), &directory.0);
    let lines: Vec<&str> = text(&list.stdout).lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[1].starts_with("1   agent-7  revoked"), "{}", lines[1]);
    assert!(lines[2].starts_with("2   agent-7  live"), "{}", lines[2]);
}

fn verifiers(state: &Path, name: &str) -> Vec<String> {
    let state = access::State::open(state).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let live = runtime.block_on(state.live_tokens(name, 0)).unwrap();
    live.into_iter().map(|token| token.verifier).collect()
}

/// What `check` says to each file is written beside it.
#[test]
fn a_reviewer_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check");
    let mut results = Vec::new();
    for name in ["clean", "issuers", "no-policies", "remarks"] {
        let output = Command::new(env!("CARGO_BIN_EXE_gatepost"))
            .args(["check", &format!("{name}.yaml")])
            .current_dir(&folder)
            .output()
            .unwrap();
        let said = format!(
            "{}{}exit {}\n",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            output.status.code().unwrap(),
        );
        results.push(golden::check(&folder.join(format!("{name}.txt")), &said));
    }
    golden::check_all(results);
}
