//! The state file from outside: its permissions, its neighbours, what it refuses, what two that
//! have it open see of each other.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Barrier;

use rusqlite::Connection;

use super::{Directory, NOW};
use crate::engine::STEPS;
use crate::*;

const DAY: i64 = 86_400_000;

async fn ids(state: &State, name: &str, now: i64) -> Vec<TokenId> {
    state.live_tokens(name, now).await.unwrap().into_iter().map(|token| token.id).collect()
}

#[tokio::test]
async fn what_was_added_is_there_after_reopening() {
    let directory = Directory::new();
    let state = directory.state();
    let key = state.salt_key();
    let id = state.add_token("agent-7", "verifier", NOW, Some(NOW + DAY)).await.unwrap();
    drop(state);

    let state = directory.state();
    assert_eq!(state.salt_key(), key);
    assert_ne!(key, [0; 32]);
    assert!(state.has_tokens("agent-7").await.unwrap());
    assert!(!state.has_tokens("agent-8").await.unwrap());
    let live = state.live_tokens("agent-7", NOW).await.unwrap();
    assert_eq!((live.len(), live[0].id, live[0].verifier.as_str()), (1, id, "verifier"));
    let row = TokenRow {
        id,
        name: "agent-7".to_owned(),
        created_at: NOW,
        expires_at: Some(NOW + DAY),
        revoked_at: None,
        last_used_at: None,
        grant: None,
    };
    assert_eq!(state.tokens().await.unwrap(), [row]);
}

#[tokio::test]
async fn two_files_have_two_salt_keys() {
    assert_ne!(Directory::new().state().salt_key(), Directory::new().state().salt_key());
}

#[tokio::test]
async fn a_token_counts_for_its_own_name_until_it_expires_or_is_revoked() {
    let directory = Directory::new();
    let state = directory.state();
    let short = state.add_token("agent-7", "short", NOW, Some(NOW + DAY)).await.unwrap();
    let long = state.add_token("agent-7", "long", NOW, None).await.unwrap();
    let other = state.add_token("agent-8", "other", NOW, None).await.unwrap();

    assert_eq!(ids(&state, "agent-7", NOW).await, [long, short]);
    assert_eq!(ids(&state, "agent-7", NOW + DAY - 1).await, [long, short]);
    assert_eq!(ids(&state, "agent-7", NOW + DAY).await, [long]);
    assert_eq!(ids(&state, "agent-8", NOW).await, [other]);
    assert_eq!(ids(&state, "agent-9", NOW).await, []);
    assert_eq!(ids(&state, "AGENT-7", NOW).await, []);
    assert_eq!(ids(&state, "agent-%", NOW).await, []);

    assert!(state.revoke_token(long, NOW + 1).await.unwrap());
    assert!(!state.revoke_token(long, NOW + 2).await.unwrap());
    assert!(!state.revoke_token("999".parse().unwrap(), NOW).await.unwrap());
    assert_eq!(ids(&state, "agent-7", NOW).await, [short]);
    let rows = state.tokens().await.unwrap();
    assert_eq!(rows.iter().map(|row| row.id).collect::<Vec<_>>(), [short, long, other]);
    assert_eq!(rows[1].revoked_at, Some(NOW + 1));
}

#[tokio::test]
async fn the_last_use_moves_forward_in_steps() {
    let directory = Directory::new();
    let state = directory.state();
    let id = state.add_token("agent-7", "verifier", NOW, None).await.unwrap();
    for (now, expected) in [
        (NOW, NOW),
        (NOW + TOUCH_INTERVAL_MILLIS - 1, NOW),
        (NOW + TOUCH_INTERVAL_MILLIS, NOW + TOUCH_INTERVAL_MILLIS),
        (NOW - DAY, NOW + TOUCH_INTERVAL_MILLIS),
    ] {
        state.touch_token(id, now).await.unwrap();
        assert_eq!(state.tokens().await.unwrap()[0].last_used_at, Some(expected));
    }
}

#[tokio::test]
async fn tokens_of_a_name_are_bounded() {
    let directory = Directory::new();
    let state = directory.state();
    let add = |at, expires| state.add_token("agent-7", "verifier", at, expires);
    let mut added = Vec::new();
    for _ in 1..TOKENS_PER_NAME_MAX {
        added.push(add(NOW, None).await.unwrap());
    }
    added.push(add(NOW, Some(NOW + DAY)).await.unwrap());
    assert_eq!(ids(&state, "agent-7", NOW).await.len(), TOKENS_PER_NAME_MAX);

    let refused = add(NOW + DAY - 1, None).await.unwrap_err();
    assert!(matches!(&refused, StateError::TooManyTokens { name } if name == "agent-7"));
    assert_eq!(refused.to_string(), "`agent-7` already has 16 live tokens; revoke one first");
    state.add_token("agent-8", "verifier", NOW, None).await.unwrap();

    // One that has expired or is revoked makes room for one.
    add(NOW + DAY, None).await.unwrap();
    add(NOW + DAY, None).await.unwrap_err();
    assert!(state.revoke_token(added[0], NOW).await.unwrap());
    add(NOW + DAY, None).await.unwrap();
    add(NOW + DAY, None).await.unwrap_err();

    // A clock that went back makes the expired one live again: still no more than the bound.
    assert_eq!(ids(&state, "agent-7", NOW).await.len(), TOKENS_PER_NAME_MAX);
}

#[tokio::test]
async fn an_id_is_never_given_twice() {
    let directory = Directory::new();
    let state = directory.state();
    let first = state.add_token("agent-7", "verifier", NOW, None).await.unwrap();
    let by_hand = Connection::open(directory.file()).unwrap();
    by_hand.execute("DELETE FROM tokens", []).unwrap();
    let second = state.add_token("agent-7", "verifier", NOW, None).await.unwrap();
    assert!(second > first);
}

#[test]
fn ids_read_as_they_are_written() {
    let id: TokenId = "42".parse().unwrap();
    assert_eq!(id.to_string(), "42");
    assert!("x".parse::<TokenId>().is_err());
    assert!("".parse::<TokenId>().is_err());
}

#[tokio::test]
async fn nobody_else_may_read_the_file_or_its_companions() {
    let directory = Directory::new();
    let state = directory.state();
    state.add_token("agent-7", "verifier", NOW, None).await.unwrap();
    let mut files = 0;
    for entry in std::fs::read_dir(&directory.0).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        files += 1;
    }
    assert_eq!(files, 3, "the file, its -wal and its -shm");
}

#[tokio::test]
async fn commits_survive_a_loss_of_power() {
    let directory = Directory::new();
    let state = directory.state();
    let settings = state
        .writer
        .run(|engine| {
            let mode = engine.rows("PRAGMA journal_mode", &[])?[0].text(0)?.to_owned();
            let synchronous = engine.rows("PRAGMA synchronous", &[])?[0].int(0)?;
            Ok((mode, synchronous, engine.rows("PRAGMA foreign_keys", &[])?[0].int(0)?))
        })
        .await
        .unwrap();
    assert_eq!(settings, ("wal".to_owned(), 2, 1));
}

/// What `gatepost token create` does while `gatepost serve` runs. The other process is this test
/// program, running the ignored test below.
#[tokio::test]
async fn another_process_is_seen_at_once() {
    let directory = Directory::new();
    let state = directory.state();
    let own = state.add_token("agent-7", "ours", NOW, None).await.unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::file::the_other_process", "--ignored"])
        .env("GATEPOST_TEST_STATE", directory.file())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    let live = state.live_tokens("agent-7", NOW).await.unwrap();
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].verifier, "theirs");
    assert_ne!(live[0].id, own);
}

#[tokio::test]
#[ignore = "is run by another_process_is_seen_at_once"]
async fn the_other_process() {
    let Some(file) = std::env::var_os("GATEPOST_TEST_STATE") else {
        return;
    };
    let state = State::open(Path::new(&file)).unwrap();
    let LiveToken { id: theirs, verifier, .. } =
        state.live_tokens("agent-7", NOW).await.unwrap().remove(0);
    assert_eq!(verifier, "ours");
    assert!(state.revoke_token(theirs, NOW).await.unwrap());
    state.add_token("agent-7", "theirs", NOW, None).await.unwrap();
}

/// All of them at a file that isn't there yet: the one moment when SQLite doesn't wait by itself.
#[test]
fn several_can_open_a_new_file_at_once() {
    const OPENERS: usize = 8;
    for _ in 0..10 {
        let directory = Directory::new();
        let together = Barrier::new(OPENERS);
        let keys: Vec<_> = std::thread::scope(|scope| {
            let open = || {
                together.wait();
                directory.state().salt_key()
            };
            let openers: Vec<_> = (0..OPENERS).map(|_| scope.spawn(open)).collect();
            openers.into_iter().map(|opener| opener.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
    }
}

#[tokio::test]
async fn two_handles_that_write_at_once_both_get_through() {
    let directory = Directory::new();
    let (one, two) = (directory.state(), directory.state());
    let mut requests = tokio::task::JoinSet::new();
    for n in 0..40 {
        let state = if n % 2 == 0 { one.clone() } else { two.clone() };
        requests.spawn(async move {
            state.add_token(&format!("agent-{}", n % 4), "verifier", NOW, None).await.unwrap()
        });
    }
    let added = requests.join_all().await;
    assert_eq!(added.len(), 40);
    assert_eq!(one.tokens().await.unwrap().len(), 40);
    assert_eq!(ids(&two, "agent-3", NOW).await.len(), 10);
}

#[test]
fn a_file_of_a_newer_program_is_refused_and_left_alone() {
    let directory = Directory::new();
    drop(directory.state());
    let by_hand = Connection::open(directory.file()).unwrap();
    let now = u32::try_from(STEPS.len()).unwrap();
    by_hand.pragma_update(None, "user_version", now + 1).unwrap();
    by_hand.close().unwrap();
    let before = std::fs::read(directory.file()).unwrap();

    let refused = State::open(&directory.file()).unwrap_err();
    let StateError::Newer { found, known, .. } = refused else { panic!("{refused}") };
    assert_eq!((found, known), (now + 1, now));
    assert!(refused.to_string().contains("newer Gatepost"), "{refused}");
    assert_eq!(std::fs::read(directory.file()).unwrap(), before);
}

#[test]
fn what_is_not_a_state_file_is_refused_and_left_alone() {
    let directory = Directory::new();
    let file = directory.file();
    for garbage in [&b"hello"[..], &[0xff; 5000], b"SQLite format 3\0 and then something else"] {
        std::fs::write(&file, garbage).unwrap();
        let refused = State::open(&file).unwrap_err();
        assert!(matches!(refused, StateError::NotAStateFile { .. }), "{refused:?}");
        assert_eq!(std::fs::read(&file).unwrap(), garbage);
    }
    std::fs::remove_file(&file).unwrap();

    let others = Connection::open(&file).unwrap();
    others.execute_batch("CREATE TABLE bookmarks (url TEXT)").unwrap();
    others.close().unwrap();
    let before = std::fs::read(&file).unwrap();
    let refused = State::open(&file).unwrap_err();
    assert!(matches!(refused, StateError::NotAStateFile { .. }), "{refused:?}");
    assert_eq!(std::fs::read(&file).unwrap(), before);
    std::fs::remove_file(&file).unwrap();

    let others = Connection::open(&file).unwrap();
    others.pragma_update(None, "application_id", -7).unwrap();
    others.close().unwrap();
    let refused = State::open(&file).unwrap_err();
    assert!(matches!(refused, StateError::NotAStateFile { .. }), "{refused:?}");
}

#[test]
fn an_empty_file_becomes_a_state_file() {
    let directory = Directory::new();
    std::fs::write(directory.file(), b"").unwrap();
    directory.state();
}

#[test]
fn a_directory_is_refused() {
    let directory = Directory::new();
    let refused = State::open(&directory.0).unwrap_err();
    assert_eq!(refused.to_string(), format!("state file {} is not a file", directory.0.display()));
    assert_eq!(std::fs::read_dir(&directory.0).unwrap().count(), 0);
}

#[test]
fn a_directory_that_is_missing_is_named() {
    let directory = Directory::new();
    let refused = State::open(&directory.0.join("missing/gatepost.db")).unwrap_err();
    assert!(matches!(refused, StateError::Io { .. }), "{refused:?}");
    assert!(refused.to_string().contains("missing/gatepost.db"), "{refused}");
}

#[test]
fn a_salt_key_that_was_cut_is_damage() {
    let directory = Directory::new();
    drop(directory.state());
    let by_hand = Connection::open(directory.file()).unwrap();
    by_hand.execute("UPDATE meta SET value = x'00'", []).unwrap();
    let refused = State::open(&directory.file()).unwrap_err();
    assert!(matches!(refused, StateError::Damaged { .. }), "{refused:?}");
    by_hand.execute("DELETE FROM meta", []).unwrap();
    let refused = State::open(&directory.file()).unwrap_err();
    assert!(matches!(refused, StateError::Damaged { .. }), "{refused:?}");
}

/// A path is never an address with options.
#[test]
fn a_path_that_looks_like_a_uri_is_a_path() {
    let directory = Directory::new();
    let path = directory.0.join("file:x?mode=memory");
    State::open(&path).unwrap();
    assert!(path.metadata().unwrap().len() > 0);
}

fn head(node: &str, number: u64) -> HeadRow {
    let note = format!("gatepost/{node}\n{number}\n");
    HeadRow { node: node.to_owned(), number, hash: [7; 32], note, at: NOW }
}

#[tokio::test]
async fn an_anchored_head_is_kept_for_its_node_and_only_moves_forward() {
    let directory = Directory::new();
    let state = directory.state();
    assert_eq!(state.anchored_head("gate-1").await.unwrap(), None);
    assert!(state.anchor_head(head("gate-1", 10)).await.unwrap());
    assert!(state.anchor_head(head("gate-2", 3)).await.unwrap());
    assert!(state.anchor_head(head("gate-1", 12)).await.unwrap());
    assert!(!state.anchor_head(head("gate-1", 12)).await.unwrap());
    assert!(!state.anchor_head(head("gate-1", 11)).await.unwrap());
    drop(state);

    let state = directory.state();
    assert_eq!(state.anchored_head("gate-1").await.unwrap(), Some(head("gate-1", 12)));
    assert_eq!(state.anchored_head("gate-2").await.unwrap(), Some(head("gate-2", 3)));
    assert_eq!(state.anchored_head("gate-3").await.unwrap(), None);
    state.replace_head(head("gate-1", 2)).await.unwrap();
    assert_eq!(state.anchored_head("gate-1").await.unwrap(), Some(head("gate-1", 2)));
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_brought_up_to_date() {
    for version in [1_u8, 2, 3] {
        let directory = Directory::new();
        let by_hand = Connection::open(directory.file()).unwrap();
        for step in &STEPS[..usize::from(version)] {
            by_hand.execute_batch(step).unwrap();
        }
        by_hand.execute("INSERT INTO meta VALUES ('salt_key', ?1)", [[9; 32]]).unwrap();
        by_hand
            .execute_batch(
                "INSERT INTO tokens (name, verifier, created_at) VALUES ('agent-7', 'v', 5);
                 PRAGMA journal_mode = WAL; PRAGMA application_id = 0x47415445;",
            )
            .unwrap();
        by_hand.pragma_update(None, "user_version", version).unwrap();
        by_hand.close().unwrap();

        let state = directory.state();
        assert_eq!(state.salt_key(), [9; 32]);
        assert_eq!(ids(&state, "agent-7", NOW).await.len(), 1);
        assert!(state.anchor_head(head("gate-1", 1)).await.unwrap());
        assert_eq!(state.grants(Filter::default()).await.unwrap(), []);
    }
}
