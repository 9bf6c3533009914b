//! The identity providers that the file names, and their keys: fetched, remembered, fetched again
//! before they are too old or when a token names one that isn't known. What a token has to be is
//! the business of `identity::oidc`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use identity::oidc::{
    Discovery, DiscoveryError, KEY_SET_BYTES_MAX, KeySet, KeySetError, Proven, Token, TokenError,
    configuration_url,
};
use tokio::sync::Mutex;

use crate::fetch::{FetchError, NotAWebAddress, WebAddress};
use crate::settings::Issuer;

/// Of a provider's description of itself.
const DISCOVERY_BYTES_MAX: usize = 128 << 10;

/// After this part of their age keys are fetched again, while they still serve.
const REFRESH_AFTER: f64 = 0.5;

/// A key that nobody knows makes us ask at most this often. A login waits for its turn.
const UNKNOWN_KEY_PAUSE: Duration = Duration::from_secs(2);

/// After failures the next attempt waits for 1, 2, 4… seconds, up to these.
const FAILURE_PAUSE_MAX: Duration = Duration::from_secs(16);

/// A provider and what is known of its keys.
pub(crate) struct Provider {
    pub(crate) issuer: Arc<Issuer>,
    known: ArcSwapOption<Known>,
    /// One fetches, the others wait for what it brings.
    asking: Mutex<Asking>,
}

struct Known {
    keys: KeySet,
    since: Instant,
}

#[derive(Default)]
struct Asking {
    last: Option<Instant>,
    /// In a row.
    failures: u32,
}

/// Why a token opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unproven {
    Token(TokenError),
    /// Nobody can say, for the keys are not to be had.
    NoKeys,
    /// Nobody can say, for the store can't be asked.
    NoStore,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {why}")]
pub struct KeysError {
    url: String,
    why: Why,
}

#[derive(Debug, thiserror::Error)]
enum Why {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error("the description of the issuer can't be used: {0}")]
    Discovery(#[from] DiscoveryError),
    #[error("the key set can't be used: {0}")]
    Keys(#[from] KeySetError),
}

/// The issuer's keys, asked for now.
pub async fn fetch_keys(issuer: &Issuer) -> Result<KeySet, KeysError> {
    let url = configuration_url(&issuer.oidc.url);
    let failed = |why: Why| KeysError { url: url.clone(), why };
    let address = WebAddress::read(&url).map_err(|error| failed(FetchError::from(error).into()))?;
    let document = address.get(&issuer.tls, DISCOVERY_BYTES_MAX).await;
    let document = document.map_err(|error| failed(error.into()))?;
    let found = Discovery::read(&document, &issuer.oidc.url);
    let url = found.map_err(|error| failed(error.into()))?.keys;

    let failed = |why: Why| KeysError { url: url.clone(), why };
    let keys = WebAddress::read(&url).map_err(|error| failed(FetchError::from(error).into()))?;
    // What was found under TLS does not lead out of it.
    if address.is_secure() && !keys.is_secure() {
        return Err(failed(FetchError::from(NotAWebAddress).into()));
    }
    let bytes = keys.get(&issuer.tls, KEY_SET_BYTES_MAX).await;
    let bytes = bytes.map_err(|error| failed(error.into()))?;
    KeySet::read(&bytes).map_err(|error| failed(error.into()))
}

impl Provider {
    /// With what `before` knows, if it is about the same issuer.
    pub(crate) fn new(issuer: Arc<Issuer>, before: Option<&Provider>) -> Arc<Provider> {
        let before = before.and_then(|before| before.known.load_full());
        let provider = Arc::new(Provider {
            issuer,
            known: ArcSwapOption::new(before),
            asking: Mutex::default(),
        });
        provider.clone().look_again();
        provider
    }

    /// Checks a token that names this issuer; `now` is in Unix seconds.
    pub(crate) async fn prove(
        self: &Arc<Self>,
        token: &Token<'_>,
        now: i64,
    ) -> Result<Proven, Unproven> {
        let known = self.usable().await.ok_or(Unproven::NoKeys)?;
        match token.prove(&self.issuer.oidc, &known.keys, now) {
            Err(TokenError::UnknownKey) => {
                let newer = self.ask(Some(known.since)).await.ok_or(Unproven::NoKeys)?;
                token.prove(&self.issuer.oidc, &newer.keys, now).map_err(Unproven::Token)
            }
            proven => proven.map_err(Unproven::Token),
        }
    }

    /// Keys that are young enough.
    async fn usable(self: &Arc<Self>) -> Option<Arc<Known>> {
        let age_max = self.issuer.keys_age_max;
        match self.known.load_full().filter(|known| known.since.elapsed() < age_max) {
            Some(known) => {
                if known.since.elapsed() >= age_max.mul_f64(REFRESH_AFTER) {
                    self.clone().look_again();
                }
                Some(known)
            }
            None => self.ask(None).await,
        }
    }

    /// Fetches them without letting anybody wait. That somebody does already is enough.
    fn look_again(self: Arc<Self>) {
        tokio::spawn(async move {
            if let Ok(mut asking) = self.asking.try_lock()
                && asking.wait().is_zero()
            {
                self.fetch(&mut asking).await;
            }
        });
    }

    /// Keys that were asked for after `since`, or that are young enough. `None` where none are to
    /// be had now; the log says why.
    async fn ask(&self, since: Option<Instant>) -> Option<Arc<Known>> {
        let mut asking = self.asking.lock().await;
        // Somebody else has asked while we waited.
        let known = self.known.load_full().filter(|known| match since {
            Some(since) => known.since > since,
            None => known.since.elapsed() < self.issuer.keys_age_max,
        });
        if known.is_some() {
            return known;
        }
        let wait = asking.wait();
        if asking.failures > 0 && !wait.is_zero() {
            return None;
        }
        let unknown_key = asking.last.map(|last| last + UNKNOWN_KEY_PAUSE);
        if let (Some(then), Some(_)) = (unknown_key, since) {
            tokio::time::sleep_until(then.into()).await;
        }
        self.fetch(&mut asking).await
    }

    async fn fetch(&self, asking: &mut Asking) -> Option<Arc<Known>> {
        let since = Instant::now();
        asking.last = Some(since);
        match fetch_keys(&self.issuer).await {
            Ok(keys) => {
                let (issuer, count) = (&self.issuer.oidc.url, keys.count());
                if asking.failures > 0 {
                    tracing::info!(issuer, keys = count, "the issuer's keys can be fetched again");
                } else {
                    tracing::debug!(issuer, keys = count, "the issuer's keys have been fetched");
                }
                asking.failures = 0;
                let known = Arc::new(Known { keys, since });
                self.known.store(Some(known.clone()));
                Some(known)
            }
            Err(error) => {
                asking.failures = asking.failures.saturating_add(1);
                tracing::error!(
                    issuer = self.issuer.oidc.url, %error, "the issuer's keys can't be fetched"
                );
                None
            }
        }
    }
}

impl Asking {
    /// How long it is until a failed attempt may be repeated.
    fn wait(&self) -> Duration {
        let (Some(last), Some(doublings)) = (self.last, self.failures.checked_sub(1)) else {
            return Duration::ZERO;
        };
        let pause = Duration::from_secs(1).saturating_mul(2u32.saturating_pow(doublings));
        pause.min(FAILURE_PAUSE_MAX).saturating_sub(last.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_repeated_later_and_later_up_to_a_bound() {
        let wait = |failures| Asking { last: Some(Instant::now()), failures }.wait();
        assert_eq!(wait(0), Duration::ZERO);
        for (failures, seconds) in [(1, 1), (2, 2), (3, 4), (5, 16), (6, 16), (u32::MAX, 16)] {
            let (wait, expected) = (wait(failures), Duration::from_secs(seconds));
            assert!(wait <= expected, "{failures}: {wait:?}");
            assert!(wait + Duration::from_millis(500) > expected, "{failures}: {wait:?}");
        }
        assert_eq!(Asking { last: None, failures: 3 }.wait(), Duration::ZERO);
    }
}
