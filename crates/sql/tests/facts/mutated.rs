//! Statements taken apart and put together wrongly: whatever comes out ends in facts or in a
//! reason, without a panic, and soon.
//!
//! A test rather than a target of the fuzzer, since that would have to build PostgreSQL's grammar
//! once more, which takes minutes. It begins with the same seed every time; `GATEPOST_LONG=1`
//! goes on for some fifty times as long.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use sql::catalog::Catalog;
use sql::facts::NotUnderstood;
use sql::parse::Limits;
use sql::rewrite::{Disguises, Edit, Why, edited};
use sql::secrets::Patterns;

use crate::hostile::NAMES;
use crate::rewritten::{filtered, masked};
use crate::snapshot::snapshot;

/// How many texts are tried, and how many when there is time.
const TEXTS: u32 = 20_000;
const TEXTS_LONG: u32 = 1_000_000;

/// No text here is longer than this.
const BYTES_MAX: usize = 20_000;

/// For one of them, in a debug build on a busy machine.
const TIME_MAX: Duration = Duration::from_secs(5);

const WORDS: [&str; 64] = [
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    ",",
    ";",
    "*",
    ".",
    "::",
    "'",
    "''",
    "\"",
    "$1",
    "$$",
    "$a$",
    "--",
    "/*",
    "*/",
    "E'",
    "U&\"",
    "UESCAPE",
    "NULL",
    "ONLY",
    "LATERAL",
    "WITH",
    "RECURSIVE",
    "AS",
    "INSERT INTO",
    "UPDATE",
    "DELETE FROM",
    "MERGE INTO",
    "RETURNING",
    "ON CONFLICT DO NOTHING",
    "UNION ALL",
    "EXCEPT",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "FOR UPDATE",
    "JOIN",
    "USING",
    "NATURAL",
    "ROWS FROM",
    "VALUES",
    "TABLE",
    "ARRAY",
    "[",
    "]",
    "ROW",
    "CASE",
    "WHEN",
    "END",
    "IN",
    "ANY",
    "BETWEEN",
    "COLLATE",
    "OVER",
    "FILTER",
    "WITHIN GROUP",
    "JSON_TABLE",
    "XMLTABLE",
    "customers",
    "c",
];

#[test]
fn mutated_text_ends_in_facts_or_a_reason() {
    let long = std::env::var_os("GATEPOST_LONG").is_some();
    let corpus = corpus();
    assert!(corpus.len() > 800, "{}", corpus.len());
    let catalog = snapshot();
    let mut disguises = Disguises::new();
    for column in ["customers.ssn", "customers.name", "orders.note", "people.mail", "people.ssn"] {
        masked(&catalog, &format!("app.{column}"), &mut disguises);
    }
    filtered(&catalog, "app.items {product} <> 'x'", &mut disguises);
    filtered(&catalog, "app.orders {total} > 1", &mut disguises);
    let (limits, patterns) = (Limits::default(), Patterns::new(["pin"]));
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    let (mut parsed, mut understood, mut rewritten) = (0, 0, 0);
    let mut refused = BTreeMap::<&str, u32>::new();
    for _ in 0..if long { TEXTS_LONG } else { TEXTS } {
        let text = mutated(&corpus, &mut chance);
        let begins = Instant::now();
        for statement in sql::statements(&text, &catalog, &NAMES, &limits).unwrap_or_default() {
            parsed += 1;
            match statement.facts {
                Ok(_) => understood += 1,
                Err(NotUnderstood::Unvisited) => panic!("lost its way: {text}"),
                Err(NotUnderstood::Construct(what)) => *refused.entry(what).or_default() += 1,
                // Names that aren't there.
                Err(_) => {}
            }
        }
        for statement in
            sql::disguised(&text, &catalog, &NAMES, &limits, &disguises).unwrap_or_default()
        {
            match statement.understood {
                Ok((_, Ok(ours))) if !ours.edits.is_empty() => {
                    rewritten += 1;
                    check(&text, &catalog, &statement.place, &ours.edits);
                }
                Ok((_, Err(no))) => assert_ne!(no.why, Why::Unlocated, "lost a place: {text}"),
                _ => {}
            }
        }
        // What reads any text, also such as has no facts.
        let _pieces = sql::split::statements(&text);
        let _without_secrets = sql::secrets::redact(&text, &patterns);
        assert!(begins.elapsed() < TIME_MAX, "{:?}: {text}", begins.elapsed());
    }
    println!("{parsed} parsed, {understood} understood; refused: {refused:?}");
    assert!(parsed > 2_000 && understood > 500, "{parsed}, {understood}");
    assert!(rewritten > 150, "{rewritten}");
}

/// Edits stand in their statement, one behind the other, and leave what is a statement still.
fn check(text: &str, catalog: &Catalog, place: &Range<usize>, edits: &[Edit]) {
    let mut from = place.start;
    for edit in edits {
        assert!(
            edit.place.start >= from && edit.place.end >= edit.place.start,
            "{edits:?}: {text}"
        );
        from = edit.place.end;
    }
    assert!(from <= place.end, "{edits:?}: {text}");
    let after = edited(text, edits);
    let count = |text: &str| sql::split::statements(text).map(|pieces| pieces.len()).ok();
    assert_eq!(count(&after), count(text), "{after}");
    let parsed = sql::statements(&after, catalog, &NAMES, &Limits::default());
    assert!(parsed.is_ok(), "{parsed:?}\n{text}\n{after}");
}

/// Every statement that the tests of this crate have.
fn corpus() -> Vec<String> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts = Vec::new();
    for (directory, end) in [
        ("facts", ";\n"),
        ("server", ";\n"),
        ("server/programs/both", "\n--\n"),
        ("server/programs/15", "\n--\n"),
        ("server/programs/18", "\n--\n"),
    ] {
        let mut files: Vec<_> =
            std::fs::read_dir(tests.join(directory)).unwrap().map(|e| e.unwrap().path()).collect();
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "sql")) {
            let text = std::fs::read_to_string(file).unwrap();
            texts.extend(text.split(end).map(|text| text.trim().to_owned()));
        }
    }
    let mut files: Vec<_> = std::fs::read_dir(tests.join("facts/rewritten"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        let own: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("> ")).collect();
        // Oftener than others, for these are rewritten.
        texts.extend(own.repeat(5).into_iter().map(str::to_owned));
    }
    texts.retain(|text| !text.is_empty() && text.len() < BYTES_MAX / 4);
    texts
}

fn mutated(corpus: &[String], chance: &mut Chance) -> String {
    let mut text = chance.of(corpus).clone().into_bytes();
    // Most stay near enough to be parsed.
    let mutations = [1, 1, 1, 2, 5];
    for _ in 0..*chance.of(&mutations) {
        let at = chance.below(text.len() + 1);
        let end = at + chance.below(40).min(text.len() - at);
        match chance.below(10) {
            0 => drop(text.drain(at..end)),
            1 => {
                let byte = u8::try_from(chance.below(256)).unwrap();
                text.insert(at, byte);
            }
            2 => text.truncate(at),
            3 | 4 => {
                let word = format!(" {} ", chance.of(&WORDS));
                text.splice(at..end, word.into_bytes());
            }
            5 => {
                let piece = text[at..end].repeat(chance.below(30));
                text.splice(at..at, piece);
            }
            6 => {
                let other = chance.of(corpus).as_bytes();
                let from = chance.below(other.len());
                text.splice(at..end, other[from..].iter().copied());
            }
            _ => {
                // One word in the place of another, so that it is likely to be read.
                let words: Vec<&[u8]> = text.split(|byte| *byte == b' ').collect();
                let (one, other) = (chance.below(words.len()), chance.below(words.len()));
                let mut words = words.clone();
                words.swap(one, other);
                text = words.join(&b' ');
            }
        }
        text.truncate(BYTES_MAX);
    }
    String::from_utf8_lossy(&text).into_owned()
}

/// A xorshift generator: the same texts on every machine.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end.max(1)).unwrap()).unwrap()
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}
