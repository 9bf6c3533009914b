//! Long texts are read aside: parsing one takes a while, and other sessions of the thread don't wait
//! for it. What comes of it is kept until the message is looked at again.

use std::sync::Arc;

use policy::{InForceId, Scope};
use sql::catalog::Catalog;
use sql::parse::NotParsed;
use tokio::sync::Semaphore;

use super::Gate;
use super::found::{self, Found};
use super::names::Names;
use super::sight::Seeing;

/// A text that is longer is read aside. One of this length takes about a millisecond.
pub(super) const LONG_TEXT_BYTES: usize = 64 << 10;

/// Long texts that are read at once, of all sessions together: a tree takes many times the room of
/// its text.
const READERS_MAX: usize = 2;

static READERS: Semaphore = Semaphore::const_new(READERS_MAX);

/// A text to be read, and what its names are looked up in.
#[derive(Debug)]
pub(crate) struct LongText {
    text: String,
    names: Names,
    catalog: Arc<Catalog>,
    version: u64,
    scope: Scope,
}

/// A text that was read.
pub(crate) struct Ahead {
    text: String,
    names: Names,
    version: u64,
    policies: InForceId,
    found: Result<Vec<Found>, NotParsed>,
}

impl LongText {
    pub(super) fn of(text: &str, seeing: &Seeing, scope: &Scope) -> Box<LongText> {
        Box::new(LongText {
            text: text.to_owned(),
            names: Names::clone(&seeing.names),
            catalog: seeing.catalog.clone(),
            version: seeing.version,
            scope: scope.clone(),
        })
    }

    /// Cancel-safe: who goes away leaves a text being read for nobody.
    pub(crate) async fn read(self) -> Option<Ahead> {
        let permit = READERS.acquire().await.ok()?;
        let reader = tokio::task::spawn_blocking(move || {
            let LongText { text, names, catalog, version, scope } = self;
            let found = names.with(|names| found::all(&text, &catalog, names, &scope));
            drop(permit);
            let policies = scope.in_force().id().clone();
            Ahead { text, names, version, policies, found }
        });
        reader.await.ok()
    }
}

impl Gate {
    /// `None` is a text that could not be read to its end.
    pub(crate) fn is_read(&mut self, ahead: Option<Ahead>) {
        match ahead {
            Some(ahead) => self.ahead = Some(ahead),
            None => self.is_unmet(super::Unmet::Unread),
        }
    }

    /// What was read of this text, by what is seen now.
    pub(super) fn read_ahead(
        &mut self,
        text: &str,
        seeing: &Seeing,
        policies: &InForceId,
    ) -> Option<Result<Vec<Found>, NotParsed>> {
        let ahead = self.ahead.take_if(|ahead| {
            ahead.version == seeing.version
                && ahead.names == *seeing.names
                && ahead.policies == *policies
                && ahead.text == text
        })?;
        Some(ahead.found)
    }
}
