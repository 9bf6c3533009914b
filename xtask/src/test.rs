//! `cargo xtask test`: its steps, each counted as passed or failed, and the shared PostgreSQL
//! servers that tests find by environment variables. What the tests check is theirs.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::{fs, io};

use crate::cargo;
use crate::steps::{self, Failure};
use crate::tools::Tools;

/// Of each fuzz target in a run that is not about fuzzing.
const FUZZ_SECONDS: u32 = 5;

pub(crate) struct TestRun {
    versions: Vec<u32>,
    long: bool,
    filter: Vec<String>,
}

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    fn count(&mut self, outcome: Result<(), Failure>) -> bool {
        match &outcome {
            Ok(()) => self.passed += 1,
            Err(failure) => {
                eprintln!("xtask: {failure}");
                self.failed += 1;
            }
        }
        outcome.is_ok()
    }
}

impl TestRun {
    /// `None` when the words are not understood.
    pub(crate) fn parse(words: &[&str]) -> Option<TestRun> {
        let mut run = TestRun { versions: vec![15, 18], long: false, filter: Vec::new() };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--pg" => match *words.next()? {
                    "15" => run.versions = vec![15],
                    "18" => run.versions = vec![18],
                    _ => return None,
                },
                "--long" => run.long = true,
                "--" => run.filter = words.by_ref().map(|word| (*word).to_owned()).collect(),
                _ => return None,
            }
        }
        Some(run)
    }

    /// Whether everything passed. The tally is the last thing that is printed.
    pub(crate) fn run(&self) -> Result<bool, Failure> {
        let tools = Tools::new()?;
        let mut tally = Tally::default();
        let whole = self.filter.is_empty();
        if whole {
            tally.count(steps::quiet("format", cargo(&["fmt", "--all", "--check"])));
            let mut clippy = cargo(&["clippy", "--quiet", "--workspace", "--all-targets"]);
            clippy.args(["--", "--deny", "warnings"]);
            tally.count(steps::quiet("clippy", clippy));
            let mut deny = tools.deny()?;
            // The advisory database is not among what a build may depend on being reachable.
            deny.args(["--log-level", "error", "check", "licenses", "bans", "sources"]);
            tally.count(steps::quiet("deny", deny));
        }
        // Binaries first: tests run them. What does not build can't be tested.
        let built = steps::quiet("build", cargo(&["build", "--quiet", "--workspace", "--bins"]));
        // That it builds is no test by itself.
        if built.is_ok() || tally.count(built) {
            self.nextest(&tools, &mut tally)?;
            if whole {
                for target in tools.fuzz_targets()? {
                    // A test leaves the repository as it was.
                    let discoveries = tools.target().join("fuzz-corpus").join(&target);
                    let fuzz = tools.fuzz(&target, FUZZ_SECONDS, Some(&discoveries))?;
                    tally.count(steps::quiet(&format!("fuzz {target}"), fuzz));
                }
                let mut demo = Command::new(tools.built("debug", "gatepost"));
                demo.args(["demo", "--check"]).env("GATEPOST_PG_BIN", tools.any_postgresql()?);
                tally.count(steps::shown("demo", demo));
            }
        }
        println!("{} passed, {} failed", tally.passed, tally.failed);
        Ok(tally.failed == 0)
    }

    fn nextest(&self, tools: &Tools, tally: &mut Tally) -> Result<(), Failure> {
        tools.openssl()?;
        let profile = if self.long { "long" } else { "default" };
        // As .config/nextest.toml says.
        let report = tools.target().join("nextest").join(profile).join("junit.xml");
        if let Err(error) = fs::remove_file(&report)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(Failure::new(format!("removing {}: {error}", report.display())));
        }
        let mut nextest = tools.nextest()?;
        // Every crate, without saying so: a `--package` of the filter may then narrow it.
        nextest.args(["run", "--profile", profile]).args(&self.filter);
        let excluded: Vec<&str> = [(15, "pg15"), (18, "pg18")]
            .iter()
            .filter(|(version, _)| !self.versions.contains(version))
            .map(|(_, name)| *name)
            .collect();
        for name in excluded {
            nextest.args(["--filterset", &format!("not test(/::{name}$/)")]);
        }
        if self.long {
            nextest.env("GATEPOST_LONG", "1");
        }
        nextest.env("GATEPOST_TEST_PYTHON", tools.python()?);
        nextest.env("GATEPOST_TEST_JDBC", tools.jdbc()?);
        // Debian's, whichever versions are tested: PyPI's have no TLS.
        nextest.env("GATEPOST_TEST_TLS_CLIENTS", tools.postgresql_15()?);
        nextest.env("GATEPOST_TEST_NODE", tools.node()?);
        nextest.env("GATEPOST_TEST_NODE_MODULES", tools.node_modules()?);
        nextest.env("GATEPOST_TEST_SIMPLESAML", tools.simplesaml()?);
        nextest.env("GATEPOST_TEST_PROMTOOL", tools.promtool()?);
        nextest.env("GATEPOST_TEST_PG18_BIN", tools.postgresql_18()?);
        tools.sqlsmith()?;
        let servers = Servers::start(tools, &self.versions)?;
        nextest.envs(servers.variables.iter().map(|(name, value)| (name, value)));
        let outcome = steps::shown("tests", nextest);
        drop(servers);

        match (outcome, counted(&report)) {
            (Ok(()), Some((passed, 0))) => tally.passed += passed,
            (Err(_), Some((passed, failed))) if failed > 0 => {
                tally.passed += passed;
                tally.failed += failed;
            }
            // Nothing ran, or the report and the exit code disagree.
            (outcome, _) => {
                tally.count(outcome.and(Err(Failure::new("nextest left no report"))));
            }
        }
        Ok(())
    }
}

/// The process that keeps the shared clusters. It ends them when its input closes, which it does
/// even if this process is killed.
struct Servers {
    process: Child,
    variables: Vec<(String, String)>,
}

impl Servers {
    fn start(tools: &Tools, versions: &[u32]) -> Result<Servers, Failure> {
        let mut command = Command::new(tools.built("debug", "e2e-servers"));
        let logs = tools.target().join("logs");
        fs::create_dir_all(&logs)
            .map_err(|e| Failure::new(format!("creating {}: {e}", logs.display())))?;
        command.arg(logs);
        for version in versions {
            let (binaries, clients) = match version {
                15 => (tools.postgresql_15()?, tools.postgresql_15()?),
                _ => (tools.postgresql_18()?, tools.clients_18()?),
            };
            command.arg(format!("{}={}", binaries.display(), clients.display()));
        }
        let failed = |what: &dyn std::fmt::Display| {
            Failure::new(format!("the PostgreSQL servers for tests did not start: {what}"))
        };
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| failed(&error))?;
        let output = process.stdout.take();
        let mut servers = Servers { process, variables: Vec::new() };
        for line in output.into_iter().flat_map(|output| BufReader::new(output).lines()) {
            let line = line.map_err(|error| failed(&error))?;
            match line.split_once('=') {
                Some((name, value)) => {
                    servers.variables.push((name.to_owned(), value.to_owned()));
                }
                // The empty line after the last.
                None => return Ok(servers),
            }
        }
        Err(failed(&"see above"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        // It has nothing more to say, and what it left behind its own watchdogs remove.
        drop(self.process.wait());
    }
}

/// Passed and failed tests of a JUnit report, from the attributes of its outermost element.
fn counted(report: &Path) -> Option<(u32, u32)> {
    let text = fs::read_to_string(report).ok()?;
    let (_, rest) = text.split_once("<testsuites")?;
    let (element, _) = rest.split_once('>')?;
    let attribute = |name: &str| -> Option<u32> {
        let (_, value) = element.split_once(&format!(" {name}=\""))?;
        value.split('"').next()?.parse().ok()
    };
    let failed = attribute("failures")? + attribute("errors")?;
    Some((attribute("tests")?.checked_sub(failed)?, failed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_a_run() {
        let run = TestRun::parse(&["--pg", "18", "--long", "--", "a", "--", "b"]).unwrap();
        assert_eq!((run.versions, run.long), (vec![18], true));
        assert_eq!(run.filter, ["a", "--", "b"]);
        for wrong in [&["--pg"][..], &["--pg", "16"], &["fast"]] {
            assert!(TestRun::parse(wrong).is_none(), "{wrong:?}");
        }
    }

    #[test]
    fn a_report_is_counted() {
        let path = std::env::temp_dir().join(format!("xtask-report-{}", std::process::id()));
        let element = r#"<testsuites name="n" tests="9" failures="2" errors="1" time="1">"#;
        fs::write(&path, format!("<?xml version=\"1.0\"?>\n{element}</testsuites>")).unwrap();
        assert_eq!(counted(&path), Some((6, 3)));
        fs::write(&path, "<testsuites tests=\"9\">").unwrap();
        assert_eq!(counted(&path), None);
        fs::remove_file(&path).unwrap();
        assert_eq!(counted(&path), None);
    }
}
