//! Asking ahead: what opens at once, what waits, what is given of a scope, and the password that
//! opens one grant and nothing else.

use std::thread;

use serde_json::json;

use super::Stand;
use super::http::Credential;
use crate::grants::detail;
use crate::raw;
use crate::setup::{AGENT, Plan};

fn only(policy: &str) -> serde_json::Value {
    json!({ "policies": [policy], "reason": "ticket 42" })
}

#[test]
fn what_opens_at_once_comes_with_a_password_for_that_grant_alone() {
    let stand = Stand::with(super::POLICIES, |plan| {
        let other = plan.clone().named("other");
        plan.and(&other)
    });
    let asked = stand.ask(json!({ "policies": ["items"], "for_seconds": 300 }));
    assert_eq!((asked.status, asked.text("/state")), (201, "open"));
    let (grant, password) = (asked.text("/grant/id"), asked.text("/token/password"));
    assert_eq!(asked.text("/token/user"), AGENT);
    assert_eq!(asked.body["token"]["good_for_seconds"], 600);

    let mut raw = stand.login(password).expect("a session");
    assert_eq!(raw.value("SELECT grant_id FROM gatepost.me"), grant);
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    // More than once, where nobody asked for once.
    stand.login(password).expect("another");

    // Not on another connection, and not at the desk.
    let refusal = stand.login_to("other", password).err().expect("a refusal");
    assert_eq!(detail(&refusal)["code"], "other_grant");
    let at_desk = stand.http().call(&Credential::of(AGENT, password), "GET", "/v1/grants", b"");
    assert_eq!(at_desk.code(), (401, "wrong_credential"));

    // Another for the same grant; it is for whose grant it is.
    let path = format!("/v1/grants/{grant}/token");
    let more = stand.post(AGENT, &path, json!({}));
    assert_eq!(more.status, 201);
    stand.login(more.text("/password")).expect("by the second password, too");
    assert_eq!(stand.post("anna", &path, json!({})).status, 404);
    assert_eq!(stand.post("olga", &path, json!({})).code(), (403, "not_yours"));

    // With the grant its passwords end.
    let revoked = stand.post(AGENT, &format!("/v1/grants/{grant}/revoke"), json!({}));
    assert_eq!((revoked.status, revoked.text("/state")), (200, "released"));
    let refusal = stand.login(password).err().expect("a refusal");
    assert_ne!(refusal.sqlstate(), "ZP002", "nobody is asked: {}", refusal.show());
    assert_eq!(stand.post(AGENT, &path, json!({})).status, 409);
    let kept = std::fs::read(stand.gate.process.place.directory.join("gatepost.db")).unwrap();
    let kept = String::from_utf8_lossy(&kept);
    assert!(!kept.contains(password) && !stand.gate.log().contains(password));
}

#[test]
fn a_password_for_once_opens_once() {
    let stand = Stand::new();
    let asked = stand.ask(json!({ "policies": ["items"], "single_use": true }));
    let password = asked.text("/token/password").to_owned();
    let racing: Vec<_> = thread::scope(|scope| {
        let tries: Vec<_> =
            (0..6).map(|_| scope.spawn(|| stand.login(&password).is_ok())).collect();
        tries.into_iter().map(|it| it.join().unwrap()).collect()
    });
    assert_eq!(racing.iter().filter(|opened| **opened).count(), 1, "{racing:?}");
    let refusal = stand.login(&password).err().expect("a refusal");
    assert_eq!(refusal.sqlstate(), "28P01");
}

/// A name whose secret is in the file gets passwords for grants, beside its secret.
#[test]
fn a_name_of_the_file_gets_passwords_too() {
    let people = "  svc: { secret: { file: svc } }\n";
    let policies =
        super::POLICIES.replace("who: identity:agent-7", "who: [identity:agent-7, identity:svc]");
    let stand = Stand::among(people, &policies, |plan| plan.file("svc", "of the file"));
    let own = Credential::of("svc", "of the file");
    let body =
        json!({ "connection": stand.database.name, "policies": ["items"], "single_use": true });
    let asked = stand.http().call(&own, "POST", "/v1/requests", body.to_string().as_bytes());
    assert_eq!((asked.status, asked.text("/token/user")), (201, "svc"), "{asked:?}");
    let login = |password: &str| {
        let mut raw = raw::Raw::connect(&stand.gate.address());
        let parameters = [("database", stand.database.name.as_str())];
        raw.send(&raw::startup(raw::PROTOCOL_3_0, "svc", &parameters));
        raw.finish_login("svc", password).map(|_| raw)
    };
    let password = asked.text("/token/password");
    let mut raw = login(password).expect("a session");
    assert_eq!(raw.value("SELECT grant_id FROM gatepost.me"), asked.text("/grant/id"));
    assert!(login(password).is_err(), "once");
    login("of the file").expect("by its own secret, too");
    assert!(login("of another file").is_err());
    let at_desk = stand.http().call(&Credential::of("svc", password), "GET", "/v1/grants", b"");
    assert_eq!(at_desk.status, 401);
}

#[test]
fn a_narrower_scope_says_what_is_given_and_what_is_not() {
    let stand = Stand::new();
    let scope =
        "read: public.items(id), public.secrets; insert: public.notes; delete: public.items";
    let asked = stand.ask(json!({ "policies": ["items"], "scope": scope }));
    assert_eq!(asked.status, 201, "{asked:?}");
    let list = |of: &str| asked.body[of].as_array().cloned().unwrap_or_default();
    assert!(list("given").contains(&json!("read public.items(id)")), "{asked:?}");
    assert!(list("given").iter().any(|it| it.as_str().unwrap().starts_with("insert public.notes")));
    assert_eq!(list("lacking").len(), 2, "{asked:?}");
    let mut raw = stand.login(asked.text("/token/password")).unwrap();
    assert_eq!(raw.value("SELECT count(id) FROM items"), "5");
    let replies = raw.query("SELECT name FROM items");
    assert_eq!(detail(raw::error(&replies))["code"], "out_of_scope");
}

#[test]
fn who_waits_is_answered_when_the_person_agrees() {
    let stand = Stand::new();
    let id = stand.pending(only("careful"));
    let shown = stand.get(AGENT, &format!("/v1/requests/{id}"));
    assert_eq!((shown.text("/state"), shown.text("/reason")), ("pending", "ticket 42"));
    assert_eq!(shown.body["needs"][0]["by"], "identity:anna");
    assert_eq!(shown.body["needs"][0]["missing"], 1);
    thread::scope(|scope| {
        let waits = scope.spawn(|| {
            let mut with = only("careful");
            with["wait_seconds"] = json!(50);
            let begun = std::time::Instant::now();
            (stand.ask(with), begun.elapsed())
        });
        // Nothing tells from outside that somebody waits; if nobody does yet, the answer is the same.
        let approved =
            stand.post("anna", &format!("/v1/requests/{id}/approve"), json!({ "words": "go on" }));
        assert_eq!((approved.status, approved.text("/state")), (200, "approved"));
        let (asked, took) = waits.join().unwrap();
        assert_eq!((asked.status, asked.text("/state")), (201, "open"), "{asked:?}");
        assert!(took.as_secs() < 20, "{took:?}");
        assert_eq!(asked.text("/grant/request"), id);
        assert_eq!(asked.body["grant"]["approved_by"][0]["subject"], "anna");
        assert_eq!(
            stand.get(AGENT, &format!("/v1/requests/{id}")).text("/grant"),
            asked.text("/grant/id")
        );
        stand.login(asked.text("/token/password")).expect("a session");
    });
}

#[test]
fn what_cannot_be_asked_for_is_refused_with_words() {
    let stand = Stand::new();
    let asked = |with| stand.ask(with);
    assert_eq!(asked(json!({ "policies": ["careful"] })).code(), (422, "reason_required"));
    let unknown = asked(json!({ "policies": ["nothing"] }));
    assert_eq!(unknown.code(), (422, "unknown_policy"));
    assert_eq!(unknown.body["detail"]["policies"][0], "items");
    assert_eq!(asked(json!({ "scope": "select: x" })).code(), (422, "malformed_request"));
    assert_eq!(asked(json!({ "policies": ["a\"b,c"] })).code(), (422, "unknown_policy"));
    let elsewhere = stand.post(AGENT, "/v1/requests", json!({ "connection": "nowhere" }));
    assert_eq!(elsewhere.code(), (404, "no_such"));
    assert_eq!(
        stand.post("carl", "/v1/requests", json!({ "connection": stand.database.name })).code(),
        (403, "nothing_open")
    );
    // As long as the policy lets it, and no longer.
    let long = asked(json!({ "policies": ["items"], "for_seconds": u64::MAX }));
    assert_eq!(long.status, 201, "{long:?}");

    let credential = Credential::of(AGENT, stand.secret(AGENT));
    let post = |path: &str, body: &[u8]| stand.http().try_call(&credential, "POST", path, body);
    for body in [
        &b""[..],
        b"[]",
        b"{",
        b"\xff\xfe",
        b"{\"connection\": 7}",
        b"{\"connection\": \"x\", \"for_seconds\": -1}",
        b"{\"connection\": \"x\", \"unknown\": 1}",
        b"{\"connection\": \"x\", \"connection\": \"y\"}",
    ] {
        let answer = post("/v1/requests", body).expect("an answer");
        assert_eq!(answer.code(), (400, "malformed"), "{}", String::from_utf8_lossy(body));
    }
    let deep = format!("{{\"connection\": {}", "[".repeat(30_000));
    assert_eq!(post("/v1/requests", deep.as_bytes()).expect("an answer").status, 400);
    let long = format!("{{\"connection\": \"x\", \"reason\": \"{}\"}}", "x".repeat(70_000));
    // It may hang up before it has been told all of it.
    if let Some(answer) = post("/v1/requests", long.as_bytes()) {
        assert_eq!(answer.status, 413);
    }
    let reason = "x".repeat(5000);
    let answer = stand.ask(json!({ "policies": ["careful"], "reason": reason }));
    assert!((400..500).contains(&answer.status), "{answer:?}");

    for id in [
        "x",
        "..",
        "%2e%2e",
        "..%2f..%2fetc%2fpasswd",
        "req_",
        "req_1'--",
        "req_%00",
        "%ff",
        "req_0000000000000000000000000000000000000000000",
        "grant_0",
        "a/b",
    ] {
        for path in
            [format!("/v1/requests/{id}"), format!("/v1/holds/{id}"), format!("/v1/grants/{id}")]
        {
            let answer = stand.get(AGENT, &path);
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        }
        for path in [format!("/v1/requests/{id}/approve"), format!("/v1/sessions/{id}/kill")] {
            let answer = stand.post(AGENT, &path, json!({}));
            assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        }
    }
    for query in ["?all=perhaps", "?behind=x", "?what=1"] {
        assert_eq!(stand.get(AGENT, &format!("/v1/requests{query}")).code(), (400, "malformed"));
    }
}

#[test]
fn a_grant_that_has_ended_gives_no_password() {
    let policies = super::POLICIES.replace("window: 1h", "window: 2s");
    let stand = Stand::with(&policies, |plan: Plan| plan);
    let asked = stand.ask(json!({ "policies": ["items"] }));
    let (grant, password) = (asked.text("/grant/id"), asked.text("/token/password"));
    let path = format!("/v1/grants/{grant}");
    crate::setup::eventually("the end", || stand.get(AGENT, &path).text("/state") == "expired");
    assert!(stand.login(password).is_err());
    assert_eq!(stand.post(AGENT, &format!("{path}/token"), json!({})).status, 409);
    let listed = stand.get(AGENT, "/v1/grants");
    assert_eq!(listed.body["rows"], json!([]));
    assert_eq!(stand.get(AGENT, "/v1/grants?all=true").body["rows"][0]["id"], grant);
}
