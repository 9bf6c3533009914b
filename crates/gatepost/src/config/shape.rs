//! The shapes that values of the file have, whatever they mean: a value with its place, names and
//! what they stand for, one or a list. They keep positions, which serde's own types would lose.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use serde_saphyr::Spanned;

use super::place::Position;

/// In a visitor: every scalar that isn't a text is the text it is written as.
macro_rules! text_of_scalars {
    ($value:ty) => {
        fn visit_bool<E: de::Error>(self, it: bool) -> Result<$value, E> {
            self.visit_str(&it.to_string())
        }

        fn visit_i64<E: de::Error>(self, it: i64) -> Result<$value, E> {
            self.visit_str(&it.to_string())
        }

        fn visit_u64<E: de::Error>(self, it: u64) -> Result<$value, E> {
            self.visit_str(&it.to_string())
        }

        fn visit_f64<E: de::Error>(self, it: f64) -> Result<$value, E> {
            self.visit_str(&it.to_string())
        }

        fn visit_unit<E: de::Error>(self) -> Result<$value, E> {
            self.visit_str("")
        }
    };
}

pub(crate) use text_of_scalars;

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct At<T> {
    pub(crate) value: T,
    /// `None` for a default.
    pub(crate) at: Option<Position>,
}

impl<T> At<T> {
    pub(crate) fn unwritten(value: T) -> Self {
        At { value, at: None }
    }
}

impl<T: Default> Default for At<T> {
    fn default() -> Self {
        At::unwritten(T::default())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for At<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Spanned { value, referenced, .. } = Spanned::<T>::deserialize(deserializer)?;
        Ok(At { value, at: Position::of(referenced) })
    }
}

impl<T: Serialize> Serialize for At<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.value.serialize(serializer)
    }
}

impl<T: JsonSchema> JsonSchema for At<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// Names and what they stand for, in the order of the file.
pub(crate) struct Named<T>(pub(crate) Vec<(At<String>, T)>);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Named(Vec::new())
    }
}

impl<T> Serialize for Named<T> {
    /// Only the empty default is ever written, into the schema.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        serializer.serialize_map(Some(0))?.end()
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Named<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NamedVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for NamedVisitor<T> {
            type Value = Named<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Named<T>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Named(entries))
            }
        }

        deserializer.deserialize_map(NamedVisitor(PhantomData))
    }
}

impl<T: JsonSchema> JsonSchema for Named<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("NamesOf{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let of = generator.subschema_for::<T>();
        json_schema!({ "type": "object", "additionalProperties": of })
    }
}

/// One value or a list of them.
#[derive(Clone)]
pub(crate) struct OneOrMany<T>(pub(crate) Vec<At<T>>);

impl<T: Serialize> Serialize for OneOrMany<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [one] => one.serialize(serializer),
            many => many.serialize(serializer),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        enum Written<T> {
            One(T),
            Many(Vec<At<T>>),
        }

        struct WrittenVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for WrittenVisitor<T> {
            type Value = Written<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a list of them")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Written<T>, E> {
                T::deserialize(StrDeserializer::new(text)).map(Written::One)
            }

            // What YAML takes for something else is still a text here, and a wrong one: so it
            // is refused with its place, which the parser's own error would not have.
            text_of_scalars!(Written<T>);

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Written<T>, A::Error> {
                let mut many = Vec::new();
                while let Some(one) = seq.next_element()? {
                    many.push(one);
                }
                Ok(Written::Many(many))
            }
        }

        impl<'de, T: Deserialize<'de>> Deserialize<'de> for Written<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(WrittenVisitor(PhantomData))
            }
        }

        let At { value, at } = At::<Written<T>>::deserialize(deserializer)?;
        Ok(OneOrMany(match value {
            Written::One(value) => vec![At { value, at }],
            Written::Many(many) => many,
        }))
    }
}

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        let many = json_schema!({ "type": "array", "items": one, "minItems": 1 });
        json_schema!({ "anyOf": [one, many] })
    }
}

/// A key that is written has a value: an empty `tls:` must not quietly mean "no TLS".
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}
