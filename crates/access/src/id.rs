//! Names of requests, grants and holds: 64 random bits in hexadecimal, behind a word that says
//! what it is, so that a person who reads one in a message knows what to do with it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::StateError;

const RANDOM_BYTES: usize = 8;
const HEX_DIGITS: usize = 2 * RANDOM_BYTES;

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("`{0}` is not the name of a {1}")]
pub struct NotAnId(pub String, pub &'static str);

macro_rules! id {
    ($(#[$about:meta])* $name:ident, $prefix:literal, $what:literal) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Box<str>);

        impl $name {
            pub const PREFIX: &str = $prefix;

            pub fn random() -> Result<Self, StateError> {
                Ok(Self(format!("{}{}", $prefix, random_hex()?).into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Without the word before it.
            pub fn hex(&self) -> &str {
                self.0.strip_prefix($prefix).unwrap_or_default()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;

            fn from_str(text: &str) -> Result<Self, NotAnId> {
                match text.strip_prefix($prefix) {
                    Some(hex) if is_hex(hex) => Ok(Self(text.into())),
                    _ => Err(NotAnId(text.to_owned(), $what)),
                }
            }
        }
    };
}

id!(RequestId, "req_", "request");
id!(
    /// Its `hex` is fit for the name of a database role.
    GrantId,
    "grant_",
    "grant"
);
id!(HoldId, "hold_", "hold");

fn is_hex(text: &str) -> bool {
    text.len() == HEX_DIGITS && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

fn random_hex() -> Result<String, StateError> {
    let mut bytes = [0; RANDOM_BYTES];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| StateError::Random)?;
    Ok(hex(&bytes))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut out, byte| {
        // Writing to a String can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_says_what_it_is() {
        let grant = GrantId::random().unwrap();
        assert_eq!(grant.to_string().parse(), Ok(grant.clone()));
        assert_eq!(grant.hex().len(), 16);
        assert!(grant.as_str().parse::<HoldId>().is_err());
        assert_ne!(grant, GrantId::random().unwrap());
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in
            ["", "hold_", "hold_0123456789abcde", "hold_0123456789ABCDEF", "0123456789abcdef"]
        {
            assert!(text.parse::<HoldId>().is_err(), "{text}");
        }
    }
}
