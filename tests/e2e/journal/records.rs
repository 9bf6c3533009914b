//! Reads a journal as a stranger would: segments in order, lines of JSON, numbers without a gap.
//! Written apart from crate `audit`, because a test that shares code with what it tests proves
//! nothing. Chain and signatures are for `gatepost audit verify` to prove.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::Gatepost;
use serde_json::Value;

use crate::raw::{self, Raw};
use crate::setup::Gate;

pub type Record = Value;

pub fn directory(gate: &Gate) -> PathBuf {
    gate.process.place.directory.join("journal")
}

/// Every record of a journal. Their numbers have to begin at 1 and leave none out.
pub fn all(directory: &Path) -> Vec<Record> {
    let records = since(directory, 1);
    let first = records.first().map(|record| number(record, "n"));
    assert_eq!(first, Some(1), "the first record of {}", directory.display());
    records
}

/// The records from a number on, which leave none out either.
pub fn since(directory: &Path, from: u64) -> Vec<Record> {
    let segments = segments(directory);
    let mut records: Vec<Record> = Vec::new();
    let mut texts: Vec<Vec<u8>> = segments.iter().map(|path| written(path)).collect();
    for at in 1..texts.len() {
        // What a segment holds beyond the place where the next one took over was acknowledged to
        // nobody, and stands in the next one.
        let first = texts[at].split(|byte| *byte == b'\n').next().unwrap_or_default();
        if let Ok(begins) = serde_json::from_slice::<Record>(first) {
            let end = usize::try_from(number(&begins, "previous_bytes")).unwrap();
            assert!(texts[at - 1].len() >= end, "{} is too short", segments[at - 1].display());
            texts[at - 1].truncate(end);
        }
    }
    for (text, path) in texts.iter().zip(&segments) {
        for line in text.split_inclusive(|byte| *byte == b'\n') {
            if !line.ends_with(b"\n") || number_of_line(line) < from {
                continue;
            }
            let record: Record = serde_json::from_slice(line).unwrap_or_else(|error| {
                panic!("{}: {error}: {}", path.display(), String::from_utf8_lossy(line))
            });
            let n = number(&record, "n");
            let expected = records.last().map_or(from, |last| number(last, "n") + 1);
            assert_eq!(n, expected, "a number is left out in {}", path.display());
            records.push(record);
        }
    }
    records
}

/// Plain and sealed segments, oldest first.
pub fn segments(directory: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(directory).unwrap_or_else(|e| panic!("{}: {e}", directory.display()));
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.ends_with(".jsonl") || name.ends_with(".jsonl.zst")
        })
        .collect();
    found.sort();
    // Between the sealing of a segment and the removal of its plain form both are there.
    found.dedup_by_key(|path| path.file_name().unwrap().to_string_lossy()[..20].to_owned());
    found
}

/// A segment's lines, without the zeros that it is preallocated with.
pub fn written(path: &Path) -> Vec<u8> {
    let read = fs::read(path).or_else(|_| fs::read(format!("{}.zst", path.display())));
    let mut bytes = read.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    if bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        bytes = zstd::decode_all(&bytes[..]).expect("a zstd frame");
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    bytes
}

/// `"n"` is the second field of every line.
fn number_of_line(line: &[u8]) -> u64 {
    let start = b"{\"v\":1,\"n\":".len();
    let digits: Vec<u8> = line.iter().skip(start).copied().take_while(u8::is_ascii_digit).collect();
    String::from_utf8(digits).unwrap().parse().unwrap_or(u64::MAX)
}

pub fn number(record: &Record, field: &str) -> u64 {
    record[field].as_u64().unwrap_or_else(|| panic!("no number {field} in {record}"))
}

pub fn text<'r>(record: &'r Record, field: &str) -> &'r str {
    record[field].as_str().unwrap_or_else(|| panic!("no text {field} in {record}"))
}

pub fn is(record: &Record, event: &str) -> bool {
    record["event"] == event
}

pub fn of_event<'r>(records: &'r [Record], event: &str) -> Vec<&'r Record> {
    records.iter().filter(|record| is(record, event)).collect()
}

/// A session of the agent's that can be told from all others by its application_name.
pub fn login(gate: &Gate, application: &str) -> Raw {
    let target = gate.target();
    login_at(&target, application)
}

pub fn login_at(target: &crate::setup::Target, application: &str) -> Raw {
    let parameters = [("database", target.database.as_str()), ("application_name", application)];
    Raw::login_with(&target.address, &target.user, &target.password, &parameters).0
}

/// Ends a session and gives its records, once the last of them is there.
pub fn ended(gate: &Gate, mut raw: Raw, application: &str) -> Vec<Record> {
    raw.send(&raw::terminate());
    assert_eq!(raw.read(), None, "nothing follows a Terminate");
    session(gate, application)
}

/// The records of an application's only session, once it has ended.
pub fn session(gate: &Gate, application: &str) -> Vec<Record> {
    e2e::wait_for("the end of a session in the journal", || {
        let all = all(&directory(gate));
        let begins = of_event(&all, "session_begins");
        let mut begins = begins.iter().filter(|record| record["application"] == application);
        let id = text(begins.next()?, "session").to_owned();
        assert!(begins.next().is_none(), "{application} has one session");
        let of_it: Vec<Record> =
            all.into_iter().filter(|record| record["session"] == id.as_str()).collect();
        is(of_it.last()?, "session_ends").then_some(of_it)
    })
}

/// Of a session, each attempt and what came of it, a line for each attempt in their order:
/// `ID KIND [name=N] [portal=P] TEXT [(PARAMETERS)] => OUTCOME`. An attempt stands before its
/// outcome, and has one at most.
pub fn story(session: &[Record]) -> Vec<String> {
    let mut lines: Vec<(u64, String)> = Vec::new();
    let mut open: Vec<u64> = Vec::new();
    for record in session {
        if is(record, "statement") {
            let id = number(record, "id");
            assert!(lines.iter().all(|(other, _)| *other != id), "attempt {id} twice");
            assert_eq!(record["verdict"], "allow");
            open.push(id);
            lines.push((id, attempt(record)));
        } else if is(record, "outcome") {
            let id = number(record, "id");
            let line = lines.iter_mut().find(|(other, _)| *other == id);
            let (_, line) = line.unwrap_or_else(|| panic!("no attempt before {record}"));
            let at = open.iter().position(|other| *other == id);
            open.remove(at.unwrap_or_else(|| panic!("a second outcome of {line}: {record}")));
            assert!(record["duration_us"].is_u64(), "{record}");
            line.push_str(" => ");
            line.push_str(&outcome(record));
        }
    }
    lines.into_iter().map(|(_, line)| line).collect()
}

fn attempt(record: &Record) -> String {
    let mut line = format!("{} {}", record["id"], text(record, "kind"));
    for field in ["name", "portal"] {
        if let Some(name) = record[field].as_str() {
            line.push_str(&format!(" {field}={name}"));
        }
    }
    match (&record["text"], &record["text_withheld"]) {
        (Value::String(text), Value::Null) => line.push_str(&format!(" {text}")),
        (Value::Null, Value::Object(withheld)) => {
            assert_eq!(withheld["sha256"].as_str().map(str::len), Some(64));
            line.push_str(&format!(" withheld {}", withheld["bytes"]));
        }
        (Value::Null, Value::Null) => {}
        _ => panic!("a text and none: {record}"),
    }
    let parameters = record["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let shown: Vec<String> = parameters.iter().map(parameter).collect();
    if !shown.is_empty() {
        line.push_str(&format!(" ({})", shown.join(", ")));
    }
    line
}

fn parameter(parameter: &Value) -> String {
    let cut = match &parameter["cut_from"] {
        Value::Null => String::new(),
        from => format!(" cut from {from}"),
    };
    let value = match parameter {
        p if p["secret"] == true => "secret".to_owned(),
        p if p["base64"].is_string() => format!("base64 {}", text(p, "base64")),
        p if p["value"].is_null() => "NULL".to_owned(),
        p if !cut.is_empty() => format!("{} bytes", text(p, "value").len()),
        p => text(p, "value").to_owned(),
    };
    format!("{} {value}{cut}", text(parameter, "type"))
}

fn outcome(record: &Record) -> String {
    let mut words = Vec::new();
    for field in ["tag", "sqlstate", "cut"] {
        words.extend(record[field].as_str().map(str::to_owned));
    }
    words.extend(record["rows"].as_u64().map(|rows| format!("{rows} rows")));
    if words.is_empty() { "done".to_owned() } else { words.join(", ") }
}

/// `gatepost audit verify`, and what it says.
pub fn verify(directory: &Path, more: &[&str]) -> Result<String, String> {
    let output = audit("verify", directory, more);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    match output.status.code() {
        Some(0) => Ok(said),
        Some(1) => Err(errors),
        code => panic!("gatepost audit verify: {code:?}: {said}{errors}"),
    }
}

pub fn audit(command: &str, directory: &Path, more: &[&str]) -> std::process::Output {
    let mut program: Command = Gatepost::program();
    program.args(["audit", command]).arg(directory).args(more);
    program.output().expect("gatepost runs")
}
