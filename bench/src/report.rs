//! From the rounds to a table for people and JSON for machines: medians, each contender's rate as
//! a part of the direct one of the same round, and the proxy's CPU time beside the floor's. Which
//! goals are met is said under the table.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::contender::{OVERLAP, POLICY, RELAXED, STRICT};
use crate::journal::{Extent, Latency, Proof};
use crate::masked::{self, Masked};
use crate::storm::{self, Storm};
use crate::workload::{Measured, Plan, Workload};

pub struct Report {
    plan: &'static str,
    contenders: Vec<&'static str>,
    versions: Vec<String>,
    /// Of the machine before the run: a busy one measures its other work too.
    load: String,
    results: Vec<Results>,
    latencies: Vec<Latency>,
    /// With policies, so that reads overlap with their records.
    overlapping: Vec<Latency>,
    masked: Vec<Masked>,
    storms: Vec<Storm>,
    proof: Option<(Extent, Proof)>,
}

struct Results {
    workload: Workload,
    /// Each has one for each contender, in their order: direct, floor, others, Gatepost.
    rounds: Vec<Vec<Measured>>,
    discarded: usize,
}

const DIRECT: usize = 0;
const FLOOR: usize = 1;

/// The most flushes that a strict statement may take longer than a relaxed one at one client.
const FLUSHES_GOAL: f64 = 1.2;
/// A strict statement waits for a flush. When it seems to take much less, other programs kept the
/// processor from the one that measured the flush.
const FLUSHES_LEAST: f64 = 0.8;
/// The least of relaxed throughput that strict has to reach at 32 clients.
const STRICT_GOAL: f64 = 0.6;
/// The same where reads overlap with their records.
const OVERLAP_GOAL: f64 = 0.8;
/// With policies, the most CPU time of a prepared statement as a part of that without.
const POLICY_GOAL: f64 = 1.1;
/// With policies, the most CPU time of simple statements at 8 clients as a part of the floor's. Each
/// of pgbench's has a key of its own in it, so hardly a text comes twice.
const DIFFERING_GOAL: f64 = 1.3;
/// The least at which a journal has to be proven.
const VERIFY_GOAL: f64 = 200.0;

const NO_TWIN: &str = "\
A goal of 2 µs of CPU and 5 % of throughput was set for relaxed records against a Gatepost without
a journal. There is no such Gatepost, so this is not judged: here it stands beside the floor, and
all else that Gatepost does is in the difference too.";

impl Report {
    pub fn new(plan: &Plan) -> Report {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Report {
            plan: plan.name,
            contenders: Vec::new(),
            versions: Vec::new(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            results: Vec::new(),
            latencies: Vec::new(),
            overlapping: Vec::new(),
            masked: Vec::new(),
            storms: Vec::new(),
            proof: None,
        }
    }

    pub fn compares(&mut self, contenders: Vec<&'static str>, versions: &[String]) {
        self.contenders = contenders;
        self.versions = versions.to_vec();
    }

    pub fn add(&mut self, workload: Workload, round: Vec<Measured>) {
        self.of(workload).rounds.push(round);
    }

    pub fn discarded(&mut self, workload: Workload, rounds: usize) {
        self.of(workload).discarded = rounds;
    }

    pub fn waited(&mut self, round: Latency, overlapping: Latency) {
        self.latencies.push(round);
        self.overlapping.push(overlapping);
    }

    pub fn masked(&mut self, round: Masked) {
        self.masked.push(round);
    }

    pub fn stormed(&mut self, round: Storm) {
        self.storms.push(round);
    }

    pub fn proven(&mut self, extent: Extent, proof: Proof) {
        self.proof = Some((extent, proof));
    }

    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut line = |words: std::fmt::Arguments| {
            text.write_fmt(words).expect("a string grows");
            text.push('\n');
        };
        line(format_args!("{}; load before the run: {}", self.versions.join("; "), self.load));
        line(format_args!(
            "Medians of {} rounds. For each: throughput ÷ direct, CPU µs of the proxy per \
             statement or row, CPU ÷ the floor's.\n",
            self.results.first().map_or(0, |r| r.rounds.len())
        ));
        let mut head = format!("{:<22}{:>12}", "", "direct /s");
        for name in &self.contenders[FLOOR..] {
            write!(head, "  | {name:^22}").expect("a string grows");
        }
        line(format_args!("{head}"));
        for results in &self.results {
            let mut row = format!("{:<22}{:>12.0}", results.workload, results.rate(DIRECT));
            for contender in FLOOR..self.contenders.len() {
                write!(
                    row,
                    "  | {:>6.2} {:>8.3} {:>6.2}",
                    results.ratio(contender),
                    results.cpu_us(contender),
                    results.cpu_to_floor(contender)
                )
                .expect("a string grows");
            }
            line(format_args!("{row}"));
        }
        let relaxed = self.index(RELAXED);
        line(format_args!("\nCPU of {RELAXED}, as a multiple of the floor's:"));
        for results in &self.results {
            let Some(goal) = results.workload.goal() else { continue };
            let verdict = at_most(goal, results.cpu_to_floor(relaxed));
            line(format_args!("{:<22}{verdict}", results.workload));
        }
        self.policy_table(&mut line);
        masked::table(&self.masked, &mut line);
        storm::table(&self.storms, &mut line);
        self.journal_table(&mut line);
        text
    }

    fn policy_table(&self, line: &mut dyn FnMut(std::fmt::Arguments)) {
        let (relaxed, policy) = (self.index(RELAXED), self.index(POLICY));
        line(format_args!(
            "\nCPU of {POLICY}. Of prepared statements as a multiple of {RELAXED}'s, of simple ones \
             (each differs in a literal) of the floor's:"
        ));
        for results in self.statements() {
            let words = match results.workload {
                Workload::Statements { prepared: true, .. } => {
                    at_most(POLICY_GOAL, results.cpu_to(policy, relaxed))
                }
                Workload::Statements { clients: 8, .. } => {
                    at_most(DIFFERING_GOAL, results.cpu_to_floor(policy))
                }
                _ => format!("{:>8.2}", results.cpu_to_floor(policy)),
            };
            line(format_args!("{:<22}{words}", results.workload));
        }
    }

    fn journal_table(&self, line: &mut dyn FnMut(std::fmt::Arguments)) {
        let (relaxed, strict) = (self.index(RELAXED), self.index(STRICT));
        line(format_args!("\nThe journal. At one client, simple statements, each figure a p50:"));
        line(format_args!("{:<34}{:>8.0} µs", "fdatasync of a written 4 KiB block", self.flush()));
        line(format_args!("{:<34}{:>8.0} µs", RELAXED, self.waits(|round| round.relaxed)));
        line(format_args!("{:<34}{:>8.0} µs", STRICT, self.waits(|round| round.strict)));
        let verdict = match self.in_flushes() {
            few if few < FLUSHES_LEAST => {
                format!("{few:>8.2}, less than a flush: the machine was too busy to judge")
            }
            flushes => at_most(FLUSHES_GOAL, flushes),
        };
        line(format_args!("{:<34}{verdict}", "the difference, in flushes"));
        let overlapping = median(self.overlapping.iter().map(Latency::in_flushes).collect());
        let verdict = at_most(FLUSHES_GOAL, overlapping);
        line(format_args!("{:<34}{verdict}", "the same, reads overlapping"));

        for (strict, relaxed, goal) in
            [(STRICT, RELAXED, STRICT_GOAL), (OVERLAP, POLICY, OVERLAP_GOAL)]
        {
            line(format_args!("\nThroughput of {strict} ÷ {relaxed}:"));
            let (strict, relaxed) = (self.index(strict), self.index(relaxed));
            for results in self.statements() {
                let ratio = results.rate_to(strict, relaxed);
                if results.workload.clients() == Some(32) {
                    let verdict = at_least(goal, ratio);
                    line(format_args!("{:<22}{verdict}", results.workload));
                } else {
                    line(format_args!("{:<22}{ratio:>8.2}", results.workload));
                }
            }
        }

        line(format_args!("\n{NO_TWIN}"));
        line(format_args!("{:<22}{:>12}{:>12}{:>14}", "", "CPU − µs", "CPU ÷", "throughput ÷"));
        for results in self.statements() {
            line(format_args!(
                "{:<22}{:>12.1}{:>12.2}{:>14.2}",
                results.workload,
                results.cpu_over_floor(relaxed),
                results.cpu_to_floor(relaxed),
                results.rate_to(relaxed, FLOOR)
            ));
        }

        line(format_args!("\nBytes of journal for a statement, plain and (as far) sealed:"));
        line(format_args!("{:<22}{:>18}{:>18}", "", "relaxed", "strict"));
        for results in self.statements() {
            let mut row = format!("{:<22}", results.workload.to_string());
            for contender in [relaxed, strict] {
                let plain = results.journal_bytes(contender);
                let sealed = match self.sealed_part() {
                    Some(part) => format!("{:.0}", plain * part),
                    None => "none".to_owned(),
                };
                write!(row, "{plain:>11.0} {sealed:>6}").expect("a string grows");
            }
            line(format_args!("{row}"));
        }

        if let Some((_, proof)) = &self.proof {
            line(format_args!(
                "\ngatepost audit verify, {} MB of lines in {:.2} s on one core, MB/s:",
                proof.bytes / 1_000_000,
                proof.took.as_secs_f64()
            ));
            let verdict = at_least(VERIFY_GOAL, proof.megabytes_per_second());
            line(format_args!("{:<22}{verdict}", ""));
        }
    }

    pub fn json(&self) -> String {
        let workloads: Vec<Value> = self.results.iter().map(|r| self.results_json(r)).collect();
        let whole = json!({
            "plan": self.plan,
            "versions": self.versions,
            "load_before": self.load,
            "workloads": workloads,
            "masked": masked::json(&self.masked),
            "storm": storm::json(&self.storms),
            "journal": self.journal_json(),
        });
        format!("{whole:#}\n")
    }

    fn journal_json(&self) -> Value {
        let each =
            |value: fn(&Latency) -> f64| -> Vec<f64> { self.latencies.iter().map(value).collect() };
        let (relaxed, strict) = (self.index(RELAXED), self.index(STRICT));
        let statements: Vec<Value> = self
            .statements()
            .map(|results| {
                json!({
                    "workload": results.workload.to_string(),
                    "strict_to_relaxed": results.rate_to(strict, relaxed),
                    "relaxed_to_floor": results.rate_to(relaxed, FLOOR),
                    "relaxed_cpu_us_over_floor": results.cpu_over_floor(relaxed),
                })
            })
            .collect();
        json!({
            "flush_us": self.flush(),
            "flush_us_each": each(|round| round.flush),
            "relaxed_us_each": each(|round| round.relaxed),
            "strict_us_each": each(|round| round.strict),
            "strict_in_flushes": self.in_flushes(),
            "strict_in_flushes_each": each(Latency::in_flushes),
            "overlapping_in_flushes_each":
                self.overlapping.iter().map(Latency::in_flushes).collect::<Vec<_>>(),
            "statements": statements,
            "bytes": self.proof.map(|(extent, _)| extent.plain),
            "sealed_part": self.sealed_part(),
            "verify_bytes": self.proof.map(|(_, proof)| proof.bytes),
            "verify_mb_per_second": self.proof.map(|(_, proof)| proof.megabytes_per_second()),
        })
    }

    fn results_json(&self, results: &Results) -> Value {
        let contenders: serde_json::Map<String, Value> = self
            .contenders
            .iter()
            .enumerate()
            .map(|(index, name)| {
                let each = |value: fn(&Measured) -> f64| -> Vec<f64> {
                    results.rounds.iter().map(|round| value(&round[index])).collect()
                };
                let mut entry = json!({
                    "rate": results.rate(index),
                    "rates": each(|m| m.rate),
                });
                if index >= FLOOR {
                    entry["rate_to_direct"] = json!(results.ratio(index));
                    entry["cpu_us"] = json!(results.cpu_us(index));
                    entry["cpu_us_each"] = json!(each(|m| m.cpu_us));
                    entry["cpu_to_floor"] = json!(results.cpu_to_floor(index));
                    entry["cpu_to_relaxed"] = json!(results.cpu_to(index, self.index(RELAXED)));
                }
                let journal_bytes = results.journal_bytes(index);
                if journal_bytes.is_finite() {
                    entry["journal_bytes"] = json!(journal_bytes);
                }
                ((*name).to_owned(), entry)
            })
            .collect();
        json!({
            "workload": results.workload.to_string(),
            "unit": results.workload.unit(),
            "rounds_thrown_away": results.discarded,
            "contenders": contenders,
        })
    }

    fn statements(&self) -> impl Iterator<Item = &Results> {
        self.results.iter().filter(|results| results.workload.clients().is_some())
    }

    fn flush(&self) -> f64 {
        self.waits(|round| round.flush)
    }

    /// Like all ratios within a round: disks are as moody as machines.
    fn in_flushes(&self) -> f64 {
        self.waits(Latency::in_flushes)
    }

    fn waits(&self, value: impl Fn(&Latency) -> f64) -> f64 {
        median(self.latencies.iter().map(value).collect())
    }

    /// None if the run was too short to fill a segment.
    fn sealed_part(&self) -> Option<f64> {
        let (extent, _) = self.proof?;
        (extent.sealed > 0).then(|| extent.sealed_part())
    }

    fn index(&self, contender: &str) -> usize {
        let found = self.contenders.iter().position(|name| *name == contender);
        found.unwrap_or_else(|| panic!("{contender} was not measured"))
    }

    fn of(&mut self, workload: Workload) -> &mut Results {
        let index = self.results.iter().position(|r| r.workload == workload);
        let index = index.unwrap_or_else(|| {
            self.results.push(Results { workload, rounds: Vec::new(), discarded: 0 });
            self.results.len() - 1
        });
        &mut self.results[index]
    }
}

impl Results {
    fn rate(&self, contender: usize) -> f64 {
        self.median(|round| round[contender].rate)
    }

    fn ratio(&self, contender: usize) -> f64 {
        self.rate_to(contender, DIRECT)
    }

    fn cpu_us(&self, contender: usize) -> f64 {
        self.median(|round| round[contender].cpu_us)
    }

    fn cpu_to_floor(&self, contender: usize) -> f64 {
        self.cpu_to(contender, FLOOR)
    }

    fn cpu_to(&self, contender: usize, other: usize) -> f64 {
        self.median(|round| round[contender].cpu_us / round[other].cpu_us)
    }

    fn cpu_over_floor(&self, contender: usize) -> f64 {
        self.median(|round| round[contender].cpu_us - round[FLOOR].cpu_us)
    }

    fn rate_to(&self, contender: usize, other: usize) -> f64 {
        self.median(|round| round[contender].rate / round[other].rate)
    }

    /// Not a number where nothing is recorded.
    fn journal_bytes(&self, contender: usize) -> f64 {
        median(self.rounds.iter().filter_map(|round| round[contender].journal_bytes).collect())
    }

    fn median(&self, value: impl Fn(&[Measured]) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(round)).collect())
    }
}

pub fn at_most(goal: f64, reached: f64) -> String {
    format!("{reached:>8.2}, at most {goal} is wanted: {}", verdict(reached <= goal))
}

pub fn at_least(goal: f64, reached: f64) -> String {
    format!("{reached:>8.2}, at least {goal} is wanted: {}", verdict(reached >= goal))
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => values[middle],
        _ => (values[middle - 1] + values[middle]) / 2.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(rate: f64, cpu_us: f64) -> Measured {
        Measured { rate, cpu_us, journal_bytes: None }
    }

    const ALL: [&str; 6] = ["direct", "floor", RELAXED, STRICT, POLICY, OVERLAP];

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut report = Report::new(&Plan::quick());
        report.compares(ALL.to_vec(), &[]);
        // The machine was half as fast in the second round and the third had an odd one out.
        for (direct, floor, gate) in [(100.0, 80.0, 70.0), (50.0, 40.0, 35.0), (100.0, 80.0, 1.0)] {
            let (floor, gate) = (measured(floor, 10.0), measured(gate, 12.0));
            report.add(
                Workload::CopyRows,
                vec![measured(direct, 0.0), floor, gate, gate, gate, gate],
            );
        }
        let results = &report.results[0];
        assert_eq!(results.rate(DIRECT), 100.0);
        assert_eq!((results.ratio(FLOOR), results.ratio(2)), (0.8, 0.7));
        assert_eq!((results.cpu_us(2), results.cpu_to_floor(2)), (12.0, 1.2));
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["workloads"][0]["contenders"][RELAXED]["rate_to_direct"], 0.7);
    }

    #[test]
    fn goals_of_policies_are_judged() {
        let mut report = Report::new(&Plan::quick());
        report.compares(ALL.to_vec(), &[]);
        let round = |policy| {
            let (floor, gate) = (measured(80.0, 10.0), measured(70.0, 12.0));
            let policy = measured(70.0, policy);
            vec![measured(100.0, 0.0), floor, gate, gate, policy, policy]
        };
        for (prepared, clients, policy) in
            [(false, 8, 13.0), (false, 32, 20.0), (true, 8, 13.2), (true, 32, 13.3)]
        {
            report.add(Workload::Statements { prepared, clients }, round(policy));
        }
        let table = report.table();
        let (_, table) = table.split_once("CPU of gatepost policy").unwrap();
        let lines: Vec<&str> = table.lines().skip(1).take(4).collect();
        assert_eq!(
            lines,
            [
                "simple, 8 clients         1.30, at most 1.3 is wanted: met",
                "simple, 32 clients        2.00",
                "prepared, 8 clients       1.10, at most 1.1 is wanted: met",
                "prepared, 32 clients      1.11, at most 1.1 is wanted: MISSED",
            ]
        );
    }

    #[test]
    fn goals_of_the_journal_are_judged() {
        let mut report = Report::new(&Plan::quick());
        report.compares(ALL.to_vec(), &[]);
        let gate = |rate, bytes| Measured { journal_bytes: Some(bytes), ..measured(rate, 14.0) };
        let round = |strict| {
            let (relaxed, strict) = (gate(70.0, 1000.0), gate(strict, 1500.0));
            vec![measured(100.0, 0.0), measured(80.0, 10.0), relaxed, strict, relaxed, strict]
        };
        report.add(Workload::Statements { prepared: false, clients: 32 }, round(42.0));
        report.add(Workload::Statements { prepared: true, clients: 32 }, round(41.9));
        let latency = |flush, strict| Latency { flush, relaxed: 90.0, strict };
        report.waited(latency(100.0, 210.0), latency(100.0, 140.0));
        let extent = Extent { plain: 3000, sealed: 100, plain_of_sealed: 1000 };
        let proof = Proof { bytes: 199_000_000, took: std::time::Duration::from_secs(1) };
        report.proven(extent, proof);
        let table = report.table();
        let line = |start: &str, has: &str| {
            let found = table.lines().any(|line| line.starts_with(start) && line.contains(has));
            assert!(found, "no line `{start} … {has}` in:\n{table}");
        };
        line("the difference, in flushes", "1.20, at most 1.2 is wanted: met");
        line("the same, reads overlapping", "0.50, at most 1.2 is wanted: met");
        line("simple, 32 clients", "0.60, at least 0.6 is wanted: met");
        line("simple, 32 clients", "0.60, at least 0.8 is wanted: MISSED");
        line("prepared, 32 clients", "at least 0.6 is wanted: MISSED");
        line("simple, 32 clients", "1000    100       1500    150");
        line(" ", "199.00, at least 200 is wanted: MISSED");
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["journal"]["statements"][0]["relaxed_cpu_us_over_floor"], 4.0);
        assert_eq!(json["workloads"][0]["contenders"][STRICT]["journal_bytes"], 1500.0);
        // An entry without a journal has no such figure, rather than none.
        assert!(json["workloads"][0]["contenders"]["floor"].get("journal_bytes").is_none());

        report.waited(latency(100.0, 230.0), latency(100.0, 140.0));
        assert!(report.table().contains("1.30, at most 1.2 is wanted: MISSED"));
        report.latencies = vec![latency(4000.0, 210.0)];
        assert!(report.table().contains("0.03, less than a flush"));
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
