//! The facts of a statement: what it would touch, by names that the server would resolve to the
//! same things. They say nothing of whether it may.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use crate::catalog::{FunctionId, RelationId, Step};

/// One statement's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// Every place that names a relation, in the order of the walk; and what TRUNCATE … CASCADE
    /// empties without naming it, at an empty place.
    pub relations: Vec<RelationUse>,
    /// Functions that it calls or could call: by name, behind operators that aren't built in, in
    /// casts. Operators of `pg_catalog` are not listed, see the crate's page.
    pub functions: BTreeSet<FunctionId>,
    /// What a command does with which objects: DDL, upkeep, grants. Queries, writes and session
    /// commands have none, but for CREATE TABLE AS and SELECT INTO.
    pub commands: Vec<CommandUse>,
    /// Relations that a constant names for a function: `nextval('numbers')`, `'t'::regclass`.
    pub named: BTreeSet<RelationId>,
    /// A function is given the name of a relation that no constant says.
    pub named_computed: bool,
    pub settings: Vec<SettingUse>,
    pub channels: Vec<ChannelUse>,
    /// `pg_notify` is called with a channel that no constant says.
    pub channel_computed: bool,
    /// For UPDATE, DELETE and MERGE that does either: whether a condition can leave any row out, in
    /// each of them.
    pub restricted: Option<bool>,
    /// It carries code that this crate can't read: the command's own name.
    pub opaque: Option<&'static str>,
    /// Rows could be changed, or anything else outside the session; functions aside.
    pub writes: bool,
    /// It takes effect at once, or can't run in a transaction block.
    pub outside_transaction: bool,
    /// What names mean may be something else after it: objects are made, altered, renamed or
    /// dropped, or the session's path or role changes. Functions aside, and a ROLLBACK that takes
    /// such a change back.
    pub changes_names: bool,
    /// What it changes of the catalog, where all of that is known before it runs: see
    /// [`crate::catalog::Catalog::take`]. Code that runs because of it is not looked at.
    pub change: Option<Vec<Step>>,
    /// The name of the prepared statement or cursor that it makes, uses or ends; empty for all.
    /// EXPLAIN and CREATE TABLE AS have one when they run an EXECUTE.
    pub handle: Option<String>,
    /// What an EXECUTE gives to the parameters.
    pub given: Vec<Given>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    Null,
    /// A constant, as it is written or cast.
    Text(Box<str>),
    Computed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Nothing at all between two semicolons.
    Empty,
    Select,
    Insert,
    Update,
    Delete,
    Merge,
    CreateTableAs,
    Copy(Copy),
    Explain {
        analyze: bool,
    },
    Prepare,
    Execute,
    Deallocate,
    DeclareCursor,
    Fetch,
    CloseCursor,
    Transaction(Transaction),
    Set,
    Show,
    Discard,
    Listen,
    Unlisten,
    Notify,
    Lock,
    Truncate,
    /// Any other, by PostgreSQL's own name for the command.
    Command(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Copy {
    FromClient,
    ToClient,
    FromFile,
    ToFile,
    FromProgram,
    ToProgram,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transaction {
    Begin,
    Commit,
    Rollback,
    Savepoint,
    Release,
    RollbackTo,
    TwoPhase,
}

/// One place in the text that names a relation, and what is done with it there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelationUse {
    /// `None` for one that the statement makes.
    pub relation: Option<RelationId>,
    /// The name as it is written: `schema.name`, without ONLY and alias.
    pub place: Range<usize>,
    /// Without children.
    pub only: bool,
    pub aliased: bool,
    /// Unqualified, and another schema in the path has the name too.
    pub twice: bool,
    pub read: Option<Columns>,
    pub insert: Option<Columns>,
    pub update: Option<Columns>,
    pub delete: bool,
    pub truncate: bool,
    /// FOR UPDATE and its kin.
    pub lock_rows: bool,
    /// LOCK; true for modes other than ACCESS SHARE.
    pub lock: Option<bool>,
    pub create: bool,
    /// VACUUM, ANALYZE, CLUSTER, REINDEX, REFRESH. Without any relation they mean all.
    pub maintain: bool,
    /// LIKE: its definition is copied.
    pub like: bool,
    /// A foreign key points at these columns.
    pub reference: Option<Columns>,
    /// It stands there as what a command is about (`commands` says how), not in a FROM: nothing
    /// can be put in its place. `read` then says what the command's own keys and expressions take
    /// of its rows; PostgreSQL asks no right to read for that.
    pub command: bool,
    /// An error of the command could say what is in these rows: their values go through an
    /// expression, or have to be unique or found elsewhere.
    pub tells: bool,
}

/// Columns of one relation, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Columns {
    pub numbers: BTreeSet<u16>,
    /// ctid, xmin, tableoid and so on.
    pub system: bool,
    /// The row as one value.
    pub whole_row: bool,
}

/// One thing that a command does with one object. What is renamed or moved to another schema is
/// altered under its old name and created under its new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandUse {
    /// PostgreSQL's own name for it in lower case (`create table`), and for what is more than an
    /// ALTER its own: `alter owner`, `enable row level security`.
    pub name: &'static str,
    pub effect: Effect,
    /// No group of verbs and no wildcard means it: code, roles and rights, what lies outside the
    /// tables. Only its own name does.
    pub named_only: bool,
    /// `None`: the session, the database or the server as a whole, or code.
    pub object: Option<Object>,
    /// DROP … CASCADE: whatever depends on the object goes with it.
    pub cascade: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    Create,
    Alter,
    /// ALTER … DROP, too.
    Drop,
    Comment,
    Maintain,
    Other,
}

/// What a command is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub kind: ObjectKind,
    /// Of what lives in a schema: where the server finds it, or would make it. `pg_temp` for the
    /// session's own. `None` as well where IF EXISTS names what doesn't exist.
    pub schema: Option<String>,
    /// Its name in its schema; of triggers, policies and rules their own. Empty where it has none
    /// (casts, CHECKPOINT), where the server chooses it (an index), or where all are meant.
    pub name: String,
    /// The relation that it is, or is on: that of an index, a trigger, a policy, a rule,
    /// statistics. `None` for one that the statement makes, or that doesn't exist.
    pub relation: Option<RelationId>,
    /// The columns that it is about, if it isn't about the whole.
    pub columns: BTreeSet<u16>,
    /// Names of columns that it gives: ADD COLUMN, RENAME COLUMN.
    pub new_columns: Vec<String>,
    /// The schema is the first of the path that exists, and another one comes after it: should
    /// the role not be allowed to use it, the server would take that one.
    pub twice: bool,
    /// IF EXISTS names it, and it doesn't.
    pub missing: bool,
}

macro_rules! kinds {
    ($( $kind:ident $name:literal )*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum ObjectKind { $( $kind ),* }

        impl ObjectKind {
            pub const fn name(self) -> &'static str {
                match self { $( Self::$kind => $name ),* }
            }

            pub(crate) const fn create(self) -> &'static str {
                match self { $( Self::$kind => concat!("create ", $name) ),* }
            }

            pub(crate) const fn alter(self) -> &'static str {
                match self { $( Self::$kind => concat!("alter ", $name) ),* }
            }

            pub(crate) const fn drop(self) -> &'static str {
                match self { $( Self::$kind => concat!("drop ", $name) ),* }
            }
        }
    };
}

kinds! {
    AccessMethod "access method"
    Aggregate "aggregate"
    Cast "cast"
    Collation "collation"
    Conversion "conversion"
    Database "database"
    Domain "domain"
    EventTrigger "event trigger"
    Extension "extension"
    ForeignDataWrapper "foreign data wrapper"
    ForeignTable "foreign table"
    Function "function"
    Index "index"
    Language "language"
    LargeObject "large object"
    MaterializedView "materialized view"
    Operator "operator"
    OperatorClass "operator class"
    OperatorFamily "operator family"
    Parameter "parameter"
    Policy "policy"
    Procedure "procedure"
    Publication "publication"
    Role "role"
    Routine "routine"
    Rule "rule"
    Schema "schema"
    Sequence "sequence"
    Server "server"
    Statistics "statistics"
    Subscription "subscription"
    Table "table"
    Tablespace "tablespace"
    TextSearchConfiguration "text search configuration"
    TextSearchDictionary "text search dictionary"
    TextSearchParser "text search parser"
    TextSearchTemplate "text search template"
    Transform "transform"
    Trigger "trigger"
    Type "type"
    UserMapping "user mapping"
    View "view"
}

impl ObjectKind {
    /// Those that `create`, `alter`, `drop`, `comment` and wildcards mean.
    pub(crate) const fn is_grouped(self) -> bool {
        matches!(
            self,
            Self::Table
                | Self::View
                | Self::MaterializedView
                | Self::Index
                | Self::Sequence
                | Self::Type
                | Self::Domain
                | Self::Statistics
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingUse {
    pub name: SettingName,
    /// The values, where they are constants. `None` for RESET, DEFAULT, FROM CURRENT and SHOW, and
    /// for values that are computed.
    pub value: Option<Vec<String>>,
    pub local: bool,
    pub change: bool,
    /// For sessions to come, for the server, or while a function runs; this session has what it
    /// had.
    pub stored: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingName {
    /// As it is written: PostgreSQL doesn't tell upper from lower case in it.
    One(String),
    All,
    /// `set_config` with a name that isn't a constant: any.
    Computed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChannelUse {
    Listen(String),
    Unlisten(Option<String>),
    Notify(String),
}

/// Why a statement has no facts. To be refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotUnderstood {
    /// A construct that this crate does not know, or not in that place.
    Construct(&'static str),
    /// The tree has a node that the walk did not come to: a fault of ours.
    Unvisited,
    NoSuchRelation(String),
    NoSuchColumn(String),
    NoSuchFunction(String),
    NoSuchSchema(String),
    NoSuchType(String),
    /// Another database's name before a schema's.
    OtherDatabase(String),
    TooManyNodes,
}

impl Object {
    pub(crate) fn new(kind: ObjectKind, schema: Option<String>, name: &str) -> Self {
        Self {
            kind,
            schema,
            name: name.to_owned(),
            relation: None,
            columns: BTreeSet::new(),
            new_columns: Vec::new(),
            twice: false,
            missing: false,
        }
    }

    pub(crate) fn missing(self) -> Self {
        Self { missing: true, ..self }
    }
}

/// As the end of a sentence.
impl fmt::Display for NotUnderstood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Construct(what) => write!(f, "it has a construct that is not known here: {what}"),
            Self::Unvisited => f.write_str("part of it was not understood"),
            Self::NoSuchRelation(name) => write!(f, "there is no relation {name:?}"),
            Self::NoSuchColumn(name) => write!(f, "there is no column {name:?}"),
            Self::NoSuchFunction(name) => write!(f, "there is no function {name:?}"),
            Self::NoSuchSchema(name) => write!(f, "there is no schema {name:?}"),
            Self::NoSuchType(name) => write!(f, "there is no type {name:?}"),
            Self::OtherDatabase(name) => write!(f, "it names another database, {name:?}"),
            Self::TooManyNodes => f.write_str("it is too large"),
        }
    }
}

impl RelationUse {
    pub(crate) fn new(relation: Option<RelationId>, place: Range<usize>) -> Self {
        Self {
            relation,
            place,
            only: false,
            aliased: false,
            twice: false,
            read: None,
            insert: None,
            update: None,
            delete: false,
            truncate: false,
            lock_rows: false,
            lock: None,
            create: false,
            maintain: false,
            like: false,
            reference: None,
            command: false,
            tells: false,
        }
    }
}

impl Facts {
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            relations: Vec::new(),
            functions: BTreeSet::new(),
            commands: Vec::new(),
            named: BTreeSet::new(),
            named_computed: false,
            settings: Vec::new(),
            channels: Vec::new(),
            channel_computed: false,
            restricted: None,
            opaque: None,
            writes: false,
            outside_transaction: false,
            changes_names: false,
            change: None,
            handle: None,
            given: Vec::new(),
        }
    }
}
