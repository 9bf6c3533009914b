//! The gateway is killed when something was done and the journal has not heard of it, or has and the
//! store doesn't know: each step has its record, and if it has two they say that they are one.

use access::State;
use serde_json::{Value, json};

use super::Stand;
use crate::raw;
use crate::setup::AGENT;

const POLICIES: &str = "policies:
  - name: asks
    who: identity:agent-7
    to: \"*\"
    access: { window: 1h, approval: { by: identity:anna } }
    allow: [{ read: public.items }]
    hold: [{ write: public.items, by: identity:anna }]
    limits: { hold_wait: 500ms }
";

/// Does what kills it at this point, and starts it again. What was done before is in the journal, and
/// the store knows.
fn killed(stand: &mut Stand, point: &str, what: impl FnOnce(&Stand)) {
    let process = &mut stand.gate.process;
    let state = State::open(&process.place.directory.join("gatepost.db")).expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    crate::setup::eventually("the store to forget", || {
        runtime.block_on(state.untold("gatepost", 0)).expect("the store").is_empty()
    });
    drop(state);
    process.kill9();
    process.place.environment = vec![("GATEPOST_FAULT".into(), point.into())];
    process.restart();
    what(stand);
    let _killed = stand.gate.process.wait_exit();
    stand.gate.process.place.environment.clear();
    stand.gate.process.restart();
}

/// So many records of this event with these fields, once they are there, and not one more; they are one.
fn told(stand: &Stand, count: usize, event: &str, fields: &[(&str, &str)]) -> Vec<Value> {
    let found = e2e::wait_for(&format!("{count} of {event}, {fields:?}"), || {
        let mut records = stand.records(event);
        records.retain(|record| fields.iter().all(|(name, value)| record[*name] == *value));
        (records.len() >= count).then_some(records)
    });
    assert_eq!(found.len(), count, "{found:?}");
    assert!(found[0]["entry"].is_u64(), "{found:?}");
    assert!(found.iter().all(|it| it["entry"] == found[0]["entry"]), "{found:?}");
    found
}

fn post(stand: &Stand, who: &str, path: &str) {
    let credential = super::http::Credential::of(who, stand.secret(who));
    // It hangs up in the midst of it.
    assert!(stand.http().try_call(&credential, "POST", path, b"{}").is_none());
}

#[test]
fn kill_9_between_the_store_and_the_journal() {
    for (point, records) in [("untold", 1), ("told", 2)] {
        let mut stand = Stand::with(POLICIES, |plan| plan);
        // A request.
        killed(&mut stand, point, |stand| {
            let body = json!({ "connection": stand.database.name }).to_string();
            let agent = super::http::Credential::of(AGENT, stand.secret(AGENT));
            let asked = stand.http().try_call(&agent, "POST", "/v1/requests", body.as_bytes());
            assert!(asked.is_none());
        });
        let request = stand.pending(json!({}));
        told(&stand, records, "request", &[("request", &request)]);
        // A decision, and the grant that it opens.
        killed(&mut stand, point, |stand| {
            post(stand, "anna", &format!("/v1/requests/{request}/approve"))
        });
        let decided = told(&stand, records, "request_decided", &[("request", &request)]);
        assert_eq!(decided[0]["identity"]["subject"], "anna");
        assert_eq!(decided[0]["decision"], "approve");
        let grant = decided[0]["opened"].as_str().expect("a grant").to_owned();
        told(&stand, records, "grant_opens", &[("grant", &grant)]);
        // A statement that waits, and what somebody says to it.
        let update = "UPDATE items SET name = 'new' WHERE id = 1";
        killed(&mut stand, point, |stand| {
            let mut agent = stand.login(stand.secret(AGENT)).expect("a grant");
            agent.send(&raw::query(update));
            drop(agent.read_to_end(raw::PATIENCE));
        });
        let mut agent = stand.login(stand.secret(AGENT)).expect("a grant");
        assert_eq!(raw::error(&agent.query(update)).sqlstate(), "ZP001");
        drop(agent);
        let holds = stand.get("anna", "/v1/holds");
        let hold = holds.text("/rows/0/id").to_owned();
        let asked = told(&stand, records, "hold", &[("hold", &hold), ("step", "asked")]);
        assert_eq!(asked[0]["text"], update);
        killed(&mut stand, point, |stand| post(stand, "anna", &format!("/v1/holds/{hold}/deny")));
        told(&stand, records, "hold", &[("hold", &hold), ("step", "denied")]);
        // The end.
        killed(&mut stand, point, |stand| {
            post(stand, "olga", &format!("/v1/grants/{grant}/revoke"))
        });
        told(&stand, records, "grant_ends", &[("grant", &grant)]);
        let journal = crate::journal::records::directory(&stand.gate);
        crate::journal::records::verify(&journal, &[]).unwrap_or_else(|error| panic!("{error}"));
    }
}
