//! TLS on both legs.

use std::path::Path;

/// TLS as offered to clients.
pub struct ListenerTls {}

/// How the leg to the database is protected.
pub struct UpstreamTls {}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsMode {
    Disable,
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("can't read {path}: {source}")]
    Unreadable { path: std::path::PathBuf, source: std::io::Error },
    #[error("{path}: {what}")]
    Unusable { path: std::path::PathBuf, what: String },
    #[error("this machine has no usable root certificates; name a `ca` file")]
    NoRoots,
}

impl ListenerTls {
    /// A PEM chain, leaf first, and its key.
    pub fn load(certificate: &Path, key: &Path) -> Result<ListenerTls, TlsError> {
        let _ = (certificate, key);
        Ok(ListenerTls {})
    }
}

impl UpstreamTls {
    /// `ca` replaces the roots of the system for the two modes that verify.
    pub fn new(mode: TlsMode, ca: Option<&Path>) -> Result<UpstreamTls, TlsError> {
        let _ = (mode, ca);
        Ok(UpstreamTls {})
    }
}
