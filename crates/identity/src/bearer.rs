//! OAUTHBEARER (RFC 7628) as the server speaks it: what a client says first, and what it is told
//! when that opens nothing. It follows PostgreSQL's `auth-oauth.c`. Whether a token is any good is
//! the business of `oidc`.

use std::fmt;

use serde_json::json;
use thiserror::Error;

/// As it is offered.
pub const OAUTHBEARER: &str = "OAUTHBEARER";

/// What a client that was refused says, and then nothing more.
pub const ACKNOWLEDGED: &[u8] = b"\x01";

const SEPARATOR: u8 = 1;

/// What a client's first message asks for.
#[derive(Clone, PartialEq, Eq)]
pub enum First {
    /// To be told where tokens come from.
    Discovery,
    Token(Vec<u8>),
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BearerError {
    #[error("malformed OAUTHBEARER message: {0}")]
    Malformed(&'static str),
    #[error("client requires SCRAM channel binding, which OAUTHBEARER does not have")]
    Binding,
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
}

impl First {
    pub fn read(message: &[u8]) -> Result<First, BearerError> {
        let malformed = BearerError::Malformed;
        let rest = match message {
            [b'p', ..] => return Err(BearerError::Binding),
            [b'n' | b'y', b',', rest @ ..] => rest,
            _ => return Err(malformed("unexpected channel-binding flag")),
        };
        let rest = match rest {
            [b',', SEPARATOR, rest @ ..] => rest,
            [b'a', ..] => return Err(BearerError::AuthorizationIdentity),
            _ => return Err(malformed("unexpected attribute")),
        };
        // Each pair ends with the separator, and an empty one ends the message.
        let pairs = rest
            .strip_suffix(&[SEPARATOR])
            .ok_or(malformed("it does not end as it has to"))?
            .split_inclusive(|byte| *byte == SEPARATOR);
        let mut auth = None;
        for pair in pairs {
            let pair = pair.strip_suffix(&[SEPARATOR]).ok_or(malformed("an unended value"))?;
            let equals = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(equals.ok_or(malformed("a name without a value"))?);
            let value = value.get(1..).unwrap_or_default();
            let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_alphabetic);
            if !is_name || !value.iter().all(|it| matches!(it, b'\t' | b'\n' | b'\r' | 32..127)) {
                return Err(malformed("a name or a value with other characters than it may have"));
            }
            if name == b"auth" && auth.replace(value).is_some() {
                return Err(malformed("`auth` is there twice"));
            }
        }
        match auth.ok_or(malformed("it has no `auth`"))? {
            b"" => Ok(First::Discovery),
            value => token(value).map(First::Token),
        }
    }
}

/// A token is nobody's to print.
impl fmt::Debug for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            First::Discovery => "Discovery",
            First::Token(_) => "Token(…)",
        })
    }
}

/// `Bearer`, in whatever case, spaces, and a token of RFC 6750.
fn token(auth: &[u8]) -> Result<Vec<u8>, BearerError> {
    let wrong = BearerError::Malformed("`auth` is not a bearer token");
    let (scheme, rest) = auth.split_at_checked(b"Bearer ".len()).ok_or(wrong)?;
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return Err(wrong);
    }
    let token = rest.trim_ascii_start();
    let unpadded = token.iter().rev().skip_while(|byte| **byte == b'=').count();
    let (characters, _padding) = token.split_at_checked(unpadded).ok_or(wrong)?;
    let is_one = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
    if characters.is_empty() || !characters.iter().all(is_one) {
        return Err(wrong);
    }
    Ok(token.to_vec())
}

/// Tells where tokens come from, so that a client can fetch one by itself and come back with it.
pub fn discovery(configuration_url: &str, scope: &str) -> String {
    json!({
        "status": "invalid_token",
        "openid-configuration": configuration_url,
        "scope": scope,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn first_messages() {
        let token = |text: &str| Ok(First::Token(text.as_bytes().to_vec()));
        let wrong = |message: &[u8]| matches!(First::read(message), Err(BearerError::Malformed(_)));
        for (message, expected) in [
            (&b"n,,\x01auth=Bearer abc.def-_~+/==\x01\x01"[..], token("abc.def-_~+/==")),
            (b"y,,\x01auth=bearer   a\x01\x01", token("a")),
            (b"n,,\x01host=x\x01auth=Bearer a\x01port=1\x01\x01", token("a")),
            (b"n,,\x01auth=\x01\x01", Ok(First::Discovery)),
            (b"p=tls-exporter,,\x01auth=Bearer a\x01\x01", Err(BearerError::Binding)),
            (b"n,a=you,\x01auth=Bearer a\x01\x01", Err(BearerError::AuthorizationIdentity)),
        ] {
            assert_eq!(First::read(message), expected, "{message:?}");
        }
        for message in [
            &b""[..],
            b"n",
            b"n,",
            b"n,,",
            b"x,,\x01auth=\x01\x01",
            b"n,,\x01\x01",
            b"n,,\x01auth=Bearer a\x01",
            b"n,,\x01auth=Bearer a",
            b"n,,auth=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer a\x01auth=Bearer b\x01\x01",
            b"n,,\x01auth\x01\x01",
            b"n,,\x01=Bearer a\x01\x01",
            b"n,,\x01au th=Bearer a\x01\x01",
            b"n,,\x01auth=Bearer \x01\x01",
            b"n,,\x01auth=Bearer ==\x01\x01",
            b"n,,\x01auth=Bearer a=b\x01\x01",
            b"n,,\x01auth=Bearer a b\x01\x01",
            b"n,,\x01auth=Basic a\x01\x01",
            b"n,,\x01auth=Bearer \xff\x01\x01",
            b"n,,\x01auth=Bearer a\x01\x01\x01",
            b"n,,\x01other=a\x01\x01",
        ] {
            assert!(wrong(message), "{message:?}");
        }
    }

    #[test]
    fn a_token_is_not_printed() {
        let first = First::read(b"n,,\x01auth=Bearer hush\x01\x01");
        assert_eq!(format!("{first:?}"), "Ok(Token(…))");
    }

    proptest! {
        #[test]
        fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = First::read(&bytes);
            let _ = First::read(&[b"n,,\x01", &bytes[..]].concat());
        }
    }
}
