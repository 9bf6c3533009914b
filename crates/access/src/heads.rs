//! Anchored heads of journals: what the newest record of each node's journal was, kept apart from
//! the journal. What a head means, and whether it is signed, is the business of `audit`.

use crate::engine::{Engine, Value};
use crate::{State, StateError};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadRow {
    pub node: String,
    /// Of the record.
    pub number: u64,
    pub hash: [u8; 32],
    /// The signed note.
    pub note: String,
    pub at: i64,
}

impl State {
    /// Keeps the head, unless a newer one of that node is kept. Whether it was.
    pub async fn anchor_head(&self, head: HeadRow) -> Result<bool, StateError> {
        self.writer.run(move |engine| anchor(engine, &head, false)).await
    }

    /// Keeps the head whatever was kept before: for a journal whose damage was accepted.
    pub async fn replace_head(&self, head: HeadRow) -> Result<(), StateError> {
        self.writer.run(move |engine| anchor(engine, &head, true).map(|_| ())).await
    }

    pub async fn anchored_head(&self, node: &str) -> Result<Option<HeadRow>, StateError> {
        let node = node.to_owned();
        self.writer.run(move |engine| newest(engine, &node)).await
    }
}

/// Heads can come out of order when two places hand them on, and only forward counts.
fn anchor(engine: &mut Engine, head: &HeadRow, whatever: bool) -> Result<bool, StateError> {
    // Neither database has unsigned integers; a journal never gets that far.
    let number = i64::try_from(head.number).unwrap_or(i64::MAX);
    let row = [
        Value::from(&head.node),
        Value::Int(number),
        Value::from(&head.hash),
        Value::from(&head.note),
        Value::Int(head.at),
        Value::Int(whatever.into()),
    ];
    engine.write(|tx| {
        let kept = tx.execute(
            "INSERT INTO journal_heads (node, number, hash, note, at)
             VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (node) DO UPDATE
             SET number = excluded.number, hash = excluded.hash, note = excluded.note,
                 at = excluded.at
             WHERE CAST(?6 AS BIGINT) = 1 OR excluded.number > journal_heads.number",
            &row,
        )?;
        Ok(kept == 1)
    })
}

fn newest(engine: &mut Engine, node: &str) -> Result<Option<HeadRow>, StateError> {
    let select = "SELECT node, number, hash, note, at FROM journal_heads WHERE node = ?1";
    let rows = engine.rows(select, &[node.into()])?;
    let read = |row: &crate::engine::Row| {
        Ok(HeadRow {
            node: row.text(0)?.to_owned(),
            number: u64::try_from(row.int(1)?).unwrap_or_default(),
            hash: row
                .bytes(2)?
                .try_into()
                .map_err(|_| StateError::Row("a hash of another length"))?,
            note: row.text(3)?.to_owned(),
            at: row.int(4)?,
        })
    };
    rows.first().map(read).transpose()
}
