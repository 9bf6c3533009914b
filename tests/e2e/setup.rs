//! The stands that tests are played on: a database, a gateway before it, and the words for how
//! the one is configured to reach the other. Servers, processes and client programs come from the
//! harness; what is asserted is the tests' business.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;

use e2e::{Database, Gatepost, Login, Place, ROLE_PASSWORD, Role, Server};

use crate::raw::{Address, Greeting, Raw};

/// The identity that tests log in as, unless it matters.
pub const AGENT: &str = "agent-7";

/// Tests that take long, or much memory, ask this first.
pub fn long() -> bool {
    std::env::var_os("GATEPOST_LONG").is_some()
}

pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    e2e::wait_for(what, || condition().then_some(()));
}

/// A connection from an address of this machine's own choosing.
pub fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address of this machine");
    socket.connect(&to.into()).expect("a connection");
    socket.into()
}

/// A database of a server whose version doesn't matter.
pub fn database() -> Database {
    e2e::pg(e2e::versions()[0]).database()
}

/// A database as equal to `template` as PostgreSQL can make it, OIDs included.
pub fn twin(template: &Database) -> Database {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let name = format!("{}_{count}", template.name);
    let sql = format!("CREATE DATABASE {name} TEMPLATE {}", template.name);
    template.server.admin().psql(&sql);
    Database { server: template.server.clone(), name }
}

/// A superuser's direct session.
pub fn admin(database: &Database) -> Raw {
    let login = database.login();
    Raw::login(&address(&database.server), &login.user, &login.password, &login.database).0
}

pub fn address(server: &Server) -> Address {
    Address::Tcp(server.address())
}

/// Sessions of a database that fit a condition on pg_stat_activity.
pub fn activity(database: &Database, condition: &str) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{}' \
         AND backend_type = 'client backend' AND {condition}",
        database.name
    );
    database.server.admin().psql(&sql).parse().expect("a count")
}

/// How a session comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// No gateway at all.
    Direct,
    /// `login: gateway`.
    Gateway,
    /// `login: database`.
    Observe,
    /// `login: gateway`, and a policy that allows everything.
    Everything,
    /// The same, and a rule that refuses what is not there: so every statement is judged.
    Judged,
    /// The same, and whatever reads or writes `logs` is refused.
    Refused,
    /// The same, and for that people have to agree: somebody does, in the gateway's own store.
    Approved,
    /// Somebody doesn't.
    Denied,
}

impl Mode {
    fn policies(self) -> Option<String> {
        let rest = match self {
            Mode::Everything => String::new(),
            Mode::Judged => "    refuse: [{ read: hidden.nothing }]\n".to_owned(),
            Mode::Refused => "    refuse: [{ \"read, write\": public.logs }]\n".to_owned(),
            Mode::Approved | Mode::Denied => "    hold: [{ \"read, write\": public.logs, \
                                              by: \"group:dba\" }]\n    \
                                              limits: { hold_wait_in_transaction: 5s }\n"
                .to_owned(),
            _ => return None,
        };
        Some(format!(
            "policies:\n  - name: open\n    who: \"*\"\n    to: \"*\"\n    \
             access: {{ approval: none }}\n    allow: [everything]\n{rest}"
        ))
    }
}

/// Somewhere to log in, as one who may.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: Address,
    pub user: String,
    pub password: String,
    pub database: String,
}

impl Target {
    pub fn direct(database: &Database, role: Role) -> Target {
        Target {
            address: address(&database.server),
            user: role.name().to_owned(),
            password: ROLE_PASSWORD.to_owned(),
            database: database.name.clone(),
        }
    }

    pub fn login(&self) -> (Raw, Greeting) {
        Raw::login(&self.address, &self.user, &self.password, &self.database)
    }
}

/// A gateway in front of `database`, in the given mode. `None` for [`Mode::Direct`].
pub fn gate(database: &Database, mode: Mode) -> (Target, Option<Gate>) {
    match mode {
        Mode::Direct => (Target::direct(database, Role::Scram), None),
        _ => {
            let plan = match (mode, mode.policies()) {
                (Mode::Observe, _) => Plan::observe(database),
                (_, Some(policies)) => Plan::gateway(database).top(&policies),
                (_, None) => Plan::gateway(database),
            };
            let gate = plan.start();
            (agent_or_role(&gate, database), Some(gate))
        }
    }
}

/// A configuration with one connection, named as the database is.
#[derive(Clone)]
pub struct Plan {
    /// With `PORT` for the port and `DIR` for the directory of the configuration file.
    listen: Vec<String>,
    /// The address for HTTP, without the port.
    http: String,
    state: String,
    top: Vec<String>,
    name: String,
    address: String,
    database: Option<String>,
    tls: String,
    /// How the connection is logged in to, as lines.
    login: Vec<String>,
    more: Vec<String>,
    files: Vec<(String, String)>,
    others: Vec<String>,
}

impl Plan {
    /// The gateway logs in, by SCRAM and without TLS.
    pub fn gateway(database: &Database) -> Plan {
        Plan::gateway_as(database, Role::Scram.name(), ROLE_PASSWORD)
    }

    pub fn gateway_as(database: &Database, user: &str, password: &str) -> Plan {
        Plan {
            login: vec![
                format!("user: {user}"),
                "password: { file: upstream-password }".to_owned(),
            ],
            files: vec![("upstream-password".to_owned(), password.to_owned())],
            ..Plan::observe(database).with_database(&database.name).without_login()
        }
    }

    /// The client logs in at the database.
    pub fn observe(database: &Database) -> Plan {
        Plan {
            listen: vec!["127.0.0.1:PORT".to_owned()],
            http: "127.0.0.1".to_owned(),
            state: "gatepost.db".to_owned(),
            top: Vec::new(),
            name: database.name.clone(),
            address: database.server.address().to_string(),
            database: None,
            tls: "disable".to_owned(),
            login: vec!["login: database".to_owned()],
            more: Vec::new(),
            files: Vec::new(),
            others: Vec::new(),
        }
    }

    fn without_login(mut self) -> Plan {
        self.login.clear();
        self
    }

    pub fn with_database(mut self, database: &str) -> Plan {
        self.database = Some(database.to_owned());
        self
    }

    /// The connection's name in the file; `"*"` for every database.
    pub fn named(mut self, name: &str) -> Plan {
        self.name = name.to_owned();
        self
    }

    pub fn address(mut self, address: &str) -> Plan {
        self.address = address.to_owned();
        self
    }

    pub fn upstream_tls(mut self, tls: &str) -> Plan {
        self.tls = tls.to_owned();
        self
    }

    /// A further line of the connection.
    pub fn connection(mut self, line: &str) -> Plan {
        self.more.push(line.to_owned());
        self
    }

    /// A further line of the file.
    pub fn top(mut self, line: &str) -> Plan {
        self.top.push(line.to_owned());
        self
    }

    pub fn file(mut self, name: &str, text: &str) -> Plan {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    pub fn listen(mut self, addresses: &[&str]) -> Plan {
        self.listen = addresses.iter().map(|a| (*a).to_owned()).collect();
        self
    }

    /// In a database, as its superuser.
    pub fn state_in(mut self, store: &Database) -> Plan {
        let server = &store.server;
        self.state = format!(
            "\n  postgres: {{ address: \"{}\", database: {}, user: {}, password: {{ file: {} }}, \
             tls: disable }}",
            server.address(),
            store.name,
            store.login().user,
            server.password_file.display()
        );
        self
    }

    /// HTTP from other machines, too.
    pub fn http_everywhere(mut self) -> Plan {
        self.http = "0.0.0.0".to_owned();
        self
    }

    /// TLS for clients, with a certificate of the gateway's own.
    pub fn tls(self, server: &Server) -> Plan {
        let (certificate, key) = server.certificates.gate();
        self.certificate(&certificate, &key)
    }

    pub fn certificate(self, certificate: &std::path::Path, key: &std::path::Path) -> Plan {
        self.top(&format!(
            "tls: {{ certificate: {}, key: {} }}",
            certificate.display(),
            key.display()
        ))
    }

    /// Everything but where to listen.
    pub fn connections(&self) -> String {
        let mut text: String = self.top.iter().map(|line| format!("{line}\n")).collect();
        text += "connections:\n";
        text += &self.connection_block();
        text + &self.others.concat()
    }

    fn connection_block(&self) -> String {
        let mut lines = vec![
            format!("  \"{}\":", self.name),
            format!("    address: {}", self.address),
            format!("    tls: {}", self.tls),
        ];
        lines.extend(self.database.iter().map(|d| format!("    database: {d}")));
        lines.extend(self.login.iter().chain(&self.more).map(|l| format!("    {l}")));
        lines.join("\n") + "\n"
    }

    /// A further connection, of another plan.
    pub fn and(mut self, other: &Plan) -> Plan {
        self.others.push(other.connection_block());
        self.files.extend(other.files.iter().cloned());
        self
    }

    pub fn start(&self) -> Gate {
        self.start_with(|_| Vec::new())
    }

    /// With an environment of its own.
    pub fn start_with(&self, environment: impl Fn(&Place) -> Vec<(String, String)>) -> Gate {
        let process = Gatepost::start_in(environment, |place| self.text(place));
        let own_login = self.login.iter().any(|line| line == "login: database");
        let token = if own_login { String::new() } else { process.token(AGENT) };
        Gate { process, token, connection: self.name.clone() }
    }

    /// The whole file; what it names is written beside it.
    fn text(&self, place: &Place) -> String {
        for (name, text) in &self.files {
            place.directory.file(name, text);
        }
        let directory = place.directory.display().to_string();
        let listen = self.listen.join("\", \"");
        let listen = listen.replace("PORT", &place.port.to_string()).replace("DIR", &directory);
        let http_port = place.http_port.to_string();
        format!(
            "listen: [\"{listen}\"]\nhttp: {}:{http_port}\nstate: {}\n{}",
            self.http,
            self.state,
            self.connections().replace("HTTP_PORT", &http_port)
        )
    }
}

/// A running gateway, and the agent's way in.
pub struct Gate {
    pub process: Gatepost,
    /// Of [`AGENT`]; empty where the client logs in at the database.
    pub token: String,
    connection: String,
}

impl Gate {
    pub fn address(&self) -> Address {
        Address::Tcp(self.process.address())
    }

    pub fn port(&self) -> u16 {
        self.process.address().port()
    }

    pub fn target(&self) -> Target {
        Target {
            address: self.address(),
            user: AGENT.to_owned(),
            password: self.token.clone(),
            database: self.connection.clone(),
        }
    }

    /// The agent's session.
    pub fn login(&self) -> (Raw, Greeting) {
        self.target().login()
    }

    /// The agent's way in for client programs that fit the server's version.
    pub fn client(&self, database: &Database) -> Login {
        self.process.login(&database.login(), AGENT, &self.token, &self.connection)
    }

    /// The agent's way in for client programs that can do TLS.
    pub fn tls_client(&self, database: &Database) -> Login {
        Login { clients: e2e::tls_clients(), ..self.client(database) }
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Puts another file in the place of the first and asks for it to be read; gives its text.
    pub fn reload(&self, plan: &Plan) -> String {
        let text = plan.text(&self.process.place);
        self.process.place.directory.file("gatepost.yaml", &text);
        self.process.signal("HUP");
        text
    }
}

/// No byte from the network makes the process panic, whatever the test was about.
impl Drop for Gate {
    fn drop(&mut self) {
        let log = self.log();
        if !std::thread::panicking() {
            assert!(!log.contains("panicked at"), "the gateway panicked:\n{log}");
        }
    }
}

/// Splitmix64: good enough to vary programs, and the same everywhere.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// Who may log in at a gate: the agent, or where the client logs in at the database, a role.
pub fn agent_or_role(gate: &Gate, database: &Database) -> Target {
    if gate.token.is_empty() {
        Target { address: gate.address(), ..Target::direct(database, Role::Scram) }
    } else {
        gate.target()
    }
}

/// A plain byte copy at an address of its own, for meeting a server under another name or for
/// cutting it off.
pub struct Forward {
    pub address: SocketAddr,
}

impl Forward {
    /// Stands until the test's process ends.
    pub fn new(at: Ipv4Addr, to: SocketAddr) -> Forward {
        let listener = TcpListener::bind((at, 0)).expect("an address of the loopback");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(to).expect("the server");
                for (mut from, mut to) in [
                    (client.try_clone().expect("a handle"), server.try_clone().expect("a handle")),
                    (server, client),
                ] {
                    std::thread::spawn(move || {
                        // However it ends, the other side learns that it ended.
                        drop(io::copy(&mut from, &mut to));
                        drop(to.shutdown(Shutdown::Write));
                    });
                }
            }
        });
        Forward { address }
    }
}

/// A port of the loopback that nobody listens at.
pub fn closed_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address").port()
}

pub fn pem(path: PathBuf) -> String {
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
