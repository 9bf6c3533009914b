//! What is left when the gateway or the machine ends at any moment: everything that anybody was
//! told, and everything that PostgreSQL holds, has its record.

use std::path::Path;
use std::time::{Duration, Instant};

use super::disk::Disk;
use super::load::{self, Load, Seen};
use super::records::{self, Record, is};
use crate::raw::{self, Raw};
use crate::setup::{self, Dice, Plan};

/// What was recorded since the round before, once the gateway stands again.
struct Round {
    records: Vec<Record>,
    seen: Vec<Seen>,
}

impl Round {
    fn after(directory: &Path, from: &mut u64, seen: Vec<Seen>) -> Round {
        let records = records::since(directory, *from);
        *from = records::number(records.last().expect("records"), "n") + 1;
        load::assert_sessions_are_closed(&records);
        let started = records::of_event(&records, "started");
        let started = started.last().expect("the record of the start");
        assert_eq!(started["clean"], false, "{started}");
        Round { records, seen }
    }

    fn assert_replies_are_recorded(&self, until: impl Fn(Instant) -> bool) {
        let recorded = load::recorded(&self.records);
        for seen in &self.seen {
            for (mark, at) in &seen.marks {
                assert!(!until(*at) || recorded.contains(mark), "no record of {mark}");
            }
        }
    }

    /// In strict mode the outcome of a COMMIT is durable before its reply.
    fn assert_commits_are_recorded(&self) {
        for seen in &self.seen {
            let begins = records::of_event(&self.records, "session_begins");
            let mut begins =
                begins.iter().filter(|r| r["application"] == seen.application.as_str());
            let session = &begins.next().expect("a session")["session"];
            let commits = self.records.iter().filter(|record| {
                is(record, "outcome") && record["session"] == *session && record["tag"] == "COMMIT"
            });
            let commits = commits.count();
            assert!(commits >= seen.commits, "{}: {commits} of {}", seen.application, seen.commits);
        }
    }

    fn marks(&self) -> usize {
        self.seen.iter().map(|seen| seen.marks.len()).sum()
    }
}

#[test]
fn kill_9_at_random_moments_under_load() {
    let runs = if setup::long() { 12 } else { 1 };
    for run in 0..runs {
        kill_9(run, 24);
    }
}

fn kill_9(run: u64, rounds: u64) {
    let database = setup::database();
    load::prepare(&database);
    let mut gate = Plan::gateway(&database).start();
    let directory = records::directory(&gate);
    let mut dice = Dice(run);
    let mut from = 1;
    let mut recorded = std::collections::HashSet::new();
    let mut replies = 0;
    for number in 0..rounds {
        let load = Load::start(&gate.target(), &format!("k{number}"), run * rounds + number);
        let visits = Visits::start(gate.target(), format!("k{number}v"));
        load.wait_for(dice.below(150));
        // Somewhere inside a statement, not behind one.
        let moment = Instant::now() + Duration::from_micros(dice.below(3000));
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        gate.process.kill9();
        let seen = load.end();
        let visits = visits.end();
        setup::eventually("what was under way to end", || setup::activity(&database, "true") == 0);
        gate.process.restart();

        let round = Round::after(&directory, &mut from, seen);
        round.assert_replies_are_recorded(|_| true);
        round.assert_commits_are_recorded();
        if number % 6 == 0 {
            records::verify(&directory, &[]).unwrap_or_else(|fault| panic!("{fault}"));
        }
        for application in visits {
            let begins = records::of_event(&round.records, "session_begins");
            let begun = begins.iter().any(|begins| begins["application"] == application.as_str());
            assert!(begun, "{application} was let in, and there is no record of it");
        }
        replies += round.marks();
        recorded.extend(load::recorded(&round.records));
        for row in load::rows(&database) {
            assert!(recorded.contains(&row), "PostgreSQL has {row}, and there is no record of it");
        }
    }
    records::verify(&directory, &[]).unwrap_or_else(|fault| panic!("{fault}"));
    assert!(replies > 500, "{replies} replies in {rounds} rounds prove little");
}

/// A client that comes and goes, and is let in or not when the gateway ends.
struct Visits {
    client: std::thread::JoinHandle<Vec<String>>,
}

impl Visits {
    fn start(target: setup::Target, name: String) -> Visits {
        let client = std::thread::spawn(move || {
            let mut let_in = Vec::new();
            loop {
                let application = format!("{name}{}", let_in.len());
                let Ok(mut raw) = Raw::try_connect(&target.address) else { return let_in };
                let parameters =
                    [("database", target.database.as_str()), ("application_name", &application)];
                let startup = raw::startup(raw::PROTOCOL_3_0, &target.user, &parameters);
                if raw.try_send(&startup).is_err() {
                    return let_in;
                }
                match raw.try_finish_login(&target.user, &target.password) {
                    Some(Ok(_)) => let_in.push(application),
                    Some(Err(refusal)) => panic!("{}", refusal.show()),
                    None => return let_in,
                }
            }
        });
        Visits { client }
    }

    /// The application names that were let in.
    fn end(self) -> Vec<String> {
        self.client.join().expect("a client")
    }
}

/// The disk of the journal loses what was not flushed, the state file on another disk does not.
#[test]
fn power_is_lost_in_strict_mode() {
    let Some(mut disk) = Disk::make() else { return };
    let database = setup::database();
    load::prepare(&database);
    let mut gate = Plan::gateway(&database)
        .top(&format!("journal: {{ directory: {}/journal }}", disk.point.display()))
        .start();
    let directory = disk.point.join("journal");
    let mut dice = Dice(1);
    let mut from = 1;
    let mut recorded = std::collections::HashSet::new();
    for round in 0..if setup::long() { 60 } else { 6 } {
        let load = Load::start(&gate.target(), &format!("p{round}"), round);
        load.wait_for(dice.below(400));
        disk.cut();
        // Some notice that nothing can be recorded any more.
        if dice.one_in(2) {
            gate.process.wait_for_log("the journal cannot be written");
        }
        gate.process.kill9();
        let seen = load.end();
        for error in seen.iter().flat_map(|seen| &seen.errors) {
            assert!(matches!(error.as_str(), "58030" | "25P02"), "{error}");
        }
        setup::eventually("what was under way to end", || setup::activity(&database, "true") == 0);
        disk.mount_again();
        gate.process.restart();

        let round = Round::after(&directory, &mut from, seen);
        records::verify(&directory, &[]).unwrap_or_else(|fault| panic!("{fault}"));
        round.assert_replies_are_recorded(|_| true);
        round.assert_commits_are_recorded();
        recorded.extend(load::recorded(&round.records));
        for row in load::rows(&database) {
            assert!(recorded.contains(&row), "PostgreSQL has {row}, and there is no record of it");
        }
    }
}

#[test]
fn power_is_lost_in_relaxed_mode() {
    const BOUND: Duration = Duration::from_millis(50);
    /// A write that has begun may still be under way on a busy machine.
    const FLUSH: Duration = Duration::from_millis(500);
    let Some(mut disk) = Disk::make() else { return };
    let database = setup::database();
    load::prepare(&database);
    let journal = disk.point.join("journal");
    let mut gate = Plan::gateway(&database)
        .top(&format!("journal: {{ directory: {}, relaxed: 50ms }}", journal.display()))
        .connection("durability: relaxed")
        .start();
    let mut dice = Dice(2);
    let mut from = 1;
    let mut old = 0;
    for round in 0..if setup::long() { 60 } else { 4 } {
        let load = Load::start(&gate.target(), &format!("q{round}"), 100 + round);
        // So that there is something older than the bound to be lost.
        let began = Instant::now();
        setup::eventually("the bound to pass", || began.elapsed() > 2 * (BOUND + FLUSH));
        load.wait_for(dice.below(1000));
        let before = Instant::now();
        disk.cut();
        gate.process.kill9();
        let seen = load.end();
        setup::eventually("what was under way to end", || setup::activity(&database, "true") == 0);
        disk.mount_again();
        gate.process.restart();

        let round = Round::after(&journal, &mut from, seen);
        records::verify(&journal, &[]).unwrap_or_else(|fault| panic!("{fault}"));
        let is_old = |at: Instant| at + BOUND + FLUSH < before;
        round.assert_replies_are_recorded(is_old);
        old += round.seen.iter().flat_map(|s| &s.marks).filter(|(_, at)| is_old(*at)).count();
    }
    assert!(old > 100, "{old} replies older than the bound prove little");
}
