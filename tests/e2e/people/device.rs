//! Logins without a browser on this machine: a code that is typed elsewhere.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command};

use super::{CLIENT, Person, Said, assert_well, browser_script, started};

/// Starts such a login, and goes where it says, elsewhere.
fn log_in(person: &Person, how: &str, mut command: Command) -> Said {
    command.env("XDG_STATE_HOME", person.home.join("state"));
    let mut child: Child = started(command);
    let mut told = String::new();
    let mut stderr = BufReader::new(child.stderr.take().expect("its stderr"));
    let url = loop {
        let before = told.len();
        assert_ne!(stderr.read_line(&mut told).expect("words"), 0, "it ended: {told}");
        if let Some(url) = told[before..].trim().strip_prefix("or go to ") {
            break url.to_owned();
        }
    };
    assert!(told.contains("enter the code "), "{told}");
    let (node, _) = e2e::node();
    let page = Command::new(node).arg(browser_script()).args([how, &url]).output();
    let page = String::from_utf8(page.expect("a browser").stdout).expect("a page");
    stderr.read_to_string(&mut told).expect("words");
    let mut out = String::new();
    child.stdout.take().expect("its stdout").read_to_string(&mut out).expect("words");
    let code = child.wait().expect("its end").code().expect("a code");
    assert!(how == "deny" || page.contains("Sign-in Success"), "{page}");
    Said { code, out, err: told }
}

#[test]
fn a_code_logs_in() {
    let person = Person::new(CLIENT);
    let (url, ca) = (person.url(), person.ca.display().to_string());
    let arguments = ["login", &url, "--ca", &ca];
    let command = person.command("agree", &[&arguments[..], &["--device"]].concat());
    let denied = log_in(&person, "deny", command);
    assert_eq!((denied.code, &*denied.out), (1, ""), "{}", denied.err);
    assert!(denied.err.contains("the login was denied"), "{}", denied.err);
    assert!(!person.file().exists());

    // Where there is no browser a code is what is left.
    let mut command = person.command("agree", &arguments);
    command.env("BROWSER", "/nonexistent");
    let agreed = log_in(&person, "agree", command);
    assert_well(&agreed);
    assert!(agreed.err.contains("no browser could be opened"), "{}", agreed.err);
    assert!(agreed.out.contains("|anna"), "{}", agreed.out);
    let counted = person.psql(&["--", "-XAtc", "SELECT count(*) FROM items"]);
    assert_eq!((counted.code, &*counted.out), (0, "5\n"), "{}", counted.err);
}
