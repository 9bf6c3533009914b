//! How much has been used of what a policy limits, and whether there is more: rows and bytes that
//! reach clients, statements, sessions and statements at once. Who is in force, and with which
//! limits, is the policy's business; what is cut and how, the gate's; what is said then, `reached`'s.
//!
//! What is counted per minute, hour and day, and at once, is counted per identity and policy, over
//! all its sessions on this gateway; what is counted per grant, over all sessions of the grant, and of
//! those that nobody had to agree to over all that live together: who may open one may open more. It
//! is counted in memory; what a restart must not take back is written down (`kept`).

pub(crate) mod kept;
mod reached;
mod window;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use access::{Grant, GrantId};
use identity::Identity;
use policy::{Limit, Limits, Per, PerLimit, RuleRef};

pub(crate) use self::reached::{Reached, Resets};
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
    /// Where it counts what is counted per grant.
    grant: Option<PerGrant>,
}

/// What is counted together per grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum PerGrant {
    /// People have agreed to this one.
    Agreed(GrantId),
    /// All that opened at once on this connection, while one of them follows the other without a gap:
    /// another scope is another grant, and so is the one behind that which was given back.
    AtOnce(String),
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
    /// Per grant, until the last of them comes to its end, in milliseconds since 1970.
    totals: HashMap<Measure, Total>,
    until_ms: u64,
    /// Sessions, and those that run something.
    places: HashMap<Measure, u64>,
}

/// What a grant has had, and how much of that is not written down yet.
#[derive(Default)]
struct Total {
    taken: u64,
    unkept: u64,
    /// More was written down than there is.
    has_margin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Measure {
    Rows,
    Bytes,
    Statements,
    Sessions,
    Running,
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
            grant: grant.map(PerGrant::of),
        };
        let lives = |ledger: &Arc<Ledger>| {
            if let Some(grant) = grant {
                ledger.lock().lives_until(u64::try_from(grant.ends_at).unwrap_or(0), now_ms);
            }
            ledger.clone()
        };
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(ledger) = of.get(&owner) {
            return Ok(lives(ledger));
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
        Ok(lives(of.entry(owner).or_default()))
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
                let used = ledger.lock().totals.get(&measure).map_or(0, |total| total.taken);
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
                if fits(total.taken) {
                    total.taken += amount;
                    total.unkept += amount;
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
                    total.taken = total.taken.saturating_sub(amount);
                    total.unkept = total.unkept.saturating_sub(amount);
                }
            }
        }
    }
}

impl PerGrant {
    fn of(grant: &Grant) -> PerGrant {
        match grant.approved_by.as_slice() {
            [] => PerGrant::AtOnce(grant.connection.clone()),
            _ => PerGrant::Agreed(grant.id.clone()),
        }
    }
}

impl Used {
    /// A grant that lives until then counts here.
    fn lives_until(&mut self, ends_ms: u64, now_ms: u64) {
        if now_ms >= self.until_ms {
            self.totals.clear();
        }
        if ends_ms > self.until_ms {
            self.until_ms = ends_ms;
            // That they count for longer is written down, too.
            self.totals.values_mut().for_each(|total| total.has_margin = true);
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
    fn named(name: &str) -> Option<Measure> {
        let all = [Measure::Rows, Measure::Bytes, Measure::Statements];
        all.into_iter().find(|measure| measure.name() == name)
    }

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

/// What `now_ms` is, for those who have a clock.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
