//! What a start makes of what it finds.

use super::*;

/// The length of the content after each head.
fn groups(path: &Path) -> Vec<usize> {
    let mut length = 0;
    let mut ends = Vec::new();
    for line in lines(path) {
        length += line.len();
        if String::from_utf8_lossy(&line).contains("\"event\":\"head\"") {
            ends.push(length);
        }
    }
    ends
}

/// A journal whose last group has several records, as `kill -9` leaves it; its head before that
/// group and the one after.
async fn killed(directory: &Directory) -> (Directory, Head, Head) {
    let (journal, _) = directory.open();
    record(&journal, &begins("s-1")).await.unwrap();
    record(&journal, &begins("s-2")).await.unwrap();
    let before = journal.head().unwrap();
    let mut batch = attempt(1, "UPDATE t SET a = 1");
    push_outcome(&mut batch, &context("s-1"), 1);
    record(&journal, &batch).await.unwrap();
    let after = journal.head().unwrap();
    (directory.copy(), before, after)
}

#[tokio::test]
async fn a_write_interrupted_at_any_byte_is_cut_and_the_chain_goes_on() {
    let directory = Directory::new();
    let (killed, before, after) = killed(&directory).await;
    let path = killed.last();
    let original = content(&path);
    let ends = groups(&path);
    let (start, end) = (ends[ends.len() - 2], ends[ends.len() - 1]);
    for length in start..=end {
        // The file may end there, or zeros may follow, or only a block in the middle is missing.
        for way in 0..3 {
            let copy = killed.copy();
            let mut torn = original[..length].to_vec();
            match way {
                0 => {}
                1 if length % 5 == 0 => torn.resize(end + 100, 0),
                1 => continue,
                _ if length + 64 >= end || length % 7 != 0 => continue,
                _ => {
                    torn = original.clone();
                    torn[length..length + 64].fill(0);
                }
            }
            fs::write(copy.last(), &torn).unwrap();
            let (journal, report) = copy.try_open(Some(&before)).unwrap();
            let whole = length == end;
            let cut = if whole {
                0
            } else if way == 2 {
                end - start
            } else {
                length - start
            };
            assert_eq!(report.cut_bytes, cut as u64, "{way} at {length}");
            assert_eq!(report.closed_sessions, ["s-1", "s-2"]);
            assert!(!report.clean && !report.new);
            if cut > 0 {
                let kept = fs::read(copy.0.join(&report.kept[0])).unwrap();
                assert_eq!(kept, &torn[start..start + cut]);
            }
            drop(journal);
            let events = wait_for_end(&copy).await;
            assert_eq!(events.contains(&"recovered".to_owned()), cut > 0);
            assert_eq!(events.contains(&"outcome".to_owned()), whole);
            assert!(copy.try_open(Some(&after)).is_err() != whole);
        }
    }
}

/// Dropping the last handle closes the journal on its own thread; opening waits for nobody.
async fn wait_for_end(directory: &Directory) -> Vec<String> {
    loop {
        match directory.try_open(None) {
            Ok((journal, report)) => {
                assert!(report.clean);
                journal.close().await.unwrap();
                directory.verify().unwrap();
                return directory.events();
            }
            Err(OpenError::InUse { .. }) => tokio::task::yield_now().await,
            Err(other) => panic!("{other}"),
        }
    }
}

/// The first start cuts and is refused by its disk before it can say so; the second one says so.
#[tokio::test]
async fn a_cut_is_told_of_even_if_the_start_that_made_it_failed() {
    let directory = Directory::new();
    let (killed, before, _) = killed(&directory).await;
    let mut torn = content(&killed.last());
    torn.truncate(torn.len() - 10);
    fs::write(killed.last(), &torn).unwrap();
    let outside = Outside::default();
    outside.faults.fail(crate::outside::Call::Write, u64::MAX);
    let failed = Journal::open_with(killed.options(), Some(&before), outside);
    assert!(matches!(failed, Err(OpenError::Io { .. })));

    let (journal, report) = killed.try_open(Some(&before)).unwrap();
    assert_eq!(report.kept.len(), 1, "{report:?}");
    journal.close().await.unwrap();
    killed.verify().unwrap();
    assert_eq!(killed.events().iter().filter(|event| *event == "recovered").count(), 1);
    let (_, report) = killed.open();
    assert!(report.kept.is_empty() && report.clean);
}

#[tokio::test]
async fn nothing_is_cut_up_to_the_anchored_head() {
    let directory = Directory::new();
    let (killed, _, after) = killed(&directory).await;
    let path = killed.last();
    let original = content(&path);
    for length in [original.len() - 1, original.len() / 2, 10, 0] {
        let copy = killed.copy();
        fs::write(copy.last(), &original[..length]).unwrap();
        let error = copy.try_open(Some(&after)).err().unwrap();
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert_eq!(content(&copy.last()), &original[..length], "nothing was touched");

        let options = Options { accept_damage: true, ..copy.options() };
        let (journal, report) = Journal::open(options, Some(&after)).unwrap();
        assert_eq!(report.accepted_damage.len(), 1);
        journal.close().await.unwrap();
        let accepted = copy.verify().unwrap().accepted_damage;
        assert_eq!(accepted[0].1, report.accepted_damage[0]);
        // And from then on it starts as usual.
        copy.try_open(None).unwrap();
    }
}

#[tokio::test]
async fn damage_before_the_last_group_is_no_torn_write_even_without_an_anchor() {
    let directory = Directory::new();
    let (killed, ..) = killed(&directory).await;
    let path = killed.last();
    let original = content(&path);
    let ends = groups(&path);
    let start_of_last = ends[ends.len() - 2];
    for at in (0..start_of_last).step_by(7) {
        let mut bytes = original.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let error = killed.try_open(None).err().unwrap_or_else(|| panic!("byte {at}"));
        assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("jsonl, line "), "{error}");
    }
    fs::write(&path, &original).unwrap();
    killed.try_open(None).unwrap();
}

#[tokio::test]
async fn sessions_that_were_open_before_the_last_segment_are_closed_too() {
    let directory = Directory::new();
    let options = Options { segment_bytes: 4096, ..directory.options() };
    let (journal, _) = Journal::open(options, None).unwrap();
    for session in ["s-1", "s-2", "s-3"] {
        record(&journal, &begins(session)).await.unwrap();
    }
    record(&journal, &ends("s-2")).await.unwrap();
    for id in 0..12 {
        record(&journal, &attempt(id, "SELECT 1")).await.unwrap();
    }
    record(&journal, &ends("s-3")).await.unwrap();
    let copy = directory.copy();
    let (journal, report) = copy.try_open(journal.head().as_ref()).unwrap();
    assert_eq!(report.closed_sessions, ["s-1"]);
    assert_eq!(report.cut_bytes, 0);
    record(&journal, &attempt(13, "SELECT 1")).await.unwrap();
    journal.close().await.unwrap();
    copy.verify().unwrap();
    let (_, report) = copy.open();
    assert!(report.closed_sessions.is_empty() && report.clean);
}

#[tokio::test]
async fn a_crash_while_sealing_leaves_nothing_that_is_believed_twice() {
    let directory = Directory::new();
    let options = Options { segment_bytes: 4096, ..directory.options() };
    let (journal, _) = Journal::open(options, None).unwrap();
    for id in 0..12 {
        record(&journal, &attempt(id, "SELECT 1")).await.unwrap();
    }
    let head = journal.close().await.unwrap();
    // Before the plain file is removed, before the sealed one has its name, before it is begun.
    for way in 0..3 {
        let copy = directory.copy();
        let sealed = copy.segments()[copy.segments().len() - 2].clone();
        let plain = sealed.with_extension("");
        let mut bytes = zstd::decode_all(&fs::read(&sealed).unwrap()[..]).unwrap();
        bytes.resize(4096, 0);
        fs::write(&plain, bytes).unwrap();
        if way > 0 {
            let half = sealed.with_extension("zst.tmp");
            fs::rename(&sealed, &half).unwrap();
            if way == 2 {
                fs::remove_file(&half).unwrap();
            }
        }
        copy.verify_against(Some(&head)).unwrap();
        let (journal, report) = copy.try_open(Some(&head)).unwrap();
        assert!(report.clean);
        journal.close().await.unwrap();
        assert!(sealed.exists() && !plain.exists());
        assert_eq!(copy.names().len(), directory.names().len());
        copy.verify_against(Some(&head)).unwrap();
    }
}

#[tokio::test]
async fn a_new_key_is_certified_by_the_old_one_or_refused() {
    let directory = Directory::new();
    let (journal, first) = directory.open();
    journal.close().await.unwrap();
    let old = directory.0.join("journal.key");
    let new = directory.0.join("new.key");
    let options = Options { key: new.clone(), ..directory.options() };
    let error = Journal::open(options.clone(), None).err().unwrap();
    assert!(matches!(error, OpenError::OtherKey), "{error}");

    let options = Options { previous_key: Some(old), ..options };
    let (journal, second) = Journal::open(options.clone(), None).unwrap();
    record(&journal, &attempt(1, "SELECT 1")).await.unwrap();
    let head = journal.close().await.unwrap();
    let report = directory.verify_against(Some(&head)).unwrap();
    assert_eq!(report.keys, [first.public_key, second.public_key]);
    // The old key is no longer one of ours, and no longer needed.
    assert!(matches!(directory.try_open(None), Err(OpenError::OtherKey)));
    let options = Options { previous_key: None, ..options };
    Journal::open(options, None).unwrap().0.close().await.unwrap();
    directory.verify().unwrap();
}

#[tokio::test]
async fn a_lost_key_is_damage() {
    let directory = Directory::new();
    journal_of(&directory, 1).await;
    fs::remove_file(directory.0.join("journal.key")).unwrap();
    assert!(matches!(directory.try_open(None), Err(OpenError::OtherKey)));
    let options = Options { accept_damage: true, ..directory.options() };
    let (journal, report) = Journal::open(options, None).unwrap();
    assert!(report.accepted_damage[0].contains("is lost"));
    journal.close().await.unwrap();
    directory.try_open(None).unwrap();
    let fault = directory.verify().unwrap_err();
    assert!(fault.reason.contains("another key"), "{fault}");
}

#[tokio::test]
async fn one_process_at_a_time_and_one_node() {
    let directory = Directory::new();
    let (journal, _) = directory.open();
    assert!(matches!(directory.try_open(None), Err(OpenError::InUse { .. })));
    journal.close().await.unwrap();
    let options = Options { node: "gate-2".to_owned(), ..directory.options() };
    let error = Journal::open(options, None).err().unwrap();
    assert!(matches!(&error, OpenError::Node { found } if found == "gate-1"), "{error}");
    for name in ["", "a b", "a+b", "a\"b", &"a".repeat(64)] {
        let options = Options { node: name.to_owned(), ..directory.options() };
        assert!(matches!(Journal::open(options, None), Err(OpenError::NodeName { .. })));
    }
}
