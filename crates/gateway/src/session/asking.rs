//! Waiting in the midst of a session, until the gate knows what it has to know before it can say
//! what becomes of the next message. Replies flow meanwhile, a cancel reaches the server, and a
//! client that goes is noticed. What the answers mean is the gate's business.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use wire::exchange::Standing;
use wire::frontend;

use super::{BUFFER_BYTES_MAX, End, Messages, Shared};
use crate::gate::{
    self, CatalogReading, Cleared, Entry, Expecting, Failure, Looked, Need, Rows, Seen, Shown,
    ToServer, Unmet, Wanted, Within,
};
use crate::stream::Reader;

/// A question of ours that takes longer is cancelled. Reading a large catalog takes a second or two.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(20);

/// A whole Terminate.
const TERMINATE: &[u8] = b"X\0\0\0\x04";

impl Messages<'_> {
    /// Meets a need of the gate's, or tells it that it can't be met.
    pub(super) async fn settle(
        &mut self,
        need: Need,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        gate.borrow_mut().is_waited_for();
        match need {
            Need::End(refusal) => Err(End::Closed(refusal)),
            Need::Answers => {
                if self.answers(client, server).await?.is_some() {
                    gate.borrow_mut().is_answered();
                }
                Ok(())
            }
            Need::Estimate(expecting) => self.estimate(&expecting, client, server).await,
            Need::Names => self.names(client, server).await,
            Need::Shown => {
                let (gateway, _) = gate.borrow().database();
                let person = gate.borrow().person();
                let read = Shown::read(&gateway, person);
                let shown = self.while_listening(client, read).await?;
                gate.borrow_mut().shows(shown);
                Ok(())
            }
            Need::Standing => {
                let (gateway, _) = gate.borrow().database();
                // While it is in doubt whether the grant lives nothing begins.
                self.while_listening(client, gateway.grants.settled()).await.map(|_| ())
            }
            Need::Step(looked) => {
                let Looked { entry, instead, around } = *looked;
                self.seen.push(Seen { tag: frontend::QUERY, entry, bytes: 0..0, instead, around });
                match self.pass_on(0, server).await {
                    Ok(()) => Ok(()),
                    // As everywhere: the other loop ends the session behind the server's last words.
                    Err(_) => std::future::pending().await,
                }
            }
            Need::Catalog => self.catalog(client, server).await,
            Need::Trial(trial) => self.trial(&trial, client, server).await,
            Need::Person(asking) => self.person(&asking, client, server).await,
            Need::LongText(text) => {
                let ahead = self.while_listening(client, text.read()).await?;
                gate.borrow_mut().is_read(ahead);
                Ok(())
            }
        }
    }

    async fn names(
        &mut self,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let Some(ready) = self.answers(client, server).await? else { return Ok(()) };
        let sql = gate.borrow().names_sql(ready);
        if let Some(rows) = self.ask(&sql, ready, client, server).await? {
            let mut gate = gate.borrow_mut();
            let within = gate.within(ready);
            gate.names_are(&rows, within);
        }
        Ok(())
    }

    async fn catalog(
        &mut self,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let mut ready = true;
        if gate.borrow().catalog_waits_for_answers() {
            match self.answers(client, server).await? {
                Some(is_ready) => ready = is_ready,
                None => return Ok(()),
            }
        }
        let wanted = gate.borrow().catalog_wanted(ready);
        match wanted {
            Wanted::Shared { extent, max_age } => {
                let (gateway, connection) = gate.borrow().database();
                let asked = gateway.catalogs().current(&connection, extent, max_age);
                let found = self.while_listening(client, asked).await?;
                gate.borrow_mut().catalog_is(found);
            }
            Wanted::Own => self.own_catalog(ready, client, server).await?,
        }
        Ok(())
    }

    /// What the planner expects, asked aside: in a block between savepoints, so that it may fail.
    async fn estimate(
        &mut self,
        expecting: &Expecting,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let Some(ready) = self.answers(client, server).await? else { return Ok(()) };
        let savepoint = gate.borrow().savepoint();
        let in_block = gate.borrow().within(ready) == Within::Block;
        if in_block {
            let sql = format!("SAVEPOINT {savepoint}");
            if self.ask(&sql, ready, client, server).await?.is_none() {
                return Ok(());
            }
        }
        let asked = gate.borrow_mut().ask_expecting(expecting, ready);
        let answer = self.answer(asked, client, server).await?;
        if in_block {
            for sql in [format!("ROLLBACK TO {savepoint}"), format!("RELEASE {savepoint}")] {
                if self.ask(&sql, ready, client, server).await?.is_none() {
                    return Ok(());
                }
            }
        }
        gate.borrow_mut().expects(answer.as_ref().and_then(|answer| answer.as_ref().ok()));
        Ok(())
    }

    /// The catalog as only the session's own transaction sees it, unless it sees what all see.
    async fn own_catalog(
        &mut self,
        ready: bool,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        // Not in the condition: there the gate would be borrowed for as long as the block lasts.
        let may_read = gate.borrow().may_read_catalog();
        if let Err(unmet) = may_read {
            gate.borrow_mut().is_unmet(unmet);
            return Ok(());
        }
        let taken = std::time::Instant::now();
        let sql = gate.borrow().sign_sql();
        let Some(rows) = self.ask(sql, ready, client, server).await? else { return Ok(()) };
        let Some(sign) = gate.borrow_mut().sign_is(&rows, ready, taken) else { return Ok(()) };
        let mut reading = CatalogReading::new(&sign);
        while let Some(sql) = reading.next() {
            let Some(rows) = self.ask(&sql, ready, client, server).await? else { return Ok(()) };
            reading.take(&rows);
        }
        gate.borrow_mut().own_catalog_is(reading, sign, ready, taken);
        Ok(())
    }

    /// Waits until everything that was sent has been answered, and says whether a ReadyForQuery was
    /// the last of it. `None` if that can't be, or if nothing can be asked then; the gate knows.
    pub(super) async fn answers(
        &mut self,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<Option<bool>, End> {
        let shared = self.shared;
        let standing = || shared.exchange.borrow().standing();
        if standing() == Standing::Answering && server.send(gate::flush()).await.is_err() {
            // As everywhere: the other loop ends the session behind the server's last words.
            return std::future::pending().await;
        }
        let waited = shared.wait_until(|_| standing() != Standing::Answering);
        self.while_listening(client, waited).await?;
        let mut gate = shared.gate.borrow_mut();
        match standing() {
            Standing::Clear { .. } if gate.is_aborted() => gate.is_unmet(Unmet::Aborted),
            Standing::Clear { ready } => return Ok(Some(ready)),
            Standing::Answering | Standing::Deaf => gate.is_unmet(Unmet::Deaf),
        }
        Ok(None)
    }

    /// Asks a question of the gate's own; everything has been answered. `None` if it was cancelled;
    /// the gate knows.
    pub(super) async fn ask(
        &mut self,
        sql: &str,
        ready: bool,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<Option<Rows>, End> {
        let shared = self.shared;
        let asked = shared.gate.borrow_mut().ask(sql, ready);
        match self.answer(asked, client, server).await? {
            Some(Ok(rows)) => Ok(Some(rows)),
            Some(Err(Failure::Cancelled { message })) => {
                shared.gate.borrow_mut().is_unmet(Unmet::Cancelled { message });
                Ok(None)
            }
            Some(Err(failure)) => Err(End::Unanswered(failure)),
            None => Ok(None),
        }
    }

    /// Sends a question, and waits for its answer. What takes too long is cancelled.
    pub(super) async fn answer(
        &mut self,
        (cleared, entries): (Cleared<'static>, Vec<(u8, Entry)>),
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<Option<Result<Rows, Failure>>, End> {
        let shared = self.shared;
        for (tag, entry) in entries {
            shared.exchange.borrow_mut().sent(tag, entry);
        }
        if server.send(cleared).await.is_err() {
            // As everywhere: the other loop ends the session behind the server's last words.
            return std::future::pending().await;
        }
        let answered = async {
            let is_answered = |shared: &Shared| shared.gate.borrow().has_answer();
            if timeout(ANSWER_TIME_MAX, shared.wait_until(is_answered)).await.is_err() {
                shared.cancelling.set(true);
                shared.cancel.set();
                shared.wait_until(is_answered).await;
            }
        };
        self.while_listening(client, answered).await?;
        let answer = shared.gate.borrow_mut().take_answer();
        Ok(answer)
    }

    /// Waits, and reads what the client says meanwhile, up to a buffer. A client that goes without a
    /// word ends the wait; behind a Terminate it may go.
    pub(super) async fn while_listening<T>(
        &mut self,
        client: &mut Reader<'_>,
        wait: impl Future<Output = T>,
    ) -> Result<T, End> {
        self.listening(client, wait, true).await
    }

    /// The same, and a client that goes ends the wait whatever it has said: it would not hear what
    /// comes of it.
    pub(super) async fn while_there<T>(
        &mut self,
        client: &mut Reader<'_>,
        wait: impl Future<Output = T>,
    ) -> Result<T, End> {
        self.listening(client, wait, false).await
    }

    async fn listening<T>(
        &mut self,
        client: &mut Reader<'_>,
        wait: impl Future<Output = T>,
        may_go: bool,
    ) -> Result<T, End> {
        let mut wait = pin!(wait);
        let mut has_gone = false;
        loop {
            let listens = !has_gone && self.buffer.bytes.len() < BUFFER_BYTES_MAX;
            tokio::select! {
                biased;
                done = &mut wait => return Ok(done),
                read = self.buffer.fill(client), if listens => match read {
                    Ok(0) if may_go && self.buffer.bytes.ends_with(TERMINATE) => has_gone = true,
                    Ok(0) => return Err(End::ClientGone(None)),
                    Ok(_) => self.shared.heard.set(Instant::now()),
                    Err(error) => return Err(End::ClientGone(Some(error))),
                },
            }
        }
    }
}
