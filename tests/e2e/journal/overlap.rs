//! Where records have to be durable, PostgreSQL works on a statement that is proven to read while its
//! record is on its way to the disk, and not a byte of the reply is released before it is there.
//! Everything else waits for its record. The disk stands still while this is looked at.

use std::time::Duration;

use super::disk::Disk;
use super::records;
use crate::raw::{self, Raw};
use crate::setup::{self, Plan};

const POLICY: &str = "policies:\n  - name: some\n    who: \"*\"\n    to: \"*\"\n    \
    access: { window: 1h, approval: none }\n    allow:\n      \
    - read, insert, update: public.*\n      - use: public.code";

fn extended(sql: &str) -> Vec<u8> {
    [raw::parse("", sql, &[]), raw::bind("", "", &[], &[], &[]), raw::execute("", 0), raw::sync()]
        .concat()
}

#[test]
fn proven_reads_overlap_with_their_records_and_their_near_twins_wait() {
    let Some(disk) = Disk::make() else { return };
    let database = setup::database();
    database.login().psql(
        "CREATE TABLE things (n int, secret bool DEFAULT false);
         INSERT INTO things SELECT generate_series(1, 10);
         CREATE VIEW plain AS SELECT n FROM things WHERE n < 5;
         CREATE FUNCTION code() RETURNS int LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
         CREATE VIEW coded AS SELECT n FROM things WHERE n > code();
         CREATE TABLE guarded (n int);
         ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
         CREATE POLICY open ON guarded USING (true);
         GRANT ALL ON ALL TABLES IN SCHEMA public TO public",
    );
    let gate = Plan::gateway(&database)
        .top(&format!("journal: {{ directory: {}/journal }}", disk.point.display()))
        .top(POLICY)
        .start();
    let reads = [
        "SELECT /* 1 */ count(*), upper('x') FROM things WHERE n > 3",
        "SELECT /* 2 */ n FROM plain ORDER BY n",
        "WITH few AS (SELECT /* 3 */ n FROM things) SELECT sum(n) FROM few",
    ];
    let twins = [
        "SELECT /* 4 */ n FROM things WHERE n = 1 FOR UPDATE",
        "SELECT /* 5 */ public.code()",
        "SELECT /* 6 */ count(*) FROM coded",
        "SELECT /* 7 */ count(*) FROM guarded",
        "WITH few AS (INSERT INTO things VALUES (/* 8 */ 11) RETURNING n) SELECT n FROM few",
        "INSERT INTO things VALUES (/* 9 */ 12)",
        "SELECT /* 10 */ count(*) FROM things WHERE random() < 2",
    ];
    let ran = |sql: &str| {
        let sql = sql.replace('\'', "''");
        setup::activity(&database, &format!("state = 'idle' AND query = '{sql}'")) > 0
    };
    for is_extended in [false, true] {
        let message = |sql: &str| if is_extended { extended(sql) } else { raw::query(sql) };
        let sessions = |statements: &[&'static str]| -> Vec<(&'static str, Raw)> {
            let log_in = |sql: &&'static str| (*sql, gate.login().0);
            statements.iter().map(log_in).collect()
        };
        let (mut reads, mut twins) = (sessions(&reads), sessions(&twins));
        for (sql, raw) in reads.iter_mut().chain(&mut twins) {
            // What the catalog says is known, so that nothing but the disk is waited for.
            raw.send(&message(&sql.replace("/*", "/* before")));
            let replies = raw.until_ready();
            assert!(replies.iter().all(|reply| reply.tag != b'E'), "{}", raw::show(&replies));
        }
        let frozen = disk.freeze();
        for (sql, raw) in twins.iter_mut().chain(&mut reads) {
            raw.send(&message(sql));
        }
        for (sql, _) in &reads {
            setup::eventually(sql, || ran(sql));
        }
        for (sql, _) in &twins {
            assert!(!ran(sql), "{sql} ran before it was recorded");
        }
        for (sql, raw) in reads.iter_mut().chain(&mut twins) {
            let said = raw.read_within(Duration::from_millis(20));
            assert!(said.is_err(), "{sql}: {said:?}");
        }
        drop(frozen);
        for (sql, raw) in reads.iter_mut().chain(&mut twins) {
            let replies = raw.until_ready();
            assert!(replies.iter().any(|reply| reply.tag == b'C'), "{}", raw::show(&replies));
            assert!(ran(sql), "{sql}");
        }
    }
}

#[test]
fn a_read_whose_record_is_lost_is_not_answered() {
    let Some(disk) = Disk::make() else { return };
    let database = setup::database();
    database.login().psql("CREATE TABLE things (n int); GRANT ALL ON things TO public");
    let journal = disk.point.join("journal");
    let gate = Plan::gateway(&database)
        .top(&format!("journal: {{ directory: {} }}", journal.display()))
        .top(POLICY)
        .start();
    let (mut raw, _) = gate.login();
    raw.query("SELECT n FROM things");
    // Or the loss of that outcome would refuse the next statement before it runs.
    setup::eventually("the outcome to be written", || {
        records::all(&journal).iter().any(|record| record["event"] == "outcome")
    });
    disk.cut();
    raw.send(&raw::query("SELECT n FROM things"));
    // It ran, and its reply is withheld.
    let said = raw.read().expect("the words that end the session");
    assert_eq!((said.tag, said.sqlstate()), (b'E', "58030".to_owned()), "{}", said.show());
    assert_eq!(said.severity(), "FATAL");
    assert!(raw.read().is_none());
}
