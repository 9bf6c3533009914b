//! SCRAM messages as text: attributes `x=value` between commas, base64. What they mean is the
//! business of `client` and `server`. Everything here is bytes: a user name in a message can be in
//! any encoding, and PostgreSQL ignores it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ScramError;
use crate::random::{self, NoRandomness};

/// The longest message either side accepts, as PostgreSQL's `PG_MAX_SASL_MESSAGE_LENGTH`.
pub const MESSAGE_BYTES_MAX: usize = 1024;

/// As many as PostgreSQL's `SCRAM_RAW_NONCE_LEN`.
const NONCE_BYTES: usize = 18;

/// What is left to read of a message.
pub(super) struct Message<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Message<'a> {
    pub(super) fn new(whole: &'a [u8]) -> Result<Self, ScramError> {
        if whole.len() > MESSAGE_BYTES_MAX {
            return Err(ScramError::TooLong);
        }
        if whole.is_empty() {
            return Err(ScramError::Malformed("the message is empty"));
        }
        if whole.contains(&0) {
            return Err(ScramError::Malformed("a zero byte"));
        }
        Ok(Message { whole, rest: whole })
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Everything that was read so far.
    pub(super) fn read(&self) -> &'a [u8] {
        self.whole.strip_suffix(self.rest).unwrap_or(self.whole)
    }

    /// The next byte, if it is this one.
    pub(super) fn skip(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((&first, rest)) if first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// The value of the next attribute, which must have this name.
    pub(super) fn attribute(
        &mut self,
        name: u8,
        missing: &'static str,
    ) -> Result<&'a [u8], ScramError> {
        match self.any_attribute()? {
            (found, value) if found == name => Ok(value),
            _ => Err(ScramError::Malformed(missing)),
        }
    }

    pub(super) fn any_attribute(&mut self) -> Result<(u8, &'a [u8]), ScramError> {
        let Some((&[name, b'='], rest)) = self.rest.split_first_chunk() else {
            return Err(ScramError::Malformed("an attribute was expected"));
        };
        if !name.is_ascii_alphabetic() {
            return Err(ScramError::Malformed("an attribute's name is not a letter"));
        }
        let mut parts = rest.splitn(2, |&byte| byte == b',');
        let value = parts.next().unwrap_or_default();
        self.rest = parts.next().unwrap_or_default();
        Ok((name, value))
    }

    pub(super) fn end(&self) -> Result<(), ScramError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(ScramError::Malformed("something follows the end of the message"))
        }
    }
}

/// Printable as RFC 5802 means it: visible ASCII without the comma.
pub(super) fn is_printable(text: &[u8]) -> bool {
    text.iter().all(|byte| byte.is_ascii_graphic() && *byte != b',')
}

pub(super) fn nonce() -> Result<String, NoRandomness> {
    Ok(encode(&random::bytes::<NONCE_BYTES>()?))
}

pub(super) fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

pub(super) fn decode(text: &[u8], malformed: &'static str) -> Result<Vec<u8>, ScramError> {
    STANDARD.decode(text).map_err(|_| ScramError::Malformed(malformed))
}

/// A decimal number without a sign: `parse` alone would take `+1`.
pub(super) fn decimal(text: &[u8]) -> Option<u32> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(text).ok()?.parse().ok()
}
