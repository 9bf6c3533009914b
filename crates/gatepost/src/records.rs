//! `gatepost audit`: proves, shows and follows a journal. Reads it as anybody could, and never
//! writes to it.

use std::io::{self, IsTerminal, Write as _};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use audit::Head;
use audit::read::{self, Filter, Record, Tail};
use audit::verify::{self, Failure as NotProven, Progress};
use serde_json::Value;

use crate::cli::{self, Failure};
use crate::table::{json, plain};

/// How often a journal that is followed is looked at.
const POLL: Duration = Duration::from_millis(300);

const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// Proves that the journal in a directory, or in files, is whole and unchanged.
pub(crate) fn verify(
    paths: &[PathBuf],
    checkpoint: Option<&Path>,
    key: Option<&str>,
) -> Result<(), Failure> {
    let checkpoint = match checkpoint {
        None => None,
        Some(path) => Some(Head::read_from(path).map_err(|error| {
            Failure::Usage(format!("the checkpoint {}: {error}", path.display()))
        })?),
    };
    let is_watched = io::stderr().is_terminal();
    let mut shown = Instant::now();
    let mut progress = |at: Progress| {
        if is_watched && shown.elapsed() > PROGRESS_EVERY {
            shown = Instant::now();
            let percent = at.bytes_read * 100 / at.bytes_total.max(1);
            let _unread = write!(io::stderr(), "\r{percent} %, {} records", at.records);
        }
    };
    let proven = prove(paths, checkpoint.as_ref(), key, &mut progress);
    if is_watched {
        let _unread = write!(io::stderr(), "\r\x1b[K");
    }
    cli::print(&proven.map_err(Failure::Failed)?)
}

/// What is proven, in sentences; or what is not.
pub(crate) fn prove(
    paths: &[PathBuf],
    checkpoint: Option<&Head>,
    key: Option<&str>,
    progress: &mut dyn FnMut(Progress),
) -> Result<String, String> {
    let journal = match paths {
        [directory] if directory.is_dir() => verify::Journal::in_directory(directory),
        files => verify::Journal::of_files(files),
    };
    let proven = journal.and_then(|journal| verify::verify(&journal, checkpoint, key, progress));
    let report = proven.map_err(|error| match error {
        NotProven::Fault(fault) => format!("NOT WHOLE: {fault}"),
        error => error.to_string(),
    })?;
    let mut text = format!(
        "whole: records {} to {} of node {}, {} bytes in {} segments\n",
        report.first, report.last, report.node, report.bytes, report.segments
    );
    for key in &report.keys {
        text.push_str(&format!("signed by {key}\n"));
    }
    match report.checkpoint {
        Some(number) => text.push_str(&format!("the checkpoint vouches for record {number}\n")),
        None => text.push_str(
            "no checkpoint from elsewhere was given: a missing tail would not be noticed\n",
        ),
    }
    for (number, damage) in &report.accepted_damage {
        text.push_str(&format!("record {number} accepts damage: {damage}\n"));
    }
    if report.unsigned > 0 {
        text.push_str(&format!("{} records are not signed yet\n", report.unsigned));
    }
    Ok(text)
}

/// Prints the records that the filter lets through.
pub(crate) fn show(directory: &Path, filter: &Filter, is_json: bool) -> Result<(), Failure> {
    let mut outcome = Ok(());
    let read = read::records(directory, filter, |record| {
        outcome = cli::print(&line(&record, is_json));
        if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    read.map_err(|error| Failure::Failed(format!("{}: {error}", directory.display())))?;
    outcome
}

/// Prints new records as they come, until it is interrupted.
pub(crate) fn tail(directory: &Path, filter: &Filter, is_json: bool) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("{}: {error}", directory.display()));
    let mut tail = Tail::at_end(directory).map_err(failed)?;
    loop {
        for record in tail.poll(filter).map_err(failed)? {
            cli::print(&line(&record, is_json))?;
        }
        // A journal is a file that grows, and a file says nothing when it does.
        std::thread::sleep(POLL);
    }
}

fn line(record: &Record, is_json: bool) -> String {
    match is_json {
        // Programs get it as it stands.
        true if io::stdout().is_terminal() => format!("{}\n", json(&record.line)),
        true => format!("{}\n", record.line),
        false => sentence(record),
    }
}

/// A record in a line for people: when, in which session, what.
pub(crate) fn sentence(record: &Record) -> String {
    let text = |field: &str| record.text(field).unwrap_or_default().to_owned();
    let who = record.value.pointer("/identity/subject").and_then(Value::as_str).unwrap_or("-");
    let session = record.text("session").unwrap_or("-");
    let number = |field: &str| record.value.get(field).and_then(Value::as_u64).unwrap_or_default();
    let rest = match record.event() {
        "statement" => {
            let sql = text("text").split_whitespace().collect::<Vec<_>>().join(" ");
            format!("#{} {} {}: {sql}", number("id"), text("verdict"), text("kind"))
        }
        "outcome" => {
            let said = [text("tag"), text("sqlstate"), text("cut")].join(" ");
            format!("#{} {} in {} µs", number("id"), said.trim(), number("duration_us"))
        }
        "session_begins" => format!("on {} from {}", text("connection"), text("client")),
        "request" => format!("{}: {}", text("request"), text("reason")),
        "request_decided" => {
            let said = format!("{} {}, {}", text("decision"), text("request"), text("state"));
            format!("{said}: {}", text("words"))
        }
        "hold" => format!("{} {} {}", text("step"), text("hold"), text("words")),
        _ => [text("reason"), text("user"), text("target")].join(" ").trim().to_owned(),
    };
    // Whoever wrote a statement may not steer the terminal of who reads of it.
    let line =
        format!("{} {} {session} {who} {} {rest}", record.number(), text("t"), record.event());
    format!("{}\n", plain(&line))
}
