//! Writes under a row filter: what they leave is what PostgreSQL's own row security would have let
//! them leave, and what the client reads is what the database says of its own text.

use e2e::{Database, Role, Server, on_each_version};

use super::{bytes, copied_in};
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

const SCHEMA: &str = "
    CREATE TABLE notes (id int PRIMARY KEY, tenant text DEFAULT 'a', v int, note varchar(20), UNIQUE (tenant, v));
    INSERT INTO notes SELECT g, CASE g % 2 WHEN 0 THEN 'a' ELSE 'b' END, g, 'note ' || g FROM generate_series(1, 20) g;
    CREATE TABLE other (id int, tenant text DEFAULT 'b', note text);
    CREATE TABLE changed (id int PRIMARY KEY, tenant text, v int, note varchar(20));
    INSERT INTO changed SELECT * FROM notes;
    CREATE FUNCTION changes() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        NEW.tenant := CASE NEW.note WHEN 'to a' THEN 'a' WHEN 'to b' THEN 'b' ELSE NEW.tenant END;
        RETURN NEW; END $$;
    CREATE TRIGGER changes BEFORE INSERT OR UPDATE ON changed FOR EACH ROW EXECUTE FUNCTION changes();
    CREATE TABLE parts (id int, tenant text, v int, note varchar(20), PRIMARY KEY (tenant, id)) PARTITION BY LIST (tenant);
    CREATE TABLE parts_a PARTITION OF parts FOR VALUES IN ('a');
    CREATE TABLE parts_b PARTITION OF parts FOR VALUES IN ('b');
    INSERT INTO parts SELECT * FROM notes;
    CREATE TABLE made (id int, v int UNIQUE, tenant text GENERATED ALWAYS AS (CASE v % 2 WHEN 0 THEN 'a' ELSE 'b' END) STORED);
    INSERT INTO made SELECT g, g FROM generate_series(1, 20) g;
    CREATE TABLE ruled (id int, tenant text);
    CREATE RULE elsewhere AS ON INSERT TO ruled DO INSTEAD INSERT INTO other (id, tenant) VALUES (NEW.id, 'b');
    GRANT ALL ON SCHEMA public TO public;
    GRANT ALL ON ALL TABLES IN SCHEMA public TO public;
";

const TABLES: [&str; 5] = ["notes", "other", "changed", "parts", "made"];

const POLICIES: &str = "
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - everything
    rows:
      \"public.notes, public.other, public.changed, public.parts, public.made, public.ruled\": \"tenant = 'a'\"
";

fn stand(server: &Server) -> (Database, Gate, Raw) {
    let database = server.database();
    database.login().psql(SCHEMA);
    let policies = format!("policies:{}", POLICIES.replace("AGENT", setup::AGENT));
    let gate = Plan::gateway(&database).top(&policies).start();
    let agent = gate.login().0;
    (database, gate, agent)
}

/// What may be done, and a near twin that may not.
const PAIRS: &[(&str, &str)] = &[
    (
        "INSERT INTO notes (id, tenant, v) VALUES (100, 'a', 100), (102, 'a', 102)",
        "INSERT INTO notes (id, tenant, v) VALUES (100, 'a', 100), (102, 'b', 102)",
    ),
    ("INSERT INTO notes (id) VALUES (100)", "INSERT INTO other (id) VALUES (100)"),
    ("INSERT INTO other (tenant) VALUES ('a')", "INSERT INTO other DEFAULT VALUES"),
    ("INSERT INTO other VALUES (1, 'a')", "INSERT INTO other VALUES (1, NULL)"),
    (
        "INSERT INTO notes SELECT id + 100, tenant, v + 100, note FROM notes",
        "INSERT INTO notes SELECT id + 100, upper(tenant), v + 100, note FROM notes",
    ),
    (
        "INSERT INTO notes (id, note) VALUES (100, 'x') RETURNING *",
        "INSERT INTO notes (id, tenant) VALUES (100, 'b') RETURNING *",
    ),
    (
        "INSERT INTO notes (id, note) VALUES (100, 'x') RETURNING note, id + 1 AS next, notes.*, tenant \"Tenant\"",
        "INSERT INTO notes (id, tenant) VALUES (100, 'b') RETURNING note, id + 1 AS next, notes.*",
    ),
    (
        "INSERT INTO notes (id, tenant) VALUES (2, 'a'), (101, 'a') ON CONFLICT (id) DO NOTHING",
        "INSERT INTO notes (id, tenant) VALUES (2, 'a'), (101, 'b') ON CONFLICT (id) DO NOTHING",
    ),
    (
        "INSERT INTO notes (id, note) VALUES (2, 'new') ON CONFLICT (id) DO UPDATE SET note = excluded.note",
        "INSERT INTO notes (id, note) VALUES (3, 'new') ON CONFLICT (id) DO UPDATE SET note = excluded.note",
    ),
    (
        "INSERT INTO notes (id, note) VALUES (2, 'new') ON CONFLICT (id) DO UPDATE SET note = 'x' WHERE notes.v = 2 RETURNING id, note",
        "INSERT INTO notes (id, note) VALUES (3, 'new') ON CONFLICT (id) DO UPDATE SET note = 'x' WHERE notes.v = 4 RETURNING id, note",
    ),
    (
        "INSERT INTO notes (id, note) VALUES (2, 'new') ON CONFLICT (id) DO UPDATE SET tenant = 'a'",
        "INSERT INTO notes (id, note) VALUES (2, 'new') ON CONFLICT (id) DO UPDATE SET tenant = 'b'",
    ),
    (
        "UPDATE notes SET tenant = 'a', note = 'x'",
        "UPDATE notes SET tenant = 'b', note = 'x' WHERE id = 2",
    ),
    ("UPDATE notes SET note = 'to b'", "UPDATE changed SET note = 'to b'"),
    (
        "UPDATE notes n SET tenant = o.note FROM (VALUES (2, 'a')) o (id, note) WHERE n.id = o.id RETURNING n.*, o.*",
        "UPDATE notes n SET tenant = o.note FROM (VALUES (2, 'c')) o (id, note) WHERE n.id = o.id RETURNING n.*, o.*",
    ),
    (
        "INSERT INTO changed VALUES (100, 'b', 1, 'to a')",
        "INSERT INTO changed VALUES (100, 'a', 1, 'to b')",
    ),
    (
        "WITH new AS (INSERT INTO notes (id) VALUES (100)) SELECT 1",
        "WITH new AS (INSERT INTO notes (id, tenant) VALUES (100, 'b')) SELECT 1",
    ),
    (
        "WITH new AS (INSERT INTO notes (id) VALUES (100) RETURNING *) SELECT * FROM new",
        "WITH new AS (INSERT INTO notes (id, tenant) VALUES (100, 'b') RETURNING id) SELECT * FROM new LIMIT 0",
    ),
    ("INSERT INTO parts VALUES (100, 'a')", "INSERT INTO parts VALUES (100, 'b')"),
    ("INSERT INTO parts_a VALUES (100, 'a')", "INSERT INTO parts_b VALUES (100, 'b')"),
    (
        "UPDATE parts SET tenant = 'a'",
        "UPDATE parts SET tenant = 'b', id = 200 WHERE id = 2 RETURNING id",
    ),
    ("INSERT INTO made VALUES (100, 100)", "INSERT INTO made VALUES (101, 101)"),
    ("UPDATE made SET v = v + 100", "UPDATE made SET v = v + 101"),
    ("DELETE FROM notes WHERE id = 2", "INSERT INTO ruled VALUES (1, 'a')"),
];

/// The same of what MERGE can on every server.
const MERGES: &[(&str, &str)] = &[
    (
        "MERGE INTO notes n USING (VALUES (2, 'a'), (100, 'a')) s (id, tenant) ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant = s.tenant WHEN NOT MATCHED THEN INSERT (id, tenant) VALUES (s.id, s.tenant)",
        "MERGE INTO notes n USING (VALUES (2, 'a'), (100, 'b')) s (id, tenant) ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant = s.tenant WHEN NOT MATCHED THEN INSERT (id, tenant) VALUES (s.id, s.tenant)",
    ),
    (
        "MERGE INTO notes USING (VALUES (3), (4)) s (id) ON notes.id = s.id WHEN MATCHED AND notes.v > 3 THEN DELETE",
        "MERGE INTO notes USING (VALUES (3), (4)) s (id) ON notes.id = s.id WHEN MATCHED AND notes.v > 3 THEN UPDATE SET tenant = 'b'",
    ),
    (
        "MERGE INTO parts p USING notes s ON 1 / p.id = 1 / s.id AND p.id = s.id WHEN MATCHED THEN UPDATE SET note = s.tenant",
        "MERGE INTO parts p USING notes s ON 1 / p.id = 1 / s.id AND p.id = s.id WHEN MATCHED THEN UPDATE SET tenant = s.note",
    ),
];

/// What it can from PostgreSQL 17 on.
const MERGES_17: &[(&str, &str)] = &[
    (
        "MERGE INTO notes n USING (VALUES (2)) s (id) ON n.id = s.id WHEN MATCHED THEN UPDATE SET note = 'x' WHEN NOT MATCHED BY SOURCE AND 10 / (n.id - 3) < 9 THEN DELETE",
        "MERGE INTO notes n USING (VALUES (2)) s (id) ON n.id = s.id WHEN MATCHED THEN UPDATE SET note = 'x' WHEN NOT MATCHED BY SOURCE THEN UPDATE SET tenant = lower('B')",
    ),
    (
        "MERGE INTO notes n USING (VALUES (2), (100)) s (id) ON n.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id) RETURNING *",
        "MERGE INTO notes n USING (VALUES (2), (100)) s (id) ON n.id = s.id WHEN NOT MATCHED BY SOURCE THEN DELETE WHEN NOT MATCHED THEN INSERT (id, tenant) VALUES (s.id, upper('b')) RETURNING *",
    ),
    (
        "MERGE INTO notes n USING (VALUES (2)) s (id) ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant = lower('A') RETURNING merge_action(), n.*, s.id + 1 AS next",
        "MERGE INTO notes n USING (VALUES (2)) s (id) ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant = upper('A') RETURNING merge_action(), n.*, s.id + 1 AS next",
    ),
    (
        "MERGE INTO changed c USING (VALUES (2, 'to a')) s (id, note) ON c.id = s.id WHEN MATCHED THEN UPDATE SET note = s.note",
        "MERGE INTO changed c USING (VALUES (2, 'to b')) s (id, note) ON c.id = s.id WHEN MATCHED THEN UPDATE SET note = s.note",
    ),
    (
        "WITH m AS (MERGE INTO notes n USING (VALUES (100)) s (id) ON n.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)) SELECT 1",
        "WITH m AS (MERGE INTO notes n USING (VALUES (100)) s (id) ON n.id = s.id WHEN NOT MATCHED THEN INSERT (id, tenant) VALUES (s.id, NULL)) SELECT 1",
    ),
];

/// What a server refuses that can't say what a MERGE has stored, and that others don't.
const MERGES_UNASKED: &[&str] = &[
    "MERGE INTO notes n USING (VALUES (100)) s (id) ON n.id = s.id WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
    "MERGE INTO notes n USING (VALUES (2)) s (id) ON n.id = s.id WHEN MATCHED THEN UPDATE SET tenant = lower('A')",
    "MERGE INTO changed c USING (VALUES (2, 'x')) s (id, note) ON c.id = s.id WHEN MATCHED THEN UPDATE SET note = s.note",
];

/// Rows that the agent does not see, as text.
fn hidden(admin: &mut Raw) -> String {
    let each = TABLES.map(|table| format!("SELECT '{table}' AS of, t::text AS row FROM {table} t WHERE tenant IS DISTINCT FROM 'a'"));
    admin.value(&format!(
        "SELECT md5(string_agg(of || row, ';' ORDER BY of, row)) FROM ({}) x",
        each.join(" UNION ALL ")
    ))
}

/// Without what says which column of which table something is.
fn plain(replies: &[Message]) -> Vec<(u8, Vec<u8>)> {
    let mut replies = bytes(replies);
    for (_, body) in replies.iter_mut().filter(|(tag, _)| *tag == b'T') {
        let mut at = 2;
        while let Some(end) = body[at..].iter().position(|byte| *byte == 0) {
            body[at + end + 5..at + end + 7].fill(0);
            at += end + 19;
            if at >= body.len() {
                break;
            }
        }
    }
    replies
}

fn extended(sql: &str, format: u16, limit: u32) -> Vec<u8> {
    [
        raw::parse("", sql, &[]),
        raw::describe(b'S', ""),
        raw::bind("", "", &[], &[], &[format]),
        raw::describe(b'P', ""),
        raw::execute("", limit),
        raw::close(b'S', ""),
        raw::sync(),
    ]
    .concat()
}

on_each_version! {
    fn what_a_write_leaves_is_asked_and_nobody_sees_it(server: Server) {
        let (database, _gate, mut agent) = stand(&server);
        let (mut direct, mut admin) = (setup::admin(&database), setup::admin(&database));
        let before = hidden(&mut admin);
        let newer = if server.version >= 17 { MERGES_17 } else { &[] };
        for sql in MERGES_UNASKED {
            agent.query("BEGIN");
            let refused = agent.query(sql).iter().any(|message| message.tag == b'E');
            agent.query("ROLLBACK");
            assert_eq!(refused, newer.is_empty(), "{sql}");
        }
        for (may, may_not) in PAIRS.iter().chain(MERGES).chain(newer) {
            // The database's own rows are those of the agent alone, for it is no reader.
            let only = TABLES.map(|table| format!("DELETE FROM {table} WHERE tenant IS DISTINCT FROM 'a'")).join(";");
            let ways: [(&str, Vec<u8>); 4] = [
                ("simple", raw::query(may)),
                ("text", extended(may, 0, 0)),
                ("binary", extended(may, 1, 0)),
                ("in a string", raw::query(&format!("SELECT 1; {may}"))),
            ];
            for (way, message) in ways {
                let mut replies = Vec::new();
                for (raw, is_direct) in [(&mut direct, true), (&mut agent, false)] {
                    raw.query("BEGIN");
                    if is_direct {
                        raw.query(&only);
                    }
                    raw.send(&message);
                    replies.push(raw.until_ready());
                    raw.query("ROLLBACK");
                }
                let [direct, agent] = &replies[..] else { unreachable!() };
                assert_eq!(plain(direct), plain(agent), "{may}, {way}: {}\n{}", raw::show(direct), raw::show(agent));
                assert!(agent.iter().all(|message| message.tag != b'E'), "{may}: {}", raw::show(agent));
            }
            // A limit of rows stops nothing of what has none.
            if !may.contains("RETURNING") && !may.starts_with("WITH") {
                agent.query("BEGIN");
                agent.send(&extended(may, 0, 1));
                let replies = agent.until_ready();
                agent.query("ROLLBACK");
                let tags: Vec<u8> = replies.iter().map(|message| message.tag).collect();
                assert_eq!(tags, *b"1tn2nC3Z", "{may}: {}", raw::show(&replies));
            }
            for (way, message) in [
                ("simple", raw::query(may_not)),
                ("text", extended(may_not, 0, 0)),
                ("limited", extended(may_not, 0, 1)),
                ("in a string", raw::query(&format!("SELECT 1; {may_not}"))),
            ] {
                agent.send(&message);
                let replies = agent.until_ready();
                assert_eq!(raw::error(&replies).sqlstate(), "42501", "{may_not}, {way}: {}", raw::show(&replies));
                assert!(!raw::show(&replies).contains("gatepost: the row"), "{may_not}: {}", raw::show(&replies));
            }
            agent.query("BEGIN");
            agent.query("SAVEPOINT s");
            agent.query(may_not);
            assert_eq!(raw::error(&agent.query("SELECT 1")).sqlstate(), "25P02");
            agent.query("ROLLBACK TO s");
            agent.query("COMMIT");
            assert_eq!(hidden(&mut admin), before, "{may_not}");
        }
    }

    fn prepared_and_bound_writes_are_asked(server: Server) {
        let (database, _gate, mut agent) = stand(&server);
        let mut admin = setup::admin(&database);
        let before = hidden(&mut admin);
        let said = agent.query("PREPARE p AS INSERT INTO notes (id, tenant) VALUES ($1, $2)");
        assert!(said.iter().all(|message| message.tag != b'E'), "{}", raw::show(&said));
        let tags = |replies: &[Message]| replies.iter().map(|message| message.tag).collect::<Vec<_>>();
        assert_eq!(tags(&agent.query("EXECUTE p(100, 'a')")), *b"CZ");
        assert_eq!(raw::error(&agent.query("EXECUTE p(101, 'b')")).sqlstate(), "42501");
        agent.send(&extended("EXECUTE p(102, 'a')", 0, 1));
        assert_eq!(tags(&agent.until_ready()), *b"1tn2nC3Z");
        let insert = "INSERT INTO notes (id, tenant) VALUES ($1, $2)";
        agent.send(&[raw::parse("i", insert, &[]), raw::sync()].concat());
        agent.until_ready();
        let run = |id: &str, tenant: &str| {
            let values = [Some(id.as_bytes()), Some(tenant.as_bytes())];
            [raw::bind("", "i", &[], &values, &[]), raw::execute("", 0)].concat()
        };
        let pipeline = [run("103", "a"), run("104", "b"), run("105", "a"), raw::sync()].concat();
        agent.send(&pipeline);
        let replies = agent.until_ready();
        assert_eq!(tags(&replies), *b"2C2EZ");
        assert_eq!(raw::error(&replies).sqlstate(), "42501");
        // All of the series is taken back, as an error takes it.
        let left = admin.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM notes WHERE id > 99");
        assert_eq!(left, "100,102");
        let prepared = [raw::bind("", "p", &[], &[Some(b"106"), Some(b"a")], &[]), raw::describe(b'P', ""), raw::execute("", 1), raw::sync()];
        agent.send(&prepared.concat());
        assert_eq!(tags(&agent.until_ready()), *b"2nCZ");
        assert_eq!(hidden(&mut admin), before);
    }

    fn copied_rows_are_asked(server: Server) {
        let (database, _gate, mut agent) = stand(&server);
        let mut admin = setup::admin(&database);
        let before = hidden(&mut admin);
        let mut copy = |sql: &str, data: &[u8]| {
            let replies = copied_in(&mut agent, sql, data);
            match replies.iter().find(|reply| reply.tag == b'E') {
                Some(error) => error.sqlstate(),
                None => raw::show(&replies),
            }
        };
        for (sql, data, leaves) in [
            ("COPY notes FROM STDIN", "100\ta\t100\tx\n101\ta\t101\tx\n", true),
            ("COPY notes FROM STDIN", "102\ta\t102\tx\n103\tb\t103\tx\n", false),
            ("COPY notes (id) FROM STDIN", "104\n", true),
            ("COPY other (id) FROM STDIN", "104\n", false),
            ("COPY parts FROM STDIN (FORMAT csv)", "100,a,1,x\n", true),
            ("COPY parts FROM STDIN (FORMAT csv)", "101,b,1,x\n", false),
            ("COPY notes FROM STDIN WHERE tenant = 'a'", "105\tb\t105\tx\n106\ta\t106\tx\n", true),
            ("COPY notes FROM STDIN WHERE id > 0", "107\tb\t107\tx\n", false),
            // A trigger could make another row of it, and so does what is generated.
            ("COPY changed FROM STDIN", "100\ta\t100\tx\n", false),
            ("COPY made FROM STDIN", "100\t100\n", false),
        ] {
            let said = copy(sql, data.as_bytes());
            assert_eq!(said == "42501", !leaves, "{sql}: {said}");
        }
        let left = admin.value("SELECT string_agg(id::text, ',' ORDER BY id) FROM notes WHERE id > 99");
        assert_eq!(left, "100,101,104,106");
        assert_eq!(hidden(&mut admin), before);
    }

    fn random_writes_do_what_row_security_lets_them_do(server: Server) {
        let (database, _gate, mut agent) = stand(&server);
        let secured = server.database();
        secured.login().psql(SCHEMA);
        for table in TABLES.into_iter().chain(["parts_a", "parts_b"]) {
            secured.login().psql(&format!(
                "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY; \
                 CREATE POLICY own ON {table} USING (tenant = 'a') WITH CHECK (tenant = 'a')"
            ));
        }
        let secure = setup::Target::direct(&secured, Role::Scram);
        let mut secure = secure.login().0;
        let (mut one, mut other) = (setup::admin(&database), setup::admin(&secured));
        let all = |admin: &mut Raw| {
            let each = TABLES.map(|table| format!("SELECT '{table}' || t::text AS row FROM {table} t"));
            admin.value(&format!("SELECT string_agg(row, ';' ORDER BY row) FROM ({}) x", each.join(" UNION ALL ")))
        };
        let newer = server.version >= 17;
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        let wanted = if setup::long() { 20_000 } else { 1_500 };
        let (mut done, mut refused) = (0, 0);
        for at in 0..wanted {
            let sql = match random.below(5) {
                0 => random.merge(newer),
                _ => random.statement(),
            };
            let (own, theirs) = (told(&agent.query(&sql)), told(&secure.query(&sql)));
            match own.first().map(String::as_str) {
                Some("42501") => refused += 1,
                _ => done += 1,
            }
            assert!(agree(&own, &theirs, &sql), "{sql}: {own:?}, {theirs:?}");
            if at % 10 == 0 || at + 1 == wanted {
                assert_eq!(all(&mut one), all(&mut other), "{sql}");
            }
        }
        println!("{done} done or failed, {refused} refused");
        assert!(done > wanted / 4 && refused > wanted / 10, "{done} {refused}");
    }
}

/// The SQLSTATE, or rows and tag.
fn told(replies: &[Message]) -> Vec<String> {
    if let Some(error) = replies.iter().find(|reply| reply.tag == b'E') {
        return vec![error.sqlstate()];
    }
    let mut told: Vec<String> = Vec::new();
    for reply in replies {
        match reply.tag {
            b'D' => told.push(reply.columns().iter().map(|value| format!("{value:?}")).collect()),
            b'C' => told.push(String::from_utf8_lossy(&reply.body).into_owned()),
            _ => {}
        }
    }
    told.sort();
    told
}

/// What nothing but the new row itself can break may be said before or after what is asked of it;
/// and where what is proposed can't be asked before it is stored, nobody hears of keys.
fn agree(own: &[String], theirs: &[String], sql: &str) -> bool {
    let broken = |told: &[String]| matches!(told, [one] if ["23502", "23514", "0A000"].contains(&one.as_str()));
    let keyed = |told: &[String]| matches!(told, [one] if one == "23505");
    let hidden = |told: &[String]| matches!(told, [one] if one == "42501");
    let is_asked_late = ["SELECT id +", "lower(", "DEFAULT", "excluded.tenant", "made"]
        .iter()
        .any(|word| sql.contains(word));
    let fails = |told: &[String]| matches!(told, [one] if one.len() == 5 && !one.contains(' '));
    // Which row of several comes first is the plan's.
    let in_any_order = sql.starts_with("MERGE") && (sql.contains("), (") || sql.contains("notes"));
    own == theirs
        || (in_any_order && fails(own) && fails(theirs))
        || (broken(own) && hidden(theirs))
        || (hidden(own) && broken(theirs))
        || (is_asked_late && hidden(own) && keyed(theirs))
        // The key says nothing that a row of one's own would not.
        || (sql.contains("INTO changed") && keyed(own) && hidden(theirs))
}

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn tenant(&mut self) -> &'static str {
        self.one(&["'a'", "'a'", "'a'", "'b'", "NULL", "lower('A')", "DEFAULT"])
    }

    fn note(&mut self) -> &'static str {
        self.one(&["'x'", "'y'", "'to a'", "'to b'", "NULL"])
    }

    fn number(&mut self) -> String {
        (1 + self.below(40)).to_string()
    }

    fn condition(&mut self, table: &str) -> String {
        let number = self.number();
        match self.below(5) {
            0 => format!(" WHERE {table}.id = {number}"),
            1 => format!(" WHERE {table}.id < {number} AND {table}.v > 5"),
            2 => format!(" WHERE {table}.tenant = 'b'"),
            3 => format!(" WHERE {table}.note LIKE 'note%' OR {table}.id = {number}"),
            _ => format!(" WHERE {table}.v % 5 = 1"),
        }
    }

    fn returning(&mut self, table: &str) -> String {
        match self.below(6) {
            0 => " RETURNING *".to_owned(),
            1 => " RETURNING id".to_owned(),
            2 => format!(" RETURNING {table}.*, id + 1 AS next"),
            _ => String::new(),
        }
    }

    /// `newer` has what came with PostgreSQL 17.
    fn merge(&mut self, newer: bool) -> String {
        let tables: &[&str] = &["notes", "notes", "parts", "parts_a", "changed"];
        let table = self.one(if newer { tables } else { &tables[..4] });
        let (number, more) = (self.number(), self.number());
        let source = match self.below(4) {
            0 => format!(
                "(SELECT id + {more} AS id, tenant, v + {more} AS v, note FROM notes WHERE id < {number})"
            ),
            1 => "notes".to_owned(),
            rows => {
                let rows: Vec<String> = (1..rows)
                    .map(|_| {
                        let (id, v, note) = (self.number(), self.number(), self.note());
                        let tenant = self.one(&["'a'", "'a'", "'a'", "'b'", "NULL"]);
                        format!("({id}, {tenant}, {v}, {note})")
                    })
                    .collect();
                format!("(VALUES {})", rows.join(", "))
            }
        };
        let names = if source.starts_with("(VALUES") { " (id, tenant, v, note)" } else { "" };
        // What rows of one side do that the other has no match for.
        let kind = self.below(if newer { 4 } else { 2 });
        let on: &[&str] = &[
            "t.id = s.id",
            "t.id = s.id AND t.v > 5",
            "s.v = t.v",
            "t.tenant = s.tenant AND t.id = s.id",
            "t.id = s.id AND t.note LIKE 'n%'",
            "10 / t.id > s.id AND t.id = s.id",
        ];
        let on = self.one(on);
        // Which of several rows meets a key that another takes or leaves is chance.
        let several = names.is_empty() || source.contains("), (");
        let value = if several { "NULL" } else { "v" };
        let mut sql = format!("MERGE INTO {table} t USING {source} s{names} ON {on}");
        let condition = self.one(&["", "", " AND t.v % 2 = 0", " AND t.note LIKE 'n%'"]);
        let tenant = self.one(&["'a'", "'b'", "s.tenant", "s.tenant"]);
        let late = if newer { self.one(&["lower('A')", "DEFAULT", tenant]) } else { tenant };
        let matched = match self.below(5) {
            0 => "UPDATE SET note = s.note".to_owned(),
            1 => format!("UPDATE SET tenant = {tenant}"),
            2 if several => format!("UPDATE SET tenant = {late}"),
            2 => format!("UPDATE SET v = s.v + {more}, tenant = {late}"),
            3 => "DELETE".to_owned(),
            _ => "DO NOTHING".to_owned(),
        };
        sql += &format!(" WHEN MATCHED{condition} THEN {matched}");
        if kind % 2 == 1 {
            let condition = self.one(&["", " AND s.id % 2 = 0"]);
            let inserted = match self.below(3) {
                0 => format!("INSERT (id, tenant) VALUES (s.id, {tenant})"),
                1 => format!("INSERT VALUES (s.id, {late}, {value}, s.note)"),
                _ => format!("INSERT (note, v, tenant, id) VALUES (note, {value}, tenant, id)"),
            };
            sql += &format!(" WHEN NOT MATCHED{condition} THEN {inserted}");
        }
        if kind > 1 {
            let condition = self.one(&[" AND t.v % 5 = 1", " AND 100 / t.id > 30"]);
            let tenant = self.one(&["'a'", "'b'"]);
            let lacked = match self.below(3) {
                0 => "UPDATE SET note = 'x'".to_owned(),
                1 => format!("UPDATE SET tenant = {tenant}"),
                _ => "DELETE".to_owned(),
            };
            sql += &format!(" WHEN NOT MATCHED BY SOURCE{condition} THEN {lacked}");
        }
        match self.below(if newer { 5 } else { 1 }) {
            1 => sql + " RETURNING *",
            2 => sql + " RETURNING merge_action(), t.id, s.*",
            3 => format!("WITH m AS ({sql} RETURNING t.*) SELECT * FROM m"),
            _ => sql,
        }
    }

    fn statement(&mut self) -> String {
        let table = self.one(&["notes", "notes", "notes", "changed", "parts", "parts_a"]);
        if self.below(12) == 0 {
            let (id, v) = (self.number(), self.number());
            return match self.below(3) {
                0 => format!("INSERT INTO made VALUES ({id}, {v})"),
                1 => format!("UPDATE made SET v = v + 1 WHERE v = {v}"),
                _ => format!("INSERT INTO other (id, tenant) VALUES ({id}, {})", self.tenant()),
            };
        }
        let returning = self.returning(table);
        match self.below(7) {
            0 => {
                let condition = self.condition(table);
                format!("DELETE FROM {table}{condition}{returning}")
            }
            1 | 2 => {
                let (tenant, note, v) = (self.tenant(), self.note(), self.number());
                let kind = self.below(4);
                // Which of several rows meets a key that another is about to leave is chance.
                let condition = match kind {
                    0 | 1 => self.condition(table),
                    _ => format!(" WHERE {table}.id = {}", self.number()),
                };
                let set = match kind {
                    0 => format!("tenant = {tenant}"),
                    1 => format!("note = {note}"),
                    2 => format!("tenant = {tenant}, v = {v}"),
                    _ => format!("v = v + {v}, note = {note}"),
                };
                format!("UPDATE {table} SET {set}{condition}{returning}")
            }
            3 => {
                let condition = self.condition("notes");
                let more = self.number();
                let tenant = self.one(&["tenant", "tenant", "'a'", "'b'"]);
                let list = format!("id + {more}, {tenant}, v + {more}, note");
                format!("INSERT INTO {table} SELECT {list} FROM notes{condition}{returning}")
            }
            _ => {
                // What a trigger would make of a row that is there already is never known.
                let first = if table == "changed" { 4 } else { 0 };
                let conflict = first + self.below(6 - first);
                let rows: Vec<String> = (0..1 + self.below(2))
                    .map(|_| {
                        let (id, v, note) = (self.number(), self.number(), self.note());
                        let tenant = match conflict {
                            0..=3 => self.one(&["'a'", "'a'", "'b'", "NULL"]),
                            _ => self.tenant(),
                        };
                        format!("({id}, {tenant}, {v}, {note})")
                    })
                    .collect();
                let tenant = self.one(&["'a'", "'b'", "excluded.tenant"]);
                let key = if table.starts_with("parts") { "(tenant, id)" } else { "(id)" };
                let conflict = match conflict {
                    0 => " ON CONFLICT DO NOTHING".to_owned(),
                    1 => format!(" ON CONFLICT {key} DO NOTHING"),
                    2 => format!(" ON CONFLICT {key} DO UPDATE SET note = excluded.note"),
                    3 => format!(" ON CONFLICT {key} DO UPDATE SET tenant = {tenant}"),
                    _ => String::new(),
                };
                let insert = format!("INSERT INTO {table} VALUES {}{conflict}", rows.join(", "));
                match self.below(6) {
                    0 => format!("WITH new AS ({insert} RETURNING id) SELECT * FROM new"),
                    _ => insert + &returning,
                }
            }
        }
    }
}
