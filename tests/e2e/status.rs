//! `gatepost status`: the running gateway is asked, and where there is none the file and the
//! journal are; it says which of the two, and its exit code which is well.

use std::process::Output;

use crate::setup::{self, Gate, Plan};

#[test]
fn a_running_gateway_says_what_is_on() {
    let database = setup::database();
    let relaxed = Plan::observe(&database).named("watched").connection("durability: relaxed");
    let gate = Plan::gateway(&database).and(&relaxed).start();
    let (mut inside, _) = gate.login();
    inside.value("SELECT 1");

    let (code, said, _) = status(&gate, &[]);
    assert_eq!(code, 0, "{said}");
    assert!(said.starts_with("gateway  running; 1 sessions are open\n"), "{said}");
    assert!(record(&said) >= 3, "login, statement and outcome: {said}");
    let (own, watched) = said.split_once("\nwatched\n").expect("both connections");
    assert!(own.contains(&format!("\n{}\n  identity   on ", database.name)), "{said}");
    assert!(own.contains("  recording  on   strict"), "{said}");
    assert!(watched.contains("identity   off"), "{said}");
    assert!(watched.contains("  recording  on   relaxed"), "{said}");
    for secret in [gate.token.as_str(), e2e::ROLE_PASSWORD] {
        assert!(!said.contains(secret));
    }

    let (code, said, _) = status(&gate, &["watched"]);
    assert_eq!((code, said.contains("relaxed"), said.contains("strict")), (0, true, false));
    let (code, _, error) = status(&gate, &["wached"]);
    assert_eq!(code, 2);
    assert_eq!(error, "there is no connection `wached`; did you mean `watched`?\n");
}

#[test]
fn policies_and_windows_are_on_where_there_are_some() {
    let database = setup::database();
    let plan = Plan::gateway(&database)
        .and(&Plan::gateway(&database).named("other"))
        .and(&Plan::gateway(&database).named("third"))
        .top("policies:")
        .top("  - name: agents")
        .top("    who: \"*\"")
        .top(&format!("    to: {}", database.name))
        .top("    access: { window: 15m, approval: none }")
        .top("    allow: [ everything: \"*\" ]")
        .top("  - { name: personal, who: \"*\", to: other, mask: { public.people.ssn: redact } }")
        .top("  - name: regions")
        .top("    who: \"*\"")
        .top("    to: other")
        .top("    mask: { public.people.email: email }")
        .top("    rows: { public.people: \"region = 'EU'\" }");
    let gate = plan.start();
    let (_, said, _) = status(&gate, &[&database.name]);
    assert!(said.contains("  timing     on   15m for `agents`; a session ends after"), "{said}");
    assert!(said.contains("  policies   on   `agents`\n"), "{said}");
    assert!(said.contains("  masking    off  no policy has masks or rows\n"), "{said}");
    let (_, said, _) = status(&gate, &["other"]);
    assert!(said.contains("  timing     off  "), "{said}");
    assert!(said.contains("  policies   on   `personal`, `regions`\n"), "{said}");
    let masking = "  masking    on   masks of `personal`, `regions`; row filters of `regions`\n";
    assert!(said.contains(masking), "{said}");
    let (_, said, _) = status(&gate, &["third"]);
    assert!(said.contains("  policies   on   none is about this connection"), "{said}");
    let (_, said, _) = status(&Plan::gateway(&database).start(), &[]);
    assert!(said.contains("  policies   off  there are none"), "{said}");
}

#[test]
fn without_a_gateway_the_file_and_the_journal_say_it() {
    let database = setup::database();
    let mut gate = Plan::gateway(&database).start();
    gate.login().0.value("SELECT 1");
    let running = record(&status(&gate, &[]).1);
    gate.process.signal("TERM");
    assert!(gate.process.wait_exit().success());

    let (code, said, error) = status(&gate, &[]);
    assert_eq!(code, 1, "{said}");
    assert!(error.starts_with("no gateway answers at 127.0.0.1:"), "{error}");
    assert!(said.starts_with("gateway  not asked; this is what the file says\n"), "{said}");
    assert!(record(&said) > running, "that it stopped is a record, too: {said}");
    assert!(said.contains("  recording  on   strict"), "{said}");
}

fn status(gate: &Gate, arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = gate.process.run(&[&["status"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).expect("words");
    (status.code().expect("a code"), text(stdout), text(stderr))
}

/// The last durable one.
fn record(said: &str) -> u64 {
    let number = said.split_once("\njournal  record ").and_then(|(_, rest)| rest.split_once(' '));
    number.expect("a record").0.parse().expect("a number")
}
