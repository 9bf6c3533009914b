//! Where in the file something stands: finds the keys around a position, so that an error can
//! name them, and the lines that hold a secret by mistake, so that no error shows them. Decides
//! nothing else.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::options::DuplicateKeyPolicy;
use serde_saphyr::{Location, NonFiniteFloatPolicy, Spanned};

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Position {
    pub(crate) fn of(location: Location) -> Option<Position> {
        // Line 0 is the parser's "unknown".
        let line = usize::try_from(location.line()).ok().filter(|line| *line > 0)?;
        Some(Position { line, column: usize::try_from(location.column()).ok()?.max(1) })
    }
}

/// Whether a key is meant to hold a secret, misspelt or not.
pub(crate) fn names_a_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    ["pass", "pwd", "secret", "token"].iter().any(|part| key.contains(part))
        || super::nearest(&key, &["password", "secret"]).is_some()
}

/// The file's shape: keys and positions, no values.
#[derive(Default)]
pub(crate) struct Outline {
    /// In the order of the file; a key comes before its value.
    nodes: Vec<Node>,
}

struct Node {
    at: Position,
    what: What,
    /// The keys above, outermost first; for a key and its value, itself included.
    path: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Key,
    Map,
    Other,
}

impl Outline {
    /// `None` if the text isn't YAML at all.
    pub(crate) fn of(text: &str) -> Option<Outline> {
        let options = serde_saphyr::options! {
            duplicate_keys: DuplicateKeyPolicy::PassThrough,
            non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        };
        let tree: Spanned<Tree> = serde_saphyr::from_str_with_options(text, options).ok()?;
        let mut outline = Outline::default();
        outline.add(tree, &mut Vec::new());
        Some(outline)
    }

    /// The keys above the key that stands at `at`.
    pub(crate) fn around_key(&self, at: Position) -> Option<&[String]> {
        let node = self.nodes.iter().find(|node| node.at == at && node.what == What::Key)?;
        node.path.split_last().map(|(_, above)| above)
    }

    /// The keys that lead to the map that begins at `at`.
    pub(crate) fn to_map(&self, at: Position) -> Option<&[String]> {
        self.nodes
            .iter()
            .find(|node| node.at == at && node.what == What::Map)
            .map(|node| node.path.as_slice())
    }

    /// The keys that lead to the value that begins at `at`.
    pub(crate) fn to_value(&self, at: Position) -> Option<&[String]> {
        self.nodes
            .iter()
            .find(|node| node.at == at && node.what != What::Key)
            .map(|node| node.path.as_slice())
    }

    /// Whether something on this line may be a secret: whatever follows a key that is meant for
    /// one and isn't a reference to it.
    pub(crate) fn holds_secret(&self, line: usize) -> bool {
        self.nodes.iter().enumerate().any(|(index, node)| {
            if node.what != What::Other || !is_secret(&node.path) {
                return false;
            }
            // It reaches to where the next thing begins, or to the end.
            let next = self.nodes.get(index + 1).map_or(usize::MAX, |next| next.at.line);
            line == node.at.line || (node.at.line < line && line < next)
        })
    }

    fn add(&mut self, tree: Spanned<Tree>, path: &mut Vec<String>) {
        let Some(at) = Position::of(tree.referenced) else {
            return;
        };
        let what = if matches!(tree.value, Tree::Map(_)) { What::Map } else { What::Other };
        self.nodes.push(Node { at, what, path: path.clone() });
        match tree.value {
            Tree::Scalar => {}
            Tree::List(items) => items.into_iter().for_each(|item| self.add(item, path)),
            Tree::Map(entries) => {
                for (key, value) in entries {
                    path.push(key.value);
                    if let Some(at) = Position::of(key.referenced) {
                        self.nodes.push(Node { at, what: What::Key, path: path.clone() });
                    }
                    self.add(value, path);
                    path.pop();
                }
            }
        }
    }
}

fn is_secret(path: &[String]) -> bool {
    let keys = match path {
        // A name says nothing about what it names.
        [map, _name, keys @ ..] if map == "connections" || map == "identities" => keys,
        keys => keys,
    };
    let Some(depth) = keys.iter().position(|key| names_a_secret(key)) else { return false };
    keys.get(depth + 1)
        .is_none_or(|below| !["env", "file", "command", "lifetime"].contains(&below.as_str()))
}

/// The parser bounds the depth (64), so recursion over this does too.
enum Tree {
    Scalar,
    List(Vec<Spanned<Tree>>),
    Map(Vec<(Spanned<String>, Spanned<Tree>)>),
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;

        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("anything")
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Tree, E> {
                Ok(Tree::Scalar)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Tree, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Map(entries))
            }
        }

        deserializer.deserialize_any(TreeVisitor)
    }
}
