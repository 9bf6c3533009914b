//! Expressions that a policy brings, for a mask or a row filter: read once, and written again so
//! that they mean the same in every session. Every function, operator and type of what is written
//! has `pg_catalog` before it, every operation its parentheses, and all of it is ASCII.
//!
//! Only what has no effect and reads nothing but its own row is understood; what masks or filters
//! there are is for others.

use std::fmt::{self, Write as _};

use pg_raw_parse::nodes::{
    A_Expr, A_Expr_Kind, BoolExprType, BoolTestType, ColumnRef, FuncCall, MinMaxOp, NullTestType,
    TypeName,
};
use pg_raw_parse::{ConstValue, Node};

use crate::catalog::{Catalog, Names, Path, Relation};
use crate::functions::Class;
use crate::lex::{Kind, token};
use crate::parse::{self, Limits, NotParsed};

/// Nobody writes a mask that is deeper.
const DEPTH_MAX: usize = 100;

/// An expression over columns of one relation, whichever that is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    pieces: Vec<Named>,
    /// Functions that it calls, with the number of their arguments.
    functions: Vec<(Box<str>, usize)>,
    operators: Vec<Box<str>>,
    types: Vec<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Named {
    Text(Box<str>),
    /// With the relation's name before it, if it is written.
    Column(Option<Box<str>>, Box<str>),
    Parameter(u32),
}

/// A piece of an expression over a certain relation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    Text(Box<str>),
    /// A column by its number.
    Column(u16),
    /// `$n`.
    Parameter(u32),
}

/// Why an expression can't be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    NotParsed(NotParsed),
    /// It has something that is not understood here.
    Construct(&'static str),
    NoSuchColumn(Box<str>),
    /// It is none of the server's own, or one that does or reads more than its arguments say.
    Function(Box<str>),
    Operator(Box<str>),
    Type(Box<str>),
}

impl Expression {
    pub fn read(text: &str) -> Result<Self, Wrong> {
        // Its parentheses must not end ours.
        let inside = balanced(text).ok_or(Wrong::Construct("a parenthesis that nothing opens"))?;
        inside.then_some(()).ok_or(Wrong::Construct("a semicolon"))?;
        let query = format!("SELECT ({text}\n)");
        let parsed = parse::parse(&query, &Limits::default()).map_err(Wrong::NotParsed)?;
        let statements = parsed.statements(&query);
        let [(_, statement)] = &*statements else {
            return Err(Wrong::Construct("several statements"));
        };
        let Node::SelectStmt(select) = statement.stmt() else {
            return Err(Wrong::Construct("no expression"));
        };
        let mut targets = select.target_list().iter();
        let (Some(target), None) = (targets.next(), targets.next()) else {
            return Err(Wrong::Construct("several values"));
        };
        let Node::ResTarget(target) = Node::from(target) else {
            return Err(Wrong::Construct("no expression"));
        };
        let mut writing = Writing::default();
        writing.expression(target.val(), 0)?;
        writing.flush();
        Ok(writing.read)
    }

    /// The names of the columns that it reads, each once.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for piece in &self.pieces {
            if let Named::Column(_, name) = piece
                && !names.contains(&&**name)
            {
                names.push(name);
            }
        }
        names
    }

    /// The numbers of its parameters, in the order of the text.
    pub fn parameters(&self) -> impl Iterator<Item = u32> {
        self.pieces.iter().filter_map(|piece| match piece {
            Named::Parameter(number) => Some(*number),
            Named::Text(_) | Named::Column(..) => None,
        })
    }

    /// The expression over the columns of a relation.
    pub fn over(&self, relation: &Relation, catalog: &Catalog) -> Result<Vec<Part>, Wrong> {
        let none = Names { search_path: &[], user: "", temporary: None, database: "" };
        let path = &catalog.path(&none);
        for (name, arguments) in &self.functions {
            if !all_pure(catalog, path, name, *arguments) {
                return Err(Wrong::Function(name.clone()));
            }
        }
        for name in &self.operators {
            if !is_system_operator(catalog, path, name) {
                return Err(Wrong::Operator(name.clone()));
            }
        }
        for name in &self.types {
            if catalog.type_named("pg_catalog", name).is_none() {
                return Err(Wrong::Type(name.clone()));
            }
        }
        let mut parts = Vec::with_capacity(self.pieces.len());
        for piece in &self.pieces {
            parts.push(match piece {
                Named::Text(text) => Part::Text(text.clone()),
                Named::Parameter(number) => Part::Parameter(*number),
                Named::Column(of, name) => {
                    let own = of.as_ref().is_none_or(|of| *of == relation.name);
                    let column = relation.column(name).filter(|_| own);
                    let column = column.ok_or_else(|| Wrong::NoSuchColumn(name.clone()))?;
                    Part::Column(column.number)
                }
            });
        }
        Ok(parts)
    }
}

/// A text as a constant, in ASCII: under `standard_conforming_strings`, as sessions have it.
pub fn constant(text: &str) -> String {
    if text.is_ascii() {
        return format!("'{}'", text.replace('\'', "''"));
    }
    let mut quoted = "U&'".to_owned();
    for letter in text.chars() {
        match letter {
            '\'' => quoted.push_str("''"),
            '\\' => quoted.push_str("\\\\"),
            letter if letter.is_ascii() => quoted.push(letter),
            letter => {
                let _infallible = write!(quoted, "\\+{:06x}", u32::from(letter));
            }
        }
    }
    quoted.push('\'');
    quoted
}

/// Whether every parenthesis is closed and there is no semicolon; `None` where one is closed too
/// often. What can't be lexed is for the parser to say.
fn balanced(text: &str) -> Option<bool> {
    let (mut position, mut depth) = (0, 0usize);
    while let Ok(Some(token)) = token(text, position) {
        position = token.end;
        match token.kind {
            Kind::Mark(b'(') => depth += 1,
            Kind::Mark(b')') => depth = depth.checked_sub(1)?,
            Kind::Mark(b';') => return Some(false),
            _ => {}
        }
    }
    Some(true)
}

struct Writing {
    read: Expression,
    text: String,
}

impl Default for Writing {
    fn default() -> Self {
        let (pieces, functions, operators, types) = Default::default();
        Self { read: Expression { pieces, functions, operators, types }, text: String::new() }
    }
}

impl Writing {
    fn flush(&mut self) {
        if !self.text.is_empty() {
            self.read.pieces.push(Named::Text(std::mem::take(&mut self.text).into()));
        }
    }

    fn piece(&mut self, piece: Named) {
        self.flush();
        self.read.pieces.push(piece);
    }

    /// By recursion: the depth has a bound, and the text is one of a policy.
    fn expression(&mut self, node: Node<'_>, depth: usize) -> Result<(), Wrong> {
        let depth = depth + 1;
        if depth > DEPTH_MAX {
            return Err(Wrong::Construct("too many operations in one another"));
        }
        match node {
            Node::ColumnRef(column) => self.column(column),
            Node::ParamRef(parameter) => {
                let number = u32::try_from(parameter.number);
                let number = number.map_err(|_| Wrong::Construct("a parameter"))?;
                self.piece(Named::Parameter(number));
                Ok(())
            }
            Node::A_Const(_) => self.constant(node),
            Node::A_Expr(operation) => self.operation(operation, depth),
            Node::BoolExpr(terms) => {
                let (word, not) = match terms.boolop {
                    BoolExprType::AND_EXPR => (" AND ", false),
                    BoolExprType::OR_EXPR => (" OR ", false),
                    _ => ("", true),
                };
                self.text.push_str(if not { "(NOT " } else { "(" });
                self.list(terms.args().iter(), word, depth)?;
                self.text.push(')');
                Ok(())
            }
            Node::NullTest(test) => {
                self.text.push('(');
                self.expression(test.arg(), depth)?;
                let is_null = test.nulltesttype == NullTestType::IS_NULL;
                self.text.push_str(if is_null { " IS NULL)" } else { " IS NOT NULL)" });
                Ok(())
            }
            Node::BooleanTest(test) => {
                self.text.push('(');
                self.expression(test.arg(), depth)?;
                self.text.push_str(match test.booltesttype {
                    BoolTestType::IS_TRUE => " IS TRUE)",
                    BoolTestType::IS_NOT_TRUE => " IS NOT TRUE)",
                    BoolTestType::IS_FALSE => " IS FALSE)",
                    BoolTestType::IS_NOT_FALSE => " IS NOT FALSE)",
                    BoolTestType::IS_UNKNOWN => " IS UNKNOWN)",
                    _ => " IS NOT UNKNOWN)",
                });
                Ok(())
            }
            Node::CoalesceExpr(all) => {
                self.text.push_str("COALESCE(");
                self.list(all.args().iter(), ", ", depth)?;
                self.text.push(')');
                Ok(())
            }
            Node::MinMaxExpr(all) => {
                let greatest = all.op == MinMaxOp::IS_GREATEST;
                self.text.push_str(if greatest { "GREATEST(" } else { "LEAST(" });
                self.list(all.args().iter(), ", ", depth)?;
                self.text.push(')');
                Ok(())
            }
            Node::CaseExpr(case) => {
                if !matches!(case.arg(), Node::None) {
                    return Err(Wrong::Construct("CASE with a value before WHEN"));
                }
                self.text.push_str("(CASE");
                for when in case.args().iter() {
                    let Node::CaseWhen(when) = when else {
                        return Err(Wrong::Construct("CASE"));
                    };
                    self.text.push_str(" WHEN ");
                    self.expression(when.expr(), depth)?;
                    self.text.push_str(" THEN ");
                    self.expression(when.result(), depth)?;
                }
                if !matches!(case.defresult(), Node::None) {
                    self.text.push_str(" ELSE ");
                    self.expression(case.defresult(), depth)?;
                }
                self.text.push_str(" END)");
                Ok(())
            }
            Node::TypeCast(cast) => {
                self.text.push('(');
                self.expression(cast.arg(), depth)?;
                self.text.push_str(")::");
                self.type_name(cast.type_name().ok_or(Wrong::Construct("a cast"))?)
            }
            Node::A_ArrayExpr(array) => {
                self.text.push_str("ARRAY[");
                self.list(array.elements().iter(), ", ", depth)?;
                self.text.push(']');
                Ok(())
            }
            Node::FuncCall(call) => self.call(call, depth),
            Node::SubLink(_) => Err(Wrong::Construct("a subquery")),
            Node::CollateClause(_) => Err(Wrong::Construct("COLLATE")),
            Node::SQLValueFunction(_) => {
                Err(Wrong::Construct("a word such as CURRENT_DATE or CURRENT_USER"))
            }
            Node::RowExpr(_) => Err(Wrong::Construct("a row")),
            _ => Err(Wrong::Construct("something that masks and filters do without")),
        }
    }

    fn list<'n>(
        &mut self,
        nodes: impl Iterator<Item = Node<'n>>,
        between: &str,
        depth: usize,
    ) -> Result<(), Wrong> {
        for (at, node) in nodes.enumerate() {
            if at > 0 {
                self.text.push_str(between);
            }
            self.expression(node, depth)?;
        }
        Ok(())
    }

    fn column(&mut self, column: &ColumnRef) -> Result<(), Wrong> {
        let names: Option<Vec<&str>> = column.fields().iter().map(Node::as_str).collect();
        let piece = match names.as_deref() {
            Some([name]) => Named::Column(None, (*name).into()),
            Some([of, name]) => Named::Column(Some((*of).into()), (*name).into()),
            Some(_) => return Err(Wrong::Construct("a column with more than one name before it")),
            None => return Err(Wrong::Construct("*")),
        };
        self.piece(piece);
        Ok(())
    }

    fn constant(&mut self, node: Node<'_>) -> Result<(), Wrong> {
        let Node::A_Const(value) = node else { return Err(Wrong::Construct("a constant")) };
        match value.val() {
            None => self.text.push_str("NULL"),
            Some(ConstValue::Integer(number)) => {
                let _infallible = write!(self.text, "({number})");
            }
            Some(ConstValue::Float(number)) => {
                let _infallible = write!(self.text, "({number})");
            }
            Some(ConstValue::Boolean(value)) => {
                self.text.push_str(if value { "TRUE" } else { "FALSE" });
            }
            Some(ConstValue::String(text)) => self.text.push_str(&constant(text)),
            Some(_) => {
                return Err(Wrong::Construct("a bit string"));
            }
        }
        Ok(())
    }

    fn operation(&mut self, operation: &A_Expr, depth: usize) -> Result<(), Wrong> {
        let names: Option<Vec<&str>> = operation.name().iter().map(Node::as_str).collect();
        let name = match names.as_deref() {
            Some([name] | ["pg_catalog", name]) => *name,
            _ => return Err(Wrong::Operator(names.unwrap_or_default().join(".").into())),
        };
        let (left, right) = (operation.lexpr(), operation.rexpr());
        match operation.kind {
            A_Expr_Kind::AEXPR_OP
            | A_Expr_Kind::AEXPR_LIKE
            | A_Expr_Kind::AEXPR_ILIKE
            | A_Expr_Kind::AEXPR_SIMILAR => self.infix(left, name, right, depth),
            A_Expr_Kind::AEXPR_OP_ANY | A_Expr_Kind::AEXPR_OP_ALL => {
                self.text.push('(');
                self.expression(left, depth)?;
                self.operator(name);
                let any = operation.kind == A_Expr_Kind::AEXPR_OP_ANY;
                self.text.push_str(if any { "ANY (" } else { "ALL (" });
                self.expression(right, depth)?;
                self.text.push_str("))");
                Ok(())
            }
            A_Expr_Kind::AEXPR_IN => {
                let Node::NodeList(values) = right else { return Err(Wrong::Construct("IN")) };
                let between = if name == "=" { " OR " } else { " AND " };
                self.text.push('(');
                for (at, value) in values.iter().enumerate() {
                    if at > 0 {
                        self.text.push_str(between);
                    }
                    self.infix(left, name, value, depth)?;
                }
                self.text.push(')');
                Ok(())
            }
            A_Expr_Kind::AEXPR_BETWEEN | A_Expr_Kind::AEXPR_NOT_BETWEEN => {
                let Node::NodeList(ends) = right else { return Err(Wrong::Construct("BETWEEN")) };
                let mut ends = ends.iter();
                let (Some(least), Some(most)) = (ends.next(), ends.next()) else {
                    return Err(Wrong::Construct("BETWEEN"));
                };
                let not = operation.kind == A_Expr_Kind::AEXPR_NOT_BETWEEN;
                let (from, word, to) = if not { ("<", " OR ", ">") } else { (">=", " AND ", "<=") };
                self.text.push('(');
                self.infix(left, from, least, depth)?;
                self.text.push_str(word);
                self.infix(left, to, most, depth)?;
                self.text.push(')');
                Ok(())
            }
            _ => Err(Wrong::Construct("IS DISTINCT FROM, NULLIF or BETWEEN SYMMETRIC")),
        }
    }

    fn infix(
        &mut self,
        left: Node<'_>,
        name: &str,
        right: Node<'_>,
        depth: usize,
    ) -> Result<(), Wrong> {
        self.text.push('(');
        if !matches!(left, Node::None) {
            self.expression(left, depth)?;
        }
        self.operator(name);
        self.expression(right, depth)?;
        self.text.push(')');
        Ok(())
    }

    fn operator(&mut self, name: &str) {
        // An operator has none but marks in its name, or the grammar would not have it as one.
        let _infallible = write!(self.text, " OPERATOR(pg_catalog.{name}) ");
        self.read.operators.push(name.into());
    }

    fn call(&mut self, call: &FuncCall, depth: usize) -> Result<(), Wrong> {
        let names: Option<Vec<&str>> = call.funcname().iter().map(Node::as_str).collect();
        let name = match names.as_deref() {
            Some([name] | ["pg_catalog", name]) => *name,
            _ => return Err(Wrong::Function(names.unwrap_or_default().join(".").into())),
        };
        let plain = !call.agg_star
            && !call.agg_distinct
            && !call.agg_within_group
            && !call.func_variadic
            && call.agg_order().is_empty()
            && matches!(call.agg_filter(), Node::None)
            && call.over().is_none();
        if !plain {
            return Err(Wrong::Construct("an aggregate or a window function"));
        }
        self.read.functions.push((name.into(), call.args().len()));
        let _infallible = write!(self.text, "pg_catalog.{}(", quoted(name));
        self.list(call.args().iter(), ", ", depth)?;
        self.text.push(')');
        Ok(())
    }

    fn type_name(&mut self, name: &TypeName) -> Result<(), Wrong> {
        let names: Option<Vec<&str>> = name.names().iter().map(|name| name.sval()).collect();
        let own = match names.as_deref() {
            Some([own] | ["pg_catalog", own]) => *own,
            _ => return Err(Wrong::Type(names.unwrap_or_default().join(".").into())),
        };
        if name.setof || name.pct_type {
            return Err(Wrong::Type(own.into()));
        }
        let _infallible = write!(self.text, "pg_catalog.{}", quoted(own));
        self.read.types.push(own.into());
        if !name.typmods().is_empty() {
            self.text.push('(');
            for (at, modifier) in name.typmods().iter().enumerate() {
                if at > 0 {
                    self.text.push_str(", ");
                }
                self.constant(modifier)?;
            }
            self.text.push(')');
        }
        if !name.array_bounds().is_empty() {
            self.text.push_str("[]");
        }
        Ok(())
    }
}

/// A name in quotes, which keep words from being taken for keywords.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Whether the server has functions of that name for so many arguments, and all are pure.
fn all_pure(catalog: &Catalog, path: &Path, name: &str, arguments: usize) -> bool {
    let found = catalog.find_functions(Some("pg_catalog"), name, arguments, path);
    let mut found = found.filter_map(|id| catalog.function(id)).peekable();
    found.peek().is_some()
        && found.all(|function| function.class == Some(Class::Pure) && !function.returns_set)
}

fn is_system_operator(catalog: &Catalog, path: &Path, name: &str) -> bool {
    let found = |prefix| catalog.find_operators(Some("pg_catalog"), name, prefix, path).0;
    found(false) || found(true)
}

/// As the end of a sentence.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotParsed(why) => write!(f, "{why}"),
            Self::Construct(what) => write!(f, "it has {what}"),
            Self::NoSuchColumn(name) => write!(f, "there is no column {name:?}"),
            Self::Function(name) => write!(
                f,
                "{name:?} is no function of PostgreSQL's own that reads nothing but its arguments"
            ),
            Self::Operator(name) => write!(f, "{name:?} is no operator of PostgreSQL's own"),
            Self::Type(name) => write!(f, "{name:?} is no type of PostgreSQL's own"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Result<String, Wrong> {
        let read = Expression::read(text)?;
        let pieces = read.pieces.iter().map(|piece| match piece {
            Named::Text(text) => text.to_string(),
            Named::Column(None, name) => format!("<{name}>"),
            Named::Column(Some(of), name) => format!("<{of}.{name}>"),
            Named::Parameter(number) => format!("<${number}>"),
        });
        Ok(pieces.collect())
    }

    #[test]
    fn everything_gets_its_schema_and_its_parentheses() {
        for (text, expected) in [
            ("a", "<a>"),
            ("t.\"A b\"", "<t.A b>"),
            ("a + b * 2", "(<a> OPERATOR(pg_catalog.+) (<b> OPERATOR(pg_catalog.*) (2)))"),
            ("(a + b) * -2", "((<a> OPERATOR(pg_catalog.+) <b>) OPERATOR(pg_catalog.*) (-2))"),
            ("- a", "( OPERATOR(pg_catalog.-) <a>)"),
            (
                "left(name, 1) || '*' -- a comment",
                "(pg_catalog.\"left\"(<name>, (1)) OPERATOR(pg_catalog.||) '*')",
            ),
            (
                "a in (1, 2) and not b",
                "(((<a> OPERATOR(pg_catalog.=) (1)) OR (<a> OPERATOR(pg_catalog.=) (2))) AND (NOT <b>))",
            ),
            ("a not in (1)", "((<a> OPERATOR(pg_catalog.<>) (1)))"),
            (
                "a between 1 and 2",
                "((<a> OPERATOR(pg_catalog.>=) (1)) AND (<a> OPERATOR(pg_catalog.<=) (2)))",
            ),
            ("a = any(array[$1, 'x'])", "(<a> OPERATOR(pg_catalog.=) ANY (ARRAY[<$1>, 'x']))"),
            ("a like 'x%'", "(<a> OPERATOR(pg_catalog.~~) 'x%')"),
            ("a is null", "(<a> IS NULL)"),
            ("a is not true", "(<a> IS NOT TRUE)"),
            ("a::varchar(3)", "(<a>)::pg_catalog.\"varchar\"((3))"),
            ("date '2020-01-01'", "('2020-01-01')::pg_catalog.\"date\""),
            ("a::text[]", "(<a>)::pg_catalog.\"text\"[]"),
            (
                "case when a then 'ü' else null end",
                "(CASE WHEN <a> THEN U&'\\+0000fc' ELSE NULL END)",
            ),
            ("greatest(a, coalesce(b, 1.5))", "GREATEST(<a>, COALESCE(<b>, (1.5)))"),
            ("extract(year from d)", "pg_catalog.\"extract\"('year', <d>)"),
        ] {
            assert_eq!(written(text).as_deref(), Ok(expected), "{text}");
            // What is written is read as the same.
            let again = expected.replace(['<', '>'], "");
            if !text.contains("<>") && !expected.contains(['<', '>', '$']) {
                assert_eq!(written(&again).as_deref(), Ok(&*again));
            }
        }
    }

    #[test]
    fn what_is_more_than_an_expression_is_refused() {
        for text in [
            "",
            "a, b",
            "*",
            "t.*",
            "a) FROM t WHERE (b",
            "1); DROP TABLE t; SELECT (1",
            "(SELECT 1)",
            "EXISTS (SELECT 1)",
            "count(*)",
            "sum(a) OVER ()",
            "count(a) FILTER (WHERE b)",
            "app.f(a)",
            "a OPERATOR(app.+) b",
            "a::app.t",
            "a COLLATE \"C\"",
            "current_user",
            "(a).b",
            "a[1]",
            "row(a)",
            "nullif(a, b)",
            "case a when 1 then 2 end",
            "a /* ",
        ] {
            assert!(written(text).is_err(), "{text}: {:?}", written(text));
        }
        let deep = format!("{}a{}", "(NOT ".repeat(200), ")".repeat(200));
        assert!(matches!(written(&deep), Err(Wrong::Construct(_))));
    }

    #[test]
    fn constants_are_ascii_and_end_where_they_should() {
        assert_eq!(constant("it's \\"), "'it''s \\'");
        assert_eq!(constant("ü'\\"), "U&'\\+0000fc''\\\\'");
        assert_eq!(quoted("a\"b"), "\"a\"\"b\"");
    }
}
