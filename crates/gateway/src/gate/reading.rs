//! A text as the journal may have it: without its secrets where it can be read for certain, and by
//! its length and hash where it can't.

use std::borrow::Cow;

use audit::event::Text;
use aws_lc_rs::digest;
use sql::secrets::Patterns;

/// A text as it is recorded: read, and without its secrets.
pub(crate) enum Recorded<'t> {
    Sql { text: Cow<'t, str>, redacted: u32 },
    Withheld { bytes: u64, sha256: [u8; 32] },
}

/// The parameters whose values are secrets.
pub(crate) enum Secrets {
    /// The text could not be read, so any may be.
    All,
    /// Counted from 1.
    These(Vec<u16>),
}

impl Secrets {
    pub(crate) fn contain(&self, number: u16) -> bool {
        match self {
            Secrets::All => true,
            Secrets::These(numbers) => numbers.contains(&number),
        }
    }
}

/// Stands for each byte that is not ASCII, where it can't be told what letter it is.
const UNREAD: char = '\x7f';

/// What decides how PostgreSQL reads a text.
#[derive(Default)]
pub(super) struct Reading {
    pub(super) standard_strings: bool,
    /// No byte below 0x80 is ever part of another character.
    pub(super) ascii_safe: bool,
    /// Names with other letters are the same bytes in the catalog.
    pub(super) utf8: bool,
    /// The server cuts and folds names as the grammar does.
    pub(super) server_utf8: bool,
}

impl Reading {
    /// The text as characters, if it is certain where its quotes are.
    pub(super) fn text<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, str>> {
        (self.standard_strings && self.ascii_safe).then(|| characters(text))
    }

    /// What is judged of the text is what `text` gives.
    pub(super) fn is_judged_as_read(&self, text: &[u8]) -> bool {
        self.utf8 || text.is_ascii()
    }

    /// Whether names in the text, as it is judged, are to the server what they are to the grammar.
    pub(super) fn keeps_names(&self, text: &str) -> bool {
        (self.utf8 || !sql::cut::has_name_with(text, UNREAD))
            && (self.server_utf8 || !sql::cut::may_read_otherwise(text))
    }

    /// Whether statements and portals have the names that they are sent with, whatever letters these
    /// have: in other encodings names become others on the way.
    pub(super) fn keeps_names_sent(&self) -> bool {
        self.utf8 && self.server_utf8
    }

    /// The text as it is judged. In other encodings than UTF-8 a byte that is not ASCII becomes one
    /// that no name of the catalog has: what is quoted stays quoted, and each thing at its place.
    pub(super) fn judged<'t>(&self, text: &'t [u8]) -> Option<Cow<'t, str>> {
        if self.is_judged_as_read(text) {
            return self.text(text);
        }
        let unread = UNREAD as u8;
        let replaced = text.iter().map(|byte| if byte.is_ascii() { *byte } else { unread });
        let read = String::from_utf8(replaced.collect()).ok()?;
        (self.standard_strings && self.ascii_safe).then_some(Cow::Owned(read))
    }
}

/// The text, or what can be read of it. Nearly all texts are what they should be, and that is seen
/// sooner than what isn't.
pub(super) fn characters(text: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(text) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(text),
    }
}

impl Recorded<'_> {
    pub(super) fn into_owned(self) -> Recorded<'static> {
        match self {
            Recorded::Sql { text, redacted } => {
                Recorded::Sql { text: text.into_owned().into(), redacted }
            }
            Recorded::Withheld { bytes, sha256 } => Recorded::Withheld { bytes, sha256 },
        }
    }

    pub(crate) fn as_text(&self) -> Text<'_> {
        match self {
            Recorded::Sql { text, redacted } => {
                Text::Sql { bytes: text.as_bytes(), redacted: *redacted }
            }
            Recorded::Withheld { bytes, sha256 } => {
                Text::Withheld { bytes: *bytes, sha256: *sha256 }
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Recorded::Sql { text, .. } => text.len(),
            Recorded::Withheld { .. } => 0,
        }
    }
}

/// Encodings in which a byte below 0x80 can be the second of a character.
/// <https://www.postgresql.org/docs/current/multibyte.html>
pub(super) fn is_ascii_safe(encoding: &[u8]) -> bool {
    !matches!(
        encoding,
        b"BIG5" | b"GB18030" | b"GBK" | b"JOHAB" | b"SJIS" | b"SHIFT_JIS_2004" | b"UHC"
    )
}

/// A text as the journal may have it, and which of its parameters are secrets. `read` is the
/// text where it could be read; `bytes` is how long the message was.
pub(super) fn recorded<'t>(
    read: Option<&'t str>,
    text: &[u8],
    bytes: usize,
    patterns: &Patterns,
) -> (Recorded<'t>, Secrets) {
    match read.map(|read| sql::secrets::redact(read, patterns)) {
        Some(Ok(redacted)) => {
            let count = u32::try_from(redacted.count).unwrap_or(u32::MAX);
            (
                Recorded::Sql { text: redacted.text, redacted: count },
                Secrets::These(redacted.parameters),
            )
        }
        // Where the quotes are not known, every parameter may be a secret.
        Some(Err(_)) | None => (withheld(text, bytes), Secrets::All),
    }
}

/// The same of a text that PostgreSQL's grammar has read: where its quotes are is known.
pub(super) fn recorded_parsed<'t>(read: &'t str, patterns: &Patterns) -> (Recorded<'t>, Secrets) {
    if patterns.may_hold_secret(read) {
        return recorded(Some(read), read.as_bytes(), read.len(), patterns);
    }
    (Recorded::Sql { text: Cow::Borrowed(read), redacted: 0 }, Secrets::These(Vec::new()))
}

pub(super) fn withheld(text: &[u8], bytes: usize) -> Recorded<'static> {
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(digest::digest(&digest::SHA256, text).as_ref());
    Recorded::Withheld { bytes: bytes as u64, sha256 }
}
