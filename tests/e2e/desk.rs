//! The desk: asking ahead, deciding, looking and ending over HTTP and by the command line. Whoever
//! calls proves who they are; what they may is by policy, and nobody sees what is not theirs.

mod asking;
mod commands;
mod crash;
mod deciding;
mod holds;
pub mod http;
mod seeing;
mod transport;

use std::collections::HashMap;

use e2e::Database;
use serde_json::{Value, json};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, AGENT, Gate, Plan};
use http::Answer;
pub use http::{Credential, Http};

/// Anna and Bert are asked, Olga runs it, Carl has nothing to do with any of it.
const PEOPLE: &str = "identities:
  agent-7: { groups: [dba] }
  anna: { groups: [dba] }
  bert: { groups: [dba] }
  olga: { groups: [operators] }
admins: group:operators
";

/// One policy opens by itself, one after a person agreed, one after two of a group that the agent
/// is in did.
const POLICIES: &str = "policies:
  - name: items
    who: identity:agent-7
    to: \"*\"
    access: { window: 1h, approval: none }
    allow: [{ read: public.items }, { \"insert, update\": public.notes }]
  - name: careful
    who: identity:agent-7
    to: \"*\"
    access: { window: 20m, longest: 30m, approval: { by: identity:anna }, reason: required }
    allow: [{ read: public.items }]
    limits: { hold_wait: 20s }
  - name: two
    who: identity:agent-7
    to: \"*\"
    access: { window: 10m, approval: { by: group:dba, need: 2 } }
    allow: [{ read: public.items }]
";

const SCHEMA: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text);
    INSERT INTO items SELECT g, 'item ' || g FROM generate_series(1, 5) g;
    CREATE TABLE notes (id int, what text);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public;
";

/// A gateway with people around it.
pub struct Stand {
    pub database: Database,
    pub gate: Gate,
    secrets: HashMap<&'static str, String>,
}

impl Stand {
    pub fn new() -> Stand {
        Stand::with(POLICIES, |plan| plan)
    }

    pub fn with(policies: &str, more: impl Fn(Plan) -> Plan) -> Stand {
        Stand::among("", policies, more)
    }

    /// With further identities.
    pub fn among(people: &str, policies: &str, more: impl Fn(Plan) -> Plan) -> Stand {
        let database = setup::database();
        database.login().psql(SCHEMA);
        let people = PEOPLE.replace("admins:", &format!("{people}admins:"));
        let gate = more(Plan::gateway(&database).top(&people).top(policies)).start();
        let mut secrets: HashMap<_, _> = ["anna", "bert", "olga", "carl"]
            .into_iter()
            .map(|name| (name, gate.process.token(name)))
            .collect();
        secrets.insert(AGENT, gate.token.clone());
        Stand { database, gate, secrets }
    }

    pub fn http(&self) -> Http {
        Http::plain(self.gate.process.http())
    }

    pub fn secret(&self, name: &str) -> &str {
        &self.secrets[name]
    }

    pub fn get(&self, name: &str, path: &str) -> Answer {
        self.http().call(&Credential::of(name, self.secret(name)), "GET", path, b"")
    }

    pub fn post(&self, name: &str, path: &str, body: Value) -> Answer {
        let body = body.to_string();
        self.http().call(&Credential::of(name, self.secret(name)), "POST", path, body.as_bytes())
    }

    /// The agent asks for its connection.
    pub fn ask(&self, mut with: Value) -> Answer {
        with["connection"] = json!(self.database.name);
        self.post(AGENT, "/v1/requests", with)
    }

    /// A request of the agent's that waits; its name.
    pub fn pending(&self, with: Value) -> String {
        let asked = self.ask(with);
        assert_eq!((asked.status, asked.text("/state")), (202, "pending"), "{asked:?}");
        asked.text("/request/id").to_owned()
    }

    /// A session by a password of the agent's.
    pub fn login(&self, password: &str) -> Result<Raw, Message> {
        self.login_to(&self.database.name, password)
    }

    pub fn login_to(&self, connection: &str, password: &str) -> Result<Raw, Message> {
        let mut raw = Raw::connect(&self.gate.address());
        raw.send(&raw::startup(raw::PROTOCOL_3_0, AGENT, &[("database", connection)]));
        raw.finish_login(AGENT, password).map(|_| raw)
    }

    /// The journal's records of one kind.
    pub fn records(&self, event: &str) -> Vec<Value> {
        let all = crate::journal::records::all(&crate::journal::records::directory(&self.gate));
        all.into_iter().filter(|record| record["event"] == event).collect()
    }
}
