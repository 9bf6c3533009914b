//! The configuration file as it is written: its keys, their types and what they mean. The doc
//! comments here are the reference page and the JSON Schema. What the values come to is
//! `resolve`'s business; how a single value is read is in `values`, how positions are kept in
//! `shape`.

use std::fmt;

use gateway::settings::Bounds;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::de::{self, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::issuers::IssuerFile;
use super::policies::{PolicyFile, Texts};
use super::shape::{At, Named, OneOrMany, present, text_of_scalars};
use super::state::StatePlace;
use super::values;

/// The configuration of `gatepost serve`. Only `connections` is required. Relative paths are
/// relative to the directory of this file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "gatepost.yaml")]
pub(crate) struct File {
    /// Where clients connect: an address or a list of them. An address is an IP address with a
    /// port (IPv6 in brackets) or the path of a Unix socket to make.
    #[serde(default = "default_listen")]
    pub(crate) listen: At<OneOrMany<ListenAddress>>,

    /// TLS for clients. Without it a client that asks for TLS is told that there is none.
    #[serde(default, deserialize_with = "present")]
    pub(crate) tls: Option<ListenerTls>,

    /// From where a client may connect without TLS. Unix sockets always may.
    #[serde(default)]
    pub(crate) plaintext: Plaintext,

    /// Serves `/healthz`, `/metrics`, `/v1` (requests, grants, holds, sessions, the status) and `/saml`
    /// (logins in the browser) on this address, with TLS too where `tls` is set; without it there is no HTTP listener. Over plain HTTP
    /// secrets are taken from the same machine alone.
    #[serde(default, deserialize_with = "present")]
    pub(crate) http: Option<At<HttpAddress>>,

    /// What Gatepost remembers: requests, grants, holds, tokens (their verifiers alone), the newest
    /// heads of journals. A path is a file (SQLite), made when it doesn't exist; a map names a
    /// PostgreSQL database, which several gateways can share.
    #[serde(default = "default_state")]
    pub(crate) state: At<StatePlace>,

    /// Where everything is recorded before it happens.
    #[serde(default)]
    pub(crate) journal: JournalFile,

    /// Everything that could grow without end, and where it stops.
    #[serde(default)]
    pub(crate) bounds: BoundsFile,

    /// Databases, by the name that a client gives as `dbname`. The name `"*"` stands for every
    /// other database of one server, and needs `login: database`.
    pub(crate) connections: At<Named<Connection>>,

    /// Local identities: what policies can know of them, and secrets for CI. Who has no secret
    /// here has tokens in the state file: `gatepost token create`.
    #[serde(default)]
    pub(crate) identities: Named<Identity>,

    /// Identity providers. Their tokens prove identities, beside the local ones.
    #[serde(default)]
    pub(crate) issuers: Vec<IssuerFile>,

    /// Who may see every request, grant and session over HTTP, and end them: `group:NAME`,
    /// `identity:NAME` and what else a policy's `by` can name. It lets nobody approve anything.
    #[serde(default)]
    pub(crate) admins: Texts,

    /// Who may do what. Without this key there are only identity and recording: whoever has proven
    /// an identity may do whatever the connection's own `user` may. With it, what no policy names
    /// is refused. See `docs/policies.md`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) policies: Option<Vec<PolicyFile>>,
}

/// The certificate that clients see.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tls for clients")]
pub(crate) struct ListenerTls {
    /// PEM file with the certificate and its chain, leaf first.
    pub(crate) certificate: At<PathText>,
    /// PEM file with the private key.
    pub(crate) key: At<PathText>,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Plaintext {
    /// Only from this machine.
    #[default]
    Loopback,
    /// From anywhere: tokens and data cross the network in the clear.
    Everywhere,
}

/// The journal: lines of JSON, chained and signed. While it can't be written, nothing runs.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "journal", rename = "Journal")]
pub(crate) struct JournalFile {
    /// Its directory, made when it doesn't exist. Each Gatepost has one of its own.
    pub(crate) directory: At<PathText>,
    /// This Gatepost's name, in every record: letters, digits, `.`, `_` and `-`.
    pub(crate) node: At<String>,
    /// PEM file of the Ed25519 key that signs it, made when it doesn't exist. By default it is
    /// `journal.key` in the directory.
    #[serde(deserialize_with = "present")]
    pub(crate) key: Option<At<PathText>>,
    /// The key before that one: it certifies the new one in a record, once.
    #[serde(deserialize_with = "present")]
    pub(crate) previous_key: Option<At<PathText>>,
    /// A file on another disk that always holds the newest signed head, so that a missing tail
    /// is noticed. The state file holds it in any case.
    #[serde(deserialize_with = "present")]
    pub(crate) anchor: Option<At<PathText>>,
    /// For connections with `durability: relaxed`: a record is written at most this much later.
    pub(crate) relaxed: At<DurationText>,
    /// Names (of settings, columns, variables) whose values are secrets and are kept out of
    /// records, besides passwords and keys that everybody knows.
    pub(crate) secrets: Vec<String>,
}

#[derive(Clone, Copy, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Durability {
    /// A statement goes to the database once its record survives loss of power.
    #[default]
    Strict,
    /// A statement goes at once; loss of power can lose the records of `journal.relaxed`.
    Relaxed,
}

/// Limits. Counts are whole numbers from 1 to 1000000, times are at most `3650d`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "bounds", rename = "Bounds")]
pub(crate) struct BoundsFile {
    /// Longest time from a client's first byte to the end of its login.
    pub(crate) login_timeout: At<DurationText>,
    /// Most clients at once that have not logged in yet.
    pub(crate) logins: At<Count>,
    /// Longest message, in bytes, that a client may send before it has logged in.
    pub(crate) login_message_bytes: At<Count>,
    /// Most failed logins a minute of one address, and of one user name. Who has logged in under a
    /// name from an address before is counted apart from all others.
    pub(crate) failed_logins: At<Count>,
    /// Most sessions at once.
    pub(crate) sessions: At<Count>,
    /// Most sessions at once of one identity.
    pub(crate) sessions_per_identity: At<Count>,
    /// A session without a statement for this long is ended; `none` lets it live.
    pub(crate) idle_timeout: At<DurationOrNone>,
    /// How long a stopping Gatepost waits for running statements before it cancels them.
    pub(crate) drain_timeout: At<DurationText>,
    /// A statement is judged by the names that the database had at most this long ago. Zero asks
    /// the database before each one.
    pub(crate) catalog_age_max: At<DurationText>,
}

/// One database, and how Gatepost reaches it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "connection")]
pub(crate) struct Connection {
    /// The server: `host`, `host:port`, `[IPv6]:port`, or a path for a Unix socket; the port is
    /// 5432 unless given. A path is the socket itself if its name begins with `.s.PGSQL.`, else
    /// the directory that holds `.s.PGSQL.5432`. Of a list, the first that accepts is taken. Under
    /// policies a pooler is refused there that shares backends between sessions (transaction pooling).
    pub(crate) address: At<OneOrMany<Address>>,

    /// The database on that server. By default it is the connection's own name. Not for `"*"`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) database: Option<At<String>>,

    /// TLS to the server: a mode, or a map of a mode and a CA. Not used on Unix sockets.
    #[serde(default)]
    pub(crate) tls: At<UpstreamTls>,

    /// `database` is observe mode: the client's own user and password go to the server, which
    /// decides; `user` and `password` have no place then. Without this key the client proves an
    /// identity to Gatepost, and Gatepost logs in as `user`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) login: Option<Login>,

    /// The role Gatepost logs in as. Required, except with `login: database`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) user: Option<At<String>>,

    /// That role's password, by reference. Leave it out if the server asks for none.
    #[serde(default, deserialize_with = "present")]
    pub(crate) password: Option<At<Secret>>,

    /// Longest time for reaching one host and logging in there.
    #[serde(default = "default_connect_timeout")]
    pub(crate) connect_timeout: At<DurationText>,

    /// Whether a statement waits for its record.
    #[serde(default)]
    pub(crate) durability: Durability,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub(crate) enum Login {
    /// The client's own user and password are relayed.
    Database,
}

/// How the leg to the database is protected.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "tls to the database", rename = "UpstreamTls")]
pub(crate) struct UpstreamTlsMap {
    /// What TLS has to prove.
    #[serde(default)]
    pub(crate) mode: TlsMode,
    /// PEM file with the CA certificates to trust instead of the system's. Only for `verify-ca`
    /// and `verify-full`.
    #[serde(default, deserialize_with = "present")]
    pub(crate) ca: Option<At<PathText>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[schemars(inline)]
pub(crate) enum TlsMode {
    /// No TLS.
    Disable,
    /// TLS if the server has it; nothing is verified.
    Prefer,
    /// TLS or nothing; the certificate is not verified.
    Require,
    /// The certificate comes from a trusted CA.
    VerifyCa,
    /// The certificate comes from a trusted CA and names the host.
    #[default]
    VerifyFull,
}

/// A local identity.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "identity")]
pub(crate) struct Identity {
    /// What this identity gives as its password, by reference. Without it the identity has tokens
    /// in the state file.
    #[serde(default, deserialize_with = "present")]
    pub(crate) secret: Option<At<Secret>>,
    /// The groups it is in.
    #[serde(default)]
    pub(crate) groups: Texts,
    /// What else is known of it, by name.
    #[serde(default)]
    pub(crate) claims: Named<Texts>,
}

/// Where a secret is: exactly one of `env`, `file` and `command`. The secret itself never stands
/// in this file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "secret", rename = "Secret")]
pub(crate) struct SecretMap {
    /// A variable of Gatepost's environment.
    #[serde(default, deserialize_with = "present")]
    pub(crate) env: Option<At<String>>,
    /// A file; its first line is the secret.
    #[serde(default, deserialize_with = "present")]
    pub(crate) file: Option<At<PathText>>,
    /// A program and its arguments, run without a shell; the first line it prints is the secret.
    #[serde(default, deserialize_with = "present")]
    pub(crate) command: Option<At<Vec<String>>>,
    /// How long what the command printed is good. Without it the command runs again only when a
    /// login fails.
    #[serde(default, deserialize_with = "present")]
    pub(crate) lifetime: Option<At<DurationText>>,
}

fn default_listen() -> At<OneOrMany<ListenAddress>> {
    let address = ListenAddress("127.0.0.1:6432".to_owned());
    At::unwritten(OneOrMany(vec![At::unwritten(address)]))
}

fn default_state() -> At<StatePlace> {
    At::unwritten(StatePlace::File(PathText("gatepost.db".to_owned())))
}

fn default_connect_timeout() -> At<DurationText> {
    At::unwritten(DurationText("10s".to_owned()))
}

impl Default for JournalFile {
    fn default() -> Self {
        JournalFile {
            directory: At::unwritten(PathText("journal".to_owned())),
            node: At::unwritten("gatepost".to_owned()),
            key: None,
            previous_key: None,
            anchor: None,
            relaxed: At::unwritten(DurationText(values::write_duration(audit::RELAXED))),
            secrets: Vec::new(),
        }
    }
}

impl Default for BoundsFile {
    fn default() -> Self {
        let Bounds {
            login_timeout,
            logins,
            login_message_bytes,
            failed_logins,
            sessions,
            sessions_per_identity,
            idle_timeout,
            drain_timeout,
            catalog_age_max,
        } = Bounds::default();
        let time = |it| At::unwritten(DurationText(values::write_duration(it)));
        let count = |it: usize| At::unwritten(Count(it.to_string()));
        BoundsFile {
            login_timeout: time(login_timeout),
            logins: count(logins),
            login_message_bytes: count(login_message_bytes),
            failed_logins: count(failed_logins),
            sessions: count(sessions),
            sessions_per_identity: count(sessions_per_identity),
            idle_timeout: At::unwritten(DurationOrNone(match idle_timeout {
                Some(it) => values::write_duration(it),
                None => "none".to_owned(),
            })),
            drain_timeout: time(drain_timeout),
            catalog_age_max: time(catalog_age_max),
        }
    }
}

/// A time span: a whole number and `ms`, `s`, `m`, `h` or `d`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "duration", extend("pattern" = r"^[0-9]+(ms|s|m|h|d)$"))]
pub(crate) struct DurationText(pub(crate) String);

/// A time span, or `none`.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "duration or `none`", extend("pattern" = r"^(none|[0-9]+(ms|s|m|h|d))$"))]
pub(crate) struct DurationOrNone(pub(crate) String);

/// An address to listen on.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "listen address")]
pub(crate) struct ListenAddress(pub(crate) String);

/// An IP address and a port.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "IP address and port")]
pub(crate) struct HttpAddress(pub(crate) String);

/// A server's address.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "address")]
pub(crate) struct Address(pub(crate) String);

/// A path, relative to the directory of the configuration file.
#[derive(Clone, Deserialize, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline, title = "path")]
pub(crate) struct PathText(pub(crate) String);

/// A whole number as written. It is read later, so that a bad one is reported with all others.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub(crate) struct Count(pub(crate) String);

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let count = values::count(&self.0).map_err(serde::ser::Error::custom)?;
        serializer.serialize_u64(count as u64)
    }
}

impl JsonSchema for Count {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Count".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "title": "number", "type": "integer", "minimum": 1, "maximum": values::COUNT_MAX,
        })
    }
}

/// A mode alone, as text that is still to be read, or a map.
#[derive(Clone)]
pub(crate) enum UpstreamTls {
    Mode(String),
    Map(UpstreamTlsMap),
}

impl Default for UpstreamTls {
    fn default() -> Self {
        UpstreamTls::Map(UpstreamTlsMap { mode: TlsMode::default(), ca: None })
    }
}

impl UpstreamTls {
    pub(crate) fn read(&self) -> Result<UpstreamTlsMap, serde_saphyr::Error> {
        match self {
            UpstreamTls::Map(map) => Ok(map.clone()),
            UpstreamTls::Mode(text) => {
                let mode = TlsMode::deserialize(StrDeserializer::new(text))?;
                Ok(UpstreamTlsMap { mode, ca: None })
            }
        }
    }
}

impl Serialize for UpstreamTls {
    /// Only the default is ever written, into the schema.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        TlsMode::default().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for UpstreamTls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TlsVisitor;

        impl<'de> Visitor<'de> for TlsVisitor {
            type Value = UpstreamTls;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a mode or a map of `mode` and `ca`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UpstreamTls, A::Error> {
                UpstreamTlsMap::deserialize(MapAccessDeserializer::new(map)).map(UpstreamTls::Map)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<UpstreamTls, E> {
                Ok(UpstreamTls::Mode(text.to_owned()))
            }

            // As with addresses: a wrong text, refused later and with its place.
            text_of_scalars!(UpstreamTls);
        }

        deserializer.deserialize_any(TlsVisitor)
    }
}

impl JsonSchema for UpstreamTls {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "UpstreamTlsOrMode".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mode = generator.subschema_for::<TlsMode>();
        let map = generator.subschema_for::<UpstreamTlsMap>();
        json_schema!({ "anyOf": [mode, map] })
    }
}

/// A reference to a secret, or something else that must not be repeated in any message.
pub(crate) enum Secret {
    Reference(SecretMap),
    Literal,
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SecretVisitor;

        // Whatever else is written here is taken for a secret and dropped unread, because
        // serde's own errors would repeat it.
        impl<'de> Visitor<'de> for SecretVisitor {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map with `env`, `file` or `command`")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Secret, A::Error> {
                SecretMap::deserialize(MapAccessDeserializer::new(map)).map(Secret::Reference)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Secret, A::Error> {
                while seq.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Secret::Literal)
            }

            fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_i128<E: de::Error>(self, _: i128) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_u128<E: de::Error>(self, _: u128) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Secret, E> {
                Ok(Secret::Literal)
            }
        }

        deserializer.deserialize_any(SecretVisitor)
    }
}

impl JsonSchema for Secret {
    fn inline_schema() -> bool {
        SecretMap::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        SecretMap::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        SecretMap::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        SecretMap::json_schema(generator)
    }
}
