//! What a client is told when it may not: one table from every reason to SQLSTATE, severity and
//! words. SQLSTATEs stand here and nowhere else. What a client may read is chosen; what went
//! wrong in full goes to the log.
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

use identity::scram::ScramError;
use wire::backend::Report;
use wire::startup::{StartupError, Version};

/// Why a connection, a session or a statement is refused or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    Startup(StartupError),
    MessageLength,
    UnsupportedVersion(Version),
    BytesBeforeTls,
    Plaintext {
        tls_is_offered: bool,
    },
    NoUser,
    Replication,
    LoginTimeout,
    /// A wrong secret and an unknown name are one case, so that they can't be told apart.
    WrongCredential {
        user: String,
    },
    MalformedCredential {
        what: &'static str,
    },
    Scram(ScramError),
    CredentialsUnchecked,
    UnknownConnection {
        name: String,
    },
    TooManyLogins,
    TooManySessions,
    TooManySessionsOfIdentity {
        bound: usize,
    },
    Unreachable {
        connection: String,
    },
    NoCredential {
        connection: String,
    },
    UpstreamTls {
        connection: String,
    },
    UpstreamLogin {
        connection: String,
        sqlstate: String,
    },
    /// The server's own words about what the client asked for.
    UpstreamSaid {
        sqlstate: String,
        message: String,
    },
    BindingBroken,
    StoppingAtLogin,
    Stopping,
    IdleTimeout {
        seconds: u64,
    },
    AccountLost,
    /// The journal can't be written: a statement, a login.
    Unrecorded,
    OutcomeUnrecorded,
}

/// A refusal in the words of the protocol.
pub(crate) struct Words {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
}

impl Refusal {
    /// As the end of a session.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_as("FATAL", out);
    }

    pub(crate) fn write_as(&self, severity: &str, out: &mut Vec<u8>) {
        let words = self.words();
        Report {
            severity,
            code: &words.sqlstate,
            message: &words.message,
            detail: None,
            hint: words.hint,
        }
        .write_error(out);
    }

    /// The SQLSTATE as a metric's label: of a server's own, only that it was one.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Refusal::UpstreamLogin { .. } | Refusal::UpstreamSaid { .. } => "upstream",
            other => other.own_words().0,
        }
    }

    pub(crate) fn words(&self) -> Words {
        let (sqlstate, message, hint) = self.own_words();
        let sqlstate = match self {
            Refusal::UpstreamLogin { sqlstate, .. } | Refusal::UpstreamSaid { sqlstate, .. } => {
                sqlstate.clone()
            }
            _ => sqlstate.to_owned(),
        };
        Words { sqlstate, message, hint }
    }

    fn own_words(&self) -> (&'static str, String, Option<&'static str>) {
        match self {
            Refusal::Startup(error) => ("08P01", error.to_string(), None),
            Refusal::MessageLength => ("08P01", "invalid message length".into(), None),
            Refusal::UnsupportedVersion(Version { major, minor }) => (
                "0A000",
                format!(
                    "unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.0"
                ),
                None,
            ),
            Refusal::BytesBeforeTls => (
                "08P01",
                "received unencrypted data after SSL request".into(),
                Some(
                    "This could be either a client-software bug or evidence of an attempted \
                     man-in-the-middle attack.",
                ),
            ),
            Refusal::Plaintext { tls_is_offered: true } => (
                "28000",
                "Gatepost accepts connections from other machines only under TLS".into(),
                Some(
                    "Connect with sslmode=require or better. To allow plain TCP, set \
                     `plaintext: everywhere` in Gatepost's file.",
                ),
            ),
            Refusal::Plaintext { tls_is_offered: false } => (
                "28000",
                "Gatepost accepts connections from other machines only under TLS, and has no \
                 certificate"
                    .into(),
                Some(
                    "Set `tls: { certificate: …, key: … }` in Gatepost's file. To allow plain \
                     TCP, set `plaintext: everywhere` there.",
                ),
            ),
            Refusal::NoUser => {
                ("28000", "no PostgreSQL user name specified in startup packet".into(), None)
            }
            Refusal::Replication => (
                "0A000",
                "replication connections do not pass through Gatepost".into(),
                Some("Connect without the `replication` parameter."),
            ),
            Refusal::LoginTimeout => {
                ("57014", "canceling authentication due to timeout".into(), None)
            }
            Refusal::WrongCredential { user } => {
                ("28P01", format!("password authentication failed for user \"{user}\""), None)
            }
            Refusal::Scram(error) => (
                match error {
                    ScramError::Downgrade | ScramError::BindingMismatch => "28000",
                    ScramError::AuthorizationIdentity | ScramError::Extension => "0A000",
                    _ => "08P01",
                },
                error.to_string(),
                None,
            ),
            Refusal::MalformedCredential { what } => {
                ("08P01", format!("malformed login: {what}"), None)
            }
            Refusal::CredentialsUnchecked => (
                "58030",
                "Gatepost can't check credentials now".into(),
                Some("Its state file can't be read; its log says why. Try again later."),
            ),
            Refusal::UnknownConnection { name } => (
                "3D000",
                format!("database \"{name}\" does not exist"),
                Some("Gatepost has no connection of this name; `dbname` names one of its file."),
            ),
            Refusal::TooManyLogins => (
                "53300",
                "sorry, too many clients are logging in already".into(),
                Some("Try again in a moment. The bound is `bounds.logins` in Gatepost's file."),
            ),
            Refusal::TooManySessions => (
                "53300",
                "sorry, too many clients already".into(),
                Some("The bound is `bounds.sessions` in Gatepost's file."),
            ),
            Refusal::TooManySessionsOfIdentity { bound } => (
                "53300",
                format!("too many sessions of this identity: {bound} are open"),
                Some(
                    "Close one, or use a smaller pool. The bound is \
                     `bounds.sessions_per_identity` in Gatepost's file.",
                ),
            ),
            Refusal::Unreachable { connection } => (
                "08001",
                format!("Gatepost can't reach the database of connection \"{connection}\""),
                Some("Its log says why."),
            ),
            Refusal::NoCredential { connection } => (
                "58000",
                format!("Gatepost has no credential for connection \"{connection}\" now"),
                Some("Its log says why."),
            ),
            Refusal::UpstreamTls { connection } => (
                "08001",
                format!(
                    "Gatepost does not trust its way to the database of connection \"{connection}\""
                ),
                Some("TLS to the database failed; Gatepost's log says why."),
            ),
            Refusal::UpstreamLogin { connection, .. } => (
                "28000",
                format!("the database of connection \"{connection}\" did not admit Gatepost"),
                Some("Your own login was accepted. Gatepost's log has what the database said."),
            ),
            Refusal::UpstreamSaid { message, .. } => ("XX000", message.clone(), None),
            Refusal::BindingBroken => (
                "28000",
                "SCRAM channel binding can't pass: the certificate you see is not the database's"
                    .into(),
                Some(
                    "Give Gatepost's listener the database's own certificate and key, or set \
                     `tls: disable` for this connection, or connect with channel_binding=disable.",
                ),
            ),
            Refusal::StoppingAtLogin => {
                ("57P03", "Gatepost is shutting down".into(), Some("Try again in a moment."))
            }
            Refusal::Stopping => {
                ("57P01", "terminating connection due to administrator command".into(), None)
            }
            Refusal::IdleTimeout { seconds } => (
                "57P05",
                format!("terminating connection: no statement for {seconds} s"),
                Some("Connect again. The bound is `bounds.idle_timeout` in Gatepost's file."),
            ),
            Refusal::Unrecorded => (
                "58030",
                "Gatepost can't record what happens now, so nothing runs".into(),
                Some("Its journal can't be written; its log says why. Try again later."),
            ),
            Refusal::OutcomeUnrecorded => (
                "58030",
                "Gatepost could not record what came of the last statement".into(),
                Some(
                    "It may have taken effect: look before you repeat it. Gatepost's log says \
                     why its journal can't be written.",
                ),
            ),
            Refusal::AccountLost => (
                "08P01",
                "Gatepost lost track of this conversation and ends it".into(),
                Some("This is a fault of Gatepost's; its log has the message it did not expect."),
            ),
        }
    }
}

/// SQLSTATEs of a server's login under which its message is about what the client asked for, not
/// about our credential: settings of its own that are unknown, out of range, not allowed or not
/// changeable now, and a server that is starting or stopping.
pub(crate) fn speaks_of_the_client(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"22023" | b"42704" | b"42501" | b"55P02" | b"42602" | b"57P03")
}

/// The server is there and can't take connections now: another host may.
pub(crate) fn is_cannot_connect_now(sqlstate: &[u8]) -> bool {
    sqlstate == b"57P03"
}

/// The server did not believe our credential: a fresh one may be better.
pub(crate) fn is_wrong_credential(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"28P01" | b"28000")
}
