//! What the gateway runs by: connections, accounts, TLS and bounds, resolved at the edge so that
//! nothing below re-checks a string. How a file spells them is the binary's business.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::{Identity, oidc};
use policy::{Policies, Subject};

use crate::secret::Secret;
use crate::tls::{ListenerTls, UpstreamTls};

/// One consistent version of the configuration. A reload makes a new one; sessions that are open
/// keep the one they began with.
pub struct Settings {
    /// Databases by the name that clients give as `dbname`.
    pub connections: HashMap<String, Arc<Connection>>,
    /// The connection named `"*"`: every database of one server that no other name covers.
    pub any_database: Option<Arc<Connection>>,
    /// Local identities whose secret is in the file; the others have tokens in the state file.
    pub accounts: HashMap<String, Secret>,
    /// Identity providers whose tokens prove identities. No two have the same URL.
    pub issuers: Vec<Arc<Issuer>>,
    /// Identity providers that speak SAML, each with an entity ID of its own.
    pub saml: Vec<Arc<Saml>>,
    /// TLS for clients. Without it `SSLRequest` is answered with `N`.
    pub tls: Option<ListenerTls>,
    pub plaintext: Plaintext,
    pub bounds: Bounds,
    /// What policies can know of local identities, beside their names.
    pub traits: HashMap<String, Traits>,
    /// Who may do what. `None`: the file has no policies, so whoever has proven an identity may do
    /// what the connection's own credential may.
    pub policies: Option<Arc<Policies>>,
    /// Who may see and end all grants and sessions, each spelled as a policy's `by`.
    pub admins: Vec<String>,
    /// Names whose values are kept out of records, besides those that everybody knows.
    pub secret_names: Vec<String>,
}

impl Settings {
    /// With what the file says of it now.
    pub(crate) fn known(&self, identity: Identity) -> Identity {
        let traits = identity.local_name().and_then(|name| self.traits.get(name)).cloned();
        match traits {
            Some(Traits { groups, claims }) => Identity { groups, claims, ..identity },
            None => identity,
        }
    }

    /// All that policies are asked about. Of a local identity the file says more, and says it anew
    /// at each reload.
    pub fn subject<'s>(&'s self, identity: &'s Identity) -> Subject<'s> {
        let name = identity.local_name();
        let traits = name.and_then(|name| self.traits.get(name));
        Subject {
            name,
            issuer: &identity.issuer,
            subject: &identity.subject,
            groups: traits.map_or(&identity.groups, |traits| &traits.groups),
            claims: traits.map_or(&identity.claims, |traits| &traits.claims),
        }
    }
}

/// What is known of a local identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    pub groups: Vec<String>,
    pub claims: BTreeMap<String, String>,
}

/// An identity provider: what its tokens have to be, and how its keys are fetched.
pub struct Issuer {
    pub oidc: oidc::Issuer,
    /// To it and to where its keys are; not used where they are on this very machine.
    pub tls: UpstreamTls,
    /// Keys that were fetched longer ago prove nothing.
    pub keys_age_max: Duration,
    /// A session ends when the token does that opened it.
    pub ends_with_token: bool,
    /// Who logs in by OAUTHBEARER; all others give their tokens as passwords.
    pub bearer: Option<Bearer>,
    /// How people get a token of it; without it they bring theirs.
    pub people: Option<People>,
}

/// What `gatepost login` is to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct People {
    pub client_id: String,
    pub scopes: Vec<String>,
    pub token: TokenKind,
    /// Whom the token is for, where the provider wants to hear that (RFC 8707).
    pub resource: Option<String>,
}

/// Which of the tokens that a provider gives is the one that logs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    Access,
    Id,
}

/// An identity provider that speaks SAML.
#[derive(Debug)]
pub struct Saml {
    pub provider: identity::saml::Provider,
    /// A session ends with the provider's own session, or with the token that opened it.
    pub ends_with_token: bool,
}

/// Logins by OAUTHBEARER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The user name that asks for it; `None` is every name that means nothing else.
    pub user: Option<String>,
    /// What a client asks the provider for.
    pub scope: String,
}

/// From where a client may connect without TLS. Unix sockets always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plaintext {
    /// Only from this machine: a password exchange and data in the clear stay on it.
    Loopback,
    Everywhere,
}

/// A registered database.
pub struct Connection {
    pub name: String,
    /// Tried in order until one accepts.
    pub hosts: Vec<Host>,
    pub tls: UpstreamTls,
    pub login: Login,
    /// For reaching one host and logging in there.
    pub connect_timeout: Duration,
    /// Whether a statement waits until its record survives loss of power.
    pub durability: audit::Durability,
}

impl Connection {
    /// Another reading of the file says the same of it. Secrets are compared by where they come from.
    pub(crate) fn is_as(&self, other: &Connection) -> bool {
        // All of it is named here, so that whoever adds to it has to decide.
        let Connection { name, hosts, tls, login, connect_timeout, durability } = self;
        *name == other.name
            && *hosts == other.hosts
            && tls.is_as(&other.tls)
            && login.is_as(&other.login)
            && *connect_timeout == other.connect_timeout
            && *durability == other.durability
    }
}

impl Login {
    fn is_as(&self, other: &Login) -> bool {
        match (self, other) {
            (
                Login::Gateway { user, database, password },
                Login::Gateway { user: its_user, database: its_database, password: its_password },
            ) => {
                let source = |password: &Option<Secret>| password.as_ref().map(Secret::source);
                (user, database) == (its_user, its_database)
                    && source(password) == source(its_password)
            }
            (Login::Database { database }, Login::Database { database: its_database }) => {
                database == its_database
            }
            (Login::Gateway { .. }, Login::Database { .. })
            | (Login::Database { .. }, Login::Gateway { .. }) => false,
        }
    }

    /// A secret of its own is read anew when it is needed next.
    pub(crate) fn forget_secret(&self) {
        if let Login::Gateway { password: Some(password), .. } = self {
            password.forget();
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Tcp {
        host: String,
        port: u16,
    },
    /// The socket itself, as in `/run/postgresql/.s.PGSQL.5432`.
    Unix(PathBuf),
}

/// Whose credential opens the database.
pub enum Login {
    /// Gatepost's own: the client proves an identity to Gatepost and never sees this.
    Gateway { user: String, database: String, password: Option<Secret> },
    /// The client's: user, database and password exchange are relayed (observe mode).
    /// `database` replaces the name the client gave.
    Database { database: Option<String> },
}

/// Everything that could grow without end, and where it stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From the first byte to the end of the login.
    pub login_timeout: Duration,
    /// Connections that have not logged in, at once.
    pub logins: usize,
    /// Bytes of one message before login; PostgreSQL's own bound on the startup packet.
    pub login_message_bytes: usize,
    /// Failed logins a minute, of an address and of a name.
    pub failed_logins: usize,
    /// Sessions at once, in all and for each identity.
    pub sessions: usize,
    pub sessions_per_identity: usize,
    /// A session without a statement for this long is ended; `None` lets it live.
    pub idle_timeout: Option<Duration>,
    /// How long a stopping gateway waits for running statements before it cancels them.
    pub drain_timeout: Duration,
    /// A statement is judged by a catalog that was true at most this long ago.
    pub catalog_age_max: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            login_timeout: Duration::from_secs(30),
            logins: 500,
            login_message_bytes: 10_000,
            failed_logins: 60,
            sessions: 1_000,
            sessions_per_identity: 100,
            idle_timeout: Some(Duration::from_secs(3600)),
            drain_timeout: Duration::from_secs(30),
            catalog_age_max: Duration::from_secs(1),
        }
    }
}
