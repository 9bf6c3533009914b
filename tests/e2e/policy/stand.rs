//! A database with something to hide, and a gateway whose policies say so.

use e2e::{Database, ROLE_PASSWORD, Role, Server};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan, Target};

/// What every test may rely on. `secrets` is what nobody may read.
const SCHEMA: &str = "
    CREATE TABLE items (id int PRIMARY KEY, name text);
    INSERT INTO items SELECT g, 'item ' || g FROM generate_series(1, 5) g;
    CREATE TABLE secrets (id int PRIMARY KEY, name text);
    INSERT INTO secrets VALUES (1, 'hush');
    CREATE TABLE notes (id int, what text);
    CREATE SCHEMA side;
    CREATE TABLE side.items (id int, name text);
    INSERT INTO side.items VALUES (9, 'side');
    CREATE TABLE side.notes (id int, what text);
    INSERT INTO side.notes VALUES (9, 'hush notes');
    CREATE TABLE side.secrets (id int, name text);
    INSERT INTO side.secrets VALUES (9, 'hush aside');
    CREATE FUNCTION moves(path text) RETURNS text LANGUAGE sql
        AS $$ SELECT pg_catalog.set_config('search_path', path, false) $$;
    CREATE FUNCTION quiet() RETURNS int LANGUAGE sql AS 'SELECT 7';
    GRANT ALL ON SCHEMA public, side TO public;
    GRANT ALL ON ALL TABLES IN SCHEMA public, side TO public;
";

/// Everything but `secrets`, by names of what is allowed.
pub const POLICIES: &str = "
  - name: items
    who: agent-7
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - read: public.items, side.items
      - write: public.notes
      - read: public.notes
      - create, drop, alter: pg_temp.*, public.made
      - read, write: pg_temp.*, public.made
      - use: public.moves
";

pub struct Stand {
    pub database: Database,
    pub gate: Gate,
}

impl Stand {
    pub fn new(server: &Server) -> Stand {
        Stand::with(server, POLICIES)
    }

    pub fn with(server: &Server, policies: &str) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = plan(&database, policies).start();
        Stand { database, gate }
    }

    /// The same house with its doors open.
    pub fn without(server: &Server) -> Stand {
        let database = server.database();
        database.login().psql(SCHEMA);
        let gate = Plan::gateway(&database).start();
        Stand { database, gate }
    }

    /// Clients log in at the database.
    pub fn observing(server: &Server) -> (Stand, Target) {
        let database = server.database();
        database.login().psql(SCHEMA);
        let who = format!("\"issuer:database:{}\"", database.name);
        let policies = POLICIES.replace("agent-7", &who);
        let gate = Plan::observe(&database).top(&format!("policies:{policies}")).start();
        let target = Target {
            address: gate.address(),
            user: Role::Scram.name().to_owned(),
            password: ROLE_PASSWORD.to_owned(),
            database: database.name.clone(),
        };
        (Stand { database, gate }, target)
    }

    /// What was hidden is there again.
    pub fn restore(&self) {
        self.database.login().psql(
            "TRUNCATE public.secrets, side.secrets, side.notes, public.notes; \
             INSERT INTO public.secrets VALUES (1, 'hush'); \
             INSERT INTO side.secrets VALUES (9, 'hush aside'); \
             INSERT INTO side.notes VALUES (9, 'hush notes')",
        );
    }

    pub fn agent(&self) -> Raw {
        self.gate.login().0
    }

    /// Another file's policies, once they are in force.
    pub fn reload(&self, policies: &str) {
        let before = self.gate.log().matches("has been read again").count();
        self.gate.reload(&plan(&self.database, policies));
        setup::eventually("the new policies to be in force", || {
            self.gate.log().matches("has been read again").count() > before
        });
    }
}

pub fn plan(database: &Database, policies: &str) -> Plan {
    let policies = policies.replace("agent-7", &format!("identity:{}", setup::AGENT));
    Plan::gateway(database).top(&format!("policies:{policies}"))
}

/// The error among replies: SQLSTATE and message.
pub fn error(replies: &[Message]) -> Option<(String, String)> {
    let error = replies.iter().find(|message| message.tag == b'E')?;
    let field = |wanted: u8| {
        let mut fields = error.body.split(|&byte| byte == 0);
        let field = fields.find(|field| field.first() == Some(&wanted))?;
        Some(String::from_utf8_lossy(&field[1..]).into_owned())
    };
    Some((field(b'C')?, field(b'M')?))
}

pub fn field(replies: &[Message], wanted: u8) -> String {
    let error = replies.iter().find(|message| message.tag == b'E').expect("an error");
    let mut fields = error.body.split(|&byte| byte == 0);
    let field = fields.find(|field| field.first() == Some(&wanted)).expect("the field");
    String::from_utf8_lossy(&field[1..]).into_owned()
}

/// The tags of replies but ParameterStatus, the status byte behind Z, and of errors the SQLSTATE.
pub fn shape(replies: &[Message]) -> String {
    let one = |message: &Message| match message.tag {
        b'Z' => format!("Z{}", char::from(message.body[0])),
        b'E' => format!("E:{}", error(std::slice::from_ref(message)).expect("fields").0),
        tag => char::from(tag).to_string(),
    };
    // Which settings are reported is the version's.
    let replies = replies.iter().filter(|message| message.tag != b'S');
    replies.map(one).collect::<Vec<_>>().join(" ")
}

/// Parse, Bind, Execute, Sync.
pub fn extended(sql: &str) -> Vec<u8> {
    [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0), raw::sync()]
        .concat()
}

/// Nothing that was said has shown or changed what may not be.
pub fn assert_kept(database: &Database, replies: &[Message], what: &str) {
    for message in replies {
        let text = String::from_utf8_lossy(&message.body);
        assert!(!text.contains("hush"), "{what}: {}", raw::show(replies));
    }
    let kept = database.login().psql(
        "SELECT (SELECT string_agg(name, ',') FROM public.secrets) || \
         (SELECT string_agg(name, ',') FROM side.secrets) || \
         (SELECT string_agg(what, ',') FROM side.notes)",
    );
    assert_eq!(kept, "hushhush asidehush notes", "{what}");
}
