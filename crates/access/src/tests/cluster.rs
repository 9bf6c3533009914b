//! A PostgreSQL server to keep a store in: of Debian's 15, or of the programs that
//! `GATEPOST_TEST_PG15_BIN` names. It listens on a socket in its own directory.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UnixStream;

use super::Directory;
use crate::{Dialled, PostgresStore};

pub(super) struct Cluster {
    programs: PathBuf,
    directory: Directory,
    databases: AtomicU32,
}

impl Cluster {
    /// None where a plain `cargo test` finds no programs; where they are named, they must be
    /// there.
    pub(super) fn start() -> Option<Self> {
        let programs = match std::env::var_os("GATEPOST_TEST_PG15_BIN") {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from("/usr/lib/postgresql/15/bin"),
        };
        if std::env::var_os("GATEPOST_TEST_PG15_BIN").is_none() && !programs.exists() {
            println!("no PostgreSQL 15 here: nothing is tested");
            return None;
        }
        let directory = Directory::new();
        if is_root() {
            run(Command::new("chown").arg("postgres").arg(&directory.0));
        }
        let cluster = Self { programs, directory, databases: AtomicU32::new(0) };
        run(cluster
            .program("initdb")
            .args(["-A", "trust", "-U", "postgres", "-N", "-D"])
            .arg(cluster.data()));
        cluster.begin();
        Some(cluster)
    }

    pub(super) fn begin(&self) {
        let socket = self.directory.0.display();
        let settings = format!("-c listen_addresses='' -c fsync=off -k {socket}");
        run(self
            .program("pg_ctl")
            .args(["start", "-w", "-s", "-o", &settings, "-D"])
            .arg(self.data())
            .arg("-l")
            .arg(self.directory.0.join("log")));
    }

    /// As if the machine had stopped.
    pub(super) fn kill(&self) {
        run(self
            .program("pg_ctl")
            .args(["stop", "-w", "-s", "-m", "immediate", "-D"])
            .arg(self.data()));
    }

    pub(super) fn new_database(&self) -> String {
        let name = format!("store{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}"));
        name
    }

    pub(super) fn psql(&self, database: &str, sql: &str) -> String {
        let output = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-U", "postgres", "-h"])
            .arg(&self.directory.0)
            .args(["-d", database, "-c", sql])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) fn store(&self, database: &str) -> PostgresStore {
        let socket = self.directory.0.join(".s.PGSQL.5432");
        PostgresStore {
            user: "postgres".to_owned(),
            database: database.to_owned(),
            hosts: 1,
            dial: Box::new(move |_, _| {
                let socket = socket.clone();
                Box::pin(async move {
                    let stream = Box::new(UnixStream::connect(socket).await?);
                    Ok(Dialled { stream, password: None })
                })
            }),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.0.join("data")
    }

    fn program(&self, name: &str) -> Command {
        server_side(&self.programs.join(name))
    }
}

impl Drop for Cluster {
    /// Whatever the test came to; one that never began has nothing to stop.
    fn drop(&mut self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "-w", "-s", "-m", "immediate", "-D"]).arg(self.data());
        let _stopped = stop.stdout(Stdio::null()).status();
    }
}

fn is_root() -> bool {
    let output = Command::new("id").arg("-u").output().unwrap();
    output.stdout.trim_ascii() == b"0"
}

/// PostgreSQL refuses to run as root.
fn server_side(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(program);
    command.current_dir("/");
    command
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
