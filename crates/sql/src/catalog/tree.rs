//! Expressions as the server keeps them (`pg_node_tree`): what is needed of them is the numbers of
//! what they call, and these stand behind a field's name. Nothing else is understood of them.
//!
//! Names and constants can't be taken for fields: spaces in names have a backslash before them,
//! constants are bytes in decimal. Should one be, too much is found, never too little.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

/// What an expression, or the query of a rule, names by number.
#[derive(Debug, Default)]
pub(super) struct Tree {
    pub(super) functions: Vec<u32>,
    pub(super) operators: Vec<u32>,
    pub(super) types: Vec<u32>,
    /// Columns of whatever relation; 0 is the row as a whole.
    pub(super) columns: Vec<u16>,
    /// The kinds of statements, by PostgreSQL's number.
    pub(super) commands: Vec<u32>,
    pub(super) on_conflict_update: bool,
    /// Relations in FROM.
    pub(super) relations: Vec<u32>,
    /// Relations that its statements write, by the lock that they take.
    pub(super) targets: Vec<u32>,
}

#[derive(Clone, Copy)]
enum Field {
    Function,
    Operator,
    Type,
    Column,
    Command,
    OnConflict,
    Relation,
    Lock,
}

/// ROW EXCLUSIVE.
const WRITE_LOCK: u32 = 3;

const FIELDS: [(&str, Field); 18] = [
    (":funcid ", Field::Function),
    (":aggfnoid ", Field::Function),
    (":winfnoid ", Field::Function),
    (":tsmhandler ", Field::Function),
    (":startInRangeFunc ", Field::Function),
    (":endInRangeFunc ", Field::Function),
    (":opno ", Field::Operator),
    // A list: "(o 97 97)".
    (":opnos (o ", Field::Operator),
    (":eqop ", Field::Operator),
    (":sortop ", Field::Operator),
    (":cycle_mark_neop ", Field::Operator),
    (":resulttype ", Field::Type),
    (":funcresulttype ", Field::Type),
    (":varattno ", Field::Column),
    (":commandType ", Field::Command),
    (":onConflict {", Field::OnConflict),
    // Of a relation in FROM, in this order.
    (":relid ", Field::Relation),
    (":rellockmode ", Field::Lock),
];

static NAMES: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::new(FIELDS.map(|(name, _)| name)).ok());

/// `None` if a field is not followed by what it should be.
pub(super) fn read(text: &str) -> Option<Tree> {
    let mut tree = Tree::default();
    let mut relation = 0;
    for found in NAMES.as_ref()?.find_iter(text) {
        let rest = text.get(found.end()..)?;
        let (_, field) = FIELDS.get(found.pattern().as_usize())?;
        let word = rest.split([' ', ')', '}']).next()?;
        let numbers = match field {
            Field::Function => &mut tree.functions,
            Field::Operator => &mut tree.operators,
            Field::Type => &mut tree.types,
            Field::Command => &mut tree.commands,
            Field::Column => {
                // System columns have negative numbers.
                tree.columns.extend(word.parse::<u16>());
                continue;
            }
            Field::OnConflict => {
                tree.on_conflict_update = true;
                continue;
            }
            Field::Relation => {
                relation = word.parse().ok()?;
                tree.relations.push(relation);
                continue;
            }
            Field::Lock => {
                tree.targets.extend((word.parse::<u32>() == Ok(WRITE_LOCK)).then_some(relation));
                continue;
            }
        };
        numbers.push(word.parse().ok()?);
        // The rest of a list.
        if text.get(found.range())?.ends_with("(o ") {
            let list = rest.split_once(')')?.0.split(' ').skip(1);
            for number in list {
                numbers.push(number.parse().ok()?);
            }
        }
    }
    Some(tree)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_behind_names() {
        let tree = read(
            "{OPEXPR :opno 521 :opfuncid 147 :opresulttype 16 :args ({VAR :varno 2 :varattno 1 \
             :vartype 23} {FUNCEXPR :funcid 4711 :funcresulttype 23 :args <>})} {ROWCOMPAREEXPR \
             :rctype 1 :opnos (o 97 98) :opfamilies (o 1976 1976) :largs <>} :sortop 664)",
        )
        .unwrap();
        assert_eq!(tree.functions, [4711]);
        assert_eq!(tree.operators, [521, 97, 98, 664]);
        assert_eq!(tree.types, [23]);
        assert_eq!(tree.columns, [1]);
        assert!(!tree.on_conflict_update && tree.targets.is_empty());
        let tree = read(
            ":relid 7 :inh true :relkind r :rellockmode 1 :relid 8 :relkind r :rellockmode 3 :onConflict {",
        );
        let tree = tree.unwrap();
        assert_eq!((tree.relations, tree.targets), (vec![7, 8], vec![8]));
        assert!(tree.on_conflict_update);
    }

    #[test]
    fn what_is_not_a_number_is_no_tree() {
        assert!(read(":funcid x").is_none());
        assert!(read(":opnos (o 97 x)").is_none());
        assert!(read(":opnos (o 97").is_none());
        assert!(read(":varattno -1").unwrap().columns.is_empty());
        assert!(read("").unwrap().functions.is_empty());
    }
}
