//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, 7677) as PostgreSQL speaks them: the server's
//! side for Gatepost's clients, the client's for Gatepost's own logins. Messages in, messages out:
//! how they travel is the business of `wire`, and where verifiers are kept that of `access`.
//!
//! <https://www.postgresql.org/docs/current/sasl-authentication.html>

mod client;
mod keys;
mod message;
mod server;

use thiserror::Error;

pub use client::{Answered, Challenge, Client, ClientBinding};
pub use keys::{ClientKeys, ITERATIONS, SALT_BYTES, Salts, Verifier};
pub use message::MESSAGE_BYTES_MAX;
pub use server::{Server, mechanisms};

use crate::random::NoRandomness;

pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// Why an exchange ended. The texts are PostgreSQL's own where it has one; none of them holds a
/// secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum ScramError {
    /// One answer for a name without verifiers and for a proof that fits none.
    #[error("password authentication failed")]
    Refused,
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    #[error("SCRAM message is longer than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
    #[error("client uses authorization identity, but it is not supported")]
    AuthorizationIdentity,
    #[error("client requires an unsupported SCRAM extension")]
    Extension,
    #[error("unsupported SCRAM channel-binding type")]
    BindingType,
    /// SCRAM-SHA-256-PLUS without `p=`.
    #[error(
        "the client selected SCRAM-SHA-256-PLUS, but the SCRAM message does not include channel \
         binding data"
    )]
    BindingMissing,
    /// `p=` without SCRAM-SHA-256-PLUS.
    #[error(
        "the client selected SCRAM-SHA-256 without channel binding, but the SCRAM message includes \
         channel binding data"
    )]
    BindingUnexpected,
    /// `y` to a server that does offer SCRAM-SHA-256-PLUS: somebody took it off the list.
    #[error(
        "the client supports SCRAM channel binding but thinks the server does not; however, this \
         server does support channel binding"
    )]
    Downgrade,
    /// The two sides see different certificates.
    #[error("SCRAM channel binding check failed")]
    BindingMismatch,
    #[error("SCRAM nonce does not match")]
    Nonce,
    #[error("the server asks for {0} iterations; {max} is the most", max = client::ITERATIONS_MAX)]
    Iterations(u32),
    #[error("error received from server in SCRAM exchange: {0}")]
    Server(String),
    /// The server doesn't know the password's verifier: it isn't the server it says it is.
    #[error("incorrect server signature")]
    ServerSignature,
    #[error("not a SCRAM-SHA-256 verifier")]
    Verifier,
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

#[cfg(test)]
mod tests;
