//! Clients that people use wait through a hold, or give up, come back and succeed.

use std::path::Path;
use std::process::{Command, Output};

use access::HoldState;
use e2e::{Login, on_each_version};

use super::stand::Stand;

/// In seconds, as tools have them.
const DEADLINE: u32 = 10;

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(errors))
}

/// JDBC and node's `pg`: what they are told, and how many rows it was. With a deadline they give up
/// after so many seconds, and come back until it has run.
fn driver(login: &Login, name: &str, sql: &str, deadline: u32) -> Command {
    let programs = Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/holds/clients");
    let mut command = match name {
        "jdbc" => {
            let mut java = Command::new("java");
            // Small and started at once; the class path is the driver's.
            java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"])
                .arg("-cp")
                .arg(e2e::jdbc())
                .arg(programs.join("Held.java"));
            java
        }
        _ => {
            let (node, modules) = e2e::node();
            let mut command = Command::new(node);
            command.arg(programs.join("held.mjs")).arg(modules);
            command
        }
    };
    let (port, deadline) = (login.port.to_string(), deadline.to_string());
    command.args([&login.host, &port, &login.user, &login.password, &login.database]);
    command.args([sql, &deadline]);
    command
}

/// One that has no timeout of its own below that of the hold.
fn patient(login: &Login, name: &str, sql: &str) -> Command {
    match name {
        "psql" => {
            let mut psql = login.program("psql");
            psql.args(["-X", "-c", sql]);
            psql
        }
        "jdbc" | "node" => driver(login, name, sql, 0),
        _ => {
            let mut python = login.apply(e2e::python());
            let script = "import sys, psycopg\n\
                          connection = psycopg.connect(sys.argv[1], autocommit=True)\n\
                          connection.add_notice_handler(lambda d: print(d.message_primary))\n\
                          print(connection.execute(sys.argv[2]).rowcount)";
            python.args(["-c", script, &login.conninfo(), sql]);
            python
        }
    }
}

on_each_version! {
    fn patient_clients_wait(server: Server) {
        let stand = Stand::new(&server);
        for (id, name) in [(1, "psql"), (2, "psycopg"), (3, "jdbc"), (4, "node")] {
            let sql = format!("UPDATE payments SET note = '{name}' WHERE id = {id}");
            let mut command = patient(&stand.gate.client(&stand.database), name, &sql);
            let (output, hold) = stand.approved(move || command.output().expect("it runs"));
            let said = text(&output);
            assert!(output.status.success(), "{said}");
            assert!(said.contains(hold.id.as_str()), "{said}");
        }
        let noted = "SELECT string_agg(note, ' ' ORDER BY id) FROM payments WHERE id <= 4";
        assert_eq!(stand.value(noted), "psql psycopg jdbc node");
    }

    /// As drivers with a deadline do, it goes without a word.
    fn a_client_with_a_deadline_comes_back(server: Server) {
        let stand = Stand::new(&server);
        let login = stand.gate.client(&stand.database);
        let sql = "DELETE FROM payments WHERE id = 9";
        let mut first = patient(&login, "psql", sql);
        let mut child = first.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null())
            .spawn().expect("psql runs");
        let hold = stand.waits();
        child.kill().expect("it is there");
        child.wait().expect("it ends");
        crate::setup::eventually("it to be orphaned", || {
            stand.hold(&hold.id).orphaned_until.is_some()
        });
        stand.approve(&hold);
        let output = patient(&login, "psql", sql).output().expect("psql runs");
        assert!(text(&output).contains("DELETE 1"), "{}", text(&output));
    }
    /// JDBC closes its socket and `pg` says Terminate; both ask again on a new connection, and find
    /// what was agreed to meanwhile.
    fn drivers_with_a_deadline_come_back(server: Server) {
        let stand = Stand::new(&server);
        let login = stand.gate.client(&stand.database);
        for (id, name) in [(11, "jdbc"), (12, "node")] {
            let sql = format!("UPDATE payments SET amount = amount + 1 WHERE id = {id}");
            let mut command = driver(&login, name, &sql, DEADLINE);
            let asks = std::thread::spawn(move || command.output().expect("it runs"));
            let hold = stand.waits();
            crate::setup::eventually("it to be orphaned", || {
                stand.hold(&hold.id).orphaned_until.is_some()
            });
            stand.approve(&hold);
            let output = asks.join().expect("it ends");
            let said = text(&output);
            assert!(output.status.success(), "{said}");
            assert!(said.contains("gave up") && said.ends_with("1\n"), "{said}");
            assert!(matches!(stand.outcome(&hold), HoldState::Done { .. }));
            assert_eq!(stand.value(&format!("SELECT amount FROM payments WHERE id = {id}")), "101");
        }
        assert_eq!(stand.all().len(), 2, "nobody was asked twice");
    }
}
