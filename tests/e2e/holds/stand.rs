//! A database whose payments nobody changes alone, and the people who agree or don't. They decide
//! in the gateway's own store, as its command line and its HTTP do.

use std::collections::{BTreeMap, HashSet};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use access::{Filter, GrantEnd, Hold, HoldState, Identity, Person, Saying, State, StateError};
use e2e::{Database, Server};
use serde_json::Value;

use crate::raw::{Message, Raw};
use crate::setup::{Gate, Plan};

const SCHEMA: &str = "
    CREATE TABLE payments (id int PRIMARY KEY, amount int, note text);
    INSERT INTO payments SELECT n, 100, 'n' || n FROM generate_series(1, 20) n;
    CREATE TABLE lines (payment int REFERENCES payments ON DELETE CASCADE, what text);
    INSERT INTO lines SELECT n, 'line' FROM generate_series(1, 20) n;
    CREATE TABLE free (id int, what text);
    CREATE TABLE shaped (id int);
    CREATE TABLE many (id int, v int);
    INSERT INTO many SELECT n, 0 FROM generate_series(1, 20) n;
    CREATE FUNCTION tells() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE NOTICE 'it ran'; RETURN NULL; END $$;
    CREATE TRIGGER tells AFTER UPDATE ON many EXECUTE FUNCTION tells();
    INSERT INTO free SELECT n, 'x' FROM generate_series(1, 200) n;
    ANALYZE free;
    CREATE TABLE late (id int UNIQUE DEFERRABLE INITIALLY DEFERRED);
    INSERT INTO late VALUES (1), (2);
    CREATE FUNCTION noted(t text) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO free VALUES (0, t); RETURN t; END $$;
    GRANT ALL ON SCHEMA public TO public;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public";

pub struct Stand {
    pub database: Database,
    pub gate: Gate,
    state: State,
    runtime: tokio::runtime::Runtime,
}

pub fn plan(database: &Database, limits: &str) -> Plan {
    plan_for(database, "1h", limits)
}

fn plan_for(database: &Database, window: &str, limits: &str) -> Plan {
    Plan::gateway(database).top(&format!(
        "policies:\n  - name: payments\n    who: \"*\"\n    to: \"*\"\n    \
         access: {{ window: {window}, approval: none }}\n    allow:\n      - read: public.*\n      \
         - write: public.free, public.late, public.many\n      - use: public.noted\n      - set: app.*\n    hold:\n      \
         - write, truncate: public.payments\n        by: group:dba\n      \
         - ddl, maintain: public.*\n        by: group:dba\n      \
         - write: public.late\n        if: no where\n        by: group:dba\n      \
         - write: public.free\n        if: estimate > 50\n        by: group:dba\n      \
         - write: public.shaped\n        by: group:dba\n        shape: true\n      \
         - write: public.many\n        if: changed > 3\n        by: group:dba\n      \
         - write: public.many\n        if: every row\n        by: group:dba\n{limits}"
    ))
}

impl Stand {
    pub fn new(server: &Server) -> Stand {
        Stand::with(server, "")
    }

    pub fn with(server: &Server, limits: &str) -> Stand {
        Stand::on(server.database(), limits)
    }

    pub fn on(database: Database, limits: &str) -> Stand {
        let plan = plan(&database, limits);
        Stand::of(database, &plan)
    }

    /// Whose grants end soon.
    pub fn ending(server: &Server, window: &str) -> Stand {
        let database = server.database();
        let plan = plan_for(&database, window, "");
        Stand::of(database, &plan)
    }

    fn of(database: Database, plan: &Plan) -> Stand {
        database.login().psql(SCHEMA);
        database.login().psql(&format!(
            "ALTER TABLE payments OWNER TO {role}; ALTER TABLE lines OWNER TO {role}",
            role = e2e::Role::Scram.name()
        ));
        let gate = plan.start();
        let state =
            State::open(&gate.process.place.directory.join("gatepost.db")).expect("a store");
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        Stand { database, gate, state, runtime }
    }

    pub fn agent(&self) -> Raw {
        self.gate.login().0
    }

    /// Those that wait for a person, oldest first.
    pub fn pending(&self) -> Vec<Hold> {
        let filter = Filter { open: true, ..Filter::default() };
        let mut holds = self.runtime.block_on(self.state.holds(filter)).expect("holds");
        holds.reverse();
        holds
    }

    pub fn all(&self) -> Vec<Hold> {
        let mut holds = self.runtime.block_on(self.state.holds(Filter::default())).expect("holds");
        holds.reverse();
        holds
    }

    /// The only one that waits, once it does.
    pub fn waits(&self) -> Hold {
        e2e::wait_for("a hold", || self.pending().into_iter().next())
    }

    pub fn hold(&self, id: &access::HoldId) -> Hold {
        self.runtime.block_on(self.state.held(id)).expect("the store").expect("the hold")
    }

    fn decide(&self, hold: &Hold, saying: Saying) {
        self.decided(hold, saying).unwrap_or_else(|error| panic!("{error}"));
    }

    fn decided(&self, hold: &Hold, saying: Saying) -> Result<Hold, StateError> {
        let voted = self.state.decide_hold(&hold.id, anna(), saying, Box::new(|_| true));
        self.runtime.block_on(voted)
    }

    /// It is too late to agree.
    pub fn is_over(&self, hold: &Hold) -> bool {
        let agreed = self.decided(hold, Saying::Approve { words: None, shape: None });
        agreed.is_err_and(|error| error.refused().is_some())
    }

    pub fn revoke(&self, hold: &Hold, words: &str) {
        let how = GrantEnd::Revoked { by: anna().person, words: Some(words.to_owned()) };
        self.runtime.block_on(self.state.end_grant(&hold.grant, how)).expect("a grant that lived");
    }

    pub fn approve(&self, hold: &Hold) {
        self.decide(hold, Saying::Approve { words: None, shape: None });
    }

    /// For other parameters, too.
    pub fn approve_shape(&self, hold: &Hold, uses: u32) {
        let shape = Some(access::ShapeOffer { uses, lasts_millis: 60_000 });
        self.decide(hold, Saying::Approve { words: None, shape });
    }

    pub fn deny(&self, hold: &Hold, words: &str) {
        self.decide(hold, Saying::Deny { words: Some(words.to_owned()) });
    }

    /// `what` meets a hold, which is approved; what it gives.
    pub fn approved<T: Send + 'static>(
        &self,
        what: impl FnOnce() -> T + Send + 'static,
    ) -> (T, Hold) {
        let (said, hears) = mpsc::channel();
        let before = self.all().len();
        let doing = thread::spawn(move || {
            said.send(what()).expect("somebody listens");
        });
        let hold = e2e::wait_for("a hold", || self.all().into_iter().nth(before));
        self.approve(&hold);
        let result = hears.recv_timeout(Duration::from_secs(60));
        let result = result.unwrap_or_else(|_| panic!("{}", self.gate.log()));
        doing.join().expect("it ends");
        (result, hold)
    }

    pub fn value(&self, sql: &str) -> String {
        self.database.login().psql(sql)
    }

    /// What became of it, once that is known.
    pub fn outcome(&self, hold: &Hold) -> HoldState {
        e2e::wait_for("an outcome", || {
            let state = self.hold(&hold.id).state;
            (!matches!(state, HoldState::Running | HoldState::Approved { .. })).then_some(state)
        })
    }

    /// The steps of a hold, as the journal has them; one that a start has recorded again counts once.
    pub fn steps(&self, hold: &Hold) -> Vec<String> {
        let records = crate::journal::records::all(&crate::journal::records::directory(&self.gate));
        let mut entries = HashSet::new();
        let mut of = |record: &&Value| {
            let is_of = record["event"] == "hold" && record["hold"] == hold.id.as_str();
            is_of && record["entry"].as_u64().is_none_or(|entry| entries.insert(entry))
        };
        let step = |record: &Value| record["step"].as_str().expect("a step").to_owned();
        records.iter().filter(&mut of).map(step).collect()
    }
}

pub fn anna() -> Identity {
    Identity {
        person: Person { issuer: "gatepost".to_owned(), subject: "anna".to_owned() },
        name: Some("anna".to_owned()),
        groups: vec!["dba".to_owned()],
        claims: BTreeMap::new(),
        actors: Vec::new(),
    }
}

/// Without the notices and settings among them.
pub fn plain(replies: Vec<Message>) -> Vec<Message> {
    replies.into_iter().filter(|message| !matches!(message.tag, b'N' | b'S')).collect()
}
