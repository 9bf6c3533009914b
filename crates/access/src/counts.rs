//! What has been used of limits that outlive a process: per hour, per day, per grant. What a count
//! means, and when there is room again, is the business of whoever counts; here it is kept, for each
//! node its own.

use crate::engine::{Engine, Row, Value};
use crate::{State, StateError};

/// More of a node's are not read when it starts.
const COUNTS_MAX: i64 = 1_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CountRow {
    pub issuer: String,
    pub subject: String,
    pub policy: String,
    /// Empty where it is not about one.
    pub grant: String,
    pub measure: String,
    pub period: String,
    /// In the words of whoever counts.
    pub taken: String,
    /// When nothing of it counts any more.
    pub until: i64,
}

impl State {
    /// Keeps each in the place of what was kept of it before, all of them or none, and forgets
    /// those that don't count any more.
    pub async fn keep_counts(&self, node: &str, rows: Vec<CountRow>) -> Result<(), StateError> {
        let node = node.to_owned();
        self.writer.run(move |engine| keep(engine, &node, &rows)).await
    }

    pub async fn counts(&self, node: &str) -> Result<Vec<CountRow>, StateError> {
        let node = node.to_owned();
        self.writer.run(move |engine| kept(engine, &node)).await
    }
}

fn keep(engine: &mut Engine, node: &str, rows: &[CountRow]) -> Result<(), StateError> {
    let now = engine.now()?;
    engine.write(|tx| {
        for row in rows {
            tx.execute(
                "INSERT INTO counts
                 (node, issuer, subject, policy, grant_id, measure, period, taken, until)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (node, issuer, subject, policy, grant_id, measure, period)
                 DO UPDATE SET taken = excluded.taken, until = excluded.until",
                &[
                    Value::from(node),
                    Value::from(&row.issuer),
                    Value::from(&row.subject),
                    Value::from(&row.policy),
                    Value::from(&row.grant),
                    Value::from(&row.measure),
                    Value::from(&row.period),
                    Value::from(&row.taken),
                    Value::Int(row.until),
                ],
            )?;
        }
        tx.execute("DELETE FROM counts WHERE until < ?1", &[Value::Int(now)])?;
        Ok(())
    })
}

fn kept(engine: &mut Engine, node: &str) -> Result<Vec<CountRow>, StateError> {
    let select = "SELECT issuer, subject, policy, grant_id, measure, period, taken, until
                  FROM counts WHERE node = ?1 LIMIT ?2";
    let rows = engine.rows(select, &[Value::from(node), Value::Int(COUNTS_MAX)])?;
    let text = |row: &Row, at| Ok::<_, StateError>(row.text(at)?.to_owned());
    let read = |row: &Row| {
        Ok(CountRow {
            issuer: text(row, 0)?,
            subject: text(row, 1)?,
            policy: text(row, 2)?,
            grant: text(row, 3)?,
            measure: text(row, 4)?,
            period: text(row, 5)?,
            taken: text(row, 6)?,
            until: row.int(7)?,
        })
    };
    rows.iter().map(read).collect()
}
