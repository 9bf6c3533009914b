//! What `/v1` takes and gives, as JSON: its own types, so that renaming something elsewhere changes
//! nothing that programs read. `gatepost` reads the answers back by them.

use std::time::UNIX_EPOCH;

use access::{Grant, GrantEnd, GrantState, Hold, HoldState, Needed, Request, RequestState, Vote};
use audit::time_of_millis;
use gateway::desk::{About, Answer, GrantToken, Page, Trouble};
use gateway::saml::{Given, USER};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Ask for a connection.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// Its name, as a client gives it as `dbname`.
    pub connection: String,
    /// Why; some policies want it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// For how long; as long as the policies say, if it isn't said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub for_seconds: Option<u64>,
    /// These policies and no others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Narrower than the policies: `read: public.orders; update: public.orders(status)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// For how long the answer waits for people, at most 55.
    #[serde(default)]
    pub wait_seconds: u64,
    /// The token opens one session.
    #[serde(default)]
    pub single_use: bool,
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Asked {
    /// `open`: there is a grant. `pending`: people have to agree. `denied`: somebody said no.
    pub state: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<GrantShown>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestShown>,
    /// What there is of a narrower scope.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given: Vec<String>,
    /// What of it there is not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lacking: Vec<String>,
    /// The password of the next session, for who has a name of Gatepost's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenShown>,
}

/// A password for one grant.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct TokenShown {
    /// What to give as PostgreSQL's user.
    pub user: String,
    /// It is shown here and never again.
    pub password: String,
    pub good_for_seconds: u64,
}

/// A login that a browser has brought back to the program that began it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SamlLogin {
    /// As the browser has brought it.
    pub code: String,
    /// Whose SHA-256 was the `challenge` (RFC 7636).
    pub verifier: String,
}

/// A password for whoever has logged in.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LoginToken {
    /// What to give as PostgreSQL's user.
    pub user: String,
    /// It is shown here and never again. It is a bearer token here, too.
    pub password: String,
    pub good_for_seconds: u64,
    pub issuer: String,
    pub subject: String,
}

/// Make another token for a grant of one's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WantToken {
    /// It opens one session.
    #[serde(default)]
    pub single_use: bool,
}

/// Say yes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Approve {
    /// For the record, and for whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// Of a held statement: to the same text with other parameters, too, where policy lets that be
    /// approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

/// How often, and for how long.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    pub uses: u32,
    pub for_seconds: u64,
}

/// Say no, or take something back.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// For whoever asked, and for the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Somebody: a person or a workload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Who {
    pub issuer: String,
    pub subject: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
}

/// People who have to agree.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct NeededShown {
    /// The policy, or the rule.
    pub of: String,
    /// Who may.
    pub by: String,
    pub need: u32,
    /// How many are still missing.
    pub missing: usize,
}

/// Somebody who agreed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VoteShown {
    pub by: Who,
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// How something ended.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct EndShown {
    pub at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
}

/// Somebody asks for a connection.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct RequestShown {
    pub id: String,
    /// `pending`, `approved`, `denied`, `expired` or `withdrawn`.
    pub state: String,
    pub who: Who,
    pub connection: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    pub for_seconds: u64,
    pub needs: Vec<NeededShown>,
    pub approvals: Vec<VoteShown>,
    pub created_at: String,
    /// Nobody can agree from then on.
    pub expires_at: String,
    /// What it has become.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndShown>,
}

/// An open door, or one that was.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct GrantShown {
    pub id: String,
    /// `open`, `expired`, `revoked` or `released`.
    pub state: String,
    pub who: Who,
    pub connection: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub policies: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    pub opened_at: String,
    pub ends_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub approved_by: Vec<Who>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndShown>,
}

/// A statement that waits for people, or has.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct HoldShown {
    pub id: String,
    /// `pending`, `approved`, `running`, `done`, `failed`, `unknown`, `denied`, `withdrawn` or
    /// `expired`.
    pub state: String,
    pub who: Who,
    pub connection: String,
    pub grant: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// As the client sent it.
    pub sql: String,
    pub parameters: Value,
    /// What PostgreSQL expects of it, the tables that it names, in full, what it would reach, and the
    /// settings of the database's own (`app.tenant`) under which it would run; as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimate: Option<String>,
    pub needs: Vec<NeededShown>,
    pub approvals: Vec<VoteShown>,
    pub created_at: String,
    /// Until when it can be approved, or run once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// It can be approved for other parameters.
    pub offers_shape: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uses_left: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<EndShown>,
}

/// A client's connection.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct SessionShown {
    pub id: String,
    pub who: Who,
    pub connection: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grant: Option<String>,
    pub client: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
    pub since: String,
}

/// A list. Where `behind` is there, `?behind=` it is the rest.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct List<Row> {
    pub rows: Vec<Row>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<String>,
}

/// Why it was not done.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Failure {
    /// A name for programs, which stays.
    pub code: String,
    /// A sentence.
    pub message: String,
    /// The next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What a client of PostgreSQL's protocol would read as DETAIL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Value>,
}

impl From<Answer> for Asked {
    fn from(answer: Answer) -> Self {
        use access::Admission;
        let narrowed = answer.narrowed.unwrap_or_default();
        let (state, grant, request) = match &answer.admission {
            Admission::Open { grant, .. } => ("open", Some(grant.into()), None),
            Admission::Wait { request, .. } => match &request.state {
                RequestState::Pending => ("pending", None, Some(request.into())),
                over => (over.name(), None, Some(request.into())),
            },
            Admission::Denied(request) => ("denied", None, Some(request.into())),
        };
        Asked {
            state: state.to_owned(),
            grant,
            request,
            given: narrowed.given,
            lacking: narrowed.lacking,
            token: answer.token.map(TokenShown::from),
        }
    }
}

impl From<GrantToken> for TokenShown {
    fn from(token: GrantToken) -> Self {
        TokenShown {
            user: token.user,
            password: token.token.text().to_owned(),
            good_for_seconds: token.lasts.as_secs(),
        }
    }
}

impl From<Given> for LoginToken {
    fn from(given: Given) -> Self {
        LoginToken {
            user: USER.to_owned(),
            password: given.token.text().to_owned(),
            good_for_seconds: given.lasts.as_secs(),
            issuer: given.identity.issuer,
            subject: given.identity.subject,
        }
    }
}

impl From<&access::Person> for Who {
    fn from(person: &access::Person) -> Self {
        let (issuer, subject) = (person.issuer.clone(), person.subject.clone());
        Who { issuer, subject, groups: Vec::new() }
    }
}

impl From<&access::Identity> for Who {
    fn from(identity: &access::Identity) -> Self {
        Who { groups: identity.groups.clone(), ..Who::from(&identity.person) }
    }
}

impl From<&Request> for RequestShown {
    fn from(request: &Request) -> Self {
        let (grant, ended) = match &request.state {
            RequestState::Pending => (None, None),
            RequestState::Approved { grant, .. } => (Some(grant.to_string()), None),
            RequestState::Denied { by, words, at } => (None, Some(ended(*at, Some(by), words))),
            RequestState::Expired { at } | RequestState::Withdrawn { at } => {
                (None, Some(ended(*at, None, &None)))
            }
        };
        RequestShown {
            id: request.id.to_string(),
            state: request.state.name().to_owned(),
            who: (&request.identity).into(),
            connection: request.connection.clone(),
            reason: request.reason.clone(),
            policies: request.policies.clone(),
            scope: request.scope.clone(),
            for_seconds: seconds(request.lasts_millis),
            needs: needs(&request.needed, request.missing()),
            approvals: approvals(&request.votes),
            created_at: time_of_millis(request.created_at),
            expires_at: time_of_millis(request.expires_at),
            grant,
            ended,
        }
    }
}

impl From<&Grant> for GrantShown {
    fn from(grant: &Grant) -> Self {
        let ended = match &grant.state {
            GrantState::Open => None,
            GrantState::Ended { how: GrantEnd::Revoked { by, words }, at } => {
                Some(ended(*at, Some(by), words))
            }
            GrantState::Ended { at, .. } => Some(ended(*at, None, &None)),
        };
        GrantShown {
            id: grant.id.to_string(),
            state: grant.state.name().to_owned(),
            who: (&grant.identity).into(),
            connection: grant.connection.clone(),
            reason: grant.reason.clone(),
            policies: grant.policies.clone(),
            scope: grant.scope.clone(),
            opened_at: time_of_millis(grant.opened_at),
            ends_at: time_of_millis(grant.ends_at),
            request: grant.request.as_ref().map(ToString::to_string),
            approved_by: grant.approved_by.iter().map(Who::from).collect(),
            ended,
        }
    }
}

impl From<&Hold> for HoldShown {
    fn from(hold: &Hold) -> Self {
        let end = match &hold.state {
            HoldState::Denied { by, words, at } => Some(ended(*at, Some(by), words)),
            HoldState::Failed { words, at } => Some(ended(*at, None, words)),
            state => state.closed_at().map(|at| ended(at, None, &None)),
        };
        HoldShown {
            id: hold.id.to_string(),
            state: hold.state.name().to_owned(),
            who: (&hold.identity).into(),
            connection: hold.connection.clone(),
            grant: hold.grant.to_string(),
            reason: hold.reason.clone(),
            sql: hold.text.clone(),
            // What the gate wrote is JSON; were it not, it would still be shown.
            parameters: serde_json::from_str(&hold.parameters)
                .unwrap_or_else(|_| Value::String(hold.parameters.clone())),
            estimate: hold.estimate.clone(),
            needs: needs(&hold.needed, hold.missing()),
            approvals: approvals(&hold.votes),
            created_at: time_of_millis(hold.created_at),
            until: hold.until().map(time_of_millis),
            offers_shape: hold.shape_digest.is_some(),
            uses_left: hold.shape.map(|shape| shape.uses_left),
            ended: end,
        }
    }
}

impl From<&About> for SessionShown {
    fn from(about: &About) -> Self {
        let since = about.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        let identity = &about.identity;
        SessionShown {
            id: about.session.clone(),
            who: Who {
                issuer: identity.issuer.clone(),
                subject: identity.subject.clone(),
                groups: Vec::new(),
            },
            connection: about.connection.clone(),
            grant: about.grant.clone(),
            client: about.client.clone(),
            application: about.application.clone(),
            since: time_of_millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX)),
        }
    }
}

impl<Row> List<Row> {
    pub(crate) fn of<Of, Id: ToString>(page: &Page<Of, Id>) -> Self
    where
        for<'of> Row: From<&'of Of>,
    {
        List {
            rows: page.rows.iter().map(Row::from).collect(),
            behind: page.behind.as_ref().map(ToString::to_string),
        }
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        Failure {
            code: trouble.code.to_owned(),
            message: trouble.message,
            hint: trouble.hint,
            detail: trouble.detail.and_then(|detail| serde_json::from_str(&detail).ok()),
        }
    }
}

fn needs<'n>(
    needed: &[Needed],
    missing: impl Iterator<Item = (&'n Needed, usize)>,
) -> Vec<NeededShown> {
    let missing: Vec<(&Needed, usize)> = missing.collect();
    let each = needed.iter().map(|needed| NeededShown {
        of: needed.what.clone(),
        by: needed.by.clone(),
        need: needed.need.max(1),
        missing: missing
            .iter()
            .find(|(other, _)| std::ptr::eq(*other, needed))
            .map_or(0, |(_, missing)| *missing),
    });
    each.collect()
}

fn approvals(votes: &[Vote]) -> Vec<VoteShown> {
    let each = votes.iter().map(|vote| VoteShown {
        by: (&vote.voter).into(),
        at: time_of_millis(vote.at),
        words: vote.words.clone(),
    });
    each.collect()
}

fn ended(at: i64, by: Option<&access::Person>, words: &Option<String>) -> EndShown {
    EndShown { at: time_of_millis(at), by: by.map(Who::from), words: words.clone() }
}

fn seconds(millis: i64) -> u64 {
    u64::try_from(millis / 1000).unwrap_or(0)
}
