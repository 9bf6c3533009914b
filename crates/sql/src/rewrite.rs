//! What a reader is to see of a relation, and the edits on a client's own text that make it so.
//!
//! Every place that reads a disguised relation reads a subquery instead, which gives masked columns
//! under their own names and only the rows that the filter lets through. The target of a write can
//! be no subquery: there each reference to a masked column is replaced, and the filter joins the
//! condition. What can be done neither way is refused ([`Why`]). A statement that reads no masked
//! column and no filtered relation has no edits: it travels byte for byte.
//!
//! A subquery gives the columns that the statement reads of it, in the relation's order, and not
//! those that nothing reads: rights to columns are asked for each that is listed, and a role may
//! hold them for some columns alone. `*` reads all of them.
//!
//! Which columns have which mask is for others, and so is what views, functions and generated
//! columns show of a masked column: a disguise says it for each relation by itself.

mod filtered;
mod making;
mod merged;
mod notes;
mod proposed;
mod quiet;
mod reads;
mod tokens;
mod writes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;

use crate::catalog::RelationId;
use crate::facts::{Facts, NotUnderstood};

pub use self::filtered::Asked;
pub(crate) use self::making::rewritten;
pub(crate) use self::notes::{Group, GroupItem, Notes, Reference, Use, What, Write};

/// By relation; one that isn't here is read as it is.
pub type Disguises = HashMap<RelationId, Disguise>;

/// What a reader is to see of one relation.
#[derive(Clone, Debug, Default)]
pub struct Disguise {
    /// By the column's number.
    pub masks: BTreeMap<u16, Mask>,
    /// Rows for which it isn't true are not there. It sees the columns as they are stored.
    pub filter: Option<Expression>,
    /// In which child a row lies tells what is masked in it.
    pub placed: bool,
}

#[derive(Clone, Debug)]
pub struct Mask {
    /// Total, without effects, of the column's own type and modifier, NULL for NULL.
    pub expression: Expression,
    /// What it could have made: never to be written into the column.
    pub look: Look,
}

/// Constants that a mask could have made, as texts.
#[derive(Clone, Debug)]
pub enum Look {
    /// Nothing that a person would take for a mask, or nothing that tells it from a value.
    Any,
    Text(Box<str>),
    Like(fn(&str) -> bool),
}

/// An SQL expression over the columns of one relation, complete in itself: it needs no parentheses,
/// and every name in it has a schema before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression(pub Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    Text(Box<str>),
    /// A reference to a column of the relation, by its number.
    Column(u16),
}

/// One statement of a text, as a reader with disguises may run it.
#[derive(Clone, Debug)]
pub struct Disguised {
    /// Where it stands in the text, without its semicolon.
    pub place: Range<usize>,
    /// Facts are those of the statement as it was written.
    pub understood: Result<(Facts, Result<Rewritten, Unrewritable>), NotUnderstood>,
    /// Where in the text the name stands that is not there, if that is why there are no facts.
    pub failed_at: Option<usize>,
}

/// What has to be put where in the text, and what is left to look at besides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// In the order of the text; no two overlap. None: the statement goes as it is. Names inside an
    /// edit's place, or where it begins, are written with their schema in what replaces them.
    pub edits: Vec<Edit>,
    /// Parameters whose values are stored in masked columns: what a value looks like has to be
    /// asked of the mask ([`Look`]) once it is known.
    pub stored: Vec<Stored>,
    /// Disguised relations that it touches, also where nothing had to be edited: EXPLAIN says how
    /// large they are.
    pub disguised: BTreeSet<RelationId>,
    /// What it asks of the rows that it writes.
    pub asked: BTreeSet<(RelationId, Asked)>,
    /// It gives a row for each that it writes, and its author did not ask for any.
    pub gives_rows: bool,
    /// That a key is taken would tell of rows that a filter hides.
    pub keys_tell: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// In bytes of the whole text; empty where something is only put in.
    pub place: Range<usize>,
    pub text: String,
}

/// `$parameter` is stored in a masked column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stored {
    pub parameter: u32,
    pub relation: RelationId,
    pub column: u16,
}

/// Why a statement can't be run as a reader with disguises may see it. To be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unrewritable {
    pub why: Why,
    /// The relation that is disguised.
    pub relation: Option<RelationId>,
}

macro_rules! reasons {
    ($( $reason:ident $words:literal )*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Why { $( $reason ),* }

        impl Why {
            pub const ALL: &[Self] = &[ $( Self::$reason ),* ];

            /// As a sentence about the statement, without its end.
            pub const fn words(self) -> &'static str {
                match self { $( Self::$reason => $words ),* }
            }

            pub const fn name(self) -> &'static str {
                match self { $( Self::$reason => stringify!($reason) ),* }
            }
        }
    };
}

reasons! {
    Definition "it would keep a query over it in a view, a rule or a function, for others to run"
    Command "the command would go through what is masked or hidden in it"
    SystemColumn "it reads a system column of it other than tableoid, and those follow what is stored"
    Tableoid "it reads tableoid, and in which partition a row lies tells what is masked in it"
    TableoidBesideAll "it reads tableoid beside all columns of it"
    RowOfOuterJoin "it uses its row as one value in an outer join, where there may be none"
    RowOfDomains "it uses its row as one value, and a masked column of it has a domain for its type"
    RowOfTarget "it uses the row that it writes as one value"
    SameName "it has two relations of that name in one FROM"
    Shadowed "a name in it would mean something else once it is rewritten"
    Doubtful "a name in it could mean a masked column or another"
    GroupedByKey "it groups by its key, and what it selects besides can't be grouped by"
    Sample "the arguments of its TABLESAMPLE name columns"
    RowLock "it would lock rows that the filter hides"
    ReturningAll "RETURNING * of a join or a nameless subquery can't be written out"
    Constrained "it gives a value to a column that a constraint or a unique index ties to a masked one"
    ConflictTarget "ON CONFLICT would answer whether a masked value is there"
    ProposedRow "it reads a masked column of the row that ON CONFLICT proposes"
    WritesMask "it would store what a mask made over the value that is there"
    FilteredWrite "a write of this form can't be kept to the rows that the filter lets through"
    LeavesFilter "it could leave rows behind that the filter hides"
    ConflictTells "ON CONFLICT DO NOTHING would tell of rows that the filter hides, unless VALUES gives each column of the filter a constant or a parameter"
    CopyForm "COPY of this relation can't be written as COPY of a query"
    Gone "a column that its mask or its filter names is not there"
    Unlocated "a place in it was not found again in the text"
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl Look {
    /// Whether the text could be the mask's own work.
    pub fn has(&self, text: &str) -> bool {
        match self {
            Self::Any => false,
            Self::Text(own) => **own == *text,
            Self::Like(like) => like(text),
        }
    }
}

impl Expression {
    /// The expression with `column` for each reference.
    pub fn written(&self, mut column: impl FnMut(u16, &mut String)) -> String {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Column(number) => column(*number, &mut text),
            }
        }
        text
    }

    pub fn columns(&self) -> impl Iterator<Item = u16> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Column(number) => Some(*number),
            Piece::Text(_) => None,
        })
    }
}

/// The text with the edits made.
pub fn edited(text: &str, edits: &[Edit]) -> String {
    let more: usize = edits.iter().map(|edit| edit.text.len()).sum();
    let mut out = String::with_capacity(text.len() + more);
    let mut from = 0;
    for edit in edits {
        out.push_str(text.get(from..edit.place.start).unwrap_or_default());
        out.push_str(&edit.text);
        from = edit.place.end;
    }
    out.push_str(text.get(from..).unwrap_or_default());
    out
}

/// The edits, and a schema before each name that stands at one of the places. A name in whose place
/// something else comes has its schema there.
pub fn with_schemas<'s>(
    edits: Vec<Edit>,
    names: impl IntoIterator<Item = (usize, &'s str)>,
) -> Vec<Edit> {
    let (mut edits, mut more) = (edits, Vec::new());
    for (place, schema) in names {
        // They don't overlap: the first that ends behind it is the only one that could have it.
        let next = edits.partition_point(|edit| edit.place.end <= place);
        if !edits.get(next).is_some_and(|edit| edit.place.contains(&place)) {
            let mut text = String::new();
            tokens::quoted(schema, &mut text);
            text.push('.');
            more.push(Edit { place: place..place, text });
        }
    }
    edits.append(&mut more);
    edits.sort_by_key(|edit| (edit.place.start, edit.place.end));
    edits.dedup();
    edits
}

/// Where in `text` that is, which the server calls `position` in the text with the edits made.
/// Both count characters from 1, as PostgreSQL does; what stands in something put in is where that
/// was put.
pub fn position_before(text: &str, edits: &[Edit], position: usize) -> usize {
    let characters = |text: Option<&str>| text.map_or(0, |text| text.chars().count());
    let target = position.saturating_sub(1);
    // Characters behind which both texts are the same again.
    let (mut before, mut after, mut from) = (0, 0, 0);
    for edit in edits {
        let kept = characters(text.get(from..edit.place.start));
        if target < after + kept {
            break;
        }
        before += kept;
        after += kept;
        let put = edit.text.chars().count();
        if target < after + put {
            return before + 1;
        }
        after += put;
        before += characters(text.get(edit.place.clone()));
        from = edit.place.end;
    }
    before + (target - after.min(target)) + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_and_expressions_are_written() {
        let put = |place, text: &str| Edit { place, text: text.to_owned() };
        let text = "SELECT ü FROM t";
        assert_eq!(edited(text, &[]), text);
        assert_eq!(edited(text, &[put(7..9, "a"), put(16..16, " AS u")]), "SELECT a FROM t AS u");
        let edits = [put(7..9, "abc"), put(16..16, " AS u")];
        let (before, after) = ("SELECT ü FROM t WHERE x", "SELECT abc FROM t AS u WHERE x");
        assert_eq!(edited(before, &edits), after);
        for (place, own) in [("SELECT", 1), ("abc", 8), ("bc", 8), ("FROM", 10), ("t AS", 15)] {
            let position = after.find(place).unwrap() + 1;
            assert_eq!(position_before(before, &edits, position), own, "{place}");
        }
        assert_eq!(position_before(before, &edits, after.find('x').unwrap() + 1), 23);
        assert_eq!(position_before(before, &edits, after.find("AS").unwrap() + 1), 16);
        let names = [(15, "x"), (8, "y"), (7, "y"), (15, "x")];
        let both = with_schemas(vec![put(7..9, "a")], names);
        assert_eq!(edited(text, &both), "SELECT a FROM \"x\".t");
        let mask = Expression(vec![
            Piece::Text("pg_catalog.upper(".into()),
            Piece::Column(3),
            Piece::Text(")".into()),
        ]);
        assert_eq!(
            mask.written(|number, out| *out += &format!("c{number}")),
            "pg_catalog.upper(c3)"
        );
        assert_eq!(mask.columns().collect::<Vec<_>>(), [3]);
        assert!(Look::Like(|text| text.contains("***")).has("a***"));
        assert!(!Look::Text("x".into()).has("y"));
    }
}
