//! A catalog written down as text, made into the rows that a server would give.

use std::collections::{HashMap, HashSet};

use sql::catalog::{Builder, Catalog, Read};

/// The catalog of `catalog.txt`. Each line makes one thing:
///
/// - `schema NAME`
/// - `table NAME (COLUMN TYPE, …)`, likewise `view`, `invoker` (a view with the invoker's rights),
///   `materialized`, `sequence`, `composite`
/// - `inherits CHILD PARENT`
/// - `function NAME (TYPE, …) TYPE`, likewise `aggregate`, `procedure`, `definer` (a function with
///   its owner's rights); `OUT name, …` at the end, `OF extension` behind all
/// - `operator NAME FUNCTION`, `prefix NAME FUNCTION`
/// - `cast TYPE FUNCTION i|a|e`
/// - `reads VIEW TABLE COLUMN`
/// - `owns TABLE COLUMN SEQUENCE`
/// - `index NAME TABLE`, `statistics NAME TABLE`
/// - `trigger TABLE FUNCTION TYPE`, the type as the server's number for when it runs
/// - `constraint TABLE NAME KIND (NUMBER, …)`, of a foreign key with ` TABLE (NUMBER, …)` at the end
/// - `domain NAME TYPE`, before any table that has it; `check DOMAIN FUNCTION`
pub(crate) fn snapshot() -> Catalog {
    read(include_str!("catalog.txt"))
}

/// Without the lines that have the word.
pub(crate) fn snapshot_without(word: &str) -> Catalog {
    let lines = include_str!("catalog.txt").lines().filter(|line| !line.contains(word));
    read(&lines.collect::<Vec<_>>().join("\n"))
}

pub(crate) fn read(text: &str) -> Catalog {
    let mut rows = Rows::default();
    for schema in ["pg_catalog", "app", "public", "pg_temp_3"] {
        rows.schema(schema);
    }
    for name in ["text", "varchar", "regclass"] {
        rows.type_of(name);
    }
    for line in text.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (kind, rest) = line.split_once(' ').unwrap();
        rows.thing(kind, rest);
    }
    rows.build()
}

/// A type as the server writes it.
fn displayed(name: &str) -> &str {
    match name {
        "int4" => "integer",
        "int8" => "bigint",
        "bool" => "boolean",
        "any" => "\"any\"",
        "timestamptz" => "timestamp with time zone",
        name => name,
    }
}

#[derive(Default)]
struct Rows {
    rows: Vec<(Read, Vec<String>)>,
    oids: HashMap<String, u32>,
    /// Those that have their rows.
    types: HashSet<String>,
}

const KNOWN_TYPES: [(&str, u32); 7] = [
    ("type pg_catalog.int4", 23),
    ("type pg_catalog.json", 114),
    ("type pg_catalog.anyelement", 2283),
    ("type pg_catalog.anyarray", 2277),
    ("type pg_catalog.text", 25),
    ("type pg_catalog.varchar", 1043),
    ("type pg_catalog.regclass", 2205),
];

impl Rows {
    fn oid(&mut self, name: &str) -> u32 {
        // What names relations, and what a text is, is known by its number.
        if let Some((_, oid)) = KNOWN_TYPES.iter().find(|(own, _)| *own == name) {
            return *oid;
        }
        let next = u32::try_from(self.oids.len()).unwrap() + 20_000;
        *self.oids.entry(name.to_owned()).or_insert(next)
    }

    fn push(&mut self, read: Read, values: &[&str]) {
        self.rows.push((read, values.iter().map(|value| (*value).to_owned()).collect()));
    }

    fn schema(&mut self, name: &str) {
        let oid = self.oid(&format!("schema {name}")).to_string();
        self.push(Read::Schemas, &[&oid, name]);
    }

    /// The numbers of a name's schema and of itself, and the bare name.
    fn place<'n>(&mut self, kind: &str, name: &'n str) -> (String, String, &'n str) {
        let (schema, bare) = name.split_once('.').unwrap_or(("pg_catalog", name));
        let schema = self.oid(&format!("schema {schema}")).to_string();
        (self.oid(&format!("{kind} {name}")).to_string(), schema, bare)
    }

    fn type_of(&mut self, name: &str) -> String {
        let name = if name.contains('.') { name.to_owned() } else { format!("pg_catalog.{name}") };
        let key = format!("type {name}");
        if !self.types.contains(&key) {
            self.types.insert(key.clone());
            let (oid, schema, bare) = self.place("type", &name);
            let row = match self.oids.get(&format!("relation {name}")) {
                Some(relation) => relation.to_string(),
                None => "0".to_owned(),
            };
            self.push(Read::Types, &[&oid, &schema, bare, &row, "0", "0", "b", "-1"]);
        }
        self.oid(&key).to_string()
    }

    fn thing(&mut self, kind: &str, rest: &str) {
        match kind {
            "schema" => self.schema(rest),
            "domain" => {
                let (name, base) = rest.split_once(' ').unwrap();
                let base = self.type_of(base);
                let (oid, schema, bare) = self.place("type", name);
                self.types.insert(format!("type {name}"));
                self.push(Read::Types, &[&oid, &schema, bare, "0", "0", &base, "d", "-1"]);
            }
            "check" => {
                let (domain, function) = rest.split_once(' ').unwrap();
                let domain = self.type_of(domain);
                let function = self.oids[&format!("function {function}")];
                let tree = format!("{{FUNCEXPR :funcid {function} :args <>}}");
                self.push(Read::Code, &["domain", "0", &domain, "", &tree]);
            }
            "inherits" => {
                let (child, parent) = rest.split_once(' ').unwrap();
                let child = self.oid(&format!("relation {child}")).to_string();
                let parent = self.oid(&format!("relation {parent}")).to_string();
                self.push(Read::Inheritance, &[&child, &parent]);
            }
            "table" | "view" | "invoker" | "materialized" | "sequence" | "composite" => {
                let (name, columns) = rest.split_once(" (").unwrap();
                let (oid, schema, bare) = self.place("relation", name);
                let relkind = match kind {
                    "table" => "r",
                    "view" | "invoker" => "v",
                    "materialized" => "m",
                    "sequence" => "S",
                    _ => "c",
                };
                let invoker = if kind == "invoker" { "t" } else { "f" };
                self.push(Read::Relations, &[&oid, &schema, bare, relkind, "10", "f", invoker]);
                self.type_of(name);
                // Those of sequences are known.
                let columns = columns.trim_end_matches(')').split(", ");
                let columns = columns.filter(|_| kind != "sequence");
                for (at, column) in columns.enumerate() {
                    let (column, type_name) = column.split_once(' ').unwrap();
                    let type_name = self.type_of(type_name);
                    let number = (at + 1).to_string();
                    self.push(Read::Columns, &[&oid, &number, column, &type_name, "", "-1"]);
                }
            }
            "function" | "aggregate" | "procedure" | "definer" => {
                let (name, rest) = rest.split_once(" (").unwrap();
                let (rest, extension) = rest.split_once(" OF ").unwrap_or((rest, ""));
                let (arguments, result) = rest.split_once(')').unwrap();
                let (result, outputs) = match result.split_once(" OUT ") {
                    Some((result, outputs)) => (result, outputs),
                    None => (result, ""),
                };
                let arguments: Vec<&str> =
                    arguments.split(", ").filter(|argument| !argument.is_empty()).collect();
                let types: Vec<&str> = arguments.iter().map(|name| displayed(name)).collect();
                let arguments: Vec<String> =
                    arguments.iter().map(|argument| self.type_of(argument)).collect();
                let outputs: Vec<&str> = outputs.split(", ").filter(|o| !o.is_empty()).collect();
                let modes = vec!["o"; outputs.len()].join("\u{1f}");
                let result = self.type_of(result.trim());
                let unique = format!("{name}({})", arguments.join(","));
                let (_, schema, bare) = self.place("function", name);
                let oid = self.oid(&format!("function {unique}")).to_string();
                self.oids.insert(format!("function {name}"), oid.parse().unwrap());
                let count = arguments.len().to_string();
                let prokind = match kind {
                    "aggregate" => "a",
                    "procedure" => "p",
                    _ => "f",
                };
                let definer = if kind == "definer" { "t" } else { "f" };
                self.push(
                    Read::Functions,
                    &[
                        &oid,
                        &schema,
                        bare,
                        prokind,
                        "i",
                        definer,
                        &count,
                        "0",
                        "f",
                        "f",
                        &result,
                        &arguments.join("\u{1f}"),
                        &modes,
                        &outputs.join("\u{1f}"),
                        &types.join(", "),
                        extension,
                    ],
                );
            }
            "operator" | "prefix" => {
                let (name, function) = rest.split_once(' ').unwrap();
                let (_, schema, bare) = self.place("operator", name);
                let function = self.oids[&format!("function {function}")].to_string();
                let prefix = if kind == "prefix" { "t" } else { "f" };
                let oid = self.oid(&format!("operator {name} {function}")).to_string();
                self.push(Read::Operators, &[&oid, &schema, bare, prefix, &function]);
            }
            "cast" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let target = self.type_of(words[0]);
                let function = self.oids[&format!("function {}", words[1])].to_string();
                self.push(Read::Casts, &[&target, &function, words[2]]);
            }
            "reads" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let view = self.oid(&format!("relation {}", words[0])).to_string();
                let table = self.oid(&format!("relation {}", words[1])).to_string();
                let new = !self.oids.contains_key(&format!("rule {}", words[0]));
                let rule = self.oid(&format!("rule {}", words[0])).to_string();
                if new {
                    self.push(Read::Code, &["rule", &rule, &view, "1", ""]);
                }
                self.push(Read::Depends, &["2618", &rule, &table, words[2]]);
            }
            "owns" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let table = self.oid(&format!("relation {}", words[0])).to_string();
                let sequence = self.oid(&format!("relation {}", words[2])).to_string();
                self.push(Read::Depends, &["1259", &sequence, &table, words[1]]);
            }
            "index" => {
                let (name, table) = rest.split_once(' ').unwrap();
                let (oid, schema, bare) = self.place("relation", name);
                self.push(Read::Relations, &[&oid, &schema, bare, "i", "10", "f", "f"]);
                let table = self.oid(&format!("relation {table}")).to_string();
                self.push(Read::Indexes, &[&oid, &table, "f", "1", "1", ""]);
            }
            "statistics" => {
                let (name, table) = rest.split_once(' ').unwrap();
                let (_, schema, bare) = self.place("statistics", name);
                let table = self.oid(&format!("relation {table}")).to_string();
                self.push(Read::Statistics, &[&schema, bare, &table]);
            }
            "trigger" => {
                let words: Vec<&str> = rest.split(' ').collect();
                let table = self.oid(&format!("relation {}", words[0])).to_string();
                let function = self.oids[&format!("function {}", words[1])].to_string();
                self.push(Read::Triggers, &[&table, &function, words[2], "", ""]);
            }
            "constraint" => {
                let (words, columns) = rest.split_once(" (").unwrap();
                let words: Vec<&str> = words.split(' ').collect();
                let table = self.oid(&format!("relation {}", words[0])).to_string();
                let (columns, other) = columns.split_once(')').unwrap();
                let (other, far) = other.split_once('(').unwrap_or((other, ")"));
                let far = far.strip_suffix(')').unwrap();
                let other = match other.trim() {
                    "" => "0".to_owned(),
                    other => self.oid(&format!("relation {other}")).to_string(),
                };
                self.push(
                    Read::Constraints,
                    &[words[1], &table, words[2], "0", columns, &other, far, " ", " "],
                );
            }
            kind => panic!("{kind}"),
        }
    }

    fn build(mut self) -> Catalog {
        let mut builder = Builder::default();
        self.rows.sort_by_key(|(read, _)| sql::catalog::READS.iter().position(|r| r == read));
        for (read, values) in &self.rows {
            let values: Vec<Option<&str>> = values.iter().map(|value| Some(&**value)).collect();
            builder.row(*read, &values).unwrap_or_else(|e| panic!("{e:?}: {values:?}"));
        }
        builder.build()
    }
}
