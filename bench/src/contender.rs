//! The ways to the same server, started for the run: directly, through the floor, through
//! PgBouncer, through Gatepost with records that are waited for and that are not, and through one
//! that judges each statement by policies. Each is a process of its own whose CPU time can be read;
//! but those with the two kinds of records are one.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::journal::Extent;
use crate::scratch::{Cluster, Options, SUPERUSER, ServerBinaries};
use crate::storm::Issuer;

pub struct Programs {
    pub postgresql: PathBuf,
    pub pgbouncer: PathBuf,
    pub gatepost: PathBuf,
}

/// The plain byte copy.
pub const FLOOR: &str = "floor";
/// The two connections of one Gatepost.
pub const RELAXED: &str = "gatepost relaxed";
pub const STRICT: &str = "gatepost strict";
/// Relaxed, and with policies: it has to understand every statement.
pub const POLICY: &str = "gatepost policy";
/// Strict, and with policies: what is proven to read overlaps with its record.
pub const OVERLAP: &str = "gatepost policy strict";

/// What the statements of the bench need, column by column where that is possible.
const POLICIES: &str = "policies:
  - name: bench
    who: \"*\"
    to: \"*\"
    access: { window: 24h, approval: none }
    allow:
      - read: public.pgbench_accounts(aid, abalance), public.pgbench_branches(bid), public.wide
      - read: public.people, public.people_as_shown
      - use: pg_catalog.current_query
  - name: personal
    who: \"*\"
    to: masked
    mask: { public.people.email: email, public.people.ssn: last4 }
";

const HOLDING: &str = "bounds: { sessions: 2000 }
policies:
  - name: waits
    who: \"*\"
    to: \"*\"
    access: { window: 24h, approval: none }
    allow: [{ read: public.held }]
    hold: [{ write: public.held, by: identity:approver }]
    limits: { hold_wait: 1h }
";

/// How a client gets in.
#[derive(Clone)]
pub struct Contender {
    pub name: &'static str,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
    pub clients: PathBuf,
    /// The process between, where there is one.
    proxy: Option<u32>,
    /// The directory of what the process writes, where it does.
    journal: Option<PathBuf>,
}

impl Contender {
    pub fn cpu(&self) -> CpuTime {
        CpuTime::of(self.proxy)
    }

    pub fn journal(&self) -> Option<Extent> {
        self.journal.as_deref().map(Extent::of)
    }
}

/// CPU time that each thread of a process has used. The scheduler's own count in nanoseconds:
/// that of /proc/PID/stat goes by ticks of 10 ms, and half a million rows cost a proxy fifty.
pub struct CpuTime(HashMap<String, u64>);

impl CpuTime {
    fn of(pid: Option<u32>) -> CpuTime {
        let Some(pid) = pid else { return CpuTime(HashMap::new()) };
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the proxy lives");
        let each = tasks.flatten().filter_map(|task| {
            // A thread may end while we look.
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            let nanoseconds = text.split(' ').next()?.parse().ok()?;
            Some((task.file_name().to_string_lossy().into_owned(), nanoseconds))
        });
        CpuTime(each.collect())
    }

    /// What was used since `before`. A thread that ended in between takes its share with it; none
    /// of the proxies ends threads while it works.
    pub fn since(&self, before: &CpuTime) -> Duration {
        let used = self.0.iter().map(|(thread, now)| now - before.0.get(thread).unwrap_or(&0));
        Duration::from_nanos(used.sum())
    }
}

pub struct Contenders {
    all: Vec<Contender>,
    masked: Contender,
    storm: Contender,
    versions: Vec<String>,
    // In the order in which they have to go: proxies before the server they stand in front of.
    _proxies: Vec<Proxy>,
    _cluster: Cluster,
    _directory: Directory,
    disk: Directory,
}

impl Contenders {
    /// What Gatepost writes goes below `beside`, on a disk that can be flushed.
    pub fn start(programs: &Programs, beside: &Path) -> Contenders {
        let directory = Directory::new(&std::env::temp_dir());
        remove_what_died(beside);
        let disk = Directory::new(beside);
        let file_system = file_system(&disk.0);
        assert!(
            !["tmpfs", "ramfs"].contains(&file_system.as_str()),
            "{}: a journal in memory costs nothing; set CARGO_TARGET_DIR to a disk",
            beside.display()
        );
        let cluster = start_cluster(&programs.postgresql, 200);
        let direct = direct(&cluster, programs);
        let floor = floor(&direct);
        let pgbouncer = pgbouncer(&programs.pgbouncer, &direct, &directory.0);
        let (recorder, token) = gatepost(&programs.gatepost, &direct, &disk.0, "");
        let issuer = Issuer::start();
        let judging = disk.0.join("judging");
        fs::create_dir(&judging).unwrap_or_else(|e| panic!("{}: {e}", judging.display()));
        let (judge, judge_token) = {
            let issuers = format!("issuers: [{{ url: \"{}\", audience: gatepost }}]\n", issuer.url);
            gatepost(&programs.gatepost, &direct, &judging, &format!("{POLICIES}{issuers}"))
        };

        let through = |name, proxy: &Proxy| Contender {
            name,
            port: proxy.port,
            proxy: Some(proxy.process.id()),
            ..direct.clone()
        };
        let gate = |name, database: &str, proxy, token: &str, beside: &Path| Contender {
            user: "bench".to_owned(),
            password: token.to_owned(),
            database: database.to_owned(),
            journal: Some(beside.join(JOURNAL)),
            ..through(name, proxy)
        };
        let all = vec![
            direct.clone(),
            through(FLOOR, &floor),
            through("pgbouncer", &pgbouncer),
            gate(RELAXED, "relaxed", &recorder, &token, &disk.0),
            gate(STRICT, "strict", &recorder, &token, &disk.0),
            gate(POLICY, "relaxed", &judge, &judge_token, &judging),
            gate(OVERLAP, "strict", &judge, &judge_token, &judging),
        ];
        let masked = gate("gatepost masked", "masked", &judge, &judge_token, &judging);
        let of_policy = gate("storm", "relaxed", &judge, &issuer.token, &judging);
        let storm = Contender { user: "storm".to_owned(), ..of_policy };
        let versions = vec![
            first_line(Command::new(programs.postgresql.join("postgres")).arg("--version")),
            first_line(Command::new(&programs.pgbouncer).arg("--version")),
            first_line(Command::new(&programs.gatepost).arg("--version")),
            format!("journal on {file_system}"),
        ];
        Contenders {
            all,
            masked,
            storm,
            versions,
            _proxies: vec![floor, pgbouncer, recorder, judge],
            _cluster: cluster,
            _directory: directory,
            disk,
        }
    }

    pub fn direct(&self) -> &Contender {
        &self.all[0]
    }

    /// As that with policies, and with masks. It has a workload of its own.
    pub fn masked(&self) -> &Contender {
        &self.masked
    }

    /// To that with policies, with a provider's token.
    pub fn storm(&self) -> &Contender {
        &self.storm
    }

    pub fn all(&self) -> impl Iterator<Item = &Contender> {
        self.all.iter()
    }

    pub fn named(&self, name: &str) -> &Contender {
        self.all.iter().find(|contender| contender.name == name).expect("one of ours")
    }

    pub fn journal_directory(&self) -> PathBuf {
        self.disk.0.join(JOURNAL)
    }

    /// A directory on the disk of the journal.
    pub fn disk(&self) -> &Path {
        &self.disk.0
    }

    pub fn names(&self) -> Vec<&'static str> {
        self.all.iter().map(|contender| contender.name).collect()
    }

    pub fn versions(&self) -> &[String] {
        &self.versions
    }
}

/// For what waits for people: a Gatepost without policies, and one where whatever is written waits for
/// `approver`.
pub struct Waiting {
    pub direct: Contender,
    pub http: u16,
    pub approver: String,
    plain: Contender,
    /// As each of the identities that ask.
    gates: Vec<Contender>,
    _proxies: Vec<Proxy>,
    _cluster: Cluster,
    _disk: Directory,
}

impl Waiting {
    pub fn start(programs: &Programs, beside: &Path, identities: usize) -> Waiting {
        remove_what_died(beside);
        let disk = Directory::new(beside);
        let cluster = start_cluster(&programs.postgresql, 1_200);
        let direct = direct(&cluster, programs);
        let (plain, token) = gatepost(&programs.gatepost, &direct, &disk.0, "");
        let judging = disk.0.join("judging");
        fs::create_dir(&judging).unwrap_or_else(|e| panic!("{}: {e}", judging.display()));
        let http = free_port();
        let policies = format!("http: 127.0.0.1:{http}\n{HOLDING}");
        let (judge, first) = gatepost(&programs.gatepost, &direct, &judging, &policies);
        let token_for = |name: &str| token_of(&programs.gatepost, name, &judging.join(FILE));
        let through = |proxy: &Proxy, user: &str, token: String| Contender {
            name: POLICY,
            port: proxy.port,
            proxy: Some(proxy.process.id()),
            user: user.to_owned(),
            password: token,
            database: "relaxed".to_owned(),
            ..direct.clone()
        };
        let others = (1..identities).map(|number| {
            let name = format!("bench-{number}");
            through(&judge, &name, token_for(&name))
        });
        let gates = std::iter::once(through(&judge, "bench", first)).chain(others).collect();
        Waiting {
            http,
            approver: token_for("approver"),
            plain: through(&plain, "bench", token),
            gates,
            direct,
            _proxies: vec![plain, judge],
            _cluster: cluster,
            _disk: disk,
        }
    }

    pub fn plain(&self) -> Contender {
        self.plain.clone()
    }

    /// As one of the identities.
    pub fn gate(&self, number: usize) -> Contender {
        self.gates[number].clone()
    }

    pub fn identities(&self) -> usize {
        self.gates.len()
    }
}

fn start_cluster(binaries: &Path, connections: usize) -> Cluster {
    let binaries = ServerBinaries::find(Some(binaries)).unwrap_or_else(|e| panic!("{e}"));
    let mut options = Options::new(binaries);
    let connections = connections.to_string();
    for (name, value) in [
        ("max_connections", &*connections),
        // Everything is read from memory, and nothing works in the background.
        ("shared_buffers", "512MB"),
        ("autovacuum", "off"),
        ("max_parallel_workers_per_gather", "0"),
        // Or the second of several clients that read the big table joins the first in its middle.
        ("synchronize_seqscans", "off"),
    ] {
        options.settings.push((name.to_owned(), value.to_owned()));
    }
    Cluster::start(options).unwrap_or_else(|e| panic!("{e}"))
}

fn direct(cluster: &Cluster, programs: &Programs) -> Contender {
    Contender {
        name: "direct",
        port: cluster.port(),
        user: SUPERUSER.to_owned(),
        password: cluster.password().to_owned(),
        database: "postgres".to_owned(),
        clients: programs.postgresql.clone(),
        proxy: None,
        journal: None,
    }
}

fn floor(direct: &Contender) -> Proxy {
    let port = free_port();
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["floor", &format!("127.0.0.1:{port}"), &format!("127.0.0.1:{}", direct.port)]);
    Proxy::start(command, port)
}

fn pgbouncer(program: &Path, direct: &Contender, directory: &Path) -> Proxy {
    let port = free_port();
    let users = directory.join("users.txt");
    write(&users, &format!("\"{}\" \"{}\"\n", direct.user, direct.password));
    let ini = directory.join("pgbouncer.ini");
    let text = format!(
        "[databases]\npostgres = host=127.0.0.1 port={}\n\n[pgbouncer]\n\
         listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
         auth_type = scram-sha-256\nauth_file = {}\npool_mode = session\n\
         max_client_conn = 200\ndefault_pool_size = 100\n\
         log_connections = 0\nlog_disconnections = 0\n\
         ignore_startup_parameters = extra_float_digits\n",
        direct.port,
        users.display()
    );
    write(&ini, &text);
    let mut command = Command::new(program);
    // It refuses to work as root, and steps down by itself; for others this changes nothing.
    if first_line(Command::new("id").arg("-u")) == "0" {
        command.args(["-u", "postgres"]);
    }
    command.arg("-q").arg(&ini);
    Proxy::start(command, port)
}

fn gatepost(
    program: &Path,
    direct: &Contender,
    directory: &Path,
    policies: &str,
) -> (Proxy, String) {
    let port = free_port();
    let password = directory.join("password");
    write(&password, &direct.password);
    let configuration = directory.join(FILE);
    let mut text = format!(
        "listen: 127.0.0.1:{port}\nstate: gatepost.db\njournal:\n  directory: {JOURNAL}\n\
         connections:\n"
    );
    for (name, durability) in [("relaxed", "relaxed"), ("strict", "strict"), ("masked", "relaxed")]
    {
        text.push_str(&format!(
            "  {name}:\n    address: 127.0.0.1:{}\n    database: {}\n    \
             tls: disable\n    user: {}\n    password: {{ file: {} }}\n    \
             durability: {durability}\n",
            direct.port,
            direct.database,
            direct.user,
            password.display()
        ));
    }
    text.push_str(policies);
    write(&configuration, &text);
    let token = token_of(program, "bench", &configuration);
    let mut command = Command::new(program);
    command.args(["serve", "-c"]).arg(&configuration).env("GATEPOST_LOG", "warn");
    (Proxy::start(command, port), token)
}

fn token_of(program: &Path, name: &str, configuration: &Path) -> String {
    first_line(Command::new(program).args(["token", "create", name, "-c"]).arg(configuration))
}

struct Proxy {
    process: Child,
    port: u16,
}

impl Proxy {
    /// Waits until it accepts.
    fn start(mut command: Command, port: u16) -> Proxy {
        let process = command
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("starting {:?}: {e}", command.get_program()));
        let mut proxy = Proxy { process, port };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let exited = proxy.process.try_wait().expect("a child");
            assert!(exited.is_none(), "{:?} exited: {exited:?}", command.get_program());
            assert!(Instant::now() < deadline, "{:?} does not listen", command.get_program());
            std::thread::sleep(Duration::from_millis(10));
        }
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

const JOURNAL: &str = "journal";
const FILE: &str = "gatepost.yaml";

const DIRECTORY: &str = "gatepost-bench-";

/// A run that was interrupted leaves gigabytes behind, which the next one takes away.
fn remove_what_died(beside: &Path) {
    let entries = fs::read_dir(beside).unwrap_or_else(|e| panic!("{}: {e}", beside.display()));
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let pid = name.strip_prefix(DIRECTORY).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            fs::remove_dir_all(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        }
    }
}

fn file_system(path: &Path) -> String {
    first_line(Command::new("stat").args(["--file-system", "--format=%T"]).arg(path))
}

struct Directory(PathBuf);

impl Directory {
    fn new(parent: &Path) -> Directory {
        let path = parent.join(format!("{DIRECTORY}{}", std::process::id()));
        fs::create_dir(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        Directory(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn write(path: &Path, text: &str) {
    fs::write(path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("its address").port()
}

fn first_line(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|e| panic!("starting {:?}: {e}", command.get_program()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{:?}: {errors}", command.get_program());
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().next().unwrap_or_default().trim().to_owned()
}
