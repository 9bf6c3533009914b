//! A secret by reference: where it is, never what it is, so that no configuration, log or error
//! can show it.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A variable of Gatepost's own environment.
    Env(String),
    /// A file's first line.
    File(PathBuf),
    /// What a command prints: its first line. It runs again once `lifetime` has passed, or when
    /// a login with what it printed fails.
    Command { argv: Vec<String>, lifetime: Option<Duration> },
}

/// A secret that is fetched when it is needed and remembered while it is good.
pub struct Secret {
    source: Source,
    fetched: Mutex<Option<(Instant, String)>>,
}

impl Secret {
    pub fn new(source: Source) -> Self {
        Secret { source, fetched: Mutex::new(None) }
    }
}
