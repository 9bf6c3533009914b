//! The same bytes sent to PostgreSQL directly and through the gateway must bring the same bytes
//! back. Random programs of protocol messages, mostly sensible, partly nonsense, and some written
//! out by name. Only what can't be equal is cut out: process ids, and the OIDs of tables that a
//! program made itself. Logins are judged in `startup` and `observe`.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use e2e::{Database, Role, Server, on_each_version};

use crate::raw::{self, Message, Raw};
use crate::setup::{self, Dice, Mode, Target};

/// Programs in an ordinary run, for each server version and each way to log in.
const PROGRAMS: u64 = 120;
const PROGRAMS_LONG: u64 = 5_000;

/// In every result that is waited for; nothing else produces it.
const END: &str = "the end of the program";

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

on_each_version! {
    fn random_programs_gateway(server: Server) {
        random_programs(&server, Mode::Gateway);
    }

    /// With a policy that allows everything nobody can tell either.
    fn random_programs_everything(server: Server) {
        random_programs(&server, Mode::Everything);
    }

    fn named_programs_everything(server: Server) {
        named_programs(&server, Mode::Everything);
    }

    /// Every statement is judged and may run: what comes back is told apart by the words of errors
    /// at most.
    fn random_programs_judged(server: Server) {
        random_programs(&server, Mode::Judged);
    }

    fn named_programs_judged(server: Server) {
        named_programs(&server, Mode::Judged);
    }

    /// Some statements are refused: the session stands where it would if they had failed by
    /// themselves.
    fn random_programs_refused(server: Server) {
        random_programs(&server, Mode::Refused);
    }

    fn random_programs_observe(server: Server) {
        random_programs(&server, Mode::Observe);
    }

    fn named_programs_gateway(server: Server) {
        named_programs(&server, Mode::Gateway);
    }

    fn named_programs_observe(server: Server) {
        named_programs(&server, Mode::Observe);
    }

    /// What the random programs rest on: without a gateway there is no difference at all.
    fn the_server_agrees_with_itself(server: Server) {
        let mut stand = Stand::new(&server, Mode::Direct);
        let random = seeds().map(|seed| (format!("GATEPOST_SEED={seed}"), Program::random(seed)));
        let named = named().into_iter().map(|(name, program)| (name.to_owned(), program));
        for (name, program) in random.chain(named) {
            let (left, right) = (stand.left.run(&program), stand.right.run(&program));
            if let Some(difference) = stand.compare(&left, &right) {
                panic!("{name}:\n{program}{difference}");
            }
        }
    }
}

/// The comparison itself must be able to fail: a twin whose data differ by one character.
#[test]
fn a_difference_is_seen() {
    let mut stand = Stand::new(&e2e::pg(e2e::versions()[0]), Mode::Direct);
    stand.right.reset.query("DROP FUNCTION chatty");
    stand
        .right
        .reset
        .query("CREATE FUNCTION chatty(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1'");
    let program = Program::of(vec![("Query", raw::query("SELECT chatty(1)"))]);
    assert!(stand.difference(&program).is_some());
    let program = Program::of(vec![("Query", raw::query("SELECT 1"))]);
    assert_eq!(stand.difference(&program), None);
}

fn random_programs(server: &Server, mode: Mode) {
    let mut stand = Stand::new(server, mode);
    let version = server.version;
    let seeds = match mode {
        // The same programs as in the other modes: half of them say as much.
        Mode::Everything | Mode::Judged | Mode::Refused => seeds().step_by(2),
        _ => seeds().step_by(1),
    };
    for seed in seeds {
        let program = match mode {
            Mode::Judged | Mode::Refused => Program::random(seed).readable(),
            _ => Program::random(seed),
        };
        if stand.difference(&program).is_some() {
            let program = stand.shrink(program);
            let difference = stand
                .difference(&program)
                .unwrap_or_else(|| "(did not show again: run the seed a few times)".to_owned());
            panic!(
                "GATEPOST_SEED={seed} on PostgreSQL {version}, {mode:?}:\n{program}{difference}"
            );
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("GATEPOST_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("GATEPOST_SEED is a number");
            seed..seed + 1
        }
        Err(_) if setup::long() => 0..PROGRAMS_LONG,
        Err(_) => 0..PROGRAMS,
    }
}

fn named_programs(server: &Server, mode: Mode) {
    let mut stand = Stand::new(server, mode);
    let version = server.version;
    let mut failed = String::new();
    for (name, program) in named() {
        let program = match mode {
            Mode::Judged | Mode::Refused => program.readable(),
            _ => program,
        };
        if let Some(difference) = stand.difference(&program) {
            writeln!(failed, "{name}:\n{program}{difference}").unwrap();
        }
    }
    assert!(failed.is_empty(), "PostgreSQL {version}, {mode:?}:\n{failed}");
}

/// Programs that once told a proxy from a server, or that the random ones reach too seldom.
fn named() -> Vec<(&'static str, Program)> {
    let good = "SELECT id, name FROM items ORDER BY id";
    let p = Program::of;
    vec![
        ("nothing at all", p(vec![])),
        ("an empty query", p(vec![("Query", raw::query("")), ("Query", raw::query(" ; ;"))])),
        (
            "a Query in a skipped segment is not answered",
            p(vec![
                ("Parse bad", raw::parse("", "SELEC", &[])),
                ("Query skipped", raw::query("INSERT INTO logs(what) VALUES ('must not be')")),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT count(*) FROM logs")),
            ]),
        ),
        (
            "a FunctionCall in a skipped segment is not answered",
            p(vec![
                ("Bind bad", raw::bind("", "none", &[], &[], &[])),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("2")])),
                ("Sync", raw::sync()),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("2")])),
            ]),
        ),
        (
            "a failed Parse leaves the older statement of that name",
            p(vec![
                ("Parse s1", raw::parse("s1", good, &[])),
                ("Sync", raw::sync()),
                ("Parse s1 again", raw::parse("s1", "SELECT 2", &[])),
                ("Sync", raw::sync()),
                ("Parse s1 bad", raw::parse("s1", "SELEC", &[])),
                ("Sync", raw::sync()),
                ("Describe s1", raw::describe(b'S', "s1")),
                ("Bind", raw::bind("", "s1", &[], &[], &[1])),
                ("Execute", raw::execute("", 3)),
                ("Execute", raw::execute("", 0)),
                ("Execute done", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "a simple query drops the unnamed statement",
            p(vec![
                ("Parse", raw::parse("", good, &[])),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT 1")),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "names of SQL and of the protocol are the same names",
            p(vec![
                ("Query", raw::query("PREPARE s1 AS SELECT 'sql'")),
                ("Parse s1", raw::parse("s1", "SELECT 1", &[])),
                ("Sync", raw::sync()),
                ("Bind s1", raw::bind("", "s1", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("Query", raw::query("DEALLOCATE s1")),
                ("Parse s1", raw::parse("s1", "SELECT 'wire'", &[])),
                ("Sync", raw::sync()),
                ("Query", raw::query("EXECUTE s1")),
                (
                    "Query",
                    raw::query("BEGIN; DECLARE p1 CURSOR FOR SELECT id FROM items ORDER BY 1"),
                ),
                ("Execute p1", raw::execute("p1", 2)),
                ("Describe p1", raw::describe(b'P', "p1")),
                ("Sync", raw::sync()),
                ("Query", raw::query("FETCH 2 FROM p1; CLOSE p1; COMMIT")),
            ]),
        ),
        (
            "a pipeline without Sync between, an error in its middle",
            p(vec![
                ("Parse", raw::parse("", "INSERT INTO logs(what) VALUES ($1)", &[])),
                ("Bind", raw::bind("", "", &[], &[Some(b"one")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Bind null", raw::bind("", "", &[], &[None], &[])),
                ("Execute fails", raw::execute("", 0)),
                ("Bind", raw::bind("", "", &[], &[Some(b"three")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Flush", raw::flush()),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT id, what FROM logs ORDER BY id")),
            ]),
        ),
        (
            "copy in: Sync and Flush are ignored until CopyDone",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Describe", raw::describe(b'P', "")),
                ("Execute", raw::execute("", 0)),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"1\tone\n2\tt")),
                ("Flush", raw::flush()),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"wo\n")),
                ("CopyDone", raw::copy_done()),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT * FROM sink ORDER BY 1")),
            ]),
        ),
        (
            "copy in: data that goes on after the failure is ignored",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\nbad line\n")),
                ("CopyData", raw::copy_data(b"3\tthree\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
                ("stray CopyData", raw::copy_data(b"3\tthree\n")),
                ("stray CopyDone", raw::copy_done()),
                ("stray CopyFail", raw::copy_fail("stray")),
            ]),
        ),
        (
            "copy in, extended: after the failure everything is skipped till Sync",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("CopyData", raw::copy_data(b"3\tthree\n")),
                ("CopyDone", raw::copy_done()),
                ("Query skipped", raw::query("SELECT 'skipped'")),
                ("Sync", raw::sync()),
                ("Query", raw::query("SELECT 'not skipped'")),
            ]),
        ),
        // A Sync that reaches a copy is ignored, one that comes after its failure is answered, and
        // only the server knows which it was.
        (
            "copy in, extended: it fails before a Sync that would have been ignored",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("Query", raw::query("SELECT 'one'")),
                ("Sync", raw::sync()),
                ("Parse", raw::parse("", "SELECT 'two'", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "copy in, extended: Sync once before the failure and twice after it",
            p(vec![
                ("Parse", raw::parse("", "COPY sink FROM STDIN", &[])),
                ("Bind", raw::bind("", "", &[], &[], &[])),
                ("Execute", raw::execute("", 0)),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("Sync ignored", raw::sync()),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("CopyDone", raw::copy_done()),
                ("Sync answered", raw::sync()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
            ]),
        ),
        (
            "copy in, simple: it fails before a Sync that would have been ignored",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"bad line\n")),
                ("Sync answered", raw::sync()),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT 'one'")),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "copy in of a table that is not there: data follow a refusal",
            p(vec![
                ("Query", raw::query("COPY nowhere FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT 1")),
            ]),
        ),
        (
            "copy out, copy in and copy out in one string",
            p(vec![
                (
                    "Query",
                    raw::query(
                        "COPY (SELECT 1) TO STDOUT; COPY sink FROM STDIN; SELECT 2; \
                         COPY sink FROM STDIN; COPY sink TO STDOUT; SELECT 3",
                    ),
                ),
                ("CopyData", raw::copy_data(b"1\tone\n")),
                ("CopyDone", raw::copy_done()),
                ("CopyData", raw::copy_data(b"2\ttwo\n")),
                ("CopyDone", raw::copy_done()),
            ]),
        ),
        (
            "copy in ends by the end-of-data line, more data follow",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("CopyData", raw::copy_data(b"1\tone\n\\.\n")),
                ("CopyDone", raw::copy_done()),
                ("Query", raw::query("SELECT count(*) FROM sink")),
            ]),
        ),
        (
            "a statement during copy in ends the session",
            p(vec![
                ("Query", raw::query("COPY sink FROM STDIN")),
                ("Query", raw::query("SELECT 1")),
            ])
            .ending_there(),
        ),
        (
            "a message of no known type ends the session",
            p(vec![("Query", raw::query("SELECT 1")), ("unknown", raw::framed(b'y', b""))])
                .ending_there(),
        ),
        (
            "a message beyond PostgreSQL's own bound ends the session",
            p(vec![
                ("Query", raw::query("SELECT 1")),
                ("Describe", raw::describe(b'S', &"x".repeat(10_100))),
            ])
            .ending_there(),
        ),
        (
            "Terminate with statements behind it",
            p(vec![
                ("Query", raw::query("INSERT INTO logs(what) VALUES ('before') RETURNING id")),
                ("Terminate", raw::terminate()),
            ])
            .ending_there(),
        ),
        (
            "malformed bodies",
            p(vec![
                ("Query without end", raw::framed(b'Q', b"SELECT 1")),
                ("Query with more", raw::framed(b'Q', b"SELECT 1\0SELECT 2\0")),
                ("Query empty", raw::framed(b'Q', b"")),
                ("Parse cut", raw::framed(b'P', b"s1\0SELECT 1\0\0")),
                ("Sync", raw::sync()),
                ("Bind lies", raw::framed(b'B', b"\0\0\0\0\x7f\xff\0\0\0\x02")),
                ("Sync", raw::sync()),
                ("Bind of -2 bytes", raw::framed(b'B', b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0")),
                ("Sync", raw::sync()),
                ("Describe Z", raw::describe(b'Z', "s1")),
                ("Sync", raw::sync()),
                ("Close Z", raw::close(b'Z', "s1")),
                ("Sync", raw::sync()),
                ("Execute empty", raw::framed(b'E', b"")),
                ("Sync with a body", raw::framed(b'S', b"body")),
                ("Flush with a body", raw::framed(b'H', b"body")),
                ("FunctionCall cut", raw::framed(b'F', b"\0\0")),
                ("Query bad UTF-8", raw::framed(b'Q', b"SELECT '\xff\xfe'\0")),
            ]),
        ),
        (
            "own notifications, in and out of a transaction",
            p(vec![
                ("Query", raw::query("LISTEN c; LISTEN \"D\"")),
                ("Query", raw::query("NOTIFY c, 'one'")),
                ("Query", raw::query("BEGIN; NOTIFY c; NOTIFY c; NOTIFY \"D\", 'x'")),
                ("Query", raw::query("SELECT 'not yet'")),
                ("Query", raw::query("COMMIT")),
                ("Parse", raw::parse("", "SELECT pg_notify('c', $1)", &[])),
                ("Bind", raw::bind("", "", &[], &[Some(b"extended")], &[])),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("Query", raw::query("UNLISTEN *; NOTIFY c, 'unheard'")),
            ]),
        ),
        (
            "parameters change and are reported",
            p(vec![
                ("Query", raw::query("SET application_name = 'ünïcode'; SET DateStyle = 'German'")),
                ("Query", raw::query("BEGIN; SET TimeZone = 'Asia/Kathmandu'; SELECT 1/0")),
                ("Query", raw::query("ROLLBACK")),
                ("Query", raw::query("SET client_encoding = 'LATIN1'; SELECT 'é'")),
                ("Query", raw::query("DISCARD ALL")),
            ]),
        ),
        (
            "a long result, then a long value, then a long query",
            p(vec![
                (
                    "Query",
                    raw::query("SELECT g, repeat('w', 200) FROM generate_series(1, 20000) g"),
                ),
                ("Query", raw::query("SELECT repeat('x', 3000000)")),
                ("Query", raw::query(&format!("SELECT length('{}')", "y".repeat(2_000_000)))),
                (
                    "Query",
                    raw::query(
                        "COPY (SELECT g, repeat('w', 200) FROM generate_series(1, 20000) g) TO STDOUT",
                    ),
                ),
            ]),
        ),
        (
            "portals die with their transaction, holdable ones don't",
            p(vec![
                ("Parse", raw::parse("s1", good, &[])),
                ("Bind p1", raw::bind("p1", "s1", &[], &[], &[])),
                ("Execute", raw::execute("p1", 2)),
                ("Sync", raw::sync()),
                ("Execute p1 gone", raw::execute("p1", 2)),
                ("Sync", raw::sync()),
                (
                    "Query",
                    raw::query("DECLARE p2 CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY 1"),
                ),
                ("Execute p2", raw::execute("p2", 2)),
                ("Close p2", raw::close(b'P', "p2")),
                ("Close none", raw::close(b'S', "none")),
                ("Sync", raw::sync()),
            ]),
        ),
        (
            "a failed transaction lets little through",
            p(vec![
                ("Query", raw::query("BEGIN")),
                ("Query", raw::query("SELECT 1/0")),
                ("Parse", raw::parse("", "SELECT 1", &[])),
                ("Sync", raw::sync()),
                ("Parse", raw::parse("s1", "ROLLBACK", &[])),
                ("Bind", raw::bind("", "s1", &[], &[], &[])),
                ("Describe", raw::describe(b'P', "")),
                ("Execute", raw::execute("", 0)),
                ("Sync", raw::sync()),
                ("FunctionCall", raw::function_call(177, &[Some("1"), Some("x")])),
                ("FunctionCall", raw::function_call(999_999_999, &[])),
            ]),
        ),
    ]
}

/// The two databases of one test, alike to the OID, and how to reach each.
struct Stand {
    left: Side,
    right: Side,
    /// OIDs from here on were given out after the common template.
    first_own_oid: u32,
    mode: Mode,
    _gate: Option<setup::Gate>,
    _template: Database,
}

struct Side {
    target: Target,
    /// A superuser's direct session, for setting the database back.
    reset: Raw,
    _database: Database,
}

impl Stand {
    fn new(server: &Server, mode: Mode) -> Stand {
        let template = server.database();
        template.login().psql(SCHEMA);
        let first_own_oid = template
            .login()
            .psql("SELECT max(oid)::int + 1 FROM pg_class")
            .parse()
            .expect("an OID");
        let (left, right) = (setup::twin(&template), setup::twin(&template));
        let (target, gate) = setup::gate(&right, mode);
        Stand {
            left: Side::new(Target::direct(&left, Role::Scram), left),
            right: Side::new(target, right),
            first_own_oid,
            mode,
            _gate: gate,
            _template: template,
        }
    }

    /// What differs between the replies of the two sides, or nothing.
    fn difference(&mut self, program: &Program) -> Option<String> {
        let fails = program.failing_by_itself();
        let direct = if self.mode == Mode::Refused { &fails } else { program };
        let left = self.left.run(direct);
        let right = self.right.run(program);
        let found = self.compare(&left, &right)?;
        // A server that doesn't agree with itself is no measure.
        let again = self.left.run(direct);
        if let Some(own) = self.compare(&left, &again) {
            eprintln!("the server alone answers this differently each time:\n{program}{own}");
            return None;
        }
        Some(found)
    }

    fn compare(&self, left: &Transcript, right: &Transcript) -> Option<String> {
        let (l, r) = (self.canonical(&left.messages), self.canonical(&right.messages));
        if l == r && left.end == right.end {
            return None;
        }
        if self.has_own_mind(&right.messages) {
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
        let judged = matches!(self.mode, Mode::Judged | Mode::Refused);
        let says = |message: &Message| {
            let detail = message.field(b'D').unwrap_or_default();
            ["send_it_alone", "not_understood", "server_not_listening", "not_allowed"]
                .iter()
                .any(|code| detail.starts_with(&format!("{{\"code\":\"{code}\"")))
        };
        judged && messages.iter().any(|message| message.tag == b'E' && says(message))
    }

    fn canonical(&self, messages: &[Message]) -> Vec<Message> {
        let mut messages = messages.to_vec();
        for message in &mut messages {
            match message.tag {
                b'A' => message.body[..4].fill(0),
                b'T' => forget_own_oids(&mut message.body, self.first_own_oid),
                b'E' if self.mode == Mode::Judged => {
                    // In a failed block a text is not read for its grammar.
                    let sqlstate = message.sqlstate().replace("42601", "25P02");
                    message.body = sqlstate.into_bytes();
                }
                b'E' if self.mode == Mode::Refused => message.body.clear(),
                _ => {}
            }
        }
        messages
    }

    /// Leaves out whatever is not needed for the difference to show.
    fn shrink(&mut self, mut program: Program) -> Program {
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

struct Transcript {
    messages: Vec<Message>,
    end: String,
}

impl Side {
    fn new(target: Target, database: Database) -> Side {
        let reset = setup::admin(&database);
        Side { target, reset, _database: database }
    }

    fn run(&mut self, program: &Program) -> Transcript {
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

#[derive(Clone)]
struct Program {
    steps: Vec<Step>,
    /// Ends by itself: nothing is appended and the end of the stream is awaited.
    ends_there: bool,
    /// Terminate goes out with the rest, before the replies are in.
    terminated: bool,
    /// What stands behind a ROLLBACK in one string may be refused.
    is_judged: bool,
    /// For cutting the bytes into sends.
    cuts: u64,
    bytes: Vec<u8>,
}

#[derive(Clone)]
struct Step {
    label: String,
    bytes: Vec<u8>,
    /// The same where what touches `logs` fails by itself.
    failing: Option<Vec<u8>>,
}

/// In the place of a text that is refused: one that fails, in the transaction that the text would
/// have opened.
fn failing(sql: &str) -> Option<&'static str> {
    let is_refused = sql.contains("logs");
    is_refused.then_some(match sql.starts_with("BEGIN;") {
        true => "BEGIN; SELECT nothing_of_that_name",
        false => "SELECT nothing_of_that_name",
    })
}

impl Program {
    fn of(steps: Vec<(&str, Vec<u8>)>) -> Program {
        let steps = steps
            .into_iter()
            .map(|(label, bytes)| Step { label: label.to_owned(), bytes, failing: None })
            .collect();
        Program {
            steps,
            ends_there: false,
            terminated: false,
            is_judged: false,
            cuts: 0,
            bytes: Vec::new(),
        }
        .assembled()
    }

    fn ending_there(mut self) -> Program {
        self.ends_there = true;
        self.terminated = true;
        self.assembled()
    }

    fn random(seed: u64) -> Program {
        let mut writer = Writer { dice: Dice(seed), steps: Vec::new() };
        for _ in 0..3 + writer.dice.below(14) {
            writer.snippet();
        }
        let ends_there = writer.dice.one_in(12);
        if ends_there {
            writer.last_words();
        }
        let terminated = ends_there || writer.dice.one_in(2);
        let cuts = writer.dice.next();
        let (steps, is_judged) = (writer.steps, false);
        Program { steps, ends_there, terminated, is_judged, cuts, bytes: Vec::new() }.assembled()
    }

    /// The same where what touches `logs` fails by itself.
    fn failing_by_itself(&self) -> Program {
        let mut program = self.clone();
        for step in &mut program.steps {
            step.bytes = step.failing.clone().unwrap_or_else(|| step.bytes.clone());
        }
        program.assembled()
    }

    /// Without what makes a session unreadable for whoever judges it.
    fn readable(mut self) -> Program {
        let hides = |step: &Step| {
            ["standard_conforming_strings", "client_encoding", "client_min_messages"]
                .iter()
                .any(|setting| step.label.contains(setting))
        };
        self.steps.retain(|step| !hides(step));
        self.is_judged = true;
        self.assembled()
    }

    /// Whatever state the steps leave, the tail leads to one known row: CopyFail ends a copy and
    /// is ignored otherwise, Sync ends a skipped segment, ROLLBACK a failed transaction.
    fn assembled(mut self) -> Program {
        self.bytes = self.steps.iter().flat_map(|s| s.bytes.clone()).collect();
        if !self.ends_there {
            self.bytes.extend(raw::copy_fail("the program ends"));
            self.bytes.extend(raw::sync());
            if self.is_judged {
                self.bytes.extend(raw::query("ROLLBACK"));
                self.bytes.extend(raw::query(&format!("SELECT '{END}'")));
            } else {
                self.bytes.extend(raw::query(&format!("ROLLBACK; SELECT '{END}'")));
            }
            if self.terminated {
                self.bytes.extend(raw::terminate());
            }
        }
        self
    }

    /// The bytes as they are sent: whole, in large pieces, or in tiny ones.
    fn pieces(&self) -> Vec<&[u8]> {
        let mut dice = Dice(self.cuts);
        let longest = match dice.below(4) {
            0 => self.bytes.len(),
            1 => 5_000,
            2 => 200,
            _ => 7,
        };
        let longest = longest.max(self.bytes.len() / 500).max(1);
        let mut pieces = Vec::new();
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let n = 1 + dice.below(longest as u64) as usize;
            let (piece, after) = rest.split_at(n.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

impl std::fmt::Display for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for step in &self.steps {
            writeln!(f, "  > {}", step.label)?;
        }
        Ok(())
    }
}

struct Writer {
    dice: Dice,
    steps: Vec<Step>,
}

const STATEMENTS: &[&str] = &["", "s1", "s2"];
const PORTALS: &[&str] = &["", "p1", "p2"];

/// For simple queries: each line stands on its own or after another.
const SIMPLE: &[&str] = &[
    "SELECT 1",
    "SELECT * FROM items ORDER BY id",
    "SELECT id, name, mood, tags FROM items WHERE id = 3",
    "SELECT NULL, '', 'ünïcode', 1.5::float8, ARRAY[1, NULL], row(1, 'a')",
    "SELECT FROM items",
    "",
    " ; ;; ",
    "-- only a comment",
    "SELECT 1/0",
    "SELECT nope FROM items",
    "SELEC",
    "SELECT 'not closed",
    "SELECT 1; SELECT 2; SELECT 3",
    "SELECT 1; SELECT 1/0; SELECT 3",
    "INSERT INTO logs(what) VALUES ('a'); SELECT 1/0",
    "INSERT INTO logs(what) VALUES ('a'), ('b') RETURNING *",
    "INSERT INTO logs(what) VALUES (NULL)",
    "UPDATE items SET price = price + 1 WHERE id = 2",
    "DELETE FROM items WHERE id = 9 RETURNING id",
    "BEGIN",
    "BEGIN",
    "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
    "COMMIT",
    "COMMIT",
    "ROLLBACK",
    "COMMIT AND CHAIN",
    "SAVEPOINT a",
    "ROLLBACK TO a",
    "RELEASE a",
    "BEGIN; INSERT INTO logs(what) VALUES ('t'); COMMIT; SELECT count(*) FROM logs",
    "BEGIN; SELECT 1/0",
    "SELECT g, repeat('w', 100) FROM generate_series(1, 3000) g",
    "SELECT repeat('x', 400000)",
    "SELECT chatty(3)",
    "SELECT chatty(g) FROM generate_series(1, 4) g",
    "DO $$BEGIN RAISE NOTICE 'n'; RAISE WARNING 'w' USING ERRCODE = '01ABC'; END$$",
    "DO $$BEGIN RAISE EXCEPTION 'e' USING HINT = 'h', TABLE = 't', ERRCODE = 'ZZ123'; END$$",
    "SET application_name = 'transcript'",
    "SET LOCAL DateStyle = 'German'",
    "SET DateStyle = 'SQL, DMY'",
    "SET TimeZone = 'Asia/Kathmandu'; SET IntervalStyle = 'iso_8601'",
    "SET nonsense = 1",
    "SHOW DateStyle",
    "RESET ALL",
    "SET client_encoding = 'LATIN1'",
    "RESET client_encoding",
    "SET standard_conforming_strings = off",
    "SELECT 'a\\'",
    "RESET standard_conforming_strings",
    "SET client_min_messages = error",
    "PREPARE s1 AS SELECT id FROM items ORDER BY id LIMIT 3",
    "PREPARE s2(int) AS SELECT $1 + 1",
    "EXECUTE s1",
    "EXECUTE s2(4)",
    "EXECUTE s2('x')",
    "DEALLOCATE s1",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DECLARE p1 CURSOR FOR SELECT id, name FROM items ORDER BY id",
    "DECLARE p2 SCROLL CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
    "DECLARE p2 BINARY CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
    "FETCH 2 FROM p1",
    "FETCH ALL FROM p2",
    "FETCH BACKWARD 1 FROM p2",
    "MOVE 2 IN p2",
    "CLOSE p1",
    "CLOSE ALL",
    "LISTEN c",
    "NOTIFY c, 'hello'",
    "SELECT pg_notify('c', g::text) FROM generate_series(1, 3) g",
    "UNLISTEN *",
    "CREATE TABLE scratch (a int, b text)",
    "CREATE TEMP TABLE scratch AS SELECT 1 AS a, 'two' AS b",
    "INSERT INTO scratch VALUES (1, 'one'), (2, NULL)",
    "SELECT * FROM scratch ORDER BY 1, 2",
    "ALTER TABLE scratch ADD COLUMN c int DEFAULT 7",
    "DROP TABLE IF EXISTS scratch",
    "EXPLAIN (COSTS OFF) SELECT * FROM logs WHERE what = 'a'",
    "COPY items TO STDOUT",
    "COPY items TO STDOUT (FORMAT csv, HEADER, FORCE_QUOTE *)",
    "COPY (SELECT id, data, sold FROM items ORDER BY id) TO STDOUT (FORMAT binary)",
    "COPY (SELECT 10 / (5 - g) FROM generate_series(1, 9) g) TO STDOUT",
    "COPY (SELECT 1 WHERE false) TO STDOUT; SELECT 1; COPY items TO STDOUT",
    "COPY nowhere TO STDOUT",
    "VALUES (1), (2)",
    "TABLE items",
];

/// For Parse, with values that fit their parameters.
const PREPARED: &[(&str, &[&str])] = &[
    ("SELECT 1", &[]),
    ("SELECT * FROM items ORDER BY id", &[]),
    ("SELECT id, name FROM items WHERE id > $1 ORDER BY id", &["4"]),
    ("SELECT $1::int + $2::int", &["40", "2"]),
    ("SELECT $1::text, $2::bytea, $3::numeric", &["text", "\\x00ff", "1.50"]),
    ("SELECT 1 / $1::int", &["0"]),
    ("SELECT g, repeat('w', 50) FROM generate_series(1, $1::int) g", &["500"]),
    ("SELECT chatty($1)", &["2"]),
    ("INSERT INTO logs(what) VALUES ($1)", &["written"]),
    ("INSERT INTO logs(what) VALUES ($1) RETURNING id, what", &["written"]),
    ("UPDATE items SET name = $2 WHERE id = $1 RETURNING *", &["3", "renamed"]),
    ("SELECT $1::mood", &["ok"]),
    ("SELECT $1::mood", &["angry"]),
    ("", &[]),
    ("SELECT 1; SELECT 2", &[]),
    ("SELEC", &[]),
    ("SELECT nope FROM items", &[]),
    ("BEGIN", &[]),
    ("COMMIT", &[]),
    ("ROLLBACK", &[]),
    ("SAVEPOINT a", &[]),
    ("ROLLBACK TO a", &[]),
    ("SET application_name = 'extended'", &[]),
    ("SHOW application_name", &[]),
    ("COPY items TO STDOUT", &[]),
    ("COPY (SELECT id, name FROM items ORDER BY id) TO STDOUT (FORMAT binary)", &[]),
    ("DECLARE p1 CURSOR FOR SELECT id FROM items ORDER BY id", &[]),
    ("FETCH 3 FROM p1", &[]),
    ("PREPARE s1 AS SELECT 'made by SQL'", &[]),
    ("EXECUTE s1", &[]),
    ("DEALLOCATE ALL", &[]),
    ("LISTEN c", &[]),
    ("NOTIFY c, 'extended'", &[]),
    ("EXPLAIN (COSTS OFF) SELECT 1", &[]),
    ("DO $$BEGIN RAISE NOTICE 'from DO'; END$$", &[]),
    ("CREATE TABLE scratch (a int, b text)", &[]),
    ("SELECT * FROM scratch", &[]),
    ("DROP TABLE scratch", &[]),
];

impl Writer {
    fn push(&mut self, label: String, bytes: Vec<u8>) {
        self.steps.push(Step { label, bytes, failing: None });
    }

    /// A few messages that belong together, as a client would send them.
    fn snippet(&mut self) {
        match self.dice.below(100) {
            0..25 => {
                let sql = self.dice.pick(SIMPLE);
                self.query(sql);
            }
            25..50 => self.extended(true),
            50..58 => {
                for _ in 0..2 + self.dice.below(4) {
                    self.extended(false);
                }
                self.sync();
            }
            58..64 => self.reuse(),
            64..76 => {
                for _ in 0..1 + self.dice.below(5) {
                    self.anything();
                }
            }
            76..84 => self.copy_in(),
            84..88 => self.function_call(),
            88..92 => self.skipped(),
            92..95 => self.malformed(),
            _ => {
                let name = self.dice.pick(STATEMENTS);
                self.close(b'S', name);
                self.sync();
            }
        }
    }

    fn extended(&mut self, synced: bool) {
        let (sql, values) = self.dice.pick(PREPARED);
        let statement = self.dice.pick(STATEMENTS);
        let portal = self.dice.pick(PORTALS);
        if !statement.is_empty() && self.dice.one_in(2) {
            self.close(b'S', statement);
        }
        self.parse(statement, sql);
        if self.dice.one_in(3) {
            self.describe(b'S', statement);
        }
        if self.dice.one_in(8) {
            self.sync();
        }
        self.bind(portal, statement, values);
        if self.dice.one_in(2) {
            self.describe(b'P', portal);
        }
        let rows_max = self.dice.pick(&[0, 0, 0, 1, 3]);
        self.execute(portal, rows_max);
        if rows_max > 0 && self.dice.one_in(2) {
            self.execute(portal, 0);
        }
        if self.dice.one_in(6) {
            self.flush();
        }
        if synced {
            self.sync();
        }
    }

    /// One statement executed again and again, without a new Parse.
    fn reuse(&mut self) {
        let (sql, values) = self.dice.pick(PREPARED);
        let statement = self.dice.pick(STATEMENTS);
        self.parse(statement, sql);
        for _ in 0..1 + self.dice.below(6) {
            self.bind("", statement, values);
            self.execute("", 0);
            if self.dice.one_in(3) {
                self.sync();
            }
        }
        self.sync();
    }

    /// Any message of the extended protocol, in any order.
    fn anything(&mut self) {
        let statement = self.dice.pick(STATEMENTS);
        let portal = self.dice.pick(PORTALS);
        match self.dice.below(10) {
            0 => {
                let (sql, _) = self.dice.pick(PREPARED);
                self.parse(statement, sql);
            }
            1 => {
                let (_, values) = self.dice.pick(PREPARED);
                self.bind(portal, statement, values);
            }
            2 => self.describe(b'S', statement),
            3 => self.describe(b'P', portal),
            4 => {
                let rows_max = self.dice.pick(&[0, 1, 2]);
                self.execute(portal, rows_max);
            }
            5 => self.close(b'S', statement),
            6 => self.close(b'P', portal),
            7 => self.flush(),
            8 => {
                let sql = self.dice.pick(SIMPLE);
                self.query(sql);
            }
            _ => self.sync(),
        }
    }

    fn copy_in(&mut self) {
        let binary = self.dice.one_in(3);
        let missing = self.dice.one_in(10);
        let sql = match (binary, missing) {
            (_, true) => "COPY nowhere FROM STDIN",
            (true, _) => "COPY sink FROM STDIN (FORMAT binary)",
            (false, _) => "COPY sink FROM STDIN",
        };
        let extended = self.dice.one_in(2);
        if extended {
            self.parse("", sql);
            self.bind("", "", &[]);
            self.execute("", 0);
            if self.dice.one_in(2) {
                self.sync();
            }
        } else if self.dice.one_in(4) {
            self.query(&format!("SELECT 'before'; {sql}; SELECT 'after'"));
        } else {
            self.query(sql);
        }
        let mut data = if binary { binary_copy() } else { TEXT_COPY.to_vec() };
        if self.dice.one_in(4) {
            let at = self.dice.below(data.len() as u64) as usize;
            data[at] ^= 0x15;
        }
        let mut rest = &data[..];
        while !rest.is_empty() {
            let n = (self.dice.below(40) as usize).min(rest.len());
            let (piece, after) = rest.split_at(n);
            self.push(format!("CopyData {n} bytes"), raw::copy_data(piece));
            rest = after;
            if self.dice.one_in(8) {
                self.flush();
            }
            // Outside a copy (when COPY failed at its start) a Sync is answered, here and there
            // alike.
            if self.dice.one_in(8) {
                self.sync();
            }
        }
        if self.dice.one_in(5) {
            self.push("CopyFail".to_owned(), raw::copy_fail("changed my mind"));
        } else {
            self.push("CopyDone".to_owned(), raw::copy_done());
        }
        if self.dice.one_in(6) {
            self.push("stray CopyData".to_owned(), raw::copy_data(b"9\tstray\n"));
        }
        if extended {
            self.sync();
        }
        self.query("SELECT * FROM sink ORDER BY a, b");
    }

    fn function_call(&mut self) {
        let (oid, arguments): (u32, &[Option<&str>]) = self.dice.pick(&[
            (177, &[Some("40"), Some("2")]),
            (177, &[Some("40"), None]),
            (177, &[Some("40"), Some("x")]),
            (177, &[Some("2147483647"), Some("1")]),
            (177, &[Some("1")]),
            (871, &[Some("upper")]),
            (999_999_999, &[]),
        ]);
        self.push(format!("FunctionCall {oid} {arguments:?}"), raw::function_call(oid, arguments));
    }

    /// An error, then messages that must go unanswered until Sync.
    fn skipped(&mut self) {
        self.parse("", "SELEC");
        for _ in 0..1 + self.dice.below(4) {
            match self.dice.below(4) {
                0 => self.query("INSERT INTO logs(what) VALUES ('skipped')"),
                1 => self.function_call(),
                2 => self.extended(false),
                _ => self.flush(),
            }
        }
        self.sync();
    }

    fn malformed(&mut self) {
        let (tag, body): (u8, &[u8]) = self.dice.pick(&[
            (b'Q', b"SELECT 1" as &[u8]),
            (b'Q', b"SELECT 1\0more\0"),
            (b'Q', b""),
            (b'P', b"s1\0SELECT 1\0"),
            (b'B', b"\0"),
            (b'B', b"\0s1\0\0\0\x7f\xff"),
            (b'D', b"Zs1\0"),
            (b'C', b""),
            (b'E', b"p1\0"),
            (b'F', b"\0\0\0\xb1"),
            (b'H', b"x"),
            (b'S', b"x"),
            (b'd', b""),
        ]);
        self.push(
            format!("malformed {} {:?}", char::from(tag), String::from_utf8_lossy(body)),
            raw::framed(tag, body),
        );
        self.sync();
    }

    /// What ends a session by itself.
    fn last_words(&mut self) {
        self.push("CopyFail".to_owned(), raw::copy_fail("last words"));
        if self.dice.one_in(4) {
            self.sync();
            self.push("unknown message".to_owned(), raw::framed(b'y', b""));
        } else {
            self.push("Terminate".to_owned(), raw::terminate());
        }
    }

    fn query(&mut self, sql: &str) {
        let label = format!("Query {sql}");
        let failing = failing(sql).map(raw::query);
        self.steps.push(Step { label, bytes: raw::query(sql), failing });
    }

    fn parse(&mut self, statement: &str, sql: &str) {
        let label = format!("Parse {statement:?} {sql}");
        let failing = failing(sql).map(|sql| raw::parse(statement, sql, &[]));
        self.steps.push(Step { label, bytes: raw::parse(statement, sql, &[]), failing });
    }

    fn bind(&mut self, portal: &str, statement: &str, values: &[&str]) {
        let given: Vec<Option<&[u8]>> = values
            .iter()
            .map(|v| if self.dice.one_in(20) { None } else { Some(v.as_bytes()) })
            .collect();
        let formats: &[u16] = self.dice.pick(&[&[], &[], &[0], &[1], &[0, 0]]);
        let results: &[u16] = self.dice.pick(&[&[], &[0], &[1], &[1], &[1, 0]]);
        // Text given as binary is mostly an error, so it is seldom.
        let formats = if self.dice.one_in(10) { formats } else { &[] };
        self.push(
            format!("Bind {portal:?} {statement:?} {values:?} as {formats:?} for {results:?}"),
            raw::bind(portal, statement, formats, &given, results),
        );
    }

    fn describe(&mut self, kind: u8, name: &str) {
        self.push(format!("Describe {} {name:?}", char::from(kind)), raw::describe(kind, name));
    }

    fn close(&mut self, kind: u8, name: &str) {
        self.push(format!("Close {} {name:?}", char::from(kind)), raw::close(kind, name));
    }

    fn execute(&mut self, portal: &str, rows_max: u32) {
        self.push(format!("Execute {portal:?} {rows_max}"), raw::execute(portal, rows_max));
    }

    fn flush(&mut self) {
        self.push("Flush".to_owned(), raw::flush());
    }

    fn sync(&mut self) {
        self.push("Sync".to_owned(), raw::sync());
    }
}

const TEXT_COPY: &[u8] = b"1\tone\n2\t\\N\n3\ttab\\there\n4\t\xc3\xbcnicode\n";

/// The binary format: signature, flags, extension, two rows of (int4, text), trailer.
fn binary_copy() -> Vec<u8> {
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    for (a, b) in [(1u32, "one"), (2, "two")] {
        data.extend(2u16.to_be_bytes());
        data.extend(4u32.to_be_bytes());
        data.extend(a.to_be_bytes());
        data.extend((b.len() as u32).to_be_bytes());
        data.extend(b.as_bytes());
    }
    data.extend((-1i16).to_be_bytes());
    data
}
