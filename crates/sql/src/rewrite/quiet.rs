//! Whether a row filter needs a fence. Without one PostgreSQL may run a statement's own conditions
//! on rows before the filter has taken them away, and a condition that fails on a value, or calls
//! something with it, tells of it. Comparisons of plain columns with constants do neither.

use std::collections::BTreeSet;

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{A_Expr, A_Expr_Kind, SelectStmt, SetOperation};

use crate::catalog::{Catalog, FunctionId};
use crate::facts::Facts;
use crate::functions::Class;
use crate::nodes::children;

/// `bool`, `int8`, `int2`, `int4`, `date`, `timestamp`, `timestamptz`, `uuid`: neither comparing
/// them nor what they are converted to for it can fail.
const ORDERED: [u32; 8] = [16, 20, 21, 23, 1082, 1114, 1184, 2950];

/// `bytea`, `text`, `bpchar`, `varchar`: whether two are the same.
const EQUAL: [u32; 4] = [17, 25, 1042, 1043];

/// Whether nothing in the statement could look at a row before a filter has decided on it. It may
/// say no where there is nothing, for what is more than one plain query.
pub(super) fn is_quiet(statement: Node<'_>, facts: &Facts, catalog: &Catalog) -> bool {
    if !calls_quietly(facts, catalog) {
        return false;
    }
    let statement = match statement {
        Node::ExplainStmt(explain) => explain.query(),
        Node::PrepareStmt(prepare) => prepare.query(),
        Node::DeclareCursorStmt(declare) => declare.query(),
        Node::CopyStmt(copy) => copy.query(),
        other => other,
    };
    let conditions = match statement {
        Node::SelectStmt(select) => of_select(select),
        Node::UpdateStmt(update) => {
            let alone = update.with_clause().is_none() && update.from_clause().is_empty();
            alone.then(|| vec![update.where_clause()])
        }
        Node::DeleteStmt(delete) => {
            let alone = delete.with_clause().is_none() && delete.using_clause().is_empty();
            alone.then(|| vec![delete.where_clause()])
        }
        _ => None,
    };
    let Some(conditions) = conditions else { return false };
    !has_queries(statement) && are_quiet(conditions, facts, catalog)
}

/// Whether all that could be called is the server's own. Parameters could be of types that bring
/// operators: those of contrib modules only compare, anybody else's may do anything.
pub(super) fn calls_quietly(facts: &Facts, catalog: &Catalog) -> bool {
    let known = |id: &FunctionId| {
        catalog.function(*id).is_some_and(|function| {
            catalog.is_system(function.schema) || function.class == Some(Class::Pure)
        })
    };
    facts.functions.iter().all(known)
}

/// The conditions of a plain SELECT over relations.
fn of_select(select: &SelectStmt) -> Option<Vec<Node<'_>>> {
    let plain = select.op == SetOperation::SETOP_NONE
        && select.values_lists().is_empty()
        && select.with_clause().is_none()
        && matches!(select.having_clause(), Node::None);
    if !plain {
        return None;
    }
    let mut conditions = vec![select.where_clause()];
    let mut open: Vec<Node<'_>> = select.from_clause().iter().collect();
    while let Some(item) = open.pop() {
        match item {
            Node::RangeVar(range) => {
                if range.alias().is_some_and(|alias| !alias.colnames().is_empty()) {
                    return None;
                }
            }
            Node::JoinExpr(join) => {
                // Of columns that are joined by name the types would have to be looked up.
                if join.is_natural || !join.using_clause().is_empty() || join.alias().is_some() {
                    return None;
                }
                open.extend([join.larg(), join.rarg()]);
                conditions.push(join.quals());
            }
            _ => return None,
        }
    }
    Some(conditions)
}

fn has_queries(statement: Node<'_>) -> bool {
    let mut open = Vec::new();
    let mut found = children(statement, &mut open).is_err();
    while let Some(node) = open.pop() {
        found |= matches!(node, Node::SubLink(_) | Node::SelectStmt(_))
            || children(node, &mut open).is_err();
        if found {
            break;
        }
    }
    found
}

fn are_quiet(conditions: Vec<Node<'_>>, facts: &Facts, catalog: &Catalog) -> bool {
    let mut open = conditions;
    while let Some(node) = open.pop() {
        match node {
            Node::None | Node::A_Const(_) | Node::ParamRef(_) => {}
            Node::BoolExpr(terms) => open.extend(terms.args()),
            Node::ColumnRef(_) if is_of(node, &[16], facts, catalog) => {}
            Node::NullTest(test) if is_of(test.arg(), &[], facts, catalog) => {}
            Node::BooleanTest(test) => open.push(test.arg()),
            Node::A_Expr(comparison) if is_comparison(comparison, facts, catalog) => {}
            _ => return false,
        }
    }
    true
}

fn is_comparison(comparison: &A_Expr, facts: &Facts, catalog: &Catalog) -> bool {
    let Some((types, operands)) = compared(comparison) else { return false };
    operands.into_iter().all(|operand| match operand {
        Node::ColumnRef(_) => is_of(operand, &types, facts, catalog),
        operand => is_constant(operand),
    })
}

/// What a comparison compares, and the types of which it does so without ever failing.
pub(super) fn compared(comparison: &A_Expr) -> Option<(Vec<u32>, Vec<Node<'_>>)> {
    let mut names = comparison.name().iter();
    let (Some(Node::String(name)), None) = (names.next(), names.next()) else { return None };
    let name = name.sval().unwrap_or_default();
    let ordered = matches!(name, "<" | ">" | "<=" | ">=" | "BETWEEN" | "NOT BETWEEN");
    let known = match comparison.kind {
        A_Expr_Kind::AEXPR_OP => ordered || matches!(name, "=" | "<>"),
        A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_IN => matches!(name, "=" | "<>"),
        A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_NOT_BETWEEN => ordered,
        _ => false,
    };
    if !known {
        return None;
    }
    let types =
        if ordered { ORDERED.to_vec() } else { ORDERED.iter().chain(&EQUAL).copied().collect() };
    let mut operands = vec![comparison.lexpr()];
    match comparison.rexpr() {
        Node::NodeList(list) => operands.extend(list.iter()),
        other => operands.push(other),
    }
    Some((types, operands))
}

pub(super) fn is_constant(operand: Node<'_>) -> bool {
    match operand {
        Node::A_Const(_) | Node::ParamRef(_) => true,
        Node::TypeCast(cast) => matches!(cast.arg(), Node::A_Const(_)),
        _ => false,
    }
}

/// Whether a reference is to a column, and of one of the types, if there are any, in whichever
/// relation has one of that name.
fn is_of(node: Node<'_>, types: &[u32], facts: &Facts, catalog: &Catalog) -> bool {
    let Node::ColumnRef(column) = node else { return false };
    let Some(Node::String(name)) = column.fields().iter().next_back() else { return false };
    let name = name.sval().unwrap_or_default();
    let relations = facts.relations.iter().filter_map(|used| catalog.relation(used.relation?));
    let found: BTreeSet<u32> =
        relations.filter_map(|relation| Some(relation.column(name)?.type_oid)).collect();
    !found.is_empty() && (types.is_empty() || found.iter().all(|oid| types.contains(oid)))
}
