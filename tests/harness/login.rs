//! Everything a client needs to log in somewhere, directly or through the gateway, and the
//! programs of libpq run with it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

#[derive(Clone, Debug)]
pub struct Login {
    /// A name, an address, or the directory of a Unix socket.
    pub host: String,
    pub port: u16,
    pub user: String,
    pub password: String,
    pub database: String,
    /// Further variables that libpq reads, such as `PGSSLMODE`.
    pub environment: Vec<(String, String)>,
    /// Where `psql`, `pg_dump` and their like are.
    pub clients: PathBuf,
}

impl Login {
    pub fn with(mut self, variable: &str, value: impl Into<String>) -> Login {
        self.environment.push((variable.to_owned(), value.into()));
        self
    }

    /// Key words and values as libpq and its wrappers take them.
    pub fn conninfo(&self) -> String {
        let quote = |text: &str| format!("'{}'", text.replace('\\', r"\\").replace('\'', r"\'"));
        format!(
            "host={} port={} user={} password={} dbname={}",
            quote(&self.host),
            self.port,
            quote(&self.user),
            quote(&self.password),
            quote(&self.database),
        )
    }

    /// A client program of PostgreSQL that will log in here.
    pub fn program(&self, name: &str) -> Command {
        self.apply(self.clients.join(name))
    }

    /// Any program that uses libpq.
    pub fn apply(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("PG")) {
            command.env_remove(name);
        }
        command
            .env("PGHOST", &self.host)
            .env("PGPORT", self.port.to_string())
            .env("PGUSER", &self.user)
            .env("PGPASSWORD", &self.password)
            .env("PGDATABASE", &self.database)
            // No password file or service file of whoever runs the tests.
            .env("HOME", "/nonexistent")
            .env("LC_ALL", "C")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    /// What `psql` prints for the statements: unaligned, fields parted by `|`. The first error
    /// ends it, and is the `Err`.
    pub fn try_psql(&self, sql: &str) -> Result<String, String> {
        let output = self
            .program("psql")
            .args(["-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .output()
            .expect("psql runs");
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// Like [`Login::try_psql`], where an error fails the test.
    pub fn psql(&self, sql: &str) -> String {
        self.try_psql(sql).unwrap_or_else(|error| panic!("psql -c {sql:?}: {error}"))
    }
}
