//! Masks as SQL: for each mask and type an expression over the column. Each is total, for every
//! value that a column can hold; NULL stays NULL; all of it is ASCII, and has the column's own type
//! and modifier. Which column has which mask is for `disguise`.

use std::fmt::Write as _;

use sql::catalog::{Catalog, Column, Type, TypeKind};
use sql::expression::{constant, quoted};
use sql::rewrite::{Expression, Look, Mask, Piece};

use super::Kind;

/// What `redact` makes of a text.
const REDACTED: &str = "********";
/// Of shorter texts `last4` would show as much as it hides, or more.
const LAST4_LETTERS_MIN: u32 = 8;
const LAST4_NUMBER_MIN: u32 = 10_000_000;
const FIRST1_LETTERS_MIN: u32 = 2;
/// The longest name of a host, which bounds what stands behind an `@`.
const HOST_LETTERS_MAX: u32 = 253;

/// The mask of a column. Where the type can't have this mask it is redacted instead, and where
/// there is no constant of the type it is NULL. `None` if the type can't be written.
pub(crate) fn mask(kind: &Kind, column: &Column, catalog: &Catalog) -> Option<Mask> {
    let of = Shape::of(column, catalog)?;
    if let Some((shown, look)) = part(kind, &of) {
        let pieces = shown.split('@').flat_map(|piece| [Piece::Column(column.number), text(piece)]);
        return Some(cased(column.number, &of, pieces.skip(1), look));
    }
    let redacted = of.redacted().filter(|_| !matches!(kind, Kind::Empty));
    Some(match redacted {
        Some(redacted) => {
            let look = match of.class {
                Class::Text => Look::Like(is_redacted),
                _ => Look::Any,
            };
            let redacted = text(&format!("{redacted}::{}", of.name));
            cased(column.number, &of, [redacted].into_iter(), look)
        }
        None => Mask {
            expression: Expression(vec![text(&format!("NULL::{}", of.name))]),
            look: Look::Any,
        },
    })
}

/// Whether the type can have the mask, rather than be redacted for it.
pub(crate) fn fits(kind: &Kind, column: &Column, catalog: &Catalog) -> bool {
    if matches!(kind, Kind::Redact | Kind::Empty | Kind::Sql(..)) {
        return true;
    }
    Shape::of(column, catalog).is_some_and(|of| part(kind, &of).is_some())
}

/// What a policy's own expression becomes for the column.
pub(crate) fn own(pieces: Vec<Piece>, column: &Column, catalog: &Catalog) -> Option<Mask> {
    let of = Shape::of(column, catalog)?;
    Some(cased(column.number, &of, pieces.into_iter(), Look::Any))
}

/// A column's type, as far as masks tell types apart.
struct Shape {
    class: Class,
    /// How it is written, with its modifier.
    name: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Letters: text, varchar, char(n), name and citext.
    Text,
    Int2,
    Int4,
    Int8,
    Numeric,
    Float,
    Money,
    Bool,
    Date,
    Timestamp,
    TimestampTz,
    /// A type with one constant that stands for all of its values.
    Constant(&'static str),
    Bit,
    Enum,
    /// Nothing is known but NULL.
    Other,
}

impl Shape {
    fn of(column: &Column, catalog: &Catalog) -> Option<Self> {
        let (oid, modifier) = catalog.base_type(column.type_oid, column.type_modifier);
        let found = catalog.type_of(oid)?;
        let name = name_of(found, modifier, catalog)?;
        let class = match found.kind {
            TypeKind::Base if found.system => class_of(&found.name),
            TypeKind::Base if &*found.name == "citext" => Class::Text,
            TypeKind::Enum => Class::Enum,
            TypeKind::Range => Class::Constant("'empty'"),
            TypeKind::Multirange => Class::Constant("'{}'"),
            // These two are vectors, which have no braces.
            TypeKind::Array if !matches!(&*found.name, "int2vector" | "oidvector") => {
                Class::Constant("'{}'")
            }
            _ => Class::Other,
        };
        Some(Self { class, name })
    }

    /// The constant that stands for all values of the type.
    fn redacted(&self) -> Option<String> {
        let value = match self.class {
            Class::Text => format!("'{REDACTED}'"),
            Class::Int2 | Class::Int4 | Class::Int8 | Class::Numeric | Class::Float => "0".into(),
            Class::Money => "(0)".into(),
            Class::Bool => "FALSE".into(),
            Class::Date => "'2000-01-01'".into(),
            Class::Timestamp => "'2000-01-01 00:00:00'".into(),
            Class::TimestampTz => "'2000-01-01 00:00:00+00'".into(),
            Class::Constant(value) => value.into(),
            // An integer becomes as many bits as there are to be.
            Class::Bit => "(0)".into(),
            Class::Enum => format!("pg_catalog.enum_first(NULL::{})", self.name),
            Class::Other => return None,
        };
        Some(value)
    }
}

fn class_of(name: &str) -> Class {
    match name {
        "text" | "varchar" | "bpchar" | "name" => Class::Text,
        "int2" => Class::Int2,
        "int4" => Class::Int4,
        "int8" => Class::Int8,
        "numeric" => Class::Numeric,
        "float4" | "float8" => Class::Float,
        "money" => Class::Money,
        "bool" => Class::Bool,
        "date" => Class::Date,
        "timestamp" => Class::Timestamp,
        "timestamptz" => Class::TimestampTz,
        "time" => Class::Constant("'00:00:00'"),
        "timetz" => Class::Constant("'00:00:00+00'"),
        "interval" => Class::Constant("'0'"),
        "uuid" => Class::Constant("'00000000-0000-0000-0000-000000000000'"),
        "bytea" | "varbit" | "tsvector" | "tsquery" => Class::Constant("''"),
        "json" | "jsonb" => Class::Constant("'null'"),
        // Right for both values of xmloption.
        "xml" => Class::Constant("'<redacted/>'"),
        "inet" => Class::Constant("'0.0.0.0'"),
        "cidr" => Class::Constant("'0.0.0.0/32'"),
        "macaddr" => Class::Constant("'00:00:00:00:00:00'"),
        "macaddr8" => Class::Constant("'00:00:00:00:00:00:00:00'"),
        "oid" => Class::Constant("'0'"),
        "pg_lsn" => Class::Constant("'0/0'"),
        "point" => Class::Constant("'(0,0)'"),
        "bit" => Class::Bit,
        _ => Class::Other,
    }
}

/// What of a value is shown, for values that aren't NULL. `@` stands for the column, and is in no
/// other place: names have none here. `None` if the type does not have the mask.
fn part(kind: &Kind, of: &Shape) -> Option<(String, Look)> {
    // Letters are looked at as text, whatever the type: without the blanks of char(n).
    const LETTERS: &str = "@::pg_catalog.text";
    let longer = |least: u32, shown: &str| {
        format!(
            "CASE WHEN pg_catalog.char_length({LETTERS}) OPERATOR(pg_catalog.>=) {least} \
             THEN {shown} ELSE '{REDACTED}'::pg_catalog.text END"
        )
    };
    let found = match (kind, of.class) {
        (Kind::Last4, Class::Text) => {
            let shown = format!(
                "'****'::pg_catalog.text OPERATOR(pg_catalog.||) pg_catalog.right({LETTERS}, 4)"
            );
            (longer(LAST4_LETTERS_MIN, &shown), Look::Like(is_last4))
        }
        (Kind::Last4, Class::Int4 | Class::Int8) => {
            let least = LAST4_NUMBER_MIN;
            let shown = format!(
                "CASE WHEN @ OPERATOR(pg_catalog.>=) {least} OR @ OPERATOR(pg_catalog.<=) (-{least}) \
                 THEN @ OPERATOR(pg_catalog.%) 10000 ELSE 0 END"
            );
            (shown, Look::Any)
        }
        (Kind::First1, Class::Text) => {
            let shown = format!(
                "pg_catalog.left({LETTERS}, 1) OPERATOR(pg_catalog.||) '****'::pg_catalog.text"
            );
            (longer(FIRST1_LETTERS_MIN, &shown), Look::Like(is_first1))
        }
        (Kind::Email, Class::Text) => {
            // What stands behind the last `@`; bounded, as a text can be as long as a text can be.
            let host = format!(
                "pg_catalog.left(pg_catalog.reverse(pg_catalog.split_part(pg_catalog.reverse(\
                 {LETTERS}), pg_catalog.chr(64), 1)), {HOST_LETTERS_MAX})"
            );
            let shown = format!(
                "CASE WHEN pg_catalog.strpos({LETTERS}, pg_catalog.chr(64)) OPERATOR(pg_catalog.>) 0 \
                 THEN '****'::pg_catalog.text OPERATOR(pg_catalog.||) pg_catalog.chr(64) \
                 OPERATOR(pg_catalog.||) {host} ELSE '{REDACTED}'::pg_catalog.text END"
            );
            (shown, Look::Like(is_email))
        }
        (Kind::Year, Class::Date) => {
            let day = "pg_catalog.date_trunc('year'::pg_catalog.text, @::pg_catalog.timestamp)\
                       ::pg_catalog.date";
            (of_years("date", day), Look::Any)
        }
        (Kind::Year, Class::Timestamp) => {
            let day = "pg_catalog.date_trunc('year'::pg_catalog.text, @)";
            (of_years("timestamp", day), Look::Any)
        }
        // Under a time zone of our own: by the session's, whoever sets it could find where a year
        // begins for a value.
        (Kind::Year, Class::TimestampTz) => {
            let day = "pg_catalog.timezone('UTC'::pg_catalog.text, pg_catalog.date_trunc(\
                       'year'::pg_catalog.text, pg_catalog.timezone('UTC'::pg_catalog.text, @)))";
            (of_years("timestamptz", day), Look::Any)
        }
        (Kind::Range(width), Class::Int2 | Class::Int4 | Class::Int8) => {
            let (most, name) = match of.class {
                Class::Int2 => (i64::from(i16::MAX), "int2"),
                Class::Int4 => (i64::from(i32::MAX), "int4"),
                _ => (i64::MAX, "int8"),
            };
            // No value is as large as that.
            let Some(width) = i64::try_from(*width).ok().filter(|width| *width <= most) else {
                return Some(("0".to_owned(), Look::Any));
            };
            (rounded(&format!("{width}::pg_catalog.{name}")), Look::Any)
        }
        (Kind::Range(width), Class::Numeric) => {
            (rounded(&format!("{width}::pg_catalog.numeric")), Look::Any)
        }
        (Kind::Range(width), Class::Float) => {
            // Smaller ones are none of the width, and larger ones could overflow.
            let value = "@::pg_catalog.float8";
            let width = format!("{width}::pg_catalog.float8");
            let most = "1000000000000000::pg_catalog.float8";
            let within = format!(
                "({value} OPERATOR(pg_catalog.>=) {width} AND {value} OPERATOR(pg_catalog.<) {most}) \
                 OR ({value} OPERATOR(pg_catalog.<=) (OPERATOR(pg_catalog.-) {width}) AND {value} \
                 OPERATOR(pg_catalog.>) (OPERATOR(pg_catalog.-) {most}))"
            );
            let shown = format!(
                "CASE WHEN {within} THEN pg_catalog.trunc({value} OPERATOR(pg_catalog./) {width}) \
                 OPERATOR(pg_catalog.*) {width} ELSE 0::pg_catalog.float8 END"
            );
            (shown, Look::Any)
        }
        _ => return None,
    };
    Some(found)
}

/// Years that every function of dates knows; what lies outside, infinity too, shows nothing.
fn of_years(name: &str, shown: &str) -> String {
    let zone = if name == "timestamptz" { "+00" } else { "" };
    let at = |day: &str| match name {
        "date" => constant(day),
        _ => constant(&format!("{day} 00:00:00{zone}")),
    };
    let (first, last, none) = (at("0001-01-01"), at("10000-01-01"), at("2000-01-01"));
    format!(
        "CASE WHEN @ OPERATOR(pg_catalog.>=) {first}::pg_catalog.{name} \
         AND @ OPERATOR(pg_catalog.<) {last}::pg_catalog.{name} \
         THEN {shown} ELSE {none}::pg_catalog.{name} END"
    )
}

/// Towards zero, so that nothing overflows.
fn rounded(width: &str) -> String {
    format!("@ OPERATOR(pg_catalog.-) (@ OPERATOR(pg_catalog.%) {width})")
}

/// A value for what isn't NULL, of the column's type.
fn cased(number: u16, of: &Shape, shown: impl Iterator<Item = Piece>, look: Look) -> Mask {
    let mut pieces = vec![text("(CASE WHEN "), Piece::Column(number)];
    pieces.push(text(" IS NULL THEN NULL ELSE "));
    pieces.extend(shown);
    pieces.push(text(&format!(" END)::{}", of.name)));
    Mask { expression: Expression(pieces), look }
}

fn text(text: &str) -> Piece {
    Piece::Text(text.into())
}

/// How the type is written so that it means the same everywhere. `None` if its modifier can't be.
fn name_of(found: &Type, modifier: i32, catalog: &Catalog) -> Option<String> {
    let mut name = format!("{}.{}", quoted(catalog.schema_name(found.schema)), quoted(&found.name));
    if modifier < 0 {
        return Some(name);
    }
    let element = match found.kind {
        TypeKind::Array => catalog.type_of(found.element)?,
        _ => found,
    };
    if !element.system {
        return None;
    }
    // See the functions of each type that read its modifier.
    let _infallible = match &*element.name {
        "varchar" | "bpchar" => write!(name, "({})", modifier.checked_sub(4)?),
        "numeric" => {
            let packed = modifier.checked_sub(4)?;
            let scale = (packed & 0x7ff ^ 1024) - 1024;
            write!(name, "({}, {scale})", packed >> 16 & 0xffff)
        }
        "bit" | "varbit" | "time" | "timetz" | "timestamp" | "timestamptz" => {
            write!(name, "({modifier})")
        }
        "interval" => match modifier & 0xffff {
            0xffff => write!(name, "({})", modifier >> 16 & 0x7fff),
            precision => write!(name, "({}, {precision})", modifier >> 16 & 0x7fff),
        },
        _ => return None,
    };
    Some(name)
}

// What a person would take for a mask. Blanks at the end are those of char(n).

fn is_redacted(text: &str) -> bool {
    let text = text.trim_end_matches(' ');
    !text.is_empty() && text.bytes().all(|byte| byte == b'*')
}

fn is_last4(text: &str) -> bool {
    let shown = text.trim_end_matches(' ').strip_prefix("****");
    shown.is_some_and(|shown| shown.chars().count() <= 4)
}

fn is_first1(text: &str) -> bool {
    let text = text.trim_end_matches(' ');
    let rest = text.strip_suffix("****");
    is_redacted(text) || rest.is_some_and(|shown| shown.chars().count() == 1)
}

fn is_email(text: &str) -> bool {
    is_redacted(text) || text.starts_with("****@")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_are_known_by_their_look() {
        assert!(is_redacted("********") && is_redacted("*** ") && !is_redacted("a***"));
        assert!(!is_redacted("") && !is_redacted(" "));
        assert!(is_last4("****6789") && is_last4("********") && !is_last4("***-**-6789"));
        assert!(!is_last4("****56789"));
        assert!(is_first1("A****") && is_first1("ü****") && !is_first1("AB****"));
        assert!(is_email("****@example.com") && !is_email("a@example.com"));
    }
}
