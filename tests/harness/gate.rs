//! A `gatepost serve` of a test: started with a configuration, waited for, killed with its guard.
//! Its log is printed when the test fails.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::thread;

use crate::{Directory, Login, directory, wait_for};

/// Where a gateway is to be: for those who write their whole configuration themselves.
pub struct Place {
    /// Of the configuration file, and of what it names by relative paths.
    pub directory: Directory,
    /// To be listened at on 127.0.0.1: that the gateway is up is seen by connecting there.
    pub port: u16,
    pub http_port: u16,
    /// Of the gateway's process, beside the test's own.
    pub environment: Vec<(String, String)>,
}

impl Place {
    fn new() -> Place {
        Place {
            directory: Directory::new(),
            port: free_port(),
            http_port: free_port(),
            environment: Vec::new(),
        }
    }

    /// The lines that [`Gatepost::start`] puts first: 127.0.0.1, a Unix socket, http and state.
    pub fn header(&self) -> String {
        let directory = self.directory.display();
        format!(
            "listen: [\"127.0.0.1:{}\", {directory}/.s.PGSQL.{}]\nhttp: 127.0.0.1:{}\n\
             state: gatepost.db\n",
            self.port, self.port, self.http_port
        )
    }
}

/// Shown of a test that fails.
const LAST_RECORDS: usize = 8;

pub struct Gatepost {
    pub place: Place,
    child: Child,
}

impl Gatepost {
    /// With a configuration that says nothing of `listen`, `http` and `state`.
    pub fn start(configuration: &str) -> Gatepost {
        Gatepost::start_with(|place| format!("{}{configuration}", place.header()))
    }

    /// With a configuration that says everything.
    pub fn start_with(configuration: impl Fn(&Place) -> String) -> Gatepost {
        Gatepost::start_in(|_| Vec::new(), configuration)
    }

    /// In an environment of its own, too.
    pub fn start_in(
        environment: impl Fn(&Place) -> Vec<(String, String)>,
        configuration: impl Fn(&Place) -> String,
    ) -> Gatepost {
        // Another test may take a port between our looking and the gateway's binding.
        for _ in 0..3 {
            let mut place = Place::new();
            place.environment = environment(&place);
            let text = configuration(&place);
            match Gatepost::try_start(place, &text) {
                Ok(gatepost) => return gatepost,
                Err(log) if log.to_lowercase().contains("address already in use") => {}
                Err(log) => panic!("gatepost did not start; it says:\n{log}"),
            }
        }
        panic!("gatepost found no free port three times");
    }

    /// Starts it and gives what it said in case it does not come up.
    pub fn try_start(place: Place, configuration: &str) -> Result<Gatepost, String> {
        place.directory.file("gatepost.yaml", configuration);
        File::create(place.directory.join("log")).expect("a log");
        let child = spawn(&place, &[]);
        let mut gatepost = Gatepost { place, child };
        if gatepost.comes_up() { Ok(gatepost) } else { Err(gatepost.log()) }
    }

    /// Once more in the same place, after it has ended; what it says goes behind what it said.
    pub fn restart(&mut self) {
        assert!(self.try_restart(&[]), "gatepost did not start again");
    }

    /// With further arguments of `serve`; whether it comes up.
    pub fn try_restart(&mut self, arguments: &[&str]) -> bool {
        assert!(!self.is_running(), "it has to end first");
        self.child = spawn(&self.place, arguments);
        self.comes_up()
    }

    fn comes_up(&mut self) -> bool {
        wait_for("gatepost to listen or to give up", || {
            if !self.is_running() {
                return Some(false);
            }
            TcpStream::connect(self.address()).is_ok().then_some(true)
        })
    }

    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.place.port))
    }

    /// The directory of its Unix socket, as libpq takes it for `host`.
    pub fn sockets(&self) -> &Path {
        &self.place.directory
    }

    pub fn http(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.place.http_port))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A way in with these client programs; take them from the server's login.
    pub fn login(&self, like: &Login, user: &str, password: &str, connection: &str) -> Login {
        Login {
            host: "127.0.0.1".to_owned(),
            port: self.place.port,
            user: user.to_owned(),
            password: password.to_owned(),
            database: connection.to_owned(),
            environment: Vec::new(),
            clients: like.clients.clone(),
        }
    }

    /// A new token for a local identity.
    pub fn token(&self, identity: &str) -> String {
        let output = self.run(&["token", "create", identity]);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gatepost token create: {errors}");
        String::from_utf8(output.stdout).expect("a token").trim().to_owned()
    }

    /// Another command of the binary on the same configuration.
    pub fn run(&self, arguments: &[&str]) -> Output {
        Gatepost::program()
            .args(arguments)
            .arg("-c")
            .arg(self.place.directory.join("gatepost.yaml"))
            .stdin(Stdio::null())
            .output()
            .expect("gatepost runs")
    }

    /// The binary, for commands that need no configuration.
    pub fn program() -> Command {
        gatepost()
    }

    /// Writes another configuration and sends SIGHUP. That it is in force is for the caller to
    /// see.
    pub fn reload(&self, configuration: &str) {
        let whole = format!("{}{configuration}", self.place.header());
        self.place.directory.file("gatepost.yaml", &whole);
        self.signal("HUP");
    }

    /// `TERM`, `HUP`, `INT`.
    pub fn signal(&self, name: &str) {
        signal(name, self.child.id());
    }

    pub fn kill9(&mut self) {
        self.child.kill().expect("a process to kill");
        self.child.wait().expect("its end");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for it to end by itself.
    pub fn wait_exit(&mut self) -> ExitStatus {
        wait_for("gatepost to exit", || self.child.try_wait().expect("a child"))
    }

    /// Everything it logged so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.place.directory.join("log")).expect("a log");
        String::from_utf8_lossy(&log).into_owned()
    }

    pub fn wait_for_log(&self, text: &str) {
        wait_for(&format!("{text:?} in the log"), || self.log().contains(text).then_some(()));
    }

    /// Open file descriptors, sockets included.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("/proc").count()
    }

    /// A line of /proc/PID/status in KiB, such as `VmRSS` or `VmHWM`.
    pub fn memory_kib(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("/proc");
        let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':'));
        let value = value.unwrap_or_else(|| panic!("no {line} in /proc"));
        value.trim().trim_end_matches(" kB").parse().expect("a number")
    }
}

impl Drop for Gatepost {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- log of gatepost\n{}---", self.log());
            // What a client waited for in vain stands last in the journal, if there is one.
            let journal = self.place.directory.join("journal");
            let shown = gatepost().args(["audit", "show"]).arg(journal).output();
            let shown = shown.map(|output| output.stdout).unwrap_or_default();
            let shown = String::from_utf8_lossy(&shown);
            let last = shown.lines().count().saturating_sub(LAST_RECORDS);
            eprintln!("--- its last records");
            shown.lines().skip(last).for_each(|line| eprintln!("{line}"));
        }
    }
}

/// Ends a client program that a test has started: by SIGTERM, and waits for it.
pub fn stop_child(child: &mut Child) -> io::Result<ExitStatus> {
    signal("TERM", child.id());
    child.wait()
}

fn signal(name: &str, pid: u32) {
    let status = Command::new("/bin/sh")
        .args(["-c", "kill -s \"$1\" \"$2\"", "sh", name, &pid.to_string()])
        .status()
        .expect("/bin/sh");
    assert!(status.success(), "kill -s {name} {pid}");
}

fn spawn(place: &Place, arguments: &[&str]) -> Child {
    let log = OpenOptions::new().append(true).create(true).open(place.directory.join("log"));
    let log = log.expect("a log");
    // In the test's own process group, so that nextest ends it with a test that hangs.
    gatepost()
        .args(["serve", "-c"])
        .arg(place.directory.join("gatepost.yaml"))
        .args(arguments)
        .envs(place.environment.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("gatepost starts")
}

/// The binary that was built together with the test: two directories above its executable.
fn gatepost() -> Command {
    let test = std::env::current_exe().expect("the test's own path");
    let built: Vec<PathBuf> =
        test.ancestors().skip(1).take(2).map(|directory| directory.join("gatepost")).collect();
    match built.iter().find(|path| path.is_file()) {
        Some(path) => Command::new(path),
        None => panic!("no gatepost binary in {built:?}: run `cargo build -p gatepost`"),
    }
}

/// Below the range that the system takes ports for outgoing connections from, of which a busy
/// test run uses many.
fn free_port() -> u16 {
    let first = u64::from_str_radix(&directory::unique(), 16).expect("hexadecimal digits");
    let ports = (0..).map(|i| 20_000 + u16::try_from((first + i) % 12_000).expect("below 12000"));
    let mut free = ports.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    free.next().expect("a free port")
}
