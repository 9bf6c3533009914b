//! How much: limits as they are written, and the stricter of several. Who counts is the gateway.

use std::time::Duration;

use crate::verdict::RuleRef;
use crate::written::{Problem, Text};

/// The limits of one session, over all policies in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// At most one for each span, the smallest.
    pub rows: Vec<PerLimit>,
    pub bytes: Vec<PerLimit>,
    pub statements: Vec<PerLimit>,
    /// Sessions at once of one identity.
    pub sessions: Option<Limit<u64>>,
    /// Statements at once of one identity.
    pub running: Option<Limit<u64>>,
    pub statement_time: Option<Limit<Duration>>,
    pub idle_in_transaction: Option<Limit<Duration>>,
    /// How long a client waits for a person before it gets an error.
    pub hold_wait: Option<Limit<Duration>>,
    /// The same inside a transaction that has begun; without it nothing waits there.
    pub hold_wait_in_transaction: Option<Limit<Duration>>,
}

/// `300 per minute`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PerLimit {
    pub n: u64,
    pub per: Per,
    pub by: RuleRef,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit<T> {
    pub value: T,
    pub by: RuleRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Per {
    Statement,
    Session,
    Grant,
    Minute,
    Hour,
    Day,
}

/// Every span by its name.
const SPANS: [(&str, Per); 6] = [
    ("statement", Per::Statement),
    ("session", Per::Session),
    ("grant", Per::Grant),
    ("minute", Per::Minute),
    ("hour", Per::Hour),
    ("day", Per::Day),
];

/// The keys of `limits`.
pub const LIMITS: [&str; 9] = [
    "rows",
    "bytes",
    "statements",
    "sessions",
    "running",
    "statement_time",
    "idle_in_transaction",
    "hold_wait",
    "hold_wait_in_transaction",
];

/// Others wait for what a transaction has locked.
const IN_TRANSACTION_MAX: Duration = Duration::from_secs(5);

/// Ten years, as for every other time in the file.
const DURATION_MAX: Duration = Duration::from_secs(3650 * 86_400);

impl Per {
    pub fn name(self) -> &'static str {
        SPANS.iter().find(|(_, per)| *per == self).map_or("", |(name, _)| name)
    }
}

impl Limits {
    /// `by` is who says so, for a key and its value.
    pub(crate) fn read(
        written: &[(Text, Vec<Text>)],
        by: impl Fn(&Text, &Text) -> RuleRef,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut limits = Self::default();
        for (key, values) in written {
            for value in values {
                let by = by(key, value);
                if let Err(problem) = limits.add(key, value, by) {
                    problems.push(problem);
                }
            }
        }
        limits
    }

    fn add(&mut self, key: &Text, value: &Text, by: RuleRef) -> Result<(), Problem> {
        let place = value.place;
        let count = |text: &str| {
            let wrong = || Problem::new(place, format!("`{text}` is not a whole number from 1 on"));
            text.parse::<u64>().ok().filter(|n| *n > 0).ok_or_else(wrong)
        };
        let time = |text: &str| {
            let duration = duration(text).map_err(|message| Problem::new(place, message))?;
            Ok(duration)
        };
        match &*key.text {
            "rows" | "bytes" | "statements" => {
                for part in value.split()? {
                    let (n, per) = amount(&part, key.text == "bytes")?;
                    if per == Per::Statement && key.text == "statements" {
                        let message = "`statements` per statement limits nothing";
                        return Err(Problem::new(part.place, message));
                    }
                    let list = match &*key.text {
                        "rows" => &mut self.rows,
                        "bytes" => &mut self.bytes,
                        _ => &mut self.statements,
                    };
                    strictest(list, PerLimit { n, per, by: by.clone() });
                }
            }
            "sessions" => tighten(&mut self.sessions, Limit { value: count(&value.text)?, by }),
            "running" => tighten(&mut self.running, Limit { value: count(&value.text)?, by }),
            "statement_time" => {
                tighten(&mut self.statement_time, Limit { value: time(&value.text)?, by });
            }
            "idle_in_transaction" => {
                tighten(&mut self.idle_in_transaction, Limit { value: time(&value.text)?, by });
            }
            "hold_wait" => tighten(&mut self.hold_wait, Limit { value: time(&value.text)?, by }),
            "hold_wait_in_transaction" => {
                let value = time(&value.text)?;
                if value > IN_TRANSACTION_MAX {
                    let message = "a transaction waits for at most 5s: others wait for its locks";
                    return Err(Problem::new(place, message));
                }
                tighten(&mut self.hold_wait_in_transaction, Limit { value, by });
            }
            other => {
                let message =
                    format!("unknown limit `{other}`; the limits are {}", LIMITS.join(", "));
                return Err(Problem::new(key.place, message));
            }
        }
        Ok(())
    }

    /// Of both the stricter.
    pub(crate) fn join(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.rows, &other.rows),
            (&mut self.bytes, &other.bytes),
            (&mut self.statements, &other.statements),
        ] {
            for limit in others {
                strictest(own, limit.clone());
            }
        }
        for (own, other) in
            [(&mut self.sessions, &other.sessions), (&mut self.running, &other.running)]
        {
            if let Some(other) = other {
                tighten(own, other.clone());
            }
        }
        for (own, other) in [
            (&mut self.statement_time, &other.statement_time),
            (&mut self.idle_in_transaction, &other.idle_in_transaction),
            (&mut self.hold_wait, &other.hold_wait),
            (&mut self.hold_wait_in_transaction, &other.hold_wait_in_transaction),
        ] {
            if let Some(other) = other {
                tighten(own, other.clone());
            }
        }
    }
}

fn strictest(list: &mut Vec<PerLimit>, limit: PerLimit) {
    match list.iter_mut().find(|own| own.per == limit.per) {
        Some(own) if own.n <= limit.n => {}
        Some(own) => *own = limit,
        None => list.push(limit),
    }
}

fn tighten<T: Ord>(own: &mut Option<Limit<T>>, limit: Limit<T>) {
    if own.as_ref().is_none_or(|own| limit.value < own.value) {
        *own = Some(limit);
    }
}

/// `10000 per session`, `20 MB per hour`.
fn amount(text: &Text, bytes: bool) -> Result<(u64, Per), Problem> {
    let wrong = || {
        let what = if bytes { "`20 MB per session`" } else { "`10000 per session`" };
        let spans = SPANS.map(|(name, _)| name).join(", ");
        Problem::new(
            text.place,
            format!("`{}` is not a limit such as {what}; the spans are {spans}", text.text),
        )
    };
    let (amount, per) = text.text.split_once(" per ").ok_or_else(wrong)?;
    let per = SPANS.iter().find(|(name, _)| *name == per.trim()).ok_or_else(wrong)?.1;
    let amount = amount.trim();
    let digits = amount.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = amount.split_at_checked(digits).ok_or_else(wrong)?;
    let unit = match (bytes, unit.trim()) {
        (_, "") => 1,
        (true, "kB" | "KB") => 1 << 10,
        (true, "MB") => 1 << 20,
        (true, "GB") => 1 << 30,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    number.filter(|n| *n > 0).map(|n| (n, per)).ok_or_else(wrong)
}

/// A whole number and its unit; a time that something can wait for.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as 500ms, 30s, 15m, 1h or 2d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0).ok_or_else(wrong)?;
    number
        .checked_mul(millis)
        .map(Duration::from_millis)
        .filter(|it| *it <= DURATION_MAX)
        .ok_or_else(|| format!("`{text}` is too long; the longest duration is 3650d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(entries: &[(&str, &str)]) -> Result<Limits, Vec<Problem>> {
        let text = |it: &str| Text { text: it.to_owned(), ..Text::default() };
        let written: Vec<_> =
            entries.iter().map(|(key, value)| (text(key), vec![text(value)])).collect();
        let mut problems = Vec::new();
        let limits = Limits::read(&written, |_, _| RuleRef::built_in(), &mut problems);
        if problems.is_empty() { Ok(limits) } else { Err(problems) }
    }

    #[test]
    fn the_stricter_holds() {
        let mut limits =
            read(&[("rows", "100 per session, 10 per statement"), ("running", "3")]).unwrap();
        let other = read(&[
            ("rows", "50 per session"),
            ("running", "4"),
            ("statement_time", "30s"),
            ("hold_wait_in_transaction", "5s"),
            ("bytes", "2 MB per hour"),
        ]);
        limits.join(&other.unwrap());
        let rows: Vec<_> = limits.rows.iter().map(|limit| (limit.n, limit.per)).collect();
        assert_eq!(rows, [(50, Per::Session), (10, Per::Statement)]);
        assert_eq!(limits.bytes.first().map(|limit| limit.n), Some(2 << 20));
        assert_eq!(limits.running.map(|limit| limit.value), Some(3));
        assert_eq!(limits.statement_time.map(|limit| limit.value), Some(Duration::from_secs(30)));
    }

    #[test]
    fn what_is_no_limit_is_said() {
        for (key, value) in [
            ("rows", "100"),
            ("rows", "0 per session"),
            ("rows", "-1 per session"),
            ("rows", "100 per week"),
            ("rows", "1 MB per session"),
            ("rows", ""),
            ("bytes", "1 TB per session"),
            ("bytes", "99999999999 GB per session"),
            ("statements", "1 per statement"),
            ("running", "0"),
            ("running", "many"),
            ("statement_time", "30"),
            ("statement_time", "0s"),
            ("hold_wait_in_transaction", "6s"),
            ("row", "1 per session"),
        ] {
            assert!(read(&[(key, value)]).is_err(), "{key}: {value}");
        }
    }
}
