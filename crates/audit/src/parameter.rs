//! A statement's parameter as it is recorded: its type's name, and its value as text where the
//! type says how to read it. Nothing here judges a value, and none is refused.

use std::borrow::Cow;
use std::fmt::Write as _;

use crate::json::{base64_field, name, number_field, string, string_field, word};

/// Of one parameter's value, as it was sent; the rest is left out and said to be.
pub const PARAMETER_BYTES_MAX: usize = 4096;

#[derive(Clone, Copy, Debug)]
pub struct Parameter<'a> {
    /// The type's oid, 0 where nobody has said it.
    pub oid: u32,
    pub binary: bool,
    /// What is here of it; `None` is NULL.
    pub value: Option<&'a [u8]>,
    /// How long the value was as it was sent.
    pub bytes: usize,
    /// Its value is kept out.
    pub secret: bool,
}

impl Parameter<'_> {
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"type\":");
        match type_name(self.oid) {
            Some(name) => word(out, name),
            None => string(out, &self.oid.to_string()),
        }
        match self.value {
            None => {
                name(out, "value");
                out.extend_from_slice(b"null");
            }
            Some(_) if self.secret => {
                name(out, "secret");
                out.extend_from_slice(b"true");
            }
            Some(value) => self.write_value(out, value),
        }
        out.push(b'}');
    }

    fn write_value(&self, out: &mut Vec<u8>, value: &[u8]) {
        let kept = value.get(..PARAMETER_BYTES_MAX).unwrap_or(value);
        let text = if self.binary {
            decode(self.oid, kept)
        } else {
            text(kept, kept.len() < self.bytes).map(Cow::Borrowed)
        };
        match text {
            Some(text) => string_field(out, "value", &text),
            None => base64_field(out, "base64", kept),
        }
        if kept.len() < self.bytes {
            number_field(out, "cut_from", self.bytes as u64);
        }
    }
}

/// A cut may have gone through a character, which then is left out too.
fn text(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(bytes.get(..error.valid_up_to())?).ok()
        }
        Err(_) => None,
    }
}

/// The oids of PostgreSQL's own types never change.
/// <https://github.com/postgres/postgres/blob/master/src/include/catalog/pg_type.dat>
fn type_name(oid: u32) -> Option<&'static str> {
    Some(match oid {
        0 => "unspecified",
        16 => "bool",
        17 => "bytea",
        19 => "name",
        20 => "int8",
        21 => "int2",
        23 => "int4",
        25 => "text",
        26 => "oid",
        114 => "json",
        700 => "float4",
        701 => "float8",
        705 => "unknown",
        1042 => "bpchar",
        1043 => "varchar",
        1082 => "date",
        1083 => "time",
        1114 => "timestamp",
        1184 => "timestamptz",
        1186 => "interval",
        1700 => "numeric",
        2950 => "uuid",
        3802 => "jsonb",
        _ => return None,
    })
}

fn decode(oid: u32, bytes: &[u8]) -> Option<Cow<'_, str>> {
    let owned = |text: String| Some(Cow::Owned(text));
    match oid {
        16 => match bytes {
            [0] => Some(Cow::Borrowed("f")),
            [1] => Some(Cow::Borrowed("t")),
            _ => None,
        },
        20 => owned(i64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        21 => owned(i16::from_be_bytes(bytes.try_into().ok()?).to_string()),
        23 => owned(i32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        26 => owned(u32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        700 => owned(f32::from_be_bytes(bytes.try_into().ok()?).to_string()),
        701 => owned(f64::from_be_bytes(bytes.try_into().ok()?).to_string()),
        19 | 25 | 114 | 705 | 1042 | 1043 => {
            text(bytes, bytes.len() == PARAMETER_BYTES_MAX).map(Cow::Borrowed)
        }
        2950 => uuid(bytes.try_into().ok()?),
        3802 => match bytes.split_first()? {
            (1, json) => text(json, bytes.len() == PARAMETER_BYTES_MAX).map(Cow::Borrowed),
            _ => None,
        },
        _ => None,
    }
}

fn uuid(bytes: [u8; 16]) -> Option<Cow<'static, str>> {
    let mut out = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        write!(out, "{byte:02x}").ok()?;
    }
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(oid: u32, binary: bool, value: Option<&[u8]>, expected: &str) {
        let mut out = Vec::new();
        let bytes = value.map_or(0, <[u8]>::len);
        Parameter { oid, binary, value, bytes, secret: false }.write(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn values_are_read_where_the_type_says_how() {
        check(23, true, Some(&[0xff, 0xff, 0xff, 0xfe]), r#"{"type":"int4","value":"-2"}"#);
        check(23, true, Some(&[0xff]), r#"{"type":"int4","base64":"/w=="}"#);
        check(23, false, Some(b"5"), r#"{"type":"int4","value":"5"}"#);
        check(25, true, None, r#"{"type":"text","value":null}"#);
        check(16, true, Some(&[1]), r#"{"type":"bool","value":"t"}"#);
        check(3802, true, Some(b"\x01[]"), r#"{"type":"jsonb","value":"[]"}"#);
        check(3802, true, Some(b"\x02[]"), r#"{"type":"jsonb","base64":"Altd"}"#);
        check(17, true, Some(b"abc"), r#"{"type":"bytea","base64":"YWJj"}"#);
        check(99999, false, Some(b"x"), r#"{"type":"99999","value":"x"}"#);
        check(0, false, Some(b"\xe9"), r#"{"type":"unspecified","base64":"6Q=="}"#);
        check(
            2950,
            true,
            Some(&[0xab; 16]),
            r#"{"type":"uuid","value":"abababab-abab-abab-abab-abababababab"}"#,
        );
    }

    #[test]
    fn a_long_value_is_cut_and_a_longest_one_is_not() {
        let mut value = "é".repeat(PARAMETER_BYTES_MAX / 2);
        check(
            25,
            false,
            Some(value.as_bytes()),
            &format!(r#"{{"type":"text","value":"{value}"}}"#),
        );
        value.insert(0, 'x');
        let kept =
            value.trim_end_matches('é').to_owned() + &"é".repeat(PARAMETER_BYTES_MAX / 2 - 1);
        let cut = format!(r#"{{"type":"text","value":"{kept}","cut_from":4097}}"#);
        check(25, false, Some(value.as_bytes()), &cut);
        check(25, true, Some(value.as_bytes()), &cut);
    }
}
