//! The list of functions has every function that the server has, with all its contrib modules.

use sql::functions::Class;

use crate::cluster::{Cluster, rows};

/// Of all versions; but for languages and their transforms, as a policy is not asked about those.
const CONTRIB: &[&str] = &[
    "adminpack",
    "amcheck",
    "autoinc",
    "bloom",
    "btree_gin",
    "btree_gist",
    "citext",
    "cube",
    "dblink",
    "dict_int",
    "dict_xsyn",
    "earthdistance",
    "file_fdw",
    "fuzzystrmatch",
    "hstore",
    "insert_username",
    "intagg",
    "intarray",
    "isn",
    "lo",
    "ltree",
    "moddatetime",
    "old_snapshot",
    "pageinspect",
    "pg_buffercache",
    "pg_freespacemap",
    "pg_logicalinspect",
    "pg_overexplain",
    "pg_prewarm",
    "pg_stat_statements",
    "pg_surgery",
    "pg_trgm",
    "pg_visibility",
    "pg_walinspect",
    "pgcrypto",
    "pgrowlocks",
    "pgstattuple",
    "postgres_fdw",
    "refint",
    "seg",
    "sslinfo",
    "tablefunc",
    "tcn",
    "tsm_system_rows",
    "tsm_system_time",
    "unaccent",
    "uuid-ossp",
    "xml2",
];

on_15_and_18! { the_list_has_every_function_of_the_server }

fn the_list_has_every_function_of_the_server(cluster: &Cluster) {
    let printed = cluster.must("SELECT name FROM pg_available_extensions ORDER BY name");
    let mut script = String::new();
    // Others may be installed beside them; what those do nobody has looked at.
    for row in rows(&printed).iter().filter(|row| CONTRIB.contains(&row[0])) {
        script += &format!("CREATE EXTENSION IF NOT EXISTS \"{}\" CASCADE;\n", row[0]);
    }
    cluster.psql(&script);
    let catalog = cluster.catalog();
    let (mut count, mut unknown, mut volatile) = (0, Vec::new(), Vec::new());
    for function in catalog.functions() {
        count += 1;
        let name = format!("{}/{}", function.name, function.arguments.len());
        match function.class {
            None => unknown.push(name),
            // Whoever adds to these should have looked at it.
            Some(Class::Pure) if function.volatile => volatile.push(name),
            Some(_) => {}
        }
    }
    assert!(count > 3000, "{count}");
    assert!(unknown.is_empty(), "{}: {}", unknown.len(), unknown.join(" "));
    assert!(volatile.len() < 80, "{}", volatile.join(" "));
}
