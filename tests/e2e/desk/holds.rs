//! Statements that wait: what the person who decides sees of them, and what the agent hears.

use serde_json::json;

use super::Stand;
use super::commands::run;
use crate::grants::detail;
use crate::raw::{self, Message, Raw};
use crate::setup::{self, AGENT};

const POLICIES: &str = "policies:
  - name: held
    who: identity:agent-7
    to: \"*\"
    access: { window: 1h, approval: none }
    allow: [{ read: public.* }]
    hold:
      - write: public.items
        by: group:dba
      - write: public.notes
        by: [identity:anna]
        shape: true
";

/// The hold that waits, as Anna sees it.
fn waits(stand: &Stand) -> super::http::Answer {
    setup::eventually("a hold", || {
        stand.get("anna", "/v1/holds").body["rows"].as_array().is_some_and(|rows| !rows.is_empty())
    });
    stand.get("anna", "/v1/holds")
}

fn bound(raw: &mut Raw, id: &str) {
    let bytes = [
        raw::parse("", "INSERT INTO notes VALUES ($1, 'x')", &[23]),
        raw::bind("", "", &[], &[Some(id.as_bytes())], &[]),
        raw::execute("", 0),
        raw::sync(),
    ];
    raw.send(&bytes.concat());
}

fn tags(replies: &[Message]) -> Vec<u8> {
    replies.iter().map(|message| message.tag).filter(|tag| !b"NS".contains(tag)).collect()
}

#[test]
fn a_statement_is_looked_at_and_approved_by_who_may_and_runs() {
    let stand = Stand::with(POLICIES, |plan| plan);
    let (mut raw, _) = stand.gate.login();
    let sql = "UPDATE items SET name = 'new' WHERE id = 1";
    raw.send(&raw::query(sql));
    let listed = waits(&stand);
    let id = listed.text("/rows/0/id");
    assert_eq!(listed.text("/rows/0/sql"), sql);
    assert_eq!(listed.text("/rows/0/who/subject"), AGENT);
    assert_eq!(listed.body["rows"][0]["needs"][0]["by"], "group:dba");
    assert_eq!(stand.get(AGENT, &format!("/v1/holds/{id}")).text("/state"), "pending");
    let approve = format!("/v1/holds/{id}/approve");
    // Who asked is in the group, and has no say.
    assert_eq!(stand.post(AGENT, &approve, json!({})).code(), (403, "own_request"));
    assert_eq!(stand.post("carl", &approve, json!({})).code(), (404, "no_such"));
    assert_eq!(stand.get("carl", "/v1/holds").body["rows"], json!([]));
    let shape = json!({ "shape": { "uses": 5, "for_seconds": 60 } });
    assert_eq!(stand.post("anna", &approve, shape).code(), (422, "no_shape"), "not by this rule");
    let shown = run(&stand, "bert", &["pending"]).out;
    assert!(shown.starts_with(id) && shown.contains(&format!("    {sql}\n")), "{shown}");
    let approved = stand.post("bert", &approve, json!({ "words": "go on" }));
    assert_eq!(
        (approved.status, approved.text("/approvals/0/words")),
        (200, "go on"),
        "{approved:?}"
    );
    assert_eq!(tags(&raw.until_ready()), b"CZ");
    assert_eq!(stand.database.login().psql("SELECT name FROM items WHERE id = 1"), "new");
    assert_eq!(stand.post("anna", &approve, json!({})).status, 409, "once");
    setup::eventually("what became of it", || {
        stand.get("anna", &format!("/v1/holds/{id}")).text("/state") == "done"
    });
}

#[test]
fn words_of_who_denies_reach_the_agent() {
    let stand = Stand::with(POLICIES, |plan| plan);
    let (mut raw, _) = stand.gate.login();
    raw.send(&raw::query("DELETE FROM items --\u{1b}[2J"));
    let id = waits(&stand).text("/rows/0/id").to_owned();
    let shown = run(&stand, "anna", &["show", &id]).out;
    assert!(shown.contains("DELETE FROM items --\\u{1b}[2J"), "{shown}");
    let denied = run(&stand, "anna", &["deny", &id, "--words", "not all of them"]);
    assert_eq!(denied.code, 0, "{}", denied.err);
    let replies = raw.until_ready();
    let error = raw::error(&replies);
    assert_eq!(detail(error)["words"], "not all of them", "{}", error.show());
    assert_eq!(stand.database.login().psql("SELECT count(*) FROM items"), "5");
}

#[test]
fn other_parameters_pass_as_often_as_was_said() {
    let stand = Stand::with(&format!("{POLICIES}    limits: {{ hold_wait: 20s }}\n"), |plan| plan);
    let (mut raw, _) = stand.gate.login();
    bound(&mut raw, "1");
    let listed = waits(&stand);
    let id = listed.text("/rows/0/id").to_owned();
    assert_eq!(listed.body["rows"][0]["offers_shape"], true);
    assert_eq!(listed.body["rows"][0]["parameters"][0]["value"], "1");
    let wrong = run(&stand, "anna", &["approve", &id, "--uses", "2"]);
    assert_eq!(wrong.code, 2, "a number of what?");
    let arguments = ["approve", &id, "--shape", "--uses", "2", "--until", "10m"];
    let approved = run(&stand, "anna", &arguments);
    assert_eq!(approved.code, 0, "{}", approved.err);
    assert_eq!(tags(&raw.until_ready()), b"12CZ");
    bound(&mut raw, "2");
    assert_eq!(tags(&raw.until_ready()), b"12CZ", "with other parameters");
    bound(&mut raw, "3");
    assert_eq!(waits(&stand).body["rows"][0]["parameters"][0]["value"], "3", "and no more often");
    assert_eq!(stand.database.login().psql("SELECT count(*) FROM notes"), "2");
}
