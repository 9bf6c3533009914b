//! JSON: what makes it of values calls besides, and what its syntax meant to older servers.
//!
//! The grammar is that of the newest server. What is syntax there, `JSON_SCALAR(x)` say, is a call of
//! somebody's function where the server has not heard of it yet.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::JsonExprOp;

use super::Walk;

impl<'w> Walk<'w> {
    /// Notes what an expression of JSON may call.
    pub(super) fn json(&mut self, node: Node<'w>) {
        self.makes_json();
        if let Some(name) = once_a_function(node) {
            self.may_be_call(name);
        }
    }

    /// A value whose type has a cast to json goes through it.
    pub(super) fn makes_json(&mut self) {
        self.casts.extend(self.catalog.casts_to(JSON));
        self.casts.extend(self.catalog.casts_to(JSONB));
    }

    /// Notes the functions of that name that aren't the server's own, and the types.
    pub(super) fn may_be_call(&mut self, name: &str) {
        let found = self.catalog.find_functions(None, name, None, self.path);
        let others: Vec<_> = found.filter(|id| !self.is_system(*id)).collect();
        self.note_functions(others);
        for oid in self.catalog.find_types(None, name, self.path) {
            self.casts_to(oid);
        }
    }
}

/// The name of the function that an older server takes it for.
fn once_a_function(node: Node<'_>) -> Option<&'static str> {
    Some(match node {
        Node::JsonParseExpr(_) => "json",
        Node::JsonScalarExpr(_) => "json_scalar",
        Node::JsonSerializeExpr(_) => "json_serialize",
        Node::JsonObjectConstructor(_) => "json_object",
        Node::JsonArrayConstructor(_) | Node::JsonArrayQueryConstructor(_) => "json_array",
        Node::JsonObjectAgg(_) => "json_objectagg",
        Node::JsonArrayAgg(_) => "json_arrayagg",
        Node::JsonFuncExpr(function) => match function.op {
            JsonExprOp::JSON_EXISTS_OP => "json_exists",
            JsonExprOp::JSON_QUERY_OP => "json_query",
            JsonExprOp::JSON_VALUE_OP => "json_value",
            _ => return None,
        },
        _ => return None,
    })
}

const JSON: u32 = 114;
const JSONB: u32 = 3802;

/// Functions of the server's own that make JSON of whatever they are given.
pub(super) const MAKE_JSON: [&str; 20] = [
    "array_to_json",
    "json_agg",
    "json_agg_strict",
    "json_build_array",
    "json_build_object",
    "json_object_agg",
    "json_object_agg_strict",
    "json_object_agg_unique",
    "json_object_agg_unique_strict",
    "jsonb_agg",
    "jsonb_agg_strict",
    "jsonb_build_array",
    "jsonb_build_object",
    "jsonb_object_agg",
    "jsonb_object_agg_strict",
    "jsonb_object_agg_unique",
    "jsonb_object_agg_unique_strict",
    "row_to_json",
    "to_json",
    "to_jsonb",
];
