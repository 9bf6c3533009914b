//! The server's side: Gatepost checks a client's proof against the verifiers of a name. It follows
//! PostgreSQL's `auth-scram.c` in what it accepts and in which order it looks.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time;

use super::keys::{KEY_BYTES, Verifier, hash, key, mac, xor};
use super::message::{Message, encode, is_printable, nonce};
use super::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError};

/// The work of a login is that of this many verifiers, however few a name has, so that the time it
/// takes doesn't tell how many those are, nor that there are none: about a microsecond each.
const VERIFIERS_TRIED_MIN: usize = 16;

/// The mechanisms to offer, best first, given the hash of the certificate that the client sees.
pub fn mechanisms(binding: Option<&[u8]>) -> &'static [&'static str] {
    match binding {
        Some(_) => &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256],
        None => &[SCRAM_SHA_256],
    }
}

/// An exchange in which the server has spoken first and waits for the client's proof.
pub struct Server {
    client_first_bare: Vec<u8>,
    server_first: String,
    /// The client's nonce and then ours.
    nonce: Vec<u8>,
    /// The `c=` that the client has to send.
    binding: String,
    has_binding: bool,
    verifiers: Vec<Verifier>,
}

impl Server {
    /// Answers the client's first message with the server's first.
    ///
    /// `binding` is the hash of the certificate that the client sees, or `None` without TLS: the
    /// same that `mechanisms` got. A verifier of another salt or other iterations fits no proof.
    pub fn begin(
        mechanism: &str,
        client_first: &[u8],
        binding: Option<&[u8]>,
        salt: &[u8],
        iterations: NonZeroU32,
        verifiers: Vec<Verifier>,
    ) -> Result<(String, Server), ScramError> {
        let nonce = nonce()?;
        begin_with_nonce(mechanism, client_first, binding, salt, iterations, verifiers, &nonce)
    }

    /// Checks the client's proof: which verifier it fits, and the server's own proof to send back.
    pub fn finish(self, client_final: &[u8]) -> Result<(usize, String), ScramError> {
        let mut message = Message::new(client_final)?;
        let binding = message.attribute(b'c', "channel binding was expected")?;
        if binding != self.binding.as_bytes() {
            return Err(match self.has_binding {
                true => ScramError::BindingMismatch,
                false => ScramError::Malformed("unexpected channel-binding attribute"),
            });
        }
        let nonce = message.attribute(b'r', "a nonce was expected")?;
        let (without_proof, proof) = loop {
            let before = message.read();
            if let (b'p', proof) = message.any_attribute()? {
                break (before, proof);
            }
        };
        let proof = key(proof).ok_or(ScramError::Malformed("malformed proof"))?;
        message.end()?;
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        let without_proof = without_proof.strip_suffix(b",").unwrap_or(without_proof);

        let server_first = self.server_first.as_bytes();
        let authenticated: [&[u8]; 5] =
            [&self.client_first_bare, b",", server_first, b",", without_proof];
        // Every round does the same work, and none ends the loop.
        let mut fits = None;
        for round in 0..self.verifiers.len().max(VERIFIERS_TRIED_MIN) {
            let verifier = self.verifiers.get(round);
            let stored_key = verifier.map_or([0; KEY_BYTES], |verifier| verifier.stored_key);
            let client_key = xor(&proof, &mac(&stored_key, &authenticated));
            let equal = constant_time::verify_slices_are_equal(&hash(&client_key), &stored_key);
            if let (Ok(()), Some(verifier)) = (equal, verifier) {
                fits = Some((round, verifier));
            }
        }
        let (index, verifier) = fits.ok_or(ScramError::Refused)?;
        let signature = mac(&verifier.server_key, &authenticated);
        Ok((index, format!("v={}", encode(&signature))))
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scram::Server(…)")
    }
}

pub(super) fn begin_with_nonce(
    mechanism: &str,
    client_first: &[u8],
    binding: Option<&[u8]>,
    salt: &[u8],
    iterations: NonZeroU32,
    verifiers: Vec<Verifier>,
    server_nonce: &str,
) -> Result<(String, Server), ScramError> {
    if !mechanisms(binding).contains(&mechanism) {
        return Err(ScramError::Mechanism);
    }
    let has_binding = mechanism == SCRAM_SHA_256_PLUS;
    let mut message = Message::new(client_first)?;
    read_binding_flag(&mut message, has_binding, binding.is_some())?;
    if message.rest().first() == Some(&b'a') {
        return Err(ScramError::AuthorizationIdentity);
    }
    if !message.skip(b',') {
        return Err(ScramError::Malformed("unexpected attribute in client-first-message"));
    }
    let mut expected_binding = message.read().to_vec();
    if has_binding {
        expected_binding.extend_from_slice(binding.unwrap_or_default());
    }

    let client_first_bare = message.rest().to_vec();
    if client_first_bare.first() == Some(&b'm') {
        return Err(ScramError::Extension);
    }
    // The name is ignored: the startup packet has the one that counts.
    message.attribute(b'n', "a user name was expected")?;
    let client_nonce = message.attribute(b'r', "a nonce was expected")?;
    if !is_printable(client_nonce) {
        return Err(ScramError::Malformed("non-printable characters in nonce"));
    }
    while !message.rest().is_empty() {
        message.any_attribute()?;
    }

    let nonce = [client_nonce, server_nonce.as_bytes()].concat();
    // A nonce is visible ASCII, so nothing is replaced here.
    let shown = String::from_utf8_lossy(&nonce);
    let server_first = format!("r={shown},s={},i={iterations}", encode(salt));
    let server = Server {
        client_first_bare,
        server_first: server_first.clone(),
        nonce,
        binding: encode(&expected_binding),
        has_binding,
        verifiers,
    };
    Ok((server_first, server))
}

/// `n`: the client can't bind. `y`: it could, and believes that we can't. `p=`: it does.
fn read_binding_flag(
    message: &mut Message<'_>,
    has_binding: bool,
    could_bind: bool,
) -> Result<(), ScramError> {
    match message.rest().first() {
        Some(b'n' | b'y') if has_binding => return Err(ScramError::BindingMissing),
        Some(b'n') => message.skip(b'n'),
        Some(b'y') if could_bind => return Err(ScramError::Downgrade),
        Some(b'y') => message.skip(b'y'),
        Some(b'p') if !has_binding => return Err(ScramError::BindingUnexpected),
        Some(b'p') => {
            let kind = message.attribute(b'p', "a channel-binding type was expected")?;
            return match kind {
                b"tls-server-end-point" => Ok(()),
                _ => Err(ScramError::BindingType),
            };
        }
        _ => return Err(ScramError::Malformed("unexpected channel-binding flag")),
    };
    match message.skip(b',') {
        true => Ok(()),
        false => Err(ScramError::Malformed("a comma was expected")),
    }
}
