//! What masks cost: rows with two masked columns of eight through a gate, beside the same masked
//! SELECT sent directly, and beside the rows of a table that holds the masked values themselves, so
//! that what passes is the same to the byte.

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
const UNMASKED: &str = "SELECT * FROM people_as_shown";

/// The least of the direct rate of the masked SELECT.
const RATE_GOAL: f64 = 0.9;
/// The most CPU time for a row, as a part of that for a row without masks. No more is what is wanted;
/// the rest is what two runs of the same differ by.
const CPU_GOAL: f64 = 1.05;

/// One round.
#[derive(Clone, Copy)]
pub struct Masked {
    direct: Measured,
    gate: Measured,
    unmasked: Measured,
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
    pub fn measure(direct: &Contender, gate: &Contender) -> Result<Masked, String> {
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
            unmasked: read(gate, UNMASKED)?,
        })
    }

    fn rate(&self) -> f64 {
        self.gate.rate / self.direct.rate
    }

    fn cpu(&self) -> f64 {
        self.gate.cpu_us / self.unmasked.cpu_us
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
    line(format_args!("{:<40}{verdict}", "CPU for a row ÷ one without masks"));
    let [masked, unmasked] = [over(|it| it.gate.cpu_us), over(|it| it.unmasked.cpu_us)];
    line(format_args!("{:<40}{masked:>8.3} µs and {unmasked:.3} µs", ""));
}

pub fn json(rounds: &[Masked]) -> Value {
    let each = |value: fn(&Masked) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    json!({
        "rows": ROWS,
        "rate_to_direct_each": each(Masked::rate),
        "cpu_to_unmasked_each": each(Masked::cpu),
        "cpu_us_each": each(|it| it.gate.cpu_us),
        "unmasked_cpu_us_each": each(|it| it.unmasked.cpu_us),
    })
}
