//! The list of functions has every function that the server has, with all its contrib modules.

use sql::functions::Class;

use crate::cluster::{Cluster, rows};

on_15_and_18! { the_list_has_every_function_of_the_server }

fn the_list_has_every_function_of_the_server(cluster: &Cluster) {
    let printed = cluster.must("SELECT name FROM pg_available_extensions ORDER BY name");
    let mut script = String::new();
    for row in rows(&printed) {
        // Languages and their transforms aren't functions that a policy is asked about.
        if !["pl", "jsonb_pl", "hstore_pl", "ltree_pl", "bool_pl"]
            .iter()
            .any(|p| row[0].starts_with(p))
        {
            script += &format!("CREATE EXTENSION IF NOT EXISTS \"{}\" CASCADE;\n", row[0]);
        }
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
