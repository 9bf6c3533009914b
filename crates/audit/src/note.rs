//! Reading signed notes (<https://c2sp.org/signed-note>) and the two kinds that a journal has: a
//! head, which is also what an anchor or a checkpoint is, and a key's certificate. Making them is
//! the business of `key`, which shares nothing with this.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

/// A head's note is short; a longer file is another file.
const NOTE_BYTES_MAX: u64 = 4 << 10;

/// What a group commit signs: that record `number` of `node`'s journal has `hash`, and so that
/// everything before it is as it is.
#[derive(Clone, PartialEq, Eq)]
pub struct Head {
    pub(crate) origin: String,
    pub number: u64,
    /// SHA-256 over the record's line, its newline included.
    pub hash: [u8; 32],
    /// The first record that no earlier head signs.
    pub(crate) from: u64,
    pub time: String,
    /// The signed note, as it is kept elsewhere.
    pub note: String,
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("this is not a signed head of a journal")]
pub struct NotAHead;

impl FromStr for Head {
    type Err = NotAHead;

    /// Takes it apart; whether the signature is good is another question.
    fn from_str(note: &str) -> Result<Head, NotAHead> {
        let (text, _) = split(note).ok_or(NotAHead)?;
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(NotAHead);
        let origin = line()?.to_owned();
        let number = line()?.parse().map_err(|_| NotAHead)?;
        let hash = STANDARD.decode(line()?).map_err(|_| NotAHead)?;
        let hash = hash.try_into().map_err(|_| NotAHead)?;
        let from = line()?.strip_prefix("from ").ok_or(NotAHead)?;
        let from = from.parse().map_err(|_| NotAHead)?;
        let time = line()?.strip_prefix("time ").ok_or(NotAHead)?.to_owned();
        let head = Head { origin, number, hash, from, time, note: note.to_owned() };
        // What we understood, written again, has to be what was there, byte for byte.
        if head.text() == text { Ok(head) } else { Err(NotAHead) }
    }
}

impl Head {
    fn text(&self) -> String {
        let hash = STANDARD.encode(self.hash);
        let Head { origin, number, from, time, .. } = self;
        format!("{origin}\n{number}\n{hash}\nfrom {from}\ntime {time}\n")
    }

    pub fn node(&self) -> &str {
        self.origin.strip_prefix("gatepost/").unwrap_or(&self.origin)
    }

    /// Reads a checkpoint's file. Blocks.
    pub fn read_from(path: &Path) -> io::Result<Head> {
        let mut note = String::new();
        File::open(path)?.take(NOTE_BYTES_MAX).read_to_string(&mut note)?;
        note.parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
    }

    /// Writes a checkpoint's file, so that whoever reads it finds this head or the one before.
    /// Blocks.
    pub fn write_to(&self, path: &Path) -> io::Result<()> {
        let mut new = path.as_os_str().to_owned();
        new.push(".tmp");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o644).open(&new)?;
        file.write_all(self.note.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        crate::segment::sync_directory_of(path)
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Head({} {} at {})", self.origin, self.number, self.time)
    }
}

/// A public key, as signed notes write it: `NAME+ID+KEY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublicKey {
    pub(crate) name: String,
    id: [u8; 4],
    key: [u8; 32],
    pub(crate) text: String,
}

impl PublicKey {
    pub(crate) fn parse(text: &str) -> Option<PublicKey> {
        let (name, rest) = text.split_once('+')?;
        let (id, key) = rest.split_once('+')?;
        let key = STANDARD.decode(key).ok()?;
        let hash = digest(&SHA256, &[name.as_bytes(), b"\n", &key].concat());
        let expected: [u8; 4] = hash.as_ref().first_chunk().copied()?;
        if id != format!("{:08x}", u32::from_be_bytes(expected)) {
            return None;
        }
        let (kind, key) = key.split_first()?;
        let key = <[u8; 32]>::try_from(key).ok()?;
        (*kind == 1).then(|| PublicKey {
            name: name.to_owned(),
            id: expected,
            key,
            text: text.to_owned(),
        })
    }

    /// Whether this key, and it alone, signed the note.
    pub(crate) fn signed(&self, note: &str) -> bool {
        self.parts(note).is_some_and(|(text, signature)| {
            UnparsedPublicKey::new(&ED25519, &self.key).verify(text.as_bytes(), &signature).is_ok()
        })
    }

    /// Whether it looks like it: everything but the sums.
    pub(crate) fn could_have_signed(&self, note: &str) -> bool {
        self.parts(note).is_some()
    }

    fn parts<'a>(&self, note: &'a str) -> Option<(&'a str, [u8; 64])> {
        let (text, signature) = split(note)?;
        let encoded = signature
            .strip_prefix("\u{2014} ")?
            .strip_prefix(self.name.as_str())?
            .strip_prefix(' ')?
            .strip_suffix('\n')?;
        let signature = STANDARD.decode(encoded).ok()?;
        let (id, signature) = signature.split_first_chunk::<4>()?;
        Some((text, signature.try_into().ok().filter(|_| *id == self.id)?))
    }
}

/// The text, with its last newline, and the one signature line.
fn split(note: &str) -> Option<(&str, &str)> {
    let at = note.find("\n\n")?;
    let (text, signature) = note.split_at_checked(at + 1)?;
    Some((text, signature.strip_prefix('\n')?))
}

/// Whether `note` is `key`'s certificate for `successor`.
pub(crate) fn certifies(key: &PublicKey, note: &str, successor: &str) -> bool {
    let expected = format!("{}\nkey {successor}\n", key.name);
    split(note).is_some_and(|(text, _)| text == expected) && key.signed(note)
}
