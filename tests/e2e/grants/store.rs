//! The store is away for a while: sessions go on for as long as the lease says, nothing begins
//! meanwhile, and nothing outlives it.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use e2e::on_each_version;

use super::{Stand, detail, last_words, opens};
use crate::raw;

/// A login that is refused as long as nobody can say who has been let in.
fn refused(stand: &Stand) -> Option<String> {
    stand.asking("").err().map(|said| said.sqlstate())
}

on_each_version! {
    fn a_store_that_comes_back_in_time_ends_nothing(server: Server) {
        let mut own = e2e::own_cluster(server.version);
        let store = own.server.database();
        let stand = Stand::storing(&server, &store, &opens("items", "window: 1h", ""));
        let (mut raw, _) = stand.gate.login();
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        own.cluster.stop().expect("it was running");
        let away = Instant::now();
        crate::setup::eventually("logins to be refused", || refused(&stand).is_some());
        // What comes now waits, and runs when the store is there again.
        raw.send(&raw::query("SELECT count(*) FROM items"));
        own.cluster.restart().expect("it starts again");
        if away.elapsed() < Duration::from_secs(9) {
            let replies = raw.until_ready();
            assert!(replies.iter().all(|it| it.tag != b'E'), "{}", raw::show(&replies));
            assert_eq!(raw.value("SELECT 1"), "1");
        }
        crate::setup::eventually("logins to pass", || refused(&stand).is_none());
    }

    fn a_store_that_stays_away_ends_all(server: Server) {
        let mut own = e2e::own_cluster(server.version);
        let store = own.server.database();
        let stand = Stand::storing(&server, &store, &opens("items", "window: 1h", ""));
        let (mut idle, _) = stand.gate.login();
        let (mut busy, _) = stand.gate.login();
        busy.send(&raw::query("SELECT count(*) FROM generate_series(1, 100000000000)"));
        own.cluster.kill9().expect("it was running");
        let away = Instant::now();
        for raw in [&mut idle, &mut busy] {
            let last = last_words(raw);
            assert_eq!((last.sqlstate(), last.severity()), ("57P01".into(), "FATAL".into()));
            assert_eq!(detail(&last)["code"], "store_away", "{}", last.show());
            let took = away.elapsed();
            assert!((8..15).contains(&took.as_secs()), "{took:?}");
        }
        crate::setup::eventually("the backends to go", || {
            crate::setup::activity(&stand.database, "application_name <> 'gatepost catalog'") == 0
        });
        own.cluster.restart().expect("it starts again");
        crate::setup::eventually("logins to pass", || refused(&stand).is_none());
    }

    /// A store that answers nobody is as one that is away.
    fn a_store_that_hangs_ends_all(server: Server) {
        let store = server.database();
        let stand = Stand::storing(&server, &store, &opens("items", "window: 1h", ""));
        let (mut raw, _) = stand.gate.login();
        let mut locks = crate::setup::admin(&store);
        locks.query("BEGIN; LOCK TABLE gatepost_state.leases");
        let hangs = Instant::now();
        let last = last_words(&mut raw);
        assert_eq!(detail(&last)["code"], "store_away", "{}", last.show());
        let took = hangs.elapsed();
        assert!((8..15).contains(&took.as_secs()), "{took:?}");
        locks.query("ROLLBACK");
        crate::setup::eventually("logins to pass", || refused(&stand).is_none());
    }

    /// Another process has the state file for longer than a write waits: who needs one is refused, and
    /// who is in goes on.
    fn a_state_file_that_is_locked(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 1h", ""));
        let (mut raw, _) = stand.gate.login();
        let mut lock = Lock::take(&stand);
        // Another scope is another grant, and would have to be written.
        let narrower = r"-c gatepost.scope=read:\ public.items";
        assert_eq!(stand.asking(narrower).err().expect("a refusal").sqlstate(), "57P03");
        raw.send(&raw::query("SELECT count(*) FROM items"));
        lock.release();
        let replies = raw.until_ready();
        assert!(replies.iter().all(|it| it.tag != b'E'), "{}", raw::show(&replies));
        crate::setup::eventually("logins to pass", || refused(&stand).is_none());
        assert!(stand.asking(narrower).is_ok());
        let people = stand.people();
        for grant in people.grants() {
            people.revoke(&grant.id, "enough");
        }
        assert_eq!(detail(&last_words(&mut raw))["code"], "revoked");
    }
}

/// SQLite's lock for writing, in another process.
struct Lock(Child);

impl Lock {
    fn take(stand: &Stand) -> Lock {
        let script = "import sqlite3, sys\n\
                      file = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                      file.execute('BEGIN EXCLUSIVE')\n\
                      print('locked', flush=True)\n\
                      sys.stdin.read()";
        let mut python = Command::new(e2e::python());
        let path = stand.gate.process.place.directory.join("gatepost.db");
        let mut child = python
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python runs");
        let mut said = [0; 7];
        let mut out = child.stdout.take().expect("its output");
        std::io::Read::read_exact(&mut out, &mut said).expect("a word");
        Lock(child)
    }

    fn release(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().expect("its end");
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.release();
    }
}
