//! What is done to requests, grants and holds reaches the journal by way of the store: the records of
//! a step are kept there from the instant that it is taken, and appended here, in its order, before
//! anybody acts on it. What a process that was killed has left, the next one of its name appends; so
//! no step is without a record, and two records of one have the same `entry`. What the records say is
//! the business of `grants::records`.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use access::{State, StateError, UNTOLD_ROWS_MAX};
use audit::event::Batch;
use audit::{Durability, Unrecorded};
use thiserror::Error;
use tokio::sync::Mutex;

use crate::gate;
use crate::gateway::Gateway;
use crate::holds::fault;
use crate::refusal::Refusal;

pub(crate) struct Telling {
    node: String,
    /// Steps with records that were taken, or begun: counted before they are in the store.
    taken: AtomicU64,
    /// As many of them as the journal has.
    told: AtomicU64,
    /// The journal has all up to this number. One at a time appends.
    heard: Mutex<i64>,
    /// The same, for the store to forget.
    to_forget: AtomicI64,
    forgotten: AtomicI64,
}

#[derive(Debug, Error)]
enum Untellable {
    #[error(transparent)]
    Store(#[from] StateError),
    #[error(transparent)]
    Journal(#[from] Unrecorded),
    #[error("entry {0} of the store is no record")]
    Garbled(i64),
}

impl Telling {
    pub(crate) fn new(node: &str) -> Telling {
        Telling {
            node: node.to_owned(),
            // What an earlier process has left counts as one.
            taken: AtomicU64::new(1),
            told: AtomicU64::new(0),
            heard: Mutex::default(),
            to_forget: AtomicI64::new(0),
            forgotten: AtomicI64::new(0),
        }
    }

    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// A step with records is about to be in the store.
    pub(crate) fn is_taken(&self) {
        self.taken.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells the store what it need not keep. A crash before that makes a record twice, so it is done
    /// seldom, and not by those who wait.
    pub(crate) async fn forget(&self, state: &State) -> Result<(), StateError> {
        let up_to = self.to_forget.load(Ordering::Acquire);
        if up_to > self.forgotten.load(Ordering::Acquire) {
            state.told(&self.node, up_to).await?;
            self.forgotten.store(up_to, Ordering::Release);
        }
        Ok(())
    }

    async fn tell(&self, gateway: &Gateway) -> Result<(), Untellable> {
        let mut heard = self.heard.lock().await;
        // The store answers after it has done what was begun.
        let taken = self.taken.load(Ordering::Acquire);
        loop {
            let untold = gateway.state.untold(&self.node, *heard).await?;
            let Some(last) = untold.last() else { break };
            let mut batch = Batch::new();
            for it in &untold {
                if !batch.push_kept(&it.record, it.number) {
                    return Err(Untellable::Garbled(it.number));
                }
            }
            fault("untold");
            gate::record(&gateway.journal, &batch, Durability::Strict, true).await?;
            fault("told");
            *heard = last.number;
            self.to_forget.store(last.number, Ordering::Release);
            if untold.len() < UNTOLD_ROWS_MAX {
                break;
            }
        }
        self.told.store(taken, Ordering::Release);
        Ok(())
    }

    fn has_told_all(&self) -> bool {
        self.told.load(Ordering::Acquire) == self.taken.load(Ordering::Acquire)
    }
}

/// Everything that was done is in the journal, durably, whoever did it. If it can't be, that stays to be
/// told, and nobody may act on it. It goes on for who doesn't wait for it, and costs nothing where there
/// is nothing to tell.
pub(crate) async fn tell(gateway: &Arc<Gateway>) -> Result<(), Refusal> {
    if gateway.telling.has_told_all() {
        return Ok(());
    }
    let telling = gateway.clone();
    let told = tokio::spawn(async move { telling.telling.tell(&telling).await });
    match told.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            tracing::error!(%error, "what was done can't be recorded");
            Err(Refusal::Unrecorded)
        }
        // Only while the gateway ends.
        Err(_) => Err(Refusal::Unrecorded),
    }
}
