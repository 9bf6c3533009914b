//! What a client is told when it may not: one table from every reason to SQLSTATE, severity and
//! words. SQLSTATEs stand here and nowhere else. What a client may read is chosen; what went
//! wrong in full goes to the log.
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

mod barred;
mod denied;
mod held;
mod json;

use std::borrow::Cow;
use std::time::Duration;

use identity::bearer::BearerError;
use identity::oidc::TokenError;
use identity::scram::ScramError;
use policy::{Limit, RuleRef};
use wire::backend::Report;
use wire::startup::{StartupError, Version};

pub(crate) use self::barred::{Barred, write_ending, write_granted, write_waiting};
pub(crate) use self::denied::Denied;
pub(crate) use self::held::{Expected, HeldBack, rule_as_text, write_held};
use self::json::Json;

use crate::limits::{self, Reached};
use crate::saml;

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
    /// In the words of a wrong credential: why is for logs and records.
    WrongToken {
        user: String,
        why: TokenError,
    },
    BearerToken {
        user: String,
        why: TokenError,
    },
    /// A login in a browser; why is for logs and records.
    WrongAnswer {
        why: saml::Unproven,
    },
    /// It came without a token and was told where to get one.
    BearerDiscovery {
        user: String,
    },
    Bearer(BearerError),
    /// A token of an identity provider would cross the network for all to read.
    TokenInTheClear,
    /// The keys of a token's issuer can't be had, so nobody can say whether it is right.
    IssuerUnreachable,
    TooManyFailures {
        seconds: u64,
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
    /// A person has ended the session.
    Killed {
        by: String,
    },
    IdleTimeout {
        seconds: u64,
    },
    AccountLost,
    /// A reply would have shown a masked column as it is stored.
    Unmasked,
    /// The journal can't be written: a statement, a login.
    Unrecorded,
    OutcomeUnrecorded,
    /// By the policies, or because no policy can be asked.
    Denied(Box<Denied>),
    /// Nobody comes in without a grant, nor goes on without one.
    Barred(Box<Barred>),
    /// The token that opened the session is over.
    TokenOver,
    /// A policy's limit is reached.
    Limit(Box<Reached>),
    StatementTime(Limit<Duration>),
    IdleInTransaction(Limit<Duration>),
    /// A question of the gate's own has failed, so it can't go on.
    QuestionFailed,
}

/// A refusal in the words of the protocol.
pub(crate) struct Words {
    pub(crate) sqlstate: String,
    pub(crate) message: String,
    pub(crate) detail: Option<String>,
    pub(crate) hint: Option<Cow<'static, str>>,
}

impl Refusal {
    /// As the end of a session.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.write_as("FATAL", out);
    }

    pub(crate) fn write_as(&self, severity: &str, out: &mut Vec<u8>) {
        self.write_at(severity, None, out);
    }

    /// With the place in the client's text that it is about.
    pub(crate) fn write_at(&self, severity: &str, position: Option<u32>, out: &mut Vec<u8>) {
        let words = self.words();
        Report {
            severity,
            code: &words.sqlstate,
            message: &words.message,
            detail: words.detail.as_deref(),
            hint: words.hint.as_deref(),
            position,
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
        Words { sqlstate, message, detail: self.detail(), hint }
    }

    /// For programs: what it was, by a name that stays.
    fn detail(&self) -> Option<String> {
        let mut out = Json::new();
        match self {
            Refusal::Denied(denied) => denied.detail(&mut out),
            Refusal::Barred(barred) => barred.detail(&mut out),
            Refusal::TokenOver => {
                out.text("code", "token_over");
                out.flag("ask", false);
            }
            Refusal::TooManyFailures { seconds } => {
                out.text("code", "failed_logins");
                out.count("seconds", *seconds);
                out.flag("ask", false);
            }
            Refusal::Limit(reached) => {
                out.text("code", "limit");
                out.rule(&reached.by);
                out.text("limit", reached.measure.name());
                out.count("allowed", reached.allowed);
                if let Some(per) = reached.per() {
                    out.text("per", per.name());
                }
                out.text("resets", &reached.resets());
                out.flag("stands", reached.stands);
                out.flag("ask", false);
            }
            Refusal::StatementTime(limit) => {
                out.time_limit("statement_time", limit, "next statement");
            }
            Refusal::IdleInTransaction(limit) => {
                out.time_limit("idle_in_transaction", limit, "next session");
            }
            _ => return None,
        }
        Some(out.done())
    }

    /// What logs and records say: more than the client reads, where that would help a stranger.
    pub(crate) fn for_the_record(&self) -> String {
        let message = self.words().message;
        match self {
            Refusal::WrongToken { why, .. } | Refusal::BearerToken { why, .. } => {
                format!("{message}: the token opens nothing: {why}")
            }
            Refusal::WrongAnswer { why } => format!("{message}: {why}"),
            Refusal::BearerDiscovery { .. } => {
                format!("{message}: it had no token and was told where to get one")
            }
            _ => message,
        }
    }

    /// Somebody may have guessed.
    pub(crate) fn is_of_a_wrong_credential(&self) -> bool {
        matches!(
            self,
            Refusal::WrongCredential { .. }
                | Refusal::WrongToken { .. }
                | Refusal::WrongAnswer { .. }
                | Refusal::BearerToken { .. }
        )
    }

    /// The rule that refused it, if it was one.
    pub(crate) fn rule(&self) -> Option<&RuleRef> {
        match self {
            Refusal::Denied(denied) => denied.rule(),
            Refusal::Limit(reached) => Some(&reached.by),
            _ => None,
        }
    }

    fn own_words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let (sqlstate, message, hint) = match self {
            Refusal::Denied(denied) => return denied.words(),
            Refusal::Barred(barred) => return barred.words(),
            Refusal::Limit(reached) => {
                let hint = reached.next_step(limits::now_ms());
                return ("53400", reached.sentence(), Some(hint.into()));
            }
            Refusal::TooManyFailures { seconds } => {
                let message = "too many failed logins from this address or of this user".to_owned();
                let hint = format!(
                    "Try again in {seconds} s. The bound is `bounds.failed_logins` in Gatepost's \
                     file."
                );
                return ("53400", message, Some(hint.into()));
            }
            Refusal::StatementTime(limit) => {
                let message =
                    format!("canceling statement: one may run for {}", seconds(limit.value));
                let hint =
                    "Ask for less at once, or in steps; the next statement has as much time again.";
                return ("53400", message, Some(hint.into()));
            }
            Refusal::IdleInTransaction(limit) => {
                let message = format!(
                    "terminating connection: a transaction may be open and idle for {}",
                    seconds(limit.value)
                );
                let hint =
                    "What it had changed is undone. Connect again, and commit before you pause.";
                return ("25P03", message, Some(hint.into()));
            }
            other => other.plain_words(),
        };
        (sqlstate, message, hint.map(Cow::Borrowed))
    }

    fn plain_words(&self) -> (&'static str, String, Option<&'static str>) {
        match self {
            Refusal::Denied(_) | Refusal::Barred(_) => ("42501", String::new(), None),
            Refusal::Limit(_)
            | Refusal::StatementTime(_)
            | Refusal::IdleInTransaction(_)
            | Refusal::TooManyFailures { .. } => ("53400", String::new(), None),
            Refusal::TokenOver => (
                "57P01",
                "terminating connection: the token that opened the session is over".into(),
                Some("Connect again with a new token."),
            ),
            Refusal::BearerToken { user, .. } | Refusal::BearerDiscovery { user } => {
                ("28000", format!("OAuth bearer authentication failed for user \"{user}\""), None)
            }
            Refusal::Bearer(error) => ("08P01", error.to_string(), None),
            Refusal::TokenInTheClear => (
                "28000",
                "Gatepost takes tokens of identity providers only under TLS".into(),
                Some("Connect with sslmode=require or better."),
            ),
            Refusal::IssuerUnreachable => (
                "58000",
                "Gatepost can't check the token now: the keys of its issuer are not to be had"
                    .into(),
                Some("Try again later; Gatepost's log says why. Sessions that are open go on."),
            ),
            Refusal::QuestionFailed => (
                "58000",
                "Gatepost could not ask the database what your next statement means".into(),
                Some("Connect again. Gatepost's log has what the database said."),
            ),
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
            Refusal::WrongCredential { user } | Refusal::WrongToken { user, .. } => {
                ("28P01", format!("password authentication failed for user \"{user}\""), None)
            }
            Refusal::WrongAnswer { .. } => {
                ("28000", "the login in the browser has failed".into(), None)
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
            Refusal::Killed { by } => (
                "57P01",
                format!("terminating connection: {by} has ended this session"),
                Some(
                    "What was not committed is undone. Connect again only if that makes sense now.",
                ),
            ),
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
            Refusal::Unmasked => (
                "08P01",
                "Gatepost ends this session: what came back would show what is masked".into(),
                Some("This is a fault of Gatepost's; please report the statement."),
            ),
            Refusal::AccountLost => (
                "08P01",
                "Gatepost lost track of this conversation and ends it".into(),
                Some("This is a fault of Gatepost's; its log has the message it did not expect."),
            ),
        }
    }
}

/// Said to a session whose token is nearly over.
pub(crate) fn write_token_notice(seconds: u64, out: &mut Vec<u8>) {
    Report {
        severity: "NOTICE",
        code: "57P01",
        message: &format!("this session ends in {seconds} s, with the token that opened it"),
        detail: Some("{\"code\":\"token_ends\",\"ask\":false}"),
        hint: Some("Connect again with a new token."),
        position: None,
    }
    .write_notice(out);
}

/// `30 s`, `1.5 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}

/// There is a row with that key, or with one that excludes it.
pub(crate) fn is_key_taken(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"23505" | b"23P01")
}

/// A command that needs a transaction block stands in none.
pub(crate) fn is_no_transaction(sqlstate: &[u8]) -> bool {
    sqlstate == b"25P01"
}

/// A statement that somebody has cancelled, or a timeout of the client's.
pub(crate) fn is_cancelled(sqlstate: &[u8]) -> bool {
    matches!(sqlstate, b"57014" | b"55P03")
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
