//! Instants as SAML writes them: `xs:dateTime` in UTC, `2026-11-21T21:05:14.123Z`.

const DAY: i64 = 86_400;

/// In Unix seconds; a fraction is cut off. `None` for whatever has another form or is no date.
pub(super) fn read(text: &str) -> Option<i64> {
    let text = text.strip_suffix('Z')?;
    let (date, time) = text.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let is_fraction =
        (1..=18).contains(&fraction.len()) && fraction.bytes().all(|it| it.is_ascii_digit());
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    if !is_fraction || !is_time || !(1..=days_of(year, month)?).contains(&day) {
        return None;
    }
    Some(days_before(year, month)? * DAY + (day - 1) * DAY + hour * 3600 + minute * 60 + second)
}

pub(super) fn write(seconds: i64) -> String {
    let (mut days, time) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
    // Years of 365 days overshoot, so it is looked for from there back.
    let mut year = 1970 + days.div_euclid(365);
    while days_before(year, 1).is_some_and(|before| before > days) {
        year -= 1;
    }
    days -= days_before(year, 1).unwrap_or_default();
    let mut month = 1;
    while let Some(length) = days_of(year, month)
        && days >= length
    {
        days -= length;
        month += 1;
    }
    let (hour, minute, second) = (time / 3600, time / 60 % 60, time % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", days + 1)
}

fn numbers<const N: usize>(text: &str, between: char, digits: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(between);
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        let is_number = part.len() == digits && part.bytes().all(|it| it.is_ascii_digit());
        *number = is_number.then(|| part.parse().ok()).flatten()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of(year: i64, month: i64) -> Option<i64> {
    match month {
        2 => Some(if is_leap(year) { 29 } else { 28 }),
        4 | 6 | 9 | 11 => Some(30),
        1..=12 => Some(31),
        _ => None,
    }
}

/// From 1970 to the first of this month.
fn days_before(year: i64, month: i64) -> Option<i64> {
    let past = year - 1;
    let leaps = |year: i64| year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let years = (year - 1970) * 365 + leaps(past) - leaps(1969);
    let months: Option<Vec<i64>> = (1..month).map(|month| days_of(year, month)).collect();
    Some(years + months?.iter().sum::<i64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T23:59:59Z", 951_868_799),
            ("2026-11-21T21:05:14Z", 1_795_295_114),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", 253_402_300_799),
        ] {
            assert_eq!(read(text), Some(seconds), "{text}");
            assert_eq!(write(seconds), text);
        }
        assert_eq!(read("2026-11-21T21:05:14.999Z"), read("2026-11-21T21:05:14Z"));
    }

    #[test]
    fn each_day_of_four_centuries_comes_back() {
        for day in 0..146_097 {
            assert_eq!(read(&write(day * DAY + 1)), Some(day * DAY + 1));
        }
    }

    #[test]
    fn what_is_no_instant_in_utc_is_refused() {
        for wrong in [
            "",
            "Z",
            "2026-11-21",
            "2026-11-21T21:05:14",
            "2026-11-21T21:05:14+00:00",
            "2026-11-21T21:05:14z",
            "2026-11-21 21:05:14Z",
            "2026-11-21T21:05:14.Z",
            "2026-11-21T21:05:14.1x2Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T21:60:00Z",
            "2026-11-21T21:05:60Z",
            "2026-13-21T21:05:14Z",
            "2026-00-21T21:05:14Z",
            "2026-02-29T21:05:14Z",
            "2026-11-00T21:05:14Z",
            "+026-11-21T21:05:14Z",
            "-2026-11-21T21:05:14Z",
            "2026-11-21T21:05:14:00Z",
            " 2026-11-21T21:05:14Z",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
