//! Policies as they are written: their keys and shapes, each text with its place. What the texts
//! mean is read by crate `policy`.

use std::borrow::Cow;
use std::fmt;

use policy::written::{self, Place, Text};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use super::place::Position;
use super::shape::{At, Named, present, text_of_scalars};

/// Who may do what with which connections, for how long. What no policy names is refused.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "policy", rename = "Policy")]
pub(crate) struct PolicyFile {
    /// Its name, in every record and refusal.
    pub(crate) name: At<String>,

    /// Whom it means: `group:NAME`, `identity:NAME`, `identity:ISSUER|SUBJECT`, `issuer:URL`,
    /// `claim.NAME:VALUE` or `"*"`. Of a list any, of a map all must hold.
    pub(crate) who: WhoFile,

    /// The connections it is about, or `"*"`.
    pub(crate) to: Texts,

    /// How it is opened. Without this key it opens nothing, and binds whoever it means in every
    /// session.
    #[serde(default, deserialize_with = "present")]
    pub(crate) access: Option<At<AccessFile>>,

    /// What may be done.
    #[serde(default)]
    pub(crate) allow: Rules,

    /// What may be done once people agree.
    #[serde(default)]
    pub(crate) hold: Rules,

    /// What may not be done, whatever others allow.
    #[serde(default)]
    pub(crate) refuse: Rules,

    /// How much: `rows`, `bytes` and `statements` as `N per statement`, `session`, `grant`,
    /// `minute`, `hour` or `day`; `sessions` and `running` as numbers; `statement_time`,
    /// `idle_in_transaction`, `hold_wait` and `hold_wait_in_transaction` as times. Of several
    /// policies the stricter holds.
    #[serde(default)]
    pub(crate) limits: Named<Texts>,

    /// Columns that are shown masked, and how: `redact` (a constant of the type), `empty` (NULL),
    /// `last4`, `first1`, `email`, `year`, `range(N)`, or SQL of your own.
    #[serde(default)]
    pub(crate) mask: Named<MaskFile>,

    /// Columns whose masks, of policies without `access`, are lifted.
    #[serde(default)]
    pub(crate) unmask: Texts,

    /// Of a table the rows that are there, for reads and for what writes leave: a condition over its
    /// own columns, in which `{claim.NAME}` stands for a claim of who asks.
    #[serde(default)]
    pub(crate) rows: Named<Texts>,

    /// Not built yet: columns that are looked through.
    #[serde(default, deserialize_with = "present")]
    pub(crate) scan: Option<At<ScanFile>>,

    /// Not built yet: what is kept of results.
    #[serde(default, deserialize_with = "present")]
    pub(crate) recording: Option<At<String>>,
}

/// How a policy is opened.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "access", rename = "Access")]
pub(crate) struct AccessFile {
    /// How long a grant lasts.
    #[serde(default)]
    pub(crate) window: Texts,
    /// The longest that can be asked for.
    #[serde(default)]
    pub(crate) longest: Texts,
    /// `none`, or who approves: a map of `by` and `need`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) approval: Option<At<ApprovalFile>>,
    /// Whether a reason has to be given: `required` or `optional`.
    #[serde(default)]
    pub(crate) reason: Texts,
}

/// Who approves.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "approval", rename = "Approval")]
pub(crate) struct ApprovalMap {
    /// Who may approve, as under `who`. Nobody approves their own.
    pub(crate) by: WhoFile,
    /// How many have to; one unless given.
    #[serde(default)]
    pub(crate) need: Texts,
}

pub(crate) enum ApprovalFile {
    Word(String),
    Map(ApprovalMap),
}

/// Not built yet: what is looked for in which columns.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "scan", rename = "Scan")]
pub(crate) struct ScanFile {
    /// The columns.
    pub(crate) columns: Texts,
    /// What for: `card`, `email`, `iban`, `phone`, `secret`, `ssn`.
    #[serde(rename = "for")]
    pub(crate) kinds: Texts,
}

/// A mask by its SQL: an expression over the table's own columns and PostgreSQL's own functions.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mask", rename = "Mask")]
pub(crate) struct MaskMap {
    /// An expression.
    pub(crate) sql: At<String>,
}

pub(crate) enum MaskFile {
    Named(At<String>),
    Map(MaskMap),
}

/// A text or a list of texts.
#[derive(Clone, Default)]
pub(crate) struct Texts(pub(crate) Vec<At<String>>);

#[derive(Default)]
pub(crate) struct WhoFile(Vec<written::Who>);

/// One rule or a list of them.
#[derive(Default)]
pub(crate) struct Rules(Vec<RuleFile>);

#[derive(Default)]
struct RuleFile {
    /// As the file has them; there should be one.
    verbs: Vec<(At<String>, Texts)>,
    except: Texts,
    conditions: Texts,
    by: WhoFile,
    need: Texts,
    shape: Texts,
    at: Option<Position>,
}

impl PolicyFile {
    /// As crate `policy` takes it, and what is wrong with its shape.
    pub(crate) fn written(self, problems: &mut Vec<policy::Problem>) -> written::Policy {
        let mut one = |texts: Texts, key: &str| {
            if let Some(second) = texts.0.get(1) {
                let message = format!("`{key}` is one value and no list");
                problems.push(policy::Problem { place: place(second.at), message });
            }
            texts.0.into_iter().next().map(text)
        };
        let access = self.access.map(|access| {
            let file = access.value;
            written::Access {
                place: place(access.at),
                window: one(file.window, "window"),
                longest: one(file.longest, "longest"),
                reason: one(file.reason, "reason"),
                approval: file.approval.map(|approval| match approval.value {
                    ApprovalFile::Word(word) => {
                        written::Approval::Word(Text { text: word, place: place(approval.at) })
                    }
                    ApprovalFile::Map(map) => written::Approval::By {
                        place: place(approval.at),
                        by: map.by.0,
                        need: one(map.need, "need"),
                    },
                }),
            }
        });
        let rows = self.rows.0.into_iter();
        let rows = rows.filter_map(|(key, value)| Some((text(key), one(value, "rows")?))).collect();
        let mut rules = |rules: Rules| {
            rules.0.into_iter().filter_map(|rule| rule.written(problems)).collect::<Vec<_>>()
        };
        written::Policy {
            allow: rules(self.allow),
            hold: rules(self.hold),
            refuse: rules(self.refuse),
            name: text(self.name),
            who: self.who.0,
            to: self.to.0.into_iter().map(text).collect(),
            access,
            limits: self
                .limits
                .0
                .into_iter()
                .map(|(key, values)| (text(key), values.0.into_iter().map(text).collect()))
                .collect(),
            mask: self
                .mask
                .0
                .into_iter()
                .map(|(key, mask)| {
                    let mask = match mask {
                        MaskFile::Named(name) => written::Mask::Named(text(name)),
                        MaskFile::Map(map) => written::Mask::Sql(text(map.sql)),
                    };
                    (text(key), mask)
                })
                .collect(),
            unmask: self.unmask.0.into_iter().map(text).collect(),
            rows,
            scan: self.scan.map(|scan| written::Scan {
                place: place(scan.at),
                columns: scan.value.columns.0.into_iter().map(text).collect(),
                kinds: scan.value.kinds.0.into_iter().map(text).collect(),
            }),
            recording: self.recording.map(text),
        }
    }
}

impl RuleFile {
    fn written(self, problems: &mut Vec<policy::Problem>) -> Option<written::Rule> {
        let mut verbs = self.verbs.into_iter();
        let (Some((verb, objects)), None) = (verbs.next(), verbs.next()) else {
            let message = "a rule is one `verbs: objects`, with `except`, `if`, `by`, `need` \
                           and `shape` beside it; begin each rule with `- `";
            let problem = policy::Problem { place: place(self.at), message: message.to_owned() };
            problems.push(problem);
            return None;
        };
        if let Some(second) = self.need.0.get(1) {
            let message = "`need` is one number".to_owned();
            problems.push(policy::Problem { place: place(second.at), message });
        }
        if let Some(second) = self.shape.0.get(1) {
            let message = "`shape` is `true` or `false`".to_owned();
            problems.push(policy::Problem { place: place(second.at), message });
        }
        Some(written::Rule {
            verbs: text(verb),
            objects: objects.0.into_iter().map(text).collect(),
            except: self.except.0.into_iter().map(text).collect(),
            conditions: self.conditions.0.into_iter().map(text).collect(),
            by: self.by.0,
            need: self.need.0.into_iter().next().map(text),
            shape: self.shape.0.into_iter().next().map(text),
        })
    }
}

fn text(written: At<String>) -> Text {
    Text { text: written.value, place: place(written.at) }
}

fn place(at: Option<Position>) -> Place {
    at.map_or_else(Place::default, |at| Place {
        line: u32::try_from(at.line).unwrap_or(u32::MAX),
        column: u32::try_from(at.column).unwrap_or(u32::MAX),
    })
}

/// The place of a problem that crate `policy` found.
pub(crate) fn position(place: Place) -> Option<Position> {
    let line = usize::try_from(place.line).ok().filter(|line| *line > 0)?;
    Some(Position { line, column: usize::try_from(place.column).unwrap_or(1).max(1) })
}

/// A text, whatever YAML takes it for.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;

        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar(text.to_owned()))
            }

            text_of_scalars!(Scalar);
        }

        deserializer.deserialize_any(ScalarVisitor)
    }
}

fn scalar(written: At<Scalar>) -> At<String> {
    At { value: written.value.0, at: written.at }
}

enum Loose {
    Text(String),
    Nothing,
    List(Vec<At<Scalar>>),
}

impl<'de> Deserialize<'de> for Loose {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Loose;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Loose, E> {
        Ok(Loose::Text(text.to_owned()))
    }

    fn visit_bool<E: de::Error>(self, it: bool) -> Result<Loose, E> {
        Ok(Loose::Text(it.to_string()))
    }

    fn visit_i64<E: de::Error>(self, it: i64) -> Result<Loose, E> {
        Ok(Loose::Text(it.to_string()))
    }

    fn visit_u64<E: de::Error>(self, it: u64) -> Result<Loose, E> {
        Ok(Loose::Text(it.to_string()))
    }

    fn visit_f64<E: de::Error>(self, it: f64) -> Result<Loose, E> {
        Ok(Loose::Text(it.to_string()))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Loose, E> {
        Ok(Loose::Nothing)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose, A::Error> {
        let mut list = Vec::new();
        while let Some(one) = seq.next_element()? {
            list.push(one);
        }
        Ok(Loose::List(list))
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let At { value, at } = At::<Loose>::deserialize(deserializer)?;
        Ok(Texts(match value {
            Loose::Text(value) => vec![At { value, at }],
            Loose::Nothing => Vec::new(),
            Loose::List(list) => list.into_iter().map(scalar).collect(),
        }))
    }
}

impl JsonSchema for Texts {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Texts".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "text or list", "type": ["string", "number", "array"] })
    }
}

impl serde::Serialize for Texts {
    /// Only the empty default is ever written, into the schema.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl<'de> Deserialize<'de> for WhoFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Alternative {
            One(String),
            All(Vec<(At<String>, Texts)>),
            List(Vec<At<Alternative>>),
        }

        struct AlternativeVisitor;

        impl<'de> Visitor<'de> for AlternativeVisitor {
            type Value = Alternative;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("whom it means: a text, a map, or a list of these")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Alternative, E> {
                Ok(Alternative::One(text.to_owned()))
            }

            text_of_scalars!(Alternative);

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Alternative, A::Error> {
                let mut all = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    all.push(entry);
                }
                Ok(Alternative::All(all))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Alternative, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element()? {
                    list.push(one);
                }
                Ok(Alternative::List(list))
            }
        }

        impl<'de> Deserialize<'de> for Alternative {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(AlternativeVisitor)
            }
        }

        // The parser bounds the depth, and a list in a list is as good as one.
        let mut open = vec![At::<Alternative>::deserialize(deserializer)?];
        let mut all = Vec::new();
        while let Some(At { value, at }) = open.pop() {
            match value {
                Alternative::One(one) => {
                    all.push(written::Who::One(Text { text: one, place: place(at) }));
                }
                Alternative::All(entries) => {
                    let entries = entries
                        .into_iter()
                        .map(|(key, values)| (text(key), values.0.into_iter().map(text).collect()));
                    all.push(written::Who::All(entries.collect(), place(at)));
                }
                Alternative::List(list) => open.extend(list.into_iter().rev()),
            }
        }
        Ok(WhoFile(all))
    }
}

impl JsonSchema for WhoFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Who".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "title": "text, map or list", "type": ["string", "object", "array"] })
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Written {
            One(Box<RuleFile>),
            List(Vec<At<Written>>),
        }

        struct RulesVisitor;

        impl<'de> Visitor<'de> for RulesVisitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rules")
            }

            /// Verbs that need no objects.
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                let verbs = vec![(At::unwritten(text.to_owned()), Texts::default())];
                Ok(Written::One(Box::new(RuleFile { verbs, ..RuleFile::default() })))
            }

            text_of_scalars!(Written);

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Written, A::Error> {
                let mut rule = RuleFile::default();
                while let Some(key) = map.next_key::<At<String>>()? {
                    match &*key.value {
                        "except" => rule.except = map.next_value()?,
                        "if" => rule.conditions = map.next_value()?,
                        "by" => rule.by = map.next_value()?,
                        "need" => rule.need = map.next_value()?,
                        "shape" => rule.shape = map.next_value()?,
                        _ => rule.verbs.push((key, map.next_value()?)),
                    }
                }
                Ok(Written::One(Box::new(rule)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written, A::Error> {
                let mut list = Vec::new();
                while let Some(one) = seq.next_element()? {
                    list.push(one);
                }
                Ok(Written::List(list))
            }
        }

        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(RulesVisitor)
            }
        }

        let mut open = vec![At::<Written>::deserialize(deserializer)?];
        let mut rules = Vec::new();
        while let Some(At { value, at }) = open.pop() {
            match value {
                Written::One(mut rule) => {
                    rule.at = at;
                    for (verb, _) in &mut rule.verbs {
                        verb.at = verb.at.or(at);
                    }
                    rules.push(*rule);
                }
                Written::List(list) => open.extend(list.into_iter().rev()),
            }
        }
        Ok(Rules(rules))
    }
}

impl JsonSchema for Rules {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Rules".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let texts = generator.subschema_for::<Texts>();
        let who = generator.subschema_for::<WhoFile>();
        json_schema!({
            "title": "list of rules",
            "type": ["array", "object", "string"],
            "items": {
                "title": "rule",
                "type": ["object", "string"],
                "properties": { "except": texts, "if": texts, "by": who, "need": { "type": "integer", "minimum": 1 }, "shape": { "type": "boolean" } },
                "additionalProperties": texts
            }
        })
    }
}

impl serde::Serialize for Rules {
    /// Only the empty default is ever written, into the schema.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_none()
    }
}

impl<'de> Deserialize<'de> for ApprovalFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ApprovalVisitor;

        impl<'de> Visitor<'de> for ApprovalVisitor {
            type Value = ApprovalFile;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, or a map of `by` and `need`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ApprovalFile, E> {
                Ok(ApprovalFile::Word(text.to_owned()))
            }

            text_of_scalars!(ApprovalFile);

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ApprovalFile, A::Error> {
                ApprovalMap::deserialize(MapAccessDeserializer::new(map)).map(ApprovalFile::Map)
            }
        }

        deserializer.deserialize_any(ApprovalVisitor)
    }
}

impl JsonSchema for ApprovalFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ApprovalOrNone".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<ApprovalMap>();
        json_schema!({ "anyOf": [{ "title": "`none`", "const": "none" }, map] })
    }
}

impl<'de> Deserialize<'de> for MaskFile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Written {
            Named(String),
            Map(MaskMap),
        }

        struct MaskVisitor;

        impl<'de> Visitor<'de> for MaskVisitor {
            type Value = Written;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a mask, or { sql: \"…\" }")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
                String::deserialize(StrDeserializer::new(text)).map(Written::Named)
            }

            text_of_scalars!(Written);

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                MaskMap::deserialize(MapAccessDeserializer::new(map)).map(Written::Map)
            }
        }

        impl<'de> Deserialize<'de> for Written {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(MaskVisitor)
            }
        }

        let At { value, at } = At::<Written>::deserialize(deserializer)?;
        Ok(match value {
            Written::Named(value) => MaskFile::Named(At { value, at }),
            Written::Map(map) => MaskFile::Map(map),
        })
    }
}

impl JsonSchema for MaskFile {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "MaskOrName".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let map = generator.subschema_for::<MaskMap>();
        json_schema!({ "anyOf": [{ "title": "name of a mask", "type": "string" }, map] })
    }
}
