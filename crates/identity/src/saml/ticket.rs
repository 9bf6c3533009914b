//! What a browser keeps of a login that it has begun: a cookie. The request that goes to the provider
//! is named by its hash, so whoever brings a response and this has begun what the response answers;
//! nothing has to be kept here of logins that are only begun.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::NoRandomness;
use crate::random;

/// The longest that is looked at; browsers keep cookies of 4096 bytes.
const TICKET_BYTES_MAX: usize = 3800;

/// Of what a program asks to be given back unread.
const STATE_BYTES_MAX: usize = 256;
const REDIRECT_BYTES_MAX: usize = 256;

/// SHA-256 in base64url.
const CHALLENGE_BYTES: usize = 43;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    text: String,
    says: Says,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Says {
    /// 256 random bits: the name of the request is seen by others, and this must not follow from it.
    nonce: String,
    issuer: String,
    back: Option<Back>,
}

/// A program on the person's own machine that waits for the outcome (RFC 8252, RFC 7636).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Back {
    redirect: String,
    challenge: String,
    state: String,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum NotALoopback {
    #[error("`redirect` is not http://127.0.0.1:PORT/… or http://[::1]:PORT/…")]
    Redirect,
    #[error("`challenge` is not a SHA-256 in base64url (RFC 7636)")]
    Challenge,
    #[error(
        "`state` has more than {STATE_BYTES_MAX} bytes, or others than letters, digits, - and _"
    )]
    State,
}

impl Ticket {
    pub fn generate(issuer: &str, back: Option<Back>) -> Result<Ticket, NoRandomness> {
        let nonce = URL_SAFE_NO_PAD.encode(random::bytes::<32>()?);
        let says = Says { nonce, issuer: issuer.to_owned(), back };
        let json = serde_json::to_vec(&says).map_err(|_| NoRandomness)?;
        Ok(Ticket { text: URL_SAFE_NO_PAD.encode(json), says })
    }

    /// As a browser brings it back, which may have made it up.
    pub fn read(text: &str) -> Option<Ticket> {
        let text = Some(text).filter(|text| text.len() <= TICKET_BYTES_MAX)?;
        let says: Says = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        if let Some(Back { redirect, challenge, state }) = &says.back {
            Back::new(redirect, challenge, state).ok()?;
        }
        Some(Ticket { text: text.to_owned(), says })
    }

    /// For the cookie: letters, digits, `-` and `_`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Of the request, as XML takes it.
    pub fn name(&self) -> String {
        let hash = digest(&SHA256, self.text.as_bytes());
        let hex = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        format!("_{}", hex.collect::<String>())
    }

    /// Where the login is.
    pub fn issuer(&self) -> &str {
        &self.says.issuer
    }

    pub fn back(&self) -> Option<&Back> {
        self.says.back.as_ref()
    }
}

impl Back {
    pub fn new(redirect: &str, challenge: &str, state: &str) -> Result<Back, NotALoopback> {
        let is_plain = |text: &str| {
            text.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
        };
        if !is_loopback(redirect) {
            return Err(NotALoopback::Redirect);
        }
        if challenge.len() != CHALLENGE_BYTES || !is_plain(challenge) {
            return Err(NotALoopback::Challenge);
        }
        if state.len() > STATE_BYTES_MAX || !is_plain(state) {
            return Err(NotALoopback::State);
        }
        let [redirect, challenge, state] = [redirect, challenge, state].map(str::to_owned);
        Ok(Back { redirect, challenge, state })
    }

    /// Where the browser is to go, with what opens the outcome once.
    pub fn address(&self, code: &str) -> String {
        format!("{}?code={code}&state={}", self.redirect, self.state)
    }

    pub fn challenge(&self) -> &str {
        &self.challenge
    }

    /// Whether this is what the challenge was made of.
    pub fn is_answered_by(challenge: &str, verifier: &str) -> bool {
        URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes())) == challenge
    }
}

/// An address of this machine in digits, a port, and a path of the plainest letters: no user, no query,
/// no fragment, and no name that could mean another machine.
fn is_loopback(redirect: &str) -> bool {
    let rest =
        ["http://127.0.0.1:", "http://[::1]:"].iter().find_map(|it| redirect.strip_prefix(it));
    let Some((port, path)) = rest.and_then(|rest| rest.split_once('/')) else { return false };
    let is_path = |it: u8| it.is_ascii_alphanumeric() || b"-_/".contains(&it);
    redirect.len() <= REDIRECT_BYTES_MAX
        && port.bytes().all(|it| it.is_ascii_digit())
        && port.parse::<u16>().is_ok_and(|port| port > 0)
        && path.bytes().all(is_path)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

    #[test]
    fn a_ticket_comes_back_and_names_its_request() {
        let back = Back::new("http://127.0.0.1:4711/done", CHALLENGE, "s-1").unwrap();
        for back in [None, Some(back)] {
            let ticket = Ticket::generate("https://idp.example", back.clone()).unwrap();
            let read = Ticket::read(ticket.text()).unwrap();
            assert_eq!(read, ticket);
            assert_eq!((read.issuer(), read.back()), ("https://idp.example", back.as_ref()));
            assert_eq!(read.name().len(), 65);
            let other = Ticket::generate("https://idp.example", back).unwrap();
            assert_ne!(read.name(), other.name());
        }
    }

    #[test]
    fn what_is_no_ticket_is_none() {
        let of = |json: &str| URL_SAFE_NO_PAD.encode(json);
        let back = |redirect: &str| {
            of(&format!(
                r#"{{"nonce":"n","issuer":"i","back":{{"redirect":"{redirect}","challenge":"{CHALLENGE}","state":""}}}}"#
            ))
        };
        assert!(Ticket::read(&back("http://127.0.0.1:1/")).is_some());
        for wrong in [
            String::new(),
            "%".to_owned(),
            of("{}"),
            of(r#"{"nonce":"n","issuer":"i","back":null,"more":1}"#),
            back("https://evil.example/"),
            "A".repeat(TICKET_BYTES_MAX + 1),
        ] {
            assert_eq!(Ticket::read(&wrong), None, "{wrong:.80}");
        }
    }

    #[test]
    fn redirects_stay_on_the_machine() {
        let of = |redirect: &str| Back::new(redirect, CHALLENGE, "s").map(drop);
        for right in ["http://127.0.0.1:1/", "http://127.0.0.1:65535/a/b", "http://[::1]:80/x"] {
            assert_eq!(of(right), Ok(()), "{right}");
        }
        for wrong in [
            "",
            "http://127.0.0.1/",
            "http://127.0.0.1:80",
            "http://127.0.0.1:0/",
            "http://127.0.0.1:65536/",
            "http://127.0.0.1:+80/",
            "http://127.0.0.1:80@evil.example/",
            "http://127.0.0.1:@evil.example/",
            "http://127.0.0.1:80/?a=b",
            "http://127.0.0.1:80/#x",
            "http://127.0.0.1:80/\"><script>",
            "http://127.0.0.1:80/%0a",
            "http://127.0.0.1.evil.example:80/",
            "http://localhost:80/",
            "http://10.0.0.1:80/",
            "https://127.0.0.1:80/",
            "javascript:alert(1)",
        ] {
            assert_eq!(of(wrong), Err(NotALoopback::Redirect), "{wrong}");
        }
        let here = "http://127.0.0.1:80/";
        let short = CHALLENGE.split_at(42).0;
        assert_eq!(Back::new(here, short, "s"), Err(NotALoopback::Challenge));
        assert_eq!(Back::new(here, CHALLENGE, "a&b"), Err(NotALoopback::State));
        assert_eq!(Back::new(here, CHALLENGE, &"s".repeat(257)), Err(NotALoopback::State));
    }

    /// The example of RFC 7636.
    #[test]
    fn a_verifier_answers_its_challenge() {
        assert!(Back::is_answered_by(CHALLENGE, VERIFIER));
        assert!(!Back::is_answered_by(CHALLENGE, CHALLENGE));
        assert!(!Back::is_answered_by(CHALLENGE, ""));
    }
}
