//! Clients that insert marks by every road that a statement can take, and remember whose replies
//! they have read. Each mark is used once, so what became of it can be looked up in the journal
//! and in the table.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use super::records::{self, Record};
use crate::raw::{self, Raw};
use crate::setup::{Dice, Target};

const CLIENTS: u64 = 6;

/// Makes the table of marks.
pub fn prepare(database: &e2e::Database) {
    database.login().psql("CREATE TABLE marks (mark text); GRANT ALL ON marks TO public");
}

/// The marks of all rows.
pub fn rows(database: &e2e::Database) -> HashSet<String> {
    let text = database.login().psql("SELECT mark FROM marks");
    text.lines().map(str::to_owned).collect()
}

pub struct Load {
    clients: Vec<JoinHandle<Seen>>,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    replies: AtomicU64,
}

/// What a client has read.
#[derive(Default)]
pub struct Seen {
    /// Marks whose statement succeeded, and when the client knew.
    pub marks: Vec<(String, Instant)>,
    pub commits: usize,
    /// SQLSTATEs of errors.
    pub errors: Vec<String>,
    pub application: String,
}

impl Load {
    /// `name` is part of every mark and different for every load of a test.
    pub fn start(target: &Target, name: &str, seed: u64) -> Load {
        let shared = Arc::new(Shared::default());
        let clients = (0..CLIENTS)
            .map(|number| {
                let application = format!("{name}c{number}");
                let mut client = Client {
                    raw: records::login_at(target, &application),
                    seen: Seen { application, ..Seen::default() },
                    next: 0,
                    shared: shared.clone(),
                };
                std::thread::spawn(move || {
                    client.run(&mut Dice(seed * CLIENTS + number));
                    client.seen
                })
            })
            .collect();
        Load { clients, shared }
    }

    /// Waits until so many statements have been answered.
    pub fn wait_for(&self, replies: u64) {
        crate::setup::eventually("the load to make progress", || {
            self.shared.replies.load(Ordering::Relaxed) >= replies
        });
    }

    /// Waits until the clients stop because the gateway is gone, or stops them.
    pub fn end(self) -> Vec<Seen> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.clients.into_iter().map(|client| client.join().expect("a client")).collect()
    }
}

struct Client {
    raw: Raw,
    seen: Seen,
    next: u64,
    shared: Arc<Shared>,
}

impl Client {
    fn run(&mut self, dice: &mut Dice) {
        let prepare = [raw::parse("s", "INSERT INTO marks VALUES ($1)", &[25]), raw::sync()];
        if !self.exchange(&prepare.concat(), &[]) {
            return;
        }
        while !self.shared.stop.load(Ordering::Relaxed) {
            let goes_on = match dice.below(6) {
                0 => self.simple(1),
                1 => self.simple(2),
                2 => self.prepared(1),
                3 => self.prepared(3),
                4 => self.transaction(dice.one_in(4)),
                _ => self.read(),
            };
            if !goes_on {
                return;
            }
        }
    }

    fn mark(&mut self) -> String {
        self.next += 1;
        format!("m-{}n{}", self.seen.application, self.next)
    }

    fn marks(&mut self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.mark()).collect()
    }

    fn simple(&mut self, count: usize) -> bool {
        let marks = self.marks(count);
        let sql: Vec<String> =
            marks.iter().map(|mark| format!("INSERT INTO marks VALUES ('{mark}')")).collect();
        self.exchange(&raw::query(&sql.join("; ")), &marks)
    }

    fn prepared(&mut self, count: usize) -> bool {
        let marks = self.marks(count);
        let mut bytes = Vec::new();
        for mark in &marks {
            bytes.extend(raw::bind("", "s", &[], &[Some(mark.as_bytes())], &[]));
            bytes.extend(raw::execute("", 0));
        }
        bytes.extend(raw::sync());
        self.exchange(&bytes, &marks)
    }

    fn transaction(&mut self, rolls_back: bool) -> bool {
        let end = if rolls_back { "ROLLBACK" } else { "COMMIT" };
        self.exchange(&raw::query("BEGIN"), &[])
            && self.simple(1)
            && self.prepared(1)
            && self.exchange(&raw::query(end), &[])
    }

    fn read(&mut self) -> bool {
        let mark = self.mark();
        self.exchange(&raw::query(&format!("SELECT '{mark}' FROM pg_class LIMIT 3")), &[mark])
    }

    /// Sends, and reads up to ReadyForQuery; `false` when the gateway has gone.
    fn exchange(&mut self, bytes: &[u8], marks: &[String]) -> bool {
        if self.raw.try_send(bytes).is_err() {
            return false;
        }
        let mut marks = marks.iter();
        while let Some(message) = self.raw.read() {
            match message.tag {
                b'C' if message.body == b"COMMIT\0" => self.seen.commits += 1,
                b'C' if matches!(&message.body[..], b"BEGIN\0" | b"ROLLBACK\0") => {}
                b'C' => {
                    let mark = marks.next().expect("a mark for every statement");
                    self.seen.marks.push((mark.clone(), Instant::now()));
                    self.shared.replies.fetch_add(1, Ordering::Relaxed);
                }
                b'E' => self.seen.errors.push(message.sqlstate()),
                b'Z' => return true,
                _ => {}
            }
        }
        false
    }
}

/// The marks that attempts in the journal are about.
pub fn recorded(records: &[Record]) -> HashSet<String> {
    let mut marks = HashSet::new();
    for record in records.iter().filter(|record| records::is(record, "statement")) {
        let text = record["text"].as_str().unwrap_or_default();
        marks.extend(text.split('\'').filter(|part| part.starts_with("m-")).map(str::to_owned));
        for parameter in record["parameters"].as_array().into_iter().flatten() {
            marks.extend(parameter["value"].as_str().map(str::to_owned));
        }
    }
    marks
}

/// Each session of the records has one beginning and one end, and nothing after it.
#[track_caller]
pub fn assert_sessions_are_closed(records: &[Record]) {
    let mut open = HashSet::new();
    let mut closed = HashSet::new();
    for record in records {
        let Some(session) = record["session"].as_str() else { continue };
        match records::text(record, "event") {
            "session_begins" => assert!(open.insert(session), "{session} begins twice"),
            "session_ends" => {
                assert!(open.remove(session), "{session} ends and was not open: {record}");
                closed.insert(session);
            }
            _ => assert!(open.contains(session), "{session} is not open: {record}"),
        }
    }
    assert!(open.is_empty(), "sessions without an end: {open:?}");
    assert!(!closed.is_empty());
}
