//! The store's time. With SQLite it is this machine's clock, but it never goes back and never
//! stands still: after a jump back it goes on from where it was, at the speed of a clock that
//! nobody can set. PostgreSQL's own clock needs none of this.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// What time it is, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reading {
    /// Since 1970; somebody can set it.
    wall: i64,
    /// Since the machine began, sleep included; nobody can set it.
    steady: i64,
}

/// Where a store reads the time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    #[default]
    System,
    /// Tests move it; with PostgreSQL it stands in for the server's.
    Manual(ManualClock),
}

/// A made-up clock. Its clones are one clock.
#[derive(Clone, Debug)]
pub struct ManualClock {
    wall: Arc<AtomicI64>,
    steady: Arc<AtomicI64>,
}

impl ManualClock {
    pub fn new(wall_millis: i64) -> Self {
        Self { wall: Arc::new(AtomicI64::new(wall_millis)), steady: Arc::default() }
    }

    /// Time passes.
    pub fn pass(&self, millis: i64) {
        self.wall.fetch_add(millis, Ordering::SeqCst);
        self.steady.fetch_add(millis, Ordering::SeqCst);
    }

    /// Somebody sets the clock.
    pub fn set_wall(&self, wall_millis: i64) {
        self.wall.store(wall_millis, Ordering::SeqCst);
    }
}

impl Clock {
    fn read(&self) -> Reading {
        match self {
            Self::System => {
                let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                let wall = i64::try_from(wall.as_millis()).unwrap_or(i64::MAX);
                Reading { wall: wall.saturating_add(set_by()), steady: steady_millis() }
            }
            Self::Manual(clock) => Reading {
                wall: clock.wall.load(Ordering::SeqCst),
                steady: clock.steady.load(Ordering::SeqCst),
            },
        }
    }
}

/// By how much somebody has set the clock, in milliseconds. For tests of a whole process, which can't
/// set the machine's: a debug build reads it from the file `GATEPOST_CLOCK`.
#[cfg(debug_assertions)]
fn set_by() -> i64 {
    let set =
        std::env::var_os("GATEPOST_CLOCK").and_then(|file| std::fs::read_to_string(file).ok());
    set.and_then(|millis| millis.trim().parse().ok()).unwrap_or(0)
}

#[cfg(not(debug_assertions))]
fn set_by() -> i64 {
    0
}

/// Milliseconds since the machine began, sleep included: no clock to tell the time by, but one
/// that nobody can set, to measure what is left of something.
pub fn steady_millis() -> i64 {
    let steady = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    steady.tv_sec.saturating_mul(1000).saturating_add(steady.tv_nsec / 1_000_000)
}

/// Only forward, and never slower than time passes.
#[derive(Debug)]
pub(crate) struct StoreClock {
    clock: Clock,
    highest: i64,
    then: i64,
}

impl StoreClock {
    pub(crate) fn new(clock: Clock) -> Self {
        let then = clock.read().steady;
        Self { clock, highest: 0, then }
    }

    pub(crate) fn is_made_up(&self) -> bool {
        matches!(self.clock, Clock::Manual(_))
    }

    /// Whether it is later here than the clock says.
    pub(crate) fn is_ahead(&mut self) -> bool {
        self.now() > self.clock.read().wall
    }

    pub(crate) fn now(&mut self) -> i64 {
        let Reading { wall, steady } = self.clock.read();
        let passed = steady.saturating_sub(self.then).max(0);
        self.highest = wall.max(self.highest.saturating_add(passed));
        self.then = steady;
        self.highest
    }

    /// What an earlier run, or another process, has seen already.
    pub(crate) fn raise(&mut self, seen: i64) {
        let now = self.now();
        self.highest = now.max(seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_goes_on_at_its_speed() {
        let manual = ManualClock::new(1_000_000);
        let mut clock = StoreClock::new(Clock::Manual(manual.clone()));
        assert_eq!(clock.now(), 1_000_000);
        manual.set_wall(5);
        assert_eq!(clock.now(), 1_000_000);
        manual.pass(300);
        assert_eq!(clock.now(), 1_000_300);
        manual.set_wall(2_000_000);
        assert_eq!(clock.now(), 2_000_000);
    }

    #[test]
    fn what_was_seen_before_a_restart_is_not_seen_again() {
        let manual = ManualClock::new(10);
        let mut clock = StoreClock::new(Clock::Manual(manual.clone()));
        clock.raise(500);
        manual.pass(7);
        assert_eq!(clock.now(), 507);
        clock.raise(3);
        assert_eq!(clock.now(), 507);
    }

    #[test]
    fn the_system_has_both_clocks() {
        let mut clock = StoreClock::new(Clock::System);
        let first = clock.now();
        assert!(first > 1_700_000_000_000);
        assert!(clock.now() >= first);
    }
}
