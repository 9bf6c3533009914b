//! A session's window: what is said before it ends, and the end, whatever the session does then.

use std::time::{Duration, Instant};

use e2e::{Database, on_each_version};

use crate::raw::{self, Raw};
use crate::setup::{self, Gate, Plan};

/// Ends by the window come in time; by something else they would not.
const SOON: Duration = Duration::from_secs(20);

fn gate(database: &Database, window: &str) -> Gate {
    let policies = format!(
        "policies:\n  - name: short\n    who: \"*\"\n    to: \"*\"\n    \
         access: {{ window: {window}, approval: none }}\n    allow:\n      - read: \"*\"\n      \
         - use: pg_sleep"
    );
    Plan::gateway(database).top(&policies).start()
}

/// What the session reads last, and how.
fn ends(agent: &mut Raw) {
    // A short one has its notice, too, unless something runs.
    let last = std::iter::from_fn(|| agent.read()).find(|message| message.tag != b'N');
    let last = last.expect("last words");
    assert_eq!(
        (last.severity(), last.sqlstate()),
        ("FATAL".into(), "57P01".into()),
        "{}",
        last.show()
    );
    assert!(
        last.field(b'D').expect("a DETAIL").contains("\"code\":\"window_over\""),
        "{}",
        last.show()
    );
    assert!(last.field(b'H').is_some());
    assert_eq!(agent.read(), None);
}

on_each_version! {
    /// It has to be said a minute before, and nothing else happens then.
    fn the_end_is_said_a_minute_before(server: Server) {
        let database = server.database();
        let gate = gate(&database, "61s");
        let (mut agent, _) = gate.login();
        assert_eq!(agent.value("SELECT 1"), "1");
        let notice = agent.read().expect("a notice");
        assert_eq!((notice.tag, notice.severity(), notice.sqlstate()), (b'N', "NOTICE".into(), "57P01".into()));
        assert!(notice.field(b'D').expect("a DETAIL").contains("window_ends"), "{}", notice.show());
        assert!(notice.field(b'M').expect("words").contains("60 s"), "{}", notice.show());
        assert_eq!(agent.value("SELECT 2"), "2");
    }

    fn a_session_ends_when_its_window_does(server: Server) {
        let database = server.database();
        let gate = gate(&database, "1s");
        let begun = Instant::now();
        let (mut idle, _) = gate.login();
        let (mut open, _) = gate.login();
        let (mut busy, _) = gate.login();
        assert_eq!(raw::show(&open.query("BEGIN")).matches("BEGIN").count(), 1);
        busy.send(&raw::query("SELECT pg_sleep(600)"));
        ends(&mut idle);
        ends(&mut open);
        ends(&mut busy);
        assert!(begun.elapsed() < SOON);
        let left = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' \
                    AND state = 'active' AND pid <> pg_backend_pid()";
        setup::eventually("the query to be cancelled", || database.login().psql(left) == "0");
        // A new session has a window of its own.
        assert_eq!(gate.login().0.value("SELECT 1"), "1");
    }
}
