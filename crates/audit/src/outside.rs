//! The disk and the clock, as the writer uses them: the few calls that can fail or lie. Tests put
//! faults between; in the product there is nothing between.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::blocks::Blocks;
use crate::segment::sync_directory_of;

#[derive(Clone, Debug, Default)]
pub(crate) struct Outside {
    #[cfg(test)]
    pub(crate) faults: std::sync::Arc<crate::tests::faults::Faults>,
}

/// Where a fault can be put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Create,
    Write,
    Sync,
    Rename,
}

impl Outside {
    /// A file of really written zeros: writing into blocks that the file system has given and
    /// written already is what makes the later fdatasync cheap, and no disk fills up under it.
    pub(crate) fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<Blocks> {
        self.before(Call::Create)?;
        Blocks::create_zeroed(path, bytes)
    }

    pub(crate) fn write_at(&self, file: &mut Blocks, bytes: &[u8], at: u64) -> io::Result<()> {
        self.before(Call::Write)?;
        file.write_at(bytes, at)
    }

    pub(crate) fn sync(&self, file: &Blocks) -> io::Result<()> {
        self.before(Call::Sync)?;
        file.sync()
    }

    pub(crate) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.before(Call::Rename)?;
        fs::rename(from, to)?;
        sync_directory_of(to)
    }

    /// In microseconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        #[cfg(test)]
        if let Some(now) = self.faults.now() {
            return now;
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    }

    #[cfg(test)]
    fn before(&self, call: Call) -> io::Result<()> {
        self.faults.before(call)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the tests' twin uses both")]
    fn before(&self, _: Call) -> io::Result<()> {
        Ok(())
    }
}
