//! Counted by a made-up clock: what is used, what is full, and what is said of it.

use super::*;

const START: u64 = 1_795_000_000_000;
const MINUTE: u64 = 60_000;

fn by(policy: &str) -> RuleRef {
    RuleRef { policy: policy.into(), rule: "limits".into(), line: 7 }
}

fn per(n: u64, per: Per) -> PerLimit {
    PerLimit { n, per, by: by("agents") }
}

fn meter(ledgers: &Arc<Ledgers>, name: &str, limits: &Limits) -> Meter {
    ledgers.meter(Owned { identity: &Identity::local(name), grant: None }, limits, START).unwrap()
}

fn reached(resets: Resets, measure: Measure, allowed: u64) -> Result<(), Reached> {
    Err(Reached { measure, allowed, resets, by: by("agents"), stands: false })
}

#[test]
fn rows_of_a_statement_and_of_a_session() {
    let limits =
        Limits { rows: vec![per(3, Per::Statement), per(5, Per::Session)], ..Limits::default() };
    let mut meter = meter(&Arc::default(), "a", &limits);
    let mut first = Given::default();
    for _ in 0..3 {
        meter.row(&mut first, 10, START).unwrap();
    }
    let over = reached(Resets::WithTheNextStatement, Measure::Rows, 3);
    assert_eq!(meter.row(&mut first, 10, START), over);
    assert_eq!(first, Given { rows: 3, bytes: 30 });
    let mut second = Given::default();
    for _ in 0..2 {
        meter.row(&mut second, 10, START).unwrap();
    }
    let over = reached(Resets::WithTheNextSession, Measure::Rows, 5);
    assert_eq!(meter.row(&mut second, 10, START), over);
    // A refused row is counted nowhere.
    assert_eq!(meter.row(&mut second, 10, START), over);
}

#[test]
fn bytes_to_the_byte_and_a_row_is_whole_or_not_at_all() {
    let limits = Limits {
        rows: vec![per(9, Per::Session)],
        bytes: vec![per(100, Per::Session)],
        ..Limits::default()
    };
    let mut meter = meter(&Arc::default(), "a", &limits);
    let mut given = Given::default();
    meter.row(&mut given, 60, START).unwrap();
    let over = reached(Resets::WithTheNextSession, Measure::Bytes, 100);
    assert_eq!(meter.row(&mut given, 41, START), over);
    meter.row(&mut given, 40, START).unwrap();
    assert_eq!(meter.row(&mut given, u64::MAX, START), over);
    for _ in 0..7 {
        meter.row(&mut given, 0, START).unwrap();
    }
    let over = reached(Resets::WithTheNextSession, Measure::Rows, 9);
    assert_eq!(meter.row(&mut given, 0, START), over, "rows that were refused were given back");
}

#[test]
fn statements_of_a_minute_are_counted_over_all_sessions_of_an_identity() {
    let ledgers = Arc::default();
    let limits = Limits { statements: vec![per(3, Per::Minute)], ..Limits::default() };
    let mut one = meter(&ledgers, "a", &limits);
    let mut two = meter(&ledgers, "a", &limits);
    let mut other = meter(&ledgers, "b", &limits);
    one.statements(1, START).unwrap();
    two.statements(1, START).unwrap();
    one.statements(1, START + MINUTE / 2).unwrap();
    let at_ms = START + MINUTE + 1000;
    let over = reached(Resets::At { per: Per::Minute, at_ms }, Measure::Statements, 3);
    assert_eq!(two.statements(1, START + MINUTE / 2), over);
    other.statements(1, START).unwrap();
    drop((one, two));
    // Who leaves and comes again is still who it was.
    let mut three = meter(&ledgers, "a", &limits);
    assert!(three.statements(1, at_ms - 1).is_err());
    three.statements(1, at_ms).unwrap();
}

#[test]
fn budgets_of_one_policy_are_not_those_of_another() {
    let ledgers = Arc::default();
    let limits = |policy: &str| Limits {
        statements: vec![PerLimit { n: 1, per: Per::Day, by: by(policy) }],
        ..Limits::default()
    };
    meter(&ledgers, "a", &limits("one")).statements(1, START).unwrap();
    meter(&ledgers, "a", &limits("two")).statements(1, START).unwrap();
    assert!(meter(&ledgers, "a", &limits("one")).statements(1, START).is_err());
}

#[test]
fn sessions_and_what_runs_at_once() {
    let ledgers: Arc<Ledgers> = Arc::default();
    let limit = Limit { value: 2, by: by("agents") };
    let limits =
        Limits { sessions: Some(limit.clone()), running: Some(limit), ..Limits::default() };
    let (mut one, mut two) = (meter(&ledgers, "a", &limits), meter(&ledgers, "a", &limits));
    let a = Owned { identity: &Identity::local("a"), grant: None };
    let third = ledgers.meter(a, &limits, START).map(drop);
    assert_eq!(third, reached(Resets::WhenOneEnds, Measure::Sessions, 2));
    let unlimited = Limits { sessions: None, ..limits.clone() };
    let mut three = meter(&ledgers, "a", &unlimited);
    one.runs().unwrap();
    one.runs().unwrap();
    two.runs().unwrap();
    assert_eq!(three.runs(), reached(Resets::WhenOneEnds, Measure::Running, 2));
    one.rests();
    three.runs().unwrap();
    drop((one, three));
    two.rests();
    let mut four = meter(&ledgers, "a", &limits);
    four.runs().unwrap();
    drop((two, four));
    assert!(ledgers.of.lock().unwrap().values().all(|ledger| ledger.is_idle(START)));
}

#[test]
fn other_limits_and_what_is_used_stays_used() {
    let ledgers: Arc<Ledgers> = Arc::default();
    let limits =
        |n| Limits { rows: vec![per(n, Per::Session), per(n, Per::Hour)], ..Limits::default() };
    let mut meter = meter(&ledgers, "a", &limits(5));
    let mut given = Given::default();
    for _ in 0..4 {
        meter.row(&mut given, 1, START).unwrap();
    }
    let a = Owned { identity: &Identity::local("a"), grant: None };
    ledgers.renew(&mut meter, a, &limits(4), START).unwrap();
    assert!(meter.row(&mut given, 1, START).is_err());
    ledgers.renew(&mut meter, a, &limits(6), START).unwrap();
    meter.row(&mut given, 1, START).unwrap();
    meter.row(&mut given, 1, START).unwrap();
    assert!(meter.row(&mut given, 1, START).is_err());
}

#[test]
fn what_a_grant_has_had_all_its_sessions_have_had_and_no_other_grant() {
    let ledgers: Arc<Ledgers> = Arc::default();
    let limits = Limits { rows: vec![per(3, Per::Grant)], ..Limits::default() };
    let identity = Identity::local("a");
    let agreed = || Grant { approved_by: vec![person("anna")], ..grant() };
    let (one, other) = (agreed(), agreed());
    let meter = |grant| {
        ledgers.meter(Owned { identity: &identity, grant: Some(grant) }, &limits, START).unwrap()
    };
    let mut given = Given::default();
    let (mut first, mut second) = (meter(&one), meter(&one));
    first.row(&mut given, 1, START).unwrap();
    second.row(&mut given, 1, START).unwrap();
    drop((first, second));
    let mut third = meter(&one);
    third.row(&mut given, 1, START).unwrap();
    let over = reached(Resets::WithTheNextGrant, Measure::Rows, 3);
    assert_eq!(third.row(&mut given, 1, START), over);
    meter(&other).row(&mut given, 1, START).unwrap();
    // It is forgotten when the grant is over, and not before.
    drop(third);
    let idle = |now| ledgers.of.lock().unwrap().values().all(|ledger| ledger.is_idle(now));
    assert!(!idle(START + MINUTE - 1) && idle(START + MINUTE));
}

/// Another scope, or another after one that was given back, is another grant. Who need not ask anybody
/// for it gets no more by it.
#[test]
fn grants_that_nobody_agrees_to_count_together_while_they_follow_one_another() {
    let ledgers: Arc<Ledgers> = Arc::default();
    let limits = Limits { rows: vec![per(3, Per::Grant)], ..Limits::default() };
    let identity = Identity::local("a");
    let takes = |ledgers: &Arc<Ledgers>, grant: &Grant, now_ms| {
        let of = Owned { identity: &identity, grant: Some(grant) };
        let mut meter = ledgers.meter(of, &limits, now_ms).unwrap();
        let mut given = Given::default();
        while given.rows < 2 && meter.row(&mut given, 1, now_ms).is_ok() {}
        given.rows
    };
    let until = |minutes: u64| Grant {
        ends_at: i64::try_from(START + minutes * MINUTE).unwrap(),
        ..grant()
    };
    assert_eq!(takes(&ledgers, &until(1), START), 2);
    assert_eq!(takes(&ledgers, &until(2), START + 1), 1, "another scope");
    assert_eq!(takes(&ledgers, &until(3), START + 2 * MINUTE - 1), 0, "it overlaps, too");
    let agreed = Grant { approved_by: vec![person("anna")], ..until(1) };
    assert_eq!(takes(&ledgers, &agreed, START), 2, "somebody has agreed to this one");
    let elsewhere = Grant { connection: "other".to_owned(), ..until(1) };
    assert_eq!(takes(&ledgers, &elsewhere, START), 2);
    // A restart is no way out.
    let later: Arc<Ledgers> = Arc::default();
    later.restore(&ledgers.unkept(100, kept::Margin::None, START + 2 * MINUTE));
    assert_eq!(takes(&later, &until(4), START + 3 * MINUTE - 1), 0);
    assert_eq!(takes(&later, &until(9), START + 4 * MINUTE), 2, "after a gap");
}

fn person(subject: &str) -> access::Person {
    access::Person { issuer: "gatepost".to_owned(), subject: subject.to_owned() }
}

fn grant() -> Grant {
    Grant {
        id: GrantId::random().unwrap(),
        identity: access::Identity {
            person: person("a"),
            name: None,
            groups: Vec::new(),
            claims: std::collections::BTreeMap::new(),
            actors: Vec::new(),
        },
        connection: "shop".to_owned(),
        reason: None,
        policies: Vec::new(),
        scope: None,
        opened_at: i64::try_from(START).unwrap(),
        ends_at: i64::try_from(START + MINUTE).unwrap(),
        request: None,
        approved_by: Vec::new(),
        state: access::GrantState::Open,
    }
}

/// Eight threads, as sessions on worker threads do.
#[test]
fn parallel_sessions_get_as_much_as_one_would() {
    let ledgers: Arc<Ledgers> = Arc::default();
    let limits = Limits { rows: vec![per(10_000, Per::Hour)], ..Limits::default() };
    let given: u64 = std::thread::scope(|threads| {
        let sessions: Vec<_> = (0..8)
            .map(|_| {
                threads.spawn(|| {
                    let mut meter = meter(&ledgers, "a", &limits);
                    let mut given = Given::default();
                    while meter.row(&mut given, 1, START).is_ok() {}
                    given.rows
                })
            })
            .collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    assert_eq!(given, 10_000);
}

#[test]
fn it_is_said_when_there_is_more() {
    let limits = Limits {
        rows: vec![per(1, Per::Hour)],
        bytes: vec![per(1, Per::Statement)],
        ..Limits::default()
    };
    let mut meter = meter(&Arc::default(), "a", &limits);
    let bytes = meter.row(&mut Given::default(), 2, START).unwrap_err();
    assert_eq!(bytes.sentence(), "the limit of 1 bytes per statement is reached");
    meter.row(&mut Given::default(), 1, START).unwrap();
    let rows = meter.row(&mut Given::default(), 1, START + 1000).unwrap_err();
    assert_eq!(rows.sentence(), "the limit of 1 rows per hour is reached");
    assert_eq!(rows.resets(), "2026-11-18T12:07:00Z");
    assert!(
        rows.next_step(START + 1000).contains("2026-11-18T12:07:00Z, in 3619 s"),
        "{}",
        rows.next_step(START + 1000)
    );
}
