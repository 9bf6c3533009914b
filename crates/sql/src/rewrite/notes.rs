//! What the walk notes of disguised relations on its way, for the rewriting that comes after it: by
//! then it is known what each use reads. Without disguises nothing is noted.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{ColumnRef, CopyStmt, RangeTableSample, RangeVar, SelectStmt};

use super::Disguises;
use crate::catalog::RelationId;

pub(crate) struct Notes<'w> {
    pub(crate) disguises: &'w Disguises,
    /// Uses of disguised relations that are read in a FROM or written, by their number.
    pub(crate) uses: BTreeMap<usize, Use<'w>>,
    /// References that may have to be written in another way.
    pub(crate) references: Vec<Reference<'w>>,
    pub(crate) groups: Vec<Group<'w>>,
    pub(crate) writes: Vec<Write<'w>>,
    pub(crate) copies: Vec<(&'w CopyStmt, usize)>,
    /// The names in each FROM, by its scope, with the use that has it last.
    pub(crate) names: HashMap<(usize, &'w str), Option<usize>>,
    /// Uses that share the name of another one in the same FROM.
    pub(crate) doubles: BTreeSet<usize>,
    /// Samples, by the address of the relation that they are taken of.
    pub(crate) samples: BTreeMap<usize, &'w RangeTableSample>,
    /// References whose declared type doesn't matter where they stand, by address.
    pub(crate) plain_rows: BTreeSet<usize>,
}

/// One use of a disguised relation.
pub(crate) struct Use<'w> {
    pub(crate) relation: RelationId,
    pub(crate) range: &'w RangeVar,
    pub(crate) sample: Option<&'w RangeTableSample>,
    pub(crate) is_target: bool,
    /// Below an outer join, on either side of it.
    pub(crate) outer_join: bool,
    /// `*`, the row as one value, or a join that takes names as it finds them.
    pub(crate) all: bool,
    /// Its alias, or that of a join, gives its columns other names, in their order.
    pub(crate) renamed: bool,
    pub(crate) tableoid: bool,
    /// System columns other than that one.
    pub(crate) system: bool,
}

/// A reference to a disguised use.
pub(crate) struct Reference<'w> {
    pub(crate) column: &'w ColumnRef,
    /// The number of the use; of `*` alone, those of the target.
    pub(crate) number: usize,
    pub(crate) what: What<'w>,
    /// The name by which it is called there: `old`, `new`, an alias.
    pub(crate) item: &'w str,
    /// It could mean nothing else.
    pub(crate) sure: bool,
    /// The item's bare name means the same there.
    pub(crate) bare: bool,
}

pub(crate) enum What<'w> {
    Column(u16),
    Row,
    /// `item.function`
    Call,
    /// `item.*`
    Star,
    /// `*` alone, in what a write returns: the items that it stands for, in order, with the number
    /// of the target's own. `None` if they can't be written out.
    All(Option<Vec<(&'w str, Option<usize>)>>),
}

/// A SELECT with GROUP BY.
pub(crate) struct Group<'w> {
    pub(crate) select: &'w SelectStmt,
    pub(crate) items: Vec<GroupItem<'w>>,
}

/// An item of its FROM that is a disguised relation, with the columns under the names that they
/// have there.
pub(crate) struct GroupItem<'w> {
    pub(crate) name: &'w str,
    pub(crate) number: usize,
    pub(crate) columns: Vec<(&'w str, u16)>,
}

/// A statement that writes a disguised relation.
pub(crate) struct Write<'w> {
    pub(crate) number: usize,
    pub(crate) node: Node<'w>,
}

impl<'w> Notes<'w> {
    pub(crate) fn new(disguises: &'w Disguises) -> Self {
        Self {
            disguises,
            uses: BTreeMap::new(),
            references: Vec::new(),
            groups: Vec::new(),
            writes: Vec::new(),
            copies: Vec::new(),
            names: HashMap::new(),
            doubles: BTreeSet::new(),
            samples: BTreeMap::new(),
            plain_rows: BTreeSet::new(),
        }
    }
}
