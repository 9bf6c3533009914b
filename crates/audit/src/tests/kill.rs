//! `kill -9` at random moments: what was acknowledged is there, and the chain is whole.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

const DIRECTORY: &str = "GATEPOST_AUDIT_KILL_DIRECTORY";
const BASE: &str = "GATEPOST_AUDIT_KILL_BASE";
const WRITERS: u64 = 16;

/// Runs in a process of its own: appends from many sides until it is killed, and says what was
/// acknowledged.
#[test]
fn child() {
    let (Ok(path), Ok(base)) = (std::env::var(DIRECTORY), std::env::var(BASE)) else { return };
    let base: u64 = base.parse().unwrap();
    let options = Options { segment_bytes: 64 << 10, ..Options::new(path, "gate-1") };
    let (journal, _) = Journal::open(options, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut writers = tokio::task::JoinSet::new();
        for writer in 0..WRITERS {
            let journal = journal.clone();
            writers.spawn(async move {
                for round in 0.. {
                    let id = base + round * WRITERS + writer;
                    record(&journal, &attempt(id, "SELECT 1")).await.unwrap();
                    // In one write, so that nobody reads half of it.
                    let line = format!("acknowledged {id}\n");
                    std::io::stderr().write_all(line.as_bytes()).unwrap();
                }
            });
        }
        writers.join_next().await;
    });
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    let rounds = std::env::var("GATEPOST_LONG").map_or(30, |_| 300);
    let directory = Directory::new();
    let mut acknowledged = BTreeSet::new();
    let mut base = 0;
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::kill::child", "--nocapture"])
            .env(DIRECTORY, &directory.0)
            .env(BASE, base.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stderr.take().unwrap());
        // Not at the same place each time: after so many answers, in the middle of others.
        let after = 1 + round * 37 % 400;
        let mut seen = 0;
        for line in output.lines() {
            let Ok(line) = line else { break };
            let Some(id) = line.strip_prefix("acknowledged ") else { continue };
            acknowledged.insert(id.parse::<u64>().unwrap());
            seen += 1;
            if seen == after {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= after, "the child ended by itself");
        base = acknowledged.last().unwrap() + 10_000;
    }
    let (journal, _) = directory.open();
    drop(journal);
    let recorded: BTreeSet<u64> = directory
        .records()
        .iter()
        .filter(|record| record.event() == "statement")
        .map(|record| record.value["id"].as_u64().unwrap())
        .collect();
    let missing: Vec<_> = acknowledged.difference(&recorded).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(acknowledged.len() > rounds * 100);
    // Verify looks at a journal that may still be closing: then it is proven as far as it is.
    directory.verify().unwrap();
}
