//! A disk that is full, a process that is killed, a server that goes away: what was said to be
//! done is done, what failed has changed nothing, and all goes on afterwards.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::room::{MINUTE, Room, anyone, asks, by, person, refused, somebody, statement, yes};
use super::{Directory, NOW};
use crate::*;

#[tokio::test]
async fn a_full_disk_is_said_and_changes_nothing() {
    let room = Room::in_a_file();
    let grant = room.open(asks("agent", 0)).await;
    let pending = room.state.hold(statement(&grant, 1)).await.unwrap().hold;
    let pages = async |pragma| {
        let set = room.state.writer.run(move |engine| engine.rows(pragma, &[]));
        set.await.unwrap()[0].int(0).unwrap()
    };
    // As many as there are: SQLite says then what it says when the disk is full.
    pages("PRAGMA max_page_count = 1").await;
    let large = |digest| NewHold { text: "x".repeat(200_000), ..statement(&grant, digest) };
    let full = room.state.hold(large(2)).await.unwrap_err();
    assert!(matches!(full, StateError::Sqlite(_)), "{full:?}");
    assert!(full.to_string().contains("database or disk is full"), "{full}");
    assert_eq!(room.state.holds(Filter::default()).await.unwrap(), [pending]);

    pages("PRAGMA max_page_count = 1000000").await;
    assert!(room.state.hold(large(2)).await.unwrap().new);
}

/// The other process is this test program, running the ignored test below, which says each claim
/// that it was given and is killed at any moment.
#[tokio::test]
async fn what_was_claimed_before_a_kill_is_never_claimed_again() {
    for lines in [1, 7, 20] {
        let directory = Directory::new();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "tests::trouble::the_other_process", "--ignored", "--nocapture"])
            .env("GATEPOST_TEST_STATE", directory.file())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let claimed: Vec<(HoldId, u8)> = said
            .filter_map(|line| {
                let (id, digest) = line.strip_prefix("claimed ")?.split_once(' ')?;
                Some((id.parse().unwrap(), digest.parse().unwrap()))
            })
            .take(lines)
            .collect();
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(claimed.len(), lines);

        let clock = Clock::Manual(ManualClock::new(NOW));
        let state = State::open_at(&directory.file(), clock).unwrap();
        let grants = state.grants(Filter::default()).await.unwrap();
        let [grant] = &grants[..] else { panic!("{grants:?}") };
        for (id, digest) in &claimed {
            let again = state.claim(id, &grant.id, &[*digest; 32], by("s2")).await;
            assert!(matches!(refused(again), Refused::Over { .. }));
        }
        // The last one may have come to nothing that anybody heard of: it is there to be asked
        // about.
        for hold in state.unfinished("gate-1").await.unwrap() {
            state.finish(&hold.id, Outcome::Unknown).await.unwrap();
        }
        assert_eq!(state.unfinished("gate-1").await.unwrap(), []);
        assert_eq!(state.expire_due().await.unwrap(), Due::default());
    }
}

#[tokio::test]
#[ignore = "run by the test above"]
async fn the_other_process() {
    let path = std::env::var_os("GATEPOST_TEST_STATE").unwrap();
    let clock = Clock::Manual(ManualClock::new(NOW));
    let state = State::open_at(path.as_ref(), clock).unwrap();
    let Admission::Open { grant, .. } = state.admit(asks("agent", 0)).await.unwrap().admission
    else {
        panic!()
    };
    for digest in 0..u8::MAX {
        let hold = state.hold(statement(&grant, digest)).await.unwrap().hold.id;
        state.decide_hold(&hold, somebody("dba"), yes(), anyone()).await.unwrap();
        state.claim(&hold, &grant.id, &[digest; 32], by("s1")).await.unwrap();
        println!("claimed {hold} {digest}");
        state.note_xid(&hold, by("s1"), digest.into()).await.unwrap();
        state.finish(&hold, Outcome::Done).await.unwrap();
    }
}

/// One after the other in one cluster.
#[test]
fn a_server_that_goes_away() {
    let Some(cluster) = Cluster::start() else { return };
    let cluster = Rc::new(cluster);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(other_nodes_are_heard(Room::in_postgresql(&cluster)));
    runtime.block_on(a_lost_connection_is_made_again(Room::in_postgresql(&cluster), &cluster));
    runtime.block_on(a_stopped_server_is_said_and_found_again(
        Room::in_postgresql(&cluster),
        &cluster,
    ));
    runtime.block_on(a_lock_that_is_held_is_not_waited_for_long(&cluster));
    runtime.block_on(the_time_is_the_servers(&cluster));
    runtime.block_on(a_newer_store_is_left_alone(&cluster));
    several_nodes_can_start_at_once(&cluster);
}

async fn other_nodes_are_heard(room: Room) {
    let request = room.wait(asks("agent", 1)).await;
    let mut watch = room.other.watch(&request.id);
    room.agree(&request.id, "anna").await.unwrap();
    watch.changed().await;
    assert_eq!(room.other.request(&request.id).await.unwrap().unwrap().state.name(), "approved");
}

async fn a_lost_connection_is_made_again(room: Room, cluster: &Cluster) {
    let grant = room.open(asks("agent", 0)).await;
    let mut watch = room.state.watch(&grant.id);
    cluster.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity
         WHERE application_name = 'gatepost store'",
    );
    let served = room.state.grants_served(vec![grant.id.clone()]).await.unwrap();
    assert_eq!(served.live.len(), 1);
    // Something may have been missed meanwhile.
    watch.changed().await;
    room.other.end_grant(&grant.id, GrantEnd::Released).await.unwrap();
    assert_eq!(room.state.grants_served(vec![grant.id]).await.unwrap().live, []);
}

async fn a_stopped_server_is_said_and_found_again(room: Room, cluster: &Cluster) {
    let grant = room.open(asks("agent", 0)).await;
    let hold = room.approved_hold(&grant, 1).await;
    cluster.kill();
    let claim = || room.state.claim(&hold.id, &grant.id, &[1; 32], by("s1"));
    let away = claim().await.unwrap_err();
    assert!(matches!(away, StateError::Away(_)), "{away:?}");
    let soon = Instant::now();
    assert!(matches!(claim().await.unwrap_err(), StateError::Away(_)));
    assert!(soon.elapsed() < Duration::from_secs(1), "nobody queues behind what fails");
    cluster.begin();
    let deadline = Instant::now() + Duration::from_secs(20);
    let claimed = loop {
        match claim().await {
            Err(StateError::Away(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            claimed => break claimed,
        }
    };
    claimed.unwrap();
    assert!(matches!(refused(claim().await), Refused::Over { .. }));
}

async fn a_lock_that_is_held_is_not_waited_for_long(cluster: &Rc<Cluster>) {
    let room = Room::in_postgresql(cluster);
    let request = room.wait(asks("agent", 1)).await;
    let id = request.id.to_string();
    // Another node that is stuck with the row, until its own time is over.
    let stuck = move |engine: &mut crate::engine::Engine| {
        engine.write(|tx| {
            crate::requests::lock(tx, &id.parse().unwrap())?;
            std::thread::sleep(Duration::from_secs(6));
            Ok(())
        })
    };
    let holding = room.other.writer.run(stuck);
    let voting = async {
        while cluster
            .psql(
                "postgres",
                "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'",
            )
            .trim()
            == "0"
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused = room.agree(&request.id, "anna").await.unwrap_err();
        assert!(refused.to_string().contains("lock timeout"), "{refused}");
    };
    let (held, ()) = tokio::join!(holding, voting);
    held.unwrap_err();
    room.agree(&request.id, "anna").await.unwrap();
}

/// Even where this node's clock is far off.
async fn the_time_is_the_servers(cluster: &Rc<Cluster>) {
    let database = cluster.new_database();
    let state = State::open_postgres(cluster.store(&database)).unwrap();
    let now = state.now().await.unwrap();
    let server = cluster.psql(&database, "SELECT (extract(epoch FROM now()) * 1000)::int8");
    let server: i64 = server.trim().parse().unwrap();
    assert!((0..MINUTE).contains(&(server - now)), "{server} {now}");
    let short = Ask { lasts_millis: 1, ..asks("agent", 0) };
    let Admission::Open { grant, .. } = state.admit(short).await.unwrap().admission else {
        panic!()
    };
    let over = state.hold(statement(&grant, 1)).await;
    assert!(matches!(refused(over), Refused::GrantEnded { .. }));
    let withdrawn = state.withdraw(&RequestId::random().unwrap(), person("agent")).await;
    assert!(matches!(refused(withdrawn), Refused::NoSuch { .. }));
}

fn several_nodes_can_start_at_once(cluster: &Rc<Cluster>) {
    let database = cluster.new_database();
    let keys: Vec<_> = std::thread::scope(|scope| {
        let open = |store| scope.spawn(|| State::open_postgres(store).unwrap().salt_key());
        let stores: Vec<_> = (0..4).map(|_| cluster.store(&database)).collect();
        let openers: Vec<_> = stores.into_iter().map(open).collect();
        openers.into_iter().map(|opener| opener.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]));
}

async fn a_newer_store_is_left_alone(cluster: &Rc<Cluster>) {
    let database = cluster.new_database();
    let first = State::open_postgres(cluster.store(&database)).unwrap();
    let again = State::open_postgres(cluster.store(&database)).unwrap();
    assert_eq!(first.salt_key(), again.salt_key());
    cluster.psql(
        &database,
        "UPDATE gatepost_state.meta SET value = '\\x000000ff' WHERE key = 'version'",
    );
    let newer = State::open_postgres(cluster.store(&database)).unwrap_err();
    assert!(matches!(newer, StateError::NewerStore { found: 255, .. }), "{newer:?}");
    cluster.psql(&database, "DELETE FROM gatepost_state.meta WHERE key = 'version'");
    let odd = State::open_postgres(cluster.store(&database)).unwrap_err();
    assert!(odd.to_string().contains("another program's"), "{odd}");
}
