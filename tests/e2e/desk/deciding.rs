//! Deciding: who may, how often, and what is heard of it where somebody waits. And taking away.

use std::time::{Duration, Instant};

use serde_json::json;

use super::Stand;
use crate::grants::{Asking, detail, last_words};
use crate::raw;
use crate::setup::AGENT;

#[test]
fn two_of_a_group_agree_each_once_and_never_who_asked() {
    let stand = Stand::new();
    let id = stand.pending(json!({ "policies": ["two"] }));
    let approve = format!("/v1/requests/{id}/approve");
    let one = stand.post("anna", &approve, json!({ "words": "looks right" }));
    assert_eq!((one.status, one.text("/state")), (200, "pending"));
    assert_eq!(one.body["needs"][0]["missing"], 1);
    assert_eq!(one.body["approvals"][0]["words"], "looks right");
    // Twice is once; who asked has no say, though of the group; a stranger knows of nothing; who
    // runs it sees it and has no vote.
    assert_eq!(stand.post("anna", &approve, json!({})).code(), (409, "already_voted"));
    assert_eq!(stand.post(AGENT, &approve, json!({})).code(), (403, "own_request"));
    assert_eq!(stand.post("carl", &approve, json!({})).code(), (404, "no_such"));
    assert_eq!(stand.post("olga", &approve, json!({})).code(), (403, "not_yours"));
    assert_eq!(stand.get(AGENT, &format!("/v1/requests/{id}")).text("/state"), "pending");

    let two = stand.post("bert", &approve, json!({}));
    assert_eq!((two.status, two.text("/state")), (200, "approved"));
    assert_eq!(stand.post("bert", &approve, json!({})).code(), (409, "over"));
    let deny = format!("/v1/requests/{id}/deny");
    assert_eq!(stand.post("anna", &deny, json!({})).code(), (409, "over"));
    let asked = stand.ask(json!({ "policies": ["two"] }));
    assert_eq!((asked.status, asked.text("/grant/id")), (201, two.text("/grant")));

    let decisions = stand.records("request_decided");
    let by: Vec<_> = decisions.iter().map(|it| it["identity"]["subject"].clone()).collect();
    assert_eq!(by, ["anna", "bert"], "{decisions:?}");
    assert_eq!(decisions[0]["words"], "looks right");
}

#[test]
fn who_waits_in_a_session_hears_the_words_of_who_denies() {
    let stand = Stand::new();
    let options = "-c gatepost.policy=careful -c gatepost.reason=ticket\\ 42";
    let mut asking = Asking::begin(&stand.gate.target(), options);
    let id = detail(&asking.notice())["request"].as_str().unwrap().to_owned();
    let shown = stand.get("anna", "/v1/requests");
    assert_eq!(shown.body["rows"][0]["id"], id.as_str());
    let denied = stand.post(
        "anna",
        &format!("/v1/requests/{id}/deny"),
        json!({ "words": "not on a Friday" }),
    );
    assert_eq!((denied.status, denied.text("/state")), (200, "denied"));
    let refusal = asking.finish().err().expect("a refusal");
    assert!(refusal.text().contains("not on a Friday"), "{}", refusal.show());
    assert_eq!(detail(&refusal)["words"], "not on a Friday");
    let again = stand.ask(json!({ "policies": ["careful"], "reason": "ticket 42" }));
    assert_eq!((again.status, again.text("/state")), (200, "denied"));
    assert_eq!(again.text("/request/ended/words"), "not on a Friday");
    assert_eq!(again.text("/request/ended/by/subject"), "anna");
    assert!(again.body.get("token").is_none());
}

#[test]
fn a_decision_reaches_who_waits_at_once() {
    let stand = Stand::new();
    let options = "-c gatepost.policy=careful -c gatepost.reason=ticket\\ 42";
    let mut asking = Asking::begin(&stand.gate.target(), options);
    let id = detail(&asking.notice())["request"].as_str().unwrap().to_owned();
    stand.post("anna", &format!("/v1/requests/{id}/approve"), json!({}));
    let begun = Instant::now();
    let (mut raw, _) = asking.finish().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
}

#[test]
fn one_s_own_request_can_be_taken_back() {
    let stand = Stand::new();
    let id = stand.pending(json!({ "policies": ["two"] }));
    let path = format!("/v1/requests/{id}/withdraw");
    assert_eq!(stand.post("carl", &path, json!({})).status, 404);
    assert_eq!(stand.post("anna", &path, json!({})).status, 403);
    assert_eq!(stand.post(AGENT, &path, json!({})).text("/state"), "withdrawn");
    assert_eq!(
        stand.post("anna", &format!("/v1/requests/{id}/approve"), json!({})).code(),
        (409, "over")
    );
}

#[test]
fn what_is_revoked_ends_within_a_second() {
    let stand = Stand::new();
    let asked = stand.ask(json!({ "policies": ["items"] }));
    let grant = asked.text("/grant/id");
    let mut raw = stand.login(asked.text("/token/password")).unwrap();
    raw.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"));
    let path = format!("/v1/grants/{grant}/revoke");
    // Who may approve may not take away; who runs it may.
    for name in ["anna", "carl"] {
        assert_eq!(stand.post(name, &path, json!({})).code(), (404, "no_such"), "{name}");
    }
    let revoked = stand.post("olga", &path, json!({ "words": "the incident is over" }));
    let begun = Instant::now();
    assert_eq!((revoked.status, revoked.text("/state")), (200, "revoked"));
    assert_eq!(revoked.text("/ended/words"), "the incident is over");
    let last = last_words(&mut raw);
    let took = begun.elapsed();
    assert_eq!(
        (last.sqlstate(), detail(&last)["code"].as_str()),
        ("57P01".into(), Some("revoked"))
    );
    assert!(last.text().contains("the incident is over"), "{}", last.show());
    assert!(took < Duration::from_secs(3), "a second, and some patience: {took:?}");
    assert_eq!(stand.post("olga", &path, json!({})).status, 409);
    assert!(stand.login(asked.text("/token/password")).is_err());
}

#[test]
fn a_killed_session_is_over_and_its_grant_is_not() {
    let stand = Stand::new();
    let (mut raw, _) = stand.gate.login();
    let listed = stand.get("olga", "/v1/sessions");
    assert_eq!(listed.body["rows"].as_array().unwrap().len(), 1, "{listed:?}");
    let id = listed.text("/rows/0/id");
    assert_eq!(listed.body["rows"][0]["who"]["subject"], AGENT);
    assert_eq!(stand.get(AGENT, "/v1/sessions").text("/rows/0/id"), id);
    let path = format!("/v1/sessions/{id}/kill");
    for name in ["carl", "anna"] {
        assert_eq!(stand.get(name, "/v1/sessions").body["rows"], json!([]));
        assert_eq!(stand.post(name, &path, json!({})).code(), (404, "no_such"));
    }
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    raw.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"));
    assert_eq!(stand.post("olga", &path, json!({})).status, 204);
    let last = last_words(&mut raw);
    assert_eq!((last.sqlstate(), last.severity()), ("57P01".into(), "FATAL".into()));
    crate::setup::eventually("the session to leave", || {
        stand.post("olga", &path, json!({})).status == 404
    });
    let (mut raw, _) = stand.gate.login();
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    assert_eq!(stand.get(AGENT, "/v1/grants").body["rows"].as_array().unwrap().len(), 1);
}
