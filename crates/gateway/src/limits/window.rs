//! Counting over a sliding period: of any stretch of time as long as the period, at most as much as
//! the limit is taken. Time is passed in, in milliseconds since 1970.

/// The period is counted in this many parts, and what was taken in one leaves with it. So a window
/// is at most a part longer than its period, and never shorter.
const PARTS: u64 = 60;

/// The parts of a period, and the one that has just begun.
const SLOTS: usize = 61;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Period {
    Minute,
    Hour,
    Day,
}

impl Period {
    pub(super) fn name(self) -> &'static str {
        match self {
            Period::Minute => "minute",
            Period::Hour => "hour",
            Period::Day => "day",
        }
    }

    pub(super) fn named(name: &str) -> Option<Period> {
        let all = [Period::Minute, Period::Hour, Period::Day];
        all.into_iter().find(|period| period.name() == name)
    }

    fn part_ms(self) -> u64 {
        let minutes = match self {
            Period::Minute => 1,
            Period::Hour => 60,
            Period::Day => 24 * 60,
        };
        minutes * 60_000 / PARTS
    }
}

/// It does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    /// When it will, if nothing else is taken; `None` where it is more than the limit by itself.
    pub(super) fits_at: Option<u64>,
}

#[derive(Debug)]
pub(super) struct Window {
    part_ms: u64,
    /// The number of the newest part since 1970; `taken` has that of each modulo `SLOTS`.
    newest: u64,
    taken: [u64; SLOTS],
    total: u64,
    /// Of that, what is not written down yet.
    unkept: u64,
    /// More was written down than there is.
    has_margin: bool,
}

/// What is written down of a window.
pub(super) struct Kept {
    /// The number of each part in which something was taken, and how much.
    pub(super) parts: Vec<(u64, u64)>,
    /// When nothing of it counts any more.
    pub(super) until_ms: u64,
}

impl Window {
    pub(super) fn new(period: Period) -> Window {
        Window {
            part_ms: period.part_ms(),
            newest: 0,
            taken: [0; SLOTS],
            total: 0,
            unkept: 0,
            has_margin: false,
        }
    }

    /// As it was written down.
    pub(super) fn restored(period: Period, parts: &[(u64, u64)]) -> Option<Window> {
        let mut window = Window::new(period);
        window.newest = parts.iter().map(|(number, _)| *number).max()?;
        for (number, taken) in parts {
            if window.newest - number < SLOTS as u64 {
                *window.slot(*number) = *taken;
            }
        }
        let mut taken = window.taken.iter();
        window.total = taken.try_fold(0u64, |sum, taken| sum.checked_add(*taken))?;
        Some(window)
    }

    /// What has to be written down, if something has changed since it was; `with_margin` as if as much
    /// again had been taken now.
    pub(super) fn unkept(&mut self, with_margin: bool, now_ms: u64) -> Option<Kept> {
        if self.unkept == 0 && !self.has_margin {
            return None;
        }
        self.advance(now_ms);
        let more = if with_margin { self.unkept } else { 0 };
        (self.unkept, self.has_margin) = (0, more > 0);
        let (newest, part_ms) = (self.newest, self.part_ms);
        let oldest = (newest + 1).saturating_sub(SLOTS as u64);
        let mut parts = Vec::new();
        for number in oldest..=newest {
            let more = if number == newest { more } else { 0 };
            let taken = self.slot(number).saturating_add(more);
            if taken > 0 {
                parts.push((number, taken));
            }
        }
        Some(Kept { parts, until_ms: (newest + SLOTS as u64).saturating_mul(part_ms) })
    }

    pub(super) fn take(&mut self, amount: u64, limit: u64, now_ms: u64) -> Result<(), Full> {
        self.advance(now_ms);
        if amount > limit.saturating_sub(self.total) {
            return Err(Full { fits_at: self.fits_at(amount, limit) });
        }
        let newest = self.newest;
        *self.slot(newest) += amount;
        self.total += amount;
        self.unkept += amount;
        Ok(())
    }

    /// What counts now, and when the oldest of it doesn't any more.
    pub(super) fn used(&mut self, now_ms: u64) -> (u64, u64) {
        self.advance(now_ms);
        let (newest, part_ms) = (self.newest, self.part_ms);
        let oldest = (newest + 1..=newest + SLOTS as u64).find(|part| *self.slot(*part) > 0);
        (self.total, oldest.map_or(now_ms, |part| part * part_ms))
    }

    /// What was just taken was not used after all.
    pub(super) fn give_back(&mut self, amount: u64) {
        let newest = self.newest;
        let slot = self.slot(newest);
        // Where a part has passed meanwhile it stays taken until that leaves.
        let given = amount.min(*slot);
        *slot -= given;
        self.total -= given;
        self.unkept = self.unkept.saturating_sub(given);
    }

    /// Nothing that was taken counts any more.
    pub(super) fn is_empty(&mut self, now_ms: u64) -> bool {
        self.advance(now_ms);
        self.total == 0
    }

    /// A clock that is set back stands still here.
    fn advance(&mut self, now_ms: u64) {
        let now = now_ms / self.part_ms;
        let passed = now.saturating_sub(self.newest).min(SLOTS as u64);
        for part in 0..passed {
            let leaving = std::mem::take(self.slot(now - part));
            self.total -= leaving;
        }
        self.newest = self.newest.max(now);
    }

    fn fits_at(&mut self, amount: u64, limit: u64) -> Option<u64> {
        let mut left = self.total;
        let room = limit.checked_sub(amount)?;
        let newest = self.newest;
        // The slot behind the newest is that of the oldest part.
        for part in newest + 1..=newest + SLOTS as u64 {
            left -= *self.slot(part);
            if left <= room {
                return Some(part * self.part_ms);
            }
        }
        None
    }

    fn slot(&mut self, part: u64) -> &mut u64 {
        let at = usize::try_from(part % SLOTS as u64).unwrap_or_default();
        #[expect(clippy::indexing_slicing, reason = "a number modulo the length is below it")]
        &mut self.taken[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    const START: u64 = 1_795_000_000_000;

    #[test]
    fn at_the_limit_and_one_past_it() {
        let mut window = Window::new(Period::Hour);
        assert_eq!(window.take(7, 10, START), Ok(()));
        assert_eq!(window.take(3, 10, START), Ok(()));
        let full = window.take(1, 10, START).unwrap_err();
        let at = full.fits_at.unwrap();
        assert!((START + 3_600_000..=START + 3_660_000).contains(&at), "{at}");
        assert!(window.take(1, 10, at - 1).is_err());
        assert_eq!(window.take(10, 10, at), Ok(()));
        assert_eq!(Window::new(Period::Hour).take(11, 10, START), Err(Full { fits_at: None }));
    }

    #[test]
    fn what_is_given_back_can_be_taken() {
        let mut window = Window::new(Period::Minute);
        window.take(5, 5, START).unwrap();
        window.give_back(2);
        assert!(window.take(3, 5, START).is_err());
        window.take(2, 5, START).unwrap();
        assert!(!window.is_empty(START + 59_000));
        assert!(window.is_empty(START + 61_000));
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing() {
        let mut window = Window::new(Period::Minute);
        window.take(5, 5, START).unwrap();
        assert!(window.take(1, 5, START - 3_600_000).is_err());
        assert_eq!(window.total, 5);
        window.take(5, 5, START + 61_000).unwrap();
    }

    /// Against every event kept with its time.
    #[test]
    fn no_stretch_of_a_period_has_more_than_the_limit() {
        let (limit, period_ms) = (50, 60_000);
        let mut window = Window::new(Period::Minute);
        let (mut now, mut seed, mut refused) = (START, 1u64, 0);
        let mut events: VecDeque<(u64, u64)> = VecDeque::new();
        for _ in 0..20_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += (seed >> 33) % 4_000;
            let amount = (seed >> 13) % 6;
            while events.front().is_some_and(|&(at, _)| at + period_ms <= now) {
                events.pop_front();
            }
            let used: u64 = events.iter().map(|(_, amount)| amount).sum();
            match window.take(amount, limit, now) {
                Ok(()) => {
                    assert!(used + amount <= limit);
                    events.push_back((now, amount));
                }
                Err(Full { fits_at }) => {
                    refused += 1;
                    // It is not refused for what is older than a period and a part.
                    assert!(fits_at.unwrap() > now && fits_at.unwrap() <= now + 61_000);
                }
            }
        }
        assert!(refused > 1000, "{refused}");
    }
}
