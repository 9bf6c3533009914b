//! What a password becomes: the keys of RFC 5802, section 3, the verifier that is kept of them, and
//! the salts that tell nobody which names exist. Nothing here knows of messages.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};

use super::message::{decimal, decode, encode};
use super::{SCRAM_SHA_256, ScramError};

/// PostgreSQL's default. Tokens are 256 random bits, so more would cost every login and protect
/// nothing.
pub const ITERATIONS: NonZeroU32 = match NonZeroU32::new(4096) {
    Some(iterations) => iterations,
    None => NonZeroU32::MIN,
};

/// As PostgreSQL's, so that a name without a verifier here looks like one there.
pub const SALT_BYTES: usize = 16;

pub(super) const KEY_BYTES: usize = 32;
pub(super) type Key = [u8; KEY_BYTES];

/// What a client proves itself with. Deriving it takes half a millisecond of CPU at 4096 iterations,
/// and it is the same for the same password, salt and iterations: whoever logs in often keeps it.
/// It is as good as the password and is to be kept as such.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientKeys {
    pub(super) client_key: Key,
    pub(super) server_key: Key,
}

impl ClientKeys {
    /// Runs PBKDF2: the time is in proportion to `iterations`.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let mut salted: Key = [0; KEY_BYTES];
        let password = prepare(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, iterations, salt, &password, &mut salted);
        ClientKeys {
            client_key: mac(&salted, &[b"Client Key"]),
            server_key: mac(&salted, &[b"Server Key"]),
        }
    }
}

impl fmt::Debug for ClientKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientKeys(…)")
    }
}

/// What is kept of a password: enough to check a proof, not enough to make one. Its text is
/// PostgreSQL's, `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    pub(super) stored_key: Key,
    pub(super) server_key: Key,
}

impl Verifier {
    /// Runs PBKDF2: the time is in proportion to `iterations`.
    pub fn derive(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let keys = ClientKeys::derive(password, salt, iterations);
        Verifier {
            salt: salt.to_vec(),
            iterations,
            stored_key: hash(&keys.client_key),
            server_key: keys.server_key,
        }
    }
}

impl Verifier {
    /// Whether both are of the same password, in a time that says nothing.
    pub fn is(&self, other: &Verifier) -> bool {
        let own = constant_time::verify_slices_are_equal(&self.stored_key, &other.stored_key);
        own.is_ok() && self.salt == other.salt && self.iterations == other.iterations
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (iterations, salt) = (self.iterations, encode(&self.salt));
        let (stored, server) = (encode(&self.stored_key), encode(&self.server_key));
        write!(f, "{SCRAM_SHA_256}${iterations}:{salt}${stored}:{server}")
    }
}

impl FromStr for Verifier {
    type Err = ScramError;

    fn from_str(text: &str) -> Result<Self, ScramError> {
        Self::parse(text).ok_or(ScramError::Verifier)
    }
}

impl Verifier {
    fn parse(text: &str) -> Option<Self> {
        let parameters = text.strip_prefix(SCRAM_SHA_256)?.strip_prefix('$')?;
        let (parameters, keys) = parameters.split_once('$')?;
        let (iterations, salt) = parameters.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        Some(Verifier {
            salt: decode(salt.as_bytes(), "salt").ok()?,
            iterations: NonZeroU32::new(decimal(iterations.as_bytes())?)?,
            stored_key: key(stored_key.as_bytes())?,
            server_key: key(server_key.as_bytes())?,
        })
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Verifier(…)")
    }
}

/// Salts that depend on the name and on a key that only Gatepost has: a name gets the same salt
/// each time it is tried, whether it exists or not, and all its tokens share it.
#[derive(Clone)]
pub struct Salts(hmac::Key);

impl Salts {
    pub fn new(key: [u8; 32]) -> Self {
        Salts(hmac::Key::new(hmac::HMAC_SHA256, &key))
    }

    pub fn salt_of(&self, name: &str) -> [u8; SALT_BYTES] {
        let mut salt = [0; SALT_BYTES];
        let tag = hmac::sign(&self.0, name.as_bytes());
        for (salt, tag) in salt.iter_mut().zip(tag.as_ref()) {
            *salt = *tag;
        }
        salt
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(…)")
    }
}

pub(super) fn mac(key: &Key, parts: &[&[u8]]) -> Key {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    // SHA-256 has 32 bytes, so this neither cuts nor panics.
    let mut mac = [0; KEY_BYTES];
    mac.copy_from_slice(context.sign().as_ref());
    mac
}

pub(super) fn hash(key: &Key) -> Key {
    let mut hash = [0; KEY_BYTES];
    hash.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    hash
}

pub(super) fn key(text: &[u8]) -> Option<Key> {
    decode(text, "key").ok()?.try_into().ok()
}

pub(super) fn xor(a: &Key, b: &Key) -> Key {
    let mut both = *a;
    for (both, b) in both.iter_mut().zip(b) {
        *both ^= b;
    }
    both
}

/// SASLprep as PostgreSQL does it (RFC 4013): what can't be prepared (not UTF-8, a prohibited
/// character, nothing left) is taken as it is, and so is everything that is plain ASCII.
fn prepare(password: &[u8]) -> Vec<u8> {
    let text = match str::from_utf8(password) {
        Ok(text) if !text.is_ascii() => text,
        _ => return password.to_vec(),
    };
    match stringprep::saslprep(text) {
        Ok(prepared) if !prepared.is_empty() => prepared.as_bytes().to_vec(),
        _ => password.to_vec(),
    }
}
