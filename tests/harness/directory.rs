//! A directory that lasts as long as its guard.

use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub struct Directory(PathBuf);

impl Directory {
    #[allow(clippy::new_without_default)] // a default that touches the disk would surprise
    pub fn new() -> Directory {
        let path = std::env::temp_dir().join(format!("gatepost-test-{}", unique()));
        fs::create_dir(&path).expect("a temporary directory");
        // PostgreSQL, which is not root, reads certificates from here.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        Directory(path)
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap_or_else(|e| panic!("writing {}: {e}", path.display()));
        path
    }
}

impl Deref for Directory {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

/// Twelve hexadecimal digits that nobody else drew: each `RandomState` has keys of its own.
pub(crate) fn unique() -> String {
    format!("{:012x}", RandomState::new().build_hasher().finish() >> 16)
}
