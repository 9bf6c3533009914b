//! Anchored heads of journals: what the newest record of each node's journal was, kept apart from
//! the journal. What a head means, and whether it is signed, is the business of `audit`.

use rusqlite::{Connection, OptionalExtension, Row, params};

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
        self.writer.run(move |connection| Ok(anchor(connection, &head, false)?)).await
    }

    /// Keeps the head whatever was kept before: for a journal whose damage was accepted.
    pub async fn replace_head(&self, head: HeadRow) -> Result<(), StateError> {
        self.writer
            .run(move |connection| {
                anchor(connection, &head, true)?;
                Ok(())
            })
            .await
    }

    pub async fn anchored_head(&self, node: &str) -> Result<Option<HeadRow>, StateError> {
        let node = node.to_owned();
        self.writer.run(move |connection| Ok(newest(connection, &node)?)).await
    }
}

/// Heads can come out of order when two places hand them on, and only forward counts.
fn anchor(
    connection: &mut Connection,
    head: &HeadRow,
    whatever: bool,
) -> Result<bool, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO journal_heads (node, number, hash, note, at) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (node) DO UPDATE
         SET number = excluded.number, hash = excluded.hash, note = excluded.note, at = excluded.at
         WHERE ?6 OR excluded.number > number",
    )?;
    // SQLite has no unsigned integers; a journal never gets that far.
    let number = i64::try_from(head.number).unwrap_or(i64::MAX);
    let row = params![head.node, number, head.hash, head.note, head.at, whatever];
    Ok(statement.execute(row)? == 1)
}

fn newest(connection: &Connection, node: &str) -> Result<Option<HeadRow>, rusqlite::Error> {
    let mut statement = connection
        .prepare_cached("SELECT node, number, hash, note, at FROM journal_heads WHERE node = ?1")?;
    let read = |row: &Row<'_>| {
        Ok(HeadRow {
            node: row.get(0)?,
            number: u64::try_from(row.get::<_, i64>(1)?).unwrap_or_default(),
            hash: row.get(2)?,
            note: row.get(3)?,
            at: row.get(4)?,
        })
    };
    statement.query_row([node], read).optional()
}
