//! The statements that the snapshot is made from, and those that tell whether it still holds. What
//! the rows become is the builder's.
//!
//! Each is one pass over few catalogs, without a subselect per row; what can be worked out here is
//! not asked of the server. Expressions come as the server keeps them: to take the numbers of
//! functions out of them here costs a tenth of what the server's regular expressions take.

use std::sync::LazyLock;

/// One of the statements that the snapshot is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Schemas,
    Roles,
    Relations,
    Columns,
    Inheritance,
    Types,
    Functions,
    Operators,
    Casts,
    Constraints,
    Indexes,
    Statistics,
    Triggers,
    Code,
    Depends,
}

/// All reads, in the order in which `Builder::row` wants their rows.
pub const READS: [Read; 15] = [
    Read::Schemas,
    Read::Roles,
    Read::Relations,
    Read::Columns,
    Read::Inheritance,
    Read::Types,
    Read::Functions,
    Read::Operators,
    Read::Casts,
    Read::Constraints,
    Read::Indexes,
    Read::Statistics,
    Read::Triggers,
    Read::Code,
    Read::Depends,
];

impl Read {
    /// The statement that reads as much as a snapshot of that extent has.
    pub fn sql_of(self, extent: Extent) -> String {
        let left_out = match (extent, self) {
            (Extent::Permanent, Self::Relations | Self::Columns) => " AND c.relpersistence <> 't'",
            (Extent::Permanent, Self::Types) => {
                " WHERE typnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace \
                 WHERE nspname ~ '^pg_(toast_)?temp_[0-9]+$')"
            }
            // The builder leaves out what stands on what is left out.
            _ => "",
        };
        format!("{}{left_out}", self.sql())
    }

    /// The statement of the whole, for PostgreSQL 13 to 18. Every value of a row fits a text; `t` and `f` are
    /// booleans, lists are separated by U+001F, and lists of numbers by anything else.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Schemas => "SELECT oid, nspname FROM pg_catalog.pg_namespace",
            Self::Roles => "SELECT oid, rolname FROM pg_catalog.pg_roles",
            Self::Relations => {
                // TOAST tables and their indexes can be named, but hardly anybody does. Those that a
                // view reads are there, so that it is known to read more than it shows.
                "SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relowner, c.relrowsecurity, \
                 c.reloptions IS NOT NULL AND pg_catalog.array_to_string(c.reloptions, ',') \
                 ~ '(^|,)security_invoker=(true|on|1|yes)' \
                 FROM pg_catalog.pg_class c WHERE ((c.relkind <> 't' AND c.relnamespace <> 99) \
                 OR c.oid IN (SELECT d.refobjid FROM pg_catalog.pg_depend d \
                 WHERE d.classid = 2618 AND d.refclassid = 1259))"
            }
            Self::Columns => {
                // Every sequence has the same.
                "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.attgenerated, a.atttypmod \
                 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r','p','v','m','f','c')"
            }
            Self::Inheritance => "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits",
            Self::Types => {
                // An array by its category: before 14 nothing else told it from a name or a point.
                "SELECT oid, typnamespace, typname, typrelid, typelem, typbasetype, \
                 CASE WHEN typcategory = 'A' AND typtype = 'b' THEN 'A' ELSE typtype END, typtypmod \
                 FROM pg_catalog.pg_type"
            }
            Self::Functions => {
                "SELECT p.oid, p.pronamespace, p.proname, p.prokind, p.provolatile, p.prosecdef, \
                 p.pronargs, p.pronargdefaults, p.provariadic <> 0, p.proretset, p.prorettype, \
                 pg_catalog.array_to_string(p.proargtypes::pg_catalog.oid[], pg_catalog.chr(31)), \
                 pg_catalog.array_to_string(p.proargmodes, pg_catalog.chr(31)), \
                 pg_catalog.array_to_string(p.proargnames, pg_catalog.chr(31)), \
                 pg_catalog.oidvectortypes(p.proargtypes), COALESCE(e.extname, '') \
                 FROM pg_catalog.pg_proc p \
                 LEFT JOIN pg_catalog.pg_depend d \
                 ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid \
                 AND d.deptype = 'e' \
                 LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid"
            }
            Self::Operators => {
                "SELECT o.oid, o.oprnamespace, o.oprname, o.oprleft = 0, o.oprcode::pg_catalog.oid \
                 FROM pg_catalog.pg_operator o"
            }
            Self::Casts => {
                "SELECT c.casttarget, c.castfunc, c.castcontext FROM pg_catalog.pg_cast c \
                 WHERE c.castfunc <> 0"
            }
            Self::Constraints => {
                "SELECT conname, conrelid, contype, conindid, conkey, confrelid, confkey, confdeltype, confupdtype \
                 FROM pg_catalog.pg_constraint WHERE conrelid <> 0"
            }
            Self::Indexes => {
                "SELECT indexrelid, indrelid, indisunique, indnkeyatts, indkey, \
                 pg_catalog.concat(indexprs::pg_catalog.text, indpred::pg_catalog.text) \
                 FROM pg_catalog.pg_index"
            }
            Self::Statistics => {
                "SELECT stxnamespace, stxname, stxrelid FROM pg_catalog.pg_statistic_ext"
            }
            Self::Triggers => {
                // Internal ones are the server's own, for foreign keys. Event triggers have no relation.
                "SELECT tgrelid, tgfoid, tgtype, '', COALESCE(tgqual::pg_catalog.text, '') \
                 FROM pg_catalog.pg_trigger WHERE NOT tgisinternal AND tgenabled <> 'D' \
                 UNION ALL SELECT 0, evtfoid, 0, evtevent, '' \
                 FROM pg_catalog.pg_event_trigger WHERE evtenabled <> 'D'"
            }
            Self::Code => {
                // The object, what it belongs to, which column or event it is for. Statistics have had
                // expressions since 14.
                "SELECT 'default', oid, adrelid, adnum::pg_catalog.text, adbin::pg_catalog.text \
                 FROM pg_catalog.pg_attrdef \
                 UNION ALL SELECT 'check', oid, conrelid, '', conbin::pg_catalog.text \
                 FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL AND conrelid <> 0 \
                 UNION ALL SELECT 'domain', oid, contypid, '', conbin::pg_catalog.text \
                 FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL AND contypid <> 0 \
                 UNION ALL SELECT 'domain', 0, oid, '', typdefaultbin::pg_catalog.text \
                 FROM pg_catalog.pg_type WHERE typdefaultbin IS NOT NULL \
                 UNION ALL SELECT CASE WHEN is_instead AND ev_qual::pg_catalog.text = '<>' \
                 THEN 'instead' ELSE 'rule' END, oid, ev_class, ev_type::pg_catalog.text, \
                 pg_catalog.concat(ev_qual::pg_catalog.text, ev_action::pg_catalog.text) \
                 FROM pg_catalog.pg_rewrite WHERE ev_enabled <> 'D' \
                 UNION ALL SELECT 'policy', oid, polrelid, polcmd::pg_catalog.text, \
                 pg_catalog.concat(polqual::pg_catalog.text, polwithcheck::pg_catalog.text) \
                 FROM pg_catalog.pg_policy \
                 UNION ALL SELECT 'partition', 0, partrelid, partattrs::pg_catalog.text, \
                 COALESCE(partexprs::pg_catalog.text, '') FROM pg_catalog.pg_partitioned_table \
                 UNION ALL SELECT 'statistics', s.oid, s.stxrelid, '', \
                 pg_catalog.to_json(s) ->> 'stxexprs' FROM pg_catalog.pg_statistic_ext s \
                 WHERE pg_catalog.to_json(s) ->> 'stxexprs' IS NOT NULL \
                 UNION ALL SELECT 'arguments', 0, oid, '', proargdefaults::pg_catalog.text \
                 FROM pg_catalog.pg_proc WHERE proargdefaults IS NOT NULL"
            }
            Self::Depends => {
                // Of pg_rewrite, pg_policy, pg_attrdef and pg_constraint on pg_class, and of a
                // sequence on the column that owns it.
                "SELECT DISTINCT classid, objid, refobjid, refobjsubid FROM pg_catalog.pg_depend \
                 WHERE classid IN (2618, 3256, 2604, 2606) AND refclassid = 1259 AND deptype = 'n' \
                 AND refobjsubid >= 0 \
                 UNION ALL SELECT d.classid, d.objid, d.refobjid, d.refobjsubid \
                 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_depend d \
                 ON d.classid = 1259 AND d.objid = c.oid AND d.refclassid = 1259 \
                 WHERE c.relkind = 'S' AND d.deptype IN ('a', 'i') AND d.refobjsubid > 0"
            }
        }
    }
}

/// What a snapshot has of temporary objects. Nobody reaches those of another session: the server
/// refuses it. So whoever has none of their own does without all of them, and hears nothing of the
/// tables that others make and drop all day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// No temporary relations, and no types of temporary schemas.
    Permanent,
    /// Those of all sessions.
    Whole,
}

impl Extent {
    /// Whether anything changed that a snapshot of this extent is made from: it gives another text
    /// then, after one pass over the catalogs. A row that has come was written by a transaction of
    /// which there was no row before, so what came and what went can't make up for each other.
    pub const fn changed_sql(self) -> &'static str {
        match self {
            Self::Permanent => PERMANENT_CHANGED_SQL,
            Self::Whole => WHOLE_CHANGED_SQL,
        }
    }

    /// Of which extent a text is that one of these has given.
    pub fn of_sign(sign: &str) -> Self {
        if sign.starts_with("permanent ") { Self::Permanent } else { Self::Whole }
    }
}

/// How many rows of a catalog there are, and a sum over the transactions that wrote them. `$rows` ends
/// in a condition; `$left_out` is what the rows of temporary relations are left out by.
macro_rules! written {
    ($extent:literal; $($rows:literal $(unless $left_out:literal)?),*) => {
        concat!("WITH temporary AS MATERIALIZED (SELECT oid FROM pg_catalog.pg_class \
            WHERE relpersistence = 't') SELECT pg_catalog.concat_ws(' ', '", $extent, "'"
            $(, ", (SELECT pg_catalog.concat(pg_catalog.count(*), ':', \
            pg_catalog.sum(pg_catalog.hash_array_extended(ARRAY[xmin], 0))) FROM pg_catalog.", $rows
            $(, " AND ", $left_out)?, ")")*,
            ", (SELECT pg_catalog.concat(pg_catalog.count(*), ':', \
            pg_catalog.sum(pg_catalog.hashtextextended(rolname, oid::pg_catalog.int8))) FROM pg_catalog.pg_roles))")
    };
}

const WHOLE_CHANGED_SQL: &str = written!(
    "whole";
    "pg_namespace WHERE true",
    "pg_class WHERE true",
    "pg_attribute WHERE attnum > 0",
    "pg_inherits WHERE true",
    "pg_type WHERE true",
    "pg_proc WHERE true",
    "pg_operator WHERE true",
    "pg_cast WHERE true",
    "pg_constraint WHERE true",
    "pg_index WHERE true",
    "pg_trigger WHERE true",
    "pg_event_trigger WHERE true",
    "pg_attrdef WHERE true",
    "pg_rewrite WHERE true",
    "pg_policy WHERE true",
    "pg_partitioned_table WHERE true",
    "pg_statistic_ext WHERE true",
    "pg_extension WHERE true",
    // Written whenever a sequence comes to belong to another column.
    "pg_sequence WHERE true",
    "pg_depend WHERE deptype = 'e'"
);

const PERMANENT_CHANGED_SQL: &str = written!(
    "permanent";
    "pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_[0-9]+$'",
    "pg_class WHERE relpersistence <> 't'",
    "pg_attribute WHERE attnum > 0" unless "attrelid NOT IN (SELECT oid FROM temporary)",
    "pg_inherits WHERE true" unless "inhrelid NOT IN (SELECT oid FROM temporary)",
    "pg_type WHERE true" unless "typnamespace NOT IN (SELECT oid FROM pg_catalog.pg_namespace \
     WHERE nspname ~ '^pg_(toast_)?temp_[0-9]+$')",
    // Code of a temporary schema is rare, and could be anybody's.
    "pg_proc WHERE true",
    "pg_operator WHERE true",
    "pg_cast WHERE true",
    "pg_constraint WHERE true" unless "conrelid NOT IN (SELECT oid FROM temporary)",
    "pg_index WHERE true" unless "indrelid NOT IN (SELECT oid FROM temporary)",
    "pg_trigger WHERE true" unless "tgrelid NOT IN (SELECT oid FROM temporary)",
    "pg_event_trigger WHERE true",
    "pg_attrdef WHERE true" unless "adrelid NOT IN (SELECT oid FROM temporary)",
    "pg_rewrite WHERE true" unless "ev_class NOT IN (SELECT oid FROM temporary)",
    "pg_policy WHERE true" unless "polrelid NOT IN (SELECT oid FROM temporary)",
    "pg_partitioned_table WHERE true" unless "partrelid NOT IN (SELECT oid FROM temporary)",
    "pg_statistic_ext WHERE true" unless "stxrelid NOT IN (SELECT oid FROM temporary)",
    "pg_extension WHERE true",
    "pg_sequence WHERE true" unless "seqrelid NOT IN (SELECT oid FROM temporary)",
    "pg_depend WHERE deptype = 'e'"
);

/// What a session asks for itself: of the whole once it has a temporary schema.
pub static CHANGED_SQL: LazyLock<String> = LazyLock::new(|| {
    let (permanent, whole) = (PERMANENT_CHANGED_SQL, WHOLE_CHANGED_SQL);
    format!(
        "SELECT CASE WHEN pg_catalog.pg_my_temp_schema() = 0 THEN ({permanent}) ELSE ({whole}) END"
    )
});

/// A row that is not what its read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub Read);
