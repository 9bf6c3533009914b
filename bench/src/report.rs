//! From the rounds to a table for people and JSON for machines: medians, each contender's rate as
//! a part of the direct one of the same round, and the proxy's CPU time beside the floor's.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::workload::{Measured, Plan, Workload};

pub struct Report {
    plan: &'static str,
    contenders: Vec<&'static str>,
    versions: Vec<String>,
    /// Of the machine before the run: a busy one measures its other work too.
    load: String,
    results: Vec<Results>,
}

struct Results {
    workload: Workload,
    /// Each has one for each contender, in their order: direct, floor, others, Gatepost.
    rounds: Vec<Vec<Measured>>,
    discarded: usize,
}

const DIRECT: usize = 0;
const FLOOR: usize = 1;

impl Report {
    pub fn new(plan: &Plan) -> Report {
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Report {
            plan: plan.name,
            contenders: Vec::new(),
            versions: Vec::new(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            results: Vec::new(),
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
        line(format_args!("\nCPU of Gatepost, as a multiple of the floor's:"));
        for results in &self.results {
            let Some(goal) = results.workload.goal() else { continue };
            let reached = results.cpu_to_floor(self.contenders.len() - 1);
            let verdict = if reached <= goal { "met" } else { "MISSED" };
            line(format_args!(
                "{:<22}{reached:>6.2}, at most {goal} is wanted: {verdict}",
                results.workload
            ));
        }
        text
    }

    pub fn json(&self) -> String {
        let workloads: Vec<Value> = self.results.iter().map(|r| self.results_json(r)).collect();
        let whole = json!({
            "plan": self.plan,
            "versions": self.versions,
            "load_before": self.load,
            "workloads": workloads,
        });
        format!("{whole:#}\n")
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
        self.median(|round| round[contender].rate / round[DIRECT].rate)
    }

    fn cpu_us(&self, contender: usize) -> f64 {
        self.median(|round| round[contender].cpu_us)
    }

    fn cpu_to_floor(&self, contender: usize) -> f64 {
        self.median(|round| round[contender].cpu_us / round[FLOOR].cpu_us)
    }

    fn median(&self, value: impl Fn(&[Measured]) -> f64) -> f64 {
        median(self.rounds.iter().map(|round| value(round)).collect())
    }
}

fn median(mut values: Vec<f64>) -> f64 {
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
        Measured { rate, cpu_us }
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        let mut report = Report::new(&Plan::quick());
        report.compares(vec!["direct", "floor", "gate"], &[]);
        // The machine was half as fast in the second round and the third had an odd one out.
        for (direct, floor, gate) in [(100.0, 80.0, 70.0), (50.0, 40.0, 35.0), (100.0, 80.0, 1.0)] {
            let (floor, gate) = (measured(floor, 10.0), measured(gate, 12.0));
            report.add(Workload::CopyRows, vec![measured(direct, 0.0), floor, gate]);
        }
        let results = &report.results[0];
        assert_eq!(results.rate(DIRECT), 100.0);
        assert_eq!((results.ratio(FLOOR), results.ratio(2)), (0.8, 0.7));
        assert_eq!((results.cpu_us(2), results.cpu_to_floor(2)), (12.0, 1.2));
        let json: Value = serde_json::from_str(&report.json()).unwrap();
        assert_eq!(json["workloads"][0]["contenders"]["gate"]["rate_to_direct"], 0.7);
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median(vec![]).is_nan());
    }
}
