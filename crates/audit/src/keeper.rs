//! The thread beside the writer that does what takes long: writing the zeros of the next segment
//! ahead of time, and compressing those that are finished. It never touches the segment that is
//! written to.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use zstd::zstd_safe::{CParameter, ParamSwitch};

use crate::blocks::Blocks;
use crate::outside::Outside;
use crate::segment::{plain_name, sealed_name, sync_directory_of};

/// Measured on lines as pgbench makes them: eight and a half to one. Level 1 takes half as much
/// work again for a tenth fewer bytes; without coding what does not repeat, as negative levels
/// usually do, a third of the work is saved for almost twice the bytes.
const ZSTD_LEVEL: i32 = -4;

pub(crate) const SPARE_NAME: &str = "spare.tmp";

pub(crate) struct Keeper {
    jobs: Sender<Job>,
    spares: Receiver<io::Result<Blocks>>,
    asked: bool,
    thread: JoinHandle<()>,
}

enum Job {
    Prepare,
    Seal { first: u64, bytes: u64 },
}

impl Keeper {
    pub(crate) fn start(directory: &Path, bytes: u64, outside: Outside) -> io::Result<Keeper> {
        let (jobs, waiting) = channel();
        let (made, spares) = channel();
        let directory = directory.to_owned();
        let thread =
            std::thread::Builder::new().name("gatepost-keeper".to_owned()).spawn(move || {
                for job in waiting {
                    match job {
                        Job::Prepare => {
                            let spare = prepare(&directory.join(SPARE_NAME), bytes, &outside);
                            if made.send(spare).is_err() {
                                return;
                            }
                        }
                        Job::Seal { first, bytes } => seal_or_say(&directory, first, bytes),
                    }
                }
            })?;
        Ok(Keeper { jobs, spares, asked: false, thread })
    }

    /// Asks for the next spare, unless it is asked for already.
    pub(crate) fn prepare(&mut self) {
        if !self.asked {
            // If the thread is gone, `spare` says so.
            self.asked = self.jobs.send(Job::Prepare).is_ok();
        }
    }

    /// Waits for a spare. Who has moved it away asks for the next.
    pub(crate) fn spare(&mut self) -> io::Result<Blocks> {
        self.prepare();
        let spare = self.spares.recv();
        self.asked = false;
        spare.unwrap_or_else(|_| Err(io::Error::other("the journal's keeper has ended")))
    }

    pub(crate) fn seal(&self, first: u64, bytes: u64) {
        if self.jobs.send(Job::Seal { first, bytes }).is_err() {
            tracing::warn!(segment = first, "a journal segment stays uncompressed");
        }
    }

    /// Does what was asked for, and ends.
    pub(crate) fn finish(self) {
        drop(self.jobs);
        if self.thread.join().is_err() {
            tracing::error!("the journal's keeper has panicked");
        }
    }
}

fn prepare(path: &Path, bytes: u64, outside: &Outside) -> io::Result<Blocks> {
    outside.create_zeroed(path, bytes).inspect_err(|_| {
        // Half a spare would only hold space that others need more.
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, "half a spare segment could not be removed");
        }
    })
}

/// A segment that can't be compressed is as good a record as one that is, and the next start tries
/// again.
fn seal_or_say(directory: &Path, first: u64, bytes: u64) {
    if let Err(error) = seal(directory, first, bytes) {
        tracing::warn!(%error, segment = first, "a journal segment stays uncompressed for now");
    }
}

/// Of the plain file only `bytes` are kept: what comes after was never acknowledged.
fn seal(directory: &Path, first: u64, bytes: u64) -> io::Result<()> {
    let plain = directory.join(plain_name(first));
    let sealed = directory.join(sealed_name(first));
    let new = half_sealed(&sealed);
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut encoder = zstd::Encoder::new(file, ZSTD_LEVEL)?;
    encoder.set_parameter(CParameter::LiteralCompressionMode(ParamSwitch::Enable))?;
    encoder.include_checksum(true)?;
    let mut source = Blocks::open(&plain)?;
    let mut at = 0;
    while at < bytes {
        let chunk = source.read_at(at)?;
        let wanted = usize::try_from(bytes - at).unwrap_or(usize::MAX);
        encoder.write_all(chunk.get(..wanted).unwrap_or(chunk))?;
        if chunk.is_empty() {
            return Err(io::Error::other("the segment is shorter than what was written to it"));
        }
        at += chunk.len() as u64;
    }
    encoder.finish()?.sync_all()?;
    fs::rename(&new, &sealed)?;
    sync_directory_of(&sealed)?;
    fs::remove_file(&plain)
}

fn half_sealed(sealed: &Path) -> PathBuf {
    let mut name = sealed.as_os_str().to_owned();
    name.push(".tmp");
    PathBuf::from(name)
}
