//! Service accounts of Gatepost's own: several tokens each, so that one takes over from another while
//! both are good; each with its own end, its last use on the list, and gone alone when it is revoked.

use crate::raw::Raw;
use crate::setup::{self, Gate, Plan};

const ACCOUNT: &str = "nightly";

fn token(gate: &Gate, more: &[&str]) -> String {
    let output = gate.process.run(&[&["token", "create", ACCOUNT], more].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a token").trim().to_owned()
}

fn opens(gate: &Gate, token: &str) -> bool {
    let mut raw = Raw::connect(&gate.address());
    let database = gate.target().database;
    raw.send(&crate::raw::startup(crate::raw::PROTOCOL_3_0, ACCOUNT, &[("database", &database)]));
    raw.finish_login(ACCOUNT, token).is_ok()
}

/// Its number, its state, when it was made, when it ends and when it was last used.
fn listed(gate: &Gate) -> Vec<Vec<String>> {
    let output = gate.process.run(&["token", "list"]);
    let text = String::from_utf8(output.stdout).expect("a list");
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect()
    };
    text.lines().map(cells).filter(|cells| cells[1] == ACCOUNT).collect()
}

#[test]
fn a_service_account_changes_its_token_without_a_gap() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let old = token(&gate, &["--for", "30d"]);
    assert!(opens(&gate, &old));
    let new = token(&gate, &[]);
    // Both, for as long as it takes to bring the new one everywhere.
    assert!(opens(&gate, &old) && opens(&gate, &new));
    setup::eventually("both to have been used", || listed(&gate).iter().all(|it| it[5] != "never"));
    let list = listed(&gate);
    assert_eq!((&*list[0][2], &*list[1][2]), ("live", "live"));
    assert!(list[0][4].starts_with("20") && list[1][4] == "never", "{list:?}");

    assert!(gate.process.run(&["token", "revoke", &list[0][0]]).status.success());
    assert!(!opens(&gate, &old));
    assert!(opens(&gate, &new));
    let short = token(&gate, &["--for", "6s"]);
    assert!(opens(&gate, &short));
    setup::eventually("a token to end", || !opens(&gate, &short));
    let states: Vec<String> = listed(&gate).into_iter().map(|it| it[2].clone()).collect();
    assert_eq!(states, ["revoked", "live", "expired"]);
    assert!(opens(&gate, &new));
}
