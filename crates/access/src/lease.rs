//! A node's lease: its right to go on serving sessions while it can't be told to stop. The node
//! says that it lives every `RENEW_EVERY_MILLIS`; one that could not for a while stops first to
//! begin anything, then to go on. When that is, is `Lease`'s to say, from a clock that nobody can
//! set.

use crate::engine::Value;
use crate::refused::Refused;
use crate::requests::check_name;
use crate::{State, StateError};

pub const RENEW_EVERY_MILLIS: i64 = 300;
/// After this long without a renewal logins are refused, and new statements wait.
pub const DOUBTFUL_AFTER_MILLIS: i64 = 1_000;
/// After this long sessions end.
pub const LOST_AFTER_MILLIS: i64 = 10_000;

/// How often a lease in a local file is written, for it not to be taken for an old one.
const WRITE_EVERY_MILLIS: i64 = 24 * 3_600_000;

/// What this node may do, by when its lease was last renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    renewed_at: i64,
    taken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Good,
    /// Nothing new begins; what runs goes on.
    Doubtful,
    /// Nothing goes on.
    Lost,
}

impl Lease {
    /// `asked_at`: by `steady_millis`, before the store was asked.
    pub fn new(asked_at: i64) -> Self {
        Self { renewed_at: asked_at, taken: false }
    }

    pub fn renewed(&mut self, asked_at: i64) {
        self.renewed_at = self.renewed_at.max(asked_at);
    }

    /// Another process of this node's name has it: for good.
    pub fn taken(&mut self) {
        self.taken = true;
    }

    /// `now` by `steady_millis`.
    pub fn standing(&self, now: i64) -> Standing {
        let without = now.saturating_sub(self.renewed_at);
        if self.taken || without >= LOST_AFTER_MILLIS {
            Standing::Lost
        } else if without >= DOUBTFUL_AFTER_MILLIS {
            Standing::Doubtful
        } else {
            Standing::Good
        }
    }
}

impl State {
    /// Takes the lease of a node, from an earlier process of its name if need be: that one can't
    /// renew it any more. `holder` is this process's own.
    pub async fn take_lease(&self, node: &str, holder: &str) -> Result<(), StateError> {
        check_name("node", node)?;
        check_name("holder", holder)?;
        let (node, holder) = (node.to_owned(), holder.to_owned());
        self.writer
            .run(move |engine| {
                engine.write(|tx| {
                    let now = tx.now()?;
                    let given =
                        [(&node).into(), (&holder).into(), Value::Int(now + LOST_AFTER_MILLIS)];
                    tx.execute(
                        "INSERT INTO leases (node, holder, until) VALUES (?1, ?2, ?3)
                         ON CONFLICT (node) DO UPDATE
                         SET holder = excluded.holder, until = excluded.until",
                        &given,
                    )?;
                    Ok(())
                })
            })
            .await
    }

    /// Says that this process lives, and hears whether the lease is still its own. With a local
    /// file there is nobody else to hear it, so nothing is written: that the file can be read is
    /// what matters.
    pub async fn renew_lease(&self, node: &str, holder: &str) -> Result<(), StateError> {
        let (node, holder) = (node.to_owned(), holder.to_owned());
        let renewed = self
            .writer
            .run(move |engine| {
                let now = engine.now()?;
                let given = [(&node).into(), (&holder).into()];
                if !engine.is_shared()
                    && let Some(row) = engine.rows(HELD, &given)?.first()
                    && now - row.int(0)? < WRITE_EVERY_MILLIS
                {
                    return Ok(Ok(()));
                }
                let update = "UPDATE leases SET until = ?3 WHERE node = ?1 AND holder = ?2";
                let [node_given, holder_given] = given;
                let given = [node_given, holder_given, Value::Int(now + LOST_AFTER_MILLIS)];
                let changed = engine.write(|tx| tx.execute(update, &given))?;
                Ok(if changed == 1 { Ok(()) } else { Err(node) })
            })
            .await?;
        renewed.map_err(|node| Refused::LeaseTaken { node }.into())
    }
}

const HELD: &str = "SELECT until FROM leases WHERE node = ?1 AND holder = ?2";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_is_not_renewed_is_doubted_and_then_lost() {
        let mut lease = Lease::new(5_000);
        assert_eq!(lease.standing(5_999), Standing::Good);
        assert_eq!(lease.standing(6_000), Standing::Doubtful);
        lease.renewed(6_100);
        assert_eq!(lease.standing(7_099), Standing::Good);
        // An answer that comes late says nothing of a later time.
        lease.renewed(5_500);
        assert_eq!(lease.standing(7_100), Standing::Doubtful);
        assert_eq!(lease.standing(16_099), Standing::Doubtful);
        assert_eq!(lease.standing(16_100), Standing::Lost);
    }

    #[test]
    fn a_lease_that_was_taken_is_lost_at_once_and_for_good() {
        let mut lease = Lease::new(5_000);
        lease.taken();
        lease.renewed(5_100);
        assert_eq!(lease.standing(5_100), Standing::Lost);
    }
}
