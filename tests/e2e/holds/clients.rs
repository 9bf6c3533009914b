//! Clients that people use wait through a hold, or give up, come back and succeed.

use std::process::{Command, Output};

use e2e::{Login, on_each_version};

use super::stand::Stand;

fn text(output: &Output) -> String {
    let (out, errors) = (&output.stdout, &output.stderr);
    format!("{}{}", String::from_utf8_lossy(out), String::from_utf8_lossy(errors))
}

/// One that has no timeout of its own below that of the hold.
fn patient(login: &Login, name: &str, sql: &str) -> Command {
    match name {
        "psql" => {
            let mut psql = login.program("psql");
            psql.args(["-X", "-c", sql]);
            psql
        }
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
        for (id, name) in [(1, "psql"), (2, "psycopg")] {
            let sql = format!("UPDATE payments SET note = '{name}' WHERE id = {id}");
            let mut command = patient(&stand.gate.client(&stand.database), name, &sql);
            let (output, hold) = stand.approved(move || command.output().expect("it runs"));
            let said = text(&output);
            assert!(output.status.success(), "{said}");
            assert!(said.contains(hold.id.as_str()), "{said}");
        }
        assert_eq!(stand.value("SELECT count(*) FROM payments WHERE note IN ('psql', 'psycopg')"), "2");
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
}
