//! A scratch cluster, asked by psql; and the catalog snapshot read from it.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use sql::catalog::{Builder, Catalog, READS};

/// Between values and rows: nothing in a catalog has them in it.
const VALUE_END: char = '\u{1e}';
const ROW_END: char = '\u{1d}';
const NULL: &str = "\u{1c}";
const READ_END: &str = "\u{19}";

pub(crate) struct Cluster {
    connection: String,
    programs: PathBuf,
    directory: PathBuf,
}

impl Cluster {
    /// A cluster of that version: Debian's, or the one that `cargo xtask test` has fetched and
    /// names. `None` where a plain `cargo test` finds none.
    pub(crate) fn of(version: u32) -> Option<Self> {
        let programs = match std::env::var_os(format!("GATEPOST_TEST_PG{version}_BIN")) {
            Some(directory) => PathBuf::from(directory),
            None => PathBuf::from(format!("/usr/lib/postgresql/{version}/bin")),
        };
        programs.join("initdb").exists().then(|| Self::start_from(programs))
    }

    fn start_from(programs: PathBuf) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("gatepost-sql-{}-{number}", std::process::id()));
        std::fs::create_dir(&directory).unwrap();
        let mut owner = Command::new("chown");
        if is_root() {
            run(owner.arg("postgres").arg(&directory));
        }
        let data = directory.join("data");
        run(server_side(&programs.join("initdb"))
            .args([
                "--auth=trust",
                "--username=postgres",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
            ])
            .arg("-D")
            .arg(&data));
        run(server_side(&programs.join("pg_ctl"))
            .args(["start", "-w", "-s", "-o"])
            .arg(format!("-c listen_addresses='' -c fsync=off -k {}", directory.display()))
            .arg("-D")
            .arg(&data)
            .arg("-l")
            .arg(directory.join("log")));
        let connection = format!("host={} user=postgres dbname=postgres", directory.display());
        Self { connection, programs, directory }
    }

    /// What psql prints for the script; errors come between the results.
    pub(crate) fn psql(&self, script: &str) -> String {
        self.psql_on("postgres", script).0
    }

    /// What psql prints for the script in a database, and the errors.
    pub(crate) fn psql_on(&self, database: &str, script: &str) -> (String, String) {
        let mut psql = Command::new("psql")
            .args(["-X", "-q", "-A", "-t", "-v", "VERBOSITY=terse"])
            .arg(format!("-F{VALUE_END}"))
            .arg(format!("-R{ROW_END}"))
            .arg(format!("-Pnull={NULL}"))
            .arg("-d")
            .arg(self.connection.replace("dbname=postgres", &format!("dbname={database}")))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("psql");
        let mut input = psql.stdin.take().unwrap();
        let script = script.to_owned();
        let writer = std::thread::spawn(move || {
            // A psql that ends early is found by what it printed.
            let _broken_pipe = input.write_all(script.as_bytes());
        });
        let output = psql.wait_with_output().unwrap();
        writer.join().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        (out, err)
    }

    pub(crate) fn must(&self, script: &str) -> String {
        self.psql(&format!("\\set ON_ERROR_STOP on\n{script}"))
    }

    /// Random statements, made for this cluster's schema.
    pub(crate) fn sqlsmith(&self, seed: u32, queries: u32) -> String {
        let output = Command::new("sqlsmith")
            .arg(format!("--target={}", self.connection))
            .args(["--dry-run", "--exclude-catalog"])
            .arg(format!("--seed={seed}"))
            .arg(format!("--max-queries={queries}"))
            .output()
            .expect("sqlsmith");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The major version of the server.
    pub(crate) fn version(&self) -> u32 {
        let number: u32 = self.must("SHOW server_version_num").trim().parse().unwrap();
        number / 10_000
    }

    /// The snapshot, read as a whole: in one transaction.
    pub(crate) fn catalog(&self) -> Catalog {
        self.catalog_after("")
    }

    /// The snapshot as a transaction sees it that has run the script, and is undone then.
    pub(crate) fn catalog_after(&self, script: &str) -> Catalog {
        let mut script = format!("BEGIN ISOLATION LEVEL REPEATABLE READ;\n{script}");
        for read in READS {
            script += &format!("{};\n\\echo {READ_END}\n", read.sql());
        }
        let printed = self.must(&script);
        let mut builder = Builder::default();
        for (read, rows) in READS.iter().zip(printed.split(READ_END)) {
            for row in rows.trim_matches('\n').split(ROW_END).filter(|row| !row.is_empty()) {
                let values: Vec<Option<&str>> =
                    row.split(VALUE_END).map(|value| Some(value).filter(|v| *v != NULL)).collect();
                builder.row(*read, &values).unwrap_or_else(|e| panic!("{e:?}: {row}"));
            }
        }
        builder.build()
    }
}

pub(crate) fn rows(printed: &str) -> Vec<Vec<&str>> {
    let rows = printed.trim_end_matches('\n').split(ROW_END).filter(|row| !row.is_empty());
    rows.map(|row| row.split(VALUE_END).collect()).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        run(server_side(&self.programs.join("pg_ctl"))
            .args(["stop", "-s", "-m", "immediate", "-D"])
            .arg(self.directory.join("data")));
        std::fs::remove_dir_all(&self.directory).unwrap();
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
