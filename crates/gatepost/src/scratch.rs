//! A PostgreSQL cluster to throw away: made in a temporary directory, listening on the loopback,
//! gone without a trace when its owner is dropped or dies. The demo, the tests and the bench
//! stand on it. What is put into the cluster is the business of whoever started it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The name of the superuser of every scratch cluster.
pub const SUPERUSER: &str = "postgres";

/// Where Debian and its kin keep one directory for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// A free port may be taken between our looking and the server's binding.
const PORT_ATTEMPTS: usize = 5;

/// Crash recovery after `kill9` on a busy machine included.
const READY_WITHIN: Duration = Duration::from_secs(120);

const POLL: Duration = Duration::from_millis(20);

#[derive(Debug, thiserror::Error)]
pub enum ScratchError {
    #[error(
        "no PostgreSQL server found in {looked}: install one (on Debian: \
         apt-get install postgresql), or set GATEPOST_PG_BIN to the directory of its `postgres`"
    )]
    NoServer { looked: String },
    #[error(
        "PostgreSQL refuses to run as root and there is no user `postgres` to run it as: \
         create one, or start this as another user"
    )]
    NoUser,
    #[error("{doing}: {source}")]
    Io { doing: String, source: io::Error },
    #[error("{program} failed: {output}")]
    Failed { program: String, output: String },
    #[error("the scratch PostgreSQL did not start; its log says:\n{log}")]
    NotReady { log: String },
}

/// The directory with `initdb` and `postgres` of one installation.
#[derive(Clone, Debug)]
pub struct ServerBinaries {
    directory: PathBuf,
    version: u32,
}

impl ServerBinaries {
    /// Looks in the directory given and nowhere else, or else in `GATEPOST_PG_BIN` and nowhere
    /// else, or else along `PATH` and then for the newest that Debian installed.
    pub fn find(directory: Option<&Path>) -> Result<ServerBinaries, ScratchError> {
        let named = match directory {
            Some(directory) => Some(directory.to_owned()),
            None => std::env::var_os("GATEPOST_PG_BIN").map(PathBuf::from),
        };
        let candidates = match named {
            Some(directory) => vec![directory],
            None => {
                let path = std::env::var_os("PATH").unwrap_or_default();
                std::env::split_paths(&path).chain(debian_directories()).collect()
            }
        };
        for directory in &candidates {
            if directory.join("postgres").is_file() && directory.join("initdb").is_file() {
                let version = major_version(&directory.join("postgres"))?;
                return Ok(ServerBinaries { directory: directory.clone(), version });
            }
        }
        let looked: Vec<_> = candidates.iter().map(|d| d.display().to_string()).collect();
        Err(ScratchError::NoServer { looked: looked.join(", ") })
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The major version: 15, 18.
    pub fn version(&self) -> u32 {
        self.version
    }
}

/// How a cluster differs from one with PostgreSQL's defaults and SCRAM for everybody.
#[derive(Clone, Debug)]
pub struct Options {
    pub binaries: ServerBinaries,
    /// Off makes it faster, and nothing that is lost by loss of power is worth keeping here.
    pub fsync: bool,
    /// Lines of postgresql.conf as name and value, quoted here.
    pub settings: Vec<(String, String)>,
    /// Lines of pg_hba.conf that come before those that ask everybody for SCRAM.
    pub hba: Vec<String>,
    pub tls: Option<ServerCertificate>,
}

impl Options {
    pub fn new(binaries: ServerBinaries) -> Options {
        Options { binaries, fsync: false, settings: Vec::new(), hba: Vec::new(), tls: None }
    }
}

/// PEM files; they are copied, because PostgreSQL insists on owning its key.
#[derive(Clone, Debug)]
pub struct ServerCertificate {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A running cluster. Dropping it stops the server and removes its directory; if this process
/// is killed instead, its watchdog does.
pub struct Cluster {
    options: Options,
    account: Option<Account>,
    directory: PathBuf,
    port: u16,
    password: String,
    server: Option<Child>,
    watchdog: Watchdog,
}

impl Cluster {
    pub fn start(options: Options) -> Result<Cluster, ScratchError> {
        let account = Account::for_server()?;
        let password = random_hex()?;
        let directory =
            std::env::temp_dir().join(format!("gatepost-pg-{:.12}", random_hex()?.as_str()));
        fs::create_dir(&directory).doing(|| format!("creating {}", directory.display()))?;
        // From here on the watchdog and Drop see to it that nothing is left behind.
        let watchdog = Watchdog::over(&directory)?;
        let mut cluster =
            Cluster { options, account, directory, port: 0, password, server: None, watchdog };
        cluster.give_to_server(&cluster.directory, 0o700)?;
        cluster.initdb()?;
        cluster.configure()?;
        for _ in 1..PORT_ATTEMPTS {
            cluster.port = free_port()?;
            match cluster.run() {
                Err(ScratchError::NotReady { log }) if log.contains("could not bind") => {}
                outcome => return outcome.map(|()| cluster),
            }
        }
        cluster.port = free_port()?;
        cluster.run().map(|()| cluster)
    }

    pub fn version(&self) -> u32 {
        self.options.binaries.version
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of the Unix socket, as libpq takes it for `host`.
    pub fn socket_directory(&self) -> &Path {
        &self.directory
    }

    /// The superuser's.
    pub fn password(&self) -> &str {
        &self.password
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// The server's log from the beginning; an unreadable one is an empty one.
    pub fn log(&self) -> String {
        fs::read(self.log_path())
            .map(|b| String::from_utf8_lossy(&b).into_owned())
            .unwrap_or_default()
    }

    /// Whether the server process lives.
    pub fn is_running(&mut self) -> bool {
        self.server.as_mut().is_some_and(|server| matches!(server.try_wait(), Ok(None)))
    }

    /// A fast shutdown: sessions are ended, the data is whole.
    pub fn stop(&mut self) -> Result<(), ScratchError> {
        self.end("INT")
    }

    /// Loss of power, as far as anybody outside can tell: no process of the server says a last
    /// word. `restart` has to recover. (Where there is no /proc only the postmaster is killed,
    /// and its children follow when they notice.)
    pub fn kill9(&mut self) -> Result<(), ScratchError> {
        let Some(server) = &self.server else {
            return Ok(());
        };
        let pid = server.id().to_string();
        // Stopped, it has no more children while we look for those it has.
        signal("STOP", &pid)?;
        let children =
            fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children: Vec<&str> = children.split_whitespace().collect();
        for child in &children {
            // One that has just left by itself is as good as killed.
            drop(signal("KILL", child));
        }
        self.end("KILL")?;
        // A new server refuses to start beside the memory of the old one.
        while children.iter().any(|child| is_alive(child)) {
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Starts the server again, at the same port and with the same data, after a fast shutdown
    /// if it was running.
    pub fn restart(&mut self) -> Result<(), ScratchError> {
        self.stop()?;
        self.run()
    }

    fn initdb(&self) -> Result<(), ScratchError> {
        let password_file = self.directory.join("password");
        self.write(&password_file, &self.password)?;
        let mut command = self.server_command("initdb");
        command
            .arg("--pgdata")
            .arg(self.data())
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "--username",
                SUPERUSER,
                "--auth=scram-sha-256",
                "--no-sync",
                "--no-instructions",
            ])
            // The same order of text and the same messages on every machine.
            .args(["--encoding=UTF8", "--locale=C"]);
        output(&mut command)?;
        fs::remove_file(&password_file).doing(|| format!("removing {}", password_file.display()))
    }

    fn configure(&self) -> Result<(), ScratchError> {
        let data = self.data();
        let mut settings = vec![
            ("listen_addresses".to_owned(), "127.0.0.1".to_owned()),
            ("unix_socket_directories".to_owned(), self.directory.display().to_string()),
            ("password_encryption".to_owned(), "scram-sha-256".to_owned()),
        ];
        if !self.options.fsync {
            for name in ["fsync", "synchronous_commit", "full_page_writes"] {
                settings.push((name.to_owned(), "off".to_owned()));
            }
        }
        if let Some(tls) = &self.options.tls {
            for (from, to) in [(&tls.certificate, "server.crt"), (&tls.key, "server.key")] {
                let text =
                    fs::read_to_string(from).doing(|| format!("reading {}", from.display()))?;
                self.write(&data.join(to), &text)?;
            }
            settings.push(("ssl".to_owned(), "on".to_owned()));
        }
        settings.extend(self.options.settings.iter().cloned());
        let mut text = String::new();
        for (name, value) in settings {
            text.push_str(&format!(
                "{name} = '{}'\n",
                value.replace('\\', r"\\").replace('\'', "''")
            ));
        }
        // Of a setting named twice PostgreSQL takes the last: ours stand below initdb's.
        let path = data.join("postgresql.conf");
        let made = fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
        self.write(&path, &format!("{made}\n{text}"))?;

        let mut hba = self.options.hba.join("\n");
        hba.push_str("\nlocal all all scram-sha-256\nhost all all all scram-sha-256\n");
        self.write(&data.join("pg_hba.conf"), &hba)
    }

    fn run(&mut self) -> Result<(), ScratchError> {
        let path = self.log_path();
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .doing(|| format!("opening {}", path.display()))?;
        let begin = log.metadata().map(|m| m.len()).unwrap_or(0);
        let log_again = log.try_clone().doing(|| format!("opening {}", path.display()))?;
        let mut command = self.server_command("postgres");
        command
            .arg("-D")
            .arg(self.data())
            .args(["-p", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(log_again)
            // Ctrl-C in a terminal is for us to act upon.
            .process_group(0);
        let mut server = command.spawn().doing(|| format!("starting {command:?}"))?;
        self.watchdog.watch(Some(server.id()));

        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let exited = !matches!(server.try_wait(), Ok(None));
            if exited || Instant::now() > deadline {
                drop(server.kill());
                drop(server.wait());
                self.watchdog.watch(None);
                let log = self.log();
                let begin = usize::try_from(begin).unwrap_or(0);
                return Err(ScratchError::NotReady {
                    log: log.get(begin..).unwrap_or(&log).to_owned(),
                });
            }
            if is_ready(&self.data(), server.id()) {
                self.server = Some(server);
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }

    fn end(&mut self, name: &str) -> Result<(), ScratchError> {
        let Some(mut server) = self.server.take() else {
            return Ok(());
        };
        if matches!(server.try_wait(), Ok(None)) {
            signal(name, &server.id().to_string())?;
        }
        server.wait().doing(|| "waiting for PostgreSQL to stop".to_owned())?;
        self.watchdog.watch(None);
        Ok(())
    }

    /// A program of the installation, run as the user that owns the cluster.
    fn server_command(&self, program: &str) -> Command {
        let mut command = Command::new(self.options.binaries.directory.join(program));
        // The caller's directory may be closed to that user.
        command.current_dir(&self.directory).env("LC_ALL", "C");
        if let Some(account) = self.account {
            command.uid(account.user).gid(account.group);
        }
        // Settings for libpq, such as PGDATA or PGPORT, are the caller's, not this cluster's.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command
    }

    fn write(&self, path: &Path, text: &str) -> Result<(), ScratchError> {
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(path)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .doing(|| format!("writing {}", path.display()))?;
        self.give_to_server(path, 0o600)
    }

    fn give_to_server(&self, path: &Path, mode: u32) -> Result<(), ScratchError> {
        let given = match self.account {
            Some(account) => chown(path, Some(account.user), Some(account.group)),
            None => Ok(()),
        };
        given
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)))
            .doing(|| format!("giving {} to PostgreSQL", path.display()))
    }

    fn log_path(&self) -> PathBuf {
        self.directory.join("log")
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // Nothing here can be told to anybody: what fails is tried again by the watchdog, whose
        // pipe closes right after.
        drop(self.end("QUIT"));
        drop(fs::remove_dir_all(&self.directory));
    }
}

/// Who the server runs as when we are root.
#[derive(Clone, Copy)]
struct Account {
    user: u32,
    group: u32,
}

impl Account {
    fn for_server() -> Result<Option<Account>, ScratchError> {
        let id = |arguments: &[&str]| {
            let printed = output(Command::new("id").args(arguments)).ok()?;
            String::from_utf8_lossy(&printed.stdout).trim().parse::<u32>().ok()
        };
        if id(&["-u"]) != Some(0) {
            return Ok(None);
        }
        match (id(&["-u", "postgres"]), id(&["-g", "postgres"])) {
            (Some(user), Some(group)) => Ok(Some(Account { user, group })),
            _ => Err(ScratchError::NoUser),
        }
    }
}

/// A shell that outlives us. It is told which process to end, and ends it and removes the
/// cluster's directory when its input closes, which even `kill -9` of this process does.
struct Watchdog {
    shell: Child,
    input: Option<ChildStdin>,
}

impl Watchdog {
    const SCRIPT: &str = r#"
        server=
        while read -r line; do server=$line; done
        if [ -n "$server" ]; then
            kill -s QUIT "$server"
            while kill -s 0 "$server"; do sleep 0.05; done
        fi
        rm -rf "$1"
    "#;

    fn over(directory: &Path) -> Result<Watchdog, ScratchError> {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", Watchdog::SCRIPT, "gatepost-scratch-watchdog"])
            .arg(directory)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .doing(|| "starting /bin/sh".to_owned())?;
        let input = shell.stdin.take();
        Ok(Watchdog { shell, input })
    }

    fn watch(&mut self, server: Option<u32>) {
        let line = server.map(|pid| pid.to_string()).unwrap_or_default();
        if let Some(input) = &mut self.input {
            // Without its watchdog a cluster still works; it is only less tidy.
            drop(writeln!(input, "{line}"));
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.input.take());
        drop(self.shell.wait());
    }
}

/// What `pg_ctl --wait` looks at: the eighth line of the server's own pid file, whose first is
/// the process. <https://www.postgresql.org/docs/current/storage-file-layout.html>
fn is_ready(data: &Path, server: u32) -> bool {
    let Ok(text) = fs::read_to_string(data.join("postmaster.pid")) else {
        return false;
    };
    let mut lines = text.lines();
    lines.next().is_some_and(|pid| pid.trim() == server.to_string())
        && lines.nth(6).is_some_and(|status| status.trim() == "ready")
}

/// The standard library only knows SIGKILL, and a shell is on every machine.
fn signal(name: &str, pid: &str) -> Result<Output, ScratchError> {
    output(Command::new("/bin/sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, pid]))
}

/// A zombie that nobody has buried yet holds nothing any more.
fn is_alive(pid: &str) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return false;
    };
    // The name of the program, in parentheses, may hold anything.
    let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.trim_start().chars().next());
    !matches!(state, Some('Z' | 'X'))
}

fn debian_directories() -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    let mut directories: Vec<_> = found.into_iter().map(|(_, directory)| directory).collect();
    if directories.is_empty() {
        // So that the error names the place.
        directories.push(Path::new(DEBIAN).join("*/bin"));
    }
    directories
}

/// From "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
fn major_version(postgres: &Path) -> Result<u32, ScratchError> {
    let mut command = Command::new(postgres);
    let printed = output(command.arg("--version"))?;
    let text = String::from_utf8_lossy(&printed.stdout).into_owned();
    let digits: Option<String> = text
        .split_whitespace()
        .nth(2)
        .map(|word| word.chars().take_while(char::is_ascii_digit).collect());
    digits.and_then(|digits| digits.parse().ok()).ok_or_else(|| ScratchError::Failed {
        program: postgres.display().to_string(),
        output: format!("its version is not understood: {text}"),
    })
}

fn free_port() -> Result<u16, ScratchError> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .doing(|| "looking for a free port".to_owned())
}

fn random_hex() -> Result<String, ScratchError> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .doing(|| "reading /dev/urandom".to_owned())?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn output(command: &mut Command) -> Result<Output, ScratchError> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().doing(|| format!("starting {program}"))?;
    if output.status.success() {
        return Ok(output);
    }
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Err(ScratchError::Failed { program, output: text })
}

trait Doing<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ScratchError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, ScratchError> {
        self.map_err(|source| ScratchError::Io { doing: what(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpStream;

    fn cluster() -> Cluster {
        Cluster::start(Options::new(ServerBinaries::find(None).unwrap())).unwrap()
    }

    fn accepts(cluster: &Cluster) -> bool {
        TcpStream::connect(cluster.address()).is_ok()
    }

    #[test]
    fn a_cluster_starts_stops_recovers_and_leaves_nothing() {
        let mut cluster = cluster();
        let directory = cluster.directory.clone();
        assert!(accepts(&cluster));
        assert!(directory.join(format!(".s.PGSQL.{}", cluster.port())).exists());

        cluster.kill9().unwrap();
        assert!(!accepts(&cluster) && !cluster.is_running());
        cluster.restart().unwrap();
        assert!(accepts(&cluster));
        assert!(cluster.log().contains("automatic recovery in progress"));

        cluster.stop().unwrap();
        assert!(!accepts(&cluster));
        assert!(cluster.log().contains("database system is shut down"));
        drop(cluster);
        assert!(!directory.exists());
    }

    #[test]
    fn the_watchdog_ends_an_orphan() {
        let mut cluster = cluster();
        let (directory, address) = (cluster.directory.clone(), cluster.address());
        // What the kernel does for a process that dies: its end of the pipe closes.
        drop(cluster.watchdog.input.take());
        cluster.server.take().unwrap().wait().unwrap();
        cluster.watchdog.shell.wait().unwrap();
        assert!(TcpStream::connect(address).is_err());
        assert!(!directory.exists());
    }

    #[test]
    fn what_cannot_start_says_why() {
        let mut options = Options::new(ServerBinaries::find(None).unwrap());
        options.settings.push(("shared_buffers".into(), "it's much".into()));
        let Err(ScratchError::NotReady { log }) = Cluster::start(options) else {
            panic!("it started")
        };
        assert!(
            log.contains(r#"invalid value for parameter "shared_buffers": "it's much""#),
            "{log}"
        );

        let missing = ServerBinaries::find(Some(Path::new("/nowhere"))).unwrap_err().to_string();
        assert!(
            missing.starts_with("no PostgreSQL server found in /nowhere: install one"),
            "{missing}"
        );
    }
}
