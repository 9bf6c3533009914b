//! MERGE into a relation with a row filter, as row security has it. What the filter hides is met by no
//! row of the source: the filter comes before the condition that joins them. Nor is it a row that the
//! source lacks: there it comes before what the client asks of such rows. What the actions leave is
//! asked where it is returned, as of other writes; before PostgreSQL 17 a MERGE returns nothing, and
//! only what can be asked before it is stored (`proposed`) is let through.

use std::collections::{BTreeMap, HashMap};

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{
    A_Expr, A_Expr_Kind, BoolExprType, CmdType, MergeMatchKind, MergeStmt, ResTarget, SelectStmt,
};

use super::making::{Made, Making};
use super::tokens::quoted;
use super::{Expression, What, Why, Write, quiet};
use crate::nodes::address;

/// With their types.
type Columns = BTreeMap<Box<str>, Option<u32>>;

const BY_SOURCE: MergeMatchKind::Type = MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_SOURCE;
const BY_TARGET: MergeMatchKind::Type = MergeMatchKind::MERGE_WHEN_NOT_MATCHED_BY_TARGET;

/// What of a condition needs no filter before it.
#[derive(Default)]
struct Join {
    /// All of it.
    quiet: bool,
    /// Equalities that have to hold: the server can join by them, and not by what stands in a CASE.
    keys: Vec<String>,
}

impl Making<'_, '_> {
    /// Keeps it to the rows that the filter lets through. Whether it could leave others is given.
    pub(super) fn merges(
        &mut self,
        write: &Write<'_>,
        merge: &MergeStmt,
        filter: &Expression,
        own: &str,
    ) -> Made<bool> {
        let number = write.number;
        let lost = self.lost(number);
        let (used, relation, _, noted) = self.used(number)?;
        let (_, last) = self.region(number, used)?;
        // ON, WHEN and THEN are reserved: outside of parentheses and of CASE they are nothing else.
        let words = self.tokens.clauses(last + 1, &["on", "when", "then", "returning"]);
        let of = |word: &str| -> Vec<usize> {
            words.iter().copied().filter(|at| self.tokens.is_word(*at, word)).collect()
        };
        let (whens, thens) = (of("when"), of("then"));
        let first = *whens.first().ok_or(lost)?;
        // Those before it are of joins in the source.
        let on = of("on").into_iter().rev().find(|at| *at < first).ok_or(lost)?;
        let clauses = merge.merge_when_clauses();
        if whens.len() != clauses.len() || thens.len() != clauses.len() {
            return Err(lost);
        }
        let join = self.join(number, merge);
        let acts = |kind| {
            let mut all = clauses.iter();
            all.any(|when| when.match_kind == kind && when.command_type != CmdType::CMD_NOTHING)
        };
        // PostgreSQL joins both sides in full then, which it does by equality alone.
        if join.keys.is_empty() && !join.quiet && acts(BY_SOURCE) && acts(BY_TARGET) {
            return Err(self.no(Why::FilteredWrite, number));
        }
        self.before(number, on, first, own, &join)?;
        for ((when, at), then) in clauses.iter().zip(whens).zip(thens) {
            if when.match_kind != BY_SOURCE {
                continue;
            }
            // WHEN NOT MATCHED BY SOURCE
            let and = at + 5;
            if self.tokens.is_word(and, "and") {
                self.before(number, and, then, own, &Join::default())?;
            } else {
                let end = self.tokens.end(and - 1).ok_or(lost)?;
                self.edit(end..end, format!(" AND ({own})"));
            }
        }
        let inserts = clauses.iter().any(|when| when.command_type == CmdType::CMD_INSERT);
        let updates = clauses.iter().any(|when| when.command_type == CmdType::CMD_UPDATE);
        let moves = updates && self.may_move(noted.relation, relation, used, filter);
        Ok(inserts || moves)
    }

    /// Puts the filter before the condition that stands between two words.
    fn before(
        &mut self,
        number: usize,
        word: usize,
        next: usize,
        filter: &str,
        join: &Join,
    ) -> Made {
        let lost = self.lost(number);
        let begins = self.tokens.end(word).ok_or(lost)?;
        let ends = next.checked_sub(1).and_then(|last| self.tokens.end(last)).ok_or(lost)?;
        let (mut before, behind) = filter_before(filter, join.quiet);
        if !join.quiet && !join.keys.is_empty() {
            before = format!(" ({filter}) AND {} AND{before}", join.keys.join(" AND "));
        }
        self.edit(begins..begins, before);
        self.edit(ends..ends, behind.to_owned());
        Ok(())
    }

    /// What of the condition that joins target and source could tell nothing of rows that the filter
    /// hides: it compares columns of the one with columns of the other, and with constants.
    fn join(&self, number: usize, merge: &MergeStmt) -> Join {
        let mut join = Join::default();
        let Ok((_, relation, disguise, _)) = self.used(number) else { return join };
        if !quiet::calls_quietly(self.facts, self.catalog) {
            return join;
        }
        let type_of = |number: u16| {
            let column = relation.columns.iter().find(|column| column.number == number);
            column.map(|column| column.type_oid)
        };
        let own = self.notes.references.iter().filter(|it| it.number == number && it.sure);
        let own: HashMap<usize, u32> = own
            .filter_map(|reference| match reference.what {
                What::Column(column) if !disguise.masks.contains_key(&column) => {
                    Some((address(Node::ColumnRef(reference.column))?, type_of(column)?))
                }
                _ => None,
            })
            .collect();
        let source = self.source(merge);
        // `Some(None)`: of a type that isn't known.
        let known = |operand: Node<'_>| -> Option<Option<u32>> {
            let Node::ColumnRef(column) = operand else {
                return quiet::is_constant(operand).then_some(None);
            };
            if let Some(own) = address(operand).and_then(|at| own.get(&at)) {
                return Some(Some(*own));
            }
            let mut fields = column.fields().iter().map(Node::as_str);
            let (item, name) = (fields.next().flatten()?, fields.next().flatten()?);
            let (source, columns) = source.as_ref().filter(|_| fields.next().is_none())?;
            columns.get(name).copied().filter(|_| *source == item)
        };
        let is_quiet = |comparison: &A_Expr| {
            let Some((types, operands)) = quiet::compared(comparison) else { return false };
            let found: Option<Vec<_>> = operands.into_iter().map(known).collect();
            let mut found = found.into_iter().flatten().flatten().peekable();
            found.peek().is_some() && found.all(|oid| types.contains(&oid))
        };
        join.quiet = true;
        // With whether it stands among what is joined by AND alone.
        let mut open = vec![(merge.join_condition(), true)];
        while let Some((node, needed)) = open.pop() {
            match node {
                Node::BoolExpr(terms) => {
                    let needed = needed && terms.boolop == BoolExprType::AND_EXPR;
                    open.extend(terms.args().iter().map(|term| (term, needed)));
                }
                Node::A_Expr(comparison) if is_quiet(comparison) => {
                    join.keys.extend(key(comparison).filter(|_| needed));
                }
                _ => join.quiet = false,
            }
        }
        join
    }

    /// The name of the source, and those of its columns that are known for certain, with their types
    /// where these are: whatever else is asked of it could be a function.
    fn source<'s>(&self, merge: &'s MergeStmt) -> Option<(&'s str, Columns)> {
        match merge.source_relation() {
            Node::RangeVar(range) => {
                let alias = range.alias();
                if alias.is_some_and(|alias| !alias.colnames().is_empty()) {
                    return None;
                }
                // A query of WITH can have the name of a table.
                let place = usize::try_from(range.location).ok()?;
                let used = self.facts.relations.iter().find(|used| used.place.start == place)?;
                let columns = self.catalog.relation(used.relation?)?.columns.iter();
                let columns = columns.map(|it| (it.name.as_ref().into(), Some(it.type_oid)));
                let name = alias.map_or(range.relname(), |alias| alias.aliasname())?;
                Some((name, columns.collect()))
            }
            Node::RangeSubselect(sub) => {
                let alias = sub.alias()?;
                let own = alias.colnames().iter().filter_map(Node::as_str);
                let mut names: Columns = own.map(|name| (name.into(), None)).collect();
                if let Node::SelectStmt(select) = sub.subquery()
                    && names.is_empty()
                {
                    names = columns_of(select);
                }
                Some((alias.aliasname()?, names))
            }
            _ => None,
        }
    }
}

/// What comes before a condition so that it sees no hidden row, and what comes behind it.
pub(super) fn filter_before(filter: &str, quiet: bool) -> (String, &'static str) {
    if quiet {
        (format!(" ({filter}) AND ("), ")")
    } else {
        // Its arms are the one thing that PostgreSQL runs in order.
        (format!(" CASE WHEN {filter} THEN ("), ") ELSE false END")
    }
}

/// `column = column`, written again.
fn key(comparison: &A_Expr) -> Option<String> {
    let is_equal = comparison.name().iter().next_back().and_then(Node::as_str) == Some("=");
    let column = |operand: Node<'_>| {
        let Node::ColumnRef(column) = operand else { return None };
        let mut text = String::new();
        for field in column.fields() {
            text.push_str(if text.is_empty() { "" } else { "." });
            quoted(field.as_str()?, &mut text);
        }
        Some(text)
    };
    let (left, right) = (column(comparison.lexpr())?, column(comparison.rexpr())?);
    (is_equal && comparison.kind == A_Expr_Kind::AEXPR_OP).then(|| format!("{left} = {right}"))
}

/// The names that a query gives to its columns by itself.
fn columns_of(select: &SelectStmt) -> Columns {
    let name = |target: &ResTarget| match (target.name(), target.val()) {
        (Some(name), _) => Some(name.into()),
        (None, Node::ColumnRef(column)) => {
            column.fields().iter().next_back().and_then(Node::as_str).map(Into::into)
        }
        _ => None,
    };
    select.target_list().iter().filter_map(|target| Some((name(target)?, None))).collect()
}
