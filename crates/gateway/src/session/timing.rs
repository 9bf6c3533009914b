//! What happens to a session by the clock, and what is cancelled in it: statements that run for too
//! long, transactions that are left open. What a cut statement's client reads is the gate's business.

use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use wire::exchange::Standing;

use super::{End, Shared};
use crate::grants::{Life, Tenure};
use crate::refusal;
use crate::roster::Attendee;

/// However short a limit is, it is looked after this often at most.
const LOOK_EVERY_MIN: Duration = Duration::from_millis(10);

/// While a policy limits nothing of this, it is looked whether another one does.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Cancels what runs whenever the gate has cut it. Until the server has had the request nothing more
/// is sent, for it could hit that. Not cancel-safe: a request that is dropped midway may not arrive.
pub(super) async fn canceller(shared: &Shared, attendee: &Attendee) -> End {
    loop {
        shared.cancel.seen().await;
        if let Err(error) = attendee.backend.cancel().await {
            let session = &attendee.about.session;
            tracing::warn!(session, %error, "a statement that was cut could not be cancelled");
        }
        shared.cancelling.set(false);
        shared.progress.set();
    }
}

/// Ends a session when its grant is over, whatever it does then, and says so a while before.
pub(super) async fn tenure_over(shared: &Shared, tenure: Option<&Tenure>) -> End {
    let Some(tenure) = tenure else { return std::future::pending().await };
    let mut life = tenure.served.watch();
    let mut is_told = false;
    loop {
        let now = life.borrow_and_update().clone();
        match now {
            Life::Goes => {}
            Life::Wanes(left) => {
                if !std::mem::replace(&mut is_told, true) {
                    refusal::write_ending(left, &mut shared.words.borrow_mut());
                    shared.said.set();
                }
            }
            Life::Over(over) => return End::Over(over),
        }
        // The sender lives as long as the tenure does.
        if life.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Ends statements that run for too long, and sessions that leave a transaction open.
pub(super) async fn timekeeper(shared: &Shared) -> End {
    loop {
        let statement = statement(shared);
        let idle = match idle(shared) {
            Ok(next) => next,
            Err(end) => return end,
        };
        match statement.into_iter().chain(idle).min() {
            Some(next) => sleep_until(next).await,
            None => sleep(LOOK_EVERY).await,
        }
    }
}

/// Cuts what is overdue, and says when to look again: what begins later is due later.
fn statement(shared: &Shared) -> Option<Instant> {
    let mut gate = shared.gate.borrow_mut();
    let mut exchange = shared.exchange.borrow_mut();
    let limit = gate.statement_time()?;
    let now = Instant::now();
    let idle = now + limit.max(LOOK_EVERY_MIN);
    // What the server has answered before it may still be in its buffer.
    let running = exchange.attached().find_map(|entry| Some((gate.due(entry)?, entry)));
    let Some((due, entry)) = running else { return Some(idle) };
    let due = Instant::from_std(due);
    if due > now {
        return Some(due);
    }
    gate.is_overdue(entry);
    if gate.takes_cancel() {
        shared.cancelling.set(true);
        shared.cancel.set();
    }
    Some(idle)
}

fn idle(shared: &Shared) -> Result<Option<Instant>, End> {
    let gate = shared.gate.borrow();
    let Some(limit) = gate.idle_in_transaction() else { return Ok(None) };
    let now = Instant::now();
    let is_open = match shared.exchange.borrow().standing() {
        Standing::Clear { ready } => !ready || gate.is_in_transaction(),
        Standing::Answering | Standing::Deaf => false,
    };
    let due = shared.quiet_since.get().max(shared.heard.get()) + limit.value;
    if is_open && !shared.writing.get() && due <= now {
        return Err(End::IdleInTransaction(limit.clone()));
    }
    let later = now + limit.value.max(LOOK_EVERY_MIN);
    Ok(Some(if is_open && due > now { due } else { later }))
}
