//! What the server says beside masks. Its texts can quote what is stored (`Key (ssn)=(…) already
//! exists`), and code of users can say anything; so names, codes and positions stay, and what could
//! be a value is withheld. And the tripwire: a reply that names a masked column as it is stored is a
//! fault of ours, and ends the session.

use wire::backend;
use wire::frame::Frame;
use wire::frontend;

use super::memory::Bound;
use super::splice::Splice;
use super::understanding::Understood;
use super::{Around, Entry, Gate, Looked};

/// Messages are looked at up to here; of longer ones what comes later is dropped.
const TEXT_BYTES_MAX: usize = 64 << 10;

/// As many columns as a result can have, with names as long as they can be.
const DESCRIPTION_BYTES_MAX: usize = 256 << 10;

const WITHHELD: &[u8] = b"(withheld)";

/// How much of a server's message has to be here, where `otherwise` would be enough.
pub(super) fn wanted(tag: u8, otherwise: usize) -> usize {
    let least = match tag {
        backend::ERROR | backend::NOTICE | backend::NOTIFICATION => TEXT_BYTES_MAX,
        backend::ROW_DESCRIPTION => DESCRIPTION_BYTES_MAX,
        _ => 0,
    };
    otherwise.max(least)
}

impl Gate {
    /// What stands in the place of something that the server says, if it can't pass as it is.
    pub(crate) fn withheld(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if !self.hides {
            return None;
        }
        match frame.tag {
            // Nothing of it was asked for.
            backend::NOTICE if frame.body.is_empty() => Some(Vec::new()),
            backend::ERROR | backend::NOTICE => Some(self.said(None, frame)),
            backend::NOTIFICATION => self.notified(frame),
            _ => None,
        }
    }

    /// An error of the server's, about a text that we may have put something into.
    pub(super) fn theirs(&self, splice: Option<&Splice>, frame: &Frame<'_>) -> Option<Vec<u8>> {
        if self.hides {
            return Some(self.said(splice, frame));
        }
        let is_whole = frame.body.len() == frame.body_bytes;
        let body = splice.filter(|_| is_whole)?.mapped_error(frame.body);
        let mut out = Vec::new();
        backend::write_error_body(&mut out, &body);
        Some(out)
    }

    fn said(&self, splice: Option<&Splice>, frame: &Frame<'_>) -> Vec<u8> {
        let mut body = without_values(frame.body);
        if let Some(splice) = splice {
            body = splice.mapped_error(&body);
        }
        let mut out = Vec::new();
        backend::write_message(&mut out, frame.tag, &body);
        out
    }

    /// A payload is whatever somebody put into it.
    fn notified(&self, frame: &Frame<'_>) -> Option<Vec<u8>> {
        let (pid, rest) = frame.body.split_at_checked(4)?;
        let channel = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        let named = std::str::from_utf8(channel).is_ok_and(|channel| {
            self.rules.as_ref().is_some_and(|rules| rules.in_force().names_channel(channel))
        });
        if named {
            return None;
        }
        let mut out = Vec::new();
        backend::write_message(&mut out, frame.tag, &[pid, channel, &[0, 0]].concat());
        Some(out)
    }

    /// A Describe of the gate's own before an Execute of what nobody has described yet: what has no
    /// RowDescription would pass the tripwire unseen. Once for each time that it is judged.
    pub(super) fn describe_first(
        &self,
        understood: &Understood,
        bound: &Bound,
        portal: &[u8],
    ) -> Option<Vec<u8>> {
        let is_laid = self.raw.as_ref().is_some_and(|raw| !raw.is_empty());
        let judged = bound.prepared.as_ref()?.judged.as_ref()?;
        let seen = judged.is_described.get() || !understood.disguised;
        if seen || !is_laid || self.is_aborted() || judged.is_described.replace(true) {
            return None;
        }
        let mut out = Vec::new();
        frontend::write_describe(&mut out, b'P', portal);
        Some(out)
    }

    /// Whether a RowDescription names a masked column as it is stored.
    pub(crate) fn is_tripped(&self, frame: &Frame<'_>) -> bool {
        let Some(raw) = self.raw.as_ref().filter(|_| frame.tag == backend::ROW_DESCRIPTION) else {
            return false;
        };
        origins(frame.body).any(|origin| raw.contains(&origin))
    }
}

impl Looked {
    /// An Execute behind a Describe of the gate's own.
    pub(super) fn behind(mut self, describe: Option<Vec<u8>>, execute: &Frame<'_>) -> Self {
        let Some(mut sent) = describe else { return self };
        match &self.instead {
            Some(instead) => sent.extend_from_slice(instead),
            None => frontend::write_execute(&mut sent, execute.body),
        }
        self.instead = Some(sent);
        let none = || Around { before: Vec::new(), after: Vec::new() };
        let around = self.around.get_or_insert_with(|| Box::new(none()));
        around.before.insert(0, (frontend::DESCRIBE, Entry::Quiet));
        self
    }
}

/// The table and the column that each column of a result is, where it is one.
fn origins(body: &[u8]) -> impl Iterator<Item = (u32, u16)> {
    let mut rest = body.get(2..).unwrap_or_default();
    std::iter::from_fn(move || {
        let end = rest.iter().position(|byte| *byte == 0)?;
        let (field, after) = rest.get(end + 1..)?.split_at_checked(18)?;
        rest = after;
        let (table, field) = field.split_first_chunk::<4>()?;
        let (column, _) = field.split_first_chunk::<2>()?;
        Some((u32::from_be_bytes(*table), u16::from_be_bytes(*column)))
    })
}

/// The fields of an error or a notice without what could be a value.
fn without_values(body: &[u8]) -> Vec<u8> {
    let fields: Vec<(u8, &[u8])> = body
        .split(|byte| *byte == 0)
        .filter_map(|field| field.split_first().map(|(tag, text)| (*tag, text)))
        .collect();
    let code = fields.iter().find(|(tag, _)| *tag == b'C').map_or(&b""[..], |(_, code)| code);
    // Code of somebody's says where it stands; it may say anything else, too.
    let is_of_code = fields.iter().any(|(tag, _)| matches!(tag, b'W' | b'q'));
    let says = fields.iter().find(|(tag, _)| *tag == b'M').map_or(&b""[..], |(_, said)| said);
    let speaks_of_names = (names_alone(code) || is_always_said(code, says)) && !is_of_code;
    let mut out = Vec::with_capacity(body.len());
    let mut put = |tag: u8, text: &[u8]| {
        out.push(tag);
        out.extend_from_slice(text);
        out.push(0);
    };
    let mut hidden = false;
    for (tag, text) in fields {
        match tag {
            b'S' | b'V' | b'C' | b'P' | b'F' | b'L' | b'R' => put(tag, text),
            b's' | b't' | b'c' | b'd' | b'n' if !is_of_code => put(tag, text),
            b'M' if speaks_of_names => put(tag, text),
            b'M' => {
                hidden = true;
                let mut said = b"what the server says is withheld: SQLSTATE ".to_vec();
                said.extend_from_slice(code);
                put(tag, &said);
            }
            b'H' if speaks_of_names && code.starts_with(b"42") => put(tag, text),
            b'D' if speaks_of_names && code.starts_with(b"23") => {
                hidden = true;
                put(tag, &detail(code, text));
            }
            b'D' if speaks_of_names && code.starts_with(b"42") => put(tag, text),
            b'D' | b'H' | b'W' | b'q' | b'p' => hidden = true,
            _ => {}
        }
    }
    if hidden {
        put(b'H', b"Values are withheld here, as they could be of masked columns.");
    }
    out.push(0);
    out
}

/// Whether messages with this SQLSTATE speak of names, types and states, and never of what is stored.
fn names_alone(code: &[u8]) -> bool {
    const CLASSES: [&[u8]; 15] = [
        b"08", b"0A", b"24", b"25", b"26", b"28", b"2B", b"34", b"3D", b"3F", b"40", b"42", b"53",
        b"55", b"57",
    ];
    const OF_CONSTRAINTS: [&[u8]; 6] = [b"23001", b"23502", b"23503", b"23505", b"23514", b"23P01"];
    code.get(..2).is_some_and(|class| CLASSES.contains(&class)) || OF_CONSTRAINTS.contains(&code)
}

/// Whether it says no more than its SQLSTATE and the names that the statement gives, of a kind that
/// others could quote values with. Of 22003 there are several sentences, so one would tell.
fn is_always_said(code: &[u8], says: &[u8]) -> bool {
    match code {
        b"22012" => says == b"division by zero",
        // Of IF EXISTS; of VACUUM and ANALYZE.
        b"00000" => says.ends_with(b" does not exist, skipping"),
        b"01000" => says.ends_with(b", skipping it"),
        _ => false,
    }
}

/// `Key (email)=(…) already exists.`, as programs take it apart, without the values.
fn detail(code: &[u8], text: &[u8]) -> Vec<u8> {
    let find = |what: &[u8]| text.windows(what.len()).position(|it| it == what);
    let values = match text {
        text if text.starts_with(b"Key (") => find(b")=(").map(|at| at + 3),
        text if text.starts_with(b"Failing row contains (") => Some(22),
        _ => None,
    };
    let Some(before) = values.and_then(|at| text.get(..at)) else { return WITHHELD.to_vec() };
    let mut out = before.to_vec();
    out.extend_from_slice(b"withheld)");
    // A value can have these words in it as well: what comes behind the last of them is no value.
    let last = |what: &[u8]| text.windows(what.len()).rposition(|it| it == what);
    let tail = match code {
        b"23505" if text.ends_with(b") already exists.") => Some(&b" already exists."[..]),
        b"23503" | b"23001" => last(b") is not present in table ")
            .max(last(b") is still referenced from table "))
            .and_then(|at| text.get(at + 1..)),
        _ => None,
    };
    out.extend_from_slice(tail.unwrap_or(b"."));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
        let all = fields.iter().map(|(tag, text)| format!("{tag}{text}\0"));
        (all.collect::<String>() + "\0").into_bytes()
    }

    fn said(of: &[(&str, &str)]) -> String {
        String::from_utf8(without_values(&fields(of))).unwrap().replace('\0', "|")
    }

    #[test]
    fn names_stay_and_values_go() {
        let key = "Key (email)=(secret@x) already exists.";
        let said_of = said(&[
            ("S", "ERROR"),
            ("C", "23505"),
            ("M", "duplicate key"),
            ("D", key),
            ("n", "key"),
        ]);
        assert!(
            said_of.contains("|Mduplicate key|DKey (email)=(withheld) already exists.|nkey|"),
            "{said_of}"
        );
        for (code, detail, left) in [
            ("23514", "Failing row contains (1, secret).", "DFailing row contains (withheld)."),
            (
                "23503",
                "Key (a, b)=(1, secret) is not present in table \"t\".",
                "DKey (a, b)=(withheld) is not present in table \"t\".",
            ),
            (
                "23503",
                "Key (a)=(secret) is not present in table \"x\") is not present in table \"t\".",
                "DKey (a)=(withheld) is not present in table \"t\".",
            ),
            (
                "23514",
                "Failing row contains (a) already exists., secret).",
                "DFailing row contains (withheld).",
            ),
            (
                "23503",
                "Key (a)=(b) is not present in table secret) is still referenced from table \"t\".",
                "DKey (a)=(withheld) is still referenced from table \"t\".",
            ),
            (
                "23P01",
                "Key (a)=(b) conflicts with existing key (a)=(secret).",
                "DKey (a)=(withheld).",
            ),
            ("23505", "Schlüssel (a)=(secret) existiert bereits.", "D(withheld)"),
        ] {
            let found = said(&[("C", code), ("M", "m"), ("D", detail)]);
            assert!(found.contains(&format!("|{left}|")), "{found}");
            assert!(!found.contains("secret"));
        }
        for of in [
            [("C", "22P02"), ("M", "invalid input syntax: \"secret\""), ("P", "8")],
            [("C", "P0001"), ("M", "secret"), ("H", "secret")],
            [("C", "00000"), ("M", "secret"), ("D", "secret")],
            [("C", "42P01"), ("M", "secret"), ("W", "PL/pgSQL function secret")],
            [("C", "23505"), ("t", "secret"), ("W", "PL/pgSQL function secret")],
            [("C", "42703"), ("M", "secret"), ("q", "SELECT secret")],
            [("C", "22012"), ("M", "division of secret by zero"), ("D", "secret")],
            [("C", "00000"), ("M", "secret does not exist, skipping"), ("W", "PL/pgSQL function")],
            [("C", "22003"), ("M", "integer out of range"), ("D", "secret")],
        ] {
            let found = said(&of);
            assert!(!found.contains("secret"), "{found}");
            assert!(found.contains(&format!("C{}|", of[0].1)));
        }
        for (code, says) in [
            ("22012", "division by zero"),
            ("00000", "table \"x\" does not exist, skipping"),
            ("01000", "permission denied to analyze \"x\", skipping it"),
        ] {
            assert_eq!(said(&[("C", code), ("M", says)]), format!("C{code}|M{says}||"));
        }
        let plain = said(&[
            ("C", "42703"),
            ("M", "column \"x\" does not exist"),
            ("P", "8"),
            ("H", "Perhaps"),
        ]);
        assert_eq!(plain, "C42703|Mcolumn \"x\" does not exist|P8|HPerhaps||");
    }

    #[test]
    fn the_origins_of_a_result() {
        let mut body = vec![0, 2];
        for (table, column) in [(16_384u32, 3u16), (0, 0)] {
            body.extend_from_slice(b"name\0");
            body.extend_from_slice(&table.to_be_bytes());
            body.extend_from_slice(&column.to_be_bytes());
            body.extend_from_slice(&[0; 12]);
        }
        assert_eq!(origins(&body).collect::<Vec<_>>(), [(16_384, 3), (0, 0)]);
        assert_eq!(origins(&body[..20]).count(), 0);
        assert_eq!(origins(&[]).count(), 0);
    }
}
