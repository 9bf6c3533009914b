//! Sessions live under grants: how one comes by a grant by connecting, what it lets pass, and that
//! nothing outlives it. People decide through the store here, as another process would.

mod clock;
mod ending;
mod entering;
mod showing;
mod store;

use std::time::Duration;

use access::{Filter, Person, Request, RequestId, Saying, State};
use e2e::{Database, Server};

use crate::raw::{Message, Raw};
use crate::setup::{self, AGENT, Gate, Plan, Target};

const SCHEMA: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text);
    INSERT INTO items SELECT g, 'item ' || g FROM generate_series(1, 5) g;
    CREATE TABLE notes (id int, what text);
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public;
";

/// A database, and a gateway before it whose grants people decide about in `people`.
pub struct Stand {
    pub database: Database,
    pub gate: Gate,
}

impl Stand {
    pub fn new(server: &Server, policies: &str) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = plan(&database, policies).start();
        Stand { database, gate }
    }

    /// That people can set the clock of.
    pub fn with_clock(server: &Server, policies: &str) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = plan(&database, policies).start_with(|place| {
            let file = place.directory.join("clock").display().to_string();
            vec![("GATEPOST_CLOCK".to_owned(), file)]
        });
        Stand { database, gate }
    }

    /// What it keeps, it keeps in `store`.
    pub fn storing(server: &Server, store: &Database, policies: &str) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = plan(&database, policies).state_in(store).start();
        Stand { database, gate }
    }

    /// Clients log in at the database.
    pub fn observing(server: &Server, access: &str) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let who = format!("\"issuer:database:{}\"", database.name);
        let policies = opens("items", access, "").replace(&format!("identity:{AGENT}"), &who);
        let gate = Plan::observe(&database).top(&format!("policies:\n{policies}")).start();
        Stand { database, gate }
    }

    pub fn reload(&self, policies: &str) {
        let before = self.gate.log().matches("has been read again").count();
        self.gate.reload(&plan(&self.database, policies));
        setup::eventually("the new policies to be in force", || {
            self.gate.log().matches("has been read again").count() > before
        });
    }

    /// Logs in with start-up options.
    pub fn asking(&self, options: &str) -> Result<(Raw, Vec<Message>), Message> {
        Asking::begin(&self.gate.target(), options).finish()
    }

    pub fn people(&self) -> People {
        People::of(&self.gate)
    }
}

fn plan(database: &Database, policies: &str) -> Plan {
    Plan::gateway(database).top(&format!("policies:\n{policies}"))
}

/// A policy that opens by itself. `access` and `more` are lines of it.
pub fn opens(name: &str, access: &str, more: &str) -> String {
    policy(name, &format!("approval: none, {access}"), more)
}

/// A policy that `anna` has to agree to.
pub fn asks(name: &str, access: &str, more: &str) -> String {
    policy(name, &format!("approval: {{ by: identity:anna }}, {access}"), more)
}

fn policy(name: &str, access: &str, more: &str) -> String {
    format!(
        "  - name: {name}\n    who: identity:{AGENT}\n    to: \"*\"\n    access: {{ {access} }}\n    \
         allow: [ {{ read: public.items }}, {{ \"insert, update\": public.notes }} ]\n{more}"
    )
}

/// A login whose messages are kept, for it may be told something before it is in.
pub struct Asking {
    raw: Raw,
    notices: Vec<Message>,
    target: Target,
}

impl Asking {
    pub fn begin(target: &Target, options: &str) -> Asking {
        let mut raw = Raw::connect(&target.address);
        let mut parameters = vec![("database", &*target.database)];
        if !options.is_empty() {
            parameters.push(("options", options));
        }
        raw.send(&crate::raw::startup(crate::raw::PROTOCOL_3_0, &target.user, &parameters));
        Asking { raw, notices: Vec::new(), target: target.clone() }
    }

    /// Until it is told something.
    pub fn notice(&mut self) -> Message {
        let target = self.target.clone();
        let notice = self.raw.login_until_notice(&target.user, &target.password);
        self.notices.push(notice.clone());
        notice
    }

    pub fn finish(mut self) -> Result<(Raw, Vec<Message>), Message> {
        let target = self.target.clone();
        let mut notices = std::mem::take(&mut self.notices);
        match self.raw.finish_login_with(&target.user, &target.password, &mut notices) {
            Ok(_) => Ok((self.raw, notices)),
            Err(refusal) => {
                assert_eq!(self.raw.read(), None, "a refusal is the last message");
                Err(refusal)
            }
        }
    }

    /// As who leaves without a word.
    pub fn leave(self) {}
}

/// Those who decide, and the store that they do it in.
pub struct People {
    state: State,
    runtime: tokio::runtime::Runtime,
}

impl People {
    pub fn of(gate: &Gate) -> People {
        let path = gate.process.place.directory.join("gatepost.db");
        let state = State::open(&path).expect("the state file");
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        People { state, runtime }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.runtime.block_on(self.state.requests(Filter::default())).unwrap()
    }

    /// The one that waits.
    pub fn pending(&self) -> Request {
        let filter = Filter { open: true, ..Filter::default() };
        let waits = || self.runtime.block_on(self.state.requests(filter.clone())).unwrap().pop();
        e2e::wait_for("a request", waits)
    }

    pub fn approve(&self, id: &RequestId) {
        self.say(id, Saying::Approve { words: None, shape: None });
    }

    pub fn deny(&self, id: &RequestId, words: &str) {
        self.say(id, Saying::Deny { words: Some(words.to_owned()) });
    }

    fn say(&self, id: &RequestId, saying: Saying) {
        let vote = self.state.vote(id, identity("anna"), saying, Box::new(|_| true));
        self.runtime.block_on(vote).expect("a vote that counts");
    }

    pub fn grants(&self) -> Vec<access::Grant> {
        let filter = Filter { open: true, ..Filter::default() };
        self.runtime.block_on(self.state.grants(filter)).unwrap()
    }

    pub fn all_grants(&self) -> Vec<access::Grant> {
        self.runtime.block_on(self.state.grants(Filter::default())).unwrap()
    }

    pub fn revoke(&self, id: &access::GrantId, words: &str) {
        let by = identity("anna").person;
        let how = access::GrantEnd::Revoked { by, words: Some(words.to_owned()) };
        self.runtime.block_on(self.state.end_grant(id, how)).expect("a grant that lived");
    }
}

fn identity(name: &str) -> access::Identity {
    access::Identity {
        person: Person { issuer: "gatepost".to_owned(), subject: name.to_owned() },
        name: Some(name.to_owned()),
        groups: Vec::new(),
        claims: std::collections::BTreeMap::new(),
        actors: Vec::new(),
    }
}

/// What a session is told until it is over; the last message.
pub fn last_words(raw: &mut Raw) -> Message {
    let mut last = None;
    while let Some(message) = raw.read() {
        last = Some(message);
    }
    last.expect("words")
}

pub fn detail(message: &Message) -> serde_json::Value {
    let detail = message.field(b'D').unwrap_or_else(|| panic!("no DETAIL: {}", message.show()));
    serde_json::from_str(&detail).unwrap_or_else(|e| panic!("{e}: {detail}"))
}

pub const SOON: Duration = Duration::from_secs(20);
