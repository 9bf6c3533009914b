//! The same by the command line: what goes to stdout and what to stderr, exit codes, and that what
//! an agent writes can't steer the terminal of who reads it.

use std::process::Output;

use serde_json::{Value, json};

use super::Stand;
use crate::grants::{Asking, detail};
use crate::setup::{self, AGENT};

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// A command as somebody, with their secret where nobody sees it.
pub fn run(stand: &Stand, name: &str, arguments: &[&str]) -> Said {
    let mut command = e2e::Gatepost::program();
    command
        .args(arguments)
        .env("GATEPOST_URL", format!("http://{}", stand.gate.process.http()))
        .env("GATEPOST_USER", name)
        .env("GATEPOST_TOKEN", stand.secret(name));
    said(command.output().expect("gatepost runs"))
}

fn said(Output { status, stdout, stderr }: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("words");
    Said { code: status.code().expect("a code"), out: text(stdout), err: text(stderr) }
}

#[test]
fn a_request_prints_the_password_alone() {
    let stand = Stand::new();
    let on = stand.database.name.as_str();
    let got = run(&stand, AGENT, &["request", "--on", on, "--policy", "items", "--for", "20m"]);
    assert_eq!(got.code, 0, "{}", got.err);
    let password = got.out.strip_suffix('\n').expect("a line");
    assert!(!password.contains(char::is_whitespace) && !got.err.contains(password), "{password:?}");
    assert!(got.err.contains("grant_"), "{}", got.err);
    stand.login(password).expect("a session");

    let scope = "read: public.items(id), public.secrets";
    let got = run(
        &stand,
        AGENT,
        &["request", "--on", on, "--policy", "items", "--scope", scope, "--single-use"],
    );
    assert!(got.err.contains("granted: read public.items(id)\n"), "{}", got.err);
    assert!(got.err.contains("not to be had: read public.secrets"), "{}", got.err);

    let got = run(&stand, AGENT, &["request", "--on", on, "--policy", "items", "--json"]);
    let answer: Value = serde_json::from_str(&got.out).expect("JSON");
    assert_eq!((answer["state"].as_str(), got.code), (Some("open"), 0));

    let refused = run(&stand, "carl", &["request", "--on", on]);
    assert_eq!((refused.code, refused.out.as_str()), (1, ""), "{}", refused.err);
    let wrong = run(&stand, AGENT, &["request", "--on", on, "--for", "soon"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (2, ""));
}

#[test]
fn people_look_and_decide() {
    let stand = Stand::new();
    assert_eq!(run(&stand, "anna", &["pending"]).out, "nothing waits\n");
    let reason = "ticket 42\u{1b}[2J\u{1b}]0;x\u{7}\r\nreq_1  approved\u{202e}";
    let id = stand.pending(json!({ "policies": ["careful"], "reason": reason }));
    let shown = run(&stand, "anna", &["pending"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    assert!(shown.out.starts_with(&format!("{id}  ")), "{}", shown.out);
    for words in [AGENT, "careful", "1 of identity:anna", "ticket 42", on(&stand)] {
        assert!(shown.out.contains(words), "{words}: {}", shown.out);
    }
    let steers =
        |text: &str| text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    assert!(!steers(&shown.out), "{:?}", shown.out);
    assert!(!shown.out.contains("\nreq_1"), "no line of the agent's own: {}", shown.out);
    assert!(!steers(&run(&stand, "anna", &["show", &id]).out));
    assert_eq!(run(&stand, "bert", &["pending"]).out, "nothing waits\n");
    let json = run(&stand, "anna", &["pending", "--json"]).out;
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(
        (json["requests"][0]["id"].as_str(), json["holds"].as_array().map(Vec::len)),
        (Some(&*id), Some(0))
    );

    let denied = run(&stand, "carl", &["approve", &id]);
    assert_eq!((denied.code, denied.out.as_str()), (1, ""));
    assert!(denied.err.contains("that you may see"), "{}", denied.err);
    let denied = run(&stand, AGENT, &["approve", &id]);
    assert_eq!(denied.code, 1, "{}", denied.err);
    let approved = run(&stand, "anna", &["approve", &id, "--words", "go on"]);
    assert_eq!(approved.code, 0, "{}", approved.err);
    assert!(
        approved.out.contains("approved") && approved.out.contains("go on"),
        "{}",
        approved.out
    );
    let mut asking = Asking::begin(&stand.gate.target(), "-c gatepost.policy=two");
    let id = detail(&asking.notice())["request"].as_str().unwrap().to_owned();
    assert_eq!(run(&stand, "bert", &["deny", &id, "--words", "not\u{1b}[1m now"]).code, 0);
    let refusal = asking.finish().err().expect("a refusal");
    assert!(refusal.text().contains("not"), "{}", refusal.show());

    for id in ["x", "../../status", "req_", "grant_1/../..", ""] {
        let wrong = run(&stand, "anna", &["approve", id]);
        assert_eq!(wrong.code, 2, "{id}: {}", wrong.err);
    }
}

fn on(stand: &Stand) -> &str {
    &stand.database.name
}

#[test]
fn who_runs_it_looks_and_ends() {
    let stand = Stand::new();
    let (mut raw, _) = stand.gate.login();
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    let sessions = run(&stand, "olga", &["sessions"]);
    let line = sessions.out.lines().nth(1).expect("a session").to_owned();
    assert!(line.contains(AGENT) && line.contains("grant_"), "{}", sessions.out);
    let session = line.split_whitespace().next().unwrap();
    assert_eq!(run(&stand, "carl", &["kill", session]).code, 1);
    assert_eq!(run(&stand, "olga", &["kill", "../x"]).code, 2);
    assert_eq!(run(&stand, "olga", &["kill", session]).code, 0);
    assert_eq!(crate::grants::last_words(&mut raw).sqlstate(), "57P01");

    let grants = run(&stand, "olga", &["grants"]).out;
    let grant = grants.lines().nth(1).expect("a grant").split_whitespace().next().unwrap();
    assert_eq!(run(&stand, "carl", &["grants"]).out.lines().count(), 1);
    let wrong = run(&stand, "olga", &["approve", grant]);
    assert_eq!(wrong.code, 2, "{}", wrong.err);
    let revoked = run(&stand, "olga", &["revoke", grant, "--words", "enough"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    assert!(revoked.out.contains("revoked") && revoked.out.contains("enough"), "{}", revoked.out);
    assert_eq!(run(&stand, "olga", &["grants"]).out.lines().count(), 1);
    assert!(run(&stand, "olga", &["grants", "--all"]).out.contains(grant));
}

#[test]
fn where_and_who_are_needed_and_a_secret_goes_nowhere_in_the_clear() {
    let server = setup::database().server.clone();
    let stand = Stand::with(super::POLICIES, |plan| plan.http_everywhere().tls(&server));
    let port = stand.gate.process.http().port();
    let command = |arguments: &[&str], with: &[(&str, &str)]| {
        let mut command = e2e::Gatepost::program();
        command.arg("grants").args(arguments).envs(with.iter().copied());
        for name in ["GATEPOST_URL", "GATEPOST_USER", "GATEPOST_TOKEN"] {
            if !with.iter().any(|(own, _)| *own == name) {
                command.env_remove(name);
            }
        }
        said(command.output().unwrap())
    };
    let token = ("GATEPOST_TOKEN", stand.secret("anna"));
    let tls = format!("https://localhost:{port}");
    let ca = server.certificates.ca().display().to_string();
    let other = server.certificates.other_ca().display().to_string();
    let good = command(&["--at", &tls, "--as", "anna", "--ca", &ca], &[token]);
    assert_eq!(good.code, 0, "{}", good.err);
    let file = stand.gate.process.place.directory.file("annas", stand.secret("anna"));
    let file = file.display().to_string();
    let good = command(&["--at", &tls, "--as", "anna", "--ca", &ca, "--token-file", &file], &[]);
    assert_eq!(good.code, 0, "{}", good.err);
    // The file says where, too, for who is on the same machine.
    let config = stand.gate.process.place.directory.join("gatepost.yaml").display().to_string();
    let local = command(&["-c", &config, "--as", "anna"], &[token]);
    assert_eq!(local.code, 0, "{}", local.err);

    for (arguments, with, code) in [
        (vec!["--at", &tls, "--as", "anna", "--ca", &other], vec![token], 1),
        (vec!["--at", &tls, "--as", "anna", "--ca", &ca], vec![("GATEPOST_TOKEN", "gp_wrong")], 1),
        (vec!["--at", &tls, "--ca", &ca], vec![token], 2),
        (vec!["--at", &tls, "--as", "anna", "--ca", &ca], vec![], 2),
        (vec!["--at", "http://gate.example:6480", "--as", "anna"], vec![token], 2),
        (vec!["--as", "anna", "-c", "/nonexistent"], vec![token], 2),
    ] {
        let refused = command(&arguments, &with);
        assert_eq!(
            (refused.code, refused.out.as_str()),
            (code, ""),
            "{arguments:?}: {}",
            refused.err
        );
        assert!(!refused.err.contains(stand.secret("anna")));
    }
}
