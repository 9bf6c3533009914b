//! Twins: two databases that differ in what is masked, or in rows that a filter hides, and the same
//! attacks through a gateway on both. What comes back must agree to the byte. The attacks are lines
//! of `twins/attacks.sql`; each that ever told the twins apart stays there.

use std::process::Command;

use e2e::{Database, Role, Server, on_each_version};

use super::bytes;
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

const SCHEMA: &str = include_str!("twins/schema.sql");
const ROWS: &str = include_str!("twins/rows.sql");
const ATTACKS: &str = include_str!("twins/attacks.sql");

/// Every mask there is, on every kind of type.
const MASKS: &str = "
  - name: personal
    who: \"*\"
    to: \"*\"
    mask:
      public.customers(ssn, token, secret): redact
      public.customers.card: last4
      public.customers.email: email
      public.customers.born: year
      public.customers.income: range(1000)
      public.customers.visits: last4
      public.customers(doc, ip): empty
      public.customers(tags, mood): redact
      public.places.zip: redact
      public.customers.tag: { sql: \"left(name, 3)\" }
      public.cards.ssn: redact
      public.payments.iban: first1
      public.held.ssn: redact
      public.voids.what: empty
";

/// Masks stand beside the most that a policy can give.
const EVERYTHING: &str = "
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [everything]
";

/// And beside what an eager administrator writes.
const BROAD: &str = "
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow:
      - read, write, truncate, lock, maintain: \"*\"
      - read, write, truncate, ddl: pg_temp.*
      - ddl: public.*
      - set: gate.x
      - use, call: public.*
      - read: pg_catalog.pg_stats, pg_catalog.pg_statistic
";

const FILTERED: &str = "
  - name: agents
    who: identity:AGENT
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [everything]
    rows: { \"public.customers, public.orders, public.payments\": \"region = 'north'\" }
";

/// How a line travels.
#[derive(Clone, Copy)]
enum Way {
    Simple,
    /// Parse to Sync, results in this format.
    Extended(u16),
    /// All of it before one Sync, and a second Execute.
    Pipelined,
}

struct Twin {
    gate: Gate,
    agent: Raw,
    /// Dropped, and gone, last.
    database: Database,
}

on_each_version! {
    fn twins_beside_everything(server: Server) {
        play(&server, EVERYTHING, "", Way::Simple);
    }

    fn twins_in_binary(server: Server) {
        play(&server, EVERYTHING, "", Way::Extended(1));
    }

    fn twins_beside_broad_rules(server: Server) {
        play(&server, BROAD, "", Way::Extended(0));
    }

    fn twins_in_pipelines(server: Server) {
        play(&server, BROAD, "", Way::Pipelined);
    }

    fn twins_whose_hidden_rows_differ(server: Server) {
        // As many of them as before, for else the client's own rows would lie elsewhere.
        let hidden = "UPDATE customers SET name = md5(name || 'HIDDEN') WHERE region <> 'north'; \
            UPDATE orders SET total = total + HIDDEN, customer = 21 - customer WHERE region <> 'north'; \
            UPDATE payments SET amount = amount + HIDDEN, customer = 21 - customer WHERE region <> 'north'; \
            DELETE FROM orders WHERE region <> 'north' AND id % HIDDEN = 1; REFRESH MATERIALIZED VIEW kept; \
            DELETE FROM boxes; VACUUM FULL; ANALYZE";
        play(&server, FILTERED, hidden, Way::Simple);
    }

    fn random_queries_tell_no_twins_apart(server: Server) {
        random_queries(&server);
    }
}

/// Two databases that differ in what is masked, each behind a gateway. Values of `length` letters
/// stand in the second for nine in the first.
fn twins(server: &Server, rules: &str, hidden: &str, length: &str) -> [Twin; 2] {
    let template = server.database();
    // The gateway's role owns everything: what is refused, Gatepost refuses.
    template.login().psql("GRANT ALL ON SCHEMA public TO public");
    template.login_as(Role::Scram).psql(SCHEMA);
    // Statistics that one of the twins has and the other has not would choose other plans, and with them
    // another order of rows.
    template.login().psql(
        "DO $$ DECLARE t text; BEGIN FOR t IN SELECT oid::regclass FROM pg_class WHERE relkind IN ('r', 'm') \
         AND relnamespace = 'public'::regnamespace LOOP \
         EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', t); END LOOP; END $$",
    );
    let twin = |salt: &str, length: &str, month: &str, rich: &str, visits: &str, other: &str| {
        let database = setup::twin(&template);
        let rows = ROWS
            .replace("SALT", &format!("'{salt}'"))
            .replace("LENGTH", length)
            .replace("MONTH", month)
            .replace("RICH", rich)
            .replace("VISITS", visits);
        database.login_as(Role::Scram).psql(&rows);
        if !hidden.is_empty() {
            for sql in hidden.replace("HIDDEN", other).split("; ") {
                database.login_as(Role::Scram).psql(sql);
            }
        }
        let policies = format!("policies:{MASKS}{}", rules.replace("AGENT", setup::AGENT));
        let gate = Plan::gateway(&database).named("twin").top(&policies).start();
        let agent = gate.login().0;
        Twin { gate, agent, database }
    };
    let one = twin("one", "9", "0", "111", "111110000", "2");
    [one, twin("other", length, "7", "888", "777770000", "5")]
}

/// Runs every attack on both twins; fails with all that tell them apart.
fn play(server: &Server, rules: &str, hidden: &str, way: Way) {
    let [mut one, mut other] = twins(server, rules, hidden, "17");
    let mut apart = Vec::new();
    let (mut ran, mut refused) = (0, Vec::new());
    let about = |line: &&str| !line.is_empty() && !line.starts_with("--");
    for sql in ATTACKS.lines().filter(about) {
        let first = answer(&mut one.agent, sql, way);
        let second = answer(&mut other.agent, sql, way);
        if same(&first) != same(&second) {
            apart.push(format!("{sql}{}\n  but{}", raw::show(&first), raw::show(&second)));
        }
        match first.iter().find(|message| message.tag == b'E') {
            Some(error) => {
                refused.push(format!("{sql}\n    {} {}", error.sqlstate(), error.text()))
            }
            None => ran += 1,
        }
        for (twin, replies) in [(&mut one, &first), (&mut other, &second)] {
            // What became of it is compared; what comes next needs a session.
            match replies.last() {
                Some(message) if message.body == b"E" => drop(twin.agent.query("ROLLBACK")),
                Some(message) if message.tag == b'Z' => {}
                _ => twin.agent = twin.gate.login().0,
            }
        }
    }
    for twin in [&one, &other] {
        // The tripwire was not needed.
        assert!(!twin.gate.log().contains("as it is stored"), "{}", twin.gate.log());
    }
    println!("{ran} ran, {} did not:\n{}", refused.len(), refused.join("\n"));
    assert!(apart.is_empty(), "{} told the twins apart:\n{}", apart.len(), apart.join("\n\n"));
    assert!(ran > 150 && refused.len() > 100, "{ran} ran, {} did not", refused.len());
}

/// Queries that nobody would write, each undone. Without an order rows come as they lie, or as a plan
/// finds them, so they are compared sorted, and nothing is known of the values when plans are made.
fn random_queries(server: &Server) {
    let mut twins = twins(server, EVERYTHING, "", "9");
    for twin in &mut twins {
        // What is refused with whatever reads it tells nothing.
        let code = "DROP FUNCTION opaque, guess, everyone, definer, named, twice, says, told, thrown, \
            matches, piled, unwrapped CASCADE; DROP VIEW telling, counted, made; DROP TABLE guarded, ruled; DROP TABLE held CASCADE";
        for sql in [code, "VACUUM FULL", "DELETE FROM pg_statistic"] {
            twin.database.login().psql(sql);
        }
        twin.agent.query("SET statement_timeout = '2s'");
    }
    let [mut one, mut other] = twins;
    let (seeds, queries) = if setup::long() { (1..=10, 500) } else { (1..=1, 300) };
    let (mut compared, mut ran, mut with_rows, mut apart) = (0, 0, 0, Vec::new());
    for seed in seeds {
        for sql in sqlsmith(&one.database, seed, queries).split(";\n") {
            let sql = &whole(sql);
            let run = |twin: &mut Twin| {
                twin.agent.query("BEGIN");
                let mut replies = same(&answer(&mut twin.agent, sql, Way::Simple));
                twin.agent.query("ROLLBACK");
                replies.sort();
                replies
            };
            let (first, second, again) = (run(&mut one), run(&mut other), run(&mut one));
            let timeout = |replies: &[(u8, Vec<u8>)]| {
                replies.iter().any(|(_, body)| body.windows(6).any(|six| six == b"C57014"))
            };
            // Some things are others each time: what time it is, the numbers of processes.
            if first != again || timeout(&first) || timeout(&second) {
                continue;
            }
            compared += 1;
            with_rows += usize::from(first.iter().any(|(tag, _)| *tag == b'D'));
            ran += usize::from(first.iter().all(|(tag, _)| *tag != b'E'));
            if first != second {
                apart.push(format!("{sql}\n{first:?}\n{second:?}"));
            }
        }
    }
    println!("{compared} compared, {ran} of them ran, {with_rows} with rows");
    assert!(apart.is_empty(), "{} told the twins apart:\n{}", apart.len(), apart.join("\n\n"));
    assert!(compared > 150 && ran > 50, "{compared} {ran}");
    for twin in [&one, &other] {
        assert!(!twin.gate.log().contains("as it is stored"), "{}", twin.gate.log());
    }
}

/// Without samples: which rows they have is chance.
fn whole(sql: &str) -> String {
    let mut parts = sql.split("tablesample");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once(')').map_or("", |(_, rest)| rest))
}

/// Random statements, made for the database's schema.
fn sqlsmith(database: &Database, seed: u32, queries: u32) -> String {
    let login = database.login();
    let output = Command::new("sqlsmith")
        .arg(format!("--target={}", login.conninfo()))
        .args(["--dry-run", "--exclude-catalog"])
        .arg(format!("--seed={seed}"))
        .arg(format!("--max-queries={queries}"))
        .output()
        .expect("sqlsmith");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Everything up to ReadyForQuery; who is asked for data gets a line of it.
fn answer(agent: &mut Raw, sql: &str, way: Way) -> Vec<Message> {
    let steps = |format| {
        [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[format]), raw::describe(b'P', "")]
            .concat()
    };
    let message = match way {
        Way::Simple => raw::query(sql),
        Way::Extended(format) => [steps(format), raw::execute("", 0), raw::sync()].concat(),
        Way::Pipelined => [
            steps(0),
            raw::execute("", 2),
            raw::execute("", 0),
            raw::close(b'S', ""),
            steps(1),
            raw::execute("", 0),
            raw::sync(),
        ]
        .concat(),
    };
    agent.send(&message);
    let mut replies = Vec::new();
    while let Some(reply) = agent.read() {
        let (copies, ready) = (reply.tag == b'G', reply.tag == b'Z');
        replies.push(reply);
        if copies {
            let mut data =
                [raw::copy_data(b"3\tx\n"), raw::copy_data(b"1\t1234\n"), raw::copy_done()]
                    .concat();
            if !matches!(way, Way::Simple) {
                // The server took the first one for a part of the copy.
                data.extend(raw::sync());
            }
            agent.send(&data);
        }
        if ready {
            break;
        }
    }
    replies
}

/// Without the numbers that a server gives out as it goes: of processes, of temporary schemas.
fn same(replies: &[Message]) -> Vec<(u8, Vec<u8>)> {
    let mut replies = bytes(replies);
    for (tag, body) in &mut replies {
        match tag {
            b'A' => body[..4].fill(0),
            b'E' | b'N' => {
                let mut kept: Vec<u8> = Vec::new();
                for byte in &*body {
                    let number = byte.is_ascii_digit() && kept.ends_with(b"pg_temp_");
                    if !number {
                        kept.push(*byte);
                    }
                }
                *body = kept;
            }
            _ => {}
        }
    }
    replies
}
