//! The client's side: Gatepost proves its own password to a database, and has the database prove
//! that it knows it. Trying and caching keys is the caller's business: only they know when a
//! password has changed.

use std::fmt;
use std::num::NonZeroU32;

use aws_lc_rs::constant_time;

use super::keys::{ClientKeys, hash, key, mac, xor};
use super::message::{Message, decimal, decode, encode, is_printable, nonce};
use super::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError};

/// The most iterations a server may ask for. It chooses the number before it has proven anything,
/// and we pay for it: this is above what anybody recommends (OWASP: 600,000) and still below a
/// second of one core.
pub(super) const ITERATIONS_MAX: u32 = 1_000_000;

/// What the client can and will bind the exchange to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientBinding {
    /// No TLS, or a certificate without a usable hash.
    Unsupported,
    /// There is something to bind to, and the server's list has no SCRAM-SHA-256-PLUS. Saying so
    /// lets an honest server notice that its list was cut on the way.
    NotOffered,
    /// The server's list has SCRAM-SHA-256-PLUS: the hash of the certificate that it presented.
    Endpoint(Vec<u8>),
}

impl ClientBinding {
    /// The mechanism to select.
    pub fn mechanism(&self) -> &'static str {
        match self {
            ClientBinding::Endpoint(_) => SCRAM_SHA_256_PLUS,
            ClientBinding::Unsupported | ClientBinding::NotOffered => SCRAM_SHA_256,
        }
    }

    fn header(&self) -> &'static str {
        match self {
            ClientBinding::Unsupported => "n,,",
            ClientBinding::NotOffered => "y,,",
            ClientBinding::Endpoint(_) => "p=tls-server-end-point,,",
        }
    }
}

/// An exchange in which the client has spoken first.
pub struct Client {
    binding: ClientBinding,
    nonce: String,
    client_first_bare: String,
}

impl Client {
    /// The client's first message, to be sent with `binding.mechanism()`.
    pub fn begin(binding: ClientBinding) -> Result<(String, Client), ScramError> {
        Ok(begin_with_nonce(binding, "", nonce()?))
    }

    /// Reads the server's first message. It says which keys the proof has to be made with.
    pub fn challenge(self, server_first: &[u8]) -> Result<Challenge, ScramError> {
        let mut message = Message::new(server_first)?;
        let nonce = message.attribute(b'r', "a nonce was expected")?;
        // It must extend ours: an equal one adds nothing of the server's.
        let added = nonce.strip_prefix(self.nonce.as_bytes());
        if added.is_none_or(<[u8]>::is_empty) {
            return Err(ScramError::Nonce);
        }
        if !is_printable(nonce) {
            return Err(ScramError::Malformed("non-printable characters in nonce"));
        }
        let salt = message.attribute(b's', "a salt was expected")?;
        let salt = decode(salt, "malformed salt")?;
        let iterations = message.attribute(b'i', "an iteration count was expected")?;
        let iterations = decimal(iterations)
            .and_then(NonZeroU32::new)
            .ok_or(ScramError::Malformed("malformed iteration count"))?;
        message.end()?;
        if iterations.get() > ITERATIONS_MAX {
            return Err(ScramError::Iterations(iterations.get()));
        }

        let mut binding = self.binding.header().as_bytes().to_vec();
        if let ClientBinding::Endpoint(hash) = &self.binding {
            binding.extend_from_slice(hash);
        }
        let mut without_proof = format!("c={},r=", encode(&binding)).into_bytes();
        without_proof.extend_from_slice(nonce);
        let client_first_bare = self.client_first_bare.as_bytes();
        let authenticated = [client_first_bare, server_first, &without_proof].join(&b',');
        Ok(Challenge { salt, iterations, without_proof, authenticated })
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scram::Client(…)")
    }
}

/// An exchange in which the server has named the salt and the iterations.
pub struct Challenge {
    salt: Vec<u8>,
    iterations: NonZeroU32,
    without_proof: Vec<u8>,
    authenticated: Vec<u8>,
}

impl Challenge {
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    pub fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// The client's final message, by keys of this salt and these iterations.
    pub fn answer(self, keys: &ClientKeys) -> (Vec<u8>, Answered) {
        let signature = mac(&hash(&keys.client_key), &[&self.authenticated]);
        let proof = encode(&xor(&keys.client_key, &signature));
        let mut client_final = self.without_proof;
        client_final.extend_from_slice(b",p=");
        client_final.extend_from_slice(proof.as_bytes());
        let expected = mac(&keys.server_key, &[&self.authenticated]);
        (client_final, Answered { expected })
    }
}

impl fmt::Debug for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scram::Challenge(…)")
    }
}

/// An exchange in which the client has proven itself and the server has yet to.
#[must_use = "the server has proven nothing until its final message is verified"]
pub struct Answered {
    expected: [u8; 32],
}

impl Answered {
    /// Checks the server's final message: without it anybody could have said yes.
    pub fn verify(self, server_final: &[u8]) -> Result<(), ScramError> {
        let mut message = Message::new(server_final)?;
        let signature = match message.any_attribute()? {
            (b'v', signature) => signature,
            (b'e', error) if is_printable(error) => {
                return Err(ScramError::Server(String::from_utf8_lossy(error).into_owned()));
            }
            _ => return Err(ScramError::Malformed("a server signature was expected")),
        };
        message.end()?;
        let signature = key(signature).ok_or(ScramError::Malformed("malformed signature"))?;
        constant_time::verify_slices_are_equal(&signature, &self.expected)
            .map_err(|_| ScramError::ServerSignature)
    }
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("scram::Answered(…)")
    }
}

/// PostgreSQL takes the name from the startup packet, so ours stays empty; RFC 7677's example
/// has one.
pub(super) fn begin_with_nonce(
    binding: ClientBinding,
    name: &str,
    nonce: String,
) -> (String, Client) {
    let client_first_bare = format!("n={name},r={nonce}");
    let client_first = format!("{}{client_first_bare}", binding.header());
    (client_first, Client { binding, nonce, client_first_bare })
}
