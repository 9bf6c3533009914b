//! A program of protocol messages: its steps, the bytes that they come to, how those are cut, and a
//! tail that leads to one known row whatever state the steps have left.

use super::writer::Writer;
use crate::raw;
use crate::setup::Dice;

/// In every result that is waited for; nothing else produces it.
pub(super) const END: &str = "the end of the program";

#[derive(Clone)]
pub(super) struct Program {
    pub(super) steps: Vec<Step>,
    /// Ends by itself: nothing is appended and the end of the stream is awaited.
    ends_there: bool,
    /// Terminate goes out with the rest, before the replies are in.
    pub(super) terminated: bool,
    /// What stands behind a ROLLBACK in one string may be refused.
    is_judged: bool,
    /// For cutting the bytes into sends.
    cuts: u64,
    bytes: Vec<u8>,
}

#[derive(Clone)]
pub(super) struct Step {
    pub(super) label: String,
    pub(super) bytes: Vec<u8>,
    /// The same where what touches `logs` fails by itself, wherever that is refused.
    pub(super) failing: Option<Vec<u8>>,
    /// The same where it fails by itself once it is to run.
    pub(super) denied: Option<Vec<u8>>,
}

impl Step {
    pub(super) fn new(label: &str, bytes: Vec<u8>) -> Step {
        Step { label: label.to_owned(), bytes, failing: None, denied: None }
    }

    pub(super) fn query(sql: &str) -> Step {
        Step {
            label: format!("Query {sql}"),
            bytes: raw::query(sql),
            failing: failing(sql).map(raw::query),
            denied: failing(sql).filter(|_| !sql.starts_with("EXPLAIN")).map(raw::query),
        }
    }

    pub(super) fn parse(statement: &str, sql: &str) -> Step {
        let parse = |sql: &str| raw::parse(statement, sql, &[]);
        Step {
            label: format!("Parse {statement:?} {sql}"),
            bytes: parse(sql),
            failing: failing(sql).map(parse),
            // It has the same parameters and columns; what it fails by is found when it is planned.
            denied: Some(sql.replace("VALUES ($1)", "VALUES ($1::text || (1 / 0)::text)"))
                .filter(|failing| failing != sql)
                .map(|sql| parse(&sql)),
        }
    }
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
    pub(super) fn of(steps: Vec<(&str, Vec<u8>)>) -> Program {
        Program::of_steps(steps.into_iter().map(|(label, bytes)| Step::new(label, bytes)).collect())
    }

    pub(super) fn of_steps(steps: Vec<Step>) -> Program {
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

    pub(super) fn ending_there(mut self) -> Program {
        self.ends_there = true;
        self.terminated = true;
        self.assembled()
    }

    pub(super) fn random(seed: u64) -> Program {
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
    pub(super) fn failing_by_itself(&self) -> Program {
        self.with(|step| step.failing.as_ref())
    }

    /// The same where it does so when it is to run.
    pub(super) fn failing_when_it_runs(&self) -> Program {
        self.with(|step| step.denied.as_ref())
    }

    fn with(&self, instead: impl Fn(&Step) -> Option<&Vec<u8>>) -> Program {
        let mut program = self.clone();
        for step in &mut program.steps {
            if let Some(bytes) = instead(step) {
                step.bytes = bytes.clone();
            }
        }
        program.assembled()
    }

    /// Without what makes a session unreadable for whoever judges it.
    pub(super) fn readable(mut self) -> Program {
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
    pub(super) fn assembled(mut self) -> Program {
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
    pub(super) fn pieces(&self) -> Vec<&[u8]> {
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
