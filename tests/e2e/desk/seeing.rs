//! Who may see what, and what failing to prove who one is costs.

use serde_json::{Value, json};

use super::Stand;
use super::http::Credential;
use crate::setup::AGENT;

#[test]
fn nobody_sees_what_is_not_theirs() {
    let stand = Stand::new();
    let id = stand.pending(json!({ "policies": ["careful"], "reason": "ticket 42" }));
    let grant = stand.ask(json!({ "policies": ["items"] })).text("/grant/id").to_owned();
    let rows =
        |name: &str, path: &str| stand.get(name, path).body["rows"].as_array().unwrap().len();
    // Anna decides about it, Bert about others, Olga runs it all, Carl has nothing to do with it.
    for (name, requests, grants) in
        [(AGENT, 1, 1), ("anna", 1, 0), ("bert", 0, 0), ("olga", 1, 1), ("carl", 0, 0)]
    {
        assert_eq!(
            (rows(name, "/v1/requests"), rows(name, "/v1/grants")),
            (requests, grants),
            "{name}"
        );
        let sees = |path: String| stand.get(name, &path).status == 200;
        assert_eq!(sees(format!("/v1/requests/{id}")), requests == 1, "{name}");
        assert_eq!(sees(format!("/v1/grants/{grant}")), grants == 1, "{name}");
    }
    // What is there and may not be seen looks like what is not there.
    let other = format!("req_{}", "0".repeat(id.len() - 4));
    let (hidden, gone) = (
        stand.get("carl", &format!("/v1/requests/{id}")),
        stand.get("carl", &format!("/v1/requests/{other}")),
    );
    assert_eq!((hidden.status, gone.status), (404, 404));
    assert_eq!(hidden.text("/message").replace(&id, ""), gone.text("/message").replace(&other, ""));
}

#[test]
fn a_wrong_secret_and_an_unknown_name_hear_the_same() {
    let stand = Stand::new();
    let get = |who: &Credential| stand.http().call(who, "GET", "/v1/grants", b"");
    let wrong = get(&Credential::of("anna", "gp_wrong"));
    let unknown = get(&Credential::of("nobody", "gp_wrong"));
    assert_eq!(wrong.code(), (401, "wrong_credential"));
    assert_eq!((unknown.status, &unknown.body), (wrong.status, &wrong.body));
    assert!(wrong.head.to_lowercase().contains("\r\nwww-authenticate: basic"), "{}", wrong.head);
    for who in [
        Credential::none(),
        Credential(Some("Basic ???".into())),
        Credential(Some("Basic".into())),
        Credential(Some("Digest x".into())),
    ] {
        assert_eq!(get(&who).code(), (401, "no_credential"));
    }
    for token in ["", "x", "a.b.c", "eyJhbGciOiJub25lIn0.e30."] {
        assert_eq!(get(&Credential(Some(format!("Bearer {token}")))).status, 401, "{token}");
    }
    // Somebody else's secret is nobody's.
    assert_eq!(get(&Credential::of("anna", stand.secret("bert"))).status, 401);
    assert_eq!(get(&Credential::of("anna", stand.secret("anna"))).status, 200);
    let refused = stand.records("login_refused");
    assert!(refused.iter().any(|it| it["user"] == "nobody"), "{refused:?}");
    assert!(!Value::from(refused).to_string().contains("gp_wrong"));
}

#[test]
fn who_fails_too_often_waits_here_and_in_postgresqls_protocol() {
    let stand = Stand::with(super::POLICIES, |plan| plan.top("bounds: { failed_logins: 3 }"));
    let get = |name: &str, secret: &str| {
        stand.http().call(&Credential::of(name, secret), "GET", "/v1/grants", b"")
    };
    // Whoever was in has an account of their own, and pays for nobody else.
    assert_eq!(get("anna", stand.secret("anna")).status, 200);
    for _ in 0..3 {
        assert_eq!(get(AGENT, "gp_guess").status, 401);
    }
    assert_eq!(get(AGENT, "gp_guess").code(), (429, "failed_logins"));
    assert_eq!(get(AGENT, stand.secret(AGENT)).code(), (429, "failed_logins"), "right or wrong");
    let refusal = stand.login(stand.secret(AGENT)).err().expect("a refusal");
    assert_eq!(refusal.sqlstate(), "53400", "{}", refusal.show());
    assert_eq!(get("anna", stand.secret("anna")).status, 200);
}
