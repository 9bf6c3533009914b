//! The JSON Schema of the configuration and the reference page, both from the definitions in
//! `file`. Knows how to lay them out, not what they say.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::file::File;

/// The JSON Schema that editors check a configuration by.
pub fn schema() -> String {
    let schema = document();
    format!("{schema:#}\n")
}

/// The reference page, in Markdown.
pub fn reference() -> String {
    let document = document();
    let mut page = Page { defs: document.get("$defs"), seen: BTreeSet::new(), text: String::new() };
    page.text.push_str(
        "# Configuration reference\n\n<!-- Written by `gatepost config reference`; edit the \
         definitions instead. -->\n\n",
    );
    page.object(&document);
    page.text
}

fn document() -> Value {
    let mut schema = SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<File>();
    let mut value = std::mem::take(schema.ensure_object());
    value.values_mut().for_each(without_null);
    Value::Object(value)
}

/// An optional key may be left out but never be empty, so `null` has no place in the schema.
fn without_null(value: &mut Value) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(without_null),
        Value::Object(object) => {
            object.values_mut().for_each(without_null);
            if object.get("default").is_some_and(Value::is_null) {
                object.remove("default");
            }
            if let Some(Value::Array(types)) = object.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    object.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(variants)) = object.get_mut("anyOf") {
                variants.retain(|variant| variant.get("type").is_none_or(|name| name != "null"));
                if let [Value::Object(only)] = variants.as_slice() {
                    let only = only.clone();
                    object.remove("anyOf");
                    object.extend(only);
                }
            }
        }
        _ => {}
    }
}

/// The page as it is written, section by section.
struct Page<'a> {
    defs: Option<&'a Value>,
    /// Titles of sections that are written or about to be.
    seen: BTreeSet<&'a str>,
    text: String,
}

impl<'a> Page<'a> {
    fn object(&mut self, object: &'a Value) {
        let _infallible = writeln!(self.text, "{}\n", description(object));
        self.text.push_str("| Key | Type | Default | Meaning |\n|---|---|---|---|\n");
        let required: Vec<&str> = object
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let mut below = Vec::new();
        for (key, property) in
            object.get("properties").and_then(Value::as_object).into_iter().flatten()
        {
            let default = match property.get("default") {
                _ if required.contains(&key.as_str()) => "required".to_owned(),
                Some(Value::String(text)) => format!("`{text}`"),
                // A table of its own has the defaults.
                Some(Value::Object(_)) | None => String::new(),
                Some(other) => format!("`{other}`"),
            };
            let kind = self.kind(property, &mut below);
            let mut meaning = description(property);
            for (value, what) in choices(property) {
                let _infallible = write!(meaning, "<br>`{value}`: {what}");
            }
            let row =
                [format!("`{key}`"), kind, default, meaning].map(|cell| cell.replace('|', "\\|"));
            let _infallible = writeln!(self.text, "| {} |", row.join(" | "));
        }
        for section in below {
            let title = title(section);
            if self.seen.insert(title) {
                let _infallible = write!(self.text, "\n## {title}\n\n");
                self.object(section);
            }
        }
    }

    /// What to call a property's type; the objects in it are to be explained below.
    fn kind(&self, property: &'a Value, below: &mut Vec<&'a Value>) -> String {
        let property = self.resolve(property);
        if let Some(variants) = property.get("anyOf").and_then(Value::as_array) {
            let kinds: Vec<String> =
                variants.iter().map(|variant| self.kind(variant, below)).collect();
            return kinds.join(" or ");
        }
        let choices = choices(property);
        if !choices.is_empty() {
            let choices: Vec<String> =
                choices.iter().map(|(value, _)| format!("`{value}`")).collect();
            return choices.join(", ");
        }
        if let Some(values) = property.get("additionalProperties").filter(|it| it.is_object()) {
            return format!("map of names to {}", self.kind(values, below));
        }
        if let Some(items) = property.get("items").filter(|_| property.get("title").is_none()) {
            let items = self.resolve(items);
            if items.get("properties").is_some() {
                return format!("list of {}", self.kind(items, below));
            }
        }
        if property.get("properties").is_some() {
            below.push(property);
            let title = title(property);
            return format!("[{title}](#{})", title.replace(' ', "-"));
        }
        let name = property.get("title").or(property.get("type")).and_then(Value::as_str);
        match name.unwrap_or_default() {
            "array" => "list".to_owned(),
            name => name.to_owned(),
        }
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|path| path.strip_prefix("#/$defs/"))
            .and_then(|name| self.defs?.get(name))
            .unwrap_or(schema)
    }
}

/// The values of an enumeration and what each means.
fn choices(schema: &Value) -> Vec<(&str, String)> {
    let variants = schema.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    variants
        .filter_map(|variant| Some((variant.get("const")?.as_str()?, description(variant))))
        .collect()
}

fn title(schema: &Value) -> &str {
    schema.get("title").and_then(Value::as_str).unwrap_or_default()
}

fn description(schema: &Value) -> String {
    let text = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
