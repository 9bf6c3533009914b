//! What a session's statements are judged by besides the policies: what its names mean and what the
//! database holds. Both are known for a while only. Here stands what has to be asked again, and
//! until when an answer holds; asking is the session's business.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sql::catalog::{Catalog, Extent};

use super::names::{Moves, Names};
use super::needs::Need;
use crate::catalogs::Snapshot;

/// How far an answer holds that was given inside a transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Within {
    /// No transaction was open: until something moves.
    #[default]
    Session,
    /// Until the block ends or part of it is taken back.
    Block,
    /// Until the Sync that ends the series, and with it a transaction that nobody began.
    Series,
}

#[derive(Default)]
pub(super) struct Sight {
    names: Option<(Rc<Names>, Within)>,
    /// With the instant up to which this session knows it to be true.
    shared: Option<(Arc<Snapshot>, Instant)>,
    /// The catalog as the open transaction sees it, with what it has changed itself.
    own: Option<Own>,
    /// The session may have changed it since `shared` or `own` was taken.
    catalog_moved: bool,
    /// Of the answer that says whether the transaction has changed the catalog.
    catalog_within: Within,
}

struct Own {
    /// Taken outside of any transaction, its sign tells every change from it.
    within: Within,
    catalog: Arc<Catalog>,
    version: u64,
    sign: String,
    taken: Instant,
}

/// All that is seen, for one look.
pub(super) struct Seeing {
    pub(super) names: Rc<Names>,
    pub(super) catalog: Arc<Catalog>,
    pub(super) version: u64,
    /// Of the catalog.
    pub(super) taken: Instant,
}

impl Sight {
    /// `since` is when the message was first looked at, if it had to wait: what was true then or
    /// later is true enough for it, however long it took to read.
    pub(super) fn see(
        &self,
        now: Instant,
        age_max: Duration,
        since: Option<Instant>,
    ) -> Result<Seeing, Need> {
        let Some((names, _)) = &self.names else { return Err(Need::Names) };
        if self.catalog_moved {
            return Err(Need::Catalog);
        }
        let is_young = |taken: Instant| {
            now.saturating_duration_since(taken) <= age_max
                || since.is_some_and(|since| taken >= since)
        };
        let (catalog, version, taken) = match (&self.own, &self.shared) {
            (Some(own), _) => (&own.catalog, own.version, own.taken),
            (None, Some((shared, taken)))
                if names.needs() == Extent::Permanent || shared.extent == Extent::Whole =>
            {
                (&shared.catalog, shared.version, *taken)
            }
            (None, _) => return Err(Need::Catalog),
        };
        if !is_young(taken) {
            return Err(Need::Catalog);
        }
        Ok(Seeing { names: names.clone(), catalog: catalog.clone(), version, taken })
    }

    /// Nothing is on its way that may move what names mean, or how a text is read.
    pub(super) fn know_names(&self) -> Result<(), Need> {
        match &self.names {
            Some(_) => Ok(()),
            None => Err(Need::Names),
        }
    }

    /// A statement that may move something is on its way.
    pub(super) fn moved(&mut self, moves: Moves) {
        if moves.names {
            self.names = None;
        }
        self.catalog_moved |= moves.catalog;
    }

    /// What ends a block or takes part of it back is on its way.
    pub(super) fn taken_back(&mut self) {
        self.leave(|within| within != Within::Session);
    }

    /// What ends a series is on its way.
    pub(super) fn series_ends(&mut self) {
        self.leave(|within| within == Within::Series);
    }

    /// No transaction is open.
    pub(super) fn is_idle(&mut self) {
        self.leave(|within| within != Within::Session);
    }

    fn leave(&mut self, is_left: impl Fn(Within) -> bool) {
        self.names.take_if(|(_, within)| is_left(*within));
        if is_left(self.catalog_within) {
            self.catalog_within = Within::Session;
            self.catalog_moved = true;
            self.own = None;
        }
    }

    pub(super) fn names_are(&mut self, names: Names, within: Within) {
        self.names = Some((Rc::new(names), within));
    }

    /// The catalog has to be as new as can be.
    pub(super) fn doubt_catalog(&mut self) {
        self.catalog_moved = true;
    }

    /// How the catalog has to be asked for.
    ///
    /// `is_shared` says whether there is a snapshot for all sessions. Where clients bring the
    /// database's own credential there is none, and each session reads for itself.
    pub(super) fn catalog_need(
        &self,
        within: Within,
        age_max: Duration,
        is_shared: bool,
    ) -> Wanted {
        if !is_shared {
            return Wanted::Own;
        }
        // It is asked for once the names are known.
        let extent = self.names.as_ref().map_or(Extent::Whole, |(names, _)| names.needs());
        match (self.catalog_moved || self.own.is_some(), within) {
            (false, _) => Wanted::Shared { extent, max_age: age_max },
            (true, Within::Session) => Wanted::Shared { extent, max_age: Duration::ZERO },
            (true, Within::Block | Within::Series) => Wanted::Own,
        }
    }

    pub(super) fn has_moved(&self) -> bool {
        self.catalog_moved || self.own.is_some()
    }

    /// The operators of the client's path are the server's own.
    pub(super) fn path_is_plain(&self) -> bool {
        self.names.as_ref().is_some_and(|(names, _)| names.system_first())
    }

    /// Something of this was answered inside a transaction and goes with it.
    pub(super) fn is_within(&self) -> bool {
        let of_names = self.names.as_ref().is_some_and(|(_, within)| *within != Within::Session);
        of_names || self.catalog_within != Within::Session || self.has_moved()
    }

    /// A snapshot of what is committed; no transaction of the session's own has changed it since.
    pub(super) fn shared_is(&mut self, snapshot: Arc<Snapshot>) {
        let taken = snapshot.taken;
        self.shared = Some((snapshot, taken));
        self.own = None;
        self.catalog_moved = false;
    }

    /// The transaction's own sign of the catalog's state. `true` if a catalog with that sign is at
    /// hand: then nothing has to be read.
    pub(super) fn sign_is(&mut self, sign: &str, within: Within, taken: Instant) -> bool {
        let is_known = match (&mut self.own, &mut self.shared) {
            // Within one transaction the sign does not tell two changes from one.
            (Some(own), _)
                if own.sign == sign && (!self.catalog_moved || own.within == Within::Session) =>
            {
                own.taken = taken;
                true
            }
            (_, Some((shared, known))) if *shared.sign == *sign => {
                *known = taken;
                self.own = None;
                true
            }
            _ => false,
        };
        if is_known {
            self.catalog_moved = false;
            self.catalog_within = within;
        }
        is_known
    }

    /// The catalog as the open transaction sees it.
    pub(super) fn own_is(
        &mut self,
        catalog: Catalog,
        sign: String,
        within: Within,
        taken: Instant,
    ) {
        /// Apart from the versions of shared snapshots.
        static VERSION: AtomicU64 = AtomicU64::new(1 << 63);
        let version = VERSION.fetch_add(1, Ordering::Relaxed);
        self.own = Some(Own { within, catalog: Arc::new(catalog), version, sign, taken });
        self.catalog_moved = false;
        self.catalog_within = within;
    }
}

/// Where the catalog is to come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Shared {
        extent: Extent,
        max_age: Duration,
    },
    /// From the session's own backend: nobody else can see it.
    Own,
}
