//! One step of a command: a program is run, and one line says how it went and how long it took.

use std::fmt;
use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::{Command, Stdio};
use std::time::Instant;

/// Said in one sentence.
#[derive(Debug)]
pub(crate) struct Failure(String);

impl Failure {
    pub(crate) fn new(sentence: impl Into<String>) -> Failure {
        Failure(sentence.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Runs it without a sound; what it printed is shown when it fails.
pub(crate) fn quiet(name: &str, mut command: Command) -> Result<(), Failure> {
    print!("{name:<16}");
    stdout().flush().map_err(|e| Failure::new(format!("printing: {e}")))?;
    if stderr().is_terminal() {
        command.env("CARGO_TERM_COLOR", "always");
    }
    let begin = Instant::now();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|e| Failure::new(format!("starting {:?}: {e}", command.get_program())))?;
    let took = begin.elapsed().as_secs_f64();
    if output.status.success() {
        println!("ok      {took:7.1} s");
        return Ok(());
    }
    println!("FAILED  {took:7.1} s");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    Err(Failure::new(format!("{name} failed")))
}

/// Runs it with its own output in between.
pub(crate) fn shown(name: &str, mut command: Command) -> Result<(), Failure> {
    println!("{name} …");
    let begin = Instant::now();
    let status = command
        .status()
        .map_err(|e| Failure::new(format!("starting {:?}: {e}", command.get_program())))?;
    let took = begin.elapsed().as_secs_f64();
    if status.success() {
        println!("{name:<16}ok      {took:7.1} s");
        return Ok(());
    }
    println!("{name:<16}FAILED  {took:7.1} s");
    Err(Failure::new(format!("{name} failed")))
}
