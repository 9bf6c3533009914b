//! What real programs send: psql's `\d` family and pg_dump, as the server logged it. All of it must
//! be understood.

use sql::catalog::Names;
use sql::parse::Limits;

use crate::cluster::Cluster;

const COMMANDS: [&str; 34] = [
    "\\d",
    "\\d+",
    "\\d app.*",
    "\\d+ app.customers",
    "\\d+ app.deep",
    "\\d app.measures",
    "\\d app.numbers",
    "\\da",
    "\\dA+",
    "\\db+",
    "\\dc+",
    "\\dC+",
    "\\dd",
    "\\ddp",
    "\\dD+",
    "\\dE",
    "\\des+",
    "\\deu+",
    "\\det+",
    "\\df+ app.*",
    "\\dF+",
    "\\dg+",
    "\\di+",
    "\\dL+",
    "\\dn+",
    "\\do+ app.*",
    "\\dp",
    "\\drds",
    "\\dT+ app.*",
    "\\dx+",
    "\\dy+",
    "\\l+",
    "\\sf app.add",
    "\\sv app.deep",
];

#[test]
fn psql_and_pg_dump_are_understood() {
    let cluster = Cluster::start();
    cluster.must(include_str!("schema.sql"));
    let catalog = cluster.catalog();
    let mut script = String::from("\\o /dev/null\n\\set ECHO_HIDDEN on\n");
    for command in COMMANDS {
        script += command;
        script.push('\n');
    }
    cluster.psql("ALTER SYSTEM SET log_statement = 'all';\nSELECT pg_reload_conf();");
    cluster.psql(&script);
    cluster.dump();
    let statements = cluster.logged();
    assert!(statements.len() > 150, "{}", statements.len());
    assert!(statements.iter().any(|text| text.contains("pg_catalog.pg_get_viewdef")));
    let names =
        Names { search_path: &["public"], user: "postgres", temporary: None, database: "postgres" };
    let mut wrong = Vec::new();
    for text in &statements {
        match sql::statements(text, &catalog, &names, &Limits::default()) {
            Ok(statements) => wrong.extend(
                statements
                    .iter()
                    .filter_map(|statement| statement.facts.as_ref().err())
                    .map(|error| format!("{error:?}: {text}")),
            ),
            Err(error) => wrong.push(format!("{error:?}: {text}")),
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), statements.len(), wrong.join("\n\n"));
}
