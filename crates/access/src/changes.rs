//! Who waits for a row to change, and the word that it has. It is a hint: it may come for nothing,
//! and across processes it may not come at all, so whoever waits looks at the row, and looks again
//! from time to time. Waiting costs nothing until the word comes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

#[derive(Clone, Debug)]
pub(crate) struct Changes(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Has an entry for as long as somebody waits, so it is as large as there are waiters.
    rows: Mutex<HashMap<String, watch::Sender<()>>>,
    any: watch::Sender<()>,
}

/// Waits for the changes of one row.
#[derive(Debug)]
pub struct Watch {
    id: String,
    /// Gone only while it is dropped.
    receiver: Option<watch::Receiver<()>>,
    changes: Changes,
}

impl Changes {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Inner { rows: Mutex::default(), any: watch::Sender::new(()) }))
    }

    pub(crate) fn watch(&self, id: String) -> Watch {
        let receiver = self.rows().entry(id.clone()).or_default().subscribe();
        Watch { id, receiver: Some(receiver), changes: self.clone() }
    }

    pub(crate) fn watch_all(&self) -> watch::Receiver<()> {
        self.0.any.subscribe()
    }

    pub(crate) fn tell(&self, ids: &[String]) {
        if ids.is_empty() {
            return;
        }
        let rows = self.rows();
        for id in ids {
            if let Some(row) = rows.get(id) {
                row.send_replace(());
            }
        }
        drop(rows);
        self.0.any.send_replace(());
    }

    /// Anything may have changed.
    pub(crate) fn tell_all(&self) {
        for row in self.rows().values() {
            row.send_replace(());
        }
        self.0.any.send_replace(());
    }

    /// A map of senders is whole whatever a thread that panicked was at.
    fn rows(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Returns at the first change since the watch was made, or since this last returned.
    /// Cancel-safe.
    pub async fn changed(&mut self) {
        match &mut self.receiver {
            // The sender lives as long as this receiver does.
            Some(receiver) => match receiver.changed().await {
                Ok(()) => {}
                Err(_) => std::future::pending().await,
            },
            None => std::future::pending().await,
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut rows = self.changes.rows();
        self.receiver = None;
        if rows.get(&self.id).is_some_and(|row| row.receiver_count() == 0) {
            rows.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_reaches_whoever_waits_for_that_row_and_nobody_else() {
        let changes = Changes::new();
        let mut ours = changes.watch("a".to_owned());
        let mut theirs = changes.watch("b".to_owned());
        changes.tell(&["a".to_owned()]);
        ours.changed().await;
        tokio::select! {
            biased;
            () = theirs.changed() => panic!("nobody told b"),
            () = std::future::ready(()) => {}
        }
        changes.tell_all();
        theirs.changed().await;
    }

    #[tokio::test]
    async fn nothing_is_kept_of_who_waits_no_more() {
        let changes = Changes::new();
        let one = changes.watch("a".to_owned());
        let two = changes.watch("a".to_owned());
        drop(one);
        assert_eq!(changes.rows().len(), 1);
        drop(two);
        assert_eq!(changes.rows().len(), 0);
    }
}
