//! What the server's own functions and those of its contrib modules do, by class.
//!
//! The list is data, `data/functions.txt`; a function is known by its whole signature, so one that a
//! newer server adds has no class. Which class may be used is for the policy to say.

use std::collections::HashMap;
use std::sync::LazyLock;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// No effect, and nothing read but the arguments.
    Pure,
    /// Says what the schema, the session or the server's version is.
    Describes,
    /// Reads what the server or others do.
    State,
    /// Changes the session, holds locks or time.
    Session,
    /// Runs SQL given as text, or touches a thing that an argument names.
    Named,
    /// Reaches files, the network, roles, other sessions.
    Outside,
    /// Takes or gives values that SQL has not.
    Uncallable,
}

/// The class of a function; `None` if the list does not have it. `types` is what
/// `oidvectortypes` says of its arguments.
pub fn class(extension: Option<&str>, schema: &str, name: &str, types: &str) -> Option<Class> {
    let name = match extension {
        Some(extension) => format!("{extension}:{name}"),
        None if schema == "pg_catalog" => name.to_owned(),
        None => format!("{schema}.{name}"),
    };
    let overloads = CLASSES.get(&*name)?;
    let types = without_schemas(types);
    overloads.iter().find(|(signature, _)| *signature == types).map(|(_, class)| *class)
}

type Overloads = Vec<(&'static str, Class)>;

static CLASSES: LazyLock<HashMap<&'static str, Overloads>> = LazyLock::new(|| {
    let mut classes: HashMap<&'static str, Overloads> = HashMap::new();
    for line in include_str!("../data/functions.txt").lines() {
        if let Some((name, overloads)) = read_line(line) {
            classes.entry(name).or_default().extend(overloads);
        }
    }
    classes
});

fn read_line(line: &'static str) -> Option<(&'static str, Overloads)> {
    let (class, rest) = line.split_once(' ')?;
    let class = match class {
        "pure" => Class::Pure,
        "describes" => Class::Describes,
        "state" => Class::State,
        "session" => Class::Session,
        "named" => Class::Named,
        "outside" => Class::Outside,
        "uncallable" => Class::Uncallable,
        _ => return None,
    };
    let (name, signatures) = rest.split_once(' ')?;
    let signatures = signatures.strip_prefix('(')?.strip_suffix(')')?;
    Some((name, signatures.split(") (").map(|signature| (signature, class)).collect()))
}

/// Types of an extension are written with a schema where the path has not got theirs.
fn without_schemas(types: &str) -> String {
    let bare = types.split(", ").map(|name| match name.rsplit_once('.') {
        Some((_, bare)) => bare,
        None => name,
    });
    bare.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read_and_no_signature_stands_twice() {
        let mut count = 0;
        for line in include_str!("../data/functions.txt").lines().filter(|l| !l.starts_with('#')) {
            assert!(read_line(line).is_some(), "{line}");
            count += 1;
        }
        assert!(count > 3000);
        for (name, overloads) in CLASSES.iter() {
            let mut signatures: Vec<&str> = overloads.iter().map(|(types, _)| *types).collect();
            signatures.sort_unstable();
            signatures.dedup();
            assert_eq!(signatures.len(), overloads.len(), "{name}");
        }
    }

    #[test]
    fn classes_and_their_near_twins() {
        let system = |name, types| class(None, "pg_catalog", name, types);
        for (name, types, expected) in [
            ("upper", "text", Some(Class::Pure)),
            ("upper", "anyrange", Some(Class::Pure)),
            ("upper", "integer", None),
            ("now", "", Some(Class::Pure)),
            ("pg_get_viewdef", "oid", Some(Class::Describes)),
            ("current_setting", "text", Some(Class::Describes)),
            ("set_config", "text, text, boolean", Some(Class::Session)),
            ("pg_sleep", "double precision", Some(Class::Session)),
            ("pg_stat_get_activity", "integer", Some(Class::State)),
            ("current_query", "", Some(Class::State)),
            ("query_to_xml", "text, boolean, boolean, text", Some(Class::Named)),
            ("xml", "text", Some(Class::Pure)),
            ("ts_rewrite", "tsquery, text", Some(Class::Named)),
            ("ts_rewrite", "tsquery, tsquery, tsquery", Some(Class::Pure)),
            ("ts_stat", "text", Some(Class::Named)),
            ("nextval", "regclass", Some(Class::Named)),
            ("lo_import", "text", Some(Class::Outside)),
            ("lo_get", "oid", Some(Class::Named)),
            ("pg_read_file", "text", Some(Class::Outside)),
            ("pg_ls_dir", "text", Some(Class::Outside)),
            ("pg_terminate_backend", "integer, bigint", Some(Class::Outside)),
            ("pg_notify", "text, text", Some(Class::Outside)),
            ("pg_reload_conf", "", Some(Class::Outside)),
            ("pg_import_system_collations", "regnamespace", Some(Class::Outside)),
            ("pg_export_snapshot", "", Some(Class::Outside)),
            ("int4in", "cstring", Some(Class::Pure)),
            ("regclassin", "cstring", Some(Class::Describes)),
            ("internal_in", "cstring", Some(Class::Uncallable)),
        ] {
            assert_eq!(system(name, types), expected, "{name}({types})");
        }
        assert_eq!(class(None, "app", "upper", "text"), None);
        let citext = |name, types| class(Some("citext"), "public", name, types);
        assert_eq!(citext("citext_eq", "public.citext, public.citext"), Some(Class::Pure));
        assert_eq!(citext("citext_eq", "text, text"), None);
        assert_eq!(class(Some("dblink"), "public", "dblink", "text"), Some(Class::Outside));
        assert_eq!(class(Some("tablefunc"), "x", "crosstab", "text"), Some(Class::Named));
    }
}
