//! Somebody sets the clock of the machine that the state file is on: a grant ends no later for it.

use std::time::{Duration, Instant};

use e2e::on_each_version;

use super::{Stand, detail, last_words, opens};
use crate::journal::records;
use crate::raw::Raw;
use crate::setup;

const HOUR_MILLIS: i64 = 3_600_000;

fn set_by(stand: &Stand, millis: i64) {
    stand.gate.process.place.directory.file("clock", &millis.to_string());
}

fn left(raw: &mut Raw) -> i64 {
    raw.value("SELECT seconds_left FROM gatepost.me").parse().expect("seconds")
}

on_each_version! {
    fn set_forward_it_ends_what_is_over_by_it(server: Server) {
        let stand = Stand::with_clock(&server, &opens("items", "window: 1h", ""));
        let (mut raw, _) = stand.gate.login();
        assert!(left(&mut raw) > 3500);
        // Not over yet: there is less left.
        set_by(&stand, HOUR_MILLIS / 2);
        setup::eventually("half an hour to be gone", || left(&mut raw) <= 1800);
        set_by(&stand, HOUR_MILLIS + 1000);
        let set = Instant::now();
        let last = last_words(&mut raw);
        assert_eq!(detail(&last)["code"], "window_over", "{}", last.show());
        assert!(set.elapsed() < Duration::from_secs(5), "{:?}", set.elapsed());
        let (mut raw, _) = stand.gate.login();
        assert!((3500..=3600).contains(&left(&mut raw)), "another one, by the new time");
    }

    fn set_back_it_prolongs_nothing(server: Server) {
        let mut stand = Stand::with_clock(&server, &opens("items", "window: 8s", ""));
        let (mut raw, _) = stand.gate.login();
        let begun = Instant::now();
        let grant = stand.people().grants().pop().expect("a grant");
        set_by(&stand, -HOUR_MILLIS);
        let (mut other, _) = stand.gate.login();
        assert!(left(&mut other) <= 8);
        drop(other);
        let last = last_words(&mut raw);
        assert_eq!(detail(&last)["code"], "window_over", "{}", last.show());
        assert!(begun.elapsed() < Duration::from_secs(12), "{:?}", begun.elapsed());
        // Nor does another process take it for one that has time left, once its end is known: until
        // then a crash loses as much of the time as stands in no file.
        setup::eventually("its end to be on record", || {
            records::all(&records::directory(&stand.gate)).iter().any(|it| it["event"] == "grant_ends")
        });
        stand.gate.process.kill9();
        stand.gate.process.restart();
        let (mut raw, _) = stand.gate.login();
        let id = raw.value("SELECT grant_id FROM gatepost.me");
        assert_ne!(id, grant.id.to_string());
        let at = stand.people().all_grants().into_iter().find(|it| it.id.to_string() == id);
        assert!(at.expect("it").opened_at >= grant.ends_at, "time has gone on");
    }
}
