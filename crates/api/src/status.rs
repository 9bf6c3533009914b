//! `GET /v1/status`: which of Gatepost's protections are on for each connection, and the last
//! durable record. These are the answer's own types, which `gatepost status` reads back. No
//! address, role or secret is in it: whoever may read the metrics may read this.

use audit::{Durability, Head, Health};
use gateway::Gateway;
use gateway::settings::{Connection, Login, Settings};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// `None` where nobody was asked who knows.
    pub gateway: Option<Running>,
    pub journal: Journal,
    /// In the order of their names, `*` first.
    pub connections: Vec<OfConnection>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatusOfGateway")]
pub struct Running {
    pub stopping: bool,
    /// Open now.
    pub sessions: usize,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatusOfJournal")]
pub struct Journal {
    /// Why nothing can be recorded, and so nothing runs.
    pub refusing: Option<String>,
    /// Everything up to it survives loss of power. `None` before the first.
    pub durable: Option<Durable>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "DurableRecord")]
pub struct Durable {
    pub record: u64,
    pub time: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatusOfConnection")]
pub struct OfConnection {
    pub name: String,
    /// Clients prove an identity to Gatepost. If not, their own login is relayed.
    pub identity: bool,
    /// After how long without a statement a session ends.
    pub idle_timeout_ms: Option<u64>,
    /// The policies about it. `None`: there are none at all, and everything passes.
    pub policies: Option<Vec<OfPolicy>>,
    /// A statement waits until its record survives loss of power.
    pub strict: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StatusOfPolicy")]
pub struct OfPolicy {
    pub name: String,
    /// How long a session lasts that it opens.
    pub window_ms: Option<u64>,
    /// It has masks.
    pub masks: bool,
    /// It has row filters.
    pub rows: bool,
}

impl Status {
    /// Of a gateway that runs.
    pub fn of(gateway: &Gateway) -> Status {
        let refusing = match gateway.journal_health() {
            Health::Writing => None,
            Health::Refusing { why, .. } => Some(why.to_string()),
        };
        Status {
            gateway: Some(Running {
                stopping: gateway.is_stopping(),
                sessions: gateway.sessions(),
            }),
            journal: Journal { refusing, durable: gateway.journal_head().map(Durable::from) },
            connections: gateway.read_settings(of_connections),
        }
    }

    /// Of what a file says, when no gateway can be asked.
    pub fn of_settings(settings: &Settings, newest: Option<Head>) -> Status {
        Status {
            gateway: None,
            journal: Journal { refusing: None, durable: newest.map(Durable::from) },
            connections: of_connections(settings),
        }
    }
}

impl From<Head> for Durable {
    /// A head stands behind the record that it signs, and both were written as one.
    fn from(head: Head) -> Self {
        Durable { record: head.number, time: head.time }
    }
}

fn of_connections(settings: &Settings) -> Vec<OfConnection> {
    let all = settings.connections.values().chain(&settings.any_database);
    let mut connections: Vec<_> =
        all.map(|connection| of_connection(settings, connection)).collect();
    connections.sort_by(|one, other| one.name.cmp(&other.name));
    connections
}

fn of_connection(settings: &Settings, connection: &Connection) -> OfConnection {
    let milliseconds = |time: std::time::Duration| u64::try_from(time.as_millis()).ok();
    OfConnection {
        name: connection.name.clone(),
        identity: matches!(connection.login, Login::Gateway { .. }),
        idle_timeout_ms: settings.bounds.idle_timeout.and_then(milliseconds),
        policies: settings.policies.as_ref().map(|policies| {
            let about = policies.about(&connection.name).into_iter();
            let of = |it: policy::About<'_>| OfPolicy {
                name: it.name.to_owned(),
                window_ms: it.window.and_then(milliseconds),
                masks: it.masks,
                rows: it.rows,
            };
            about.map(of).collect()
        }),
        strict: connection.durability == Durability::Strict,
    }
}
