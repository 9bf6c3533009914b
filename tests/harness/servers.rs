//! PostgreSQL for tests. One process, `e2e-servers`, keeps a shared cluster for each version and
//! tells the tests of it in environment variables; a test takes a database of its own there. A
//! test that stops, kills or reconfigures a server starts its own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::scratch::{Cluster, Options, SUPERUSER, ServerBinaries, ServerCertificate};

use crate::{Certificates, Directory, Login, directory};

/// Of every role of [`Role`].
pub const ROLE_PASSWORD: &str = "open sesame";

/// Roles that every server has, one for each way that PostgreSQL asks for a password. None is a
/// superuser; each may create tables in every test's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Scram,
    Md5,
    Cleartext,
    /// Needs no password.
    Trust,
    /// SCRAM, and only over TLS.
    TlsOnly,
}

impl Role {
    pub const ALL: [Role; 5] =
        [Role::Scram, Role::Md5, Role::Cleartext, Role::Trust, Role::TlsOnly];

    pub fn name(self) -> &'static str {
        match self {
            Role::Scram => "scram_user",
            Role::Md5 => "md5_user",
            Role::Cleartext => "cleartext_user",
            Role::Trust => "trust_user",
            Role::TlsOnly => "tls_user",
        }
    }
}

/// The versions that this run has servers for.
pub fn versions() -> Vec<u32> {
    let found: Vec<u32> =
        KNOWN_VERSIONS.into_iter().filter(|v| std::env::var(variable(*v)).is_ok()).collect();
    assert!(!found.is_empty(), "{NO_SERVERS}");
    found
}

/// The shared server of a major version.
pub fn pg(version: u32) -> Server {
    let text = std::env::var(variable(version))
        .unwrap_or_else(|_| panic!("PostgreSQL {version}: {NO_SERVERS}"));
    Server::from_text(&text)
}

/// A cluster that is like the shared one, and the caller's to kill.
pub fn own_cluster(version: u32) -> OwnCluster {
    let shared = pg(version);
    OwnCluster::start(&shared.binaries, &shared.clients, &shared.certificates)
}

/// The Python that has psycopg 3.
pub fn python() -> PathBuf {
    PathBuf::from(std::env::var(PYTHON).unwrap_or_else(|_| panic!("Python: {NO_SERVERS}")))
}

/// The class path of the JDBC driver.
pub fn jdbc() -> PathBuf {
    PathBuf::from(std::env::var(JDBC).unwrap_or_else(|_| panic!("JDBC: {NO_SERVERS}")))
}

/// Client programs that can do TLS, which those of version 18 that tests get cannot.
pub fn tls_clients() -> PathBuf {
    let directory = std::env::var(TLS_CLIENTS);
    PathBuf::from(directory.unwrap_or_else(|_| panic!("clients with TLS: {NO_SERVERS}")))
}

/// Node.js, and where npm has installed `oidc-provider` and `pg`.
pub fn node() -> (PathBuf, PathBuf) {
    let of = |name| std::env::var(name).unwrap_or_else(|_| panic!("Node.js: {NO_SERVERS}"));
    (PathBuf::from(of(NODE)), PathBuf::from(of(NODE_MODULES)))
}

/// The `promtool` that says whether /metrics is well-formed.
pub fn promtool() -> PathBuf {
    PathBuf::from(std::env::var(PROMTOOL).unwrap_or_else(|_| panic!("promtool: {NO_SERVERS}")))
}

/// Where SimpleSAMLphp's pages are.
pub fn simplesaml() -> PathBuf {
    let of = std::env::var(SIMPLESAML);
    PathBuf::from(of.unwrap_or_else(|_| panic!("SimpleSAMLphp: {NO_SERVERS}")))
}

const KNOWN_VERSIONS: [u32; 2] = [15, 18];
const PYTHON: &str = "GATEPOST_TEST_PYTHON";
const SIMPLESAML: &str = "GATEPOST_TEST_SIMPLESAML";
const JDBC: &str = "GATEPOST_TEST_JDBC";
const TLS_CLIENTS: &str = "GATEPOST_TEST_TLS_CLIENTS";
const NODE: &str = "GATEPOST_TEST_NODE";
const NODE_MODULES: &str = "GATEPOST_TEST_NODE_MODULES";
const PROMTOOL: &str = "GATEPOST_TEST_PROMTOOL";
const NO_SERVERS: &str =
    "no test server is running; run this test by `cargo xtask test -- NAME_OF_THE_TEST`";

fn variable(version: u32) -> String {
    format!("GATEPOST_TEST_PG{version}")
}

/// How to reach a server that runs.
#[derive(Clone, Debug)]
pub struct Server {
    pub version: u32,
    pub port: u16,
    /// Where its Unix socket is.
    pub sockets: PathBuf,
    /// The superuser's, as text and in a file.
    pub password: String,
    pub password_file: PathBuf,
    /// The password of every [`Role`].
    pub role_password_file: PathBuf,
    pub certificates: Certificates,
    binaries: PathBuf,
    clients: PathBuf,
}

impl Server {
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    /// The superuser in the database `postgres`.
    pub fn admin(&self) -> Login {
        Login {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: SUPERUSER.to_owned(),
            password: self.password.clone(),
            database: "postgres".to_owned(),
            environment: Vec::new(),
            clients: self.clients.clone(),
        }
    }

    /// A new, empty database, dropped with its guard.
    pub fn database(&self) -> Database {
        let name = format!("t_{}", directory::unique());
        let admin = self.admin();
        admin.psql(&format!("CREATE DATABASE {name} TEMPLATE template0"));
        let database = Database { server: self.clone(), name };
        // From version 15 on only the owner may create in `public`.
        database.login().psql("GRANT ALL ON SCHEMA public TO public");
        database
    }

    fn to_text(&self) -> String {
        let paths = [
            &self.sockets,
            &self.password_file,
            &self.role_password_file,
            &self.certificates.ca(),
            &self.binaries,
            &self.clients,
        ];
        let paths: Vec<_> = paths.iter().map(|path| path.display().to_string()).collect();
        format!("{}|{}|{}|{}", self.version, self.port, self.password, paths.join("|"))
    }

    fn from_text(text: &str) -> Server {
        let fields: Vec<&str> = text.split('|').collect();
        let [version, port, password, sockets, file, role_file, ca, binaries, clients] =
            fields.as_slice()
        else {
            panic!("a server's description that this harness did not write: {text}")
        };
        Server {
            version: version.parse().expect("a version"),
            port: port.parse().expect("a port"),
            password: (*password).to_owned(),
            sockets: sockets.into(),
            password_file: file.into(),
            role_password_file: role_file.into(),
            certificates: Certificates::in_directory(Path::new(ca).parent().expect("a directory")),
            binaries: binaries.into(),
            clients: clients.into(),
        }
    }
}

/// A test's own database.
pub struct Database {
    pub server: Server,
    pub name: String,
}

impl Database {
    /// The superuser's way in, directly.
    pub fn login(&self) -> Login {
        Login { database: self.name.clone(), ..self.server.admin() }
    }

    /// A role's way in, directly.
    pub fn login_as(&self, role: Role) -> Login {
        Login { user: role.name().to_owned(), password: ROLE_PASSWORD.to_owned(), ..self.login() }
    }

    /// An entry for `connections:` of a configuration file: the gateway logs in to this database
    /// as the superuser, over plain TCP.
    pub fn connection(&self, name: &str) -> String {
        self.connection_with(name, SUPERUSER, &self.server.password_file, "tls: disable")
    }

    /// The same as a role, with further lines (parted by `; `) instead of `tls: disable`.
    pub fn connection_as(&self, name: &str, role: Role, lines: &str) -> String {
        self.connection_with(name, role.name(), &self.server.role_password_file, lines)
    }

    fn connection_with(&self, name: &str, user: &str, password: &Path, lines: &str) -> String {
        format!(
            "  {name}:\n    address: {}\n    database: {}\n    user: {user}\n    \
             password: {{ file: {} }}\n    {}\n",
            self.server.address(),
            self.name,
            password.display(),
            lines.replace("; ", "\n    "),
        )
    }

    /// How many sessions PostgreSQL itself counts in this database, ours not included.
    pub fn sessions(&self) -> usize {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity \
             WHERE datname = '{}' AND backend_type = 'client backend'",
            self.name
        );
        self.server.admin().psql(&sql).parse().expect("a count")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        // The server may be dead by the test's own doing.
        drop(self.server.admin().try_psql(&format!("DROP DATABASE {} WITH (FORCE)", self.name)));
    }
}

/// A cluster with all that tests expect of one: TLS, the roles, many connections.
pub struct OwnCluster {
    pub cluster: Cluster,
    pub server: Server,
    _directory: Directory,
}

impl OwnCluster {
    fn start(binaries: &Path, clients: &Path, certificates: &Certificates) -> OwnCluster {
        let found = ServerBinaries::find(Some(binaries)).unwrap_or_else(|e| panic!("{e}"));
        let mut options = Options::new(found);
        for (name, value) in [
            ("max_connections", "300"),
            ("shared_buffers", "64MB"),
            ("wal_level", "replica"),
            ("log_connections", "on"),
            ("log_line_prefix", "%m [%p] %u@%d "),
        ] {
            options.settings.push((name.to_owned(), value.to_owned()));
        }
        for (role, method) in
            [(Role::Md5, "md5"), (Role::Cleartext, "password"), (Role::Trust, "trust")]
        {
            let name = role.name();
            options.hba.push(format!("local all {name} {method}"));
            options.hba.push(format!("host all {name} all {method}"));
        }
        let tls_only = Role::TlsOnly.name();
        options.hba.push(format!("hostnossl all {tls_only} all reject"));
        let (certificate, key) = certificates.server();
        options.tls = Some(ServerCertificate { certificate, key });

        let cluster = Cluster::start(options).unwrap_or_else(|e| panic!("{e}"));
        let directory = Directory::new();
        let server = Server {
            version: cluster.version(),
            port: cluster.port(),
            sockets: cluster.socket_directory().to_owned(),
            password: cluster.password().to_owned(),
            password_file: directory.file("password", cluster.password()),
            role_password_file: directory.file("role_password", ROLE_PASSWORD),
            certificates: certificates.clone(),
            binaries: binaries.to_owned(),
            clients: clients.to_owned(),
        };
        for role in Role::ALL {
            let encryption = if role == Role::Md5 { "md5" } else { "scram-sha-256" };
            server.admin().psql(&format!(
                "SET password_encryption = '{encryption}'; \
                 CREATE ROLE {} LOGIN PASSWORD '{ROLE_PASSWORD}'",
                role.name()
            ));
        }
        OwnCluster { cluster, server, _directory: directory }
    }
}

/// What `e2e-servers` keeps alive.
pub struct SharedServers {
    clusters: Vec<OwnCluster>,
    _directory: Directory,
}

impl SharedServers {
    /// Of each, the directory of server binaries and that of client programs.
    pub fn start(installations: &[(PathBuf, PathBuf)]) -> SharedServers {
        let directory = Directory::new();
        let certificates = Certificates::make(&directory);
        let clusters = installations
            .iter()
            .map(|(binaries, clients)| OwnCluster::start(binaries, clients, &certificates))
            .collect();
        SharedServers { clusters, _directory: directory }
    }

    /// Names and values, for the environment of the tests.
    pub fn variables(&self) -> Vec<(String, String)> {
        let describe = |own: &OwnCluster| (variable(own.server.version), own.server.to_text());
        self.clusters.iter().map(describe).collect()
    }

    /// What the servers logged, for whoever has to find out why a test failed.
    pub fn save_logs(&self, directory: &Path) {
        for own in &self.clusters {
            let path = directory.join(format!("postgresql-{}.log", own.server.version));
            fs::write(&path, own.cluster.log())
                .unwrap_or_else(|e| eprintln!("writing {}: {e}", path.display()));
        }
    }
}
