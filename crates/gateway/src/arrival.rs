//! A connection from its first byte to its session: TLS or not, who it is, which database, and
//! a backend there. Everything that is refused before a session is refused here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::SystemTime;

use audit::Durability;
use audit::event::{Batch, Cancel, Context, Event, LoginRefused, SessionBegins, Who};
use identity::Identity;
use tokio::time::Instant;
use wire::backend::{self, Authentication, BackendKey};
use wire::startup::{self, FirstPacket, Startup, Version};

use crate::admission::{LoginPlace, SessionPlace};
use crate::door::{self, Proof};
use crate::gate::{self, Gate, May, Person, Rules};
use crate::gateway::{Gateway, Installed};
use crate::grants::{Asked, Entering, Entry, Tenure};
use crate::limits::{self, Meter};
use crate::line::{Line, LineError};
use crate::metrics::{Cancelled, Refused};
use crate::observe;
use crate::refusal::{Denied, Refusal};
use crate::roster::About;
use crate::session::{self, Leg, Session};
use crate::settings::{Connection, Login, Plaintext};
use crate::stream::Stream;
use crate::upstream::{self, Credential, Opened};

/// A connection that was just accepted.
pub(crate) struct Arrival {
    pub(crate) stream: Accepted,
    pub(crate) place: Result<LoginPlace, Refusal>,
}

/// An accepted socket on its way to the thread that will serve it.
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

/// Why a connection does not become a session.
#[derive(Debug)]
pub(crate) enum Departure {
    /// The peer went, or has been told all there is to say.
    Left,
    Refused(Refusal),
    /// In observe mode: the database refused, and the client has read its own words.
    RefusedByDatabase {
        sqlstate: String,
    },
    /// In observe mode: this host can't, another may.
    TryNext,
}

impl From<LineError> for Departure {
    fn from(error: LineError) -> Self {
        match error {
            LineError::Closed | LineError::Io(_) => Departure::Left,
            LineError::Late => Departure::Refused(Refusal::LoginTimeout),
            LineError::Frame(_) => Departure::Refused(Refusal::MessageLength),
            LineError::Startup(error) => Departure::Refused(Refusal::Startup(error)),
        }
    }
}

impl From<Refusal> for Departure {
    fn from(refusal: Refusal) -> Self {
        Departure::Refused(refusal)
    }
}

/// Serves one connection from its first byte to its last.
pub(crate) async fn attend(gateway: &Arc<Gateway>, arrival: Arrival) {
    let installed = gateway.installed();
    let (stream, peer) = match arrival.stream.into_stream() {
        Ok(stream) => stream,
        Err(error) => return tracing::debug!(%error, "a connection broke as it began"),
    };
    let mut line = Line::new(stream, installed.settings.bounds.login_timeout);
    let mut visit = Visit {
        gateway,
        installed: &installed,
        peer,
        user: None,
        database: None,
        application: None,
        place: None,
    };
    let mut first = match arrival.place {
        Ok(place) => {
            visit.place = Some(place);
            visit.first_packet(&mut line).await
        }
        Err(refusal) => Err(refusal.into()),
    };
    if let Ok(First::Tls) = first {
        line = match visit.begin_tls(line).await {
            Ok(line) => line,
            Err(error) => return tracing::info!(peer = %visit.peer(), %error, "TLS failed"),
        };
        first = visit.packet_under_tls(&mut line).await;
    }
    let opened = match first {
        Ok(First::Startup(startup)) => visit.login(&mut line, startup).await,
        Ok(First::Cancel { pid, key }) => return visit.cancel(pid, &key).await,
        Ok(First::Tls) => Err(Departure::Left),
        Err(departure) => Err(departure),
    };
    visit.place = None;
    match opened {
        Ok(opened) => visit.run(line, opened).await,
        Err(Departure::Refused(refusal)) => visit.refuse(line, &refusal).await,
        Err(Departure::RefusedByDatabase { sqlstate }) => {
            tracing::info!(peer = %visit.peer(), sqlstate, "refused by the database");
            visit.record_refusal("the database refused the login", &sqlstate).await;
        }
        Err(Departure::Left | Departure::TryNext) => {}
    }
}

/// What a client wants first.
enum First {
    Tls,
    Cancel { pid: i32, key: Vec<u8> },
    Startup(Startup),
}

/// One connection's way through the house.
struct Visit<'a> {
    gateway: &'a Arc<Gateway>,
    installed: &'a Arc<Installed>,
    /// `None` over a Unix socket.
    peer: Option<SocketAddr>,
    /// As the client asked; nothing of it is proven.
    user: Option<String>,
    database: Option<String>,
    application: Option<String>,
    /// Until somebody has logged in.
    place: Option<LoginPlace>,
}

/// A client that is who it says, and a backend for it.
struct Admitted {
    identity: Identity,
    /// How that was proven, as records have it.
    method: &'static str,
    token_ends: Option<Instant>,
    connection: Arc<Connection>,
    opened: Opened,
    may: May,
    /// The role that PostgreSQL knows the session by.
    role: String,
    place: SessionPlace,
}

impl Visit<'_> {
    /// The first packet that is not a question about encryption. Each question may come once.
    async fn first_packet(&self, line: &mut Line) -> Result<First, Departure> {
        let settings = &self.installed.settings;
        let (mut asked_tls, mut asked_gss) = (false, false);
        loop {
            match line.first_packet(settings.bounds.login_message_bytes).await? {
                FirstPacket::Ssl if !asked_tls => {
                    asked_tls = true;
                    if line.has_more() {
                        return Err(Refusal::BytesBeforeTls.into());
                    }
                    // As PostgreSQL, which has no TLS on Unix sockets.
                    if settings.tls.is_some() && self.peer.is_some() {
                        line.say(b"S").await?;
                        return Ok(First::Tls);
                    }
                    line.say(b"N").await?;
                }
                FirstPacket::GssEnc if !asked_gss => {
                    asked_gss = true;
                    line.say(b"N").await?;
                }
                FirstPacket::Ssl => return Err(unsupported(1234, 5679)),
                FirstPacket::GssEnc => return Err(unsupported(1234, 5680)),
                FirstPacket::Cancel { pid, key } => return Ok(First::Cancel { pid, key }),
                FirstPacket::Startup(startup) => {
                    let is_local = self.peer.is_none_or(|peer| is_loopback(&peer));
                    if settings.plaintext == Plaintext::Loopback && !is_local {
                        let tls_is_offered = settings.tls.is_some();
                        return Err(Refusal::Plaintext { tls_is_offered }.into());
                    }
                    return Ok(First::Startup(startup));
                }
            }
        }
    }

    async fn begin_tls(&self, line: Line) -> Result<Line, LineError> {
        line.with_stream(async |stream| match (stream, &self.installed.settings.tls) {
            (Stream::Tcp(stream), Some(tls)) => {
                Ok(Stream::Accepted(Box::new(tls.acceptor.accept(stream).await?)))
            }
            (other, _) => Ok(other),
        })
        .await
    }

    async fn packet_under_tls(&self, line: &mut Line) -> Result<First, Departure> {
        let bytes_max = self.installed.settings.bounds.login_message_bytes;
        match line.first_packet(bytes_max).await? {
            FirstPacket::Startup(startup) => Ok(First::Startup(startup)),
            FirstPacket::Cancel { pid, key } => Ok(First::Cancel { pid, key }),
            FirstPacket::Ssl => Err(unsupported(1234, 5679)),
            FirstPacket::GssEnc => Err(unsupported(1234, 5680)),
        }
    }

    /// From the start-up packet to a backend that is ready.
    async fn login(&mut self, line: &mut Line, asked: Startup) -> Result<Admitted, Departure> {
        let settings = &self.installed.settings;
        let mut greeting = Vec::new();
        let mut startup = settle_version(asked, &mut greeting)?;
        if !greeting.is_empty() {
            line.say(&greeting).await?;
        }
        let user = match startup.get("user") {
            None | Some(b"") => return Err(Refusal::NoUser.into()),
            Some(user) => String::from_utf8_lossy(user).into_owned(),
        };
        if startup.get("replication").is_some_and(|value| !is_off(value)) {
            return Err(Refusal::Replication.into());
        }
        let database = match startup.get("database") {
            None | Some(b"") => user.clone(),
            Some(database) => String::from_utf8_lossy(database).into_owned(),
        };
        self.user = Some(user.clone());
        self.database = Some(database.clone());
        self.application =
            startup.get("application_name").map(|name| String::from_utf8_lossy(name).into_owned());
        let named = settings.connections.get(&database).or(settings.any_database.as_ref());
        if self.gateway.is_stopping() {
            return Err(Refusal::StoppingAtLogin.into());
        }

        if let Some(connection) = named
            && let Login::Database { database } = &connection.login
        {
            return self.observe(line, connection, database.as_deref(), startup, &user).await;
        }
        let binding = match (&line.stream, &settings.tls) {
            (Stream::Accepted(_), Some(tls)) => identity::endpoint::certificate_hash(&tls.leaf),
            _ => None,
        };
        let asked = door::Asked {
            user: &user,
            address: self.peer.map(|peer| peer.ip()),
            binding: binding.as_deref(),
            is_private: line.stream.is_encrypted()
                || self.peer.is_none_or(|peer| is_loopback(&peer)),
        };
        let proof = door::prove(line, self.gateway, self.installed, &asked).await?;
        let Proof { identity, method, token_ends, grant } = proof;
        let mut out = Vec::new();
        Authentication::Ok.write(&mut out);
        line.say(&out).await?;
        // Only who has logged in may learn which connections there are.
        let Some(connection) = named else {
            return Err(Refusal::UnknownConnection { name: database }.into());
        };
        let Login::Gateway { user, database, password } = &connection.login else {
            return Err(Refusal::UnknownConnection { name: connection.name.clone() }.into());
        };
        let place = self.gateway.admission.session(&identity, &settings.bounds)?;
        let asked = self.asked(&mut startup)?;
        let (rules, tenure) = self.enter(line, &identity, connection, asked, grant).await?;
        let brought = judge_settings(rules.as_ref(), &startup)?;
        let may = self.may(&identity, rules, tenure, brought)?;
        let credential = Credential { user, database, password: password.as_ref() };
        let opened = upstream::open(connection, &credential, &startup, &self.gateway.keyring)
            .await
            .map_err(|error| {
                tracing::warn!(connection = connection.name, identity = ?identity.to_string(), %error, "no backend");
                error.refusal(connection)
            })?;
        let role = user.clone();
        let connection = connection.clone();
        Ok(Admitted { identity, method, token_ends, connection, opened, may, role, place })
    }

    /// What a client asks for, taken out of what the server gets. Without policies nothing is.
    fn asked(&self, startup: &mut Startup) -> Result<Asked, Refusal> {
        match self.installed.settings.policies {
            Some(_) => Asked::take(startup),
            None => Ok(Asked::default()),
        }
    }

    /// Its grant. Who waits for people has a session's place, and none among the logins.
    async fn enter(
        &mut self,
        line: &mut Line,
        identity: &Identity,
        connection: &Arc<Connection>,
        asked: Asked,
        bound: Option<access::GrantId>,
    ) -> Result<(Option<Rules>, Option<Tenure>), Departure> {
        self.place = None;
        let (gateway, client) = (self.gateway, self.peer());
        let entering = Entering { gateway, identity, connection, asked, bound, client };
        let entry = entering.enter(line).await?;
        Ok(entry.map(|Entry { rules, tenure }| (rules, tenure)).unzip())
    }

    async fn observe(
        &mut self,
        line: &mut Line,
        connection: &Arc<Connection>,
        database: Option<&str>,
        mut startup: Startup,
        user: &str,
    ) -> Result<Admitted, Departure> {
        let settings = &self.installed.settings;
        if let Some(database) = database {
            startup.parameters.retain(|(name, _)| name != b"database");
            startup.parameters.push((b"database".to_vec(), database.as_bytes().to_vec()));
        }
        let certificate = match (&line.stream, &settings.tls) {
            (Stream::Accepted(_), Some(tls)) => Some(&tls.leaf),
            _ => None,
        };
        let asked = self.asked(&mut startup)?;
        let bytes_max = settings.bounds.login_message_bytes;
        let opened = observe::relay(line, connection, &startup, certificate, bytes_max).await?;
        // The database has proven it; the name means something there and nowhere else.
        let identity = Identity::new(format!("database:{}", connection.name), user);
        let place = self.gateway.admission.session(&identity, &settings.bounds)?;
        let (rules, tenure) = self.enter(line, &identity, connection, asked, None).await?;
        let brought = judge_settings(rules.as_ref(), &startup)?;
        let may = self.may(&identity, rules, tenure, brought)?;
        let role = user.to_owned();
        let connection = connection.clone();
        let (method, token_ends) = ("database", None);
        Ok(Admitted { identity, method, token_ends, connection, opened, may, role, place })
    }

    /// With its limits, and its place among the sessions that they count.
    fn may(
        &self,
        identity: &Identity,
        rules: Option<Rules>,
        tenure: Option<Tenure>,
        brought: Vec<String>,
    ) -> Result<May, Refusal> {
        let Some(in_force) = rules.as_ref().map(Rules::in_force) else {
            return Ok(May { rules, tenure, meter: Meter::default(), brought });
        };
        let of = limits::Owned { identity, grant: tenure.as_ref().map(|it| &it.served.grant) };
        let meter = self.gateway.ledgers.meter(of, in_force.limits(), limits::now_ms());
        let meter = meter.map_err(|reached| Refusal::Limit(Box::new(reached)))?;
        Ok(May { rules, tenure, meter, brought })
    }

    /// The session itself, from the greeting to the end.
    async fn run(&self, mut line: Line, admitted: Admitted) {
        let Admitted { identity, method, token_ends, connection, opened, may, role, place } =
            admitted;
        let tenure = may.tenure.clone();
        let policies: Vec<String> = may.rules.as_ref().map_or_else(Vec::new, |rules| {
            rules.in_force().policies().iter().map(ToString::to_string).collect()
        });
        let id = session::Id::new().to_string();
        let pid = opened.backend.pid;
        let mut greeting = opened.greeting.before_key;
        let person = Person {
            session: id.clone(),
            identity: identity.clone(),
            client: self.peer(),
            application: self.application.clone(),
            connection: connection.name.clone(),
            role,
            grant: tenure.as_ref().map(|tenure| tenure.served.grant.id.to_string()),
        };
        let about = About {
            session: id.clone(),
            identity: identity.clone(),
            connection: connection.name.clone(),
            grant: person.grant.clone(),
            client: person.client.clone(),
            application: person.application.clone(),
            since: SystemTime::now(),
        };
        let tls = line.stream.tls();
        let begins =
            SessionBegins { login: method, tls: tls.as_deref(), backend: u32::try_from(pid).ok() };
        let who = person.whole_context();
        let installed = self.installed.clone();
        let gate = Gate::new(self.gateway, &connection, installed, may, person, &greeting);
        let (gate, enrolled) = match (gate, self.gateway.roster.enrol(opened.backend, about)) {
            (Ok(gate), Ok(enrolled)) => (gate, enrolled),
            (Err(error), _) | (_, Err(error)) => {
                return tracing::error!(%error, "no randomness to begin a session with");
            }
        };
        if let Err(refusal) = self.record(&who, &Event::SessionBegins(begins)).await {
            return self.refuse(line, &refusal).await;
        }
        BackendKey { pid, key: &enrolled.key }.write(&mut greeting);
        greeting.extend_from_slice(&opened.greeting.after_key);
        line.renew(self.installed.settings.bounds.login_timeout);
        if line.say(&greeting).await.is_err() {
            return gate.end("the client went before it was greeted").await;
        }
        let metrics = &self.gateway.metrics;
        metrics.sessions.inc();
        metrics.sessions_open.inc();
        tracing::info!(
            session = id, identity = ?identity.to_string(), connection = connection.name, peer = %self.peer(), pid,
            tls, ?policies, "session begins"
        );
        let ended = Session {
            client: Leg::from(line),
            server: Leg::from(opened.line),
            gate,
            attendee: enrolled.attendee.clone(),
            idle_timeout: self.installed.settings.bounds.idle_timeout,
            tenure,
            token_ends,
            metrics,
        }
        .run()
        .await;
        metrics.sessions_open.dec();
        if ended.is_fault() {
            tracing::error!(session = id, why = %ended, "session ends by a fault of ours");
        } else {
            tracing::info!(session = id, why = %ended, "session ends");
        }
        drop(enrolled);
        drop(place);
    }

    async fn refuse(&self, mut line: Line, refusal: &Refusal) {
        let words = refusal.words();
        tracing::info!(
            peer = %self.peer(), sqlstate = words.sqlstate, reason = ?refusal.for_the_record(), "refused"
        );
        self.gateway.metrics.refusals.get_or_create(&Refused { sqlstate: refusal.label() }).inc();
        let mut out = Vec::new();
        refusal.write(&mut out);
        self.record_refusal(&refusal.for_the_record(), &words.sqlstate).await;
        session::last_words(&mut line.stream, &out).await;
    }

    /// Passes a cancel request on to the backend that it names, and to no other. As with
    /// PostgreSQL the client is told nothing; its connection closes when the request has arrived.
    async fn cancel(&self, pid: i32, key: &[u8]) {
        let attendee = self.gateway.roster.find(pid, key);
        let who = Context::new(&Who { client: Some(&self.peer()), ..Who::default() });
        let request = Cancel {
            target: attendee.as_ref().map(|attendee| attendee.about.session.as_str()),
            served: attendee.is_some(),
            ..Cancel::default()
        };
        let recorded = self.record(&who, &Event::Cancel(request)).await;
        let result = match (attendee, recorded) {
            (None, _) => "unknown",
            (Some(_), Err(_)) => "unrecorded",
            (Some(attendee), Ok(())) => match attendee.cancel().await {
                Ok(()) => "forwarded",
                Err(error) => {
                    tracing::warn!(pid, %error, "a cancel request could not be forwarded");
                    "failed"
                }
            },
        };
        tracing::info!(peer = %self.peer(), pid, result, "cancel request");
        self.gateway.metrics.cancels.get_or_create(&Cancelled { result }).inc();
    }

    async fn record_refusal(&self, reason: &str, sqlstate: &str) {
        let who = Context::new(&Who {
            client: Some(&self.peer()),
            application: self.application.as_deref(),
            ..Who::default()
        });
        let refused = LoginRefused {
            reason,
            sqlstate: Some(sqlstate),
            user: self.user.as_deref(),
            database: self.database.as_deref(),
        };
        // It is refused whether that can be recorded or not; `record` has logged why.
        let _refused_all_the_same = self.record(&who, &Event::LoginRefused(refused)).await;
    }

    /// Records what happens outside of statements, durably.
    async fn record(&self, who: &Context, event: &Event<'_>) -> Result<(), Refusal> {
        let mut batch = Batch::new();
        batch.push(who, event);
        gate::record(&self.gateway.journal, &batch, Durability::Strict, true).await.map_err(
            |error| {
                tracing::error!(%error, "the journal can't be written");
                Refusal::Unrecorded
            },
        )
    }

    fn peer(&self) -> String {
        self.peer.map_or_else(|| "unix".to_owned(), |peer| peer.to_string())
    }
}

impl Accepted {
    fn into_stream(self) -> std::io::Result<(Stream, Option<SocketAddr>)> {
        match self {
            Accepted::Tcp(stream, peer) => {
                Ok((Stream::tcp(tokio::net::TcpStream::from_std(stream)?)?, Some(peer)))
            }
            Accepted::Unix(stream) => {
                Ok((Stream::Unix(tokio::net::UnixStream::from_std(stream)?), None))
            }
        }
    }
}

/// Settles on protocol 3.0. A client that asks for a later minor version, or for protocol options
/// that we don't know, is told so in `greeting`, as PostgreSQL would.
fn settle_version(mut startup: Startup, greeting: &mut Vec<u8>) -> Result<Startup, Departure> {
    if startup.version.major != 3 {
        return Err(Refusal::UnsupportedVersion(startup.version).into());
    }
    let is_option = |name: &[u8]| name.starts_with(b"_pq_.");
    let unknown: Vec<&[u8]> = startup
        .parameters
        .iter()
        .map(|(name, _)| name.as_slice())
        .filter(|name| is_option(name))
        .collect();
    if startup.version.minor > 0 || !unknown.is_empty() {
        backend::write_negotiate(greeting, Version::V3_0, &unknown);
    }
    startup.parameters.retain(|(name, _)| !is_option(name));
    startup.version = Version::V3_0;
    Ok(startup)
}

/// The settings that a client brings are settings like any other; their names.
fn judge_settings(rules: Option<&Rules>, startup: &Startup) -> Result<Vec<String>, Refusal> {
    let mut brought = Vec::new();
    let Some(rules) = rules else { return Ok(brought) };
    for (name, value) in &startup.parameters {
        let name = String::from_utf8_lossy(name);
        let value = String::from_utf8_lossy(value);
        match &*name {
            "user" | "database" | "replication" => {}
            "options" => {
                let options = startup::options(&value).ok_or(Denied::Options)?;
                for (name, value) in options {
                    rules.judge_setting(&name, &value)?;
                    brought.push(name);
                }
            }
            name => {
                rules.judge_setting(name, &value)?;
                brought.push(name.to_owned());
            }
        }
    }
    Ok(brought)
}

fn unsupported(major: u16, minor: u16) -> Departure {
    Refusal::UnsupportedVersion(Version { major, minor }).into()
}

fn is_loopback(peer: &SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// The ways in which PostgreSQL reads a boolean as false.
fn is_off(value: &[u8]) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &[u8], at_least: usize| value.len() >= at_least && word.starts_with(&value);
    begins(b"false", 1) || begins(b"no", 1) || begins(b"off", 2) || value == b"0"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replication_is_off_as_postgresql_reads_it() {
        for off in ["false", "F", "fal", "no", "n", "off", "of", "0"] {
            assert!(is_off(off.as_bytes()), "{off}");
        }
        for on in ["true", "on", "1", "database", "o", "", "offf", "00"] {
            assert!(!is_off(on.as_bytes()), "{on}");
        }
    }

    #[test]
    fn loopback_in_both_families() {
        for (peer, want) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("192.0.2.1:1", false),
            ("[::ffff:192.0.2.1]:1", false),
            ("[2001:db8::1]:1", false),
        ] {
            assert_eq!(is_loopback(&peer.parse().unwrap()), want, "{peer}");
        }
    }

    #[test]
    fn later_minor_versions_and_unknown_options_are_negotiated_down() {
        let startup = |minor, names: &[&str]| Startup {
            version: Version { major: 3, minor },
            parameters: names.iter().map(|n| (n.as_bytes().to_vec(), b"x".to_vec())).collect(),
        };
        for (asked, says_so) in [
            (startup(0, &["user"]), false),
            (startup(2, &["user"]), true),
            (startup(0, &["user", "_pq_.later"]), true),
        ] {
            let mut greeting = Vec::new();
            let settled = settle_version(asked, &mut greeting).unwrap();
            assert_eq!(settled, startup(0, &["user"]));
            assert_eq!(!greeting.is_empty(), says_so);
        }
        let old = Startup { version: Version { major: 2, minor: 0 }, parameters: vec![] };
        assert!(settle_version(old, &mut Vec::new()).is_err());
    }
}
