//! What a statement has changed: a baseline before it, and behind it a guard that fails past a
//! limit, in the client's own transaction and before anything can commit.
//!
//! PostgreSQL's own statistics of the transaction count, never a command's tag: what a trigger, a
//! cascade or a CTE changes is in the first and not in the second. They begin with transactions
//! that are over and not yet reported, hence the baseline; it is kept in a setting of the
//! transaction, under a name that clients can't know. What they can't tell makes the guard fail:
//! a TRUNCATE takes rows and their counts away, and shows by its lock.
//! <https://www.postgresql.org/docs/current/monitoring-stats.html#MONITORING-STATS-VIEWS>

use policy::{Check, Condition};
use sql::catalog::{Catalog, RelationId, RelationKind};

/// The texts around one statement, for whatever session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Guard {
    baseline: Box<str>,
    guard: Box<str>,
}

/// What stands in them for what is a session's own. No name has a zero in it.
const SETTING: &str = "\0s";
const NONCE: &str = "\0n";
const BEFORE: &str = "\0b";

/// What a guard that failed says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// All conditions of this check held.
    Met { check: usize, changed: u64 },
    /// What the statement did can't be counted.
    Unknown,
}

/// No guard can count it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Uncountable {
    /// Rows of a foreign table change elsewhere.
    ForeignTable(RelationId),
    /// The snapshot does not have the relation.
    UnknownRelation,
}

/// Places in the list of numbers that the baseline keeps.
const CHANGED: usize = 1;
const LOCKS: usize = 2;
const FAMILIES: usize = 3;

impl Guard {
    pub(crate) fn new(checks: &[Check], catalog: &Catalog) -> Result<Guard, Uncountable> {
        let mut families = Vec::new();
        let mut cases = String::new();
        for (number, check) in checks.iter().enumerate() {
            for (relation, _) in &check.on {
                if is_foreign(*relation, catalog)? {
                    return Err(Uncountable::ForeignTable(*relation));
                }
            }
            let mut conditions = Vec::new();
            for condition in &check.conditions {
                conditions.push(match condition {
                    Condition::ChangedOver(most) => format!(
                        "{} OPERATOR(pg_catalog.+) {BEFORE} OPERATOR(pg_catalog.>) {most}",
                        difference(CHANGED)
                    ),
                    Condition::EveryRow => every_row(check, catalog, &mut families)?,
                    // Answered before it ran.
                    Condition::EstimateOver(_) | Condition::CostOver(_) => "true".to_owned(),
                });
            }
            cases += &format!(" WHEN {} THEN '{number}'", conditions.join(" AND "));
        }
        let state = state(&families, catalog);
        let counts = "pg_catalog.current_setting('track_counts') OPERATOR(pg_catalog.=) 'on'";
        let baseline =
            format!("SELECT pg_catalog.set_config('{SETTING}', ({state})::pg_catalog.text, true)");
        // A subquery with OFFSET is not taken apart, so each number is read once.
        let guard = format!(
            "SELECT CASE WHEN met IS NULL THEN changed ELSE \
             pg_catalog.concat('{NONCE} ', met, ' ', changed)::pg_catalog.int8 END FROM (\
             SELECT {changed} AS changed, CASE \
             WHEN NOT {counts} OR {changed} OPERATOR(pg_catalog.<) 0 \
             OR {locks} OPERATOR(pg_catalog.>) 0 THEN 'unknown'{cases} END AS met FROM (\
             SELECT {state} AS now, \
             pg_catalog.current_setting('{SETTING}')::pg_catalog.int8[] AS base OFFSET 0) s \
             OFFSET 0) g",
            changed = difference(CHANGED),
            locks = difference(LOCKS),
        );
        Ok(Guard { baseline: baseline.into(), guard: guard.into() })
    }

    /// Run before the statement. Has one row, of no interest. `setting` is the name of a setting,
    /// of two parts.
    pub(crate) fn baseline(&self, setting: &str) -> String {
        self.baseline.replace(SETTING, setting)
    }

    /// Run behind it. Fails, with the nonce in its message, or has one row: the number of rows
    /// that were changed. `before` were changed before the baseline and count as well. Neither
    /// `setting` nor `nonce` has a quote, and no client knows them.
    pub(crate) fn guard(&self, setting: &str, nonce: &str, before: u64) -> String {
        self.guard
            .replace(SETTING, setting)
            .replace(NONCE, nonce)
            .replace(BEFORE, &before.to_string())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.baseline.len() + self.guard.len()
    }

    /// What the message of an error says, if it is the guard's.
    pub(crate) fn verdict(message: &[u8], nonce: &str) -> Option<Verdict> {
        let message = String::from_utf8_lossy(message);
        let (_, said) = message.split_once(nonce)?;
        let mut words = said.split_ascii_whitespace();
        let check = words.next().and_then(|word| word.parse().ok());
        let changed = words.next().and_then(|word| {
            let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
            word.get(..digits)?.parse().ok()
        });
        Some(match (check, changed) {
            (Some(check), Some(changed)) => Verdict::Met { check, changed },
            _ => Verdict::Unknown,
        })
    }
}

/// Two rows or more were changed or deleted, and none that is there now was left alone.
fn every_row(
    check: &Check,
    catalog: &Catalog,
    families: &mut Vec<RelationId>,
) -> Result<String, Uncountable> {
    let mut conditions = Vec::new();
    for (relation, _) in &check.on {
        let found = catalog.relation(*relation).ok_or(Uncountable::UnknownRelation)?;
        let position = match families.iter().position(|family| family == relation) {
            Some(position) => position,
            None => {
                families.push(*relation);
                families.len() - 1
            }
        };
        let at = FAMILIES + 3 * position;
        let (inserted, updated, deleted) = (difference(at), difference(at + 1), difference(at + 2));
        let touched = format!("({inserted} OPERATOR(pg_catalog.+) {updated})");
        conditions.push(format!(
            "({updated} OPERATOR(pg_catalog.+) {deleted} OPERATOR(pg_catalog.>) 1 AND \
             (SELECT pg_catalog.count(*) FROM (SELECT FROM {}.{} \
             LIMIT {touched} OPERATOR(pg_catalog.+) 1) r) OPERATOR(pg_catalog.<=) {touched})",
            quoted(catalog.schema_name(found.schema)),
            quoted(&found.name),
        ));
    }
    Ok(match conditions.as_slice() {
        [] => "false".to_owned(),
        _ => format!("({})", conditions.join(" OR ")),
    })
}

/// Nothing here may be looked up by the client's search_path: no operator and no function goes
/// without its schema, and IN and IS DISTINCT FROM would look for `=`.
///
/// The list of numbers: rows changed in all tables, locks that take rows away without counting
/// them, and for each family of a relation and its children what was inserted, updated and deleted.
fn state(families: &[RelationId], catalog: &Catalog) -> String {
    let sum = |counts: &[&str], from: &str| {
        let counts: Vec<String> = counts
            .iter()
            .map(|what| format!("pg_catalog.pg_stat_get_xact_tuples_{what}(c.oid)"))
            .collect();
        format!(
            "(SELECT COALESCE(pg_catalog.sum({}), 0) FROM {from})",
            counts.join(" OPERATOR(pg_catalog.+) ")
        )
    };
    // Those of the server's own catalog (11) change with names, not with rows.
    let tables = "pg_catalog.pg_class c WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,m}'::pg_catalog.\"char\"[]) \
         AND c.relnamespace OPERATOR(pg_catalog.<>) 11";
    let mut numbers = vec![
        sum(&["inserted", "updated", "deleted"], tables),
        "(SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) l.relation \
         WHERE l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() \
         AND l.locktype OPERATOR(pg_catalog.=) 'relation' \
         AND l.mode OPERATOR(pg_catalog.=) 'AccessExclusiveLock' \
         AND COALESCE(c.relpersistence, 'p') OPERATOR(pg_catalog.<>) 't')"
            .to_owned(),
    ];
    for family in families {
        let oid = catalog.relation(*family).map_or(0, |relation| relation.oid);
        let members = format!(
            "(WITH RECURSIVE family(oid) AS (SELECT {oid}::pg_catalog.oid UNION \
             SELECT i.inhrelid FROM pg_catalog.pg_inherits i JOIN family f \
             ON i.inhparent OPERATOR(pg_catalog.=) f.oid) SELECT oid FROM family) c"
        );
        for what in ["inserted", "updated", "deleted"] {
            numbers.push(sum(&[what], &members));
        }
    }
    format!("ARRAY[{}]::pg_catalog.int8[]", numbers.join(", "))
}

fn difference(at: usize) -> String {
    format!("(s.now[{at}] OPERATOR(pg_catalog.-) s.base[{at}])")
}

/// Whether it, or what writing to it writes to, is a table of another server.
fn is_foreign(relation: RelationId, catalog: &Catalog) -> Result<bool, Uncountable> {
    let mut open = vec![relation];
    let mut seen = std::collections::BTreeSet::new();
    while let Some(id) = open.pop() {
        if !seen.insert(id) {
            continue;
        }
        let found = catalog.relation(id).ok_or(Uncountable::UnknownRelation)?;
        if found.kind == RelationKind::Foreign {
            return Ok(true);
        }
        open.extend(&found.children);
        for read in &found.reads {
            if let sql::catalog::ViewRead::Column(below, _) = read {
                open.push(*below);
            }
        }
    }
    Ok(false)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use e2e::scratch::{Cluster, Options, ServerBinaries};
    use policy::{RuleRef, Then};

    use super::*;
    use crate::inquiry::{Inquiry, InquiryError};

    const SCHEMA: &str = "
        CREATE TABLE t (id int PRIMARY KEY, v int);
        INSERT INTO t SELECT n, n FROM generate_series(1, 10) n;
        CREATE TABLE child (t int REFERENCES t ON DELETE CASCADE);
        INSERT INTO child SELECT n % 10 + 1 FROM generate_series(1, 1000) n;
        CREATE TABLE p (id int, v int) PARTITION BY LIST (id);
        CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
        CREATE TABLE p2 PARTITION OF p FOR VALUES IN (2);
        INSERT INTO p SELECT n % 2 + 1, n FROM generate_series(1, 10) n;
        CREATE TABLE noted (v int);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN INSERT INTO noted VALUES (1), (2), (3); RETURN NULL; END $$;
        CREATE TABLE watched (v int);
        CREATE TRIGGER watch AFTER INSERT ON watched FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TABLE late (v int);
        CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION note();
        CREATE FUNCTION empties() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN TRUNCATE noted; RETURN NULL; END $$;
        CREATE TABLE emptying (v int);
        CREATE TRIGGER emptying AFTER INSERT ON emptying FOR EACH ROW EXECUTE FUNCTION empties();
        CREATE VIEW seen AS SELECT * FROM t WHERE id < 4;
        CREATE FUNCTION \"=\"(int, int) RETURNS bool LANGUAGE sql AS 'SELECT true'";

    struct Stand {
        inquiry: Inquiry,
        catalog: Catalog,
        _cluster: Cluster,
    }

    impl Stand {
        async fn new() -> Stand {
            let cluster =
                Cluster::start(Options::new(ServerBinaries::find(None).unwrap())).unwrap();
            let connection = crate::catalogs::tests::connection(&cluster, cluster.password());
            let mut inquiry = Inquiry::open(&connection).await.unwrap();
            inquiry
                .rows("SET default_transaction_read_only = off; SET search_path = public")
                .await
                .unwrap();
            inquiry.rows(SCHEMA).await.unwrap();
            let catalog = crate::catalogs::read_catalog(&mut inquiry).await.unwrap();
            Stand { inquiry, catalog, _cluster: cluster }
        }

        async fn relation(&mut self, name: &str) -> RelationId {
            let oid = self.inquiry.rows(&format!("SELECT '{name}'::regclass::oid")).await.unwrap();
            let oid = oid[0][0].as_ref().unwrap().parse().unwrap();
            self.catalog.relation_by_oid(oid).unwrap()
        }

        /// What the guard says of `sql`, which is taken back.
        async fn judge(
            &mut self,
            on: &str,
            conditions: &[Condition],
            sql: &str,
        ) -> Result<u64, Verdict> {
            let on = vec![(self.relation(on).await, policy::Verb::Update)];
            let rule = RuleRef { policy: "p".into(), rule: "r".into(), line: 1 };
            let check = Check {
                rule,
                conditions: conditions.to_vec(),
                then: Then::Refuse,
                by: "".into(),
                need: 1,
                shape: false,
                on,
            };
            let texts = Guard::new(&[check], &self.catalog).unwrap();
            let baseline = texts.baseline("gatepost.b123");
            let guard = texts.guard("gatepost.b123", "nonce-7", 0);
            self.inquiry.rows("BEGIN; SAVEPOINT s").await.unwrap();
            self.inquiry.rows(&baseline).await.unwrap();
            self.inquiry.rows(sql).await.unwrap();
            self.inquiry.ask(&guard).await.unwrap();
            let mut changed = None;
            let answered = self
                .inquiry
                .answer(|frame| {
                    if frame.tag == wire::backend::DATA_ROW {
                        let row = wire::backend::data_row(frame.body).unwrap();
                        let text = std::str::from_utf8(row[0].unwrap()).unwrap();
                        changed = text.parse().ok();
                    }
                })
                .await;
            match answered {
                Ok(()) => {
                    self.inquiry.rows("ROLLBACK").await.unwrap();
                    Ok(changed.unwrap())
                }
                Err(InquiryError::Said { message, .. }) => {
                    self.inquiry.rows("ROLLBACK").await.unwrap();
                    Err(Guard::verdict(message.as_bytes(), "nonce-7").expect(&message))
                }
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    /// Whatever changes rows is counted, at the limit and one past it.
    #[test]
    fn changes_are_counted_however_they_come_about() {
        run(async {
            let mut stand = Stand::new().await;
            for (sql, changes) in [
                ("SELECT 1", 0),
                ("UPDATE t SET v = 0 WHERE id < 4", 3),
                ("DELETE FROM t WHERE id = 1", 101),
                ("WITH gone AS (DELETE FROM child RETURNING 1) SELECT count(*) FROM gone", 1000),
                ("EXPLAIN ANALYZE DELETE FROM child", 1000),
                ("INSERT INTO watched VALUES (1), (2)", 8),
                ("INSERT INTO late VALUES (1); SET CONSTRAINTS ALL IMMEDIATE", 4),
                ("INSERT INTO late VALUES (1)", 1),
                ("INSERT INTO t VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET v = 9", 1),
                ("UPDATE p SET id = 2 WHERE id = 1", 10),
                ("UPDATE seen SET v = 1", 3),
                ("SAVEPOINT x; DELETE FROM child; ROLLBACK TO x", 1000),
                ("CREATE TEMP TABLE own AS SELECT 1 AS a; INSERT INTO own VALUES (2)", 2),
                ("SET LOCAL search_path = public, pg_catalog; DELETE FROM child", 1000),
                ("DO $$ BEGIN DELETE FROM child; END $$", 1000),
            ] {
                let at = stand.judge("t", &[Condition::ChangedOver(changes)], sql).await;
                assert_eq!(at, Ok(changes), "{sql}");
                if changes > 0 {
                    let past = stand.judge("t", &[Condition::ChangedOver(changes - 1)], sql).await;
                    assert_eq!(past, Err(Verdict::Met { check: 0, changed: changes }), "{sql}");
                }
            }
            for sql in [
                "TRUNCATE noted",
                "INSERT INTO emptying VALUES (1)",
                "INSERT INTO noted VALUES (1); TRUNCATE noted",
                "DROP TABLE noted",
            ] {
                let judged = stand.judge("t", &[Condition::ChangedOver(1000)], sql).await;
                assert_eq!(judged, Err(Verdict::Unknown), "{sql}");
            }
        });
    }

    #[test]
    fn every_row_and_all_but_one() {
        run(async {
            let mut stand = Stand::new().await;
            for (on, sql, every) in [
                ("t", "UPDATE t SET v = 0", true),
                ("t", "UPDATE t SET v = 0 WHERE id > 1", false),
                ("t", "UPDATE t SET v = v WHERE id > 1; UPDATE t SET v = 1 WHERE id = 1", true),
                ("child", "DELETE FROM child", true),
                ("child", "DELETE FROM child WHERE ctid <> '(0,1)'", false),
                ("t", "SELECT 1", false),
                ("t", "INSERT INTO t SELECT n, n FROM generate_series(11, 99) n", false),
                // What it adds itself is no row that it left alone.
                (
                    "t",
                    "WITH new AS (INSERT INTO t VALUES (11, 1), (12, 1)) UPDATE t SET v = 0",
                    true,
                ),
                (
                    "t",
                    "WITH new AS (INSERT INTO t VALUES (11, 1), (12, 1)) UPDATE t SET v = 0 WHERE id > 1",
                    false,
                ),
                (
                    "t",
                    "INSERT INTO t SELECT n, 5 FROM generate_series(1, 10) n ON CONFLICT (id) DO UPDATE SET v = 9",
                    true,
                ),
                ("p", "UPDATE p SET v = 0", true),
                ("p", "UPDATE p SET id = 2 WHERE id = 1", false),
                ("p", "UPDATE p SET id = 3 - id", true),
                ("p1", "DELETE FROM p1", true),
                ("p", "DELETE FROM p1", false),
                ("seen", "DELETE FROM seen WHERE id = 1", false),
                ("t", "SAVEPOINT x; UPDATE t SET v = 0; RELEASE x", true),
            ] {
                let judged = stand.judge(on, &[Condition::EveryRow], sql).await;
                assert_eq!(judged.is_err(), every, "{sql}: {judged:?}");
            }
            // A table of one row: there is nothing to mistake it for.
            let one = "DELETE FROM t WHERE id > 1; SET LOCAL jit = off";
            assert!(stand.judge("t", &[Condition::EveryRow], one).await.is_ok());
            // All conditions of a check have to hold.
            let both = [Condition::EveryRow, Condition::ChangedOver(10)];
            assert!(stand.judge("t", &both, "UPDATE t SET v = 0").await.is_ok());
            let both = [Condition::EveryRow, Condition::ChangedOver(9)];
            assert!(stand.judge("t", &both, "UPDATE t SET v = 0").await.is_err());
        });
    }
}
