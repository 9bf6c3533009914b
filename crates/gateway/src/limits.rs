//! How much has been used of what a policy limits, and whether there is more: rows and bytes that
//! reach clients, statements, sessions and statements at once. Who is in force, and with which
//! limits, is the policy's business; what is cut and how, the gate's.
//!
//! What is counted per minute, hour and day, and at once, is counted per identity and policy, over
//! all its sessions on this gateway; what is counted per grant, over all sessions of the grant. All of
//! it in memory: a restart begins anew.

mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use access::{Grant, GrantId};
use identity::Identity;
use policy::{Limit, Limits, Per, PerLimit, RuleRef};

use self::window::{Full, Period, Window};

/// Identities, each with a policy, of which something is counted. Those of which nothing counts any
/// more make room; where there is none, nobody new gets in.
const LEDGERS_MAX: usize = 100_000;

/// All that is counted beyond a session.
#[derive(Default)]
pub(crate) struct Ledgers {
    of: Mutex<HashMap<Owner, Arc<Ledger>>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    issuer: String,
    subject: String,
    policy: Arc<str>,
    /// Where it counts what one grant has had.
    grant: Option<GrantId>,
}

/// Who uses something.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owned<'o> {
    pub(crate) identity: &'o Identity,
    pub(crate) grant: Option<&'o Grant>,
}

/// What one identity has used under one policy. Locked for as long as it takes to count.
#[derive(Default)]
struct Ledger(Mutex<Used>);

#[derive(Default)]
struct Used {
    windows: HashMap<(Measure, Period), Window>,
    /// Of a grant: in all its life, which is over then, in milliseconds since 1970.
    totals: HashMap<Measure, u64>,
    until_ms: u64,
    /// Sessions, and those that run something.
    places: HashMap<Measure, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    Rows,
    Bytes,
    Statements,
    Sessions,
    Running,
}

/// A limit that is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) measure: Measure,
    pub(crate) allowed: u64,
    pub(crate) resets: Resets,
    pub(crate) by: RuleRef,
    /// The statement had come to its end when that was seen, and what it changed stands.
    pub(crate) stands: bool,
}

/// When there is room again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resets {
    WithTheNextStatement,
    WithTheNextSession,
    WithTheNextGrant,
    /// As soon as one of those that are there now is over.
    WhenOneEnds,
    /// What was asked for is more than the limit by itself.
    Never,
    /// Of so much per `per`, at so many milliseconds since 1970.
    At {
        per: Per,
        at_ms: u64,
    },
}

/// A session's limits, and what it has used of them.
#[derive(Default)]
pub(crate) struct Meter {
    rows: Vec<Budget>,
    bytes: Vec<Budget>,
    statements: Vec<Budget>,
    running: Option<AtOnce>,
    /// What runs now holds a place.
    runs: Option<Place>,
    session: Option<(Limit<u64>, Place)>,
    pub(crate) statement_time: Option<Limit<Duration>>,
    pub(crate) idle_in_transaction: Option<Limit<Duration>>,
}

/// What a statement has given to the client so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Given {
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
}

/// One limit, for who it holds for.
pub(crate) struct Line<'m> {
    pub(crate) name: &'static str,
    pub(crate) per: Option<&'static str>,
    pub(crate) allowed: u64,
    /// `None` where each statement begins anew.
    pub(crate) used: Option<u64>,
    pub(crate) unit: &'static str,
    pub(crate) resets: String,
    pub(crate) by: &'m RuleRef,
}

struct Budget {
    limit: PerLimit,
    counted: Counted,
}

enum Counted {
    /// In the statement's own `Given`.
    Statement,
    Session(u64),
    Shared(Arc<Ledger>, Period),
    Grant(Arc<Ledger>),
}

struct AtOnce {
    limit: Limit<u64>,
    ledger: Arc<Ledger>,
}

/// One of those that there may be so many of at once; given back when it is dropped.
struct Place {
    ledger: Arc<Ledger>,
    measure: Measure,
}

impl Ledgers {
    /// The limits of a session that begins, with its place among the sessions.
    pub(crate) fn meter(
        self: &Arc<Self>,
        of: Owned<'_>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<Meter, Reached> {
        let mut meter = Meter::default();
        if let Some(limit) = &limits.sessions {
            let ledger = self.ledger(of.identity, &limit.by, None, Measure::Sessions, now_ms)?;
            let place = ledger.place(Measure::Sessions, limit)?;
            meter.session = Some((limit.clone(), place));
        }
        self.renew(&mut meter, of, limits, now_ms)?;
        Ok(meter)
    }

    /// The policies have changed under a session: other limits, and what is used stays used.
    pub(crate) fn renew(
        self: &Arc<Self>,
        meter: &mut Meter,
        of: Owned<'_>,
        limits: &Limits,
        now_ms: u64,
    ) -> Result<(), Reached> {
        let budgets =
            |before: &[Budget], limits: &[PerLimit], measure| {
                limits
                    .iter()
                    .map(|limit| {
                        let period = match limit.per {
                            Per::Statement => None,
                            Per::Session | Per::Grant => None,
                            Per::Minute => Some(Period::Minute),
                            Per::Hour => Some(Period::Hour),
                            Per::Day => Some(Period::Day),
                        };
                        let counted =
                            match (limit.per, period) {
                                (_, Some(period)) => Counted::Shared(
                                    self.ledger(of.identity, &limit.by, None, measure, now_ms)?,
                                    period,
                                ),
                                (Per::Grant, _) if of.grant.is_some() => Counted::Grant(
                                    self.ledger(of.identity, &limit.by, of.grant, measure, now_ms)?,
                                ),
                                (Per::Statement, _) => Counted::Statement,
                                _ => Counted::Session(used_in_session(before)),
                            };
                        Ok(Budget { limit: limit.clone(), counted })
                    })
                    .collect::<Result<Vec<_>, Reached>>()
            };
        meter.rows = budgets(&meter.rows, &limits.rows, Measure::Rows)?;
        meter.bytes = budgets(&meter.bytes, &limits.bytes, Measure::Bytes)?;
        meter.statements = budgets(&meter.statements, &limits.statements, Measure::Statements)?;
        meter.running = match &limits.running {
            Some(limit) => Some(AtOnce {
                ledger: self.ledger(of.identity, &limit.by, None, Measure::Running, now_ms)?,
                limit: limit.clone(),
            }),
            None => None,
        };
        meter.statement_time = limits.statement_time.clone();
        meter.idle_in_transaction = limits.idle_in_transaction.clone();
        Ok(())
    }

    fn ledger(
        &self,
        identity: &Identity,
        by: &RuleRef,
        grant: Option<&Grant>,
        measure: Measure,
        now_ms: u64,
    ) -> Result<Arc<Ledger>, Reached> {
        let owner = Owner {
            issuer: identity.issuer.clone(),
            subject: identity.subject.clone(),
            policy: by.policy.clone(),
            grant: grant.map(|grant| grant.id.clone()),
        };
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = of.get(&owner) {
            return Ok(ledger.clone());
        }
        if of.len() >= LEDGERS_MAX {
            of.retain(|_, ledger| Arc::strong_count(ledger) > 1 || !ledger.is_idle(now_ms));
        }
        if of.len() >= LEDGERS_MAX {
            let resets = Resets::WhenOneEnds;
            return Err(Reached {
                measure,
                allowed: LEDGERS_MAX as u64,
                resets,
                by: by.clone(),
                stands: false,
            });
        }
        let ledger = of.entry(owner).or_default();
        if let Some(grant) = grant {
            ledger.lock().until_ms = u64::try_from(grant.ends_at).unwrap_or(0);
        }
        Ok(ledger.clone())
    }
}

impl Meter {
    /// Nothing is limited, so nothing has to be asked.
    pub(crate) fn is_idle(&self) -> bool {
        self.rows.is_empty()
            && self.bytes.is_empty()
            && self.statements.is_empty()
            && self.running.is_none()
            && self.statement_time.is_none()
            && self.idle_in_transaction.is_none()
    }

    /// Whether something that a statement gives is counted.
    pub(crate) fn counts_rows(&self) -> bool {
        !self.rows.is_empty() || !self.bytes.is_empty()
    }

    /// Every limit, and what is used of it.
    pub(crate) fn lines(&self, now_ms: u64) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        for (measure, budgets) in [
            (Measure::Rows, &self.rows),
            (Measure::Bytes, &self.bytes),
            (Measure::Statements, &self.statements),
        ] {
            lines.extend(budgets.iter().map(|budget| budget.line(measure, now_ms)));
        }
        if let Some((limit, place)) = &self.session {
            lines.push(at_once(Measure::Sessions, limit, &place.ledger));
        }
        if let Some(AtOnce { limit, ledger }) = &self.running {
            lines.push(at_once(Measure::Running, limit, ledger));
        }
        for (name, limit, resets) in [
            ("statement_time", &self.statement_time, Resets::WithTheNextStatement),
            ("idle_in_transaction", &self.idle_in_transaction, Resets::WithTheNextSession),
        ] {
            let Some(Limit { value, by }) = limit else { continue };
            lines.push(Line {
                name,
                per: None,
                allowed: u64::try_from(value.as_millis()).unwrap_or(u64::MAX),
                used: None,
                unit: "ms",
                resets: resets.said(),
                by,
            });
        }
        lines
    }

    /// So many statements are about to run: all of them or none.
    pub(crate) fn statements(&mut self, count: u64, now_ms: u64) -> Result<(), Reached> {
        take(&mut self.statements, Measure::Statements, count, 0, now_ms)
    }

    /// A row of so many bytes is about to reach the client. Past a limit nothing is taken.
    pub(crate) fn row(
        &mut self,
        given: &mut Given,
        bytes: u64,
        now_ms: u64,
    ) -> Result<(), Reached> {
        take(&mut self.rows, Measure::Rows, 1, given.rows, now_ms)?;
        if let Err(reached) = take(&mut self.bytes, Measure::Bytes, bytes, given.bytes, now_ms) {
            self.rows.iter_mut().for_each(|budget| budget.give_back(Measure::Rows, 1));
            return Err(reached);
        }
        given.rows += 1;
        given.bytes = given.bytes.saturating_add(bytes);
        Ok(())
    }

    /// Something of this session is about to run. It holds one place, however much it pipelines,
    /// as PostgreSQL runs one after the other.
    pub(crate) fn runs(&mut self) -> Result<(), Reached> {
        if let (Some(at_once), None) = (&self.running, &self.runs) {
            self.runs = Some(at_once.ledger.place(Measure::Running, &at_once.limit)?);
        }
        Ok(())
    }

    /// Nothing of it runs any more.
    pub(crate) fn rests(&mut self) {
        self.runs = None;
    }
}

fn used_in_session(before: &[Budget]) -> u64 {
    let used = before.iter().find_map(|budget| match budget.counted {
        Counted::Session(used) => Some(used),
        Counted::Statement | Counted::Shared(..) | Counted::Grant(_) => None,
    });
    used.unwrap_or(0)
}

fn at_once<'m>(measure: Measure, limit: &'m Limit<u64>, ledger: &Ledger) -> Line<'m> {
    let used = ledger.lock().places.get(&measure).copied().unwrap_or(0);
    Line {
        name: measure.name(),
        per: None,
        allowed: limit.value,
        used: Some(used),
        unit: "at once",
        resets: Resets::WhenOneEnds.said(),
        by: &limit.by,
    }
}

/// Takes from all of `budgets`, or from none.
fn take(
    budgets: &mut [Budget],
    measure: Measure,
    amount: u64,
    in_statement: u64,
    now_ms: u64,
) -> Result<(), Reached> {
    let mut reached = None;
    let mut taken = 0;
    for budget in budgets.iter_mut() {
        if let Err(error) = budget.take(measure, amount, in_statement, now_ms) {
            reached = Some(error);
            break;
        }
        taken += 1;
    }
    let Some(reached) = reached else { return Ok(()) };
    budgets.iter_mut().take(taken).for_each(|budget| budget.give_back(measure, amount));
    Err(reached)
}

impl Budget {
    fn line(&self, measure: Measure, now_ms: u64) -> Line<'_> {
        let PerLimit { n: allowed, per, by } = &self.limit;
        let (used, resets) = match &self.counted {
            Counted::Statement => (None, Resets::WithTheNextStatement),
            Counted::Session(used) => (Some(*used), Resets::WithTheNextSession),
            Counted::Grant(ledger) => {
                let used = ledger.lock().totals.get(&measure).copied().unwrap_or(0);
                (Some(used), Resets::WithTheNextGrant)
            }
            Counted::Shared(ledger, period) => {
                let mut used = ledger.lock();
                let window = used.windows.get_mut(&(measure, *period));
                let (used, at_ms) = window.map_or((0, now_ms), |it| it.used(now_ms));
                (Some(used), Resets::At { per: *per, at_ms })
            }
        };
        let unit = if measure == Measure::Bytes { "bytes" } else { measure.name() };
        let resets = resets.said();
        let (name, per) = (measure.name(), Some(per.name()));
        Line { name, per, allowed: *allowed, used, unit, resets, by }
    }

    fn take(
        &mut self,
        measure: Measure,
        amount: u64,
        in_statement: u64,
        now_ms: u64,
    ) -> Result<(), Reached> {
        let PerLimit { n: allowed, per, .. } = self.limit;
        let fits = |used: u64| used.checked_add(amount).is_some_and(|sum| sum <= allowed);
        let resets = match &mut self.counted {
            Counted::Statement if fits(in_statement) => return Ok(()),
            Counted::Statement => Resets::WithTheNextStatement,
            Counted::Session(used) if fits(*used) => {
                *used += amount;
                return Ok(());
            }
            Counted::Session(_) => Resets::WithTheNextSession,
            Counted::Grant(ledger) => {
                let mut used = ledger.lock();
                let total = used.totals.entry(measure).or_default();
                if fits(*total) {
                    *total += amount;
                    return Ok(());
                }
                Resets::WithTheNextGrant
            }
            Counted::Shared(ledger, period) => {
                match ledger.take(measure, *period, amount, allowed, now_ms) {
                    Ok(()) => return Ok(()),
                    Err(Full { fits_at: Some(at_ms) }) => Resets::At { per, at_ms },
                    Err(Full { fits_at: None }) => Resets::Never,
                }
            }
        };
        Err(Reached { measure, allowed, resets, by: self.limit.by.clone(), stands: false })
    }

    fn give_back(&mut self, measure: Measure, amount: u64) {
        match &mut self.counted {
            Counted::Statement => {}
            Counted::Session(used) => *used -= amount,
            Counted::Shared(ledger, period) => ledger.give_back(measure, *period, amount),
            Counted::Grant(ledger) => {
                if let Some(total) = ledger.lock().totals.get_mut(&measure) {
                    *total = total.saturating_sub(amount);
                }
            }
        }
    }
}

impl Ledger {
    fn take(
        &self,
        measure: Measure,
        period: Period,
        amount: u64,
        allowed: u64,
        now_ms: u64,
    ) -> Result<(), Full> {
        let mut used = self.lock();
        let window = used.windows.entry((measure, period)).or_insert_with(|| Window::new(period));
        window.take(amount, allowed, now_ms)
    }

    fn give_back(&self, measure: Measure, period: Period, amount: u64) {
        if let Some(window) = self.lock().windows.get_mut(&(measure, period)) {
            window.give_back(amount);
        }
    }

    fn place(self: &Arc<Self>, measure: Measure, limit: &Limit<u64>) -> Result<Place, Reached> {
        let mut used = self.lock();
        let places = used.places.entry(measure).or_default();
        if *places >= limit.value {
            let (allowed, resets) = (limit.value, Resets::WhenOneEnds);
            return Err(Reached { measure, allowed, resets, by: limit.by.clone(), stands: false });
        }
        *places += 1;
        Ok(Place { ledger: self.clone(), measure })
    }

    fn is_idle(&self, now_ms: u64) -> bool {
        let mut used = self.lock();
        used.windows.retain(|_, window| !window.is_empty(now_ms));
        let is_over = used.totals.is_empty() || now_ms >= used.until_ms;
        is_over && used.windows.is_empty() && used.places.values().all(|places| *places == 0)
    }

    fn lock(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.ledger.lock().places.get_mut(&self.measure) {
            *places -= 1;
        }
    }
}

impl Measure {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Measure::Rows => "rows",
            Measure::Bytes => "bytes",
            Measure::Statements => "statements",
            Measure::Sessions => "sessions",
            Measure::Running => "running",
        }
    }
}

impl Reached {
    /// What a client reads first.
    pub(crate) fn sentence(&self) -> String {
        let Reached { measure, allowed, .. } = self;
        let mut sentence = match (measure, self.per()) {
            (Measure::Sessions, _) => {
                format!("this identity may have {allowed} sessions at once, and has them")
            }
            (Measure::Running, _) => {
                format!("this identity may run {allowed} statements at once, and does")
            }
            (measure, Some(per)) => {
                format!("the limit of {allowed} {} per {} is reached", measure.name(), per.name())
            }
            (measure, None) => {
                format!("this is more at once than the limit of {allowed} {}", measure.name())
            }
        };
        if self.stands {
            sentence += "; the statement ran to its end, and what it changed stands";
        }
        sentence
    }

    /// When there is more, and what can be done.
    pub(crate) fn next_step(&self, now_ms: u64) -> String {
        match self.resets {
            Resets::WithTheNextStatement => format!(
                "Ask for less at once, with a narrower WHERE or a LIMIT: each statement may have {} \
                 {}.",
                self.allowed,
                self.measure.name()
            ),
            Resets::WithTheNextSession => "It begins anew with the next session.".to_owned(),
            Resets::WithTheNextGrant => {
                "It begins anew with the next grant; this one has had what it may.".to_owned()
            }
            Resets::WhenOneEnds => "Try again when one of them has ended.".to_owned(),
            Resets::Never => "Waiting does not help: ask for less at once.".to_owned(),
            Resets::At { at_ms, .. } => format!(
                "Try again at {}, in {} s: enough of what counts now is too long ago by then.",
                written_time(at_ms),
                at_ms.saturating_sub(now_ms).div_ceil(1000)
            ),
        }
    }

    /// For programs: when there is more.
    pub(crate) fn resets(&self) -> String {
        self.resets.said()
    }

    pub(crate) fn per(&self) -> Option<Per> {
        match self.resets {
            Resets::WithTheNextStatement => Some(Per::Statement),
            Resets::WithTheNextSession => Some(Per::Session),
            Resets::WithTheNextGrant => Some(Per::Grant),
            Resets::At { per, .. } => Some(per),
            Resets::WhenOneEnds | Resets::Never => None,
        }
    }
}

impl Resets {
    fn said(self) -> String {
        match self {
            Resets::WithTheNextStatement => "next statement".to_owned(),
            Resets::WithTheNextSession => "next session".to_owned(),
            Resets::WithTheNextGrant => "next grant".to_owned(),
            Resets::WhenOneEnds => "when one ends".to_owned(),
            Resets::Never => "never".to_owned(),
            Resets::At { at_ms, .. } => written_time(at_ms),
        }
    }
}

/// As records have times, in whole seconds.
fn written_time(ms: u64) -> String {
    let text = audit::time(ms.saturating_mul(1000));
    text.get(..19).map_or(text.clone(), |seconds| format!("{seconds}Z"))
}

/// What `now_ms` is, for those who have a clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
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
        ledgers
            .meter(Owned { identity: &Identity::local(name), grant: None }, limits, START)
            .unwrap()
    }

    fn reached(resets: Resets, measure: Measure, allowed: u64) -> Result<(), Reached> {
        Err(Reached { measure, allowed, resets, by: by("agents"), stands: false })
    }

    #[test]
    fn rows_of_a_statement_and_of_a_session() {
        let limits = Limits {
            rows: vec![per(3, Per::Statement), per(5, Per::Session)],
            ..Limits::default()
        };
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
        let (one, other) = (grant(), grant());
        let meter = |grant| {
            ledgers
                .meter(Owned { identity: &identity, grant: Some(grant) }, &limits, START)
                .unwrap()
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

    fn grant() -> Grant {
        let person = access::Person { issuer: "gatepost".to_owned(), subject: "a".to_owned() };
        Grant {
            id: GrantId::random().unwrap(),
            identity: access::Identity {
                person,
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
}
