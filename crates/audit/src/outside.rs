//! The disk and the clock, as the writer uses them: the few calls that can fail or lie. Tests put
//! faults between; in the product there is nothing between.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::segment::sync_directory_of;

const ZEROS_BYTES: usize = 1 << 20;

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
    pub(crate) fn create_zeroed(&self, path: &Path, bytes: u64) -> io::Result<File> {
        self.before(Call::Create)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(path)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut left = bytes;
        while left > 0 {
            let take = usize::try_from(left).unwrap_or(ZEROS_BYTES).min(ZEROS_BYTES);
            file.write_all(zeros.get(..take).unwrap_or(&zeros))?;
            left -= take as u64;
        }
        file.sync_all()?;
        Ok(file)
    }

    pub(crate) fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.before(Call::Write)?;
        file.write_all_at(bytes, offset)
    }

    pub(crate) fn sync(&self, file: &File) -> io::Result<()> {
        self.before(Call::Sync)?;
        file.sync_data()
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
