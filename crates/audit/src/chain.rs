//! Whether a line fits after the one before it: format, number, time, chain, signature, key. The
//! rules that `verify` and the restart share; the writer knows them in its own way, and nothing of
//! it is used here. Files are the business of those who ask.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::Value;
use thiserror::Error;

use crate::note::{Head, PublicKey, certifies};

/// A line is at most this long: the longest event, and what the chain puts before it.
pub(crate) const LINE_BYTES_MAX: usize = crate::event::EVENT_BYTES_MAX + 1024;

/// The state after the lines seen so far.
#[derive(Clone, Debug)]
pub(crate) struct Chain {
    /// The number that comes next.
    pub(crate) next: u64,
    /// The hash of the line before; unknown at the beginning of a segment that is read by itself.
    pub(crate) prev: Option<[u8; 32]>,
    pub(crate) node: Option<String>,
    time: String,
    pub(crate) key: Option<PublicKey>,
    /// The first record after the last head.
    pub(crate) group: u64,
    /// The newest head seen. Its signature is checked by `settle`, or at once if `eager`: a good
    /// signature vouches for every head before it, and checking each would cost more than all else.
    pub(crate) head: Option<Head>,
    settled: bool,
    eager: bool,
}

/// A line that fits.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) event: &'a str,
    pub(crate) number: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) line: &'a [u8],
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Misfit {
    #[error("this is not a record")]
    NotARecord,
    #[error("its format version is not 1")]
    Version,
    #[error("its number is {found}, and {expected} is due")]
    Number { expected: u64, found: u64 },
    #[error("it does not carry the hash of the record before it: one of the two was changed")]
    Previous,
    #[error("it is of node `{found}`, and the journal is of `{expected}`")]
    Node { expected: String, found: String },
    #[error("its time is before that of the record before it")]
    Time,
    #[error("the journal does not begin with its first record")]
    NoBeginning,
    #[error("it says who signs, but not with a key")]
    NotAKey,
    #[error("it names another key than the one that signs")]
    OtherKey,
    #[error("the new key is not certified by the key before it")]
    Uncertified,
    #[error("its signed head does not describe the records before it")]
    Head,
    #[error("its signature is not good")]
    Signature,
}

impl Chain {
    pub(crate) fn from_genesis() -> Chain {
        Chain::new(1, Some([0; 32]))
    }

    /// For a segment that is read by itself: what comes before is taken on trust.
    pub(crate) fn from_segment(first: u64) -> Chain {
        if first == 1 { Chain::from_genesis() } else { Chain::new(first, None) }
    }

    fn new(next: u64, prev: Option<[u8; 32]>) -> Chain {
        Chain {
            next,
            prev,
            node: None,
            time: String::new(),
            key: None,
            group: next,
            head: None,
            settled: true,
            eager: false,
        }
    }

    /// From here on each head's signature is checked when it is seen.
    pub(crate) fn eagerly(mut self) -> Chain {
        self.eager = true;
        self
    }

    /// Checks the signature that is still owed.
    pub(crate) fn settle(&mut self) -> Result<(), Misfit> {
        if !self.settled {
            let signed = match (&self.head, &self.key) {
                (Some(head), Some(key)) => key.signed(&head.note),
                _ => false,
            };
            if !signed {
                return Err(Misfit::Signature);
            }
            self.settled = true;
        }
        Ok(())
    }

    /// Takes the next line, its newline included. After a misfit the state is as before.
    pub(crate) fn take<'a>(&mut self, line: &'a [u8]) -> Result<Seen<'a>, Misfit> {
        let fields = Fields::of(line).ok_or(Misfit::NotARecord)?;
        if fields.version != "1" {
            return Err(Misfit::Version);
        }
        if fields.number != self.next {
            return Err(Misfit::Number { expected: self.next, found: fields.number });
        }
        if self.prev.is_some_and(|prev| prev != fields.prev) {
            return Err(Misfit::Previous);
        }
        if let Some(node) = &self.node
            && node != fields.node
        {
            return Err(Misfit::Node { expected: node.clone(), found: fields.node.to_owned() });
        }
        if fields.time < self.time.as_str() {
            return Err(Misfit::Time);
        }
        if (fields.number == 1) != (fields.event == "journal_begins") {
            return Err(Misfit::NoBeginning);
        }
        match fields.event {
            "journal_begins" | "segment_begins" => self.take_key(&fields)?,
            "key_changed" => self.take_new_key(&fields)?,
            "head" => self.take_head(&fields)?,
            _ => {}
        }
        let hash = hash(line);
        if self.node.is_none() {
            self.node = Some(fields.node.to_owned());
        }
        self.time.clear();
        self.time.push_str(fields.time);
        self.prev = Some(hash);
        self.next += 1;
        if fields.event == "head" {
            self.group = self.next;
        }
        Ok(Seen { event: fields.event, number: fields.number, hash, line })
    }

    fn take_key(&mut self, fields: &Fields<'_>) -> Result<(), Misfit> {
        let key = self.public_key(fields)?;
        match &self.key {
            None => self.key = Some(key),
            Some(known) if *known == key => {}
            Some(_) => return Err(Misfit::OtherKey),
        }
        Ok(())
    }

    fn take_new_key(&mut self, fields: &Fields<'_>) -> Result<(), Misfit> {
        let key = self.public_key(fields)?;
        self.settle()?;
        let certificate = string_of(fields.line, "certificate");
        let certified = match (&self.key, certificate) {
            (Some(known), Some(note)) => certifies(known, &note, &key.text),
            _ => false,
        };
        if !certified {
            return Err(Misfit::Uncertified);
        }
        self.key = Some(key);
        Ok(())
    }

    fn public_key(&self, fields: &Fields<'_>) -> Result<PublicKey, Misfit> {
        string_of(fields.line, "key")
            .and_then(|text| PublicKey::parse(&text))
            .filter(|key| key.name.strip_prefix("gatepost/") == Some(fields.node))
            .ok_or(Misfit::NotAKey)
    }

    fn take_head(&mut self, fields: &Fields<'_>) -> Result<(), Misfit> {
        let note = fields
            .rest
            .strip_prefix(",\"note\":\"")
            .and_then(|rest| rest.strip_suffix("\"}\n"))
            .ok_or(Misfit::Head)?;
        // Nothing but line ends is escaped in a note.
        let note = note.replace("\\n", "\n");
        let head: Head = note.parse().map_err(|_| Misfit::Head)?;
        let fits = head.node() == fields.node
            && head.origin.len() > head.node().len()
            && head.number == fields.number - 1
            && head.hash == fields.prev
            && head.from == self.group
            && head.time == fields.time;
        if !fits {
            return Err(Misfit::Head);
        }
        let before = self.head.replace(head);
        let settled = std::mem::replace(&mut self.settled, false);
        // A note that is not even a note of this key is found without doing the sums.
        let formed = self.key.as_ref().is_some_and(|key| key.could_have_signed(&note));
        if !formed || (self.eager && self.settle().is_err()) {
            self.head = before;
            self.settled = settled;
            return Err(Misfit::Signature);
        }
        Ok(())
    }
}

pub(crate) fn hash(line: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, line).as_ref());
    hash
}

/// What every line begins with. The order and the spelling are part of the format, so that it can
/// be taken apart with `sed`, and are checked byte for byte.
#[derive(Clone, Copy)]
struct Fields<'a> {
    version: &'a str,
    number: u64,
    time: &'a str,
    node: &'a str,
    prev: [u8; 32],
    event: &'a str,
    /// What follows the event's name.
    rest: &'a str,
    line: &'a [u8],
}

impl<'a> Fields<'a> {
    fn of(line: &'a [u8]) -> Option<Fields<'a>> {
        let text = std::str::from_utf8(line).ok()?;
        if !text.ends_with("}\n") || text.contains('\0') {
            return None;
        }
        let (version, rest) = text.strip_prefix("{\"v\":")?.split_once(",\"n\":")?;
        let (number, rest) = rest.split_once(",\"t\":\"")?;
        let (time, rest) = rest.split_once("\",\"node\":\"")?;
        let (node, rest) = rest.split_once("\",\"prev\":\"")?;
        let (prev, rest) = rest.split_once("\",\"event\":\"")?;
        let (event, rest) = rest.split_once('"')?;
        let plain = |text: &str| !text.contains(['"', '\\', '+']);
        if number.starts_with('0') || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if time.len() != 27 || !plain(time) || !plain(node) {
            return None;
        }
        let (number, prev) = (number.parse().ok()?, unhex(prev)?);
        Some(Fields { version, number, time, node, prev, event, rest, line })
    }
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} ({})", self.number, self.event)
    }
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let mut digits = text.bytes();
    for byte in &mut bytes {
        *byte = nibble(digits.next()?)? << 4 | nibble(digits.next()?)?;
    }
    digits.next().is_none().then_some(bytes)
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A string field of a line, of the few kinds of line that are read in whole.
pub(crate) fn string_of(line: &[u8], field: &str) -> Option<String> {
    match serde_json::from_slice(line).ok()? {
        Value::Object(mut fields) => match fields.remove(field)? {
            Value::String(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// What a segment says of the one before it, and which sessions were open when it began.
pub(crate) struct SegmentBegins {
    pub(crate) previous: u64,
    pub(crate) previous_bytes: u64,
    pub(crate) open: Vec<String>,
}

impl SegmentBegins {
    pub(crate) fn of(line: &[u8]) -> Option<SegmentBegins> {
        let value: Value = serde_json::from_slice(line).ok()?;
        let open = match value.get("open") {
            None => Vec::new(),
            Some(open) => {
                let ids = open.as_array()?.iter().map(|id| id.as_str().map(str::to_owned));
                ids.collect::<Option<_>>()?
            }
        };
        Some(SegmentBegins {
            previous: value.get("previous")?.as_u64()?,
            previous_bytes: value.get("previous_bytes")?.as_u64()?,
            open,
        })
    }
}
