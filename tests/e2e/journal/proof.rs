//! What strangers and operators do with a journal: prove it, tamper with it, start on it all the
//! same, read it with `show`, `tail` and tools that never heard of Gatepost.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use e2e::{Directory, Gatepost};
use serde_json::Value;

use super::records::{self, Record, audit, is, login, number};
use crate::raw;
use crate::setup::{self, Gate, Plan};

/// A gateway that was stopped in order, and its journal of some sessions.
fn stopped() -> (e2e::Database, Gate) {
    let database = setup::database();
    let mut gate = Plan::gateway(&database).top("journal: { anchor: anchored-head }").start();
    for session in 0..3 {
        let mut raw = login(&gate, "a session");
        for statement in 0..4 {
            raw.query(&format!("SELECT 'statement {session}.{statement}'"));
        }
    }
    stop(&mut gate);
    (database, gate)
}

fn stop(gate: &mut Gate) {
    gate.process.signal("TERM");
    assert!(gate.process.wait_exit().success());
}

/// A copy that can be changed.
struct Copy {
    directory: Directory,
}

impl Copy {
    fn of(journal: &Path) -> Copy {
        let directory = Directory::new();
        for entry in fs::read_dir(journal).unwrap().map(Result::unwrap) {
            fs::copy(entry.path(), directory.join(entry.file_name())).unwrap();
        }
        Copy { directory }
    }

    fn segment(&self) -> PathBuf {
        records::segments(&self.directory).remove(0)
    }

    /// Changes the first segment's lines, each with its newline.
    fn change(&self, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
        change_lines(&self.segment(), change);
    }

    /// That it is not whole any more: what is said of the place.
    #[track_caller]
    fn assert_not_whole(&self, more: &[&str], place: &str) {
        match records::verify(&self.directory, more) {
            Ok(said) => panic!("said to be whole: {said}"),
            Err(said) => {
                assert!(said.contains("NOT WHOLE"), "{said}");
                assert!(said.contains(place), "{place:?} is not named: {said}");
            }
        }
    }
}

fn change_lines(segment: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let length = fs::metadata(segment).unwrap().len();
    let mut lines: Vec<Vec<u8>> =
        records::written(segment).split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    change(&mut lines);
    let mut bytes = lines.concat();
    bytes.resize(usize::try_from(length).unwrap(), 0);
    fs::write(segment, bytes).unwrap();
}

/// Where a record stands in its segment, of those that say something.
fn index_of(lines: &[Vec<u8>], text: &str) -> usize {
    let found = lines.iter().position(|line| String::from_utf8_lossy(line).contains(text));
    found.unwrap_or_else(|| panic!("no record with {text:?}"))
}

#[test]
fn a_stranger_changes_a_copy() {
    let (_database, gate) = stopped();
    let journal = records::directory(&gate);
    let anchor = gate.process.place.directory.join("anchored-head").display().to_string();
    let with_anchor = ["--checkpoint", anchor.as_str()];

    let untouched = Copy::of(&journal);
    let said = records::verify(&untouched.directory, &[]).unwrap();
    assert!(said.starts_with("whole") && said.contains("no checkpoint"), "{said}");
    let said = records::verify(&untouched.directory, &with_anchor).unwrap();
    assert!(said.contains("the checkpoint vouches for record"), "{said}");

    // Record n is line n: there is one segment.
    let what = "'statement 1.2'";
    let copy = Copy::of(&journal);
    let mut place = 0;
    copy.change(|lines| {
        place = index_of(lines, what);
        let at = String::from_utf8_lossy(&lines[place]).find(what).unwrap();
        lines[place][at + 1] ^= 0x20;
    });
    // A line that was changed shows where the next one, or a head, speaks of it.
    let named = format!("line {}", place + 2);
    copy.assert_not_whole(&[], &named);
    copy.assert_not_whole(&with_anchor, &named);

    let copy = Copy::of(&journal);
    copy.change(|lines| drop(lines.remove(place)));
    copy.assert_not_whole(&[], &format!("line {}, record {}", place + 1, place + 1));
    let copy = Copy::of(&journal);
    copy.change(|lines| lines.insert(place, lines[place].clone()));
    copy.assert_not_whole(&[], &format!("line {}", place + 2));
    let copy = Copy::of(&journal);
    copy.change(|lines| lines.swap(place, place + 1));
    copy.assert_not_whole(&[], &format!("line {}, record {}", place + 1, place + 1));

    // The tail is cut behind a signed head: only who has a later head can know.
    let copy = Copy::of(&journal);
    copy.change(|lines| {
        let is_head = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("\"event\":\"head\"");
        let head = (0..lines.len() - 1).rev().find(|at| is_head(&lines[*at])).unwrap();
        lines.truncate(head + 1);
    });
    let said = records::verify(&copy.directory, &[]).unwrap();
    assert!(said.contains("a missing tail would not be noticed"), "{said}");
    copy.assert_not_whole(&with_anchor, "");

    // A head that somebody else signed, or that is of another journal.
    let (_other_database, other) = stopped();
    let foreign = other.process.place.directory.join("anchored-head").display().to_string();
    untouched.assert_not_whole(&["--checkpoint", &foreign], "");
}

#[test]
fn the_gateway_does_not_start_on_damage_and_says_how_to() {
    let (_database, mut gate) = stopped();
    let journal = records::directory(&gate);
    // From here on records can be cut, and it has to be noticed; a torn tail is a crash's doing.
    let segment = records::segments(&journal).remove(0);
    change_lines(&segment, |lines| {
        let place = index_of(lines, "'statement 0.1'");
        let at = String::from_utf8_lossy(&lines[place]).find("'statement").unwrap();
        lines[place][at + 1] ^= 0x20;
    });
    let said_before = gate.log().len();
    assert!(!gate.process.try_restart(&[]), "it starts on a damaged journal");
    assert!(!gate.process.wait_exit().success());
    let log = gate.log().split_off(said_before);
    assert!(log.contains("--accept-damage") && log.contains("gatepost audit verify"), "{log}");
    assert!(log.contains(segment.file_name().unwrap().to_str().unwrap()), "{log}");

    assert!(gate.process.try_restart(&["--accept-damage"]), "damage is accepted");
    assert_eq!(login(&gate, "on damage").value("SELECT 'on'"), "on");
    stop(&mut gate);
    let text = records::segments(&journal)
        .iter()
        .map(|segment| String::from_utf8_lossy(&records::written(segment)).into_owned())
        .collect::<String>();
    let accepted: Vec<Record> = text
        .lines()
        .filter(|line| line.contains("\"event\":\"damage_accepted\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    // The place, and what is missing because of it.
    assert!((1..=2).contains(&accepted.len()), "{accepted:#?}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(records::text(&accepted[0], "damage").contains(name), "{}", accepted[0]);
    assert!(text.contains("SELECT 'on'"));
    // Nobody reads from here on that nothing happened.
    let said = records::verify(&journal, &[]).unwrap_or_else(|said| said);
    assert!(said.contains("damage"), "{said}");
    // Once is enough.
    assert!(gate.process.try_restart(&[]), "it starts on what was accepted before");
}

/// The tail is cut while the gateway stands still. The state file knows better.
#[test]
fn the_gateway_does_not_start_without_its_tail() {
    let (_database, gate) = stopped();
    cut_tail_and_start(gate);
}

/// Whoever can change both has still to reach the anchor.
#[test]
fn the_gateway_does_not_start_without_its_tail_and_its_state_file() {
    let (_database, gate) = stopped();
    for entry in fs::read_dir(&*gate.process.place.directory).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().starts_with("gatepost.db") {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    cut_tail_and_start(gate);
}

fn cut_tail_and_start(mut gate: Gate) {
    let segment = records::segments(&records::directory(&gate)).remove(0);
    change_lines(&segment, |lines| {
        let head = |line: &Vec<u8>| String::from_utf8_lossy(line).contains("\"event\":\"head\"");
        let at = lines.iter().position(head).unwrap();
        lines.truncate(at + 1);
    });
    assert!(!gate.process.try_restart(&[]));
    assert!(gate.log().contains("was anchored"), "{}", gate.log());
    assert!(gate.process.try_restart(&["--accept-damage"]));
}

/// Nor on nothing, where there was a journal.
#[test]
fn the_gateway_does_not_start_on_an_empty_directory_after_a_journal() {
    let (_database, mut gate) = stopped();
    fs::remove_dir_all(records::directory(&gate)).unwrap();
    assert!(!gate.process.try_restart(&[]));
    assert!(gate.log().contains("--accept-damage"), "{}", gate.log());
}

/// A new key is certified by the one before it, or the gateway does not start.
#[test]
fn the_key_changes_hands() {
    let database = setup::database();
    let plan = Plan::gateway(&database);
    let mut gate = plan.start();
    let journal = records::directory(&gate);
    let first = records::of_event(&records::all(&journal), "journal_begins")[0]["key"].clone();
    stop(&mut gate);
    let configure = |gate: &Gate, keys: &str| {
        let path = gate.process.place.directory.join("gatepost.yaml");
        let text = fs::read_to_string(&path).unwrap();
        let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("journal:")).collect();
        fs::write(path, format!("journal: {{ {keys} }}\n{}\n", rest.join("\n"))).unwrap();
    };
    configure(&gate, "key: new.key");
    assert!(!gate.process.try_restart(&[]), "another key, and nobody vouches for it");
    assert!(gate.log().contains("signed with another key"), "{}", gate.log());
    configure(&gate, "key: new.key, previous_key: journal/journal.key");
    gate.process.restart();
    assert_eq!(login(&gate, "later").value("SELECT 1"), "1");
    stop(&mut gate);
    // The old key is not needed any more.
    fs::remove_file(journal.join("journal.key")).unwrap();
    configure(&gate, "key: new.key");
    gate.process.restart();

    let all = records::all(&journal);
    let changed = records::of_event(&all, "key_changed");
    assert_eq!(changed.len(), 1);
    let (first, second) = (first.as_str().unwrap(), records::text(changed[0], "key"));
    let said = records::verify(&journal, &["--key", first]).unwrap();
    assert!(said.contains(&format!("signed by {first}\nsigned by {second}\n")), "{said}");
    assert!(records::verify(&journal, &["--key", second]).is_err(), "it did not begin with that");
}

/// What a crash leaves at the end of the file is cut, kept, and said.
#[test]
fn a_torn_end_is_cut_and_kept() {
    let (_database, mut gate) = stopped();
    let journal = records::directory(&gate);
    let segment = records::segments(&journal).remove(0);
    let torn = br#"{"v":1,"n":9999,"t":"half a li"#;
    change_lines(&segment, |lines| lines.push(torn.to_vec()));
    gate.process.restart();
    let all = records::all(&journal);
    let recovered = records::of_event(&all, "recovered");
    assert_eq!(recovered.len(), 1);
    assert_eq!(number(recovered[0], "cut_bytes"), torn.len() as u64);
    let kept = fs::read(journal.join(records::text(recovered[0], "kept"))).unwrap();
    assert_eq!(kept, torn);
    records::verify(&journal, &[]).unwrap();
}

/// Two gateways on one journal would be two chains.
#[test]
fn a_journal_has_one_gateway() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let journal = records::directory(&gate);
    let config = gate.process.place.directory.join("second.yaml");
    let text = fs::read_to_string(gate.process.place.directory.join("gatepost.yaml")).unwrap();
    let own_ports: Vec<String> = text
        .lines()
        .map(|line| match line.split_once(':').map(|(key, _)| key) {
            Some("listen") => format!("listen: [\"127.0.0.1:{}\"]", setup::closed_port()),
            Some("http") => format!("http: 127.0.0.1:{}", setup::closed_port()),
            Some("state") => "state: second.db".to_owned(),
            _ => line.to_owned(),
        })
        .collect();
    fs::write(&config, own_ports.join("\n")).unwrap();
    let output = Gatepost::program().args(["serve", "-c"]).arg(&config).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("used by another process"), "{said}");
    assert_eq!(login(&gate, "goes on").value("SELECT 1"), "1");
    records::verify(&journal, &[]).unwrap();
}

/// A running gateway's journal can be proven, too.
#[test]
fn a_journal_is_proven_while_it_is_written() {
    let database = setup::database();
    super::load::prepare(&database);
    let gate = Plan::gateway(&database).start();
    let load = super::load::Load::start(&gate.target(), "v", 1);
    for round in 1..=10 {
        load.wait_for(round * 50);
        records::verify(&records::directory(&gate), &[]).unwrap_or_else(|fault| panic!("{fault}"));
    }
    let seen = load.end();
    assert!(seen.iter().all(|seen| seen.errors.is_empty()));
}

/// A sealed segment and a plain one, as a tool that knows JSON and nothing of Gatepost reads them.
#[test]
fn duckdb_reads_plain_and_sealed_segments() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let journal = records::directory(&gate);
    let mut raw = login(&gate, "many");
    raw.query("SELECT 'first'");
    let large = format!("SELECT length('{}')", "x".repeat(8 << 20));
    setup::eventually("a segment to be sealed", || {
        raw.query(&large);
        records::segments(&journal)[0].extension().is_some_and(|extension| extension == "zst")
    });
    raw.query("SELECT 'last'");
    records::ended(&gate, raw, "many");
    let script = r#"
import duckdb, glob, sys
for pattern in ("*.jsonl.zst", "*.jsonl"):
    files = sorted(glob.glob(sys.argv[1] + "/" + pattern))
    if pattern == "*.jsonl":
        # Zeros follow the last line of the segment that is written to.
        text = b"".join(open(f, "rb").read() for f in files).rstrip(b"\0")
        open(sys.argv[2], "wb").write(text)
        files = [sys.argv[2]]
    rows = duckdb.execute("""
        SELECT text FROM read_json(?, format = 'newline_delimited', union_by_name = true,
                                   maximum_object_size = 70000000)
        WHERE event = 'statement' AND verdict = 'allow' AND identity.subject = 'agent-7'
          AND length(text) < 100 ORDER BY n
    """, [files]).fetchall()
    print(pattern, [text for text, in rows])
"#;
    let scratch = Directory::new();
    let output = Command::new(e2e::python())
        .args(["-c", script])
        .args([journal.as_os_str(), scratch.join("plain.jsonl").as_os_str()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(said, "*.jsonl.zst [\"SELECT 'first'\"]\n*.jsonl [\"SELECT 'last'\"]\n");
    records::verify(&journal, &[]).unwrap();
}

#[test]
fn show_filters() {
    let database = setup::database();
    let gate = Plan::gateway(&database).and(&Plan::gateway(&database).named("other")).start();
    let journal = records::directory(&gate);
    let mut one = login(&gate, "one");
    one.query("SELECT 'of one'");
    let one = records::ended(&gate, one, "one");
    let second = gate.process.token("agent-8");
    let target = setup::Target {
        user: "agent-8".to_owned(),
        password: second,
        database: "other".to_owned(),
        ..gate.target()
    };
    let mut two = records::login_at(&target, "two");
    two.query("SELECT 'of two'");
    let two = records::ended(&gate, two, "two");

    let show = |filter: &[&str]| -> Vec<Record> {
        let output = audit("show", &journal, &[filter, &["--json"]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let session = |records: &[Record]| records::text(&records[0], "session").to_owned();
    let (first, second) = (session(&one), session(&two));
    assert_eq!(show(&["--identity", setup::AGENT]), one);
    assert_eq!(show(&["--identity", "gatepost|agent-8"]), two);
    assert_eq!(show(&["--identity", "elsewhere|agent-8"]), Vec::<Value>::new());
    assert_eq!(show(&["--connection", "other"]), two);
    assert_eq!(show(&["--session", &first]), one);
    assert_eq!(show(&["--session", &second, "--identity", setup::AGENT]), Vec::<Value>::new());
    let allowed = show(&["--verdict", "allow"]);
    assert_eq!(allowed.len(), 2);
    assert!(allowed.iter().all(|record| is(record, "statement")));
    assert_eq!(show(&["--verdict", "refuse"]), Vec::<Value>::new());
    let between = records::text(&two[0], "t");
    let since = show(&["--since", between, "--connection", "other"]);
    assert_eq!(since, two);
    let until = show(&["--until", between]);
    assert!(until.iter().all(|record| record["session"] != second.as_str()));
    assert!(until.iter().any(|record| record["session"] == first.as_str()));
    // All of it, without the heads, and for people a line each.
    let all = show(&[]);
    let expected: Vec<Record> =
        records::all(&journal).into_iter().filter(|record| !is(record, "head")).collect();
    assert_eq!(all, expected);
    let output = audit("show", &journal, &["--session", &first]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), one.len());
    assert!(
        text.contains("allow query: SELECT 'of one'") && text.contains("SELECT 1 in"),
        "{text}"
    );

    let output = audit("show", &journal.join("nowhere"), &[]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn tail_follows_over_a_new_segment() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let journal = records::directory(&gate);
    let mut raw = login(&gate, "followed");
    let (_tail, lines) = tail(&journal, &["--json", "--verdict", "allow"]);
    // Until it follows, nothing is seen.
    setup::eventually("the tail to follow", || {
        raw.query("SELECT 'begin'");
        lines.try_recv().is_ok()
    });
    raw.query("SELECT 'then'");
    let large = format!("SELECT length('{}')", "x".repeat(7 << 20));
    setup::eventually("a second segment", || {
        raw.query(&large);
        records::segments(&journal).len() > 1
    });
    raw.query("SELECT 'last'");
    let mut texts: Vec<String> = Vec::new();
    while texts.last().is_none_or(|text| text != "SELECT 'last'") {
        let line = lines.recv_timeout(raw::PATIENCE).expect("a line");
        let record: Record = serde_json::from_str(&line).unwrap();
        texts.push(records::text(&record, "text").to_owned());
    }
    let session = records::ended(&gate, raw, "followed");
    let statements: Vec<&str> = session
        .iter()
        .filter(|record| is(record, "statement"))
        .map(|record| records::text(record, "text"))
        .collect();
    assert_eq!(texts, statements[statements.len() - texts.len()..], "in order, and none left out");
}

/// However long a record is, the tail gets past it.
#[test]
fn tail_shows_a_record_of_16_mib() {
    let database = setup::database();
    let gate = Plan::gateway(&database).start();
    let mut raw = login(&gate, "followed");
    let (_tail, lines) = tail(&records::directory(&gate), &["--verdict", "allow"]);
    setup::eventually("the tail to follow", || {
        raw.query("SELECT 'begin'");
        lines.try_recv().is_ok()
    });
    raw.query(&format!("SELECT length('{}')", "x".repeat((16 << 20) - 100)));
    raw.query("SELECT 'behind it'");
    let line = e2e::wait_for("what stands behind it", || {
        lines.try_iter().find(|line| line.contains("behind it"))
    });
    assert!(line.contains("allow query"), "{line}");
}

/// A `gatepost audit tail`, which never ends by itself, and the lines that it prints.
struct Tail(Child);

impl Drop for Tail {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn tail(directory: &Path, filter: &[&str]) -> (Tail, Receiver<String>) {
    let mut tail = Gatepost::program();
    tail.args(["audit", "tail"]).arg(directory).args(filter).stdout(Stdio::piped());
    let mut tail = Tail(tail.spawn().expect("gatepost runs"));
    let output = tail.0.stdout.take().expect("a pipe");
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (tail, lines)
}
