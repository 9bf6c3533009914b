//! Writing JSON by hand, into bytes that are there already. A stored line is written here and
//! nowhere else; reading it back is the business of `chain` and `read`, which share nothing with
//! this.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Where a pass of vectors begins to pay.
const SHORT: usize = 32;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// `"text"`, escaped.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut rest = text.as_bytes();
    // Hardly any has something to escape. For what is not short this is a pass of vectors.
    let escapes = match rest.len() {
        ..SHORT => rest.iter().any(|byte| must_escape(*byte)),
        _ => rest.iter().fold(false, |found, byte| found | must_escape(*byte)),
    };
    if !escapes {
        out.extend_from_slice(rest);
        out.push(b'"');
        return;
    }
    while let Some(at) = rest.iter().position(|byte| must_escape(*byte)) {
        let (plain, after) = rest.split_at(at);
        out.extend_from_slice(plain);
        let Some((byte, after)) = after.split_first() else { break };
        escape(out, *byte);
        rest = after;
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

fn must_escape(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

fn escape(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        other => {
            out.extend_from_slice(b"\\u00");
            hex(out, &[other]);
        }
    }
}

pub(crate) fn number(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut rest = number;
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
        used += 1;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// Without quotes.
pub(crate) fn hex(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + 2 * bytes.len(), 0);
    let digit = |nibble: u8| HEX.get(usize::from(nibble)).copied().unwrap_or_default();
    let pairs = out.get_mut(start..).unwrap_or_default().chunks_exact_mut(2);
    for (pair, byte) in pairs.zip(bytes) {
        if let [high, low] = pair {
            *high = digit(byte >> 4);
            *low = digit(byte & 15);
        }
    }
}

/// `,"name":`. In line, so that names are stored as the constants that they are: a call to copy
/// each would take longer than all the rest of a record.
#[inline(always)]
pub(crate) fn name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

#[inline(always)]
pub(crate) fn string_field(out: &mut Vec<u8>, field: &str, text: &str) {
    name(out, field);
    string(out, text);
}

/// A word of ours: nothing in it is to be escaped.
#[inline(always)]
pub(crate) fn word(out: &mut Vec<u8>, word: &'static str) {
    debug_assert!(!word.bytes().any(must_escape), "{word}");
    out.push(b'"');
    out.extend_from_slice(word.as_bytes());
    out.push(b'"');
}

/// Absent when there is nothing to say.
#[inline(always)]
pub(crate) fn optional_string(out: &mut Vec<u8>, field: &str, text: Option<&str>) {
    if let Some(text) = text {
        string_field(out, field, text);
    }
}

#[inline(always)]
pub(crate) fn number_field(out: &mut Vec<u8>, field: &str, value: u64) {
    name(out, field);
    number(out, value);
}

#[inline(always)]
pub(crate) fn optional_number(out: &mut Vec<u8>, field: &str, value: Option<u64>) {
    if let Some(value) = value {
        number_field(out, field, value);
    }
}

/// Absent when empty.
pub(crate) fn strings_field<S: AsRef<str>>(
    out: &mut Vec<u8>,
    field: &str,
    texts: impl IntoIterator<Item = S>,
) {
    let mut first = true;
    for text in texts {
        if first {
            name(out, field);
        }
        out.push(if first { b'[' } else { b',' });
        string(out, text.as_ref());
        first = false;
    }
    if !first {
        out.push(b']');
    }
}

/// Text as it came: what is not UTF-8 is kept byte for byte under `<field>_base64`.
pub(crate) fn bytes_field(out: &mut Vec<u8>, field: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => string_field(out, field, text),
        Err(_) => base64_field(out, &format!("{field}_base64"), bytes),
    }
}

pub(crate) fn base64_field(out: &mut Vec<u8>, field: &str, bytes: &[u8]) {
    name(out, field);
    out.push(b'"');
    out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
    out.push(b'"');
}

/// `2026-11-21T11:58:09.123456Z`: of one length, so that texts compare as times do.
pub fn time(micros: u64) -> String {
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let mut text = String::with_capacity(27);
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{fraction:06}Z",
        second / 3600,
        second / 60 % 60,
        second % 60
    );
    text
}

/// The same of milliseconds, as the store counts them.
pub fn time_of_millis(millis: i64) -> String {
    time(u64::try_from(millis).unwrap_or(0).saturating_mul(1000))
}

/// Days since 1970-01-01 as a date of the Gregorian calendar. Counted in years that begin in
/// March, so that the leap day is the last one.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

/// What `time` wrote. `None` for anything else.
pub(crate) fn micros(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (year, month) =
        if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day;
    let seconds = number(11, 13)? * 3600 + number(14, 16)? * 60 + number(17, 19)?;
    let micros =
        days.checked_sub(719_469)? * 86_400_000_000 + seconds * 1_000_000 + number(20, 26)?;
    (time(micros) == text).then_some(micros)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_written_as_the_calendar_has_them() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (951_782_399_999_999, "2000-02-28T23:59:59.999999Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (1_795_262_289_123_456, "2026-11-21T11:58:09.123456Z"),
        ] {
            assert_eq!(time(micros), text);
            assert_eq!(super::micros(text), Some(micros));
        }
        for text in [
            "",
            "1970-01-01T00:00:00.000000",
            "2026-02-29T00:00:00.000000Z",
            "é".repeat(14).as_str(),
        ] {
            assert_eq!(super::micros(text), None, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_utf_8_is_kept_byte_for_byte() {
        let mut out = Vec::new();
        bytes_field(&mut out, "text", b"caf\xe9");
        assert_eq!(out, br#","text_base64":"Y2Fm6Q==""#);
        out.clear();
        bytes_field(&mut out, "text", "café".as_bytes());
        assert_eq!(out, ",\"text\":\"café\"".as_bytes());
    }

    proptest! {
        #[test]
        fn any_string_reads_back(text in any::<String>()) {
            let mut out = Vec::new();
            string(&mut out, &text);
            prop_assert!(!out.iter().any(|byte| *byte < 0x20));
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn any_number_reads_back(value in any::<u64>()) {
            let mut out = Vec::new();
            number(&mut out, value);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }
    }
}
