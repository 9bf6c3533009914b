//! Tokens: the secrets that Gatepost itself hands out. A token is used as a password; what is kept
//! of it is a `scram::Verifier`, which this module doesn't make.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::random::{self, NoRandomness};

/// What every token begins with, so that people and secret scanners know one when they see it.
pub const PREFIX: &str = "gp_";

/// 256 random bits: nobody guesses one, so 4096 rounds of PBKDF2 are only there because the
/// protocol wants them.
const RANDOM_BYTES: usize = 32;

/// A token that was just made. Its text exists here and with whoever it is given to.
pub struct Token(String);

impl Token {
    pub fn generate() -> Result<Self, NoRandomness> {
        let bytes = random::bytes::<RANDOM_BYTES>()?;
        Ok(Token(format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))))
    }

    /// The secret itself, to be shown once. There is no `Display`, so that it isn't shown by
    /// accident.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// What is kept of a secret with so much randomness, where it is sent as it is. It is found by it, and
/// nobody finds it from there.
pub fn hash(secret: &str) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_a_prefix_and_43_characters_that_need_no_quoting() {
        let token = Token::generate().unwrap();
        let random = token.text().strip_prefix("gp_").unwrap();
        assert_eq!(random.len(), 43);
        assert!(random.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        assert_ne!(token.text(), Token::generate().unwrap().text());
    }

    #[test]
    fn debug_shows_nothing_of_it() {
        assert_eq!(format!("{:?}", Token::generate().unwrap()), "Token(…)");
    }
}
