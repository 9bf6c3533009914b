//! What becomes of holds where no session hears of it: a client has gone, a session ended before its
//! reply came, a gateway was killed. What was claimed and may have run is asked of PostgreSQL, by
//! the number of its transaction; where that can't be told it is unknown, and the approval spent.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use access::{Hold, HoldId, HoldState, Outcome, StateError};
use audit::Durability;
use audit::event::{self, Batch, Context, Event, Who};
use tokio::sync::Notify;

use crate::gate;
use crate::gateway::Gateway;
use crate::inquiry::{Inquiry, InquiryError};

/// What can't be told yet is asked again after this, and less and less often.
const AGAIN: Duration = Duration::from_secs(1);
const AGAIN_MAX: Duration = Duration::from_secs(30);

/// The holds that this node has claimed.
pub(crate) struct Holds {
    node: String,
    /// Claimed by a session that can't tell how they came out.
    unsure: Mutex<Vec<HoldId>>,
    more: Notify,
}

impl Holds {
    pub(crate) fn new(node: &str) -> Holds {
        Holds { node: node.to_owned(), unsure: Mutex::default(), more: Notify::new() }
    }

    /// As whom this node claims. It is the same after a restart, and no other node's.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// PostgreSQL has to be asked how it came out.
    pub(crate) fn is_unsure(&self, id: HoldId) {
        self.lock().push(id);
        self.more.notify_one();
    }

    /// Looks after what is unfinished, for as long as the gateway lives; first of all what an earlier
    /// process of this node has left.
    pub(crate) fn keep(gateway: &Arc<Gateway>) {
        tokio::spawn(keeper(Arc::downgrade(gateway)));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<HoldId>> {
        self.unsure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session leaves behind.
pub(crate) struct Left {
    /// What its client waited for.
    pub(crate) waited: Option<HoldId>,
    /// What it had claimed, and whether it may have reached the server.
    pub(crate) claimed: Option<(HoldId, bool)>,
    /// Outcomes that the store has not heard of.
    pub(crate) settled: Vec<(HoldId, Outcome)>,
}

impl Left {
    pub(crate) async fn settle(self, gateway: &Gateway, session: &str, who: &Context) {
        settle(gateway, self.settled).await;
        if let Some(id) = self.waited {
            match gateway.state.orphan(&id, session).await {
                Ok(_) => record(gateway, who, &id, "orphaned", None).await,
                // Somebody else waits for it by now, or it was decided.
                Err(error) if error.refused().is_some() => {}
                Err(error) => tracing::error!(hold = %id, %error, "a hold could not be orphaned"),
            }
        }
        match self.claimed {
            Some((id, true)) => gateway.holds.is_unsure(id),
            Some((id, false)) => {
                let words = Some("it was not sent".to_owned());
                finish(gateway, who, &id, Outcome::Failed { words }).await;
            }
            None => {}
        }
    }
}

/// Tells the store of outcomes that are recorded already. Should it not hear of one, it is asked for
/// again when the node starts.
pub(crate) async fn settle(gateway: &Gateway, settled: Vec<(HoldId, Outcome)>) {
    for (id, outcome) in settled {
        fault("finish");
        if let Err(error) = gateway.state.finish(&id, outcome).await {
            tracing::error!(hold = %id, %error, "the outcome of a hold could not be stored");
            gateway.holds.is_unsure(id);
        }
        fault("finished");
    }
}

/// Between two steps, for tests that kill the gateway there.
pub(crate) fn fault(at: &str) {
    #[cfg(debug_assertions)]
    if std::env::var_os("GATEPOST_FAULT").is_some_and(|fault| fault == at) {
        std::process::abort();
    }
    #[cfg(not(debug_assertions))]
    let _ = at;
}

/// As a sentence goes on.
pub(crate) fn said(state: &HoldState) -> &'static str {
    match state {
        HoldState::Pending => "nobody has decided yet",
        HoldState::Approved { .. } => "it was approved",
        HoldState::Denied { .. } => "it was denied",
        HoldState::Withdrawn { .. } => "it was withdrawn",
        HoldState::Expired { .. } => "it has expired",
        HoldState::Running => "another session runs it",
        HoldState::Done { .. } => "it was run already",
        HoldState::Failed { .. } => "it was run already, and failed",
        HoldState::Unknown { .. } => "it was sent already, and nobody knows how it came out",
    }
}

async fn keeper(gateway: Weak<Gateway>) {
    let mut open: Vec<HoldId> = Vec::new();
    if let Some(gateway) = gateway.upgrade() {
        match gateway.state.unfinished(gateway.holds.node()).await {
            Ok(left) => open.extend(left.into_iter().map(|hold| hold.id)),
            Err(error) => tracing::error!(%error, "what was left running can't be read"),
        }
    }
    let mut again = AGAIN;
    loop {
        let Some(strong) = gateway.upgrade() else { return };
        open.append(&mut strong.holds.lock());
        let mut still = Vec::new();
        for id in open {
            match ask(&strong, &id).await {
                Ok(true) => again = AGAIN,
                Ok(false) => still.push(id),
                Err(error) => {
                    tracing::warn!(hold = %id, %error, "how a hold came out is not known yet");
                    still.push(id);
                }
            }
        }
        open = still;
        let waits = !open.is_empty();
        // Nobody keeps the gateway alive by looking after it.
        let more = {
            let holds = &strong.holds;
            let more = holds.more.notified();
            tokio::select! {
                () = more => true,
                () = tokio::time::sleep(again) => waits,
            }
        };
        if waits && more {
            again = (again * 2).min(AGAIN_MAX);
        }
    }
}

/// Whether it is settled now.
async fn ask(gateway: &Gateway, id: &HoldId) -> Result<bool, StateError> {
    let Some(hold) = gateway.state.held(id).await? else { return Ok(true) };
    if hold.state != HoldState::Running {
        return Ok(true);
    }
    let outcome = match hold.run.as_ref().and_then(|run| run.xid) {
        None => Outcome::Unknown,
        Some(xid) => match status(gateway, &hold, xid).await {
            Ok(Some(outcome)) => outcome,
            Ok(None) => return Ok(false),
            // The server itself can't say, or there is nobody to ask.
            Err(InquiryError::NoCredential | InquiryError::Said { .. }) => Outcome::Unknown,
            Err(error) => {
                tracing::warn!(hold = %id, %error, "PostgreSQL can't be asked how a hold came out");
                return Ok(false);
            }
        },
    };
    let access::Identity { person, actors, .. } = &hold.identity;
    let actors: Vec<_> = actors.iter().map(|actor| (&*actor.issuer, &*actor.subject)).collect();
    let who = Context::new(&Who {
        session: None,
        grant: Some(hold.grant.as_str()),
        identity: Some(event::Identity {
            issuer: &person.issuer,
            subject: &person.subject,
            actors: &actors,
            ..event::Identity::default()
        }),
        connection: Some(&hold.connection),
        ..Who::default()
    });
    finish(gateway, &who, id, outcome).await;
    Ok(true)
}

/// `None`: it still runs.
async fn status(gateway: &Gateway, hold: &Hold, xid: u64) -> Result<Option<Outcome>, InquiryError> {
    let connection = gateway.read_settings(|settings| {
        settings.connections.get(&hold.connection).or(settings.any_database.as_ref()).cloned()
    });
    let Some(connection) = connection else { return Ok(Some(Outcome::Unknown)) };
    let mut inquiry = Inquiry::open_with(&connection, &gateway.keyring).await?;
    let sql = format!("SELECT pg_catalog.pg_xact_status('{xid}'::pg_catalog.xid8)");
    let rows = inquiry.rows(&sql).await?;
    let status = rows.first().and_then(|row| row.first()?.as_deref());
    Ok(match status {
        Some("committed") => Some(Outcome::Done),
        Some("aborted") => {
            Some(Outcome::Failed { words: Some("its transaction was rolled back".to_owned()) })
        }
        Some("in progress") => None,
        _ => Some(Outcome::Unknown),
    })
}

/// Records it, then tells the store.
async fn finish(gateway: &Gateway, who: &Context, id: &HoldId, outcome: Outcome) {
    let (step, words) = match &outcome {
        Outcome::Done => ("done", None),
        Outcome::Failed { words } => ("failed", words.as_deref()),
        Outcome::Unknown => ("unknown", None),
    };
    record(gateway, who, id, step, words).await;
    if let Err(error) = gateway.state.finish(id, outcome).await {
        tracing::error!(hold = %id, %error, "the outcome of a hold could not be stored");
    }
}

async fn record(gateway: &Gateway, who: &Context, id: &HoldId, step: &str, words: Option<&str>) {
    let mut batch = Batch::new();
    let event = event::Hold { hold: id.as_str(), step, words, ..event::Hold::default() };
    batch.push(who, &Event::Hold(event));
    if let Err(error) = gate::record(&gateway.journal, &batch, Durability::Strict, true).await {
        tracing::error!(hold = %id, %error, "what became of a hold could not be recorded");
    }
}
