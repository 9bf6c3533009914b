//! What the gate may have to know before it can say what becomes of a message, and why it may not
//! come to know it. What it can't know it refuses.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sql::catalog::{CHANGED_SQL, Catalog, Extent, READS};
use wire::backend;
use wire::frame::Frame;

use super::ahead::LongText;
use super::held::Asking;
use super::memory::Uncertain;
use super::names::{self, Names};
use super::ours::Rows;
use super::sight::{Seeing, Wanted, Within};
use super::tried::Trial;
use super::{Gate, Looked};
use crate::catalogs::{CatalogError, Decoder, Snapshot, Undecodable};
use crate::conditions::Estimate;
use crate::gateway::Gateway;
use crate::refusal::{Barred, Refusal};
use crate::settings::{Connection, Login};

/// The next message can't be looked at before this is met.
#[derive(Debug)]
pub(crate) enum Need {
    /// What was sent before has to be answered.
    Answers,
    /// What the session's names mean.
    Names,
    /// What the database holds.
    Catalog,
    /// What the planner expects of it.
    Estimate(Box<Expecting>),
    /// What a long text says.
    LongText(Box<LongText>),
    /// What the store has of the identity: the message asks for it.
    Shown,
    /// What it changes, which is undone.
    Trial(Box<Trial>),
    /// People have to agree.
    Person(Box<Asking>),
    /// Whether the session's grant still lives: its store can't be read now.
    Standing,
    /// Part of it goes before the rest can be judged.
    Step(Box<Looked>),
    /// Nothing may pass any more: the session ends.
    End(Refusal),
}

/// A question to the planner: Parse and Bind, under a name of the gate's own.
#[derive(Debug)]
pub(crate) struct Expecting {
    pub(crate) messages: Vec<u8>,
}

/// Why a need is not met. The message is refused, the session goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unmet {
    /// The server answers nothing before the client has said more: it skips, or a COPY reads.
    Deaf,
    /// The transaction has failed.
    Aborted,
    /// Somebody has cancelled the question.
    Cancelled { message: String },
    /// The server names something in an encoding other than UTF-8.
    Unreadable,
    /// The catalog could not be read; the log says why.
    NoCatalog,
    /// A long text was not read to its end.
    Unread,
    /// The store of grants could not be read.
    Unshown,
    /// The client's path puts other operators before the server's own.
    Path,
}

impl From<Uncertain> for Need {
    fn from(_: Uncertain) -> Self {
        Need::Answers
    }
}

impl Gate {
    /// What the session sees now.
    pub(super) fn see(&self) -> Result<Seeing, Need> {
        self.sight.see(Instant::now(), self.age_max(), self.looked_since)
    }

    /// What the planner says, or that it says nothing.
    pub(crate) fn expects(&mut self, rows: Option<&Rows>) {
        let estimate = rows.and_then(|rows| {
            let row = backend::data_row(rows.first()?)?;
            Estimate::read(std::str::from_utf8((*row.first()?)?).ok()?)
        });
        self.estimate = Some(estimate);
    }

    /// The names that savepoints around a question have.
    pub(crate) fn savepoint(&self) -> String {
        format!("\"{}\"", self.nonce)
    }

    /// Everything before the present message has been answered.
    pub(crate) fn is_answered(&mut self) {
        self.is_answered = true;
    }

    /// The message that has this need was looked at for the first time now or before.
    pub(crate) fn is_waited_for(&mut self) {
        self.looked_since.get_or_insert_with(Instant::now);
    }

    pub(crate) fn is_unmet(&mut self, why: Unmet) {
        self.unmet = Some(why);
    }

    /// Where the session stands when all is answered.
    pub(crate) fn within(&self, ready: bool) -> Within {
        match (ready, self.status) {
            (false, _) => Within::Series,
            (true, b'I') => Within::Session,
            (true, _) => Within::Block,
        }
    }

    /// Inside a failed transaction nothing can be asked.
    pub(crate) fn is_aborted(&self) -> bool {
        self.status == b'E'
    }

    /// Where the shared catalog is to be had.
    pub(crate) fn database(&self) -> (Arc<Gateway>, Arc<Connection>) {
        (self.gateway.clone(), self.connection.clone())
    }

    pub(crate) fn names_sql(&self, ready: bool) -> String {
        names::names_sql(self.within(ready), self.doubts_settings)
    }

    pub(crate) fn names_are(&mut self, rows: &Rows, within: Within) {
        if self.doubts_settings {
            self.judge_settings(rows, within);
        }
        match Names::read(rows, self.reading.utf8) {
            Some(names) => self.sight.names_are(names, within),
            None => self.is_unmet(Unmet::Unreadable),
        }
    }

    /// The session itself has to look, or may have changed what there is to see: what it has sent
    /// has to be answered first.
    pub(crate) fn catalog_waits_for_answers(&self) -> bool {
        self.sight.has_moved() || !self.catalog_is_shared()
    }

    pub(crate) fn catalog_wanted(&self, ready: bool) -> Wanted {
        self.sight.catalog_need(self.within(ready), self.age_max(), self.catalog_is_shared())
    }

    fn catalog_is_shared(&self) -> bool {
        matches!(self.connection.login, Login::Gateway { .. })
    }

    pub(crate) fn age_max(&self) -> Duration {
        self.installed.settings.bounds.catalog_age_max
    }

    pub(crate) fn catalog_is(&mut self, found: Result<Arc<Snapshot>, CatalogError>) {
        match found {
            Ok(snapshot) => self.sight.shared_is(snapshot),
            Err(error) => self.no_catalog(&error.to_string()),
        }
    }

    /// What the session has set under other policies, or under none, these have to allow, too. Else it
    /// ends: nobody knows what it was before.
    fn judge_settings(&mut self, rows: &Rows, within: Within) {
        let Some(rules) = self.rules.clone() else { return };
        let Some(settings) = names::settings(rows) else {
            return self.is_unmet(Unmet::Unreadable);
        };
        let refused = settings.into_iter().find(|(name, value)| {
            let name = if name == "session_authorization" { "role" } else { name };
            rules.judge_setting(name, value).is_err()
        });
        if let Some((name, _)) = refused {
            self.barred = Some(Barred::SettingStays { name }.into());
        }
        // What a transaction has set back may come again with its end.
        self.doubts_settings = within != Within::Session;
    }

    /// In the client's session its path decides what an operator is.
    pub(crate) fn may_read_catalog(&self) -> Result<(), Unmet> {
        match (self.sight.path_is_plain(), self.reading.utf8) {
            (true, true) => Ok(()),
            (false, _) => Err(Unmet::Path),
            (true, false) => Err(Unmet::Unreadable),
        }
    }

    pub(crate) fn sign_sql(&self) -> &'static str {
        &CHANGED_SQL
    }

    /// What the transaction says of the state of its catalog. `Some` if it has to be read.
    pub(crate) fn sign_is(&mut self, rows: &Rows, ready: bool, taken: Instant) -> Option<String> {
        let within = self.within(ready);
        let value = match rows.as_slice() {
            [row] => backend::data_row(row),
            _ => None,
        };
        let value = value.as_deref().and_then(|values| match values {
            [Some(sign)] => Some(String::from_utf8_lossy(sign).into_owned()),
            _ => None,
        });
        let Some(sign) = value else {
            self.no_catalog("the server does not say what has changed");
            return None;
        };
        (!self.sight.sign_is(&sign, within, taken)).then_some(sign)
    }

    pub(crate) fn own_catalog_is(
        &mut self,
        reading: CatalogReading,
        sign: String,
        ready: bool,
        taken: Instant,
    ) {
        let within = self.within(ready);
        match reading.finish() {
            Ok(catalog) => self.sight.own_is(catalog, sign, within, taken),
            Err(error) => self.no_catalog(&error.to_string()),
        }
    }

    pub(crate) fn no_catalog(&mut self, why: &str) {
        let session = &self.person.session;
        tracing::warn!(session, error = why, "a statement is refused: no catalog");
        self.is_unmet(Unmet::NoCatalog);
    }
}

/// The reads of a catalog, one question each, in the session's own transaction.
pub(crate) struct CatalogReading {
    decoder: Decoder,
    extent: Extent,
    asked: usize,
    outcome: Result<(), Undecodable>,
}

impl CatalogReading {
    /// Of as much as its sign is of.
    pub(crate) fn new(sign: &str) -> CatalogReading {
        let extent = Extent::of_sign(sign);
        CatalogReading { decoder: Decoder::default(), extent, asked: 0, outcome: Ok(()) }
    }

    pub(crate) fn next(&mut self) -> Option<String> {
        let read = READS.get(self.asked)?;
        self.asked += 1;
        Some(read.sql_of(self.extent))
    }

    pub(crate) fn take(&mut self, rows: &Rows) {
        let rows = rows.iter().map(|body| (backend::DATA_ROW, &**body));
        for (tag, body) in rows.chain([(backend::COMMAND_COMPLETE, &b""[..])]) {
            if self.outcome.is_ok() {
                let frame = Frame { tag, body_bytes: body.len(), body };
                self.outcome = self.decoder.take(&frame);
            }
        }
    }

    fn finish(self) -> Result<Catalog, Undecodable> {
        self.outcome?;
        self.decoder.finish()
    }
}
