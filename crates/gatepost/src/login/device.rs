//! A login without a browser on this machine: the device flow (RFC 8628). A code is shown, a person
//! types it elsewhere, and the provider is asked from time to time.

use std::time::Duration;

use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::provider::{Provider, ProviderError, Tokens};
use super::{LOGIN_TIME, LoginError, note};
use crate::table::plain;

/// Between two questions, where the provider says nothing about it.
const INTERVAL: Duration = Duration::from_secs(5);

/// What a provider that is asked too often wants more.
const SLOWER: Duration = Duration::from_secs(5);

/// No provider is waited for longer than this between two questions.
const INTERVAL_MAX: Duration = Duration::from_secs(60);

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

#[derive(Deserialize)]
struct Begun {
    device_code: String,
    user_code: String,
    verification_uri: String,
    verification_uri_complete: Option<String>,
    expires_in: u64,
    interval: Option<u64>,
}

pub(super) async fn log_in(provider: &Provider, scopes: &[String]) -> Result<Tokens, LoginError> {
    let endpoint = provider.endpoints.device.as_deref();
    let endpoint = endpoint.ok_or(ProviderError::Odd("it has no device flow"))?;
    let scope = scopes.join(" ");
    let resource = provider.client.resource.as_deref().map(|resource| ("resource", resource));
    let form: Vec<_> = [("scope", &*scope)].into_iter().chain(resource).collect();
    let begun: Begun = provider.ask(endpoint, &form).await?;
    note(&shown(&begun));

    let until = Instant::now() + Duration::from_secs(begun.expires_in).min(LOGIN_TIME);
    let mut pace = Pace::new(begun.interval);
    let form: Vec<_> = [("grant_type", GRANT), ("device_code", &begun.device_code)]
        .into_iter()
        .chain(resource)
        .collect();
    loop {
        let next = Instant::now() + pace.interval;
        if next > until {
            return Err(LoginError::Late);
        }
        sleep_until(next).await;
        match provider.tokens(&form).await {
            Ok(tokens) => return Ok(tokens),
            Err(error) => pace.after(error)?,
        }
    }
}

fn shown(begun: &Begun) -> String {
    let (at, code) = (plain(&begun.verification_uri), plain(&begun.user_code));
    let complete = begun.verification_uri_complete.as_deref();
    let complete = complete.map(|uri| format!("\nor go to {}", plain(uri))).unwrap_or_default();
    format!("go to {at} with any browser, and enter the code {code}{complete}")
}

/// How often the provider is asked.
struct Pace {
    interval: Duration,
}

impl Pace {
    fn new(interval: Option<u64>) -> Pace {
        let interval = interval.map_or(INTERVAL, Duration::from_secs);
        Pace { interval: interval.clamp(Duration::from_secs(1), INTERVAL_MAX) }
    }

    /// Goes on after what means "not yet" (section 3.5).
    fn after(&mut self, error: ProviderError) -> Result<(), LoginError> {
        let interval = match (error.said(), &error) {
            (Some("authorization_pending"), _) => self.interval,
            (Some("slow_down"), _) => self.interval + SLOWER,
            (Some("expired_token"), _) => return Err(LoginError::Late),
            (Some("access_denied"), _) => return Err(LoginError::Denied),
            // A provider that can't be reached now may be in a while.
            (None, ProviderError::Fetch(..)) => self.interval * 2,
            _ => return Err(error.into()),
        };
        self.interval = interval.min(INTERVAL_MAX);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gateway::fetch::FetchError;

    use super::*;

    fn said(error: &str) -> ProviderError {
        ProviderError::Said(error.to_owned(), None)
    }

    #[test]
    fn a_provider_is_asked_as_often_as_it_likes() {
        let seconds = |pace: &Pace| pace.interval.as_secs();
        assert_eq!(seconds(&Pace::new(None)), 5);
        assert_eq!(seconds(&Pace::new(Some(0))), 1);
        assert_eq!(seconds(&Pace::new(Some(u64::MAX))), 60);
        let mut pace = Pace::new(Some(2));
        for (error, expected) in [
            (said("authorization_pending"), 2),
            (said("slow_down"), 7),
            (said("authorization_pending"), 7),
            (ProviderError::Fetch(String::new(), FetchError::Late), 14),
        ] {
            assert!(pace.after(error).is_ok());
            assert_eq!(seconds(&pace), expected);
        }
        for _ in 0..20 {
            assert!(pace.after(said("slow_down")).is_ok());
        }
        assert_eq!(seconds(&pace), 60);
    }

    #[test]
    fn what_ends_it() {
        let ends = |error| Pace::new(None).after(error).unwrap_err();
        assert!(matches!(ends(said("expired_token")), LoginError::Late));
        assert!(matches!(ends(said("access_denied")), LoginError::Denied));
        assert!(matches!(ends(said("invalid_grant")), LoginError::Provider(_)));
        assert!(matches!(ends(ProviderError::Odd("x")), LoginError::Provider(_)));
    }

    #[test]
    fn what_is_shown_steers_no_terminal() {
        let begun = Begun {
            device_code: "hush".to_owned(),
            user_code: "AB\u{1b}[2J".to_owned(),
            verification_uri: "https://idp/device".to_owned(),
            verification_uri_complete: None,
            expires_in: 1,
            interval: None,
        };
        let text = shown(&begun);
        assert_eq!(
            text,
            "go to https://idp/device with any browser, and enter the code AB\\u{1b}[2J"
        );
    }
}
