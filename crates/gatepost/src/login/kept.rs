//! What a person's logins left: one file in their state directory that nobody else can read. What is
//! in it is used, renewed and given back elsewhere.
//!
//! There is no keyring here: on Linux one takes a D-Bus client and a desktop that has been unlocked,
//! which the machines that agents' people work on over SSH do not have, and what may read the file may
//! ask the keyring, too.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use api::v1::login::Which;
use serde::{Deserialize, Serialize};

/// A login is some kilobytes, and nobody has hundreds.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The rights of everybody but the owner.
const OTHERS: u32 = 0o077;

/// By the gate, as [`crate::remote::Gate`] is written.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Logins {
    /// The last one: what is meant where no gate is named.
    pub(super) current: Option<String>,
    pub(super) logins: BTreeMap<String, Login>,
}

/// One login. There is no `Debug`: it holds secrets.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Login {
    pub(super) client: Client,
    pub(crate) subject: String,
    /// The authority of the gate's certificate, if it is not one of the system's.
    pub(crate) ca: Option<PathBuf>,
    pub(crate) token: String,
    /// In Unix seconds.
    pub(super) expires: i64,
    /// What renews it.
    pub(super) refresh: Option<String>,
}

/// What we are to the provider, and what we want of it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Client {
    pub(super) issuer: String,
    /// By SAML: the token is Gatepost's own, nothing renews it, and the provider knows nothing of it.
    #[serde(default)]
    pub(super) saml: bool,
    pub(super) id: String,
    pub(super) token: Which,
    pub(super) resource: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum KeptError {
    #[error("there is no place for logins: set HOME, or XDG_STATE_HOME to an absolute path")]
    NoPlace,
    #[error("{0}: {1}")]
    Io(PathBuf, io::Error),
    #[error("{path} {what}, so the logins in it are not used; {remedy}")]
    Exposed { path: PathBuf, what: &'static str, remedy: &'static str },
    #[error("{0} is not what this gatepost writes ({1}); remove it and log in again")]
    Unreadable(PathBuf, String),
}

/// The place of the file.
#[derive(Clone)]
pub(super) struct Place(PathBuf);

/// The file while nobody else can change it.
pub(super) struct Held {
    place: Place,
    /// Unlocked when it is closed.
    _lock: File,
}

impl Logins {
    /// Who has no place for logins has none.
    pub(crate) fn read() -> Result<Logins, KeptError> {
        match Place::of_environment() {
            Err(KeptError::NoPlace) => Ok(Logins::default()),
            place => place?.read(),
        }
    }

    pub(crate) fn current(&self) -> Option<&str> {
        self.current.as_deref()
    }

    pub(crate) fn get(&self, gate: &str) -> Option<&Login> {
        self.logins.get(gate)
    }
}

impl Place {
    pub(super) fn of_environment() -> Result<Place, KeptError> {
        let directory = |name: &str| {
            let path = PathBuf::from(std::env::var_os(name)?);
            path.is_absolute().then_some(path)
        };
        let state = directory("XDG_STATE_HOME");
        let state = state.or_else(|| Some(directory("HOME")?.join(".local/state")));
        Ok(Place(state.ok_or(KeptError::NoPlace)?.join("gatepost")))
    }

    /// None, if there is no file yet.
    pub(super) fn read(&self) -> Result<Logins, KeptError> {
        let path = self.0.join("logins.json");
        match fs::symlink_metadata(&self.0) {
            Ok(found) => check(&self.0, &found, found.is_dir(), "is no directory", "chmod 700 it")?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Logins::default()),
            Err(error) => return Err(failed(&self.0)(error)),
        }
        let file = match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Logins::default()),
            opened => opened.map_err(failed(&path))?,
        };
        let found = file.metadata().map_err(failed(&path))?;
        let remedy = "log in again, and end the old login at the provider: others may have read it";
        check(&path, &found, found.is_file(), "is no file", remedy)?;
        let mut text = String::new();
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed(&path))?;
        // The parser names keys and places, no values.
        serde_json::from_str(&text).map_err(|error| {
            let what = format!("line {}, column {}", error.line(), error.column());
            KeptError::Unreadable(path.clone(), what)
        })
    }

    /// Waits for whoever changes it now: that asks a provider once, which has its own end.
    pub(super) fn hold(&self) -> Result<Held, KeptError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(failed(&self.0))?;
        let path = self.0.join("lock");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc::O_NOFOLLOW);
        let lock = options.open(&path).map_err(failed(&path))?;
        lock.lock().map_err(failed(&path))?;
        Ok(Held { place: self.clone(), _lock: lock })
    }
}

impl Held {
    pub(super) fn read(&self) -> Result<Logins, KeptError> {
        self.place.read()
    }

    /// All of it or nothing, over a loss of power too.
    pub(super) fn write(&self, logins: &Logins) -> Result<(), KeptError> {
        let Place(directory) = &self.place;
        let (path, new) = (directory.join("logins.json"), directory.join("logins.new"));
        // What a killed one of us has left: we hold the lock.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&new)(error));
            }
            _ => {}
        }
        let written = || -> io::Result<()> {
            let mut file =
                OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&serde_json::to_vec_pretty(logins)?)?;
            file.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(directory)?.sync_all()
        };
        written().map_err(failed(&path))
    }
}

fn check(
    path: &Path,
    found: &fs::Metadata,
    is_right: bool,
    otherwise: &'static str,
    remedy: &'static str,
) -> Result<(), KeptError> {
    let what = if !is_right {
        otherwise
    } else if found.uid() != rustix::process::geteuid().as_raw() {
        "is somebody else's"
    } else if found.mode() & OTHERS != 0 {
        "is open to others"
    } else {
        return Ok(());
    };
    Err(KeptError::Exposed { path: path.to_owned(), what, remedy })
}

fn failed(path: &Path) -> impl Fn(io::Error) -> KeptError {
    let path = path.to_owned();
    move |error| KeptError::Io(path.clone(), error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Scratch {
            let path = std::env::temp_dir().join(format!("gatepost-{name}-{}", std::process::id()));
            fs::create_dir(&path).unwrap();
            Scratch(path)
        }

        fn place(&self) -> Place {
            Place(self.0.join("state/gatepost"))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    fn login(token: &str) -> Login {
        let client = Client {
            saml: false,
            issuer: "https://idp".to_owned(),
            id: "cli".to_owned(),
            token: Which::Access,
            resource: None,
        };
        let (token, subject) = (token.to_owned(), "anna".to_owned());
        Login { client, subject, ca: None, token, expires: 0, refresh: None }
    }

    fn keep(place: &Place, token: &str) {
        let held = place.hold().unwrap();
        let mut logins = held.read().unwrap();
        logins.logins.insert("https://gate".to_owned(), login(token));
        held.write(&logins).unwrap();
    }

    fn mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn refusal(place: &Place) -> String {
        place.read().err().expect("a refusal").to_string()
    }

    #[test]
    fn what_is_kept_is_read_back_and_is_nobody_elses() {
        let scratch = Scratch::new("kept");
        let place = scratch.place();
        assert!(place.read().unwrap().get("https://gate").is_none());
        keep(&place, "one");
        keep(&place, "two");
        assert_eq!(place.read().unwrap().get("https://gate").unwrap().token, "two");
        for (path, expected) in [("", 0o700), ("logins.json", 0o600), ("lock", 0o600)] {
            let found = fs::metadata(place.0.join(path)).unwrap();
            assert_eq!(found.mode() & 0o777, expected, "{path}");
        }
        // A write that was cut short changes nothing, and is in nobody's way.
        fs::write(place.0.join("logins.new"), "{").unwrap();
        assert_eq!(place.read().unwrap().get("https://gate").unwrap().token, "two");
        keep(&place, "three");
        assert_eq!(place.read().unwrap().get("https://gate").unwrap().token, "three");
    }

    #[test]
    fn what_others_could_have_read_or_written_is_not_used() {
        let scratch = Scratch::new("exposed");
        let place = scratch.place();
        keep(&place, "hush");
        let file = place.0.join("logins.json");
        for exposed in [0o640, 0o604, 0o620, 0o602] {
            mode(&file, exposed);
            assert!(refusal(&place).contains("is open to others"), "{exposed:o}");
        }
        mode(&file, 0o600);
        assert!(place.read().is_ok());
        for exposed in [0o750, 0o705, 0o770] {
            mode(&place.0, exposed);
            assert!(refusal(&place).contains("chmod 700"), "{exposed:o}");
        }
        mode(&place.0, 0o700);
        // A link leads to what somebody else may have written.
        let elsewhere = scratch.0.join("elsewhere");
        fs::rename(&file, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &file).unwrap();
        assert!(!refusal(&place).is_empty());
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        mode(&file, 0o700);
        assert!(refusal(&place).contains("is no file"));
    }

    #[test]
    fn no_secret_is_in_a_complaint() {
        let scratch = Scratch::new("broken");
        let place = scratch.place();
        keep(&place, "hush");
        let file = place.0.join("logins.json");
        let whole = fs::read_to_string(&file).unwrap();
        for broken in
            [whole.replace("\"hush\"", "hush"), whole.replace("\"token\": \"hush\"", "\"hush\": 1")]
        {
            fs::write(&file, broken).unwrap();
            let told = refusal(&place);
            assert!(told.contains("log in again") && !told.contains("hush"), "{told}");
        }
    }
}
