//! Programs by chance: snippets that belong together as a client would send them, and others that no
//! client sends.

use super::program::Step;
use crate::raw;
use crate::setup::Dice;

pub(super) struct Writer {
    pub(super) dice: Dice,
    pub(super) steps: Vec<Step>,
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
        self.steps.push(Step::new(&label, bytes));
    }

    /// A few messages that belong together, as a client would send them.
    pub(super) fn snippet(&mut self) {
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
    pub(super) fn last_words(&mut self) {
        self.push("CopyFail".to_owned(), raw::copy_fail("last words"));
        if self.dice.one_in(4) {
            self.sync();
            self.push("unknown message".to_owned(), raw::framed(b'y', b""));
        } else {
            self.push("Terminate".to_owned(), raw::terminate());
        }
    }

    fn query(&mut self, sql: &str) {
        self.steps.push(Step::query(sql));
    }

    fn parse(&mut self, statement: &str, sql: &str) {
        self.steps.push(Step::parse(statement, sql));
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
