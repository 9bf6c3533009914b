//! The grants that this gateway serves: until when each lives, by a clock that nobody can set, and
//! the word to its sessions when that is over. One task reads the store for all of them and one looks
//! at the clock; sessions wait for a word. How somebody comes by a grant is in `entry`; states and
//! votes are `access`'s, what a grant lets pass is `policy`'s.

mod asked;
mod entry;
pub(crate) mod records;

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use access::{
    Grant, GrantEnd, GrantId, GrantState, Lease, Person, RENEW_EVERY_MILLIS, Refused, Standing,
    State, StateError, steady_millis,
};
use identity::Identity;
use policy::Narrow;
use tokio::sync::{Notify, watch};

pub(crate) use self::asked::Asked;
pub(crate) use self::entry::{Entering, Entry};
use self::records::Doer;
use crate::gate::Rules;
use crate::gateway::{Gateway, Installed};
use crate::limits::kept;
use crate::refusal::{Barred, Refusal};
use crate::settings::Connection;
use crate::telling;

/// What is served is read again this often, and at once when the store says that something changed.
const READ_EVERY: Duration = Duration::from_millis(500);

/// The clock is looked at this often: a machine that slept wakes up with less time left than timers
/// think.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How long before its end a session is told of it; a fifth of a grant that is no longer.
const NOTICE_MILLIS: i64 = 60_000;
const NOTICE_PART: i64 = 5;

/// All grants that sessions of this gateway live under.
pub(crate) struct Grants {
    served: Mutex<HashMap<GrantId, Weak<Served>>>,
    lease: Mutex<Lease>,
    standing: watch::Sender<Standing>,
    /// There is an end to look after.
    more: Notify,
    node: String,
}

/// A grant as its sessions share it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) grant: Grant,
    /// By `steady_millis`. It only comes nearer.
    deadline: AtomicI64,
    life: watch::Sender<Life>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    Goes,
    /// So many milliseconds are left.
    Wanes(i64),
    Over(Over),
}

/// Why a grant is no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    Expired,
    Revoked {
        by: Person,
        words: Option<String>,
    },
    Released,
    /// The store could not be read for so long that it may have been taken away.
    Lost,
}

/// A session's own hold on its grant.
#[derive(Clone, Debug)]
pub(crate) struct Tenure {
    pub(crate) served: Arc<Served>,
    /// What of the policies was asked for.
    pub(crate) narrow: Option<Arc<Narrow>>,
}

impl Grants {
    /// Begins to look after the state of a store.
    pub(crate) async fn start(state: &State) -> Result<Grants, StateError> {
        // Nobody takes this process's lease: its name is its own.
        let node = GrantId::random()?.hex().to_owned();
        let asked_at = steady_millis();
        state.take_lease(&node, &node).await?;
        Ok(Grants {
            served: Mutex::default(),
            lease: Mutex::new(Lease::new(asked_at)),
            standing: watch::Sender::new(Standing::Good),
            more: Notify::new(),
            node,
        })
    }

    /// Whether the store could be read of late.
    pub(crate) fn standing(&self) -> Standing {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).standing(steady_millis())
    }

    /// Waits until it is known whether the store can be read.
    pub(crate) async fn settled(&self) -> Standing {
        let mut standing = self.standing.subscribe();
        loop {
            match self.standing() {
                Standing::Doubtful => {}
                settled => return settled,
            }
            // The sender lives as long as `self`.
            if standing.changed().await.is_err() {
                return Standing::Lost;
            }
        }
    }

    /// Enters a session. `asked_at` is when the store was asked, by `steady_millis`, and `now` what
    /// it had for the time.
    pub(crate) fn enter(&self, grant: Grant, asked_at: i64, now: i64) -> Arc<Served> {
        let deadline = asked_at.saturating_add(grant.ends_at.saturating_sub(now));
        let mut all = self.lock();
        if let Some(served) = all.get(&grant.id).and_then(Weak::upgrade) {
            served.ends_by(deadline);
            return served;
        }
        let id = grant.id.clone();
        let life = watch::Sender::new(Life::Goes);
        let served = Arc::new(Served { grant, deadline: AtomicI64::new(deadline), life });
        served.look(steady_millis());
        all.insert(id, Arc::downgrade(&served));
        drop(all);
        self.more.notify_one();
        served
    }

    /// Looks after all of it, for as long as the gateway lives, on a thread of its own: a lease that is
    /// not renewed because others are busy would be a store that is away.
    pub(crate) fn keep(gateway: &Arc<Gateway>) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let gateway = Arc::downgrade(gateway);
        let counts = kept::keeper(gateway.clone());
        let keeper = async move { tokio::join!(clock(gateway.clone()), reader(gateway), counts) };
        std::thread::Builder::new().name("grants".to_owned()).spawn(move || {
            runtime.block_on(keeper);
        })?;
        Ok(())
    }

    /// Those that somebody still has.
    fn present(&self) -> Vec<Arc<Served>> {
        let mut all = self.lock();
        all.retain(|_, served| served.strong_count() > 0);
        all.values().filter_map(Weak::upgrade).collect()
    }

    /// Looks at the clock, and says for how long nothing comes of it.
    fn look(&self) -> Option<Duration> {
        let now = steady_millis();
        let standing = self.standing();
        self.standing.send_if_modified(|known| std::mem::replace(known, standing) != standing);
        let present = self.present();
        for served in &present {
            if standing == Standing::Lost {
                served.is_over(Over::Lost);
            }
            served.look(now);
        }
        let next = present.iter().filter_map(|served| served.next(now)).min();
        let next = next.map(|millis| Duration::from_millis(u64::try_from(millis).unwrap_or(0)));
        (!present.is_empty()).then(|| next.map_or(LOOK_EVERY, |next| next.min(LOOK_EVERY)))
    }

    /// Reads what has become of those that are served.
    async fn read(&self, state: &State) -> Result<(), StateError> {
        let present = self.present();
        if present.is_empty() {
            return Ok(());
        }
        let asked_at = steady_millis();
        let ids = present.iter().map(|served| served.grant.id.clone()).collect();
        let found = state.grants_served(ids).await?;
        let live: HashMap<GrantId, i64> = found.live.into_iter().collect();
        for served in present {
            match live.get(&served.grant.id) {
                Some(ends_at) => {
                    served.ends_by(asked_at.saturating_add(ends_at.saturating_sub(found.now)));
                }
                None => {
                    let over = match state.grant(&served.grant.id).await? {
                        Some(grant) => Over::of(&grant.state),
                        None => None,
                    };
                    served.is_over(over.unwrap_or(Over::Expired));
                }
            }
        }
        Ok(())
    }

    async fn renew(&self, state: &State) -> Result<(), StateError> {
        let asked_at = steady_millis();
        let renewed = state.renew_lease(&self.node, &self.node).await;
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        match renewed {
            Ok(()) => {
                lease.renewed(asked_at);
                Ok(())
            }
            Err(error) => {
                if matches!(error.refused(), Some(Refused::LeaseTaken { .. })) {
                    lease.taken();
                }
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<GrantId, Weak<Served>>> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Served {
    /// Whether it lives now. Asked before anything is forwarded.
    pub(crate) fn over(&self) -> Option<Over> {
        if let Life::Over(over) = &*self.life.borrow() {
            return Some(over.clone());
        }
        (steady_millis() >= self.deadline.load(Ordering::Acquire)).then_some(Over::Expired)
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Life> {
        self.life.subscribe()
    }

    /// In milliseconds; less than none when it is over.
    pub(crate) fn left(&self) -> i64 {
        self.deadline.load(Ordering::Acquire).saturating_sub(steady_millis())
    }

    fn ends_by(&self, deadline: i64) {
        self.deadline.fetch_min(deadline, Ordering::AcqRel);
    }

    fn is_over(&self, over: Over) {
        self.life.send_if_modified(|life| {
            let goes = !matches!(life, Life::Over(_));
            if goes {
                *life = Life::Over(over);
            }
            goes
        });
    }

    fn look(&self, now: i64) {
        let left = self.deadline.load(Ordering::Acquire).saturating_sub(now);
        if left <= 0 {
            return self.is_over(Over::Expired);
        }
        if left <= self.notice() {
            self.life.send_if_modified(|life| {
                let goes = *life == Life::Goes;
                if goes {
                    *life = Life::Wanes(left);
                }
                goes
            });
        }
    }

    /// When something comes of it, in milliseconds from now.
    fn next(&self, now: i64) -> Option<i64> {
        let left = self.deadline.load(Ordering::Acquire).saturating_sub(now);
        match *self.life.borrow() {
            Life::Goes => Some(left - self.notice()),
            Life::Wanes(_) => Some(left),
            Life::Over(_) => None,
        }
    }

    fn notice(&self) -> i64 {
        let lasts = self.grant.ends_at.saturating_sub(self.grant.opened_at);
        if lasts > NOTICE_MILLIS { NOTICE_MILLIS } else { lasts / NOTICE_PART }
    }
}

/// What may a session do whose policies have been read again? `None` where the file has none: whoever
/// has proven an identity may do whatever the connection's own credential may.
pub(crate) fn rules_now(
    installed: &Installed,
    identity: &Identity,
    connection: &Connection,
    tenure: Option<&Tenure>,
) -> Result<Option<Rules>, Refusal> {
    let Some(policies) = &installed.settings.policies else { return Ok(None) };
    let Some(Tenure { served, narrow }) = tenure else { return Err(Barred::NoGrant.into()) };
    let (grant, narrow) = (&served.grant, narrow.as_ref());
    let found = entry::in_force(policies, installed, identity, &connection.name, grant, narrow);
    match found {
        Some(in_force) => Ok(Some(Rules::new(in_force))),
        None => Err(Barred::NotInForce { policies: grant.policies.clone() }.into()),
    }
}

impl Over {
    /// For the journal and the log.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Over::Expired => "its grant is over",
            Over::Revoked { .. } => "its grant was revoked",
            Over::Released => "its grant was given back",
            Over::Lost => "the store of grants could not be read for too long",
        }
    }

    /// Of a grant, as the journal has it.
    fn name(&self) -> &'static str {
        match self {
            Over::Expired | Over::Lost => "expired",
            Over::Revoked { .. } => "revoked",
            Over::Released => "released",
        }
    }

    fn of(state: &GrantState) -> Option<Over> {
        match state {
            GrantState::Open => None,
            GrantState::Ended { how, .. } => Some(match how {
                GrantEnd::Expired => Over::Expired,
                GrantEnd::Revoked { by, words } => {
                    Over::Revoked { by: by.clone(), words: words.clone() }
                }
                GrantEnd::Released => Over::Released,
            }),
        }
    }
}

impl From<Over> for Refusal {
    fn from(over: Over) -> Self {
        Barred::Over(over).into()
    }
}

/// Says what time has come to, whatever the store is doing.
async fn clock(gateway: Weak<Gateway>) {
    loop {
        let Some(gateway) = gateway.upgrade() else { return };
        match gateway.grants.look() {
            Some(next) => {
                let more = gateway.grants.more.notified();
                let _looked_at_again = tokio::time::timeout(next, more).await;
            }
            // Nobody waits for a word but those at the door, who look for themselves.
            None => {
                let more = gateway.grants.more.notified();
                let _looked_at_again = tokio::time::timeout(READ_EVERY, more).await;
            }
        }
    }
}

/// Reads the store. It waits for it for as long as it takes: how long that may be, the clock says.
async fn reader(gateway: Weak<Gateway>) {
    let mut changes = match gateway.upgrade() {
        Some(gateway) => gateway.state.watch_all(),
        None => return,
    };
    let mut read_at = steady_millis();
    let mut was_well = true;
    loop {
        let Some(gateway) = gateway.upgrade() else { return };
        let (grants, state) = (&gateway.grants, &gateway.state);
        let is_changed = changes.has_changed().unwrap_or(false);
        changes.mark_unchanged();
        let is_due = steady_millis().saturating_sub(read_at) >= READ_EVERY.as_millis() as i64;
        let read = async {
            grants.renew(state).await?;
            if is_due {
                state.look_outside().await?;
            }
            if is_changed || is_due {
                grants.read(state).await?;
            }
            if is_due {
                read_at = steady_millis();
                records::store_for(&gateway, Doer::default()).expire_due().await?;
                gateway.telling.forget(state).await?;
            }
            Ok::<(), StateError>(())
        };
        let read = read.await;
        if let Err(error) = &read
            && was_well
        {
            tracing::error!(%error, "the store of grants can't be used");
        }
        was_well = read.is_ok();
        if is_due && was_well {
            // What has ended has ended whether that can be recorded or not; the log says if it can't,
            // and then it is tried again.
            let _ended_all_the_same = telling::tell(&gateway).await;
        }
        drop(gateway);
        let pause = Duration::from_millis(u64::try_from(RENEW_EVERY_MILLIS).unwrap_or(300));
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            changed = changes.changed() => if changed.is_err() { return },
        }
    }
}
