//! A scratch database: scripts run by psql, and the catalog snapshot read from it.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use e2e::Login;
use sql::catalog::{Builder, Catalog, READS};

/// Between values, rows and results of psql: nothing in a catalog has them in it.
const VALUE_END: char = '\u{1e}';
const ROW_END: char = '\u{1d}';
const NULL: &str = "\u{1c}";
const READ_END: &str = "\u{19}";

pub(crate) fn catalog(login: &Login) -> Catalog {
    let mut script = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;\n".to_owned();
    for read in READS {
        writeln!(script, "{};\n\\echo {READ_END}", read.sql()).unwrap();
    }
    let printed = must(login, &script);
    let mut builder = Builder::default();
    for (read, rows) in READS.iter().zip(printed.split(READ_END)) {
        for row in rows.trim_matches('\n').split(ROW_END).filter(|row| !row.is_empty()) {
            let values = row.split(VALUE_END).map(|value| Some(value).filter(|it| *it != NULL));
            let values: Vec<Option<&str>> = values.collect();
            builder.row(*read, &values).unwrap_or_else(|e| panic!("{e:?}: {row}"));
        }
    }
    builder.build()
}

pub(crate) fn must(login: &Login, script: &str) -> String {
    psql(login, &format!("\\set ON_ERROR_STOP on\n{script}"))
}

/// What psql prints for the script; errors come between the results.
pub(crate) fn psql(login: &Login, script: &str) -> String {
    let mut psql = login
        .program("psql")
        .args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=terse"])
        .arg(format!("-F{VALUE_END}"))
        .arg(format!("-R{ROW_END}"))
        .arg(format!("-Pnull={NULL}"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("psql");
    let mut input = psql.stdin.take().unwrap();
    let text = script.to_owned();
    let writer = std::thread::spawn(move || {
        // A psql that ends early is found by what it printed.
        let _broken_pipe = input.write_all(text.as_bytes());
    });
    let output = psql.wait_with_output().unwrap();
    writer.join().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}\n{script}");
    String::from_utf8(output.stdout).unwrap()
}
