//! `gatepost check --live`: what the database says to the policies. Each thing that is found has a
//! near twin that is as it should be, and is not.

use std::process::Output;

use e2e::{Database, Gatepost};

use crate::raw::Raw;
use crate::setup::{self, Gate, Plan};

const PASSWORD: &str = "of the role";

const TABLES: &str = "CREATE TABLE notes (id integer, body text); \
     CREATE TABLE keys (id integer, secret text); \
     CREATE VIEW shown AS SELECT id, secret FROM keys; \
     CREATE FUNCTION peek() RETURNS text LANGUAGE sql SECURITY DEFINER \
     AS 'SELECT secret FROM public.keys LIMIT 1'; \
     REVOKE CREATE ON SCHEMA public FROM PUBLIC;";

#[test]
fn a_role_that_may_what_the_policies_give_is_well() {
    let stand = Stand::new("fits", "");
    stand.as_admin("GRANT SELECT, INSERT ON notes TO {role}");
    let said = stand.check(&["read: public.notes", "insert: public.notes"]);
    assert_eq!(said, "");
}

#[test]
fn a_role_that_may_more_is_named_with_what_it_may() {
    let stand = Stand::new("more", "CREATEROLE CREATEDB");
    stand.as_admin(
        "GRANT SELECT, INSERT, DELETE ON notes TO {role}; GRANT SELECT ON keys TO {role}; \
         GRANT CREATE ON SCHEMA public TO {role}; GRANT pg_read_all_data TO {role}; \
         CREATE TABLE own (id integer); ALTER TABLE own OWNER TO {role}",
    );
    let said = stand.check(&[
        "read: public.notes",
        "insert: public.notes",
        "read, write, truncate: public.own",
    ]);
    for found in [
        "the role {role} has CREATEROLE",
        "the role {role} has CREATEDB",
        "the role {role} is a member of pg_read_all_data",
        "the role {role} owns public.own: ",
        "the role {role} may write what no policy gives: public.notes (delete)\n",
        "the role {role} may read what no policy gives: public.keys, public.shown\n",
        "the role {role} may create in schemas where no policy lets it: public\n",
    ] {
        let found = found.replace("{role}", &stand.role);
        assert!(said.contains(&found), "{found}: {said}");
    }
    for near in ["REPLICATION", "BYPASSRLS", "superuser", "sessions"] {
        assert!(!said.contains(near), "{near}: {said}");
    }
}

#[test]
fn a_superuser_is_named_and_nothing_else_of_its_rights() {
    let stand = Stand::new("super", "SUPERUSER");
    let said = stand.check(&["read: public.notes"]);
    assert!(said.contains(&format!("the role {} is a superuser", stand.role)), "{said}");
    assert!(!said.contains("no policy gives"), "{said}");
}

#[test]
fn names_that_are_gone_and_doors_at_the_back_are_found() {
    let stand = Stand::new("doors", "");
    let said = stand.check(&["read: public.nots, public.notes(id, bodi)"]);
    assert!(said.contains("names what is not there: table public.nots"), "{said}");
    assert!(said.contains("names what is not there: column public.notes(bodi)"), "{said}");
    let said = stand.check(&["read: public.shown, public.keys(id)", "use: public.peek"]);
    assert!(
        said.contains("the view public.shown in full, which shows public.keys(secret)"),
        "{said}"
    );
    assert!(said.contains("names public.peek, which runs with its owner's rights"), "{said}");
    let said = stand.check(&["read: public.notes(id, body), public.keys", "read: public.shown"]);
    assert_eq!(said, "");
}

#[test]
fn sessions_beside_the_gate_are_found() {
    let stand = Stand::new("beside", "");
    let gate = stand.gate(&["everything: \"*\""]);
    let mut inside = gate.login().0;
    assert_eq!(inside.value("SELECT 1"), "1");
    assert_eq!(stand.check(&["read: public.*"]), "", "sessions through the gate are none of them");
    let admin: Raw = setup::admin(&stand.database);
    let said = stand.check(&["read: public.notes"]);
    assert!(said.contains("sessions did not come through Gatepost: 1 as postgres\n"), "{said}");
    drop(admin);
}

#[test]
fn a_database_that_does_not_answer_is_said() {
    let stand = Stand::new("mute", "");
    stand.as_admin("ALTER ROLE {role} NOLOGIN");
    let said = stand.check(&["read: public.notes"]);
    assert!(said.contains("the database can't be asked: "), "{said}");
    assert!(!said.contains(PASSWORD), "{said}");
}

/// A database, and a role of its own that Gatepost logs in as.
struct Stand {
    database: Database,
    role: String,
}

impl Stand {
    fn new(name: &str, attributes: &str) -> Stand {
        let database = setup::database();
        let role = format!("{}_{name}", database.name);
        let stand = Stand { database, role };
        stand.as_admin(&format!("CREATE ROLE {{role}} LOGIN PASSWORD '{PASSWORD}' {attributes}"));
        stand.as_admin(TABLES);
        stand
    }

    fn as_admin(&self, sql: &str) {
        self.database.login().psql(&sql.replace("{role}", &self.role));
    }

    fn gate(&self, allow: &[&str]) -> Gate {
        let mut plan = Plan::gateway_as(&self.database, &self.role, PASSWORD)
            .top("policies:")
            .top("  - name: agents")
            .top("    who: \"*\"")
            .top("    to: \"*\"")
            .top("    access: { window: 15m, approval: none }")
            .top("    allow:");
        for rule in allow {
            plan = plan.top(&format!("      - {rule}"));
        }
        plan.start()
    }

    fn check(&self, allow: &[&str]) -> String {
        let gate = self.gate(allow);
        let file = gate.process.place.directory.join("gatepost.yaml");
        let Output { status, stdout, stderr } = Gatepost::program()
            .arg("check")
            .arg(file)
            .arg("--live")
            .output()
            .expect("gatepost runs");
        let text = |bytes| String::from_utf8(bytes).expect("words");
        let said = text(stdout) + &text(stderr);
        // What the file alone gives rise to is another test's.
        let live: Vec<&str> = said
            .lines()
            .skip_while(|line| !line.starts_with("connection "))
            .take_while(|line| line.starts_with("connection ") || line.starts_with("  change: "))
            .collect();
        let code = status.code().expect("a code");
        assert!(code == 1 || (code == 0 && live.is_empty()), "{code}: {said}");
        live.into_iter().map(|line| format!("{line}\n")).collect()
    }
}
