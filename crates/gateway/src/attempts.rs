//! Logins that fail, counted for each address and each name. Who has failed too often is refused
//! before a secret is looked at, so guessing gets slow, whether the name exists or not.
//!
//! Who has logged in from an address under a name has an account of that pair alone. So nobody is
//! kept out by what others do under the same name from elsewhere, or behind the same address under
//! other names.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Accounts that are kept. Beyond them the one that has failed least is forgotten.
const ACCOUNTS_MAX: usize = 20_000;

/// In which as many failures are forgiven as may have happened at once.
const PERIOD: Duration = Duration::from_secs(60);

pub(crate) struct Attempts {
    /// By a hash that nobody else can compute: names are as long as clients like.
    accounts: Mutex<HashMap<u64, Account>>,
    hasher: RandomState,
}

#[derive(Clone, Copy)]
struct Account {
    /// May go past the bound, where several were under way at once; it is paid for in time.
    failures: f64,
    at: Instant,
}

/// Who tries to log in.
#[derive(Clone, Copy)]
pub(crate) struct Visitor<'a> {
    /// `None` over a Unix socket.
    pub(crate) address: Option<IpAddr>,
    pub(crate) name: &'a str,
}

impl Attempts {
    pub(crate) fn new() -> Attempts {
        Attempts { accounts: Mutex::default(), hasher: RandomState::new() }
    }

    /// How long it is until they may try, if they may not now.
    pub(crate) fn wait(&self, who: Visitor<'_>, bound: usize, now: Instant) -> Option<Duration> {
        let accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys(who, &accounts);
        let waits = keys.iter().filter_map(|key| accounts.get(key)?.wait(bound, now));
        waits.max()
    }

    pub(crate) fn failed(&self, who: Visitor<'_>, bound: usize, now: Instant) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        for key in self.keys(who, &accounts) {
            let failures = accounts.get(&key).map_or(0.0, |account| account.failures(bound, now));
            enter(&mut accounts, key, Account { failures: failures + 1.0, at: now }, bound);
        }
    }

    /// From now on they have an account of their own.
    pub(crate) fn succeeded(&self, who: Visitor<'_>, bound: usize, now: Instant) {
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = self.pair(who);
        let failures = accounts.get(&pair).map_or(0.0, |account| account.failures(bound, now));
        enter(&mut accounts, pair, Account { failures, at: now }, bound);
    }

    /// The accounts that this visitor's failures go to.
    fn keys(&self, who: Visitor<'_>, accounts: &HashMap<u64, Account>) -> Vec<u64> {
        let pair = self.pair(who);
        if accounts.contains_key(&pair) {
            return vec![pair];
        }
        vec![self.hasher.hash_one((1, network(who.address))), self.hasher.hash_one((2, who.name))]
    }

    fn pair(&self, who: Visitor<'_>) -> u64 {
        self.hasher.hash_one((3, network(who.address), who.name))
    }
}

impl Account {
    /// What is not forgiven yet.
    fn failures(self, bound: usize, now: Instant) -> f64 {
        let periods = now.saturating_duration_since(self.at).div_duration_f64(PERIOD);
        (self.failures - periods * bound as f64).max(0.0)
    }

    fn wait(self, bound: usize, now: Instant) -> Option<Duration> {
        let beyond = self.failures(bound, now) + 1.0 - bound as f64;
        (beyond > 0.0).then(|| PERIOD.mul_f64(beyond / bound as f64))
    }
}

fn enter(accounts: &mut HashMap<u64, Account>, key: u64, account: Account, bound: usize) {
    if accounts.len() >= ACCOUNTS_MAX && !accounts.contains_key(&key) {
        let least = |account: &Account| account.failures(bound, account.at);
        let by_guilt = |a: &(&u64, &Account), b: &(&u64, &Account)| {
            let guilt = least(a.1).total_cmp(&least(b.1));
            guilt.then_with(|| a.1.at.cmp(&b.1.at))
        };
        if let Some(forgotten) = accounts.iter().min_by(by_guilt).map(|(key, _)| *key) {
            accounts.remove(&forgotten);
        }
    }
    accounts.insert(key, account);
}

/// Who has one IPv6 address has as many as fit into 64 bits.
fn network(address: Option<IpAddr>) -> Option<IpAddr> {
    address.map(|address| match address.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() >> 64 << 64).into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: usize = 3;

    fn who<'a>(address: &str, name: &'a str) -> Visitor<'a> {
        Visitor { address: address.parse().ok(), name }
    }

    fn may(attempts: &Attempts, who: Visitor<'_>, now: Instant) -> bool {
        attempts.wait(who, BOUND, now).is_none()
    }

    #[test]
    fn an_address_and_a_name_at_the_bound_and_past_it() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for _ in 0..BOUND {
            assert!(may(&attempts, who("192.0.2.1", "a"), now));
            attempts.failed(who("192.0.2.1", "a"), BOUND, now);
        }
        for (address, name, expected) in [
            ("192.0.2.1", "a", false),
            ("192.0.2.1", "other", false),
            ("::ffff:192.0.2.1", "other", false),
            ("192.0.2.2", "a", false),
            ("unix", "a", false),
            ("192.0.2.2", "other", true),
            ("unix", "other", true),
        ] {
            assert_eq!(may(&attempts, who(address, name), now), expected, "{address} {name}");
        }
        // One failure is forgiven in a third of the period.
        let third = PERIOD / 3;
        let wait = attempts.wait(who("192.0.2.1", "a"), BOUND, now).unwrap();
        assert!(wait.abs_diff(third) < Duration::from_millis(1), "{wait:?}");
        assert!(may(&attempts, who("192.0.2.1", "a"), now + third * 101 / 100));
        attempts.failed(who("192.0.2.1", "a"), BOUND, now + third * 101 / 100);
        assert!(!may(&attempts, who("192.0.2.1", "a"), now + third * 101 / 100));
    }

    #[test]
    fn an_ipv6_network_is_one_address() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for n in 0..BOUND {
            let address = format!("2001:db8::{n}");
            attempts.failed(who(&address, &address), BOUND, now);
        }
        assert!(!may(&attempts, who("2001:db8::ffff", "a"), now));
        assert!(may(&attempts, who("2001:db8:0:1::", "a"), now));
    }

    /// Guessing under a name from elsewhere, and failing beside it, keep nobody out who was in.
    #[test]
    fn who_was_in_has_an_account_of_his_own() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        attempts.succeeded(who("192.0.2.1", "a"), BOUND, now);
        for _ in 0..9 {
            attempts.failed(who("192.0.2.9", "a"), BOUND, now);
            attempts.failed(who("192.0.2.1", "b"), BOUND, now);
        }
        assert!(may(&attempts, who("192.0.2.1", "a"), now));
        assert!(!may(&attempts, who("192.0.2.1", "b"), now));
        // His own failures count, success or not.
        for _ in 0..BOUND {
            attempts.failed(who("192.0.2.1", "a"), BOUND, now);
        }
        attempts.succeeded(who("192.0.2.1", "a"), BOUND, now);
        assert!(!may(&attempts, who("192.0.2.1", "a"), now));
        // And they are nobody else's.
        assert!(may(&attempts, who("192.0.2.2", "c"), now));
    }

    /// What ran at once before anything was counted is paid for.
    #[test]
    fn a_burst_is_paid_for() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for _ in 0..BOUND * 10 {
            attempts.failed(who("192.0.2.1", "a"), BOUND, now);
        }
        assert!(!may(&attempts, who("192.0.2.1", "a"), now + PERIOD * 9));
        assert!(may(&attempts, who("192.0.2.1", "a"), now + PERIOD * 10));
    }

    #[test]
    fn the_least_guilty_are_forgotten_first() {
        let (attempts, now) = (Attempts::new(), Instant::now());
        for _ in 0..BOUND {
            attempts.failed(who("192.0.2.1", "a"), BOUND, now);
        }
        for n in 0..ACCOUNTS_MAX {
            attempts.succeeded(who("192.0.2.7", &n.to_string()), BOUND, now);
        }
        assert_eq!(attempts.accounts.lock().unwrap().len(), ACCOUNTS_MAX);
        assert!(!may(&attempts, who("192.0.2.1", "a"), now));
    }
}
