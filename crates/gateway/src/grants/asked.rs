//! What a client asks for when it connects: settings named `gatepost.…` of its start-up packet, which
//! the server does not see.

use std::time::Duration;

use wire::startup::{self, Startup};

use crate::refusal::{Barred, Refusal};

const PREFIX: &str = "gatepost.";

/// Names of policies in one list.
const POLICIES_MAX: usize = 64;

/// What can be asked for.
pub(crate) const SETTINGS: [&str; 4] = ["reason", "for", "policy", "scope"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) reason: Option<String>,
    pub(crate) lasts: Option<Duration>,
    /// A list of names, as it was written.
    pub(crate) policies: Option<String>,
    pub(crate) scope: Option<String>,
}

impl Asked {
    /// Takes it out of a start-up packet. Of a name that comes twice the last counts, as with a
    /// server.
    pub(crate) fn take(startup: &mut Startup) -> Result<Asked, Refusal> {
        let mut asked = Asked::default();
        let mut kept = Vec::with_capacity(startup.parameters.len());
        for (name, value) in startup.parameters.drain(..) {
            let text = || String::from_utf8_lossy(&value).into_owned();
            match std::str::from_utf8(&name) {
                Ok("options") => {
                    let rest = asked.take_from_options(&text())?;
                    match rest {
                        Some(rest) if rest.is_empty() => {}
                        Some(rest) => kept.push((name, rest.into_bytes())),
                        None => kept.push((name, value)),
                    }
                }
                Ok(own) => match own_name(own) {
                    Some(own) => asked.note(&own, text())?,
                    None => kept.push((name, value)),
                },
                Err(_) => kept.push((name, value)),
            }
        }
        startup.parameters = kept;
        Ok(asked)
    }

    /// What is left of `options`; `None` where nothing in them is ours.
    fn take_from_options(&mut self, text: &str) -> Result<Option<String>, Refusal> {
        let Some(settings) = startup::options(text) else {
            // The server or the policies say what is wrong with it.
            if text.to_ascii_lowercase().contains(PREFIX) {
                return Err(malformed(
                    "`options` beside `gatepost.` settings may be settings alone",
                ));
            }
            return Ok(None);
        };
        if settings.iter().all(|(name, _)| own_name(name).is_none()) {
            return Ok(None);
        }
        let mut rest = String::new();
        for (name, value) in settings {
            match own_name(&name) {
                Some(own) => self.note(&own, value)?,
                None => {
                    if !rest.is_empty() {
                        rest.push(' ');
                    }
                    rest.push_str("-c ");
                    rest.push_str(&escaped(&format!("{name}={value}")));
                }
            }
        }
        Ok(Some(rest))
    }

    fn note(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        let value = value.trim().to_owned();
        let text = Some(value.clone()).filter(|value| !value.is_empty());
        match name {
            "reason" => self.reason = text,
            "policy" => self.policies = text,
            "scope" => self.scope = text,
            "for" => {
                let lasts = text.map(|text| duration(&text).ok_or_else(|| no_duration(&text)));
                self.lasts = lasts.transpose()?;
            }
            other => {
                return Err(malformed(&format!(
                    "there is no setting `{PREFIX}{other}`; there are {}",
                    SETTINGS.map(|name| format!("`{PREFIX}{name}`")).join(", ")
                )));
            }
        }
        Ok(())
    }

    /// The names of policies. One that is a name as a whole is one, whatever commas it has; in a
    /// list such a name stands in double quotes.
    pub(super) fn names(&self, known: &[&str]) -> Result<Vec<String>, Refusal> {
        let Some(text) = &self.policies else { return Ok(Vec::new()) };
        if known.contains(&&**text) {
            return Ok(vec![text.clone()]);
        }
        let (mut names, mut name, mut quoted) = (Vec::new(), String::new(), false);
        let mut letters = text.chars().peekable();
        while let Some(letter) = letters.next() {
            match letter {
                // Two within quotes are one of the name.
                '"' if quoted && letters.next_if_eq(&'"').is_some() => name.push('"'),
                '"' => quoted = !quoted,
                ',' if !quoted => names.push(std::mem::take(&mut name)),
                other => name.push(other),
            }
        }
        names.push(name);
        let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
        if quoted || names.len() > POLICIES_MAX || names.iter().any(String::is_empty) {
            return Err(malformed("`gatepost.policy` is a list of names with commas between them"));
        }
        Ok(names)
    }
}

fn own_name(name: &str) -> Option<String> {
    name.to_ascii_lowercase().strip_prefix(PREFIX).map(str::to_owned)
}

/// As a server's command line takes it apart again.
fn escaped(argument: &str) -> String {
    let mut out = String::with_capacity(argument.len());
    for letter in argument.chars() {
        if letter == '\\' || letter.is_ascii_whitespace() || letter == '\u{b}' {
            out.push('\\');
        }
        out.push(letter);
    }
    out
}

/// A whole number and its unit, as in the file.
fn duration(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit {
        "s" => 1,
        "m" | "min" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let number = number.parse::<u64>().ok().filter(|number| *number > 0)?;
    Some(Duration::from_secs(number.checked_mul(seconds)?))
}

fn no_duration(text: &str) -> Refusal {
    malformed(&format!("`gatepost.for` is a time such as 90s, 20m or 2h, and not `{text}`"))
}

fn malformed(why: &str) -> Refusal {
    Barred::Malformed(why.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::startup::Version;

    fn take(pairs: &[(&str, &str)]) -> Result<(Asked, Vec<(String, String)>), String> {
        let parameters =
            pairs.iter().map(|(a, b)| (a.as_bytes().to_vec(), b.as_bytes().to_vec())).collect();
        let mut startup = Startup { version: Version::V3_0, parameters };
        let asked = Asked::take(&mut startup).map_err(|refusal| refusal.words().message)?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let kept = startup.parameters.into_iter().map(|(a, b)| (text(a), text(b))).collect();
        Ok((asked, kept))
    }

    #[test]
    fn ours_is_taken_out_and_the_rest_stays_as_it_was() {
        let options = "-c gatepost.reason=ticket\\ 42 -c geqo=off --gatepost.for=20m \
                       -csearch_path=a\\ b,c\\\\d";
        let (asked, kept) = take(&[("user", "x"), ("options", options)]).unwrap();
        assert_eq!(asked.reason.as_deref(), Some("ticket 42"));
        assert_eq!(asked.lasts, Some(Duration::from_secs(1200)));
        let [user, (name, rest)] = &kept[..] else { panic!("{kept:?}") };
        assert_eq!((user.0.as_str(), name.as_str()), ("user", "options"));
        assert_eq!(
            startup::options(rest),
            Some(vec![
                ("geqo".to_owned(), "off".to_owned()),
                ("search_path".to_owned(), "a b,c\\d".to_owned()),
            ])
        );
        // What has nothing of ours is not even read.
        for options in ["-c geqo=off", "-d 5", "nonsense", ""] {
            let (asked, kept) = take(&[("options", options)]).unwrap();
            assert_eq!((asked, &*kept[0].1), (Asked::default(), options));
        }
        let (asked, kept) =
            take(&[("Gatepost.Scope", "read: a.b"), ("options", "-c gatepost.for=1h")]).unwrap();
        assert_eq!(asked.scope.as_deref(), Some("read: a.b"));
        assert!(kept.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said() {
        for pairs in [
            [("options", "-c gatepost.for=20")],
            [("options", "-c gatepost.for=0m")],
            [("options", "-c gatepost.for=99999999999999999999d")],
            [("options", "-c gatepost.reasons=x")],
            [("options", "-c gatepost.reason=x -d 5")],
            [("gatepost.", "x")],
        ] {
            assert!(take(&pairs).is_err(), "{pairs:?}");
        }
    }

    #[test]
    fn names_of_policies() {
        let names = |text: &str| {
            let asked = Asked { policies: Some(text.to_owned()), ..Asked::default() };
            asked.names(&["a", "b, with care"]).ok()
        };
        let list = |names: &[&str]| Some(names.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(names("a"), list(&["a"]));
        assert_eq!(names("a, c"), list(&["a", "c"]));
        assert_eq!(names("b, with care"), list(&["b, with care"]));
        assert_eq!(names("a,\"b, with care\""), list(&["a", "b, with care"]));
        assert_eq!(names("\"a \"\"b\"\", c\",\"\"\"\""), list(&["a \"b\", c", "\""]));
        for wrong in ["a,", ",", "\"a", "a,,b"] {
            assert_eq!(names(wrong), None, "{wrong}");
        }
    }
}
