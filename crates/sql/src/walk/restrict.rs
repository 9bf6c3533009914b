//! Whether the WHERE of a write leaves rows out: a rule may be about one that doesn't. What counts is
//! a comparison of a column of the target with what does not come from the same row; whatever could
//! be true of every row by its form, or is too deep to be looked at, counts for nothing. It is about
//! the form: `id > 0` counts, whatever is in the table.

use pg_raw_parse::nodes::{
    A_Expr, A_Expr_Kind, BoolExprType, BoolTestType, FuncCall, NullTestType, SelectStmt, SubLink,
    SubLinkType,
};
use std::collections::BTreeSet;

use pg_raw_parse::{ConstValue, Node};

use super::Walk;
use super::scope::Reads;
use crate::catalog::{RelationId, ViewRead};
use crate::nodes::{address, children};

/// Conditions in conditions. Nobody writes more by hand.
const DEPTH_MAX: u8 = 16;

/// Nodes that are looked at of one condition.
const NODES_MAX: u32 = 10_000;

/// Of functions of a column those that leave apart what is apart in it, more or less.
const KEEP_APART: [&str; 4] = ["date", "date_trunc", "lower", "upper"];

/// A condition on what is written.
#[derive(Clone, Copy)]
pub(super) struct Condition<'w> {
    condition: Node<'w>,
    /// The use that is written.
    target: usize,
}

/// One look at a condition.
struct Look<'l, 'w> {
    walk: &'l Walk<'w>,
    target: usize,
    /// The relation, or one that shows its rows, is named elsewhere in the statement: what comes from
    /// there may be of the same row.
    again: bool,
    /// A value is compared that has to be equal.
    takes_one: bool,
    left: u32,
}

/// What a reference means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    Target,
    Other,
    /// It can't be told.
    Either,
}

impl<'w> Walk<'w> {
    /// What is written under no condition but this one.
    pub(super) fn restricts(&mut self, condition: Node<'w>, target: usize) {
        self.conditions.push(Condition { condition, target });
    }

    /// What a reference was found to read.
    pub(super) fn resolved(&mut self, reads: &Reads) {
        if !self.conditions.is_empty()
            && let Some(address) = self.reference
        {
            self.references.push((address, reads.clone()));
        }
    }

    /// Of several in one statement, the one that doesn't.
    pub(super) fn all_restrict(&mut self) -> Option<bool> {
        if self.conditions.is_empty() {
            return None;
        }
        self.references.sort_by_key(|(address, _)| *address);
        let all = self.conditions.iter().all(|Condition { condition, target }| {
            let again = self.is_named_beside(&[*target]);
            let mut look =
                Look { walk: self, target: *target, again, takes_one: false, left: NODES_MAX };
            look.picks(*condition, false, 0)
        });
        Some(all)
    }

    /// Whether the first of these uses, or what shows the same rows, is named elsewhere.
    fn is_named_beside(&self, uses: &[usize]) -> bool {
        let of = |number: usize| self.facts.relations.get(number).and_then(|used| used.relation);
        let Some(target) = uses.first().and_then(|number| of(*number)) else { return true };
        (0..self.facts.relations.len())
            .filter(|number| !uses.contains(number))
            .filter_map(of)
            .any(|other| self.shows(other, target))
    }

    /// Whether the rows of one relation may be those of another: they are the same, of one family, or
    /// views of the same.
    fn shows(&self, id: RelationId, of: RelationId) -> bool {
        let is_kin = |id: RelationId| {
            let relation = self.catalog.relation(id);
            relation.is_none_or(|it| !it.parents.is_empty() || !it.children.is_empty())
        };
        let all = |id: RelationId| {
            let below = self.catalog.beneath(id).into_iter().filter_map(|it| match it.read {
                ViewRead::Column(below, _) => Some(below),
                ViewRead::Function(_) => None,
            });
            below.chain([id]).collect::<BTreeSet<_>>()
        };
        (is_kin(id) && is_kin(of)) || !all(id).is_disjoint(&all(of))
    }
}

impl<'w> Look<'_, 'w> {
    /// Whether rows of the target are left out where the condition isn't true; or, negated, where it
    /// isn't false.
    fn picks(&mut self, condition: Node<'w>, negated: bool, depth: u8) -> bool {
        if depth >= DEPTH_MAX || !self.spend() {
            return false;
        }
        match condition {
            Node::BoolExpr(terms) => match terms.boolop {
                BoolExprType::NOT_EXPR => {
                    let mut terms = terms.args().iter();
                    terms.next().is_some_and(|term| self.picks(term, !negated, depth + 1))
                }
                operation => {
                    let any = (operation == BoolExprType::AND_EXPR) != negated;
                    let mut terms = terms.args().iter();
                    match any {
                        true => terms.any(|term| self.picks(term, negated, depth + 1)),
                        false => terms.all(|term| self.picks(term, negated, depth + 1)),
                    }
                }
            },
            Node::BooleanTest(test) => match test.booltesttype {
                BoolTestType::IS_TRUE if !negated => self.picks(test.arg(), false, depth + 1),
                BoolTestType::IS_FALSE if !negated => self.picks(test.arg(), true, depth + 1),
                _ => false,
            },
            // Of a column that is never null the one leaves out nothing, the other everything.
            Node::NullTest(test) => {
                (test.nulltesttype == NullTestType::IS_NULL) != negated
                    && self.is_column(test.arg())
            }
            Node::ColumnRef(_) => self.is_column(condition),
            Node::CurrentOfExpr(_) => !negated,
            Node::A_Expr(comparison) => self.compares(comparison, negated),
            Node::SubLink(link) if !negated => self.finds(link, depth),
            _ => false,
        }
    }

    fn compares(&mut self, comparison: &'w A_Expr, negated: bool) -> bool {
        let (left, right) = (comparison.lexpr(), comparison.rexpr());
        let operator = match (comparison.name().len(), comparison.name().get(0)) {
            (1, Some(name)) => name.as_str().unwrap_or_default(),
            _ => return false,
        };
        // One value of the same relation is that of few rows; but it may be the greatest, or an array
        // of all.
        self.takes_one = match comparison.kind {
            A_Expr_Kind::AEXPR_OP => operator == "=",
            kind => matches!(kind, A_Expr_Kind::AEXPR_NOT_DISTINCT | A_Expr_Kind::AEXPR_IN),
        };
        match comparison.kind {
            A_Expr_Kind::AEXPR_OP => {
                let either = self.is_key(left, operator) && self.is_apart(right)
                    || self.is_key(right, operator) && self.is_apart(left);
                match operator {
                    "=" | "<>" | "!=" | "<" | "<=" | ">" | ">=" => either,
                    // Of an empty list, document or range they are true of all.
                    "@>" | "<@" | "&&" | "?" => {
                        !negated && either && !is_blank(left) && !is_blank(right)
                    }
                    _ => false,
                }
            }
            A_Expr_Kind::AEXPR_DISTINCT => {
                self.is_column(left) && self.is_apart(right) && (negated || !is_null(right))
            }
            A_Expr_Kind::AEXPR_NOT_DISTINCT => {
                self.is_column(left) && self.is_apart(right) && !(negated && is_null(right))
            }
            // `<> ALL` of an empty list is true of all.
            A_Expr_Kind::AEXPR_OP_ANY => {
                !negated && operator == "=" && self.is_key(left, operator) && self.is_apart(right)
            }
            A_Expr_Kind::AEXPR_IN => self.is_key(left, "=") && self.is_apart(right),
            A_Expr_Kind::AEXPR_LIKE | A_Expr_Kind::AEXPR_ILIKE => {
                self.is_key(left, operator) && self.is_apart(right) && !is_blank(right)
            }
            A_Expr_Kind::AEXPR_BETWEEN
            | A_Expr_Kind::AEXPR_NOT_BETWEEN
            | A_Expr_Kind::AEXPR_BETWEEN_SYM
            | A_Expr_Kind::AEXPR_NOT_BETWEEN_SYM => self.is_column(left) && self.is_apart(right),
            _ => false,
        }
    }

    /// EXISTS, and IN with a query.
    fn finds(&mut self, link: &'w SubLink, depth: u8) -> bool {
        let Node::SelectStmt(select) = link.subselect() else { return false };
        match link.sub_link_type {
            SubLinkType::ANY_SUBLINK => {
                let is_equal = link.oper_name().iter().all(|name| name.as_str() == Some("="));
                if !is_equal || !self.is_key(link.testexpr(), "=") {
                    return false;
                }
                let named = self.again;
                self.again = false;
                let is_apart = self.is_apart(link.subselect());
                self.again = named;
                is_apart && (!named || self.leaves_out(select, depth))
            }
            SubLinkType::EXISTS_SUBLINK => {
                is_plain(select) && { self.picks(select.where_clause(), false, depth + 1) }
            }
            _ => false,
        }
    }

    /// Whether a query that may be of the same relation brings less than all of it.
    fn leaves_out(&mut self, select: &'w SelectStmt, depth: u8) -> bool {
        if !matches!(select.limit_count(), Node::None) {
            return !is_null(select.limit_count());
        }
        let mut from = select.from_clause().iter();
        let (Some(Node::RangeVar(range)), None) = (from.next(), from.next()) else { return false };
        let Ok(start) = usize::try_from(range.location) else { return false };
        let relations = &self.walk.facts.relations;
        let Some(inner) = relations.iter().position(|used| used.place.start == start) else {
            return false;
        };
        let again = self.walk.is_named_beside(&[self.target, inner]);
        if !is_plain(select) || again {
            return false;
        }
        let mut look =
            Look { walk: self.walk, target: inner, again, takes_one: false, left: self.left };
        let picks = look.picks(select.where_clause(), false, depth + 1);
        self.left = look.left;
        picks
    }

    /// A column of the target, or what keeps apart what is apart in it.
    fn is_column(&self, node: Node<'w>) -> bool {
        let mut node = node;
        for _ in 0..DEPTH_MAX {
            node = match node {
                Node::ColumnRef(_) => return self.of(node) == Of::Target,
                Node::TypeCast(cast) => cast.arg(),
                Node::CollateClause(collate) => collate.arg(),
                Node::FuncCall(call) => match bare_call(call) {
                    Some(name) if KEEP_APART.contains(&name) => {
                        let Some(last) = call.args().iter().next_back() else { return false };
                        last
                    }
                    _ => return false,
                },
                Node::A_Expr(operation)
                    if operation.kind == A_Expr_Kind::AEXPR_OP
                        && operation.name().iter().all(|name| {
                            matches!(name.as_str(), Some("->" | "->>" | "#>" | "#>>"))
                        }) =>
                {
                    operation.lexpr()
                }
                _ => return false,
            };
        }
        false
    }

    /// A column, or a row of which one is, where each has to be equal.
    fn is_key(&self, node: Node<'w>, operator: &str) -> bool {
        match node {
            Node::RowExpr(row) if operator == "=" => {
                row.args().iter().any(|part| self.is_column(part))
            }
            node => self.is_column(node),
        }
    }

    /// Whether nothing in it comes from the row itself, or may.
    fn is_apart(&mut self, node: Node<'w>) -> bool {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            if !self.spend() {
                return false;
            }
            match node {
                Node::ColumnRef(_) if self.of(node) != Of::Other => return false,
                // One value, wherever it comes from; but not from this row.
                Node::SubLink(link)
                    if link.sub_link_type == SubLinkType::EXPR_SUBLINK
                        && (self.takes_one || !self.again) =>
                {
                    let again = std::mem::replace(&mut self.again, false);
                    let is_apart = self.walk_below(link.subselect());
                    self.again = again;
                    if !is_apart {
                        return false;
                    }
                }
                Node::SubLink(_) if self.again => return false,
                node => {
                    if children(node, &mut open).is_err() {
                        return false;
                    }
                }
            }
        }
        true
    }

    /// Whether no reference in a query is to the target.
    fn walk_below(&mut self, node: Node<'w>) -> bool {
        let mut open = vec![node];
        while let Some(node) = open.pop() {
            let is_column = matches!(node, Node::ColumnRef(_));
            if !self.spend() || (is_column && self.of(node) != Of::Other) {
                return false;
            }
            if children(node, &mut open).is_err() {
                return false;
            }
        }
        true
    }

    fn of(&self, node: Node<'w>) -> Of {
        let Some(address) = address(node) else { return Of::Either };
        let references = &self.walk.references;
        let from = references.partition_point(|(other, _)| *other < address);
        let found = references.get(from..).unwrap_or_default();
        let mut found = found.iter().take_while(|(other, _)| *other == address).peekable();
        if found.peek().is_none() {
            // `*` of a list, the row as a whole, an alias.
            return if is_star(node) { Of::Other } else { Of::Either };
        }
        let (mut own, mut others) = (false, false);
        let mut open: Vec<&Reads> = found.map(|(_, reads)| reads).collect();
        while let Some(reads) = open.pop() {
            match reads {
                Reads::One(number, _) | Reads::System(number, _) if *number == self.target => {
                    own = true
                }
                Reads::Many(all) => open.extend(all.iter()),
                Reads::Nothing | Reads::One(..) | Reads::System(..) => others = true,
            }
        }
        match (own, others) {
            (true, false) => Of::Target,
            (false, _) if !self.again => Of::Other,
            _ => Of::Either,
        }
    }

    fn spend(&mut self) -> bool {
        self.left = self.left.saturating_sub(1);
        self.left > 0
    }
}

/// Of its rows there are as many as the condition leaves, and none where it leaves none.
fn is_plain(select: &SelectStmt) -> bool {
    let is_plain = |node: Node<'_>| matches!(node, Node::ColumnRef(_) | Node::A_Const(_));
    select.larg().is_none()
        && select.group_clause().is_empty()
        && matches!(select.having_clause(), Node::None)
        && select.values_lists().is_empty()
        && select.target_list().iter().all(|target| is_plain(target.val()))
}

/// The name of a function that is called by it alone, or as one of the server's own.
fn bare_call(call: &FuncCall) -> Option<&str> {
    let names = call.funcname();
    match (names.len(), names.get(0)?.as_str()?) {
        (1, name) => Some(name),
        (2, "pg_catalog") => names.get(1)?.as_str(),
        _ => None,
    }
}

fn is_star(node: Node<'_>) -> bool {
    match node {
        Node::ColumnRef(column) => {
            column.fields().len() == 1 && matches!(column.fields().get(0), Some(Node::A_Star(_)))
        }
        _ => false,
    }
}

fn is_null(node: Node<'_>) -> bool {
    let mut node = node;
    while let Node::TypeCast(cast) = node {
        node = cast.arg();
    }
    matches!(node, Node::A_Const(constant) if constant.isnull)
}

/// A constant without a letter or a digit.
fn is_blank(node: Node<'_>) -> bool {
    let mut node = node;
    loop {
        node = match node {
            Node::TypeCast(cast) => cast.arg(),
            Node::A_Const(constant) => {
                return match constant.val() {
                    Some(ConstValue::String(text)) => !text.chars().any(char::is_alphanumeric),
                    _ => false,
                };
            }
            Node::A_ArrayExpr(array) => return array.elements().is_empty(),
            _ => return false,
        }
    }
}
