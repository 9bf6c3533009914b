//! `state` as it is written: the path of a file, or a map that says where PostgreSQL is.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::file::{Address, PathText, Secret, UpstreamTls};
use super::shape::{At, OneOrMany, present, text_of_scalars};

pub(crate) enum StatePlace {
    File(PathText),
    Elsewhere(Box<Elsewhere>),
}

/// State that several gateways share.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "state in a database", rename = "State")]
pub(crate) struct Elsewhere {
    /// The database that holds it, in a schema `gatepost_state` that Gatepost makes.
    pub(crate) postgres: StatePostgres,
}

/// A PostgreSQL database for Gatepost's own state. Where it fails over, only a synchronous standby
/// keeps all that was approved and claimed: without one a statement could run twice.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "state in PostgreSQL", rename = "StatePostgres")]
pub(crate) struct StatePostgres {
    /// As a connection's, and the server itself: no pooler that shares sessions. Of a list, the
    /// first that can be written to is taken.
    pub(crate) address: At<OneOrMany<Address>>,
    /// The database on that server.
    pub(crate) database: At<String>,
    /// The role that Gatepost logs in as. It makes the schema, or owns it.
    pub(crate) user: At<String>,
    /// That role's password, by reference. Leave it out if the server asks for none.
    #[serde(default, deserialize_with = "present")]
    pub(crate) password: Option<At<Secret>>,
    /// TLS to the server: a mode, or a map of a mode and a CA. Not used on Unix sockets.
    #[serde(default)]
    pub(crate) tls: At<UpstreamTls>,
}

impl Serialize for StatePlace {
    /// Only the default is ever written, into the schema.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::File(path) => path.serialize(serializer),
            Self::Elsewhere(_) => serializer.serialize_none(),
        }
    }
}

impl<'de> Deserialize<'de> for StatePlace {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PlaceVisitor;

        impl<'de> Visitor<'de> for PlaceVisitor {
            type Value = StatePlace;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a map with `postgres`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StatePlace, A::Error> {
                let elsewhere = Elsewhere::deserialize(MapAccessDeserializer::new(map))?;
                Ok(StatePlace::Elsewhere(Box::new(elsewhere)))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StatePlace, E> {
                Ok(StatePlace::File(PathText(text.to_owned())))
            }

            // As with addresses: a wrong text, refused later and with its place.
            text_of_scalars!(StatePlace);
        }

        deserializer.deserialize_any(PlaceVisitor)
    }
}

impl JsonSchema for StatePlace {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "StatePlace".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let path = generator.subschema_for::<PathText>();
        let map = generator.subschema_for::<Elsewhere>();
        json_schema!({ "anyOf": [path, map] })
    }
}
