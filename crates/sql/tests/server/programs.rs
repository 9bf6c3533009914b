//! What real programs send, as servers logged it: all of it must be understood. The statements
//! are in `programs/`, whose README says where they come from.

use std::path::Path;

use sql::catalog::Names;
use sql::parse::Limits;

use crate::cluster::Cluster;

on_15_and_18! { what_real_programs_send_is_understood }

fn what_real_programs_send_is_understood(cluster: &Cluster) {
    cluster.must(include_str!("schema.sql"));
    let version = cluster.version().to_string();
    let (mut count, mut wrong) = (0, Vec::new());
    for directory in ["both", &*version] {
        let directory =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/server/programs").join(directory);
        // Other versions have nothing of their own.
        let Ok(files) = std::fs::read_dir(directory) else { continue };
        for file in files {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let statements: Vec<&str> = text.split("\n--\n").map(str::trim).collect();
            count += statements.len();
            for error in not_understood(cluster, &statements) {
                wrong.push(format!("{}: {error}", path.display()));
            }
        }
    }
    assert!(count > 400, "{count}");
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n\n"));
}

/// Statements of one program, under the catalog that has what the program made.
fn not_understood(cluster: &Cluster, statements: &[&str]) -> Vec<String> {
    let mut made = String::from("SET search_path = public, app;\n");
    for statement in statements.iter().filter(|statement| statement.starts_with("CREATE ")) {
        made += &format!("{statement};\n");
    }
    cluster.psql(&made);
    let catalog = cluster.catalog();
    let names = Names {
        search_path: &["public", "app"],
        user: "postgres",
        temporary: None,
        database: "postgres",
    };
    let mut errors = Vec::new();
    for text in statements {
        match sql::statements(text, &catalog, &names, &Limits::default()) {
            Ok(statements) => {
                let failed = statements.iter().filter_map(|one| one.facts.as_ref().err());
                errors.extend(failed.map(|error| format!("{error:?}: {text}")));
            }
            Err(error) => errors.push(format!("{error:?}: {text}")),
        }
    }
    errors
}
