//! What masks cost: rows with two masked columns of eight through a gate, beside the same masked
//! SELECT sent directly, and sent as it is through a gate that masks nothing: what passes is the same
//! to the byte, and the server makes it as slowly. That is the comparison which counts. Whoever relays
//! rows that come more slowly wakes up more often, each time for fewer of them: so a third and a fourth
//! figure say what the gate and a plain byte copy spend on such rows, over what they spend on the
//! rows of a table that holds the masked values.

use std::fmt::Arguments;
use std::time::Instant;

use serde_json::{Value, json};

use crate::client::Client;
use crate::contender::Contender;
use crate::report::{at_least, at_most, median};
use crate::workload::Measured;

const ROWS: u64 = 100_000;

/// Times in a round that they are read: once takes a tenth of a second.
const TIMES: u64 = 5;

const SELECT: &str = "SELECT * FROM people";
const STORED: &str = "SELECT * FROM people_as_shown";

/// The least of the direct rate of the masked SELECT.
const RATE_GOAL: f64 = 0.9;
/// The most CPU time for a row, as a part of that for the same row of the same text where nothing is
/// masked. No more is what is wanted; the rest is what two runs of the same differ by.
const CPU_GOAL: f64 = 1.05;

/// One round.
#[derive(Clone, Copy)]
pub struct Masked {
    direct: Measured,
    gate: Measured,
    /// The masked SELECT as a client's own, where nothing is masked.
    own: Measured,
    /// The table that holds the masked values.
    stored: Measured,
    copied: Measured,
    copied_stored: Measured,
}

pub fn fill(direct: &Contender) {
    let people = format!(
        "CREATE TABLE people AS SELECT i AS id, 'customer ' || i AS name, \
         'customer' || i || '@example.com' AS email, lpad(i::text, 11, '0') AS ssn, \
         i % 2 = 0 AS active, i * 37 % 100000 / 100.0 AS amount, \
         timestamp '2026-01-01' + i * interval '1 second' AS created, \
         repeat('address ', 3) AS address FROM generate_series(1, {ROWS}) AS i"
    );
    let shown = "CREATE TABLE people_as_shown AS SELECT id, name, '****@example.com' AS email, \
                 '****' || right(ssn, 4) AS ssn, active, amount, created, address FROM people";
    let mut client = Client::connect(direct).unwrap_or_else(|e| panic!("{e}"));
    for sql in [&*people, shown, "VACUUM (FREEZE, ANALYZE) people, people_as_shown", "CHECKPOINT"] {
        client.count_rows(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

impl Masked {
    /// `plain` has the same policies as `gate`, and no masks; `floor` is the byte copy.
    pub fn measure(
        direct: &Contender,
        gate: &Contender,
        plain: &Contender,
        floor: &Contender,
    ) -> Result<Masked, String> {
        // The very text that PostgreSQL gets, as it tells itself.
        let asked = "SELECT *, current_query() FROM people";
        let told = Client::connect(gate)?.last_value(asked)?;
        let sent = told.replace(", current_query()", "");
        if sent == SELECT || !sent.starts_with("SELECT * FROM (SELECT ") {
            return Err(format!("nothing is masked: {told}"));
        }
        Ok(Masked {
            direct: read(direct, &sent)?,
            gate: read(gate, SELECT)?,
            own: read(plain, &sent)?,
            stored: read(gate, STORED)?,
            copied: read(floor, &sent)?,
            copied_stored: read(floor, STORED)?,
        })
    }

    fn rate(&self) -> f64 {
        self.gate.rate / self.direct.rate
    }

    fn cpu(&self) -> f64 {
        self.gate.cpu_us / self.own.cpu_us
    }

    fn slower(&self) -> f64 {
        self.gate.cpu_us / self.stored.cpu_us
    }

    fn copied_slower(&self) -> f64 {
        self.copied.cpu_us / self.copied_stored.cpu_us
    }
}

fn read(contender: &Contender, sql: &str) -> Result<Measured, String> {
    let mut client = Client::connect(contender)?;
    // What comes once for a text is measured elsewhere.
    client.count_rows(sql)?;
    let before = contender.cpu();
    let begin = Instant::now();
    for _ in 0..TIMES {
        let rows = client.count_rows(sql)?;
        if rows != ROWS {
            return Err(format!("{rows} rows instead of {ROWS}"));
        }
    }
    let rows = (ROWS * TIMES) as f64;
    let rate = rows / begin.elapsed().as_secs_f64();
    let cpu_us = contender.cpu().since(&before).as_secs_f64() * 1e6 / rows;
    Ok(Measured { rate, cpu_us, journal_bytes: None })
}

pub fn table(rounds: &[Masked], line: &mut dyn FnMut(Arguments)) {
    let over = |value: fn(&Masked) -> f64| median(rounds.iter().map(value).collect());
    line(format_args!("\n{ROWS} rows with two masked columns of eight:"));
    let verdict = at_least(RATE_GOAL, over(Masked::rate));
    line(format_args!("{:<40}{verdict}", "throughput ÷ the same SELECT, direct"));
    let verdict = at_most(CPU_GOAL, over(Masked::cpu));
    line(format_args!("{:<40}{verdict}", "CPU for a row ÷ the same, unmasked"));
    let [masked, own, stored] =
        [over(|it| it.gate.cpu_us), over(|it| it.own.cpu_us), over(|it| it.stored.cpu_us)];
    line(format_args!("{:<40}{masked:>8.3} µs, {own:.3} µs; stored so {stored:.3} µs", ""));
    let [slower, copied] = [over(Masked::slower), over(Masked::copied_slower)];
    line(format_args!(
        "{:<40}{slower:>8.2}, of a byte copy {copied:.2}",
        "÷ one that is stored so"
    ));
}

pub fn json(rounds: &[Masked]) -> Value {
    let each = |value: fn(&Masked) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    json!({
        "rows": ROWS,
        "rate_to_direct_each": each(Masked::rate),
        "cpu_to_own_each": each(Masked::cpu),
        "cpu_us_each": each(|it| it.gate.cpu_us),
        "own_cpu_us_each": each(|it| it.own.cpu_us),
        "stored_cpu_us_each": each(|it| it.stored.cpu_us),
        "copied_cpu_us_each": each(|it| it.copied.cpu_us),
        "copied_stored_cpu_us_each": each(|it| it.copied_stored.cpu_us),
    })
}
