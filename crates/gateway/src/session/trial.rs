//! A statement is tried: run, counted and undone, in a transaction of ours between two messages of the
//! client's, who hears nothing of it. What the count means is the gate's business.

use super::{End, Messages};
use crate::conditions::Verdict;
use crate::gate::{self, Failure, Rows, ToServer, Trial, Tried, Unmet};
use crate::refusal::HeldBack;
use crate::stream::Reader;

impl Messages<'_> {
    pub(super) async fn trial(
        &mut self,
        trial: &Trial,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<(), End> {
        if self.answers(client, server).await?.is_none() {
            return Ok(());
        }
        let gate = &self.shared.gate;
        let (gateway, _) = gate.borrow().database();
        let strict = audit::Durability::Strict;
        if let Err(error) = gate::record(&gateway.journal, &trial.record, strict, true).await {
            tracing::error!(%error, "a trial could not be recorded");
            gate.borrow_mut().is_held_back(HeldBack::Unrecorded);
            gate.borrow_mut().was_tried(Tried::Changes(u64::MAX));
            return Ok(());
        }
        // Nothing has run in this series, so a Sync ends nothing.
        if self.ask("BEGIN", true, client, server).await?.is_none() {
            return Ok(());
        }
        gate.borrow_mut().is_trying(true);
        let tried = self.tried(trial, client, server).await;
        self.shared.gate.borrow_mut().is_trying(false);
        let tried = tried?;
        if self.ask("ROLLBACK", true, client, server).await?.is_none() {
            // What was begun is still open, and nobody may take it for the client's.
            return Err(End::Unanswered(Failure::Cancelled { message: "ROLLBACK".to_owned() }));
        }
        let mut gate = self.shared.gate.borrow_mut();
        match tried {
            Ok(tried) => gate.was_tried(tried),
            Err(unmet) => gate.is_unmet(unmet),
        }
        Ok(())
    }

    async fn tried(
        &mut self,
        trial: &Trial,
        client: &mut Reader<'_>,
        server: &mut ToServer<'_>,
    ) -> Result<Result<Tried, Unmet>, End> {
        let gate = &self.shared.gate;
        let passes = |answer: Option<Result<Rows, Failure>>| match answer {
            Some(Ok(_)) => Ok(()),
            Some(Err(Failure::Cancelled { message })) => Err(Err(Unmet::Cancelled { message })),
            // What it gives is too much to be kept, or it fails: then it fails for its client, too.
            Some(Err(Failure::Said { .. } | Failure::TooLong)) | None => Err(Ok(Tried::Passes)),
        };
        let baseline = gate.borrow_mut().ask(&trial.baseline, true);
        if let Err(tried) = passes(self.answer(baseline, client, server).await?) {
            return Ok(tried);
        }
        let statement = gate.borrow_mut().ask_expecting(&trial.statement, true);
        if let Err(tried) = passes(self.answer(statement, client, server).await?) {
            return Ok(tried);
        }
        let constraints = gate.borrow_mut().ask("SET CONSTRAINTS ALL IMMEDIATE", true);
        if let Err(tried) = passes(self.answer(constraints, client, server).await?) {
            return Ok(tried);
        }
        let guard = gate.borrow_mut().ask(&trial.guard, true);
        let answer = self.answer(guard, client, server).await?;
        if let Some(Err(failure)) = &answer
            && let Some(Verdict::Met { changed, .. }) = gate.borrow().counted(failure)
        {
            return Ok(Ok(Tried::Changes(changed)));
        }
        // What can't be counted the guard behind the statement refuses.
        Ok(passes(answer).map_or_else(|tried| tried, |()| Ok(Tried::Passes)))
    }
}
