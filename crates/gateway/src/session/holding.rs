//! A message waits for people, between two of the client's. The client is told so at once; it may
//! cancel, go away, or read after a while that the hold lives on without it. What people have agreed
//! to is claimed before anything of it is sent, and in the store and in the journal before that.

use access::{
    Claimant, Digest, Hold, HoldState, Needed, NewHold, Outcome, Person, Refused, State, StateError,
};
use audit::event;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{End, Messages};
use crate::gate::{self, Asking, Failure, Rows, ToServer, Unmet};
use crate::grants::records::{self, Doer};
use crate::holds::{self, fault};
use crate::refusal::{self, HeldBack};
use crate::stream::Reader;
use crate::telling;

/// Nobody can approve a statement after this.
const HOLD_EXPIRES_MILLIS: i64 = 3_600_000;

/// How long what was approved can be claimed, and how long it waits for a client that has gone.
const HOLD_CLAIM_MILLIS: i64 = 600_000;

/// Why somebody no longer waits.
enum Waited {
    Decided,
    TooLong,
    Cancelled,
}

impl Messages<'_> {
    /// Asks people, waits for them, and claims what they have agreed to. What came of it the gate
    /// knows, and looks at the message again.
    pub(super) async fn person(
        &mut self,
        asking: &Asking,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let cancels = self.attendee.cancels();
        if self.answers(client, server).await?.is_none() {
            return Ok(());
        }
        // Nothing has run in this series, so a Sync ends nothing.
        let meaning = self.ask(&asking.question, true, client, server).await?;
        let Some(meaning) = meaning else { return Ok(()) };
        let Some((digest, shape)) = asking.digest(&meaning) else {
            gate.borrow_mut().no_catalog("the server does not say what a held statement means");
            return Ok(());
        };
        let session = gate.borrow().session().to_owned();
        let new = asking.new_hold(session, digest, shape, asking.expects(&meaning));
        if shape.is_some() && self.uses_shape(&new, asking, client, server).await? {
            return Ok(());
        }
        let held = match self.store().hold(new).await {
            Ok(held) => held,
            Err(error) => {
                gate.borrow_mut().is_held_back(why(&error));
                return Ok(());
            }
        };
        let mut hold = held.hold;
        if !self.told().await {
            return Ok(());
        }
        if hold.state == HoldState::Pending {
            gate.borrow_mut().waits_for(Some(hold.id.clone()));
            let until = Instant::from_std(asking.since) + asking.wait;
            let mut words = Vec::new();
            refusal::write_held(&hold, asking.wait, &mut words);
            self.shared.words.borrow_mut().extend_from_slice(&words);
            self.shared.said.set();
            let waited = self.wait_for(&mut hold, until, cancels, client).await?;
            gate.borrow_mut().waits_for(None);
            // It is judged anew, by what holds after the wait.
            gate.borrow_mut().looks_anew();
            match waited {
                Ok(Waited::Decided) if matches!(hold.state, HoldState::Approved { .. }) => {
                    return Ok(());
                }
                Ok(Waited::Decided) => {}
                Ok(Waited::TooLong) => {
                    gate.borrow_mut().is_held_back(HeldBack::waiting(&hold));
                    return Ok(());
                }
                Ok(Waited::Cancelled) => return self.withdraw(&hold).await,
                Err(error) => {
                    gate.borrow_mut().is_held_back(why(&error));
                    return Ok(());
                }
            }
        }
        match &hold.state {
            HoldState::Approved { .. } => self.claim(asking, &hold, digest, client, server).await,
            state => {
                gate.borrow_mut().is_held_back(over(&hold, state));
                Ok(())
            }
        }
    }

    /// Until somebody decides, or nobody waits any more. A client that goes ends the session.
    async fn wait_for(
        &mut self,
        hold: &mut Hold,
        until: Instant,
        mut cancels: watch::Receiver<u64>,
        client: &mut Reader<'_>,
    ) -> Result<Result<Waited, StateError>, End> {
        let (gateway, _) = self.shared.gate.borrow().database();
        let id = hold.id.clone();
        let mut watch = gateway.state.watch(&id);
        let waits = async {
            loop {
                match gateway.state.held(&id).await {
                    Ok(Some(now)) if now.state != HoldState::Pending => {
                        return Ok((Waited::Decided, now));
                    }
                    Ok(Some(now)) => {
                        tokio::select! {
                            biased;
                            // The sender lives as long as the session.
                            _ = cancels.changed() => return Ok((Waited::Cancelled, now)),
                            () = watch.changed() => {}
                            () = sleep_until(until) => return Ok((Waited::TooLong, now)),
                        }
                    }
                    Ok(None) => return Err(StateError::Row("a hold that is gone")),
                    Err(error) => return Err(error),
                }
            }
        };
        let waited = self.while_there(client, waits).await?;
        // It has not been silent: it waited.
        self.shared.heard.set(Instant::now());
        Ok(waited.map(|(waited, now)| {
            *hold = now;
            waited
        }))
    }

    async fn withdraw(&mut self, hold: &Hold) -> Result<(), End> {
        let gate = &self.shared.gate;
        let (gateway, _) = gate.borrow().database();
        let by = hold.identity.person.clone();
        match self.store().withdraw_hold(&hold.id, by).await {
            // `tell` has logged it, if it could not; the client is gone from it all the same.
            Ok(_) => drop(telling::tell(&gateway).await),
            Err(error) if error.refused().is_some() => {}
            Err(error) => {
                tracing::error!(hold = %hold.id, %error, "a hold could not be withdrawn");
            }
        }
        let message = "canceling statement due to user request".to_owned();
        gate.borrow_mut().is_unmet(Unmet::Cancelled { message });
        Ok(())
    }

    /// Takes the one run that an approval is good for. From here on it is spent, whatever happens.
    async fn claim(
        &mut self,
        asking: &Asking,
        hold: &Hold,
        digest: Digest,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let (id, by) = (&hold.id, self.claimant());
        fault("claim");
        if let Err(error) = self.store().claim(id, &asking.grant, &digest, by).await {
            let why = match error.refused() {
                Some(refused) => HeldBack::Over { hold: id.to_string(), why: refused.to_string() },
                None => why(&error),
            };
            gate.borrow_mut().is_held_back(why);
            return Ok(());
        }
        fault("claimed");
        self.claimed(asking, hold, client, server).await
    }

    /// Whether people have agreed to this statement with any parameters, and a use of that is left.
    async fn uses_shape(
        &mut self,
        new: &NewHold,
        asking: &Asking,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<bool, End> {
        let gate = &self.shared.gate;
        let used = match self.store().use_shape(new.clone(), self.claimant()).await {
            Ok(None) => return Ok(false),
            Ok(Some(used)) => used,
            // Somebody else has used the last of it.
            Err(error) if error.refused() == Some(&Refused::ShapeSpent) => return Ok(false),
            Err(error) => {
                gate.borrow_mut().is_held_back(why(&error));
                return Ok(true);
            }
        };
        self.claimed(asking, &used.hold, client, server).await?;
        Ok(true)
    }

    fn claimant(&self) -> Claimant {
        let gate = self.shared.gate.borrow();
        let (gateway, _) = gate.database();
        Claimant { node: gateway.holds.node().to_owned(), session: gate.session().to_owned() }
    }

    /// It is this session's to send: that is recorded, and its transaction noted.
    async fn claimed(
        &mut self,
        asking: &Asking,
        hold: &Hold,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        let gate = &self.shared.gate;
        let (gateway, _) = gate.borrow().database();
        let (id, by) = (&hold.id, self.claimant());
        gate.borrow_mut().has_claimed(id.clone(), asking);
        let name = id.as_str();
        if !self.told().await {
            return self.not_sent(hold).await;
        }
        if asking.has_transaction {
            let asked = gate.borrow_mut().ask_openly(gate::TRANSACTION_SQL);
            let rows: Rows = match self.answer(asked, client, server).await? {
                Some(Ok(rows)) => rows,
                Some(Err(failure)) => {
                    return self.no_transaction(hold, failure, client, server).await;
                }
                None => return self.not_sent(hold).await,
            };
            if let Some(xid) = gate::transaction(&rows) {
                fault("transaction");
                if let Err(error) = gateway.state.note_xid(id, by, xid).await {
                    tracing::error!(hold = %id, %error, "the transaction of a hold is not noted");
                    return self.not_sent(hold).await;
                }
                let noted = event::Hold {
                    hold: name,
                    step: "transaction",
                    xid: Some(xid),
                    ..event::Hold::default()
                };
                if !self.recorded(noted).await {
                    return self.not_sent(hold).await;
                }
            }
        }
        fault("noted");
        Ok(())
    }

    /// The question for its transaction has failed, and the transaction with it.
    async fn no_transaction(
        &mut self,
        hold: &Hold,
        failure: Failure,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        tracing::warn!(hold = %hold.id, %failure, "a held statement's transaction is not known");
        let asked = self.shared.gate.borrow_mut().end_series();
        self.answer(asked, client, server).await?;
        self.not_sent(hold).await
    }

    /// It was claimed and does not run: the message is refused, and the claim is spent.
    async fn not_sent(&mut self, hold: &Hold) -> Result<(), End> {
        let gate = &self.shared.gate;
        let (gateway, _) = gate.borrow().database();
        drop(gate.borrow_mut().take_claimed());
        let words = "it was not sent".to_owned();
        let failed = event::Hold {
            hold: hold.id.as_str(),
            step: "failed",
            words: Some(&words),
            ..event::Hold::default()
        };
        self.recorded(failed).await;
        gate.borrow_mut().is_held_back(HeldBack::NotSent { hold: hold.id.to_string() });
        let outcome = Outcome::Failed { words: Some(words.clone()) };
        if let Err(error) = gateway.state.finish(&hold.id, outcome).await {
            tracing::error!(hold = %hold.id, %error, "the outcome of a hold could not be stored");
        }
        Ok(())
    }

    /// The store, by this session.
    fn store(&self) -> State {
        let gate = self.shared.gate.borrow();
        let session = Some(gate.who().clone());
        records::store_for(&gate.database().0, Doer { session, ..Doer::default() })
    }

    /// What was done in the store is recorded, durably. Where it can't be, the message is refused.
    async fn told(&self) -> bool {
        let gate = &self.shared.gate;
        let (gateway, _) = gate.borrow().database();
        let told = telling::tell(&gateway).await.is_ok();
        if !told {
            gate.borrow_mut().is_held_back(HeldBack::Unrecorded);
        }
        told
    }

    /// Durably. Where it can't be, the message is refused.
    async fn recorded(&self, step: event::Hold<'_>) -> bool {
        let gate = &self.shared.gate;
        let (batch, gateway) = {
            let gate = gate.borrow();
            (gate.batch_of(&event::Event::Hold(step)), gate.database().0)
        };
        match gate::record(&gateway.journal, &batch, audit::Durability::Strict, true).await {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "what happens to a held statement could not be recorded");
                gate.borrow_mut().is_held_back(HeldBack::Unrecorded);
                false
            }
        }
    }
}

impl Asking {
    fn new_hold(
        &self,
        session: String,
        digest: Digest,
        shape: Option<Digest>,
        expects: String,
    ) -> NewHold {
        let needed = self.rules.iter().map(|hold| Needed {
            what: refusal::rule_as_text(&hold.rule),
            by: hold.by.to_string(),
            need: hold.need,
        });
        NewHold {
            grant: self.grant.clone(),
            session,
            digest,
            shape_digest: shape,
            text: self.text.clone(),
            parameters: self.parameters.clone(),
            needed: needed.collect(),
            reason: self.reason.clone(),
            estimate: Some(expects),
            waits_millis: HOLD_EXPIRES_MILLIS,
            claim_millis: HOLD_CLAIM_MILLIS,
        }
    }
}

fn over(hold: &Hold, state: &HoldState) -> HeldBack {
    let said = |person: &Person| person.to_string();
    match state {
        HoldState::Denied { by, words, .. } => {
            HeldBack::Denied { hold: hold.id.to_string(), by: said(by), words: words.clone() }
        }
        other => HeldBack::Over { hold: hold.id.to_string(), why: holds::said(other).to_owned() },
    }
}

fn why(error: &StateError) -> HeldBack {
    match error.refused() {
        Some(refused) => HeldBack::ByStore(refused.to_string()),
        None => {
            tracing::error!(%error, "the store of holds can't be used");
            HeldBack::StoreAway
        }
    }
}
