//! What is measured, and for how long: pgbench's SELECT by simple and by prepared statements with
//! few and many clients, and a big table read as rows and as COPY.

use std::fmt;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::client::Client;
use crate::contender::Contender;

const SCALE: u64 = 5;

pub const ROWS_OF_ACCOUNTS: u64 = SCALE * 100_000;

pub struct Plan {
    pub name: &'static str,
    pub rounds: usize,
    /// Of each pgbench run.
    pub seconds: u32,
    pub rows: u64,
}

impl Plan {
    pub fn full() -> Plan {
        Plan { name: "full", rounds: 5, seconds: 5, rows: 500_000 }
    }

    pub fn quick() -> Plan {
        Plan { name: "quick", rounds: 3, seconds: 2, rows: 500_000 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Workload {
    Statements { prepared: bool, clients: u32 },
    SelectRows,
    CopyRows,
}

/// One contender's share of a round.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Statements or rows in a second.
    pub rate: f64,
    /// CPU time of the proxy for one of them, in µs.
    pub cpu_us: f64,
    /// What its journal grew by for a statement, where there is one. Rows are not recorded.
    pub journal_bytes: Option<f64>,
}

impl Workload {
    pub fn all() -> impl Iterator<Item = Workload> {
        let clients = [1, 8, 32];
        let statements = [false, true].into_iter().flat_map(move |prepared| {
            clients.into_iter().map(move |clients| Workload::Statements { prepared, clients })
        });
        statements.chain([Workload::SelectRows, Workload::CopyRows])
    }

    pub fn unit(self) -> &'static str {
        match self {
            Workload::Statements { .. } => "statement",
            Workload::SelectRows | Workload::CopyRows => "row",
        }
    }

    /// The most that relaxed Gatepost's CPU time may be of the floor's.
    pub fn goal(self) -> Option<f64> {
        match self {
            Workload::Statements { prepared: true, clients: 8 | 32 } => Some(1.25),
            Workload::Statements { .. } => None,
            Workload::SelectRows | Workload::CopyRows => Some(2.0),
        }
    }

    /// How many there are where statements are what is counted.
    pub fn clients(self) -> Option<u32> {
        match self {
            Workload::Statements { clients, .. } => Some(clients),
            Workload::SelectRows | Workload::CopyRows => None,
        }
    }

    /// The error is a reason to throw the round away.
    pub fn measure(self, contender: &Contender, plan: &Plan) -> Result<Measured, String> {
        let named = |error| format!("{}: {error}", contender.name);
        match self {
            Workload::Statements { prepared, clients } => {
                pgbench(contender, plan, prepared, clients)
            }
            Workload::SelectRows => rows(contender, plan, "SELECT * FROM wide"),
            Workload::CopyRows => rows(contender, plan, "COPY wide TO STDOUT"),
        }
        .map_err(named)
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Statements { prepared, clients } => {
                let mode = if *prepared { "prepared" } else { "simple" };
                let plural = if *clients == 1 { "" } else { "s" };
                f.pad(&format!("{mode}, {clients} client{plural}"))
            }
            Workload::SelectRows => f.pad("wide rows, SELECT"),
            Workload::CopyRows => f.pad("wide rows, COPY"),
        }
    }
}

pub fn fill(direct: &Contender, plan: &Plan) {
    let mut init = program(direct, "pgbench");
    let output = init.args(["-i", "-q", "-s", &SCALE.to_string()]).output().expect("pgbench runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut client = Client::connect(direct).unwrap_or_else(|e| panic!("{e}"));
    let wide = format!(
        "CREATE TABLE wide AS SELECT i AS id, md5(i::text) AS reference, \
         'customer ' || i AS name, i * 37 % 100000 / 100.0 AS amount, i % 2 = 0 AS paid, \
         timestamp '2026-01-01' + i * interval '1 second' AS created, \
         'customer' || i || '@example.com' AS email, repeat('address ', 6) AS address, \
         NULL::text AS remark, i * 1000003::bigint AS big \
         FROM generate_series(1, {}) AS i",
        plan.rows
    );
    for sql in [&wide, "VACUUM (FREEZE, ANALYZE) wide", "CHECKPOINT"] {
        client.count_rows(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

fn pgbench(
    contender: &Contender,
    plan: &Plan,
    prepared: bool,
    clients: u32,
) -> Result<Measured, String> {
    let mut command = program(contender, "pgbench");
    command
        .args(["-n", "-S", "-M", if prepared { "prepared" } else { "simple" }])
        .args(["-c", &clients.to_string(), "-j", &clients.min(2).to_string()])
        .args(["-T", &plan.seconds.to_string()]);
    let written_before = contender.journal();
    let before = contender.cpu();
    let output = command.output().map_err(|e| format!("starting pgbench: {e}"))?;
    let cpu = contender.cpu().since(&before);
    // A relaxed record of the last milliseconds may still be missing, as the next to be measured
    // may have one too many: less than the figure's last digit.
    let written = contender.journal();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    // With -n it has nothing to say but its version and what went wrong.
    let complaint = errors.lines().find(|line| line.contains("error") || line.contains("FATAL"));
    if !output.status.success() || complaint.is_some() {
        return Err(format!("pgbench: {errors}"));
    }
    let number = |label: &str| -> Result<f64, String> {
        let rest = text.lines().find_map(|line| line.strip_prefix(label));
        let word = rest.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse().ok()).ok_or_else(|| format!("pgbench said: {text}"))
    };
    let failed = number("number of failed transactions:")?;
    let statements = number("number of transactions actually processed:")?;
    if failed > 0.0 || statements < 1.0 {
        return Err(format!("pgbench said: {text}"));
    }
    let journal_bytes = written_before
        .zip(written)
        .map(|(before, after)| (after.plain - before.plain) as f64 / statements);
    Ok(Measured {
        rate: number("tps =")?,
        cpu_us: cpu.as_secs_f64() * 1e6 / statements,
        journal_bytes,
    })
}

fn rows(contender: &Contender, plan: &Plan, sql: &str) -> Result<Measured, String> {
    let mut client = Client::connect(contender)?;
    let before = contender.cpu();
    let begin = Instant::now();
    let rows = client.count_rows(sql)?;
    let took = begin.elapsed();
    let cpu = contender.cpu().since(&before);
    if rows != plan.rows {
        return Err(format!("{rows} rows instead of {}", plan.rows));
    }
    Ok(Measured {
        rate: rows as f64 / took.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / rows as f64,
        journal_bytes: None,
    })
}

pub fn program(contender: &Contender, name: &str) -> Command {
    let mut command = Command::new(contender.clients.join(name));
    command
        .env("PGHOST", "127.0.0.1")
        .env("PGPORT", contender.port.to_string())
        .env("PGUSER", &contender.user)
        .env("PGPASSWORD", &contender.password)
        .env("PGDATABASE", &contender.database)
        .env("PGSSLMODE", "disable")
        .env("LC_ALL", "C")
        .stdin(Stdio::null());
    command
}
