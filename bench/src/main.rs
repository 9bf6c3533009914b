//! What Gatepost costs, beside a direct connection, PgBouncer and a plain byte copy, on one
//! machine in one run. `cargo xtask bench` gives it the programs; absolute numbers are the
//! machine's, so only ratios within a round are worth comparing.

mod client;
mod contender;
mod floor;
mod report;
/// The product's own module, compiled in so that the bench need not be built with the product.
#[path = "../../crates/gatepost/src/scratch.rs"]
#[allow(dead_code)] // the bench neither kills nor restarts its server
mod scratch;
mod workload;

use std::path::PathBuf;

use contender::Contenders;
use report::Report;
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
            run(&programs, &plan, &PathBuf::from(out));
        }
        _ => panic!(
            "usage: bench run POSTGRESQL_BIN PGBOUNCER GATEPOST OUT [--quick] | \
             bench floor LISTEN UPSTREAM"
        ),
    }
}

fn run(programs: &contender::Programs, plan: &Plan, out: &std::path::Path) {
    // Before we are the load ourselves.
    let mut report = Report::new(plan);
    eprintln!("starting PostgreSQL, PgBouncer, the floor and Gatepost");
    let contenders = Contenders::start(programs);
    eprintln!("filling the tables ({} wide rows)", plan.rows);
    workload::fill(contenders.direct(), plan);

    report.compares(contenders.names(), contenders.versions());
    for workload in Workload::all() {
        let mut discarded = 0;
        let mut round = 0;
        while round < plan.rounds {
            eprintln!("{workload}: round {} of {}", round + 1, plan.rounds);
            // All of a round or nothing: ratios are taken within it.
            let measured: Result<Vec<_>, String> =
                contenders.all().map(|contender| workload.measure(contender, plan)).collect();
            match measured {
                Ok(measured) => {
                    report.add(workload, measured);
                    round += 1;
                }
                Err(error) => {
                    eprintln!("{workload}: round thrown away: {error}");
                    discarded += 1;
                    assert!(discarded <= DISCARDS_MAX, "too many rounds had errors");
                }
            }
        }
        report.discarded(workload, discarded);
    }
    std::fs::write(out, report.json()).unwrap_or_else(|e| panic!("{}: {e}", out.display()));
    println!("{}", report.table());
    println!("written to {}", out.display());
}
