//! What databases hold, as the gateway knows it: for each connection a snapshot of its catalog,
//! shared by all sessions, loaded once and confirmed before it is too old to be believed. What a
//! snapshot says is `sql`'s business; what follows from it is the gate's.
//!
//! There are two of a connection's at most: what is permanent, and the whole, for sessions that have
//! temporary tables. So nobody reads a catalog anew because others make and drop theirs.
//!
//! A keeper for each does the asking, over a backend of its own and on a thread of its own:
//! a large catalog takes tens of milliseconds to build, and no session waits for another's.

mod decoder;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use sql::catalog::{Catalog, Extent, READS};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

pub(crate) use self::decoder::Decoder;
pub use self::decoder::Undecodable;
use crate::inquiry::{Inquiry, InquiryError};
use crate::settings::Connection;
use crate::upstream::Keyring;

/// How long a keeper may take to log in and to load or confirm its catalog.
const FLIGHT_TIME_MAX: Duration = Duration::from_secs(20);

/// How long whoever asks waits: for a flight that has begun, and for the one behind it.
const WAIT_MAX: Duration = Duration::from_secs(40);

/// A catalog that nobody asked for in this long is let go, and so is the backend.
const LINGER: Duration = Duration::from_secs(60);

/// Catalogs that are no longer current and that somebody may still hold. A keeper drops them
/// itself, as that takes milliseconds, too; beyond this many whoever holds one does.
const RETIRED_MAX: usize = 4;

/// One reading of a database's catalog.
#[derive(Debug)]
pub struct Snapshot {
    pub catalog: Arc<Catalog>,
    /// The same as long as nothing has changed, and of no other reading of any database.
    pub version: u64,
    pub extent: Extent,
    /// It was true then, whether it was read then or confirmed.
    pub taken: Instant,
    /// What `Extent::changed_sql` said of it: another transaction that is told the same sees the same
    /// catalog.
    pub sign: Arc<str>,
}

/// Why there is no catalog to go by.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CatalogError {
    #[error(transparent)]
    Inquiry(#[from] InquiryError),
    #[error("the catalog can't be read: {0}")]
    Undecodable(#[from] Undecodable),
    #[error("the catalog was not read within {} s", FLIGHT_TIME_MAX.as_secs())]
    Late,
    #[error("the catalog's keeper does not answer")]
    Gone,
}

/// The catalogs of all connections.
pub struct Catalogs {
    kept: Arc<Kept>,
    keepers: mpsc::UnboundedSender<Keeper>,
    keyring: Arc<Keyring>,
    metrics: CatalogMetrics,
}

/// Bounded by the connections of the configuration, and those of earlier ones that sessions still use.
type Kept = RwLock<HashMap<Key, Arc<Entry>>>;

/// The address of the connection that an entry holds, and how much of its catalog.
type Key = (usize, Extent);

/// One connection's catalog, between its keeper and those who ask.
struct Entry {
    connection: Arc<Connection>,
    extent: Extent,
    /// Somebody needs a catalog that was true at this instant or later.
    wanted: watch::Sender<Option<Instant>>,
    last: watch::Sender<Option<Flight>>,
}

/// What came of asking the server.
struct Flight {
    /// When the asking began; of a failure, when it was known: nobody who waited for it has to
    /// wait for another.
    as_of: Instant,
    outcome: Result<Arc<Snapshot>, CatalogError>,
}

impl Catalogs {
    pub(crate) fn start(keyring: Arc<Keyring>, metrics: CatalogMetrics) -> io::Result<Catalogs> {
        // One entry per connection at most waits in it.
        let (keepers, mut begun) = mpsc::unbounded_channel::<Keeper>();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("catalogs".to_owned()).spawn(move || {
            runtime.block_on(async {
                while let Some(keeper) = begun.recv().await {
                    tokio::spawn(keeper.keep());
                }
            });
        })?;
        Ok(Catalogs { kept: Arc::default(), keepers, keyring, metrics })
    }

    /// The catalog of a connection's database, as far as `extent` says, as it was at most `max_age` ago. One that is older
    /// is confirmed, or read again, once for all who ask meanwhile. Should that fail, nobody gets
    /// an old one. Cancel-safe.
    pub async fn current(
        &self,
        connection: &Arc<Connection>,
        extent: Extent,
        max_age: Duration,
    ) -> Result<Arc<Snapshot>, CatalogError> {
        let asked = Instant::now();
        let fresh = |last: &Option<Flight>| {
            let last = last.as_ref()?;
            (asked.saturating_duration_since(last.as_of) <= max_age).then(|| last.outcome.clone())
        };
        // A machine that has run for less than `max_age` has no catalog as old as that.
        let wanted = asked.checked_sub(max_age).unwrap_or(asked);
        let Some(mut last) = self.want(connection, extent, wanted, fresh) else {
            return Err(CatalogError::Gone);
        };
        let waited = timeout(WAIT_MAX, last.wait_for(|last| fresh(last).is_some())).await;
        match waited {
            Ok(Ok(last)) => fresh(&last).unwrap_or(Err(CatalogError::Gone)),
            Ok(Err(_)) => Err(CatalogError::Gone),
            Err(_) => Err(CatalogError::Late),
        }
    }

    /// Tells the connection's keeper what is wanted, unless what it has will do.
    fn want(
        &self,
        connection: &Arc<Connection>,
        extent: Extent,
        wanted: Instant,
        fresh: impl Fn(&Option<Flight>) -> Option<Result<Arc<Snapshot>, CatalogError>>,
    ) -> Option<watch::Receiver<Option<Flight>>> {
        let tell = |entry: &Entry| {
            if fresh(&entry.last.borrow()).is_none() {
                entry.wanted.send_if_modified(|latest| {
                    let is_later = latest.is_none_or(|latest| wanted > latest);
                    *latest = (*latest).max(Some(wanted));
                    is_later
                });
            }
            entry.last.subscribe()
        };
        let key = (Arc::as_ptr(connection).addr(), extent);
        // A keeper that wants to leave looks at `wanted` under the other lock, so none does
        // between these two steps.
        if let Some(entry) = read(&self.kept).get(&key) {
            return Some(tell(entry));
        }
        let mut kept = write(&self.kept);
        if let Some(entry) = kept.get(&key) {
            return Some(tell(entry));
        }
        let entry = Arc::new(Entry {
            connection: connection.clone(),
            extent,
            wanted: watch::Sender::new(None),
            last: watch::Sender::new(None),
        });
        let keeper = Keeper {
            entry: entry.clone(),
            kept: self.kept.clone(),
            keyring: self.keyring.clone(),
            metrics: self.metrics.clone(),
            inquiry: None,
            known: None,
            retired: Vec::new(),
        };
        self.keepers.send(keeper).ok()?;
        let last = tell(&entry);
        kept.insert(key, entry);
        Some(last)
    }
}

fn read(kept: &Kept) -> RwLockReadGuard<'_, HashMap<Key, Arc<Entry>>> {
    kept.read().unwrap_or_else(PoisonError::into_inner)
}

fn write(kept: &Kept) -> RwLockWriteGuard<'_, HashMap<Key, Arc<Entry>>> {
    kept.write().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one connection's catalog.
struct Keeper {
    entry: Arc<Entry>,
    kept: Arc<Kept>,
    keyring: Arc<Keyring>,
    metrics: CatalogMetrics,
    inquiry: Option<Inquiry>,
    known: Option<Known>,
    retired: Vec<Arc<Catalog>>,
}

/// The catalog that was read last, and what tells whether it still holds.
struct Known {
    catalog: Arc<Catalog>,
    version: u64,
    sign: Sign,
}

/// What a server says of the state of its catalog.
struct Sign {
    /// Changes when the rows do that the catalog is made from.
    rows: Arc<str>,
    /// The transactions that were visible.
    transactions: String,
}

impl Keeper {
    async fn keep(mut self) {
        let mut wanted = self.entry.wanted.subscribe();
        let mut as_of = None;
        loop {
            let is_wanted = |wanted: &Option<Instant>| *wanted > as_of;
            if timeout(LINGER, wanted.wait_for(is_wanted)).await.is_err() {
                let mut kept = write(&self.kept);
                if *self.entry.wanted.borrow() <= as_of {
                    kept.remove(&self.key());
                    return;
                }
            }
            let begins = Instant::now();
            let outcome = self.fly(begins).await;
            let flight =
                Flight { as_of: if outcome.is_ok() { begins } else { Instant::now() }, outcome };
            as_of = Some(flight.as_of);
            self.entry.last.send_replace(Some(flight));
            self.retired.retain(|catalog| Arc::strong_count(catalog) > 1);
            let many = self.retired.len().saturating_sub(RETIRED_MAX);
            self.retired.drain(..many);
        }
    }

    /// Confirms what is known, or reads it anew.
    async fn fly(&mut self, begins: Instant) -> Result<Arc<Snapshot>, CatalogError> {
        let confirmed = timeout(FLIGHT_TIME_MAX, self.confirm_or_load()).await;
        match confirmed.unwrap_or(Err(CatalogError::Late)) {
            Ok((catalog, version, sign)) => {
                self.metrics.confirmed(&self.entry.connection);
                let extent = self.entry.extent;
                Ok(Arc::new(Snapshot { catalog, version, extent, taken: begins, sign }))
            }
            Err(error) => {
                // What is in the middle of an answer can't be asked again.
                self.inquiry = None;
                self.metrics.failures.inc();
                let connection = &self.entry.connection.name;
                tracing::warn!(connection, %error, "the catalog is not known");
                Err(error)
            }
        }
    }

    async fn confirm_or_load(&mut self) -> Result<(Arc<Catalog>, u64, Arc<str>), CatalogError> {
        if let Some(inquiry) = &mut self.inquiry {
            let confirmed = match &mut self.known {
                Some(known) => confirm(inquiry, self.entry.extent, &mut known.sign).await,
                None => Ok(false),
            };
            match (confirmed, &self.known) {
                (Ok(true), Some(known)) => {
                    return Ok((known.catalog.clone(), known.version, known.sign.rows.clone()));
                }
                (Ok(_), _) => {}
                // The server may have ended an idle session, or have been restarted: that is no
                // failure before a new one fails, too.
                (Err(error), _) => {
                    let connection = &self.entry.connection.name;
                    tracing::debug!(connection, %error, "a catalog's backend has gone");
                    self.inquiry = None;
                }
            }
        }
        let inquiry = match &mut self.inquiry {
            Some(inquiry) => inquiry,
            None => {
                let opened = Inquiry::open_with(&self.entry.connection, &self.keyring).await?;
                self.inquiry.insert(opened)
            }
        };
        let begins = Instant::now();
        let (catalog, sign) = load(inquiry, self.entry.extent).await?;
        self.metrics.loads.inc();
        self.metrics.load_seconds.observe(begins.elapsed().as_secs_f64());
        /// Of all databases together, so that no two readings share one.
        static VERSION: AtomicU64 = AtomicU64::new(1);
        let version = VERSION.fetch_add(1, Ordering::Relaxed);
        let catalog = Arc::new(catalog);
        let rows = sign.rows.clone();
        let known = Known { catalog: catalog.clone(), version, sign };
        if let Some(before) = self.known.replace(known) {
            self.retired.push(before.catalog);
        }
        Ok((catalog, version, rows))
    }

    fn key(&self) -> Key {
        (Arc::as_ptr(&self.entry.connection).addr(), self.entry.extent)
    }
}

/// Should a keeper end by a fault, the next who asks gets a new one.
impl Drop for Keeper {
    fn drop(&mut self) {
        let mut kept = write(&self.kept);
        let key = self.key();
        if kept.get(&key).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
            kept.remove(&key);
        }
    }
}

/// What a database holds now.
pub async fn read_catalog(inquiry: &mut Inquiry) -> Result<Catalog, CatalogError> {
    Ok(load(inquiry, Extent::Whole).await?.0)
}

async fn load(inquiry: &mut Inquiry, extent: Extent) -> Result<(Catalog, Sign), CatalogError> {
    let reads: Vec<String> = READS.iter().map(|read| read.sql_of(extent)).collect();
    inquiry.ask("BEGIN TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    inquiry.ask(&format!("SELECT ({}), {TRANSACTIONS}", extent.changed_sql())).await?;
    inquiry.ask(&reads.join("; ")).await?;
    inquiry.ask("COMMIT").await?;
    inquiry.answer(|_| {}).await?;
    let (rows, transactions) = sign(inquiry).await?;
    let mut decoder = Decoder::default();
    let mut taken = Ok(());
    inquiry
        .answer(|frame| {
            if taken.is_ok() {
                taken = decoder.take(frame);
            }
        })
        .await?;
    inquiry.answer(|_| {}).await?;
    taken?;
    let rows = rows.ok_or(InquiryError::Protocol('D'))?;
    Ok((decoder.finish()?, Sign { rows: rows.into(), transactions }))
}

/// Whether nothing has changed since `sign`. Where no transaction has ended since, the rows are
/// not looked at.
async fn confirm(
    inquiry: &mut Inquiry,
    extent: Extent,
    known: &mut Sign,
) -> Result<bool, InquiryError> {
    let quote = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let question = format!(
        "SELECT CASE WHEN {TRANSACTIONS} = {} THEN NULL ELSE ({}) END, {TRANSACTIONS}",
        quote(&known.transactions),
        extent.changed_sql()
    );
    inquiry.ask(&question).await?;
    let (rows, transactions) = sign(inquiry).await?;
    if rows.is_some_and(|rows| *rows != *known.rows) {
        return Ok(false);
    }
    known.transactions = transactions;
    Ok(true)
}

/// The one row of an answer about the state of the catalog.
async fn sign(inquiry: &mut Inquiry) -> Result<(Option<String>, String), InquiryError> {
    let mut found = None;
    inquiry
        .answer(|frame| {
            if frame.tag == wire::backend::DATA_ROW {
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                found = wire::backend::data_row(frame.body)
                    .and_then(|row| <[Option<&[u8]>; 2]>::try_from(row).ok())
                    .and_then(|[rows, transactions]| Some((rows.map(text), text(transactions?))));
            }
        })
        .await?;
    found.ok_or(InquiryError::Protocol('D'))
}

/// The transactions whose work is visible. A standby does not say which of those that it replays
/// have ended, so there it is never twice the same.
const TRANSACTIONS: &str = "CASE WHEN pg_catalog.pg_is_in_recovery() \
     THEN pg_catalog.gen_random_uuid()::pg_catalog.text \
     ELSE pg_catalog.pg_current_snapshot()::pg_catalog.text END";

/// What the keepers count.
#[derive(Clone)]
pub(crate) struct CatalogMetrics {
    loads: Counter,
    failures: Counter,
    load_seconds: Histogram,
    confirmed: Family<OfConnection, Gauge<f64, AtomicU64>>,
}

/// A name of the configuration's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfConnection {
    connection: String,
}

impl Default for CatalogMetrics {
    fn default() -> Self {
        CatalogMetrics {
            loads: Counter::default(),
            failures: Counter::default(),
            load_seconds: Histogram::new(exponential_buckets(0.005, 2.0, 12)),
            confirmed: Family::default(),
        }
    }
}

impl CatalogMetrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("catalog_loads", "Catalogs read whole", self.loads.clone());
        registry.register(
            "catalog_failures",
            "Times that a catalog could be neither read nor confirmed",
            self.failures.clone(),
        );
        registry.register(
            "catalog_load_seconds",
            "Time to read a catalog whole",
            self.load_seconds.clone(),
        );
        registry.register(
            "catalog_confirmed_timestamp_seconds",
            "When a connection's catalog was last known to be current",
            self.confirmed.clone(),
        );
    }

    fn confirmed(&self, connection: &Connection) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let label = OfConnection { connection: connection.name.clone() };
        self.confirmed.get_or_create(&label).set(now.as_secs_f64());
    }
}

#[cfg(test)]
pub(crate) mod tests;
