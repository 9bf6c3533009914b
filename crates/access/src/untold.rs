//! What the journal has yet to hear of. Whoever keeps a journal says of each step, while it is taken,
//! which records it comes to; they are kept in the same transaction, under a number, until they are
//! in the journal. So a process that ends between the two loses none: the next one of its name finds
//! them. It may record one twice, with the same number.

use std::sync::Arc;

use crate::due::Due;
use crate::engine::{Engine, Tx, Value, limit};
use crate::grants::EndedGrant;
use crate::hold::Hold;
use crate::holds::{Held, ShapeUsed};
use crate::request::{Request, RequestVoted};
use crate::requests::Admission;
use crate::{State, StateError};

/// Records that are given out at once.
pub const UNTOLD_ROWS_MAX: usize = 64;

/// What has just been done, and is not durable yet.
#[derive(Clone, Copy, Debug)]
pub enum Step<'s> {
    Admitted(&'s Admission),
    Voted(&'s RequestVoted),
    Withdrawn(&'s Request),
    Ended(&'s EndedGrant),
    Due(&'s Due),
    Held(&'s Held),
    HoldDecided(&'s Hold),
    HoldWithdrawn(&'s Hold),
    Claimed(&'s Hold),
    ShapeUsed(&'s ShapeUsed),
}

/// The records that a step comes to, each a text of its own.
pub type Tell = dyn Fn(&Step<'_>) -> Vec<String> + Send + Sync;

/// Whose journal hears of what is done by a handle of the store, and in which words.
#[derive(Clone)]
pub(crate) struct Teller {
    node: String,
    tell: Arc<Tell>,
}

/// A record that is not in the journal yet, as far as the store knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Untold {
    /// Later ones have higher numbers, and no two of a store have the same.
    pub number: i64,
    pub record: String,
}

impl State {
    /// The same store, where what is done is kept for the journal of `node` in the words of `tell`.
    pub fn telling(
        &self,
        node: &str,
        tell: impl Fn(&Step<'_>) -> Vec<String> + Send + Sync + 'static,
    ) -> State {
        let teller = Teller { node: node.to_owned(), tell: Arc::new(tell) };
        State { teller: Some(teller), ..self.clone() }
    }

    /// Takes a step: all of it or, if it fails, nothing. Who keeps a journal has it from the same
    /// instant on.
    pub(crate) async fn step<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tx<'_>) -> Result<T, StateError> + Send + 'static,
        said: for<'s> fn(&'s T) -> Step<'s>,
    ) -> Result<T, StateError> {
        let teller = self.teller.clone();
        let step = move |tx: &mut Tx<'_>| {
            let done = work(tx)?;
            tell(&teller, tx, said(&done))?;
            Ok(done)
        };
        self.writer.run(move |engine| engine.write(step)).await
    }

    /// What a node's journal has not heard of behind this number, the oldest first, at most
    /// `UNTOLD_ROWS_MAX`.
    pub async fn untold(&self, node: &str, behind: i64) -> Result<Vec<Untold>, StateError> {
        let given = [node.into(), Value::Int(behind), limit(UNTOLD_ROWS_MAX)];
        let select = "SELECT number, record FROM untold WHERE node = ?1 AND number > ?2
                      ORDER BY number LIMIT ?3";
        let read = move |engine: &mut Engine| {
            let rows = engine.rows(select, &given)?;
            let untold = |row: &crate::engine::Row| {
                Ok(Untold { number: row.int(0)?, record: row.text(1)?.to_owned() })
            };
            rows.iter().map(untold).collect()
        };
        self.writer.run(read).await
    }

    /// It has heard of all up to this number.
    pub async fn told(&self, node: &str, up_to: i64) -> Result<(), StateError> {
        let given = [node.into(), Value::Int(up_to)];
        let delete = "DELETE FROM untold WHERE node = ?1 AND number <= ?2";
        self.writer.run(move |engine| engine.write(|tx| tx.execute(delete, &given).map(drop))).await
    }
}

/// Nothing, where nobody keeps a journal.
pub(crate) fn tell(
    teller: &Option<Teller>,
    tx: &mut Tx<'_>,
    step: Step<'_>,
) -> Result<(), StateError> {
    let Some(teller) = teller else { return Ok(()) };
    for record in (teller.tell)(&step) {
        let given = [(&teller.node).into(), Value::Text(record)];
        tx.execute("INSERT INTO untold (node, record) VALUES (?1, ?2)", &given)?;
    }
    Ok(())
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("node", &self.node).finish_non_exhaustive()
    }
}
