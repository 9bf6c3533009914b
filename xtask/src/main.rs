//! `cargo xtask`: the commands of this repository, the same ones that CI runs. It says what it is
//! going to install before it installs it. It depends on nothing, so that it is there in seconds.

mod steps;
mod test;
#[cfg(test)]
mod tidy;
mod tools;

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use steps::Failure;
use test::TestRun;
use tools::Tools;

const USAGE: &str = "\
Usage: cargo xtask COMMAND

  test [--pg 15|18] [--long] [-- FILTER…]
      Format, clippy, deny, every test against PostgreSQL 15 and 18, a short run of the fuzz
      targets, and the demo's check. With --pg only against that version, with --long also what
      takes its time. With a FILTER (a part of a test's name, or other arguments of
      `cargo nextest run`) only these tests:
          cargo xtask test -- drivers::psql
  demo [ARGUMENTS…]
      Installs a PostgreSQL server if there is none, builds Gatepost and runs `gatepost demo`.
  bench [--quick]
      PostgreSQL, PgBouncer, a plain byte copy and Gatepost side by side; the table is also
      written to target/bench.json.
  bench --waits
      What waiting for people costs: connecting under a grant, a thousand held statements, the way
      of a decision.
  fuzz [--seconds N]
      Runs every fuzz target for N seconds (60).
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test", rest @ ..] => match TestRun::parse(rest) {
            Some(run) => match run.run() {
                Ok(true) => Ok(()),
                Ok(false) => return ExitCode::FAILURE,
                Err(failure) => Err(failure),
            },
            None => return usage(),
        },
        ["demo", rest @ ..] => demo(rest),
        ["bench"] => bench("run", "bench.json", &[]),
        ["bench", "--quick"] => bench("run", "bench.json", &["--quick"]),
        ["bench", "--waits"] => bench("waits", "", &[]),
        ["fuzz"] => fuzz(60),
        ["fuzz", "--seconds", seconds] => match seconds.parse() {
            Ok(seconds) => fuzz(seconds),
            Err(_) => return usage(),
        },
        ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            Ok(())
        }
        _ => return usage(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

fn demo(arguments: &[&str]) -> Result<(), Failure> {
    let tools = Tools::new()?;
    let server = tools.any_postgresql()?;
    // The debug build: it is there in a third of the time, and the demo is not about speed.
    steps::shown("build", cargo(&["build", "--package", "gatepost"]))?;
    let mut demo = Command::new(tools.built("debug", "gatepost"));
    demo.arg("demo").args(arguments).env("GATEPOST_PG_BIN", server);
    become_program(demo)
}

fn bench(command: &str, out: &str, options: &[&str]) -> Result<(), Failure> {
    let tools = Tools::new()?;
    let server = tools.postgresql_15()?;
    let pgbouncer = tools.pgbouncer()?;
    steps::shown("build", cargo(&["build", "--release", "--package=gatepost", "--package=bench"]))?;
    let mut bench = Command::new(tools.built("release", "bench"));
    bench.arg(command).arg(server).arg(pgbouncer).arg(tools.built("release", "gatepost"));
    bench.arg(tools.target().join(out)).args(options);
    become_program(bench)
}

fn fuzz(seconds: u32) -> Result<(), Failure> {
    let tools = Tools::new()?;
    for target in tools.fuzz_targets()? {
        steps::shown(&format!("fuzz {target}"), tools.fuzz(&target, seconds, None)?)?;
    }
    Ok(())
}

/// So that Ctrl-C reaches the program itself, and the prompt comes back when it has tidied up.
fn become_program(mut program: Command) -> Result<(), Failure> {
    let error = program.exec();
    Err(Failure::new(format!("starting {:?}: {error}", program.get_program())))
}

/// The cargo that runs this, at the root of the workspace.
pub(crate) fn cargo(arguments: &[&str]) -> Command {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).current_dir(root());
    cargo
}

pub(crate) fn root() -> PathBuf {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(PathBuf::from).unwrap_or(here)
}
