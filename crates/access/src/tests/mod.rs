//! What the tests of the store share: a directory of their own, and the time that it is in them.

mod cluster;
mod file;
mod flow;
mod model;
mod room;
mod trouble;
mod untold;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::State;

const NOW: i64 = 1_800_000_000_000;

/// A directory that goes away with the test.
pub(super) struct Directory(pub(super) PathBuf);

impl Directory {
    pub(super) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("gatepost-access-{}-{count}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Directory(path)
    }

    pub(super) fn file(&self) -> PathBuf {
        self.0.join("gatepost.db")
    }

    pub(super) fn state(&self) -> State {
        State::open(&self.file()).unwrap()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
