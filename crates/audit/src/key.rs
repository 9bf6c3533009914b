//! The key that heads are signed with: made at first start, read from its file, and the signed
//! notes it makes (<https://c2sp.org/signed-note>). Checking a note is the business of `note`.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::OpenError;

/// A private key's file says little; a longer one is another file.
const KEY_FILE_BYTES_MAX: u64 = 16 << 10;

/// The signature type of Ed25519 in signed notes.
const ED25519: u8 = 1;

pub(crate) struct Key {
    pair: Ed25519KeyPair,
    /// The name that it signs with.
    origin: String,
    id: [u8; 4],
    /// The public key as signed notes write it: `NAME+ID+KEY`.
    pub(crate) public: String,
}

impl Key {
    /// The file's key, which is made, readable by its owner alone, where there is no such file.
    pub(crate) fn open_or_make(path: &Path, node: &str) -> Result<Key, OpenError> {
        match Key::open(path, node) {
            Err(OpenError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                make(path)?;
                Key::open(path, node)
            }
            opened => opened,
        }
    }

    /// PKCS#8, as PEM: what `openssl genpkey -algorithm ed25519` writes.
    pub(crate) fn open(path: &Path, node: &str) -> Result<Key, OpenError> {
        let io = |source| OpenError::Io { path: path.to_owned(), source };
        let mut text = String::new();
        let file = std::fs::File::open(path).map_err(io)?;
        file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(io)?;
        let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
        let pair = STANDARD
            .decode(body)
            .ok()
            .and_then(|der| Ed25519KeyPair::from_pkcs8(&der).ok())
            .ok_or_else(|| OpenError::NotAKey { path: path.to_owned() })?;
        Ok(Key::new(pair, node))
    }

    fn new(pair: Ed25519KeyPair, node: &str) -> Key {
        let origin = origin(node);
        let mut key = vec![ED25519];
        key.extend_from_slice(pair.public_key().as_ref());
        let mut named = format!("{origin}\n").into_bytes();
        named.extend_from_slice(&key);
        let hash = digest(&SHA256, &named);
        let id = hash.as_ref().first_chunk().copied().unwrap_or_default();
        let public = format!("{origin}+{:08x}+{}", u32::from_be_bytes(id), STANDARD.encode(&key));
        Key { pair, origin, id, public }
    }

    /// `text` ends in a newline; the signature comes after a blank line.
    pub(crate) fn sign(&self, text: &str) -> String {
        let mut signature = self.id.to_vec();
        signature.extend_from_slice(self.pair.sign(text.as_bytes()).as_ref());
        format!("{text}\n\u{2014} {} {}\n", self.origin, STANDARD.encode(signature))
    }

    pub(crate) fn sign_head(&self, number: u64, hash: &[u8; 32], from: u64, time: &str) -> String {
        let hash = STANDARD.encode(hash);
        self.sign(&format!("{}\n{number}\n{hash}\nfrom {from}\ntime {time}\n", self.origin))
    }

    /// Says that `successor` signs from now on.
    pub(crate) fn certify(&self, successor: &str) -> String {
        self.sign(&format!("{}\nkey {successor}\n", self.origin))
    }
}

fn origin(node: &str) -> String {
    format!("gatepost/{node}")
}

fn make(path: &Path) -> Result<(), OpenError> {
    let io = |source| OpenError::Io { path: path.to_owned(), source };
    let no_randomness = |_| io(std::io::Error::other("the system's random source failed"));
    let pair = Ed25519KeyPair::generate().map_err(no_randomness)?;
    // The first version of the format, without the public key, is the one that OpenSSL reads.
    let document = pair.to_pkcs8v1().map_err(no_randomness)?;
    let body = STANDARD.encode(document.as_ref());
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n");
    // Under another name first, so that half a key is never taken for one.
    let mut half = path.as_os_str().to_owned();
    half.push(".tmp");
    let mut options = OpenOptions::new();
    let mut file =
        options.write(true).create(true).truncate(true).mode(0o600).open(&half).map_err(io)?;
    file.write_all(pem.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    std::fs::rename(&half, path).map_err(io)?;
    crate::segment::sync_directory_of(path).map_err(io)
}
