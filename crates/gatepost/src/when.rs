//! Instants as people read them: by the clock on their wall, with its zone. What programs read stays
//! in UTC.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Unix seconds.
pub(crate) fn seconds(seconds: i64) -> String {
    shown(Timestamp::from_second(seconds).ok(), TimeZone::system())
}

/// Unix milliseconds.
pub(crate) fn millis(millis: i64) -> String {
    shown(Timestamp::from_millisecond(millis).ok(), TimeZone::system())
}

/// An instant as records and answers have it, such as `2026-11-21T11:58:09.123456Z`; another text as it
/// is.
pub(crate) fn text(text: &str) -> String {
    match text.parse() {
        Ok(instant) => shown(Some(instant), TimeZone::system()),
        Err(_) => text.to_owned(),
    }
}

fn shown(instant: Option<Timestamp>, zone: TimeZone) -> String {
    // Beyond the year 9999 nobody's calendar goes.
    let Some(instant) = instant else { return "the end of time".to_owned() };
    instant.to_zoned(zone).strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_their_zone() {
        let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        for (zone, text, expected) in [
            (&TimeZone::UTC, "2026-11-21T11:58:09.123456Z", "2026-11-21 11:58:09 UTC"),
            (&berlin, "2026-11-21T11:58:09.999Z", "2026-11-21 12:58:09 CET"),
            (&berlin, "2026-07-21T23:58:09Z", "2026-07-22 01:58:09 CEST"),
            (
                &TimeZone::fixed(jiff::tz::offset(-3)),
                "1969-12-31T23:59:59Z",
                "1969-12-31 20:59:59 -03",
            ),
        ] {
            assert_eq!(shown(text.parse().ok(), zone.clone()), expected);
        }
    }

    #[test]
    fn what_is_no_instant_is_shown_as_it_is() {
        assert_eq!(text("soon"), "soon");
        assert_eq!(millis(i64::MAX), "the end of time");
        assert_eq!(seconds(i64::MIN), "the end of time");
        assert!(seconds(0).starts_with("19"), "{}", seconds(0));
    }
}
