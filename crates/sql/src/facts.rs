//! The facts of a statement: what it would touch, by names that the server would resolve to the
//! same things. They say nothing of whether it may.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::catalog::{FunctionId, RelationId};

/// One statement's facts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub kind: Kind,
    /// Every place that names a relation, in the order of the walk.
    pub relations: Vec<RelationUse>,
    /// Functions that it calls or could call: by name, behind operators that aren't built in, in
    /// casts. Operators of `pg_catalog` are not listed, see the crate's page.
    pub functions: BTreeSet<FunctionId>,
    /// Relations that a constant names for a function: `nextval('numbers')`, `'t'::regclass`.
    pub named: BTreeSet<RelationId>,
    pub settings: Vec<SettingUse>,
    pub channels: Vec<ChannelUse>,
    /// For UPDATE and DELETE: whether a WHERE can leave any row out, in each of them.
    pub restricted: Option<bool>,
    /// What carries code, or does what this crate doesn't look into: the command's own name.
    pub opaque: Option<&'static str>,
    /// Rows could be changed, or anything else outside the session; functions aside.
    pub writes: bool,
    /// It takes effect at once, or can't run in a transaction block.
    pub outside_transaction: bool,
    /// The name of the prepared statement or cursor that it makes, uses or ends; empty for all.
    /// EXPLAIN and CREATE TABLE AS have one when they run an EXECUTE.
    pub handle: Option<String>,
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
    /// VACUUM and ANALYZE. Without any relation they mean all.
    pub maintain: bool,
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingUse {
    /// As it is written; empty for all of them.
    pub name: String,
    /// The values, where they are constants; `None` for RESET, DEFAULT and FROM CURRENT, and SHOW.
    pub value: Option<Vec<String>>,
    pub local: bool,
    pub change: bool,
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
    /// Another database's name before a schema's.
    OtherDatabase(String),
    TooManyNodes,
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
        }
    }
}

impl Facts {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            kind,
            relations: Vec::new(),
            functions: BTreeSet::new(),
            named: BTreeSet::new(),
            settings: Vec::new(),
            channels: Vec::new(),
            restricted: None,
            opaque: None,
            writes: false,
            outside_transaction: false,
            handle: None,
        }
    }
}
