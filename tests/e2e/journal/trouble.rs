//! While the journal can't be written nothing runs, everybody is told, and it ends by itself.

use std::path::{Path, PathBuf};

use e2e::Database;

use super::disk::{Disk, ReadOnly, Small};
use super::records;
use crate::lifecycle;
use crate::raw::{self, Message, Raw};
use crate::setup::{self, Gate, Plan};

/// Eight of these fill a segment.
const LARGE_BYTES: usize = 8 << 20;

/// A gateway with sessions in every state, whose journal is about to fail.
struct Stand {
    database: Database,
    gate: Gate,
    journal: PathBuf,
    idle: Raw,
    in_transaction: Raw,
    prepared: Raw,
    /// In the middle of a COPY FROM STDIN.
    copying: Raw,
}

impl Stand {
    fn new(journal: &Path, durability: &str) -> Stand {
        let database = setup::database();
        database.login().psql("CREATE TABLE ran (what text); GRANT ALL ON ran TO public");
        let gate = Plan::gateway(&database)
            .top(&format!("journal: {{ directory: {} }}", journal.display()))
            .connection(&format!("durability: {durability}"))
            .start();
        let idle = gate.login().0;
        let [mut in_transaction, mut prepared, mut copying] = [(), (), ()].map(|()| gate.login().0);
        in_transaction.query("BEGIN");
        in_transaction.query("INSERT INTO ran VALUES ('before, not committed')");
        let sql = "INSERT INTO ran VALUES ($1)";
        prepared.send(&[raw::parse("s", sql, &[25]), raw::sync()].concat());
        prepared.until_ready();
        prepared.query("INSERT INTO ran VALUES ('before')");
        copying.send(&raw::query("COPY ran FROM STDIN"));
        assert_eq!(copying.read().map(|message| message.tag), Some(b'G'));
        assert_eq!(health(&gate).0, 200);
        let journal = journal.to_owned();
        Stand { database, gate, journal, idle, in_transaction, prepared, copying }
    }

    /// Uses up the segment that is written to, until a statement is refused; how many ran.
    fn use_up_segment(&mut self) -> usize {
        let text = format!("SELECT 1 WHERE 'large' < '{}'", "x".repeat(LARGE_BYTES));
        for ran in 0..40 {
            let replies = self.idle.query(&text);
            if replies.iter().any(|message| message.tag == b'E') {
                assert_refused(&replies, b'I');
                return ran;
            }
        }
        panic!("the journal goes on being written");
    }

    /// Every way to run something, and none does.
    fn assert_refuses(&mut self, reason: &str) {
        setup::eventually("/healthz to say so", || health(&self.gate).0 == 503);
        let (_, body) = health(&self.gate);
        assert!(body.contains(reason), "{body}");

        let never = "INSERT INTO ran VALUES ('never')";
        let extended = |sql: &str| {
            [
                raw::parse("", sql, &[]),
                raw::bind("", "", &[], &[], &[]),
                raw::describe(b'P', ""),
                raw::execute("", 0),
            ]
            .concat()
        };
        let raw = &mut self.idle;
        for sql in [never, "SELECT 1", "COMMIT", "COPY ran FROM STDIN", "", "SELEC"] {
            assert_refused(&raw.query(sql), b'I');
        }
        assert_refused(&raw.query(&format!("{never}; {never}")), b'I');
        raw.send(&[extended(never), raw::sync()].concat());
        assert_refused(&raw.until_ready(), b'I');
        // One error for what stands before a Sync, and the next one is on its own.
        raw.send(
            &[extended(never), extended(never), raw::sync(), extended(never), raw::sync()].concat(),
        );
        assert_refused(&raw.until_ready(), b'I');
        assert_refused(&raw.until_ready(), b'I');
        // With Flush the error comes at once, and everything up to Sync is skipped.
        raw.send(&[raw::parse("never", never, &[]), raw::flush()].concat());
        let error = raw.read().expect("an error");
        assert_eq!((error.tag, error.sqlstate()), (b'E', "58030".to_owned()));
        raw.send(
            &[raw::bind("", "never", &[], &[], &[]), raw::execute("", 0), raw::sync()].concat(),
        );
        assert_eq!(tags(&raw.until_ready()), "Z");
        // int4pl
        raw.send(&raw::function_call(177, &[Some("1"), Some("2")]));
        assert_refused(&raw.until_ready(), b'I');
        raw.send(&raw::sync());
        assert_eq!(tags(&raw.until_ready()), "Z", "nothing runs, so nothing is refused");

        // Messages that are longer than what is looked at of them.
        let long = "x".repeat(20 << 20);
        assert_refused(&raw.query(&format!("INSERT INTO ran VALUES ('{long}')")), b'I');
        raw.send(
            &[
                raw::parse("", "INSERT INTO ran VALUES ($1)", &[25]),
                raw::bind("", "", &[], &[Some(&long.as_bytes()[..1 << 20])], &[]),
                raw::execute("", 0),
                raw::sync(),
            ]
            .concat(),
        );
        assert_refused(&raw.until_ready(), b'I');
        // More messages than are kept account of at once.
        raw.send(&[extended(never).repeat(5000), raw::sync()].concat());
        assert_refused(&raw.until_ready(), b'I');

        let run_prepared =
            [raw::bind("", "s", &[], &[Some(b"never")], &[]), raw::execute("", 0), raw::sync()];
        self.prepared.send(&run_prepared.concat());
        assert_refused(&self.prepared.until_ready(), b'I');
        // A name that is taken stays what it was.
        self.prepared.send(&[raw::parse("s", never, &[]), raw::sync()].concat());
        assert_refused(&self.prepared.until_ready(), b'I');

        let raw = &mut self.in_transaction;
        assert_refused(&raw.query(never), b'E');
        // From here on it is PostgreSQL that refuses: the transaction has failed.
        for sql in [never, "COMMIT"] {
            let replies = raw.query(sql);
            assert_eq!(tags(&replies), "EZ", "{sql}");
            assert!(matches!(replies[0].sqlstate().as_str(), "25P02" | "58030"));
            assert_eq!(replies[1].body, b"E", "{sql}");
        }

        // What was recorded and began before runs to its end.
        self.copying.send(&[raw::copy_data(b"copied\n"), raw::copy_done()].concat());
        assert_eq!(tags(&self.copying.until_ready()), "CZ");
        assert_refused(&self.copying.query(never), b'I');

        let target = self.gate.target();
        let parameters = [("database", target.database.as_str())];
        let refusal = Raw::refused(&target.address, &target.user, &target.password, &parameters);
        assert_eq!((refusal.severity(), refusal.sqlstate()), ("FATAL".into(), "58030".into()));
    }

    /// After the trouble is over, without anybody's doing.
    fn assert_resumes(&mut self, why: &str) {
        setup::eventually("/healthz to be well again", || health(&self.gate).0 == 200);
        assert_eq!(self.idle.value("SELECT 'idle lives'"), "idle lives");
        let run_prepared =
            [raw::bind("", "s", &[], &[Some(b"after")], &[]), raw::execute("", 0), raw::sync()];
        self.prepared.send(&run_prepared.concat());
        assert_eq!(tags(&self.prepared.until_ready()), "2CZ");
        let replies = self.in_transaction.query("COMMIT");
        assert_eq!(tags(&replies), "CZ");
        assert_eq!(replies[0].body, b"ROLLBACK\0");
        assert_eq!(self.gate.login().0.value("SELECT 'let in'"), "let in");
        let rows = self.database.login().psql("SELECT what FROM ran ORDER BY 1");
        assert_eq!(rows, "after\nbefore\ncopied", "of what was refused nothing ran");

        let records = records::all(&self.journal);
        let resumed = records::of_event(&records, "resumed");
        assert_eq!(resumed.len(), 1);
        assert!(records::text(resumed[0], "why").contains(why), "{}", resumed[0]);
        assert!(resumed[0]["since"].as_str() < resumed[0]["t"].as_str(), "{}", resumed[0]);
        let texts: Vec<&str> = records.iter().filter_map(|r| r["text"].as_str()).collect();
        assert!(texts.contains(&"SELECT 'idle lives'"));
        assert!(
            !texts.iter().any(|text| text.contains("'never'")),
            "what never ran is not recorded"
        );
        records::verify(&self.journal, &[]).unwrap_or_else(|fault| panic!("{fault}"));
    }

    /// All that ran is recorded, also what ran while it was found out that nothing can be.
    fn assert_large_are_recorded(&self, ran: usize) {
        let records = records::all(&self.journal);
        let large = records
            .iter()
            .filter(|r| r["text"].as_str().is_some_and(|text| text.contains("large")))
            .map(|r| (r["session"].clone(), r["id"].clone()));
        let large: Vec<_> = large.collect();
        let outcomes = records.iter().filter(|r| {
            records::is(r, "outcome")
                && r["tag"] == "SELECT 1"
                && large.contains(&(r["session"].clone(), r["id"].clone()))
        });
        assert_eq!(large.len(), ran);
        // Of the last one the outcome may have come when nothing could be written any more.
        assert!((ran - 1..=ran).contains(&outcomes.count()));
    }

    fn stop(mut self) {
        drop((self.idle, self.in_transaction, self.prepared, self.copying));
        self.gate.process.signal("TERM");
        assert!(self.gate.process.wait_exit().success());
        let said = records::verify(&self.journal, &[]).unwrap_or_else(|fault| panic!("{fault}"));
        assert!(said.starts_with("whole"), "{said}");
    }
}

fn health(gate: &Gate) -> (u16, String) {
    lifecycle::get(gate.process.http(), "/healthz")
}

fn tags(messages: &[Message]) -> String {
    messages.iter().map(|message| char::from(message.tag)).collect()
}

#[track_caller]
fn assert_refused(replies: &[Message], status: u8) {
    assert_eq!(tags(replies), "EZ", "{}", raw::show(replies));
    assert_eq!(replies[0].severity(), "ERROR");
    assert_eq!(replies[0].sqlstate(), "58030", "{}", raw::show(replies));
    assert!(replies[0].text().contains("Gatepost can't record"), "{}", replies[0].text());
    assert_eq!(replies[1].body, [status]);
}

/// The disk has room for one segment and not for a second.
#[test]
fn a_full_disk_in_strict_mode() {
    full_disk("strict");
}

#[test]
fn a_full_disk_in_relaxed_mode() {
    full_disk("relaxed");
}

fn full_disk(durability: &str) {
    let Some(small) = Small::make(260, 160) else { return };
    let mut stand = Stand::new(&small.point.join("journal"), durability);
    let ran = stand.use_up_segment();
    assert!(ran > 3, "{ran} statements ran on the first segment");
    stand.assert_refuses("No space left on device");
    std::fs::remove_file(small.ballast()).unwrap();
    stand.assert_resumes("No space left on device");
    stand.assert_large_are_recorded(ran);
    stand.stop();
}

/// Nothing can be made or renamed where the journal is. What is preallocated can be written, so
/// nobody notices before the segment ends.
#[test]
fn a_journal_that_became_read_only() {
    let database_of = e2e::Directory::new();
    let journal = database_of.join("journal");
    std::fs::create_dir(&journal).unwrap();
    let mut stand = Stand::new(&journal, "strict");
    let Some(cover) = ReadOnly::over(&journal) else { return };
    let ran = stand.use_up_segment();
    stand.assert_refuses("Read-only file system");
    drop(cover);
    stand.assert_resumes("Read-only file system");
    stand.assert_large_are_recorded(ran);
    stand.stop();
}

/// The disk fails while a COMMIT runs, whose outcome then can't be recorded: the reply is
/// withheld, and whoever waits for it is told to look.
#[test]
fn a_disk_that_fails_during_a_commit() {
    let Some(mut disk) = Disk::make() else { return };
    let journal = disk.point.join("journal");
    let mut stand = Stand::new(&journal, "strict");
    stand.database.login().psql(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql \
         AS 'BEGIN PERFORM pg_sleep(2); RETURN NULL; END'; \
         CREATE TABLE slowly (i int); GRANT ALL ON slowly TO public; \
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON slowly \
         DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let mut raw = records::login(&stand.gate, "commits");
    raw.query("BEGIN");
    raw.query("INSERT INTO slowly VALUES (1)");
    raw.send(&raw::query("COMMIT"));
    setup::eventually("the COMMIT to run", || {
        setup::activity(&stand.database, "query = 'COMMIT' AND state = 'active'") == 1
    });
    disk.cut();
    let last = raw.read().expect("last words");
    assert_eq!(
        (last.tag, last.severity(), last.sqlstate()),
        (b'E', "FATAL".into(), "58030".into())
    );
    assert!(last.text().contains("could not record what came of"), "{}", last.text());
    assert_eq!(raw.read(), None);
    stand.assert_refuses("Input/output error");

    stand.gate.process.kill9();
    disk.mount_again();
    stand.gate.process.restart();
    let records = records::all(&journal);
    let commits = records.iter().filter(|r| records::is(r, "statement") && r["text"] == "COMMIT");
    assert_eq!(commits.count(), 1, "the attempt is recorded, what came of it is not");
    assert!(!records.iter().any(|r| records::is(r, "outcome") && r["tag"] == "COMMIT"));
    super::load::assert_sessions_are_closed(&records);
    records::verify(&journal, &[]).unwrap();
    assert_eq!(stand.database.login().psql("SELECT count(*) FROM slowly"), "1");
    assert_eq!(stand.gate.login().0.value("SELECT 1"), "1");
}
