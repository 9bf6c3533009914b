//! What a client is told when it may not: one table from every reason to SQLSTATE, severity and
//! words. SQLSTATEs stand here and nowhere else. What a client may read is chosen; what went
//! wrong in full goes to the log.
//! <https://www.postgresql.org/docs/current/errcodes-appendix.html>

mod barred;
mod held;

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::Duration;

use identity::bearer::BearerError;
use identity::oidc::TokenError;
use identity::scram::ScramError;
use policy::{Check, Limit, Refused, RuleRef, Then};
use wire::backend::Report;
use wire::startup::{StartupError, Version};

pub(crate) use self::barred::{Barred, write_ending, write_granted, write_waiting};
pub(crate) use self::held::{HeldBack, estimate_as_json, rule_as_text, write_held};
use crate::gate::Unmet;
use crate::limits::{self, Reached};

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

/// Why a statement is not sent as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denied {
    ByPolicy(Box<Refused>),
    /// A person would have to agree, and does not or has not.
    HeldBack(Box<HeldBack>),
    /// A person would have to agree, and nobody can be asked, because of this.
    CannotHold {
        rule: RuleRef,
        why: &'static str,
    },
    /// A person would have to agree, and others would wait for what is locked meanwhile.
    HeldInTransaction(RuleRef),
    /// What was agreed to is another thing than what would run now.
    HoldMoved(String),
    /// It was bound when nobody had to agree to it.
    HeldSinceBound(RuleRef),
    /// The rule has a condition that is not built yet.
    NotBuilt(RuleRef),
    /// The rule's condition holds, or nobody can say that it doesn't.
    Condition {
        rule: RuleRef,
        sentence: String,
    },
    /// A statement under such a condition stands with others in one string.
    AloneUnderCondition(RuleRef),
    /// What the grammar says.
    Syntax(String),
    NoSuchRelation(String),
    NoSuchColumn(String),
    NoSuchFunction(String),
    NoSuchSchema(String),
    NoSuchType(String),
    OtherDatabase(String),
    NoSuchStatement(String),
    NoSuchCursor(String),
    NoSuchPortal(String),
    /// What the server keeps of a prepared statement means another thing now.
    PlanChanged,
    /// The value of this parameter looks as the mask of the column makes it.
    WritesMask(u32),
    /// A portal was opened under other policies.
    PortalJudgedBefore,
    /// What stands before it in the same string changes what it means.
    Alone,
    /// Relations of the gateway's own beside names that have to be rewritten.
    ShownBesideOthers,
    /// A name has two meanings, and the text can't be made to say which.
    TwoMeanings,
    /// EXECUTE of EXECUTE of EXECUTE…
    TooDeep,
    /// A message that is not what its tag says, or longer than is looked at.
    Unreadable,
    /// A start-up packet's `options` that are more than settings.
    Options,
    Unmet(Unmet),
}

impl Denied {
    /// A condition of this rule's that nobody can answer.
    pub(crate) fn uncountable(check: &Check) -> Denied {
        let sentence = "What this statement changes can't be counted, or it empties a table.";
        Denied::condition(check, sentence.to_owned())
    }

    /// All conditions of the rule hold.
    pub(crate) fn condition(check: &Check, sentence: String) -> Denied {
        match check.then {
            Then::Hold => Denied::CannotHold {
                rule: check.rule.clone(),
                why: "what a statement has done holds none yet, and is undone",
            },
            Then::Refuse => Denied::Condition { rule: check.rule.clone(), sentence },
        }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        Refusal::Denied(Box::new(denied))
    }
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

impl Denied {
    fn rule(&self) -> Option<&RuleRef> {
        match self {
            Denied::ByPolicy(refused) => refused.rule.as_ref(),
            Denied::CannotHold { rule, .. }
            | Denied::HeldInTransaction(rule)
            | Denied::HeldSinceBound(rule)
            | Denied::NotBuilt(rule)
            | Denied::AloneUnderCondition(rule)
            | Denied::Condition { rule, .. } => Some(rule),
            _ => None,
        }
    }

    /// A name for programs. These stay.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Denied::ByPolicy(refused) => refused.code.as_str(),
            Denied::HeldBack(why) => why.code(),
            Denied::CannotHold { .. } => "cannot_hold",
            Denied::HeldInTransaction(_) => "held_in_transaction",
            Denied::HoldMoved(_) => "hold_moved",
            Denied::HeldSinceBound(_) => "policies_changed",
            Denied::NotBuilt(_) => "not_built",
            Denied::Condition { .. } => "condition",
            Denied::AloneUnderCondition(_) => "send_it_alone",
            Denied::Syntax(_)
            | Denied::NoSuchRelation(_)
            | Denied::NoSuchColumn(_)
            | Denied::NoSuchFunction(_)
            | Denied::NoSuchSchema(_)
            | Denied::NoSuchType(_)
            | Denied::OtherDatabase(_) => "not_understood",
            Denied::NoSuchStatement(_) | Denied::NoSuchCursor(_) | Denied::NoSuchPortal(_) => {
                "unknown_name"
            }
            Denied::PlanChanged => "plan_changed",
            Denied::WritesMask(_) => "hidden",
            Denied::PortalJudgedBefore => "policies_changed",
            Denied::Alone | Denied::ShownBesideOthers => "send_it_alone",
            Denied::TwoMeanings | Denied::TooDeep | Denied::Unreadable | Denied::Options => {
                "not_understood"
            }
            Denied::Unmet(unmet) => match unmet {
                Unmet::Deaf => "server_not_listening",
                Unmet::Aborted => "transaction_aborted",
                Unmet::Cancelled { .. } => "cancelled",
                Unmet::Unreadable => "not_understood",
                Unmet::NoCatalog => "no_catalog",
                Unmet::Unread => "unread",
                Unmet::Path => "path_hides_system",
                Unmet::Unshown => "store_away",
            },
        }
    }

    fn detail(&self, out: &mut Json) {
        if let Denied::HeldBack(why) = self {
            return why.detail(out);
        }
        out.text("code", self.code());
        if let Some(rule) = self.rule() {
            out.rule(rule);
        }
        let (missing, ask) = match self {
            Denied::ByPolicy(refused) => (refused.missing.as_slice(), refused.ask.as_slice()),
            _ => (&[][..], &[][..]),
        };
        let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
        out.list("missing", missing.iter().map(String::as_str));
        if ask.is_empty() {
            out.flag("ask", false);
        } else {
            out.list("policies", ask.iter().map(|name| &**name));
            barred::ask_for(out, ask);
        }
    }

    fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let plain = |sqlstate, message: &str, hint: &'static str| {
            (sqlstate, message.to_owned(), Some(Cow::Borrowed(hint)))
        };
        match self {
            Denied::ByPolicy(refused) => {
                let is_ours = |missing: &policy::Missing| {
                    missing.verb == "set" && missing.object.starts_with("gatepost.")
                };
                let hint = match refused.ask.as_slice() {
                    [] if refused.missing.iter().any(is_ours) => {
                        "A grant is asked for by connecting, \
                         as in options='-c gatepost.reason=…'; this session has its own already."
                            .to_owned()
                    }
                    [] if refused.code == policy::Code::OutOfScope => "Connect with a wider \
                         gatepost.scope, or without one, to ask for it."
                        .to_owned(),
                    [] => not_repeated(refused),
                    ask => format!(
                        "It would pass under these policies: {}. Connect with options='{}' to ask.",
                        ask.join(", "),
                        barred::option(ask.iter().map(|name| &**name))
                    ),
                };
                ("42501", refused.sentence.clone(), Some(hint.into()))
            }
            Denied::HeldBack(why) => why.words(),
            Denied::CannotHold { rule, why } => (
                "0A000",
                format!("A person has to agree to this statement, by {rule}, and can't: {why}."),
                None,
            ),
            Denied::HeldInTransaction(rule) => (
                "ZP004",
                format!(
                    "A person has to agree to this statement, by {rule}, and nobody is asked inside \
                     a transaction that has begun."
                ),
                Some(
                    "Send it by itself: outside of BEGIN, with autocommit, and first in its \
                     pipeline."
                        .into(),
                ),
            ),
            Denied::HoldMoved(hold) => (
                "ZP003",
                format!("What was agreed to as hold {hold} is not what would run now."),
                Some("It did not run. Repeat it to ask again.".into()),
            ),
            Denied::HeldSinceBound(rule) => (
                "ZP003",
                format!("A person has to agree to this statement now, by {rule}."),
                Some("Bind it again to ask.".into()),
            ),
            Denied::NotBuilt(rule) => (
                "0A000",
                format!(
                    "This statement stands under a condition that is not built yet, of {rule}."
                ),
                None,
            ),
            Denied::Syntax(message) => ("42601", message.clone(), None),
            Denied::NoSuchRelation(name) => {
                ("42P01", format!("relation \"{name}\" does not exist"), None)
            }
            // With its relation before it PostgreSQL leaves the quotes out.
            Denied::NoSuchColumn(name) if name.contains('.') => {
                ("42703", format!("column {name} does not exist"), None)
            }
            Denied::NoSuchColumn(name) => {
                ("42703", format!("column \"{name}\" does not exist"), None)
            }
            Denied::NoSuchFunction(name) => {
                ("42883", format!("function {name} does not exist"), None)
            }
            Denied::NoSuchSchema(name) => {
                ("3F000", format!("schema \"{name}\" does not exist"), None)
            }
            Denied::NoSuchType(name) => ("42704", format!("type \"{name}\" does not exist"), None),
            Denied::OtherDatabase(name) => {
                ("0A000", format!("cross-database references are not implemented: {name}"), None)
            }
            Denied::NoSuchStatement(name) if name.is_empty() => {
                ("26000", "unnamed prepared statement does not exist".into(), None)
            }
            Denied::NoSuchStatement(name) => (
                "26000",
                format!("prepared statement \"{name}\" does not exist"),
                Some("Gatepost runs what it has seen being prepared. Prepare it again.".into()),
            ),
            Denied::NoSuchCursor(name) => (
                "34000",
                format!("cursor \"{name}\" does not exist"),
                Some("Gatepost fetches from cursors that it has seen being opened.".into()),
            ),
            Denied::NoSuchPortal(name) => {
                ("34000", format!("portal \"{name}\" does not exist"), None)
            }
            Denied::PlanChanged => plain(
                "0A000",
                "cached plan must not change result type",
                "What its names mean has changed since it was prepared. Prepare it again.",
            ),
            Denied::WritesMask(number) => (
                "42501",
                format!(
                    "The value of ${number} looks as the mask of its column makes it, and would be \
                     stored over the value that is there."
                ),
                Some("Leave the column out, or give it a value of its own.".into()),
            ),
            Denied::PortalJudgedBefore => plain(
                "42501",
                "The policies have changed since this portal was opened.",
                "Open it again.",
            ),
            Denied::Condition { rule, sentence } => (
                "42501",
                format!("{sentence} Refused by {rule}."),
                Some("Whatever it had changed is undone. Ask for less at once.".into()),
            ),
            Denied::AloneUnderCondition(rule) => (
                "0A000",
                format!(
                    "This statement stands under a condition of {rule}, and not alone in its string."
                ),
                Some("Send it by itself.".into()),
            ),
            Denied::Alone => plain(
                "0A000",
                "What stands before this statement in the same string may change what it means.",
                "Send it by itself.",
            ),
            Denied::ShownBesideOthers => plain(
                "0A000",
                "gatepost.me and its like are read by themselves.",
                "Read them in a statement of their own.",
            ),
            Denied::TwoMeanings => plain(
                "0A000",
                "A name in this statement could mean two things.",
                "Write it with its schema, or use client_encoding UTF8.",
            ),
            Denied::TooDeep => plain(
                "54001",
                "An EXECUTE runs an EXECUTE, and so on for too long.",
                "Execute the statement itself.",
            ),
            Denied::Unreadable => plain(
                "42501",
                "This message can't be read, or is too long to be judged.",
                "Send a shorter one.",
            ),
            Denied::Options => plain(
                "42501",
                "The startup parameter `options` holds more than settings.",
                "Write it as `-c name=value`.",
            ),
            Denied::Unmet(unmet) => unmet.words(),
        }
    }
}

impl Unmet {
    fn words(&self) -> (&'static str, String, Option<Cow<'static, str>>) {
        let plain = |sqlstate, message: &str, hint: &'static str| {
            (sqlstate, message.to_owned(), Some(Cow::Borrowed(hint)))
        };
        match self {
            Unmet::Deaf => plain(
                "55000",
                "The server does not answer now, so what this statement means can't be asked.",
                "End the COPY, or send Sync, before the next statement.",
            ),
            Unmet::Aborted => (
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block"
                    .into(),
                None,
            ),
            Unmet::Cancelled { message } => ("57014", message.clone(), None),
            Unmet::Unreadable => plain(
                "42501",
                "Names of this session can't be read in its encoding.",
                "Use client_encoding UTF8.",
            ),
            Unmet::NoCatalog => plain(
                "58000",
                "Gatepost can't read now what the database holds, so it can't judge statements",
                "Its log says why. Try again later.",
            ),
            Unmet::Unread => {
                plain("58000", "The text could not be read to its end.", "Send it in pieces.")
            }
            Unmet::Unshown => plain(
                "58030",
                "Gatepost can't read now what it has of you.",
                "Its store of grants is away; its log says why. Try again in a moment.",
            ),
            Unmet::Path => plain(
                "42501",
                "The search_path puts other schemas before pg_catalog.",
                "Set search_path without pg_catalog: it comes first then.",
            ),
        }
    }
}

/// An object of JSON, written field by field.
struct Json(String);

impl Json {
    fn new() -> Json {
        Json("{".to_owned())
    }

    fn name(&mut self, name: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.string(name);
        self.0.push(':');
    }

    fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.string(text);
    }

    fn count(&mut self, name: &str, number: u64) {
        self.name(name);
        self.0.push_str(&number.to_string());
    }

    fn rule(&mut self, rule: &RuleRef) {
        self.text("policy", &rule.policy);
        self.text("rule", &rule.rule);
        self.count("line", rule.line.into());
    }

    fn time_limit(&mut self, name: &str, limit: &Limit<Duration>, resets: &str) {
        self.text("code", "limit");
        self.rule(&limit.by);
        self.text("limit", name);
        self.text("allowed", &seconds(limit.value));
        self.text("resets", resets);
        self.flag("ask", false);
    }

    fn flag(&mut self, name: &str, flag: bool) {
        self.name(name);
        self.0.push_str(if flag { "true" } else { "false" });
    }

    fn object(&mut self, name: &str, fields: &[(&str, &str)]) {
        self.name(name);
        let mut inner = Json::new();
        for (name, text) in fields {
            inner.text(name, text);
        }
        self.0.push_str(&inner.done());
    }

    fn list<'t>(&mut self, name: &str, texts: impl Iterator<Item = &'t str>) {
        self.name(name);
        self.0.push('[');
        for (at, text) in texts.enumerate() {
            if at > 0 {
                self.0.push(',');
            }
            self.string(text);
        }
        self.0.push(']');
    }

    fn string(&mut self, text: &str) {
        self.0.push('"');
        for character in text.chars() {
            match character {
                '"' => self.0.push_str("\\\""),
                '\\' => self.0.push_str("\\\\"),
                control if control.is_control() => {
                    // Writing to a String can't fail.
                    let _ = write!(self.0, "\\u{:04x}", u32::from(control));
                }
                other => self.0.push(other),
            }
        }
        self.0.push('"');
    }

    fn done(mut self) -> String {
        self.0.push('}');
        self.0
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

/// The step to take where nobody can be asked: the lines that would allow it.
fn not_repeated(refused: &policy::Refused) -> String {
    const LINES_MAX: usize = 5;
    let lines: Vec<String> = refused.missing.iter().map(policy::Missing::rule).collect();
    let is_short = (1..=LINES_MAX).contains(&lines.len());
    match refused.code == policy::Code::NotAllowed && is_short {
        true => format!(
            "Whoever keeps Gatepost's policies can allow it: `{}`. Repeating it will not help.",
            lines.join("`, `")
        ),
        false => {
            "Whoever keeps Gatepost's policies can allow it; repeating it will not help.".to_owned()
        }
    }
}

/// `30 s`, `1.5 s`.
fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
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
