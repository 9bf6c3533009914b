//! What of the counts outlives the process: those per hour, per day and per grant. They are written
//! down each second in which something was counted, and exactly when the gateway stops. A process
//! that is killed loses the second since; for that second what is written down has as much again as
//! the one before it, so whoever counts on a crash gains nothing. Each node keeps its own.

use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use access::CountRow;

use super::window::{Period, Window};
use super::{LEDGERS_MAX, Ledger, Ledgers, Measure, Owner, PerGrant, Total, Used, now_ms};
use crate::gateway::Gateway;

/// How often what was counted is written down.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// At once; others have their turn a second later.
const ROWS_MAX: usize = 1_000;

/// A grant's count, where others have a period.
const OF_GRANT: &str = "grant";

/// Before the name of a connection, where others have that of a grant.
const ON: &str = "on ";

/// Whether what is written down allows for what comes until it is written down again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Margin {
    AsMuchAgain,
    None,
}

/// Writes down what is counted, for as long as the gateway lives.
pub(crate) async fn keeper(gateway: Weak<Gateway>) {
    // What could not be written down yet.
    let mut left: Vec<CountRow> = Vec::new();
    let mut was_well = true;
    loop {
        tokio::time::sleep(KEEP_EVERY).await;
        let Some(gateway) = gateway.upgrade() else { return };
        if left.is_empty() {
            left = gateway.ledgers.unkept(ROWS_MAX, Margin::AsMuchAgain, now_ms());
        }
        if left.is_empty() {
            continue;
        }
        let kept = gateway.state.keep_counts(gateway.journal.node(), left.clone()).await;
        match kept {
            Ok(()) => left.clear(),
            Err(error) if was_well => tracing::error!(%error, "counts of limits can't be kept"),
            Err(_) => {}
        }
        was_well = left.is_empty();
    }
}

impl Ledgers {
    /// What an earlier process has counted.
    pub(crate) fn restore(&self, rows: &[CountRow]) {
        for row in rows {
            if self.restore_one(row).is_none() {
                tracing::warn!(identity = row.subject, "a count of limits was not understood");
            }
        }
    }

    fn restore_one(&self, row: &CountRow) -> Option<()> {
        let measure = Measure::named(&row.measure)?;
        let grant = match &*row.grant {
            "" => None,
            text => Some(PerGrant::read(text)?),
        };
        let owner = Owner {
            issuer: row.issuer.clone(),
            subject: row.subject.clone(),
            policy: row.policy.as_str().into(),
            grant,
        };
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() >= LEDGERS_MAX && !of.contains_key(&owner) {
            return None;
        }
        let ledger = of.entry(owner).or_default().clone();
        drop(of);
        let mut used = ledger.lock();
        if row.period == OF_GRANT {
            let total = Total { taken: row.taken.parse().ok()?, ..Total::default() };
            used.totals.insert(measure, total);
            used.until_ms = u64::try_from(row.until).ok()?;
            return Some(());
        }
        let period = Period::named(&row.period)?;
        let mut parts = Vec::new();
        for part in row.taken.split_ascii_whitespace() {
            let (number, taken) = part.split_once(':')?;
            parts.push((number.parse().ok()?, taken.parse().ok()?));
        }
        used.windows.insert((measure, period), Window::restored(period, &parts)?);
        Some(())
    }

    /// What has changed since it was written down last, up to `most` rows and a ledger's more.
    pub(crate) fn unkept(&self, most: usize, margin: Margin, now_ms: u64) -> Vec<CountRow> {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<(Owner, Arc<Ledger>)> =
            of.iter().map(|(owner, ledger)| (owner.clone(), ledger.clone())).collect();
        drop(of);
        let mut rows = Vec::new();
        for (owner, ledger) in all {
            if rows.len() >= most {
                break;
            }
            ledger.lock().unkept(&owner, margin, now_ms, &mut rows);
        }
        rows
    }
}

impl PerGrant {
    fn written(&self) -> String {
        match self {
            PerGrant::Agreed(id) => id.to_string(),
            PerGrant::AtOnce(connection) => format!("{ON}{connection}"),
        }
    }

    fn read(text: &str) -> Option<PerGrant> {
        match text.strip_prefix(ON) {
            Some(connection) => Some(PerGrant::AtOnce(connection.to_owned())),
            None => text.parse().ok().map(PerGrant::Agreed),
        }
    }
}

impl Used {
    fn unkept(&mut self, owner: &Owner, margin: Margin, now_ms: u64, rows: &mut Vec<CountRow>) {
        let row = |measure: Measure, period: &str, taken: String, until_ms: u64| CountRow {
            issuer: owner.issuer.clone(),
            subject: owner.subject.clone(),
            policy: owner.policy.to_string(),
            grant: owner.grant.as_ref().map_or_else(String::new, PerGrant::written),
            measure: measure.name().to_owned(),
            period: period.to_owned(),
            taken,
            until: i64::try_from(until_ms).unwrap_or(i64::MAX),
        };
        for ((measure, period), window) in &mut self.windows {
            // A minute is over before anybody gains by it.
            if *period == Period::Minute {
                continue;
            }
            let Some(kept) = window.unkept(margin == Margin::AsMuchAgain, now_ms) else { continue };
            let parts = kept.parts.iter().map(|(number, taken)| format!("{number}:{taken}"));
            let taken = parts.collect::<Vec<_>>().join(" ");
            rows.push(row(*measure, period.name(), taken, kept.until_ms));
        }
        for (measure, total) in &mut self.totals {
            if total.unkept == 0 && !total.has_margin {
                continue;
            }
            let more = if margin == Margin::AsMuchAgain { total.unkept } else { 0 };
            let taken = total.taken.saturating_add(more).to_string();
            (total.unkept, total.has_margin) = (0, more > 0);
            rows.push(row(*measure, OF_GRANT, taken, self.until_ms));
        }
    }
}

#[cfg(test)]
mod tests {
    use identity::Identity;
    use policy::{Limits, Per, PerLimit, RuleRef};

    use super::super::{Given, Meter, Owned};
    use super::*;

    const START: u64 = 1_795_000_000_000;
    const HOUR: u64 = 3_600_000;

    fn meter(ledgers: &Arc<Ledgers>) -> Meter {
        let by = RuleRef { policy: "agents".into(), rule: "limits".into(), line: 7 };
        let rows = [Per::Hour, Per::Day].map(|per| PerLimit { n: 10, per, by: by.clone() });
        let limits = Limits { rows: rows.into(), ..Limits::default() };
        let identity = Identity::local("a");
        ledgers.meter(Owned { identity: &identity, grant: None }, &limits, START).unwrap()
    }

    fn takes(ledgers: &Arc<Ledgers>, now_ms: u64) -> u64 {
        let (mut meter, mut given) = (meter(ledgers), Given::default());
        while meter.row(&mut given, 1, now_ms).is_ok() {}
        given.rows
    }

    /// Another process that begins with what this one has written down.
    fn after(rows: &[CountRow]) -> Arc<Ledgers> {
        let ledgers: Arc<Ledgers> = Arc::default();
        ledgers.restore(rows);
        ledgers
    }

    fn used(rows: u64) -> Arc<Ledgers> {
        let ledgers: Arc<Ledgers> = Arc::default();
        let (mut meter, mut given) = (meter(&ledgers), Given::default());
        for _ in 0..rows {
            meter.row(&mut given, 1, START).unwrap();
        }
        ledgers
    }

    #[test]
    fn what_was_used_before_a_restart_is_used_after_it() {
        let kept = used(7).unkept(ROWS_MAX, Margin::None, START);
        assert_eq!(takes(&after(&kept), START + 1000), 3);
        assert_eq!(takes(&after(&kept), START + HOUR + 60_000), 3, "the day has not passed");
        assert_eq!(takes(&after(&kept), START + 25 * HOUR), 10);
    }

    #[test]
    fn a_crash_gives_nothing() {
        let ledgers = used(4);
        let kept = ledgers.unkept(ROWS_MAX, Margin::AsMuchAgain, START);
        assert_eq!(takes(&after(&kept), START), 2, "another four may have gone unwritten");
        // A second in which nothing was used takes that back, and then there is nothing to write.
        let kept = ledgers.unkept(ROWS_MAX, Margin::AsMuchAgain, START);
        assert_eq!(takes(&after(&kept), START), 6);
        assert_eq!(ledgers.unkept(ROWS_MAX, Margin::AsMuchAgain, START), []);
    }

    #[test]
    fn what_is_not_a_count_is_left_alone() {
        let kept = used(7).unkept(ROWS_MAX, Margin::None, START);
        for (period, taken) in [("hour", "x"), ("hour", "1:2:3"), ("year", "1:2"), ("grant", "-1")]
        {
            let row =
                CountRow { period: period.to_owned(), taken: taken.to_owned(), ..kept[0].clone() };
            assert_eq!(after(&[]).restore_one(&row), None, "{period} {taken}");
        }
    }
}
