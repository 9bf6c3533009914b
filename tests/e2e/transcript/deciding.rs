//! Somebody who says the same to all that waits for people, in the gateway's own store.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use access::{Filter, Saying, State};

use crate::holds::stand::anna;
use crate::setup::Gate;

pub(super) struct Deciding {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Deciding {
    pub(super) fn begin(gate: &Gate, agrees: bool) -> Deciding {
        let path = gate.process.place.directory.join("gatepost.db");
        let state = State::open(&path).expect("a store");
        let is_over = Arc::<AtomicBool>::default();
        let told = is_over.clone();
        let decides = async move {
            while !told.load(Ordering::Relaxed) {
                let waits = Filter { open: true, ..Filter::default() };
                for hold in state.holds(waits).await.expect("holds") {
                    let saying = match agrees {
                        true => Saying::Approve { words: None, shape: None },
                        false => Saying::Deny { words: None },
                    };
                    let said = state.decide_hold(&hold.id, anna(), saying, Box::new(|_| true));
                    // Its client may have gone meanwhile, or cancelled.
                    if let Err(error) = said.await {
                        assert!(error.refused().is_some(), "{error}");
                    }
                }
                // Another process's store sends no word.
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.expect("a runtime");
        let thread = thread::spawn(move || runtime.block_on(decides));
        Deciding { is_over, thread: Some(thread) }
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join)
            && !thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}
