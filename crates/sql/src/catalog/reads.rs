//! The statements that the snapshot is made from. What their rows become is the builder's.

/// One of the statements that the snapshot is made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Schemas,
    Relations,
    Columns,
    Inheritance,
    Types,
    Functions,
    ViewReads,
    Operators,
    Casts,
    Indexes,
    Constraints,
    Statistics,
}

/// All reads, in the order in which `Builder::row` wants their rows.
pub const READS: [Read; 12] = [
    Read::Schemas,
    Read::Relations,
    Read::Columns,
    Read::Inheritance,
    Read::Types,
    Read::Functions,
    Read::ViewReads,
    Read::Operators,
    Read::Casts,
    Read::Indexes,
    Read::Constraints,
    Read::Statistics,
];

impl Read {
    /// The statement, for PostgreSQL 13 to 18. Every value of a row fits a text; `t` and `f` are
    /// booleans, lists are separated by U+001F.
    pub const fn sql(self) -> &'static str {
        match self {
            Self::Schemas => "SELECT oid, nspname FROM pg_catalog.pg_namespace",
            Self::Relations => {
                "SELECT c.oid, c.relnamespace, c.relname, c.relkind, c.relrowsecurity, \
                 COALESCE(pg_catalog.array_to_string(c.reloptions, ',') ~ \
                 '(^|,)security_invoker=(true|on|1|yes)', false), \
                 EXISTS (SELECT FROM pg_catalog.pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1'), \
                 EXISTS (SELECT FROM pg_catalog.pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
                 FROM pg_catalog.pg_class c"
            }
            Self::Columns => {
                "SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.attgenerated <> '' \
                 FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
                 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r','p','v','m','f','c','S') \
                 ORDER BY a.attrelid, a.attnum"
            }
            Self::Inheritance => "SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits",
            Self::ViewReads => {
                "SELECT DISTINCT r.ev_class, \
                 CASE d.refclassid WHEN 'pg_catalog.pg_class'::pg_catalog.regclass THEN 'r' ELSE 'f' END, \
                 d.refobjid, d.refobjsubid \
                 FROM pg_catalog.pg_rewrite r JOIN pg_catalog.pg_depend d \
                 ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass AND d.objid = r.oid \
                 WHERE r.ev_type = '1' AND d.deptype = 'n' \
                 AND d.refclassid IN ('pg_catalog.pg_class'::pg_catalog.regclass, 'pg_catalog.pg_proc'::pg_catalog.regclass)"
            }
            Self::Types => {
                "SELECT oid, typnamespace, typname, typrelid, typelem, typbasetype, typtype IN ('r', 'm') \
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
                "SELECT o.oprnamespace, o.oprname, o.oprleft = 0, o.oprcode::pg_catalog.oid \
                 FROM pg_catalog.pg_operator o"
            }
            Self::Casts => {
                "SELECT c.casttarget, c.castfunc, c.castcontext FROM pg_catalog.pg_cast c \
                 WHERE c.castfunc <> 0"
            }
            Self::Indexes => "SELECT indexrelid, indrelid FROM pg_catalog.pg_index",
            Self::Constraints => {
                "SELECT c.conrelid, c.conname, c.contype, \
                 pg_catalog.array_to_string(c.conkey, pg_catalog.chr(31)) \
                 FROM pg_catalog.pg_constraint c WHERE c.conrelid <> 0"
            }
            Self::Statistics => {
                "SELECT stxnamespace, stxname, stxrelid FROM pg_catalog.pg_statistic_ext"
            }
        }
    }
}

/// A row that is not what its read gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(pub Read);
