//! What the server calls a column of a result that the text gives no name.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{A_Expr_Kind, SetOperation, SubLinkType};

/// The name that the server gives to a column of a result which has no alias.
pub(super) fn figure_name(node: Node<'_>) -> &str {
    let mut node = node;
    // Names that are taken only if nothing better comes from further in.
    let mut weak = "?column?";
    loop {
        match node {
            Node::ColumnRef(column) => {
                return column.fields().iter().filter_map(Node::as_str).next_back().unwrap_or(weak);
            }
            Node::A_Indirection(indirection) => {
                let mut names = indirection.indirection().iter().filter_map(Node::as_str);
                if let Some(name) = names.next_back() {
                    return name;
                }
                node = indirection.arg();
            }
            Node::FuncCall(call) => {
                return call.funcname().iter().filter_map(Node::as_str).next_back().unwrap_or(weak);
            }
            Node::A_Expr(operation) => {
                return if operation.kind == A_Expr_Kind::AEXPR_NULLIF { "nullif" } else { weak };
            }
            Node::TypeCast(cast) => {
                let name = cast.type_name().and_then(|t| t.names().iter().next_back()?.sval());
                weak = name.unwrap_or(weak);
                node = cast.arg();
            }
            Node::CollateClause(collate) => node = collate.arg(),
            Node::GroupingFunc(_) => return "grouping",
            Node::MergeSupportFunc(_) => return "merge_action",
            Node::SubLink(link) => match link.sub_link_type {
                SubLinkType::EXISTS_SUBLINK => return "exists",
                SubLinkType::ARRAY_SUBLINK => return "array",
                SubLinkType::EXPR_SUBLINK => {
                    // Whatever its only column is called.
                    weak = "?column?";
                    let Node::SelectStmt(mut select) = link.subselect() else { return weak };
                    while select.op != SetOperation::SETOP_NONE {
                        let Some(left) = select.larg() else { return weak };
                        select = left;
                    }
                    if !select.values_lists().is_empty() {
                        return "column1";
                    }
                    let Some(target) = select.target_list().iter().next() else { return weak };
                    match target.name() {
                        Some(name) => return name,
                        None => node = target.val(),
                    }
                }
                _ => return weak,
            },
            Node::CaseExpr(case) => {
                if weak == "?column?" {
                    weak = "case";
                }
                match case.defresult() {
                    Node::None => return weak,
                    result => node = result,
                }
            }
            Node::A_ArrayExpr(_) => return "array",
            Node::RowExpr(_) => return "row",
            Node::CoalesceExpr(_) => return "coalesce",
            Node::MinMaxExpr(least) => {
                return if least.op == pg_raw_parse::nodes::MinMaxOp::IS_GREATEST {
                    "greatest"
                } else {
                    "least"
                };
            }
            Node::SQLValueFunction(function) => return sql_value_name(function.op),
            Node::XmlExpr(xml) => return xml_name(xml.op),
            Node::XmlSerialize(_) => return "xmlserialize",
            Node::JsonParseExpr(_) => return "json",
            Node::JsonScalarExpr(_) => return "json_scalar",
            Node::JsonSerializeExpr(_) => return "json_serialize",
            Node::JsonObjectConstructor(_) => return "json_object",
            Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => {
                return "json_array";
            }
            Node::JsonObjectAgg(_) => return "json_objectagg",
            Node::JsonArrayAgg(_) => return "json_arrayagg",
            Node::JsonFuncExpr(function) => return json_name(function.op),
            _ => return weak,
        }
    }
}

fn sql_value_name(op: u32) -> &'static str {
    use pg_raw_parse::nodes::SQLValueFunctionOp as Op;
    match op {
        Op::SVFOP_CURRENT_DATE => "current_date",
        Op::SVFOP_CURRENT_TIME | Op::SVFOP_CURRENT_TIME_N => "current_time",
        Op::SVFOP_CURRENT_TIMESTAMP | Op::SVFOP_CURRENT_TIMESTAMP_N => "current_timestamp",
        Op::SVFOP_LOCALTIME | Op::SVFOP_LOCALTIME_N => "localtime",
        Op::SVFOP_LOCALTIMESTAMP | Op::SVFOP_LOCALTIMESTAMP_N => "localtimestamp",
        Op::SVFOP_CURRENT_ROLE => "current_role",
        Op::SVFOP_CURRENT_USER => "current_user",
        Op::SVFOP_USER => "user",
        Op::SVFOP_SESSION_USER => "session_user",
        Op::SVFOP_CURRENT_CATALOG => "current_catalog",
        Op::SVFOP_CURRENT_SCHEMA => "current_schema",
        _ => "?column?",
    }
}

fn xml_name(op: u32) -> &'static str {
    use pg_raw_parse::nodes::XmlExprOp as Op;
    match op {
        Op::IS_XMLCONCAT => "xmlconcat",
        Op::IS_XMLELEMENT => "xmlelement",
        Op::IS_XMLFOREST => "xmlforest",
        Op::IS_XMLPARSE => "xmlparse",
        Op::IS_XMLPI => "xmlpi",
        Op::IS_XMLROOT => "xmlroot",
        _ => "?column?",
    }
}

fn json_name(op: u32) -> &'static str {
    use pg_raw_parse::nodes::JsonExprOp as Op;
    match op {
        Op::JSON_EXISTS_OP => "json_exists",
        Op::JSON_QUERY_OP => "json_query",
        Op::JSON_VALUE_OP => "json_value",
        _ => "?column?",
    }
}
