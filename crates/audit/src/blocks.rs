//! A segment's file as it is written: in whole blocks past the page cache, where the file system
//! can. What goes through the cache is copied once more, looked for page by page when it is synced,
//! and takes the room of what others read; a journal is hardly ever read. What is written when, and
//! what becomes of failures, is the business of `outside` and `writer`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

/// Offsets, lengths and addresses of direct I/O are multiples of this: no disk in use has longer
/// sectors, and a page has as many bytes.
const BLOCK_BYTES: usize = 4096;

/// So much is written or read at once.
const CHUNK_BYTES: usize = 512 << 10;

#[cfg(target_os = "linux")]
const DIRECT: i32 = libc::O_DIRECT;
/// Elsewhere whole blocks go through the cache.
#[cfg(not(target_os = "linux"))]
const DIRECT: i32 = 0;

pub(crate) struct Blocks {
    file: File,
    direct: bool,
    /// Begins with what the last, incomplete block holds, if that ends at `end`.
    chunk: Chunk,
    end: Option<u64>,
}

impl Blocks {
    /// A new file of really written zeros, at least so many, on the disk.
    pub(crate) fn create_zeroed(path: &Path, bytes: u64) -> io::Result<Blocks> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(true).mode(0o600);
        let zeroed = Blocks::open_with(&mut options, path, true).and_then(|mut blocks| {
            blocks.write_zeros(bytes)?;
            Ok(blocks)
        });
        match zeroed {
            // There are file systems that let a file be opened so, and then can't write it.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                let mut blocks = Blocks::open_with(&mut options, path, false)?;
                blocks.write_zeros(bytes)?;
                Ok(blocks)
            }
            zeroed => zeroed,
        }
    }

    pub(crate) fn open(path: &Path) -> io::Result<Blocks> {
        let mut options = OpenOptions::new();
        options.read(true).write(true);
        match Blocks::open_with(&mut options, path, true) {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
                Blocks::open_with(&mut options, path, false)
            }
            opened => opened,
        }
    }

    fn open_with(options: &mut OpenOptions, path: &Path, direct: bool) -> io::Result<Blocks> {
        let file = options.custom_flags(if direct { DIRECT } else { 0 }).open(path)?;
        Ok(Blocks { file, direct, chunk: Chunk::new(), end: None })
    }

    fn write_zeros(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = bytes.next_multiple_of(BLOCK_BYTES as u64);
        let mut at = 0;
        while at < bytes {
            let take = usize::try_from(bytes - at).unwrap_or(CHUNK_BYTES).min(CHUNK_BYTES);
            let zeros = self.chunk.bytes()?.get(..take).unwrap_or_default();
            self.file.write_all_at(zeros, at)?;
            at += take as u64;
        }
        self.file.sync_all()
    }

    pub(crate) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Nothing but zeros may follow in the file: the rest of the last block is written with it.
    pub(crate) fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        if !self.direct {
            return self.file.write_all_at(bytes, offset);
        }
        let mut held = (offset % BLOCK_BYTES as u64) as usize;
        let mut at = offset - held as u64;
        if self.end.take() != Some(offset) && held > 0 {
            let block = self.chunk.bytes()?.get_mut(..BLOCK_BYTES).unwrap_or_default();
            self.file.read_exact_at(block, at)?;
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(CHUNK_BYTES - held));
            let chunk = self.chunk.bytes()?;
            let used = held + now.len();
            let whole = used.next_multiple_of(BLOCK_BYTES);
            chunk.get_mut(held..used).unwrap_or_default().copy_from_slice(now);
            chunk.get_mut(used..whole).unwrap_or_default().fill(0);
            self.file.write_all_at(chunk.get(..whole).unwrap_or_default(), at)?;
            held = used % BLOCK_BYTES;
            chunk.copy_within(used - held..used, 0);
            at += (used - held) as u64;
            rest = later;
        }
        self.end = Some(at + held as u64);
        Ok(())
    }

    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// What there is from `offset`, which is where a read before ended, or 0.
    pub(crate) fn read_at(&mut self, offset: u64) -> io::Result<&[u8]> {
        self.end = None;
        let chunk = self.chunk.bytes()?;
        let read = self.file.read_at(chunk, offset)?;
        Ok(chunk.get(..read).unwrap_or_default())
    }
}

/// `CHUNK_BYTES` that begin at a multiple of `BLOCK_BYTES`.
struct Chunk(Vec<u8>);

impl Chunk {
    fn new() -> Chunk {
        Chunk(vec![0; CHUNK_BYTES + BLOCK_BYTES])
    }

    fn bytes(&mut self) -> io::Result<&mut [u8]> {
        let start = self.0.as_ptr().align_offset(BLOCK_BYTES);
        self.0
            .get_mut(start..)
            .and_then(|from| from.get_mut(..CHUNK_BYTES))
            .ok_or_else(|| io::Error::other("memory cannot be aligned"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Place(std::path::PathBuf);

    impl Place {
        fn new(name: &str) -> Place {
            let pid = std::process::id();
            Place(std::env::temp_dir().join(format!("gatepost-blocks-{name}-{pid}")))
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    #[test]
    fn a_new_file_is_zeros_of_whole_blocks() {
        let place = Place::new("zeros");
        for (bytes, size) in [(1, 4096), (4096, 4096), (CHUNK_BYTES as u64 + 1, 528_384)] {
            let blocks = Blocks::create_zeroed(&place.0, bytes).unwrap();
            assert_eq!(blocks.size().unwrap(), size);
            assert_eq!(std::fs::read(&place.0).unwrap(), vec![0; size as usize]);
        }
    }

    /// ramfs is such a file system.
    #[test]
    fn a_file_system_that_has_only_its_cache_is_written_through_it() {
        let place = Place::new("ramfs");
        std::fs::create_dir(&place.0).unwrap();
        let mount = |program: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(program);
            command.args(arguments).arg(&place.0).output().is_ok_and(|it| it.status.success())
        };
        let mounted = mount("mount", &["-t", "ramfs", "none"]);
        let path = place.0.join("file");
        let written = mounted.then(|| -> io::Result<_> {
            let mut created = Blocks::create_zeroed(&path, 8192)?;
            created.write_at(b"one", 0)?;
            let mut opened = Blocks::open(&path)?;
            opened.write_at(b"two", 3)?;
            opened.sync()?;
            Ok((created.direct, opened.direct, std::fs::read(&path)?))
        });
        if mounted {
            assert!(mount("umount", &[]));
        }
        std::fs::remove_dir(&place.0).unwrap();
        match written {
            None => eprintln!("not tried, for only root can mount"),
            Some(written) => {
                let (created, opened, bytes) = written.unwrap();
                assert!(!created && !opened);
                assert_eq!(bytes.len(), 8192);
                assert!(bytes.starts_with(b"onetwo\0"));
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Pieces one after another, past the cache and through it, by one writer or by one that
        /// opens the file anew: the file holds them, and zeros.
        #[test]
        fn what_is_written_is_there(
            pieces in prop::collection::vec((0usize..9000, any::<bool>()), 1..12),
            long in prop::option::of(CHUNK_BYTES - 5000..2 * CHUNK_BYTES),
            direct in any::<bool>(),
        ) {
            let place = Place::new("pieces");
            let mut blocks = Blocks::create_zeroed(&place.0, 3 << 20).unwrap();
            let mut expected = vec![0; 3 << 20];
            let mut end = 0;
            let lengths = pieces.into_iter().chain(long.map(|long| (long, false)));
            for (index, (length, anew)) in lengths.enumerate() {
                if anew || !direct {
                    let mut options = OpenOptions::new();
                    options.read(true).write(true);
                    blocks = Blocks::open_with(&mut options, &place.0, direct).unwrap();
                }
                let piece: Vec<u8> = (0..length).map(|at| (at % 251 + index) as u8 | 1).collect();
                blocks.write_at(&piece, end as u64).unwrap();
                blocks.sync().unwrap();
                expected[end..end + length].copy_from_slice(&piece);
                end += length;
            }
            prop_assert!(std::fs::read(&place.0).unwrap() == expected);
            let (mut read, mut at) = (Vec::new(), 0);
            while at < expected.len() as u64 {
                let chunk = blocks.read_at(at).unwrap();
                at += chunk.len() as u64;
                read.extend_from_slice(chunk);
            }
            prop_assert!(read == expected);
        }
    }
}
