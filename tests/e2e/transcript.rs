//! The same bytes sent to PostgreSQL directly and through the gateway must bring the same bytes
//! back. Random programs of protocol messages, mostly sensible, partly nonsense, and some written
//! out by name. Only what can't be equal is cut out: process ids, and the OIDs of tables that a
//! program made itself. Logins are judged in `startup` and `observe`.

mod deciding;
mod held;
mod named;
mod program;
mod stand;
mod writer;

use std::fmt::Write as _;

use e2e::{Server, on_each_version};

use self::held::held;
use self::named::named;
use self::program::Program;
use self::stand::Stand;
use crate::raw;
use crate::setup::{self, Mode};

/// Programs in an ordinary run, for each server version and each way to log in.
const PROGRAMS: u64 = 120;
const PROGRAMS_LONG: u64 = 5_000;

on_each_version! {
    fn random_programs_gateway(server: Server) {
        random_programs(&server, Mode::Gateway);
    }

    /// With a policy that allows everything nobody can tell either.
    fn random_programs_everything(server: Server) {
        random_programs(&server, Mode::Everything);
    }

    fn named_programs_everything(server: Server) {
        named_programs(&server, Mode::Everything);
    }

    /// Every statement is judged and may run: what comes back is told apart by the words of errors
    /// at most.
    fn random_programs_judged(server: Server) {
        random_programs(&server, Mode::Judged);
    }

    fn named_programs_judged(server: Server) {
        named_programs(&server, Mode::Judged);
    }

    /// Some statements are refused: the session stands where it would if they had failed by
    /// themselves.
    fn random_programs_refused(server: Server) {
        random_programs(&server, Mode::Refused);
    }

    /// People have to agree to some, and do: nobody can tell from what comes back.
    fn random_programs_approved(server: Server) {
        random_programs(&server, Mode::Approved);
    }

    fn named_programs_approved(server: Server) {
        named_programs(&server, Mode::Approved);
    }

    fn held_programs_approved(server: Server) {
        held_programs(&server, Mode::Approved);
    }

    /// They don't: it is as if these statements had failed when they were to run.
    fn random_programs_denied(server: Server) {
        random_programs(&server, Mode::Denied);
    }

    fn held_programs_denied(server: Server) {
        held_programs(&server, Mode::Denied);
    }

    fn random_programs_observe(server: Server) {
        random_programs(&server, Mode::Observe);
    }

    fn named_programs_gateway(server: Server) {
        named_programs(&server, Mode::Gateway);
    }

    fn named_programs_observe(server: Server) {
        named_programs(&server, Mode::Observe);
    }

    /// What the random programs rest on: without a gateway there is no difference at all.
    fn the_server_agrees_with_itself(server: Server) {
        let mut stand = Stand::new(&server, Mode::Direct);
        let random = seeds().map(|seed| (format!("GATEPOST_SEED={seed}"), Program::random(seed)));
        let named = named().into_iter().map(|(name, program)| (name.to_owned(), program));
        for (name, program) in random.chain(named) {
            let (left, right) = (stand.left.run(&program), stand.right.run(&program));
            if let Some(difference) = stand.compare(&left, &right) {
                panic!("{name}:\n{program}{difference}");
            }
        }
    }
}

/// The comparison itself must be able to fail: a twin whose data differ by one character.
#[test]
fn a_difference_is_seen() {
    let mut stand = Stand::new(&e2e::pg(e2e::versions()[0]), Mode::Direct);
    stand.right.reset.query("DROP FUNCTION chatty");
    stand
        .right
        .reset
        .query("CREATE FUNCTION chatty(n int) RETURNS int LANGUAGE sql AS 'SELECT n + 1'");
    let program = Program::of(vec![("Query", raw::query("SELECT chatty(1)"))]);
    assert!(stand.difference(&program).is_some());
    let program = Program::of(vec![("Query", raw::query("SELECT 1"))]);
    assert_eq!(stand.difference(&program), None);
}

fn random_programs(server: &Server, mode: Mode) {
    let mut stand = Stand::new(server, mode);
    let version = server.version;
    let seeds = match mode {
        // The same programs as in the other modes: half of them say as much.
        Mode::Everything | Mode::Judged | Mode::Refused | Mode::Approved | Mode::Denied => {
            seeds().step_by(2)
        }
        _ => seeds().step_by(1),
    };
    for seed in seeds {
        let program = match mode {
            Mode::Judged | Mode::Refused | Mode::Approved | Mode::Denied => {
                Program::random(seed).readable()
            }
            _ => Program::random(seed),
        };
        if stand.difference(&program).is_some() {
            let program = stand.shrink(program);
            let difference = stand
                .difference(&program)
                .unwrap_or_else(|| "(did not show again: run the seed a few times)".to_owned());
            panic!(
                "GATEPOST_SEED={seed} on PostgreSQL {version}, {mode:?}:\n{program}{difference}"
            );
        }
    }
}

fn seeds() -> std::ops::Range<u64> {
    match std::env::var("GATEPOST_SEED") {
        Ok(seed) => {
            let seed = seed.parse().expect("GATEPOST_SEED is a number");
            seed..seed + 1
        }
        Err(_) if setup::long() => 0..PROGRAMS_LONG,
        Err(_) => 0..PROGRAMS,
    }
}

fn named_programs(server: &Server, mode: Mode) {
    written_programs(server, mode, named());
}

/// All of them can be asked about, and are.
fn held_programs(server: &Server, mode: Mode) {
    let stand = written_programs(server, mode, held());
    assert_eq!(stand.of_its_own_mind, 0);
}

fn written_programs(server: &Server, mode: Mode, programs: Vec<(&'static str, Program)>) -> Stand {
    let mut stand = Stand::new(server, mode);
    let version = server.version;
    let mut failed = String::new();
    for (name, program) in programs {
        let program = match mode {
            Mode::Judged | Mode::Refused | Mode::Approved | Mode::Denied => program.readable(),
            _ => program,
        };
        if let Some(difference) = stand.difference(&program) {
            writeln!(failed, "{name}:\n{program}{difference}").unwrap();
        }
    }
    assert!(failed.is_empty(), "PostgreSQL {version}, {mode:?}:\n{failed}");
    stand
}
