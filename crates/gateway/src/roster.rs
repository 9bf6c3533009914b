//! Who is in session: how a cancel request finds its backend, and how an order to end reaches a
//! session from outside. Touched when a session begins and ends, never by its statements.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use identity::Identity;
use tokio::sync::{Notify, watch};

use crate::dial::{Backend, DialError};

/// A cancel key of protocol 3.0.
pub(crate) type CancelKey = [u8; 4];

#[derive(Default)]
pub(crate) struct Roster {
    present: Mutex<Present>,
    /// Woken each time a session leaves.
    left: Notify,
}

#[derive(Default)]
struct Present {
    /// By what the client was told: the backend's own process id, and a key of ours.
    sessions: HashMap<(i32, CancelKey), Arc<Attendee>>,
    stopping: bool,
}

/// A session as others see it.
pub(crate) struct Attendee {
    pub(crate) about: About,
    pub(crate) backend: Backend,
    told_to_end: AtomicBool,
    told: Notify,
    /// How often its client wanted to be done.
    cancels: watch::Sender<u64>,
    /// Who has ended it, whatever it was doing.
    killer: OnceLock<Identity>,
    killed: Notify,
}

/// Who a session is of.
#[derive(Clone, Debug)]
pub struct About {
    /// The session's name.
    pub session: String,
    pub identity: Identity,
    pub connection: String,
    pub grant: Option<String>,
    /// The client's address, or that it came over a Unix socket.
    pub client: String,
    pub application: Option<String>,
    pub since: SystemTime,
}

/// A session's own hold on its entry; it leaves the roster when this is dropped.
pub(crate) struct Enrolled {
    roster: Arc<Roster>,
    pub(crate) key: CancelKey,
    pub(crate) attendee: Arc<Attendee>,
}

impl Roster {
    /// Enters a session under a key that nobody can guess.
    pub(crate) fn enrol(
        self: &Arc<Self>,
        backend: Backend,
        about: About,
    ) -> Result<Enrolled, aws_lc_rs::error::Unspecified> {
        let mut present = self.lock();
        let key = loop {
            let mut key = CancelKey::default();
            aws_lc_rs::rand::fill(&mut key)?;
            if !present.sessions.contains_key(&(backend.pid, key)) {
                break key;
            }
        };
        let attendee = Arc::new(Attendee {
            told_to_end: AtomicBool::new(present.stopping),
            told: Notify::new(),
            cancels: watch::Sender::new(0),
            killer: OnceLock::new(),
            killed: Notify::new(),
            about,
            backend,
        });
        present.sessions.insert((attendee.backend.pid, key), attendee.clone());
        Ok(Enrolled { roster: self.clone(), key, attendee })
    }

    /// The session that was given this process id and key.
    pub(crate) fn find(&self, pid: i32, key: &[u8]) -> Option<Arc<Attendee>> {
        let key = CancelKey::try_from(key).ok()?;
        self.lock().sessions.get(&(pid, key)).cloned()
    }

    /// Tells every session, and all that are yet to come, to end at the next pause.
    pub(crate) fn stop(&self) {
        let mut present = self.lock();
        present.stopping = true;
        for attendee in present.sessions.values() {
            attendee.told_to_end.store(true, Ordering::Release);
            attendee.told.notify_one();
        }
    }

    pub(crate) fn present(&self) -> Vec<Arc<Attendee>> {
        self.lock().sessions.values().cloned().collect()
    }

    /// Waits until nobody is in session.
    pub(crate) async fn empty(&self) {
        loop {
            let left = self.left.notified();
            if self.lock().sessions.is_empty() {
                return;
            }
            left.await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attendee {
    /// Somebody wants this session to end.
    pub(crate) fn is_told_to_end(&self) -> bool {
        self.told_to_end.load(Ordering::Acquire)
    }

    /// The client wants to be done with what it waits for, in the server and before it.
    pub(crate) async fn cancel(&self) -> Result<(), DialError> {
        // The server first: who waits here goes on at once, and the request must not find what the
        // session asks next.
        let forwarded = self.backend.cancel().await;
        self.cancels.send_modify(|cancels| *cancels += 1);
        forwarded
    }

    /// Hears of each cancel from now on.
    pub(crate) fn cancels(&self) -> watch::Receiver<u64> {
        self.cancels.subscribe()
    }

    /// Waits for a change of `is_told_to_end`.
    pub(crate) async fn told(&self) {
        self.told.notified().await;
    }

    /// Ends the session at once. Whoever says so first is who did it.
    pub(crate) fn kill(&self, by: Identity) {
        if self.killer.set(by).is_ok() {
            self.killed.notify_one();
        }
    }

    /// Waits until somebody kills it.
    pub(crate) async fn killed(&self) -> Identity {
        loop {
            if let Some(by) = self.killer.get() {
                return by.clone();
            }
            self.killed.notified().await;
        }
    }
}

impl Drop for Enrolled {
    fn drop(&mut self) {
        self.roster.lock().sessions.remove(&(self.attendee.backend.pid, self.key));
        self.roster.left.notify_waiters();
    }
}
