//! What Gatepost costs, beside a direct connection, PgBouncer and a plain byte copy, on one
//! machine in one run. `cargo xtask bench` gives it the programs; absolute numbers are the
//! machine's, so only ratios within a round are worth comparing.

mod client;
mod contender;
mod floor;
mod journal;
mod masked;
mod report;
/// The product's own module, compiled in so that the bench need not be built with the product.
#[path = "../../crates/gatepost/src/scratch.rs"]
#[allow(dead_code)] // the bench neither kills nor restarts its server
mod scratch;
mod storm;
mod waits;
mod workload;

use std::path::PathBuf;

use contender::{Contenders, FLOOR, OVERLAP, POLICY, RELAXED, STRICT};
use journal::{Extent, Latency, Proof};
use masked::Masked;
use report::Report;
use storm::Storm;
use workload::{Plan, Workload};

/// Of rounds thrown away before the run is.
const DISCARDS_MAX: usize = 5;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["floor", listen, upstream] => floor::run(listen, upstream),
        ["run", postgresql, pgbouncer, gatepost, out, rest @ ..] => {
            let plan = match rest {
                [] => Plan::full(),
                ["--quick"] => Plan::quick(),
                _ => panic!("not understood: {rest:?}"),
            };
            let programs = contender::Programs {
                postgresql: PathBuf::from(postgresql),
                pgbouncer: PathBuf::from(pgbouncer),
                gatepost: PathBuf::from(gatepost),
            };
            let out = std::path::absolute(out).expect("a path");
            run(&programs, &plan, &out);
        }
        ["waits", postgresql, pgbouncer, gatepost, beside] => {
            let programs = contender::Programs {
                postgresql: PathBuf::from(postgresql),
                pgbouncer: PathBuf::from(pgbouncer),
                gatepost: PathBuf::from(gatepost),
            };
            waits::run(&programs, &std::path::absolute(beside).expect("a path"));
        }
        _ => panic!(
            "usage: bench run POSTGRESQL_BIN PGBOUNCER GATEPOST OUT [--quick] | \
             bench waits POSTGRESQL_BIN PGBOUNCER GATEPOST DIRECTORY | \
             bench floor LISTEN UPSTREAM"
        ),
    }
}

fn run(programs: &contender::Programs, plan: &Plan, out: &std::path::Path) {
    // Before we are the load ourselves.
    let mut report = Report::new(plan);
    eprintln!("starting PostgreSQL, PgBouncer, the floor and Gatepost");
    let beside = out.parent().expect("a file is in a directory");
    let contenders = Contenders::start(programs, beside);
    eprintln!("filling the tables ({} wide rows)", plan.rows);
    workload::fill(contenders.direct(), plan);
    masked::fill(contenders.direct());

    report.compares(contenders.names(), contenders.versions());
    for workload in Workload::all() {
        let named = workload.to_string();
        let discarded = rounds(&named, plan, || {
            // All of a round or nothing: ratios are taken within it.
            let each = contenders.all().map(|contender| workload.measure(contender, plan));
            report.add(workload, each.collect::<Result<Vec<_>, _>>()?);
            Ok(())
        });
        report.discarded(workload, discarded);
    }
    rounds("latency, 1 client", plan, || {
        let measure = |relaxed, strict| {
            let (relaxed, strict) = (contenders.named(relaxed), contenders.named(strict));
            Latency::measure(relaxed, strict, contenders.disk())
        };
        report.waited(measure(RELAXED, STRICT)?, measure(POLICY, OVERLAP)?);
        Ok(())
    });
    rounds("masked rows", plan, || {
        let (plain, floor) = (contenders.named(POLICY), contenders.named(FLOOR));
        let (direct, masked) = (contenders.direct(), contenders.masked());
        report.masked(Masked::measure(direct, masked, plain, floor)?);
        Ok(())
    });
    rounds("a storm of logins", plan, || {
        let (gate, coming) = (contenders.named(POLICY), contenders.storm());
        report.stormed(Storm::measure(contenders.direct(), gate, coming, contenders.disk())?);
        Ok(())
    });
    let journal = contenders.journal_directory();
    let extent = Extent::of(&journal);
    eprintln!("verifying the journal ({} MB)", extent.plain / 1_000_000);
    report.proven(extent, Proof::measure(&programs.gatepost, &journal));
    std::fs::write(out, report.json()).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
    println!("{}", report.table());
    println!("written to {}", out.display());
}

/// Returns how many rounds had errors and were thrown away.
fn rounds(what: &str, plan: &Plan, mut round: impl FnMut() -> Result<(), String>) -> usize {
    let mut discarded = 0;
    for number in 1..=plan.rounds {
        eprintln!("{what}: round {number} of {}", plan.rounds);
        while let Err(error) = round() {
            eprintln!("{what}: round thrown away: {error}");
            discarded += 1;
            assert!(discarded <= DISCARDS_MAX, "too many rounds had errors");
        }
    }
    discarded
}
