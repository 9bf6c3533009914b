//! What rules are about: patterns for relations and their columns, functions, settings, channels
//! and the objects of commands. Read here, matched by `scope` and `decide`.

use sql::catalog::{Catalog, Function, SchemaId};

use crate::written::{Problem, Text};

/// As long as a name in PostgreSQL: it cuts longer ones, and would mean another thing by them.
const NAME_BYTES_MAX: usize = 63;

/// A name or any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Any,
    Is(Box<str>),
}

/// The schemas of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Schemas {
    /// All but the system's own and temporary ones.
    Users,
    Is(Box<str>),
}

/// `schema.name(columns)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RelationPattern {
    pub(crate) schemas: Schemas,
    pub(crate) name: Name,
    /// `None` for all, and for what is not about columns.
    pub(crate) columns: Option<Vec<Box<str>>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FunctionPattern {
    In {
        schemas: Schemas,
        name: Name,
        arguments: Option<Vec<TypeName>>,
    },
    /// A name without schema: in `pg_catalog` and `public`; where it refuses, in all.
    Bare {
        name: Box<str>,
        arguments: Option<Vec<TypeName>>,
    },
    Extension(Box<str>),
}

/// A type as an overload names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TypeName {
    schema: Option<Box<str>>,
    name: Box<str>,
}

/// Settings and channels: a name, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    text: Box<str>,
    open: bool,
}

/// The object of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CommandPattern {
    /// Whatever it is about, outside system and temporary schemas.
    Any,
    InSchema(Box<str>, Name),
    /// A role, an extension, a schema.
    Alone(Box<str>),
}

impl Schemas {
    pub(crate) fn cover(&self, schema: &str) -> bool {
        match self {
            Self::Users => is_users(schema),
            Self::Is(name) => &**name == schema || (&**name == "pg_temp" && is_temporary(schema)),
        }
    }
}

/// Whether `"*"` means the schema.
pub(crate) fn is_users(schema: &str) -> bool {
    let system = matches!(schema, "pg_catalog" | "information_schema" | "pg_toast");
    !system && !is_temporary(schema) && !schema.starts_with("pg_toast_temp_")
}

fn is_temporary(schema: &str) -> bool {
    let number = schema.strip_prefix("pg_temp");
    number.is_some_and(|number| number.is_empty() || number.starts_with('_'))
}

impl Name {
    fn covers(&self, name: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Is(is) => &**is == name,
        }
    }

    pub(crate) fn is_any(&self) -> bool {
        matches!(self, Self::Any)
    }
}

impl RelationPattern {
    pub(crate) fn read(text: &Text) -> Result<Self, Problem> {
        let mut parts = Parts::read(text)?;
        let mut columns = match parts.parenthesis.take() {
            Some(inside) if inside.is_empty() => return Err(parts.wrong("it names no column")),
            Some(inside) => {
                let names = inside.iter().map(|part| parts.name(part));
                Some(names.collect::<Result<Vec<_>, _>>()?)
            }
            None => None,
        };
        let (schemas, name) = match &*parts.names {
            [Piece::Any] => (Schemas::Users, Name::Any),
            [Piece::Name(schema), name] => (Schemas::Is(schema.clone()), name.name()),
            [Piece::Name(schema), name, column] if columns.is_none() => {
                columns = match column {
                    Piece::Any => None,
                    Piece::Name(column) => Some(vec![column.clone()]),
                };
                (Schemas::Is(schema.clone()), name.name())
            }
            [Piece::Name(name)] => {
                return Err(parts.wrong(&format!("write its schema too, as in `public.{name}`")));
            }
            _ => return Err(parts.wrong(RELATION_SHAPES)),
        };
        Ok(Self { schemas, name, columns })
    }

    /// Whether it means the relation, columns aside.
    pub(crate) fn covers(&self, schema: &str, name: &str) -> bool {
        self.name.covers(name) && self.schemas.cover(schema)
    }
}

const RELATION_SHAPES: &str =
    "an object is `schema.name`, `schema.*`, `\"*\"`, or one of these with columns in parentheses";

impl FunctionPattern {
    pub(crate) fn read(text: &Text) -> Result<Self, Problem> {
        if let Some(extension) = text.text.strip_prefix("extension:") {
            let extension = Text { text: extension.trim().to_owned(), place: text.place };
            let parts = Parts::read(&extension)?;
            return match (&*parts.names, &parts.parenthesis) {
                ([Piece::Name(name)], None) => Ok(Self::Extension(name.clone())),
                _ => Err(parts.wrong("an extension is written `extension:name`")),
            };
        }
        let parts = Parts::read(text)?;
        let arguments = match &parts.parenthesis {
            Some(types) => Some(
                types.iter().map(|name| TypeName::read(name, &parts)).collect::<Result<_, _>>()?,
            ),
            None => None,
        };
        match &*parts.names {
            [Piece::Any] if arguments.is_none() => {
                Ok(Self::In { schemas: Schemas::Users, name: Name::Any, arguments })
            }
            [Piece::Name(name)] => Ok(Self::Bare { name: name.clone(), arguments }),
            [Piece::Name(schema), Piece::Any] if arguments.is_none() => {
                Ok(Self::In { schemas: Schemas::Is(schema.clone()), name: Name::Any, arguments })
            }
            [Piece::Name(schema), Piece::Name(name)] => Ok(Self::In {
                schemas: Schemas::Is(schema.clone()),
                name: Name::Is(name.clone()),
                arguments,
            }),
            _ => Err(parts.wrong(
                "a function is `schema.name`, `schema.name(type, …)`, `schema.*`, `\"*\"` or \
                 `extension:name`",
            )),
        }
    }

    /// Whether it means the function, and if so whether by its own name.
    pub(crate) fn covers(
        &self,
        function: &Function,
        catalog: &Catalog,
        wide: bool,
    ) -> Option<bool> {
        let schema = catalog.schema_name(function.schema);
        let (named, arguments) = match self {
            Self::In { schemas, name, arguments } => {
                if !name.covers(&function.name) || !schemas.cover(schema) {
                    return None;
                }
                (!name.is_any(), arguments)
            }
            Self::Bare { name, arguments } => {
                let near = wide || matches!(schema, "pg_catalog" | "public");
                if **name != *function.name || !near {
                    return None;
                }
                (true, arguments)
            }
            Self::Extension(name) => {
                return (function.extension.as_deref() == Some(&**name)).then_some(false);
            }
        };
        let Some(types) = arguments else { return Some(named) };
        let same = types.len() == function.arguments.len()
            && types.iter().zip(&function.arguments).all(|(name, oid)| name.is(*oid, catalog));
        same.then_some(named)
    }

    /// For `use`, that also means sequences.
    pub(crate) fn covers_sequence(&self, schema: &str, name: &str, wide: bool) -> bool {
        match self {
            Self::In { schemas, name: pattern, arguments: None } => {
                pattern.covers(name) && schemas.cover(schema)
            }
            Self::Bare { name: pattern, arguments: None } => {
                **pattern == *name && (wide || schema == "public")
            }
            _ => false,
        }
    }
}

impl TypeName {
    fn read(text: &str, parts: &Parts<'_>) -> Result<Self, Problem> {
        let mut text = text.trim();
        let mut array = false;
        while let Some(before) = text.strip_suffix("[]") {
            text = before.trim_end();
            array = true;
        }
        let words = text.to_ascii_lowercase().split_whitespace().collect::<Vec<_>>().join(" ");
        let (schema, name) = match SPELLINGS.iter().find(|(spelling, _)| *spelling == words) {
            Some((_, name)) => (Some("pg_catalog".into()), (*name).into()),
            None => {
                let place = parts.text.place;
                let inner = Text { text: text.to_owned(), place };
                match &*Parts::read(&inner)?.names {
                    [Piece::Name(name)] => (None, name.clone()),
                    [Piece::Name(schema), Piece::Name(name)] => {
                        (Some(schema.clone()), name.clone())
                    }
                    _ => return Err(parts.wrong("its arguments are names of types")),
                }
            }
        };
        // An array's own name, as PostgreSQL makes it.
        let name = if array { format!("_{name}").into() } else { name };
        Ok(Self { schema, name })
    }

    fn is(&self, oid: u32, catalog: &Catalog) -> bool {
        let named = |schema| catalog.type_named(schema, &self.name) == Some(oid);
        match &self.schema {
            Some(schema) => named(schema),
            None => named("pg_catalog") || named("public"),
        }
    }
}

/// How SQL spells types whose name in the catalog is another.
const SPELLINGS: [(&str, &str); 20] = [
    ("int", "int4"),
    ("integer", "int4"),
    ("smallint", "int2"),
    ("bigint", "int8"),
    ("real", "float4"),
    ("float", "float8"),
    ("double precision", "float8"),
    ("decimal", "numeric"),
    ("boolean", "bool"),
    ("character varying", "varchar"),
    ("character", "bpchar"),
    ("char", "bpchar"),
    ("bit varying", "varbit"),
    ("time", "time"),
    ("time without time zone", "time"),
    ("time with time zone", "timetz"),
    ("timestamp without time zone", "timestamp"),
    ("timestamp with time zone", "timestamptz"),
    ("dec", "numeric"),
    ("national character varying", "varchar"),
];

impl Prefix {
    /// Of a setting, whose name has no upper case.
    pub(crate) fn setting(text: &Text) -> Result<Self, Problem> {
        let name = text.text.trim_matches('"').to_lowercase();
        let (name, open) = match name.strip_suffix('*') {
            Some(name) => (name, true),
            None => (&*name, false),
        };
        let good = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '$');
        if (name.is_empty() && !open) || !name.chars().all(good) {
            return Err(Problem::new(
                text.place,
                format!(
                    "`{}` is not the name of a setting, such as `work_mem` or `app.*`",
                    text.text
                ),
            ));
        }
        Ok(Self { text: name.into(), open })
    }

    /// Of a channel, which is a name like any other.
    pub(crate) fn channel(text: &Text) -> Result<Self, Problem> {
        if text.text == "*" {
            return Ok(Self { text: "".into(), open: true });
        }
        let (bare, open) = match text.text.strip_suffix('*') {
            Some(bare) => (bare, true),
            None => (&*text.text, false),
        };
        let bare = Text { text: bare.to_owned(), place: text.place };
        let parts = Parts::read(&bare)?;
        match (&*parts.names, &parts.parenthesis) {
            ([Piece::Name(name)], None) => Ok(Self { text: name.clone(), open }),
            _ => Err(parts.wrong("a channel is a name, or the beginning of one and `*`")),
        }
    }

    pub(crate) fn covers_all(&self) -> bool {
        self.open && self.text.is_empty()
    }

    pub(crate) fn covers(&self, name: &str) -> bool {
        if self.open { name.starts_with(&*self.text) } else { name == &*self.text }
    }

    /// Whether it means this one and no other.
    pub(crate) fn names(&self, name: &str) -> bool {
        !self.open && name == &*self.text
    }
}

impl CommandPattern {
    pub(crate) fn read(text: &Text, in_schema: bool) -> Result<Self, Problem> {
        let parts = Parts::read(text)?;
        if parts.parenthesis.is_some() {
            return Err(parts.wrong("a command's object has no parentheses"));
        }
        match &*parts.names {
            [Piece::Any] => Ok(Self::Any),
            [Piece::Name(schema), name] if in_schema => {
                Ok(Self::InSchema(schema.clone(), name.name()))
            }
            [Piece::Name(name)] if !in_schema => Ok(Self::Alone(name.clone())),
            _ if in_schema => Err(parts.wrong(RELATION_SHAPES)),
            _ => Err(parts.wrong("this command's object is one name, or `\"*\"`")),
        }
    }

    /// Whether it means an object of that name.
    pub(crate) fn covers(&self, schema: Option<&str>, name: &str) -> bool {
        match self {
            Self::Any => schema.is_none_or(is_users),
            Self::InSchema(own, pattern) => {
                schema.is_some_and(|schema| Schemas::Is(own.clone()).cover(schema))
                    && pattern.covers(name)
            }
            Self::Alone(own) => schema.is_none() && **own == *name,
        }
    }
}

/// An object as it is spelled: names between dots, and what stands in parentheses.
struct Parts<'t> {
    text: &'t Text,
    names: Vec<Piece>,
    parenthesis: Option<Vec<String>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Any,
    Name(Box<str>),
}

impl Piece {
    fn name(&self) -> Name {
        match self {
            Self::Any => Name::Any,
            Self::Name(name) => Name::Is(name.clone()),
        }
    }
}

impl<'t> Parts<'t> {
    fn read(text: &'t Text) -> Result<Self, Problem> {
        let mut parts = Self { text, names: Vec::new(), parenthesis: None };
        let mut rest = text.text.as_str();
        loop {
            let (piece, after) = parts.piece(rest)?;
            parts.names.push(piece);
            rest = after;
            if let Some(after) = rest.strip_prefix('.') {
                rest = after;
                continue;
            }
            break;
        }
        let rest = rest.trim();
        if !rest.is_empty() {
            let inside = rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
            let Some(inside) = inside else { return Err(parts.wrong(NAME_SHAPES)) };
            let inside = Text { text: inside.to_owned(), place: text.place };
            let list = if inside.text.trim().is_empty() { Vec::new() } else { inside.split()? };
            parts.parenthesis = Some(list.into_iter().map(|part| part.text).collect());
        }
        Ok(parts)
    }

    /// One name at the beginning of `rest`, and what comes after it.
    fn piece<'r>(&self, rest: &'r str) -> Result<(Piece, &'r str), Problem> {
        if let Some(after) = rest.strip_prefix('*') {
            return Ok((Piece::Any, after));
        }
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut letters = quoted.char_indices().peekable();
            while let Some((at, letter)) = letters.next() {
                if letter != '"' {
                    name.push(letter);
                } else if letters.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    let after = quoted.get(at + 1..).unwrap_or_default();
                    return Ok((Piece::Name(self.checked(name)?), after));
                }
            }
            return Err(self.wrong("a quote is not closed"));
        }
        let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '$') || !c.is_ascii();
        let end = rest.find(|c: char| !good(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at_checked(end).unwrap_or((rest, ""));
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit() || c == '$') {
            return Err(self.wrong(NAME_SHAPES));
        }
        // PostgreSQL folds ASCII alone.
        Ok((Piece::Name(self.checked(name.to_ascii_lowercase())?), after))
    }

    /// A column's name.
    fn name(&self, text: &str) -> Result<Box<str>, Problem> {
        match self.piece(text.trim())? {
            (Piece::Name(name), "") => Ok(name),
            _ => Err(self.wrong("columns are names between commas")),
        }
    }

    fn checked(&self, name: String) -> Result<Box<str>, Problem> {
        match name.len() {
            0 => Err(self.wrong("a name is empty")),
            length if length > NAME_BYTES_MAX => Err(self.wrong("a name has more than 63 bytes")),
            _ => Ok(name.into()),
        }
    }

    fn wrong(&self, why: &str) -> Problem {
        Problem::new(self.text.place, format!("`{}`: {why}", self.text.text))
    }
}

const NAME_SHAPES: &str = "names are SQL names between dots; quote what is not letters, digits \
                           and `_`, and what is in upper case";

/// `public.customers`, as a policy would spell it.
pub(crate) fn spelled(catalog: &Catalog, schema: SchemaId, name: &str) -> String {
    format!("{}.{}", quoted(catalog.schema_name(schema)), quoted(name))
}

/// A name with quotes where it needs them.
pub(crate) fn quoted(name: &str) -> String {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || !c.is_ascii();
    if !name.is_empty()
        && name.chars().all(plain)
        && !name.starts_with(|c: char| c.is_ascii_digit())
    {
        return name.to_owned();
    }
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text { text: text.to_owned(), ..Text::default() }
    }

    #[test]
    fn relations_and_what_is_none() {
        let read = |it: &str| RelationPattern::read(&text(it)).ok();
        let columns = |it: &str| read(it).and_then(|it| it.columns).map(|names| names.concat());
        assert!(read("*").unwrap().covers("app", "orders"));
        assert!(!read("*").unwrap().covers("pg_catalog", "pg_class"));
        assert!(!read("*").unwrap().covers("pg_temp_4", "t"));
        assert!(!read("*").unwrap().covers("information_schema", "tables"));
        assert!(read("pg_temp.*").unwrap().covers("pg_temp_4", "t"));
        assert!(!read("pg_temp.*").unwrap().covers("pg_temperature", "t"));
        assert!(read("App.Orders").unwrap().covers("app", "orders"));
        assert!(!read("app.\"Orders\"").unwrap().covers("app", "orders"));
        assert!(read("app.\"Orders\"").unwrap().covers("app", "Orders"));
        assert!(read("app.\"a\"\"b.c\"").unwrap().covers("app", "a\"b.c"));
        assert!(read("app.\"*\"").unwrap().covers("app", "*"));
        assert!(!read("app.\"*\"").unwrap().covers("app", "orders"));
        assert!(read("app.größe").unwrap().covers("app", "größe"));
        assert!(!read("app.GRÖSSE").unwrap().covers("app", "größe"));
        assert_eq!(columns("app.t(a, \"B\")").as_deref(), Some("aB"));
        assert_eq!(columns("app.t.a").as_deref(), Some("a"));
        assert_eq!(columns("app.*.a").as_deref(), Some("a"));
        assert_eq!(columns("*(email)").as_deref(), Some("email"));
        assert_eq!(columns("app.t.*"), None);
        for wrong in [
            "",
            "t",
            ".t",
            "app.",
            "app.t()",
            "app.t(a",
            "app.t(a b)",
            "a.b.c.d",
            "a.b.c(d)",
            "1a.b",
            "app.t x",
            "*.t",
            "a-b.c",
            "app.t(*)",
            "app..t",
            "\"\".t",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let long = "x".repeat(63);
        assert!(read(&format!("app.{long}")).is_some());
        assert!(read(&format!("app.{long}x")).is_none());
    }

    #[test]
    fn settings_and_channels() {
        let setting = |it: &str, name: &str| Prefix::setting(&text(it)).unwrap().covers(name);
        assert!(setting("Work_Mem", "work_mem"));
        assert!(setting("app.*", "app.user"));
        assert!(!setting("app.*", "application_name"));
        assert!(!setting("app", "app.user"));
        assert!(setting("*", "anything"));
        assert!(Prefix::setting(&text("a b")).is_err());
        assert!(Prefix::setting(&text("")).is_err());
        let channel = |it: &str, name: &str| Prefix::channel(&text(it)).unwrap().covers(name);
        assert!(channel("Jobs", "jobs"));
        assert!(channel("\"Jobs\"", "Jobs"));
        assert!(!channel("\"Jobs\"", "jobs"));
        assert!(channel("jobs_*", "jobs_1"));
        assert!(!channel("jobs_*", "job"));
        assert!(Prefix::channel(&text("a.b")).is_err());
    }

    #[test]
    fn names_come_back_as_they_are_spelled() {
        for (name, spelled) in
            [("a", "a"), ("A", "\"A\""), ("a\"b", "\"a\"\"b\""), ("1", "\"1\""), ("", "\"\"")]
        {
            assert_eq!(quoted(name), spelled);
        }
    }
}
