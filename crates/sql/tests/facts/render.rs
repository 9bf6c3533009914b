//! Facts as lines that a person can read.

use std::fmt::Write;

use sql::Statement;
use sql::catalog::{Catalog, RelationId};
use sql::facts::{Columns, CommandUse, Facts, RelationUse};

pub(crate) fn statement(statement: &Statement, text: &str, catalog: &Catalog) -> String {
    match &statement.facts {
        Ok(facts) => self::facts(facts, text, catalog),
        Err(error) => format!("refused: {error:?}\n"),
    }
}

fn facts(facts: &Facts, text: &str, catalog: &Catalog) -> String {
    let mut lines = format!("{:?}", facts.kind).to_lowercase();
    for (said, word) in [
        (facts.writes, "writes"),
        (facts.outside_transaction, "outside transaction"),
        (facts.opaque.is_some(), "opaque"),
        (facts.changes_names, "changes names"),
        (facts.restricted == Some(true), "restricted"),
        (facts.restricted == Some(false), "unrestricted"),
    ] {
        if said {
            write!(lines, ", {word}").unwrap();
        }
    }
    if let Some(handle) = &facts.handle {
        write!(lines, ", handle {handle:?}").unwrap();
        if !facts.given.is_empty() {
            write!(lines, " given {:?}", facts.given).unwrap();
        }
    }
    lines.push('\n');
    for used in &facts.relations {
        relation(&mut lines, used, text, catalog);
    }
    for used in &facts.commands {
        command(&mut lines, used, catalog);
    }
    for id in &facts.named {
        writeln!(lines, "  names {}", name(*id, catalog)).unwrap();
    }
    if facts.named_computed {
        lines.push_str("  names a relation that is computed\n");
    }
    let mut functions: Vec<String> = facts
        .functions
        .iter()
        .map(|id| {
            let function = catalog.function(*id).unwrap();
            let schema = catalog.schema_name(function.schema);
            format!("  calls {schema}.{}/{}", function.name, function.arguments.len())
        })
        .collect();
    functions.sort();
    functions.dedup();
    for function in functions {
        writeln!(lines, "{function}").unwrap();
    }
    for setting in &facts.settings {
        writeln!(lines, "  {setting:?}").unwrap();
    }
    for channel in &facts.channels {
        writeln!(lines, "  {channel:?}").unwrap();
    }
    lines
}

fn command(lines: &mut String, used: &CommandUse, catalog: &Catalog) {
    let effect = format!("{:?}", used.effect).to_lowercase();
    let named_only = if used.named_only { ", by its own name only" } else { "" };
    let cascade = if used.cascade { ", cascade" } else { "" };
    let Some(object) = &used.object else {
        writeln!(lines, "  {effect} {:?}{named_only}{cascade}", used.name).unwrap();
        return;
    };
    let schema = object.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
    let mut about = format!("{} {schema}{}", object.kind.name(), object.name);
    if let Some(id) = object.relation {
        let itself = name(id, catalog);
        if itself != format!("{schema}{}", object.name) {
            write!(about, " on {itself}").unwrap();
        }
        if !object.columns.is_empty() {
            let columns = Columns { numbers: object.columns.clone(), ..Columns::default() };
            about += &self::columns(id, &columns, catalog);
        }
    }
    if !object.new_columns.is_empty() {
        write!(about, " new ({})", object.new_columns.join(", ")).unwrap();
    }
    if object.twice {
        about += ", path has another schema";
    }
    writeln!(lines, "  {effect} {:?}{named_only}: {about}{cascade}", used.name).unwrap();
}

fn relation(lines: &mut String, used: &RelationUse, text: &str, catalog: &Catalog) {
    let place = &text[used.place.clone()];
    let Some(id) = used.relation else {
        let at = used.place.start;
        let twice = if used.twice { ", path has another schema" } else { "" };
        writeln!(lines, "  makes {place} at {at}{twice}").unwrap();
        return;
    };
    let mut words = Vec::new();
    for (verb, columns) in [
        ("read", &used.read),
        ("insert", &used.insert),
        ("update", &used.update),
        ("reference", &used.reference),
    ] {
        if let Some(columns) = columns {
            words.push(format!("{verb}{}", self::columns(id, columns, catalog)));
        }
    }
    for (said, word) in [
        (used.delete, "delete"),
        (used.truncate, "truncate"),
        (used.lock_rows, "lock rows"),
        (used.lock == Some(false), "lock access share"),
        (used.lock == Some(true), "lock"),
        (used.maintain, "maintain"),
        (used.like, "like"),
        (used.command, "by the command"),
        (used.tells && used.read.is_some(), "whose errors tell it"),
        (used.only, "only"),
        (used.twice, "named twice in the path"),
    ] {
        if said {
            words.push(word.to_owned());
        }
    }
    let words = if words.is_empty() { "nothing".to_owned() } else { words.join(", ") };
    let at = used.place.start;
    writeln!(lines, "  {} at {at} {place:?}: {words}", name(id, catalog)).unwrap();
}

fn name(id: RelationId, catalog: &Catalog) -> String {
    let relation = catalog.relation(id).unwrap();
    format!("{}.{}", catalog.schema_name(relation.schema), relation.name)
}

fn columns(id: RelationId, columns: &Columns, catalog: &Catalog) -> String {
    let relation = catalog.relation(id).unwrap();
    let mut names: Vec<&str> = relation
        .columns
        .iter()
        .filter(|column| columns.numbers.contains(&column.number))
        .map(|column| &*column.name)
        .collect();
    if columns.system {
        names.push("system columns");
    }
    if columns.whole_row {
        names.push("as a row");
    }
    format!("({})", names.join(", "))
}
