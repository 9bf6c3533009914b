//! What whoever may do anything may do as well: functions without effect, and reading what
//! describes the schema. Each relation of the system was looked at by itself: those that hold data
//! of tables, secrets, what others do, or the state of the server are not here.

use sql::catalog::{Catalog, Column, Function, Relation};
use sql::functions::Class;

/// Of the functions that read the server's state, or change what is the session's alone, those that
/// programs can't do without: sizes and places of tablespaces (psql's `\dt+`, `\l+` and `\db+`), how
/// often an index was used, where the session is (what shows a database shows these), giving up
/// locks that the session has (drivers do it when they give a session back; taking one could keep
/// others waiting, so a policy names that), the size of a value
/// that was read, and the number that a sequence gave the session last (PHP's `lastInsertId`).
const FUNCTIONS: [&str; 17] = [
    "inet_server_addr",
    "inet_server_port",
    "lastval",
    "pg_advisory_unlock",
    "pg_advisory_unlock_all",
    "pg_advisory_unlock_shared",
    "pg_column_size",
    "pg_current_xact_id_if_assigned",
    "pg_database_size",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_stat_get_numscans",
    "pg_table_size",
    "pg_tablespace_location",
    "pg_tablespace_size",
    "pg_total_relation_size",
    "txid_current_if_assigned",
];

/// Relations of `pg_catalog`, and the columns of each that are left out.
///
/// Not here, among others: pg_authid and pg_shadow (passwords), pg_statistic, pg_stats and the
/// data of extended statistics, pg_largeobject (data), pg_user_mapping (passwords), pg_stat_* but the
/// names in some and pg_locks (what others do), pg_prepared_statements (texts that Gatepost made),
/// pg_db_role_setting (settings of others, where applications keep secrets), pg_file_settings and
/// pg_hba_file_rules (files), pg_prepared_xacts, pg_replication_*.
const RELATIONS: &[(&str, &[&str])] = &[
    ("pg_aggregate", &[]),
    ("pg_am", &[]),
    ("pg_amop", &[]),
    ("pg_amproc", &[]),
    ("pg_attrdef", &[]),
    // Among its columns is what rows have that are older than the column: its default, once.
    ("pg_attribute", &[]),
    ("pg_auth_members", &[]),
    ("pg_available_extension_versions", &[]),
    ("pg_available_extensions", &[]),
    ("pg_cast", &[]),
    ("pg_class", &[]),
    ("pg_collation", &[]),
    ("pg_constraint", &[]),
    ("pg_conversion", &[]),
    // The session's own; psycopg looks whether a cursor is there before it closes it.
    ("pg_cursors", &["statement"]),
    ("pg_database", &[]),
    ("pg_default_acl", &[]),
    ("pg_depend", &[]),
    ("pg_description", &[]),
    ("pg_enum", &[]),
    ("pg_event_trigger", &[]),
    ("pg_extension", &[]),
    ("pg_foreign_data_wrapper", &[]),
    ("pg_foreign_server", &[]),
    ("pg_foreign_table", &[]),
    ("pg_group", &[]),
    ("pg_index", &[]),
    ("pg_indexes", &[]),
    ("pg_inherits", &[]),
    ("pg_init_privs", &[]),
    ("pg_language", &[]),
    ("pg_largeobject_metadata", &[]),
    ("pg_matviews", &[]),
    ("pg_namespace", &[]),
    ("pg_opclass", &[]),
    ("pg_operator", &[]),
    ("pg_opfamily", &[]),
    ("pg_parameter_acl", &[]),
    ("pg_partitioned_table", &[]),
    ("pg_policies", &[]),
    ("pg_policy", &[]),
    ("pg_proc", &[]),
    ("pg_publication", &[]),
    ("pg_publication_namespace", &[]),
    ("pg_publication_rel", &[]),
    ("pg_publication_tables", &[]),
    ("pg_range", &[]),
    ("pg_rewrite", &[]),
    ("pg_roles", &["rolconfig"]),
    ("pg_rules", &[]),
    ("pg_seclabel", &[]),
    ("pg_seclabels", &[]),
    ("pg_sequence", &[]),
    ("pg_sequences", &["last_value"]),
    ("pg_settings", &[]),
    ("pg_shdepend", &[]),
    ("pg_shdescription", &[]),
    ("pg_shseclabel", &[]),
    ("pg_statistic_ext", &[]),
    ("pg_subscription", &["subconninfo"]),
    ("pg_subscription_rel", &[]),
    ("pg_tables", &[]),
    ("pg_tablespace", &[]),
    ("pg_timezone_abbrevs", &[]),
    ("pg_timezone_names", &[]),
    ("pg_transform", &[]),
    ("pg_trigger", &[]),
    ("pg_ts_config", &[]),
    ("pg_ts_config_map", &[]),
    ("pg_ts_dict", &[]),
    ("pg_ts_parser", &[]),
    ("pg_ts_template", &[]),
    ("pg_type", &[]),
    ("pg_user", &["useconfig"]),
    ("pg_user_mappings", &["umoptions"]),
    ("pg_views", &[]),
];

/// Statistics of relations: what happens to them is left out, and which they are is not. ORMs take
/// the names of tables and indexes from here, and where their comments belong (Sequelize, Drizzle).
const STATISTICS: [&str; 18] = [
    "pg_stat_all_indexes",
    "pg_stat_all_tables",
    "pg_stat_sys_indexes",
    "pg_stat_sys_tables",
    "pg_stat_user_indexes",
    "pg_stat_user_tables",
    "pg_stat_xact_all_tables",
    "pg_stat_xact_sys_tables",
    "pg_stat_xact_user_tables",
    "pg_statio_all_indexes",
    "pg_statio_all_sequences",
    "pg_statio_all_tables",
    "pg_statio_sys_indexes",
    "pg_statio_sys_sequences",
    "pg_statio_sys_tables",
    "pg_statio_user_indexes",
    "pg_statio_user_sequences",
    "pg_statio_user_tables",
];

/// Of them, which relation it is.
const OF_STATISTICS: &[&str] = &["indexrelid", "indexrelname", "relid", "relname", "schemaname"];

/// Of information_schema, what is left out: passwords of foreign servers.
const NOT_OF_INFORMATION_SCHEMA: [&str; 2] = ["_pg_user_mappings", "user_mapping_options"];

/// Whether the function may be called by whoever may do anything.
pub(crate) fn may_call(function: &Function, catalog: &Catalog) -> bool {
    match function.class {
        Some(Class::Pure | Class::Describes) => true,
        Some(Class::State | Class::Session | Class::Named) => {
            catalog.schema_name(function.schema) == "pg_catalog"
                && FUNCTIONS.contains(&&*function.name)
        }
        _ => false,
    }
}

/// Whether only its own name allows the function: it runs text, reaches further than its caller,
/// or is one of the system's that nobody has looked at.
pub(crate) fn needs_its_name(function: &Function, catalog: &Catalog) -> bool {
    match function.class {
        Some(Class::Named | Class::Outside | Class::Uncallable) => true,
        Some(Class::Pure | Class::Describes | Class::State | Class::Session) => {
            // Changes settings, whatever they are.
            &*function.name == "set_config"
        }
        None => function.security_definer || catalog.is_system(function.schema),
    }
}

/// What whoever may do anything may read of a system relation.
#[derive(Clone, Copy)]
pub(crate) enum Readable {
    AllBut(&'static [&'static str]),
    Only(&'static [&'static str]),
}

impl Readable {
    pub(crate) fn whole(self) -> bool {
        matches!(self, Readable::AllBut([]))
    }

    pub(crate) fn has(self, column: &Column) -> bool {
        match self {
            Readable::AllBut(left_out) => !left_out.contains(&&*column.name),
            Readable::Only(names) => names.contains(&&*column.name),
        }
    }
}

/// `None` for what isn't the system's, and for what nobody may read unless it is named.
pub(crate) fn readable(relation: &Relation, catalog: &Catalog) -> Option<Readable> {
    let name = &*relation.name;
    match catalog.schema_name(relation.schema) {
        "pg_catalog" if STATISTICS.contains(&name) => Some(Readable::Only(OF_STATISTICS)),
        "pg_catalog" => RELATIONS
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .ok()
            .and_then(|at| RELATIONS.get(at))
            .map(|(_, left_out)| Readable::AllBut(left_out)),
        "information_schema" if !NOT_OF_INFORMATION_SCHEMA.contains(&name) => {
            Some(Readable::AllBut(&[]))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn relations_are_in_order() {
        assert!(RELATIONS.is_sorted_by(|(a, _), (b, _)| a < b));
    }
}
