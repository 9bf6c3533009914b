//! Disks that fail, fill up and wait, clocks that go back, queues that are full.

use std::process::Command;

use super::*;
use crate::event::EVENT_BYTES_MAX;
use crate::outside::Call;
use crate::{Health, QUEUE_BYTES_MAX};

#[tokio::test]
async fn one_failed_write_or_sync_is_made_good_in_a_new_segment() {
    for call in [Call::Write, Call::Sync] {
        let directory = Directory::new();
        let outside = Outside::default();
        let journal = directory.open_with(&outside);
        record(&journal, &attempt(1, "SELECT 1")).await.unwrap();
        outside.faults.fail(call, 1);
        within(record(&journal, &attempt(2, "SELECT 2"))).await.unwrap();
        record(&journal, &attempt(3, "SELECT 3")).await.unwrap();
        assert_eq!(journal.health(), Health::Writing);
        let head = journal.close().await.unwrap();
        assert_eq!(directory.segments().len(), 2);
        directory.verify_against(Some(&head)).unwrap();
        let statements = directory.events().iter().filter(|event| *event == "statement").count();
        assert_eq!(statements, 3, "written once each");
    }
}

/// What the old segment still holds of the failed group is not believed, sealed or not.
#[tokio::test]
async fn after_a_failed_sync_a_crash_before_sealing_does_no_harm() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    record(&journal, &attempt(1, "SELECT 1")).await.unwrap();
    let plain = directory.last();
    outside.faults.fail(Call::Sync, 1);
    outside.faults.hold(Call::Sync);
    let ticket = journal.append(&attempt(2, "SELECT 2"), Durability::Strict).await.unwrap();
    outside.faults.wait_until_held();
    let with_leftover = fs::read(&plain).unwrap();
    outside.faults.let_go();
    within(ticket.durable()).await.unwrap();
    let head = journal.close().await.unwrap();

    let sealed = directory.segments()[0].clone();
    fs::remove_file(&sealed).unwrap();
    fs::write(&plain, &with_leftover).unwrap();
    let believed = directory.verify_against(Some(&head)).unwrap();
    let (journal, report) = directory.try_open(Some(&head)).unwrap();
    assert!(report.clean);
    journal.close().await.unwrap();
    assert!(sealed.exists());
    assert!(directory.verify().unwrap().last > believed.last);
}

#[tokio::test]
async fn while_it_cannot_write_it_refuses_and_then_goes_on_by_itself() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    record(&journal, &begins("s-1")).await.unwrap();
    outside.faults.fail(Call::Write, u64::MAX);
    outside.faults.fail(Call::Sync, u64::MAX);

    let kept = journal.append(&attempt(1, "kept"), Durability::Relaxed).await.unwrap();
    let refused = within(record(&journal, &attempt(2, "refused"))).await.unwrap_err();
    assert!(refused.to_string().contains("says the test"), "{refused}");
    assert_eq!(within(kept.durable()).await, Err(refused.clone()));
    for durability in [Durability::Strict, Durability::Relaxed] {
        let at_once = journal.append(&attempt(3, "refused"), durability).await.err();
        assert_eq!(at_once, Some(refused.clone()));
    }
    assert!(!journal.note(&attempt(3, "refused")));
    let Health::Refusing { since, .. } = journal.health() else { panic!("it does not refuse") };
    assert!(since > 0);

    outside.faults.mend();
    within(async {
        while journal.health() != Health::Writing {
            tokio::task::yield_now().await;
        }
    })
    .await;
    record(&journal, &attempt(4, "again")).await.unwrap();
    let head = journal.close().await.unwrap();
    directory.verify_against(Some(&head)).unwrap();
    let records = directory.records();
    let texts: Vec<&str> = records.iter().filter_map(|record| record.text("text")).collect();
    assert_eq!(texts, ["kept", "again"]);
    let resumed = records.iter().find(|record| record.event() == "resumed").unwrap();
    assert_eq!(resumed.value["unrecorded"], 1);
    assert!(resumed.text("why").unwrap().contains("says the test"));
}

#[tokio::test]
async fn closing_while_it_cannot_write_says_so() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    outside.faults.fail(Call::Sync, u64::MAX);
    within(record(&journal, &attempt(1, "SELECT 1"))).await.unwrap_err();
    within(journal.close()).await.unwrap_err();
    journal.append(&attempt(2, "SELECT 2"), Durability::Strict).await.err().expect("closed");
    let (_, report) = directory.open();
    assert!(!report.clean);
    directory.verify().unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_a_disk_with_room_again_does_not() {
    let directory = Directory::new();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=400k", "none"])
        .arg(&directory.0)
        .output()
        .unwrap();
    if !mount.status.success() {
        eprintln!("not tried, for only root can mount a small disk");
        return;
    }
    let mounted = Mounted(&directory.0);
    let ballast = directory.0.join("ballast");
    let (journal, _) = directory.open();
    fs::write(&ballast, vec![1; 150 << 10]).unwrap();
    let big = "x".repeat(16 << 10);
    let mut recorded = 0;
    let refused = loop {
        match within(record(&journal, &attempt(recorded, &big))).await {
            Ok(()) => recorded += 1,
            Err(error) => break error,
        }
        // Hardly compressible, so that sealing gives little room.
        if recorded > 2000 {
            panic!("it never fills up");
        }
        let filler = directory.0.join(format!("filler-{recorded}"));
        let _ = fs::write(filler, vec![1; 8 << 10]);
    };
    assert!(refused.to_string().contains("No space left"), "{refused}");
    assert!(matches!(journal.health(), Health::Refusing { .. }));
    fs::remove_file(&ballast).unwrap();
    for filler in 1..=recorded {
        let _ = fs::remove_file(directory.0.join(format!("filler-{filler}")));
    }
    within(async {
        while journal.health() != Health::Writing {
            tokio::task::yield_now().await;
        }
    })
    .await;
    record(&journal, &attempt(9999, "again")).await.unwrap();
    let head = journal.close().await.unwrap();
    directory.verify_against(Some(&head)).unwrap();
    let statements = directory.events().iter().filter(|event| *event == "statement").count();
    assert_eq!(statements as u64, recorded + 1);
    drop(mounted);
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0).status();
    }
}

#[tokio::test]
async fn a_clock_set_back_keeps_the_last_time_and_says_so_once() {
    let directory = Directory::new();
    let outside = Outside::default();
    let noon: u64 = 1_800_000_000_000_000;
    outside.faults.set_clock(noon);
    let journal = directory.open_with(&outside);
    for clock in [noon + 10, noon - 5_000_000, noon - 4_000_000, noon + 20, noon - 99_000] {
        outside.faults.set_clock(clock);
        record(&journal, &attempt(1, "SELECT 1")).await.unwrap();
    }
    journal.close().await.unwrap();
    directory.verify().unwrap();
    let records = directory.records();
    let times: Vec<&str> = records.iter().filter_map(|record| record.text("t")).collect();
    assert!(times.is_sorted(), "{times:?}");
    let said: Vec<_> = records.iter().filter(|r| r.event() == "clock_set_back").collect();
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].text("clock"), Some("2027-01-15T07:59:55.000000Z"));

    // Over a restart too.
    outside.faults.set_clock(noon - 60_000_000);
    directory.open_with(&outside).close().await.unwrap();
    directory.verify().unwrap();
    assert_eq!(directory.events().iter().filter(|event| *event == "clock_set_back").count(), 2);
}

#[tokio::test]
async fn many_that_wait_share_one_sync() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    outside.faults.hold(Call::Sync);
    let first = journal.append(&attempt(0, "SELECT 0"), Durability::Strict).await.unwrap();
    outside.faults.wait_until_held();
    let before = outside.faults.count(Call::Sync);
    let mut waiting = Vec::new();
    for id in 1..=100 {
        let batch = attempt(id, "SELECT 1");
        waiting.push(journal.append(&batch, Durability::Strict).await.unwrap());
    }
    assert!(waiting.iter().all(|ticket| ticket.done().is_none()));
    outside.faults.let_go();
    within(first.durable()).await.unwrap();
    for ticket in waiting {
        within(ticket.durable()).await.unwrap();
    }
    assert_eq!(outside.faults.count(Call::Sync), before + 1);
    journal.close().await.unwrap();
    directory.verify().unwrap();
}

#[tokio::test]
async fn relaxed_is_durable_by_itself_and_at_once_when_somebody_waits() {
    let directory = Directory::new();
    let (journal, _) = directory.open();
    let mut heads = journal.heads_to_anchor();
    let before = journal.head().unwrap().number;
    let ticket = journal.append(&attempt(1, "SELECT 1"), Durability::Relaxed).await.unwrap();
    within(async {
        while ticket.done().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(journal.head().unwrap().number > before);
    // And its head is anchored though nothing more comes.
    heads.mark_unchanged();
    within(heads.wait_for(|head| head.as_ref().is_some_and(|h| h.number > before))).await.unwrap();
    journal.close().await.unwrap();

    let patient = Options { relaxed: Duration::from_secs(3600), ..directory.options() };
    let (journal, _) = Journal::open(patient, None).unwrap();
    let ticket = journal.append(&attempt(2, "SELECT 2"), Durability::Relaxed).await.unwrap();
    assert_eq!(ticket.done(), None);
    within(ticket.durable()).await.unwrap();
    let last = journal.append(&attempt(3, "SELECT 3"), Durability::Relaxed).await.unwrap();
    journal.close().await.unwrap();
    assert_eq!(last.done(), Some(Ok(())), "closing writes what is there");
    assert_eq!(record(&journal, &attempt(4, "late")).await, Err(Unrecorded::Closed));
}

#[tokio::test]
async fn a_note_is_recorded_in_its_place_or_turned_away() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    assert!(journal.note(&attempt(1, "SELECT 1")));
    record(&journal, &attempt(2, "SELECT 2")).await.unwrap();
    let before = journal.head().unwrap().number;
    assert!(journal.note(&attempt(3, "SELECT 3")));
    within(async {
        while journal.head().unwrap().number == before {
            tokio::task::yield_now().await;
        }
    })
    .await;

    // A queue with little room left, in which nobody waits: a small one is let in.
    outside.faults.hold(Call::Sync);
    let big = "x".repeat(QUEUE_BYTES_MAX / 2);
    assert!(journal.note(&attempt(4, &big)));
    assert!(!journal.note(&attempt(5, &big)));
    assert!(journal.note(&attempt(5, "SELECT 5")));
    outside.faults.let_go();
    journal.close().await.unwrap();
    assert!(!journal.note(&attempt(6, "late")));
    let records = directory.records();
    let ids: Vec<u64> = records.iter().filter_map(|record| record.value["id"].as_u64()).collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    directory.verify().unwrap();
}

#[tokio::test]
async fn a_full_queue_makes_append_wait_and_loses_nothing() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    outside.faults.hold(Call::Sync);
    let big = "x".repeat(QUEUE_BYTES_MAX / 4);
    let first = journal.append(&attempt(0, &big), Durability::Strict).await.unwrap();
    outside.faults.wait_until_held();
    let mut tickets = vec![first];
    for id in 1..3 {
        tickets.push(journal.append(&attempt(id, &big), Durability::Strict).await.unwrap());
    }
    let late = tokio::spawn({
        let journal = journal.clone();
        let batch = attempt(3, &big);
        async move { record(&journal, &batch).await }
    });
    // A near twin that still fits is let in; the one past the bound waits.
    tickets.push(journal.append(&attempt(4, "small"), Durability::Strict).await.unwrap());
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(!late.is_finished());
    outside.faults.let_go();
    within(late).await.unwrap().unwrap();
    for ticket in tickets {
        within(ticket.durable()).await.unwrap();
    }
    journal.close().await.unwrap();
    directory.verify().unwrap();
    assert_eq!(directory.events().iter().filter(|event| *event == "statement").count(), 5);
}

#[tokio::test]
async fn the_longest_event_is_recorded_and_one_byte_more_is_not() {
    let directory = Directory::new();
    let (journal, _) = directory.open();
    let around = attempt(1, "").longest();
    let text = "x".repeat(EVENT_BYTES_MAX - around);
    within(record(&journal, &attempt(1, &text))).await.unwrap();
    let refused = record(&journal, &attempt(1, &(text + "x"))).await.unwrap_err();
    assert_eq!(refused, Unrecorded::TooLong { bytes: EVENT_BYTES_MAX + 1 });
    let head = journal.close().await.unwrap();
    directory.verify_against(Some(&head)).unwrap();
    directory.open();
}

/// It must not, but if it does nobody waits for ever, and nothing is let in.
#[tokio::test]
async fn a_writer_that_panics_leaves_nobody_waiting() {
    let directory = Directory::new();
    let outside = Outside::default();
    let journal = directory.open_with(&outside);
    outside.faults.hold(Call::Sync);
    let taken = journal.append(&attempt(1, "SELECT 1"), Durability::Strict).await.unwrap();
    outside.faults.wait_until_held();
    let queued = journal.append(&attempt(2, "SELECT 2"), Durability::Strict).await.unwrap();
    outside.faults.panic();
    outside.faults.let_go();
    assert_eq!(within(taken.durable()).await, Err(Unrecorded::Closed));
    assert_eq!(within(queued.durable()).await, Err(Unrecorded::Closed));
    assert_eq!(within(journal.close()).await, Err(Unrecorded::Closed));
    assert_eq!(record(&journal, &attempt(3, "SELECT 3")).await, Err(Unrecorded::Closed));
}
