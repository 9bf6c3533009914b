//! The nodes of PostgreSQL's raw parse trees that this crate understands, and what each is made of.
//!
//! The table names every field of every such node; a test compares it with the grammar's own
//! list, so that a field which a newer grammar adds can't stay unseen. What a field means is for
//! the walk; this only knows where the nodes below it are. A node that isn't here is unknown.

use pg_raw_parse::Node;
use pg_raw_parse::nodes::{GrantStmt, GrantTargetType, ObjectType};

/// A node of a kind that the table does not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownNode;

macro_rules! nodes {
    ($( $kind:ident { $( $class:ident $field:ident ),* } )*) => {
        /// Adds the nodes right below `node`.
        pub(crate) fn children<'t>(node: Node<'t>, found: &mut Vec<Node<'t>>) -> Result<(), UnknownNode> {
            match node {
                Node::None => {}
                Node::NodeList(list) => found.extend(list.iter()),
                $( Node::$kind(_node) => { $( nodes!(@child $class _node $field found); )* } )*
                _ => return Err(UnknownNode),
            }
            Ok(())
        }

        /// Where the node is in memory, which tells one from another. Lists and nothing have none.
        pub(crate) fn address(node: Node<'_>) -> Option<usize> {
            match node {
                $( Node::$kind(node) => Some(std::ptr::from_ref(node).addr()), )*
                _ => None,
            }
        }

        #[cfg(test)]
        const TABLE: &[(&str, &[(&str, &str)])] =
            &[ $( (stringify!($kind), &[ $( (stringify!($class), stringify!($field)) ),* ]) ),* ];
    };
    (@child node $node:ident $field:ident $found:ident) => { $found.push($node.$field()) };
    (@child one $node:ident $field:ident $found:ident) => { $found.extend($node.$field().map(Node::from)) };
    (@child list $node:ident $field:ident $found:ident) => { $found.extend($node.$field().iter().map(Node::from)) };
    (@child granted $node:ident $field:ident $found:ident) => {
        if grants_relations($node) {
            $found.extend($node.$field().iter().map(Node::from));
        }
    };
    (@child $class:ident $node:ident $field:ident $found:ident) => {};
}

// `node`, `one`, `list`: a node of any kind, one of a certain kind, a list of them. `text`: a name
// or a value. `plain`: a number, a flag, a place. `unset`: what only the server's analysis fills.
// `granted`: a list of relations, or else of mere names, see below.
nodes! {
    A_ArrayExpr { list elements, plain list_start, plain list_end, plain location }
    A_Const { text val, plain isnull, plain location }
    A_Expr { plain kind, list name, node lexpr, node rexpr, plain rexpr_list_start, plain rexpr_list_end, plain location }
    A_Indices { plain is_slice, node lidx, node uidx }
    A_Indirection { node arg, list indirection }
    A_Star {}
    Alias { text aliasname, list colnames }
    BitString { text bsval }
    BoolExpr { plain boolop, list args, plain location }
    Boolean { plain boolval }
    BooleanTest { node arg, plain booltesttype, plain location }
    CallStmt { one funccall, unset funcexpr, list outargs }
    CaseExpr { plain casetype, plain casecollid, node arg, list args, node defresult, plain location }
    CaseWhen { node expr, node result, plain location }
    ClosePortalStmt { text portalname }
    CoalesceExpr { plain coalescetype, plain coalescecollid, list args, plain location }
    CollateClause { node arg, list collname, plain location }
    ColumnDef { text colname, one type_name, text compression, plain inhcount, plain is_local, plain is_not_null, plain is_from_type, plain storage, text storage_name, node raw_default, node cooked_default, plain identity, one identity_sequence, plain generated, one coll_clause, plain coll_oid, list constraints, list fdwoptions, plain location }
    ColumnRef { list fields, plain location }
    CommonTableExpr { text ctename, list aliascolnames, plain ctematerialized, node ctequery, one search_clause, one cycle_clause, plain location, plain cterecursive, plain cterefcount, list ctecolnames, unset ctecoltypes, unset ctecoltypmods, unset ctecolcollations }
    CopyStmt { one relation, node query, list attlist, plain is_from, plain is_program, text filename, list options, node where_clause }
    CreateTableAsStmt { node query, one into, plain objtype, plain is_select_into, plain if_not_exists }
    CTECycleClause { list cycle_col_list, text cycle_mark_column, node cycle_mark_value, node cycle_mark_default, text cycle_path_column, plain location, plain cycle_mark_type, plain cycle_mark_typmod, plain cycle_mark_collation, plain cycle_mark_neop }
    CTESearchClause { list search_col_list, plain search_breadth_first, text search_seq_column, plain location }
    CurrentOfExpr { plain cvarno, text cursor_name, plain cursor_param }
    DeallocateStmt { text name, plain isall, plain location }
    DeclareCursorStmt { text portalname, plain options, node query }
    DefElem { text defnamespace, text defname, node arg, plain defaction, plain location }
    DeleteStmt { one relation, list using_clause, node where_clause, one returning_clause, one with_clause }
    DiscardStmt { plain target }
    ExecuteStmt { text name, list params }
    ExplainStmt { node query, list options }
    FetchStmt { plain direction, plain how_many, text portalname, plain ismove }
    Float { text fval }
    FuncCall { list funcname, list args, list agg_order, node agg_filter, one over, plain agg_within_group, plain agg_star, plain agg_distinct, plain func_variadic, plain funcformat, plain location }
    GroupingFunc { list args, list refs, list cols, plain agglevelsup, plain location }
    GroupingSet { plain kind, list content, plain location }
    IndexElem { text name, node expr, text indexcolname, list collation, list opclass, list opclassopts, plain ordering, plain nulls_ordering }
    InferClause { list index_elems, node where_clause, text conname, plain location }
    InsertStmt { one relation, list cols, node select_stmt, one on_conflict_clause, one returning_clause, one with_clause, plain override_ }
    Integer { plain ival }
    IntoClause { one rel, list col_names, text access_method, list options, plain on_commit, text table_space_name, one view_query, plain skip_data }
    JoinExpr { plain jointype, plain is_natural, node larg, node rarg, list using_clause, one join_using_alias, node quals, one alias, plain rtindex }
    JsonAggConstructor { one output, node agg_filter, list agg_order, one over, plain location }
    JsonArgument { one val, text name }
    JsonArrayAgg { one constructor, one arg, plain absent_on_null }
    JsonArrayConstructor { list exprs, one output, plain absent_on_null, plain location }
    JsonArrayQueryConstructor { node query, one output, one format, plain absent_on_null, plain location }
    JsonBehavior { plain btype, node expr, plain coerce, plain location }
    JsonFormat { plain format_type, plain encoding, plain location }
    JsonFuncExpr { plain op, text column_name, one context_item, node pathspec, list passing, one output, one on_empty, one on_error, plain wrapper, plain quotes, plain location }
    JsonIsPredicate { node expr, one format, plain item_type, plain unique_keys, plain location }
    JsonKeyValue { node key, one value }
    JsonObjectAgg { one constructor, one arg, plain absent_on_null, plain unique }
    JsonObjectConstructor { list exprs, one output, plain absent_on_null, plain unique, plain location }
    JsonOutput { one type_name, one returning }
    JsonParseExpr { one expr, one output, plain unique_keys, plain location }
    JsonReturning { one format, plain typid, plain typmod }
    JsonScalarExpr { node expr, one output, plain location }
    JsonSerializeExpr { one expr, one output, plain location }
    JsonTable { one context_item, one pathspec, list passing, list columns, one on_error, one alias, plain lateral, plain location }
    JsonTableColumn { plain coltype, text name, one type_name, one pathspec, one format, plain wrapper, plain quotes, list columns, one on_empty, one on_error, plain location }
    JsonTablePathSpec { node string, text name, plain name_location, plain location }
    JsonValueExpr { node raw_expr, node formatted_expr, one format }
    ListenStmt { text conditionname }
    LockingClause { list locked_rels, plain strength, plain wait_policy }
    LockStmt { list relations, plain mode, plain nowait }
    MergeStmt { one relation, node source_relation, node join_condition, list merge_when_clauses, one returning_clause, one with_clause }
    MergeSupportFunc { plain msftype, plain msfcollid, plain location }
    MergeWhenClause { plain match_kind, plain command_type, plain override_, node condition, list target_list, list values }
    MinMaxExpr { plain minmaxtype, plain minmaxcollid, plain inputcollid, plain op, list args, plain location }
    MultiAssignRef { node source, plain colno, plain ncolumns }
    NamedArgExpr { node arg, text name, plain argnumber, plain location }
    NotifyStmt { text conditionname, text payload }
    NullTest { node arg, plain nulltesttype, plain argisrow, plain location }
    OnConflictClause { plain action, one infer, list target_list, node where_clause, plain location }
    ParamRef { plain number, plain location }
    PrepareStmt { text name, list argtypes, node query }
    RangeFunction { plain lateral, plain ordinality, plain is_rowsfrom, list functions, one alias, list coldeflist }
    RangeSubselect { plain lateral, node subquery, one alias }
    RangeTableFunc { plain lateral, node docexpr, node rowexpr, list namespaces, list columns, one alias, plain location }
    RangeTableFuncCol { text colname, one type_name, plain for_ordinality, plain is_not_null, node colexpr, node coldefexpr, plain location }
    RangeTableSample { node relation, list method, list args, node repeatable, plain location }
    RangeVar { text catalogname, text schemaname, text relname, plain inh, plain relpersistence, one alias, plain location }
    ResTarget { text name, list indirection, node val, plain location }
    ReturningClause { list options, list exprs }
    ReturningOption { plain option, text value, plain location }
    RowExpr { list args, plain row_typeid, plain row_format, list colnames, plain location }
    SelectStmt { list distinct_clause, one into_clause, list target_list, list from_clause, node where_clause, list group_clause, plain group_distinct, node having_clause, list window_clause, list values_lists, list sort_clause, node limit_offset, node limit_count, plain limit_option, list locking_clause, one with_clause, plain op, plain all, one larg, one rarg }
    SetToDefault { plain type_id, plain type_mod, plain collation, plain location }
    SortBy { node node, plain sortby_dir, plain sortby_nulls, list use_op, plain location }
    SQLValueFunction { plain op, plain typmod, plain location }
    String { text sval }
    SubLink { plain sub_link_type, plain sub_link_id, node testexpr, list oper_name, node subselect, plain location }
    TransactionStmt { plain kind, list options, text savepoint_name, text gid, plain chain, plain location }
    TruncateStmt { list relations, plain restart_seqs, plain behavior }
    TypeCast { node arg, one type_name, plain location }
    TypeName { list names, plain type_oid, plain setof, plain pct_type, list typmods, plain typemod, list array_bounds, plain location }
    UnlistenStmt { text conditionname }
    UpdateStmt { one relation, list target_list, node where_clause, list from_clause, one returning_clause, one with_clause }
    VacuumRelation { one relation, plain oid, list va_cols }
    VacuumStmt { list options, list rels, plain is_vacuumcmd }
    VariableSetStmt { plain kind, text name, list args, plain jumble_args, plain is_local, plain location }
    VariableShowStmt { text name }
    WindowDef { text name, text refname, list partition_clause, list order_clause, plain frame_options, node start_offset, node end_offset, plain location }
    WithClause { list ctes, plain recursive, plain location }
    XmlExpr { plain op, text name, list named_args, list arg_names, list args, plain xmloption, plain indent, plain typmod, plain location }
    XmlSerialize { plain xmloption, node expr, one type_name, plain indent, plain location }

    AccessPriv { text priv_name, list cols }
    AlterCollationStmt { list collname }
    AlterDatabaseRefreshCollStmt { text dbname }
    AlterDatabaseSetStmt { text dbname, one setstmt }
    AlterDatabaseStmt { text dbname, list options }
    AlterDefaultPrivilegesStmt { list options, one action }
    AlterDomainStmt { plain subtype, list type_name, text name, node def, plain behavior, plain missing_ok }
    AlterEnumStmt { list type_name, text old_val, text new_val, text new_val_neighbor, plain new_val_is_after, plain skip_if_new_val_exists }
    AlterEventTrigStmt { text trigname, plain tgenabled }
    AlterExtensionContentsStmt { text extname, plain action, plain objtype, node object }
    AlterExtensionStmt { text extname, list options }
    AlterFdwStmt { text fdwname, list func_options, list options }
    AlterForeignServerStmt { text servername, text version, list options, plain has_version }
    AlterFunctionStmt { plain objtype, one func, list actions }
    AlterObjectDependsStmt { plain object_type, one relation, node object, one extname, plain remove }
    AlterObjectSchemaStmt { plain object_type, one relation, node object, text newschema, plain missing_ok }
    AlterOperatorStmt { one opername, list options }
    AlterOpFamilyStmt { list opfamilyname, text amname, plain is_drop, list items }
    AlterOwnerStmt { plain object_type, one relation, node object, one newowner }
    AlterPolicyStmt { text policy_name, one table, list roles, node qual, node with_check }
    AlterPublicationStmt { text pubname, list options, list pubobjects, plain for_all_tables, plain action }
    AlterRoleSetStmt { one role, text database, one setstmt }
    AlterRoleStmt { one role, list options, plain action }
    AlterSeqStmt { one sequence, list options, plain for_identity, plain missing_ok }
    AlterStatsStmt { list defnames, node stxstattarget, plain missing_ok }
    AlterSubscriptionStmt { plain kind, text subname, text conninfo, list publication, list options }
    AlterSystemStmt { one setstmt }
    AlterTableCmd { plain subtype, text name, plain num, one newowner, node def, plain behavior, plain missing_ok, plain recurse }
    AlterTableMoveAllStmt { text orig_tablespacename, plain objtype, list roles, text new_tablespacename, plain nowait }
    AlterTableSpaceOptionsStmt { text tablespacename, list options, plain is_reset }
    AlterTableStmt { one relation, list cmds, plain objtype, plain missing_ok }
    AlterTSConfigurationStmt { plain kind, list cfgname, list tokentype, list dicts, plain override_, plain replace, plain missing_ok }
    AlterTSDictionaryStmt { list dictname, list options }
    AlterTypeStmt { list type_name, list options }
    AlterUserMappingStmt { one user, text servername, list options }
    ATAlterConstraint { text conname, plain alter_enforceability, plain is_enforced, plain alter_deferrability, plain deferrable, plain initdeferred, plain alter_inheritability, plain noinherit }
    CheckPointStmt {}
    ClusterStmt { one relation, text indexname, list params }
    CommentStmt { plain objtype, node object, text comment }
    CompositeTypeStmt { one typevar, list coldeflist }
    Constraint { plain contype, text conname, plain deferrable, plain initdeferred, plain is_enforced, plain skip_validation, plain initially_valid, plain is_no_inherit, node raw_expr, text cooked_expr, plain generated_when, plain generated_kind, plain nulls_not_distinct, list keys, plain without_overlaps, list including, list exclusions, list options, text indexname, text indexspace, plain reset_default_tblspc, text access_method, node where_clause, one pktable, list fk_attrs, list pk_attrs, plain fk_with_period, plain pk_with_period, plain fk_matchtype, plain fk_upd_action, plain fk_del_action, list fk_del_set_cols, list old_conpfeqop, plain old_pktable_oid, plain location }
    ConstraintsSetStmt { list constraints, plain deferred }
    CreateAmStmt { text amname, list handler_name, plain amtype }
    CreateCastStmt { one sourcetype, one targettype, one func, plain context, plain inout }
    CreateConversionStmt { list conversion_name, text for_encoding_name, text to_encoding_name, list func_name, plain def }
    CreatedbStmt { text dbname, list options }
    CreateDomainStmt { list domainname, one type_name, one coll_clause, list constraints }
    CreateEnumStmt { list type_name, list vals }
    CreateEventTrigStmt { text trigname, text eventname, list whenclause, list funcname }
    CreateExtensionStmt { text extname, plain if_not_exists, list options }
    CreateFdwStmt { text fdwname, list func_options, list options }
    CreateForeignServerStmt { text servername, text servertype, text version, text fdwname, plain if_not_exists, list options }
    CreateFunctionStmt { plain is_procedure, plain replace, list funcname, list parameters, one return_type, list options, node sql_body }
    CreateOpClassItem { plain itemtype, one name, plain number, list order_family, list class_args, one storedtype }
    CreateOpClassStmt { list opclassname, list opfamilyname, text amname, one datatype, list items, plain is_default }
    CreateOpFamilyStmt { list opfamilyname, text amname }
    CreatePLangStmt { plain replace, text plname, list plhandler, list plinline, list plvalidator, plain pltrusted }
    CreatePolicyStmt { text policy_name, one table, text cmd_name, plain permissive, list roles, node qual, node with_check }
    CreatePublicationStmt { text pubname, list options, list pubobjects, plain for_all_tables }
    CreateRangeStmt { list type_name, list params }
    CreateRoleStmt { plain stmt_type, text role, list options }
    CreateSchemaStmt { text schemaname, one authrole, list schema_elts, plain if_not_exists }
    CreateSeqStmt { one sequence, list options, plain owner_id, plain for_identity, plain if_not_exists }
    CreateStatsStmt { list defnames, list stat_types, list exprs, list relations, text stxcomment, plain transformed, plain if_not_exists }
    CreateStmt { one relation, list table_elts, list inh_relations, one partbound, one partspec, one of_typename, list constraints, list nnconstraints, list options, plain oncommit, text tablespacename, text access_method, plain if_not_exists }
    CreateSubscriptionStmt { text subname, text conninfo, list publication, list options }
    CreateTableSpaceStmt { text tablespacename, one owner, text location, list options }
    CreateTransformStmt { plain replace, one type_name, text lang, one fromsql, one tosql }
    CreateTrigStmt { plain replace, plain isconstraint, text trigname, one relation, list funcname, list args, plain row, plain timing, plain events, list columns, node when_clause, list transition_rels, plain deferrable, plain initdeferred, one constrrel }
    CreateUserMappingStmt { one user, text servername, plain if_not_exists, list options }
    DefineStmt { plain kind, plain oldstyle, list defnames, list args, list definition, plain if_not_exists, plain replace }
    DoStmt { list args }
    DropdbStmt { text dbname, plain missing_ok, list options }
    DropOwnedStmt { list roles, plain behavior }
    DropRoleStmt { list roles, plain missing_ok }
    DropStmt { list objects, plain remove_type, plain behavior, plain missing_ok, plain concurrent }
    DropSubscriptionStmt { text subname, plain missing_ok, plain behavior }
    DropTableSpaceStmt { text tablespacename, plain missing_ok }
    DropUserMappingStmt { one user, text servername, plain missing_ok }
    FunctionParameter { text name, one arg_type, plain mode, node defexpr, plain location }
    GrantRoleStmt { list granted_roles, list grantee_roles, plain is_grant, list opt, one grantor, plain behavior }
    GrantStmt { plain is_grant, plain targtype, plain objtype, granted objects, list privileges, list grantees, plain grant_option, one grantor, plain behavior }
    ImportForeignSchemaStmt { text server_name, text remote_schema, text local_schema, plain list_type, list table_list, list options }
    IndexStmt { text idxname, one relation, text access_method, text table_space, list index_params, list index_including_params, list options, node where_clause, list exclude_op_names, text idxcomment, plain index_oid, plain old_number, plain old_create_subid, plain old_first_relfilelocator_subid, plain unique, plain nulls_not_distinct, plain primary, plain isconstraint, plain iswithoutoverlaps, plain deferrable, plain initdeferred, plain transformed, plain concurrent, plain if_not_exists, plain reset_default_tblspc }
    LoadStmt { text filename }
    ObjectWithArgs { list objname, list objargs, list objfuncargs, plain args_unspecified }
    PartitionBoundSpec { plain strategy, plain is_default, plain modulus, plain remainder, list listdatums, list lowerdatums, list upperdatums, plain location }
    PartitionCmd { one name, one bound, plain concurrent }
    PartitionElem { text name, node expr, list collation, list opclass, plain location }
    PartitionRangeDatum { plain kind, node value, plain location }
    PartitionSpec { plain strategy, list part_params, plain location }
    PublicationObjSpec { plain pubobjtype, text name, one pubtable, plain location }
    PublicationTable { one relation, node where_clause, list columns }
    ReassignOwnedStmt { list roles, one newrole }
    RefreshMatViewStmt { plain concurrent, plain skip_data, one relation }
    ReindexStmt { plain kind, one relation, text name, list params }
    RenameStmt { plain rename_type, plain relation_type, one relation, node object, text subname, text newname, plain behavior, plain missing_ok }
    ReplicaIdentityStmt { plain identity_type, text name }
    ReturnStmt { node returnval }
    RoleSpec { plain roletype, text rolename, plain location }
    RuleStmt { one relation, text rulename, node where_clause, plain event, plain instead, list actions, plain replace }
    SecLabelStmt { plain objtype, node object, text provider, text label }
    StatsElem { text name, node expr }
    TableLikeClause { one relation, plain options, plain relation_oid }
    TriggerTransition { text name, plain is_new, plain is_table }
    ViewStmt { one view, list aliases, node query, plain replace, list options, plain with_check_option }
}

/// Whether a GRANT is on relations that it names. The bindings take the objects of every GRANT for
/// such and panic at others, which are names and signatures, and of which nothing is run or read.
pub(crate) fn grants_relations(grant: &GrantStmt) -> bool {
    grant.targtype == GrantTargetType::ACL_TARGET_OBJECT
        && matches!(grant.objtype, ObjectType::OBJECT_TABLE | ObjectType::OBJECT_SEQUENCE)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    /// The structs of the grammar's own headers: for each its fields, by name, with their types.
    fn grammar() -> BTreeMap<String, BTreeMap<String, String>> {
        let rustc = Command::new("rustc").arg("-vV").output().unwrap();
        let about = String::from_utf8(rustc.stdout).unwrap();
        let host = about.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        // What is only for other machines need not be there.
        let output = Command::new(env!("CARGO"))
            .args(["metadata", "--format-version", "1", "--offline", "--locked"])
            .args(["--filter-platform", host])
            .args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        let package = packages.iter().find(|p| p["name"] == "pg_raw_parse").unwrap();
        let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
        let headers = manifest.parent().unwrap().join("libpg_query/src/postgres/include/nodes");
        let mut structs = BTreeMap::new();
        for header in ["parsenodes.h", "primnodes.h", "value.h"] {
            structs_of(&std::fs::read_to_string(headers.join(header)).unwrap(), &mut structs);
        }
        assert!(structs.len() > 200);
        structs
    }

    fn structs_of(header: &str, structs: &mut BTreeMap<String, BTreeMap<String, String>>) {
        let mut code = String::new();
        for (number, part) in header.split("/*").enumerate() {
            code += if number == 0 { part } else { part.split_once("*/").unwrap().1 };
        }
        // Some are declared before their typedef.
        let code = code.replace("\nstruct ", "\ntypedef struct ");
        for definition in code.split("typedef struct ").skip(1) {
            let Some((name, rest)) = definition.split_once('{') else { continue };
            let Some((body, _)) = rest.split_once("\n}") else { continue };
            let fields = body.split(';').filter_map(|field| {
                let field = match field.split_once("pg_node_attr") {
                    Some((declared, _)) if !declared.trim().is_empty() => declared,
                    // An attribute of the struct itself, before its first field.
                    Some((_, rest)) => rest.rsplit_once(')')?.1,
                    None => field,
                };
                let field = field.trim();
                let start = field.rfind(|c: char| !(c.is_alphanumeric() || c == '_'))? + 1;
                let (c_type, field) = field.split_at(start);
                Some((plain_name(field), c_type.split_whitespace().collect::<String>()))
            });
            let fields = fields.filter(|(name, _)| name != "type" && name != "xpr").collect();
            structs.insert(name.trim().to_owned(), fields);
        }
    }

    /// `hasTargetSRFs`, `has_target_sr_fs` and `override_` differ in nothing but style.
    fn plain_name(name: &str) -> String {
        name.replace('_', "").to_lowercase()
    }

    #[test]
    fn every_field_of_the_grammar_is_in_the_table() {
        let structs = grammar();
        for (kind, fields) in TABLE {
            let theirs = &structs[*kind];
            let ours: BTreeMap<String, &str> =
                fields.iter().map(|(class, name)| (plain_name(name), *class)).collect();
            assert_eq!(
                theirs.keys().collect::<Vec<_>>(),
                ours.keys().collect::<Vec<_>>(),
                "{kind}"
            );
            for (name, c_type) in theirs {
                let fits = match ours[name] {
                    "node" => matches!(&**c_type, "Node*" | "Expr*"),
                    "list" | "granted" => c_type == "List*",
                    "unset" => c_type.ends_with('*'),
                    "one" => c_type.ends_with('*') && !c_type.ends_with("char*"),
                    "text" => matches!(&**c_type, "char*" | "constchar*" | "unionValUnion"),
                    "plain" => !c_type.ends_with('*'),
                    class => panic!("{class}"),
                };
                assert!(fits, "{kind}.{name} is {c_type}, not {}", ours[name]);
            }
        }
    }

    #[test]
    fn what_the_table_lacks_is_unknown() {
        let tree = pg_raw_parse::parse("CREATE FOREIGN TABLE a (b int) SERVER c").unwrap();
        let node = tree.stmts().next().unwrap();
        assert_eq!(children(node, &mut Vec::new()), Err(UnknownNode));
    }
}
