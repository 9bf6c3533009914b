//! What is changed is found, and its place is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine as _;
use proptest::prelude::*;

use super::*;
use crate::verify::Journal as Proof;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[tokio::test]
async fn what_was_recorded_is_proven() {
    let directory = Directory::new();
    let head = journal_of(&directory, 3).await;
    let report = directory.verify_against(Some(&head)).unwrap();
    assert_eq!((report.first, report.last, report.unsigned), (1, head.number + 1, 0));
    assert_eq!(report.checkpoint, Some(head.number));
    assert_eq!(report.head, head);
    assert_eq!(report.keys.len(), 1);
    let events = directory.events();
    assert_eq!(
        events,
        ["journal_begins", "started", "statement", "statement", "statement", "stopped"]
    );
}

#[test]
fn each_flipped_byte_is_found_where_it_is() {
    let directory = Directory::new();
    runtime().block_on(journal_of(&directory, 2));
    let path = directory.last();
    let original = content(&path);
    for flip in [0x01, 0x20, 0x80] {
        for at in 0..original.len() + 2 {
            let mut bytes = original.clone();
            bytes.resize(original.len() + 2, 0);
            bytes[at] ^= flip;
            fs::write(&path, &bytes).unwrap();
            let fault = directory.verify().expect_err(&format!("byte {at} flipped by {flip}"));
            let line = original.iter().take(at).filter(|byte| **byte == b'\n').count() as u64 + 1;
            assert_eq!(fault.file, path);
            // What a line says of the one before it can be wrong in either; and a head that no
            // longer says that it is one leaves the record before it unsigned.
            let near = line - 1..=line + 1;
            assert!(near.contains(&fault.line), "byte {at} of line {line}: {fault}");
        }
    }
    fs::write(&path, &original).unwrap();
    directory.verify().unwrap();
}

#[tokio::test]
async fn lines_swapped_dropped_and_doubled_are_found() {
    let directory = Directory::new();
    let head = journal_of(&directory, 3).await;
    let path = directory.last();
    let lines = lines(&path);
    for index in 0..lines.len() {
        let mut dropped = lines.clone();
        dropped.remove(index);
        fs::write(&path, dropped.concat()).unwrap();
        let fault = directory.verify_against(Some(&head)).expect_err("dropped");
        assert!(fault.number.abs_diff(index as u64 + 1) <= 1, "{index}: {fault}");

        let mut doubled = lines.clone();
        doubled.insert(index, lines[index].clone());
        fs::write(&path, doubled.concat()).unwrap();
        let fault = directory.verify().expect_err("doubled");
        assert_eq!(fault.line, index as u64 + 2, "{fault}");

        if index + 1 < lines.len() {
            let mut swapped = lines.clone();
            swapped.swap(index, index + 1);
            fs::write(&path, swapped.concat()).unwrap();
            let fault = directory.verify().expect_err("swapped");
            assert_eq!(fault.line, index as u64 + 1, "{fault}");
        }
    }
}

#[tokio::test]
async fn a_cut_tail_is_found_with_a_checkpoint_and_not_without() {
    let directory = Directory::new();
    let head = journal_of(&directory, 3).await;
    let path = directory.last();
    let lines = lines(&path);
    let mut heads = 0;
    for count in 1..lines.len() {
        fs::write(&path, lines[..count].concat()).unwrap();
        let fault = directory.verify_against(Some(&head)).expect_err("a missing tail");
        let whole_group = lines[count - 1].windows(14).any(|part| part == b"\"event\":\"head\"");
        assert_eq!(directory.verify().is_ok(), whole_group);
        assert_eq!(fault.reason.contains("tail is missing"), whole_group, "{fault}");
        heads += u32::from(whole_group);
    }
    assert_eq!(heads, 4);
}

/// Three sealed segments and a plain one.
async fn several_segments(directory: &Directory) -> Head {
    let options = Options { segment_bytes: 4096, ..directory.options() };
    let (journal, _) = Journal::open(options, None).unwrap();
    for id in 0..12 {
        record(&journal, &attempt(id, "SELECT 1")).await.unwrap();
    }
    let head = journal.close().await.unwrap();
    let segments = directory.segments();
    assert!(segments.len() >= 4, "{segments:?}");
    assert!(segments.iter().rev().skip(1).all(|path| path.extension().unwrap() == "zst"));
    head
}

#[tokio::test]
async fn a_removed_segment_is_missed() {
    let directory = Directory::new();
    let head = several_segments(&directory).await;
    let report = directory.verify_against(Some(&head)).unwrap();
    assert_eq!(report.segments, directory.segments().len());
    for path in directory.segments() {
        let copy = directory.copy();
        let removed = copy.0.join(path.file_name().unwrap());
        fs::remove_file(&removed).unwrap();
        copy.verify_against(Some(&head)).expect_err("a missing segment");
        match copy.try_open(Some(&head)) {
            Err(OpenError::Damaged { .. }) => {}
            Ok(_) => panic!("it starts without {removed:?}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[tokio::test]
async fn sealed_segments_are_proven_alone_and_when_flipped() {
    let directory = Directory::new();
    several_segments(&directory).await;
    let path = directory.segments()[1].clone();
    let proof = Proof::of_files(std::slice::from_ref(&path)).unwrap();
    let first = verify(&proof, None, None, &mut |_| {}).unwrap().first;
    assert!(first > 1);
    let original = fs::read(&path).unwrap();
    let plain = zstd::decode_all(&original[..]).unwrap();
    for at in 0..original.len() {
        let mut bytes = original.clone();
        bytes[at] ^= 0x10;
        fs::write(&path, &bytes).unwrap();
        // Some bits of the frame change nothing of what is in it.
        let same = zstd::decode_all(&bytes[..]).is_ok_and(|content| content == plain);
        assert_eq!(directory.verify().is_ok(), same, "byte {at}");
    }
}

#[tokio::test]
async fn checkpoints_forged_and_replayed_are_rejected() {
    let (directory, other) = (Directory::new(), Directory::new());
    let head = journal_of(&directory, 3).await;
    let foreign = journal_of(&other, 3).await;
    let reason = |checkpoint: &Head| directory.verify_against(Some(checkpoint)).unwrap_err().reason;

    // Another journal's head at the same number, a changed number, a changed text.
    assert!(reason(&foreign).contains("another record"));
    let note =
        head.note.replace(&format!("\n{}\n", head.number), &format!("\n{}\n", head.number + 9));
    assert!(reason(&note.parse().unwrap()).contains("not signed with a key"));
    let mut forged: Head = head.note.replace("time 2", "time 3").parse().unwrap();
    assert!(reason(&forged).contains("not signed with a key"));
    forged.origin = "gatepost/gate-2".to_owned();
    assert!(reason(&forged).contains("of node `gate-2`"));

    // An old one vouches for less, and the journal goes on after it.
    let (journal, _) = directory.open();
    record(&journal, &attempt(9, "SELECT 9")).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(directory.verify_against(Some(&head)).unwrap().checkpoint, Some(head.number));
    assert!("gatepost/gate-1\n1\nx\n".parse::<Head>().is_err());
}

#[tokio::test]
async fn a_journal_written_anew_with_another_key_is_told_by_key_and_checkpoint() {
    let (directory, forged) = (Directory::new(), Directory::new());
    let (journal, report) = directory.open();
    let head = journal.close().await.unwrap();
    journal_of(&forged, 3).await;
    forged.verify().unwrap();
    forged.verify_against(Some(&head)).expect_err("not our head");
    let proof = Proof::in_directory(&forged.0).unwrap();
    let failure = verify(&proof, None, Some(&report.public_key), &mut |_| {}).unwrap_err();
    assert!(failure.to_string().contains("another key than the one given"), "{failure}");
    let ours = Proof::in_directory(&directory.0).unwrap();
    verify(&ours, None, Some(&report.public_key), &mut |_| {}).unwrap();
}

/// All hashes made anew after a change, as somebody without the key would: the first head that
/// this breaks is named, though its signature is not the one that is checked first.
#[tokio::test]
async fn a_rechained_journal_fails_at_its_first_broken_head() {
    let directory = Directory::new();
    journal_of(&directory, 3).await;
    let path = directory.last();
    let mut prev = String::new();
    let mut first_head = None;
    let mut forged = Vec::new();
    for (index, line) in lines(&path).iter().enumerate() {
        let mut line = String::from_utf8(line.clone()).unwrap();
        let at = line.find("\"prev\":\"").unwrap() + 8;
        if index > 0 {
            line.replace_range(at..at + 64, &prev);
        }
        if index == 3 {
            line = line.replace("SELECT 1", "SELECT 2");
        }
        if line.contains("\"event\":\"head\"") && index > 3 {
            first_head.get_or_insert(index as u64 + 1);
            let digits: Vec<u8> = prev.chars().map(|c| c.to_digit(16).unwrap() as u8).collect();
            let hash: Vec<u8> = digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
            let hash = base64::engine::general_purpose::STANDARD.encode(hash);
            let mut parts: Vec<&str> = line.split("\\n").collect();
            parts[2] = &hash;
            line = parts.join("\\n");
        }
        let mut hex = Vec::new();
        crate::json::hex(&mut hex, &crate::chain::hash(line.as_bytes()));
        prev = String::from_utf8(hex).unwrap();
        forged.extend_from_slice(line.as_bytes());
    }
    fs::write(&path, forged).unwrap();
    let fault = directory.verify().unwrap_err();
    assert_eq!(Some(fault.line), first_head, "{fault}");
    assert!(fault.reason.contains("signature"), "{fault}");
}

/// Segments are begun, filled and sealed under the reader, and none of it looks like a fault.
#[tokio::test]
async fn a_journal_is_proven_while_it_is_written() {
    let directory = Directory::new();
    let options = Options { segment_bytes: 64 << 10, ..directory.options() };
    let (journal, _) = Journal::open(options, None).unwrap();
    let path = directory.0.clone();
    let proofs = Arc::new(AtomicUsize::new(0));
    let proven = Arc::clone(&proofs);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let reader = std::thread::spawn(move || {
        while stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
            let report = verify(&Proof::in_directory(&path).unwrap(), None, None, &mut |_| {});
            let before = proven.fetch_add(1, Ordering::Relaxed);
            report.unwrap_or_else(|failure| panic!("after {before} proofs: {failure}"));
        }
    });
    let mut batch = Batch::new();
    let mut id = 0;
    while id < 5000 || proofs.load(Ordering::Relaxed) <= 10 && !reader.is_finished() {
        batch.clear();
        push_attempt(&mut batch, &context("s-1"), id, "SELECT 1");
        push_outcome(&mut batch, &context("s-1"), id);
        record(&journal, &batch).await.unwrap();
        id += 1;
    }
    drop(stop);
    reader.join().unwrap();
    journal.close().await.unwrap();
    assert!(directory.segments().len() > 10);
}

#[derive(Clone, Debug)]
enum Mutation {
    Replace(usize, Vec<u8>),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Move(usize, usize, usize),
}

fn mutation() -> impl Strategy<Value = Mutation> {
    let bytes = || prop::collection::vec(any::<u8>(), 1..40);
    prop_oneof![
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Mutation::Replace(at, bytes)),
        (any::<usize>(), bytes()).prop_map(|(at, bytes)| Mutation::Insert(at, bytes)),
        (any::<usize>(), 1..3000usize).prop_map(|(at, length)| Mutation::Remove(at, length)),
        (any::<usize>(), any::<usize>(), 1..1000usize)
            .prop_map(|(from, to, length)| Mutation::Move(from, to, length)),
    ]
}

fn mutate(bytes: &mut Vec<u8>, mutation: Mutation) {
    let length = bytes.len();
    match mutation {
        Mutation::Replace(at, new) => {
            let at = at % length;
            let end = (at + new.len()).min(length);
            bytes[at..end].copy_from_slice(&new[..end - at]);
        }
        Mutation::Insert(at, new) => {
            let at = at % (length + 1);
            bytes.splice(at..at, new);
        }
        Mutation::Remove(at, count) => {
            let at = at % length;
            bytes.drain(at..(at + count).min(length));
        }
        Mutation::Move(from, to, count) => {
            let from = from % length;
            let moved: Vec<u8> = bytes.drain(from..(from + count).min(length)).collect();
            let to = to % (bytes.len() + 1);
            bytes.splice(to..to, moved);
        }
    }
}

/// A start once looped for ever here: it did not step over the zeros to what follows them.
#[test]
fn zeros_within_what_was_written_are_damage_and_end_a_start() {
    let directory = Directory::new();
    let head = runtime().block_on(journal_of(&directory, 4));
    let path = directory.last();
    let mut bytes = content(&path);
    let middle = bytes.len() / 2;
    let line = middle + bytes[middle..].iter().position(|byte| *byte == b'\n').unwrap() + 1;
    bytes[line..line + 3].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert!(directory.try_open(Some(&head)).is_err());
}

#[test]
fn random_mutations_are_found_and_never_panic_a_restart() {
    let directory = Directory::new();
    let head = runtime().block_on(journal_of(&directory, 4));
    let path = directory.last();
    let original = content(&path);
    let scratch = directory.copy();
    let scratch_path = scratch.last();
    proptest!(ProptestConfig::with_cases(300), |(mutations in prop::collection::vec(mutation(), 1..4))| {
        let mut bytes = original.clone();
        for mutation in mutations {
            if !bytes.is_empty() {
                mutate(&mut bytes, mutation);
            }
        }
        fs::write(&scratch_path, &bytes).unwrap();
        let same = bytes == original;
        prop_assert_eq!(scratch.verify_against(Some(&head)).is_ok(), same);
        let started = scratch.try_open(Some(&head)).is_ok();
        // A start takes what is beyond the anchored head for torn.
        prop_assert!(started == bytes.starts_with(&original), "started: {}", started);
        for name in scratch.names() {
            if name.ends_with(".cut") {
                fs::remove_file(scratch.0.join(name)).unwrap();
            }
        }
    });
}
