//! Two databases that are alike to the OID, one of them behind a gateway: a program is played on both,
//! and what comes back is compared, message by message.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use e2e::{Database, Role, Server};

use super::deciding::Deciding;
use super::program::{END, Program};
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Mode, Target};

const SCHEMA: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE items (
        id int PRIMARY KEY, name text, price numeric(10, 2), data bytea, sold bool, made timestamp,
        mood mood, tags text[]
    ) WITH (autovacuum_enabled = off);
    CREATE TABLE logs (id serial PRIMARY KEY, what text NOT NULL) WITH (autovacuum_enabled = off);
    CREATE TABLE sink (a int, b text) WITH (autovacuum_enabled = off);
    CREATE FUNCTION chatty(n int) RETURNS int LANGUAGE plpgsql AS $$
    BEGIN
        FOR i IN 1..n LOOP RAISE NOTICE 'said %', i USING HINT = 'listen', DETAIL = 'fully'; END LOOP;
        RETURN n;
    END $$;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public;
    GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO public;
";

/// Back to the beginning without new OIDs.
const RESET: &str = "
    TRUNCATE items, logs, sink RESTART IDENTITY;
    INSERT INTO items
    SELECT g, 'item ' || g, g * 1.25, decode(lpad(to_hex(g), 8, '0'), 'hex'), g % 2 = 0,
           timestamp '2026-01-01' + g * interval '1 day',
           (ARRAY['sad', 'ok', 'happy'])[g % 3 + 1]::mood, ARRAY['a' || g, NULL, 'c,d']
    FROM generate_series(1, 10) g;
    DROP TABLE IF EXISTS scratch;
";
/// The two databases of one test, alike to the OID, and how to reach each.
pub(super) struct Stand {
    pub(super) left: Side,
    pub(super) right: Side,
    /// OIDs from here on were given out after the common template.
    first_own_oid: u32,
    mode: Mode,
    /// Programs of which something was refused that the server would have run.
    pub(super) of_its_own_mind: usize,
    _deciding: Option<Deciding>,
    _gate: Option<setup::Gate>,
    _template: Database,
}

pub(super) struct Side {
    target: Target,
    /// A superuser's direct session, for setting the database back.
    pub(super) reset: Raw,
    _database: Database,
}

impl Stand {
    pub(super) fn new(server: &Server, mode: Mode) -> Stand {
        let template = server.database();
        template.login().psql(SCHEMA);
        let first_own_oid = template
            .login()
            .psql("SELECT max(oid)::int + 1 FROM pg_class")
            .parse()
            .expect("an OID");
        let (left, right) = (setup::twin(&template), setup::twin(&template));
        let (target, gate) = setup::gate(&right, mode);
        let deciding = match (mode, &gate) {
            (Mode::Approved, Some(gate)) => Some(Deciding::begin(gate, true)),
            (Mode::Denied, Some(gate)) => Some(Deciding::begin(gate, false)),
            _ => None,
        };
        Stand {
            left: Side::new(Target::direct(&left, Role::Scram), left),
            right: Side::new(target, right),
            first_own_oid,
            mode,
            of_its_own_mind: 0,
            _deciding: deciding,
            _gate: gate,
            _template: template,
        }
    }

    /// What differs between the replies of the two sides, or nothing.
    pub(super) fn difference(&mut self, program: &Program) -> Option<String> {
        let direct = &match self.mode {
            Mode::Refused => program.failing_by_itself(),
            Mode::Denied => program.failing_when_it_runs(),
            _ => program.clone(),
        };
        let left = self.left.run(direct);
        let right = self.right.run(program);
        if self.has_own_mind(&right.messages) {
            self.of_its_own_mind += 1;
            return None;
        }
        let found = self.compare(&left, &right)?;
        // A server that doesn't agree with itself is no measure.
        let again = self.left.run(direct);
        if let Some(own) = self.compare(&left, &again) {
            eprintln!("the server alone answers this differently each time:\n{program}{own}");
            return None;
        }
        Some(found)
    }

    pub(super) fn compare(&self, left: &Transcript, right: &Transcript) -> Option<String> {
        let (l, r) = (self.canonical(&left.messages), self.canonical(&right.messages));
        if l == r && left.end == right.end {
            return None;
        }
        let same = l.iter().zip(&r).take_while(|(a, b)| a == b).count();
        let mut text = format!("  {same} equal messages, then\n");
        for (name, messages, end) in [("first", &l, &left.end), ("second", &r, &right.end)] {
            writeln!(text, "  {name} ({} in all, then {end}):", messages.len()).unwrap();
            for message in messages.iter().skip(same.saturating_sub(2)).take(6) {
                writeln!(text, "    {}", message.show()).unwrap();
            }
        }
        Some(text)
    }

    /// Where statements are judged, a string may be refused that the server would have run: it is
    /// to be sent in parts. What comes of the rest of the program is another thing then.
    fn has_own_mind(&self, messages: &[Message]) -> bool {
        let codes: &[&str] = match self.mode {
            Mode::Judged | Mode::Refused | Mode::Denied => &UNREADABLE,
            Mode::Approved => &[&UNREADABLE[..], &["held_in_transaction", "cannot_hold"]].concat(),
            _ => return false,
        };
        let says = |message: &Message| codes.iter().any(|code| says(message, code));
        messages.iter().any(|message| message.tag == b'E' && says(message))
    }

    fn canonical(&self, messages: &[Message]) -> Vec<Message> {
        let mut messages = messages.to_vec();
        if matches!(self.mode, Mode::Approved | Mode::Denied) {
            // That somebody has to be waited for is the one thing that is said.
            messages.retain(|message| message.tag != b'N' || !says(message, "held"));
        }
        for message in &mut messages {
            match message.tag {
                b'A' => message.body[..4].fill(0),
                b'T' => forget_own_oids(&mut message.body, self.first_own_oid),
                b'E' if matches!(self.mode, Mode::Judged | Mode::Approved) => {
                    // In a failed block a text is not read for its grammar.
                    let sqlstate = message.sqlstate().replace("42601", "25P02");
                    message.body = sqlstate.into_bytes();
                }
                b'E' if matches!(self.mode, Mode::Refused | Mode::Denied) => message.body.clear(),
                _ => {}
            }
        }
        messages
    }

    /// Leaves out whatever is not needed for the difference to show.
    pub(super) fn shrink(&mut self, mut program: Program) -> Program {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut step = program.steps.len().div_ceil(2);
        while step > 0 {
            let mut at = 0;
            while at < program.steps.len() && Instant::now() < deadline {
                let mut smaller = program.clone();
                smaller.steps.drain(at..(at + step).min(program.steps.len()));
                smaller = smaller.assembled();
                if self.difference(&smaller).is_some() {
                    program = smaller;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        program
    }
}

/// Why a text that the server would take is refused, where nothing forbids it.
const UNREADABLE: [&str; 4] =
    ["send_it_alone", "not_understood", "server_not_listening", "not_allowed"];

/// Whether it is the gateway's own, about this.
fn says(message: &Message, code: &str) -> bool {
    let detail = message.field(b'D').unwrap_or_default();
    detail.starts_with(&format!("{{\"code\":\"{code}\""))
}

/// The table's OID in each field of a RowDescription, when it is younger than the template.
fn forget_own_oids(body: &mut [u8], first_own_oid: u32) {
    let fields = u16::from_be_bytes([body[0], body[1]]);
    let mut at = 2;
    for _ in 0..fields {
        at += body[at..].iter().position(|b| *b == 0).expect("a field's name ends") + 1;
        let oid = u32::from_be_bytes(body[at..at + 4].try_into().unwrap());
        if oid >= first_own_oid {
            body[at..at + 4].fill(0xff);
        }
        at += 18;
    }
}

pub(super) struct Transcript {
    messages: Vec<Message>,
    end: String,
}

impl Side {
    fn new(target: Target, database: Database) -> Side {
        let reset = setup::admin(&database);
        Side { target, reset, _database: database }
    }

    pub(super) fn run(&mut self, program: &Program) -> Transcript {
        let replies = self.reset.query(RESET);
        assert!(replies.iter().all(|m| m.tag != b'E'), "{}", raw::show(&replies));
        let (mut raw, _) = self.target.login();
        let mut sender = raw.sender();
        let mut messages = Vec::new();
        let mut end = None;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for piece in program.pieces() {
                    // A session that ended early takes no more; the replies will tell.
                    if sender.try_send(piece).is_err() {
                        break;
                    }
                }
            });
            let mut marked = false;
            while end.is_none() {
                match raw.read_within(raw::PATIENCE) {
                    Ok(Some(message)) => {
                        marked |= message.tag == b'D' && message.body.ends_with(END.as_bytes());
                        let finished = marked && message.tag == b'Z';
                        messages.push(message);
                        if finished && !program.terminated {
                            end = Some("waits for more".to_owned());
                        }
                    }
                    Ok(None) => end = Some("the end of the stream".to_owned()),
                    Err(e) => {
                        // Lets the sender out should it be stuck.
                        raw.half_close();
                        end = Some(format!("nothing ({e})"));
                    }
                }
            }
        });
        if !program.terminated {
            let _ = raw.try_send(&raw::terminate());
        }
        Transcript { messages, end: end.expect("the loop ends with an end") }
    }
}
