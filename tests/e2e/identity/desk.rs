//! A provider's token opens the desk, over HTTP and by the command line, and who acts for somebody
//! else is on record there and decides nothing.

use serde_json::{Value, json};

use super::{Provider, database, issuer, login, plan};
use crate::desk::http::{Answer, Credential, Http};
use crate::journal::records;
use crate::setup::{AGENT, Gate};

const POLICIES: &str = "policies:
  - name: asked for
    who: [identity:agent-7, group:data-agents]
    to: \"*\"
    access: { window: 20m, approval: { by: group:data-agents } }
    allow: [{ read: public.items }]
  - name: for looks
    who: group:data-agents
    to: \"*\"
    access: { window: 20m, approval: none }
    allow: [{ read: public.items }]
";

fn bearer(token: &str) -> Credential {
    Credential(Some(format!("Bearer {token}")))
}

fn post(gate: &Gate, who: &Credential, path: &str, body: &Value) -> Answer {
    let body = body.to_string();
    Http::plain(gate.process.http()).call(who, "POST", path, body.as_bytes())
}

/// A request of the local agent's that waits.
fn pending(gate: &Gate) -> String {
    let agent = Credential::of(AGENT, &gate.token);
    let body = json!({ "connection": gate.target().database, "reason": "ticket 42" });
    let asked = post(gate, &agent, "/v1/requests", &body);
    assert_eq!((asked.status, asked.text("/state")), (202, "pending"), "{asked:?}");
    asked.text("/request/id").to_owned()
}

#[test]
fn a_provider_s_token_decides() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &[])]).top(POLICIES).start();
    let (token, delegated) = (idp.token("agent-7"), idp.token("delegate"));

    let id = pending(&gate);
    let approve = format!("/v1/requests/{id}/approve");
    // Nobody decides through somebody else.
    let refused = post(&gate, &bearer(&delegated), &approve, &json!({}));
    assert_eq!(refused.status, 403, "{refused:?}");
    assert!(refused.text("/message").contains("in person"), "{refused:?}");
    let forged = token.replace('.', ".x");
    assert_eq!(post(&gate, &bearer(&forged), &approve, &json!({})).status, 401);
    let approved = post(&gate, &bearer(&token), &approve, &json!({ "words": "go on" }));
    assert_eq!((approved.status, approved.text("/state")), (200, "approved"), "{approved:?}");
    assert_eq!(approved.text("/approvals/0/by/issuer"), idp.url);

    // By the command line: with a token there is no name to say.
    let run = |token: &str, arguments: &[&str]| {
        let mut command = e2e::Gatepost::program();
        command
            .args(arguments)
            .env("GATEPOST_URL", format!("http://{}", gate.process.http()))
            .env_remove("GATEPOST_USER")
            .env("GATEPOST_TOKEN", token);
        crate::people::said(command.output().expect("gatepost runs"))
    };
    let request = run(&delegated, &["request", "--on", &database.name, "--policy", "for looks"]);
    assert_eq!(request.code, 0, "{}", request.err);
    let grants = run(&token, &["grants"]);
    assert_eq!((grants.code, grants.out.lines().count()), (0, 1), "its own alone: {}", grants.out);

    let all = records::all(&records::directory(&gate));
    let decided = records::of_event(&all, "request_decided");
    assert_eq!(decided.len(), 1);
    assert_eq!(decided[0]["identity"], json!({ "issuer": idp.url, "subject": "agent-7" }));
}

/// From the login to each statement: who acts, and who acted before.
#[test]
fn the_chain_of_delegation_is_on_record() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &[])]).top(POLICIES).start();
    let (delegated, token) = (idp.token("delegate"), idp.token("agent-7"));
    let mut raw = login(&gate, &delegated);
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    let mut raw = login(&gate, &token);
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");

    let all = records::all(&records::directory(&gate));
    let actors = json!([
        { "issuer": idp.url, "subject": "planner" },
        { "issuer": "https://cloud.example", "subject": "platform" },
    ]);
    for event in ["session_begins", "statement", "grant_opens"] {
        let records = records::of_event(&all, event);
        assert_eq!(records.len(), 2, "{event}");
        for record in records {
            let who = &record["identity"];
            let expected = match who["subject"].as_str() {
                Some("delegate") => &actors,
                _ => &Value::Null,
            };
            assert_eq!(&who["actors"], expected, "{event}");
        }
    }
}
