//! Disks that fail on command: a file system in a file whose power can be cut, and one in memory
//! that is small. Both need the right to mount; where there is none, `make` says so loudly and
//! gives nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::Directory;

/// ext4 in a file.
pub struct Disk {
    pub point: PathBuf,
    image: PathBuf,
    _directory: Directory,
}

impl Disk {
    pub fn make() -> Option<Disk> {
        let directory = Directory::new();
        let (point, image) = (directory.join("disk"), directory.join("image"));
        std::fs::create_dir(&point).unwrap();
        run("truncate", &["-s", "400M", text(&image)]).expect("room for an image");
        run("mkfs.ext4", &["-q", "-F", text(&image)]).expect("mkfs.ext4");
        let disk = Disk { point, image, _directory: directory };
        permitted(disk.mount()).then_some(disk)
    }

    fn mount(&self) -> Result<(), String> {
        run("mount", &["-o", "loop", text(&self.image), text(&self.point)])
    }

    /// As if the power had gone: what was not flushed never will be, and every access fails.
    /// (The ioctl EXT4_IOC_SHUTDOWN with NOLOGFLUSH.)
    pub fn cut(&self) {
        let script = "import fcntl, os, struct, sys\n\
                      disk = os.open(sys.argv[1], os.O_RDONLY)\n\
                      fcntl.ioctl(disk, 0x8004587d, struct.pack('I', 2))";
        let output = Command::new(e2e::python())
            .args(["-c", script, text(&self.point)])
            .output()
            .expect("python runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// A disk that takes its time: what is written waits until this is dropped.
    pub fn freeze(&self) -> Frozen<'_> {
        run("fsfreeze", &["-f", text(&self.point)]).expect("a disk that can be frozen");
        Frozen(&self.point)
    }

    /// Power is back; nobody may have a file open there.
    pub fn mount_again(&mut self) {
        run("umount", &[text(&self.point)]).expect("a disk that nobody uses");
        self.mount().expect("a disk that can be mounted again");
    }
}

pub struct Frozen<'d>(&'d Path);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        run("fsfreeze", &["-u", text(self.0)]).expect("a disk that can be thawed");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run("umount", &["-l", text(&self.point)]));
    }
}

/// A file system in memory, with something on it that takes up the room.
pub struct Small {
    pub point: PathBuf,
    _directory: Directory,
}

impl Small {
    pub fn make(mebibytes: u32, ballast: u32) -> Option<Small> {
        let directory = Directory::new();
        let point = directory.join("small");
        std::fs::create_dir(&point).unwrap();
        let size = format!("size={mebibytes}m,mode=755");
        let small = Small { point, _directory: directory };
        let mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", text(&small.point)]);
        permitted(mounted).then(|| {
            let zeros = vec![0; (ballast as usize) << 20];
            std::fs::write(small.ballast(), zeros).unwrap();
            small
        })
    }

    pub fn ballast(&self) -> PathBuf {
        self.point.join("ballast")
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(run("umount", &["-l", text(&self.point)]));
    }
}

/// Puts a read-only view of a directory over itself: who has a file open there still writes to
/// it, and nobody can make or rename one.
pub struct ReadOnly<'p>(&'p Path);

impl ReadOnly<'_> {
    pub fn over(path: &Path) -> Option<ReadOnly<'_>> {
        if !permitted(run("mount", &["--bind", text(path), text(path)])) {
            return None;
        }
        let cover = ReadOnly(path);
        run("mount", &["-o", "remount,bind,ro", text(path)]).expect("a read-only mount");
        Some(cover)
    }
}

impl Drop for ReadOnly<'_> {
    fn drop(&mut self) {
        if let Err(error) = run("umount", &[text(self.0)]) {
            eprintln!("{error}");
            drop(run("umount", &["-l", text(self.0)]));
        }
    }
}

fn permitted(mounted: Result<(), String>) -> bool {
    match mounted {
        Ok(()) => true,
        Err(error) => {
            eprintln!("\n*** SKIPPED: this needs to mount file systems, and can't: {error} ***\n");
            false
        }
    }
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {errors}")) }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}
