//! What real programs send, under a policy that lets them read: whatever only looks passes, and
//! whatever changes something doesn't. The statements are recorded, see
//! `crates/sql/tests/server/programs/README.md`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use e2e::Server;
use policy::{Context, Opened, Policies, Scope, Subject, Verdict, written};
use sql::catalog::{Catalog, Names};
use sql::facts::{Facts, Kind, NotUnderstood};
use sql::parse::Limits;

use crate::database::{catalog, psql};

pub(crate) fn judge(server: &Server) {
    let database = server.database();
    let login = database.login();
    let recorded = Path::new(env!("CARGO_MANIFEST_DIR")).join("../sql/tests/server");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap();
    psql(&login, &read(&recorded.join("schema.sql")));
    let version = server.version.to_string();
    let (mut passed, mut stopped, mut wrong) = (0, 0, Vec::new());
    for directory in ["both", &*version] {
        for file in std::fs::read_dir(recorded.join("programs").join(directory)).unwrap() {
            let path = file.unwrap().path();
            let text = read(&path);
            let statements: Vec<&str> = text.split("\n--\n").map(str::trim).collect();
            // What the program made is there when it looks.
            let made = statements.iter().filter(|statement| statement.starts_with("CREATE "));
            let made: String = made.map(|statement| format!("{statement};\n")).collect();
            psql(&login, &format!("SET search_path = public, app;\n{made}"));
            let catalog = Arc::new(catalog(&login));
            let scope = read_only().scope(&catalog);
            // pg_dump empties it before anything else.
            let dumps =
                path.file_name().is_some_and(|it| it.display().to_string().contains("dump"));
            let search_path = if dumps { &[][..] } else { &["public", "app"] };
            for statement in statements {
                match judged(&scope, &catalog, search_path, statement) {
                    Judged::Passed => passed += 1,
                    Judged::Stopped => stopped += 1,
                    Judged::Wrong(why) => {
                        let file = path.file_name().unwrap().display();
                        wrong.push(format!("{file}: {why}:\n  {statement}"));
                    }
                }
            }
        }
    }
    println!("{passed} pass, {stopped} don't");
    assert!(wrong.is_empty(), "{} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(passed > 300 && stopped > 50, "{passed} pass, {stopped} don't");
}

/// What some look at and isn't part of the schema.
const LOOKS_TOO_FAR: &[&str] = &[
    // Passwords: psql's `\dRs+` and pg_dump ask for it as a superuser, PostgreSQL gives it to none else.
    "pg_catalog.pg_subscription(subconninfo)",
    // Passwords: psql's `\deu+`.
    "pg_catalog.pg_user_mappings(umoptions)",
    // Settings of other roles and databases, where applications keep secrets: psql's `\drds`.
    "pg_catalog.pg_db_role_setting",
    // Of any sequence by its number: a dump with data, from 18 on.
    "pg_catalog.pg_get_sequence_data",
    // Of any sequence by a value: DBD::Pg's `last_insert_id`.
    "pg_catalog.currval",
    // A cast by a function of a user's own.
    "app.to_address",
];

enum Judged {
    Passed,
    Stopped,
    Wrong(String),
}

fn judged(scope: &Scope, catalog: &Catalog, search_path: &[&str], text: &str) -> Judged {
    let names = Names { search_path, user: "postgres", temporary: None, database: "somewhere" };
    let statements = sql::statements(text, catalog, &names, &Limits::default()).unwrap();
    for statement in &statements {
        let facts = match &statement.facts {
            Ok(facts) => facts,
            // Recorded on a version that has it.
            Err(NotUnderstood::NoSuchColumn(_)) => continue,
            Err(other) => return Judged::Wrong(format!("{other:?}")),
        };
        match (scope.decide(facts, Context::default()), changes(facts)) {
            (Verdict::Allow { .. }, true) => return Judged::Wrong("passes".to_owned()),
            (Verdict::Refuse(refused), false) => {
                let known = LOOKS_TOO_FAR.iter().any(|what| refused.sentence.contains(what));
                return if known { Judged::Stopped } else { Judged::Wrong(refused.sentence) };
            }
            (Verdict::Allow { .. }, false) => {}
            (_, true) => return Judged::Stopped,
            (Verdict::Hold { .. }, false) => panic!("no rule holds"),
        }
    }
    Judged::Passed
}

/// Whether it would change anything but the session.
fn changes(facts: &Facts) -> bool {
    // What an EXECUTE runs was judged when it was prepared.
    facts.writes && !matches!(facts.kind, Kind::Transaction(_) | Kind::Execute)
}

fn read_only() -> policy::InForce {
    let text = |text: &str| written::Text { text: text.to_owned(), ..written::Text::default() };
    let policy = written::Policy {
        name: text("look around"),
        who: vec![written::Who::One(text("*"))],
        to: vec![text("*")],
        access: Some(written::Access {
            approval: Some(written::Approval::Word(text("none"))),
            ..written::Access::default()
        }),
        allow: vec![written::Rule {
            verbs: text("read"),
            objects: vec![text("*")],
            ..written::Rule::default()
        }],
        ..written::Policy::default()
    };
    let claims = BTreeMap::new();
    let who = Subject { name: None, issuer: "", subject: "", groups: &[], claims: &claims };
    match Policies::new(vec![policy]).unwrap().open(&who, "somewhere") {
        Opened::Open(force) => force,
        other => panic!("{other:?}"),
    }
}
