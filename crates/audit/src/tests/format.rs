//! The format as it is stored: golden files, and the page that describes it, whose example runs.

use std::process::Command;

use super::*;
use crate::Parameter;
use crate::event::{
    Cancel, GrantEnds, GrantOpens, Hold, Identity, LoginRefused, Request, RequestDecided,
    TokenGiven, own,
};
use crate::read::{Filter, Tail};

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, expected, "{} differs; UPDATE_GOLDEN=1 writes it anew", path.display());
}

/// One of each event, with all that can be said and with as little as can be.
fn one_of_each() -> Batch {
    let full = Context::new(&Who {
        session: Some("8f14e45fceea167a"),
        grant: Some("g-17"),
        identity: Some(Identity {
            issuer: "https://issuer.example",
            subject: "agent-7",
            claims: &[("env", "production"), ("region", "\"eu\"")],
            groups: &["data-agents", "ops"],
            actors: &[("https://issuer.example", "planner"), ("local", "anna")],
        }),
        client: Some("192.0.2.7:50412"),
        application: Some("re\"port\n"),
        connection: Some("orders"),
        role: Some("gatepost"),
    });
    let bare = Context::new(&Who::default());
    let text = |bytes| Some(Text::Sql { bytes, redacted: 0 });
    let parameters = [
        Parameter { oid: 23, binary: true, value: Some(&[0, 0, 0, 5]), bytes: 4, secret: false },
        Parameter { oid: 25, binary: false, value: None, bytes: 0, secret: false },
        Parameter { oid: 17, binary: true, value: Some(b"\x00\xff"), bytes: 2, secret: false },
        Parameter { oid: 25, binary: false, value: Some(b"hush"), bytes: 4, secret: true },
    ];
    let events = [
        Event::SessionBegins(SessionBegins {
            login: "scram",
            tls: Some("TLSv1.3 TLS_AES_256_GCM_SHA384"),
            backend: Some(4711),
        }),
        Event::Statement(Statement {
            id: 1,
            kind: "execute",
            text: text(b"SELECT $1, '\xc3\xa9'"),
            forwarded: text(b"SELECT $1"),
            name: Some("stmt_1"),
            portal: Some("p"),
            parameters: &parameters,
            parameters_cut: true,
            verdict: "rewrite",
            policy: Some("agents read orders"),
            rule: Some("mask public.customers(ssn)"),
            touches: &["read public.customers(id, ssn)".into()],
            hold: Some("h_1"),
        }),
        Event::Statement(Statement {
            id: 2,
            kind: "query",
            text: Some(Text::Sql { bytes: b"ALTER ROLE a PASSWORD '***'", redacted: 1 }),
            forwarded: text(b"SELECT '\xe9'"),
            verdict: "allow",
            ..Default::default()
        }),
        Event::Statement(Statement {
            id: 3,
            kind: "query",
            text: Some(Text::Withheld { bytes: 90, sha256: [0xab; 32] }),
            verdict: "refuse",
            ..Default::default()
        }),
        Event::Outcome(Outcome {
            id: 1,
            tag: Some("SELECT 1"),
            rows: Some(1),
            bytes: Some(96),
            duration_us: Some(210),
            sqlstate: Some("57014"),
            cut: Some("the client went away"),
        }),
        Event::Hold(Hold {
            hold: "h_1",
            step: "asked",
            text: Some(Text::Sql { bytes: b"DELETE FROM t WHERE id = $1", redacted: 0 }),
            parameters: &[Parameter {
                oid: 23,
                binary: false,
                value: Some(b"7"),
                bytes: 1,
                secret: false,
            }],
            digest: Some("00ff"),
            rules: &["`delete: public.t` of policy `p` (line 3)"],
            ..Hold::default()
        }),
        Event::Hold(Hold {
            hold: "h_1",
            step: "approved",
            of: Some(("gatepost", "agent-7")),
            words: Some("once"),
            uses: Some(3),
            ..Hold::default()
        }),
        Event::Hold(Hold {
            hold: "h_2",
            step: "transaction",
            xid: Some(731),
            shape_of: Some("h_1"),
            ..Hold::default()
        }),
        Event::Cancel(Cancel { target: Some("8f14e45fceea167a"), id: Some(1), served: true }),
        Event::LoginRefused(LoginRefused {
            reason: "wrong password",
            sqlstate: Some("28P01"),
            user: Some("agent-8"),
            database: Some("orders"),
        }),
        Event::SessionEnds(SessionEnds {
            reason: "terminated",
            statements: Some(3),
            duration_us: Some(1_000_000),
        }),
        Event::Request(Request {
            request: "req_8f14e45fceea167a",
            policies: &["payments"],
            scope: Some("read: billing.payments"),
            reason: Some("ticket 42"),
            lasts_ms: 600_000,
            expires_at_ms: 1_795_262_289_123,
            needs: &["payments: 1 of group:dba"],
        }),
        Event::RequestDecided(RequestDecided {
            request: "req_8f14e45fceea167a",
            decision: "approve",
            state: "approved",
            of: Some(("https://idp.example", "agent-7")),
            words: Some("go ahead"),
            opened: Some("grant_8f14e45fceea167a"),
        }),
        Event::GrantOpens(GrantOpens {
            policies: &["payments"],
            scope: Some("read: billing.payments"),
            reason: Some("ticket 42"),
            request: Some("req_8f14e45fceea167a"),
            ends_at_ms: 1_795_262_889_123,
        }),
        Event::GrantEnds(GrantEnds {
            how: "revoked",
            of: Some(("https://idp.example", "agent-7")),
            words: Some("done"),
        }),
    ];
    let mut batch = Batch::new();
    for event in &events {
        batch.push(&full, event);
    }
    for event in [
        Event::SessionBegins(SessionBegins::default()),
        Event::Statement(Statement::default()),
        Event::Outcome(Outcome::default()),
        Event::Hold(Hold::default()),
        Event::Cancel(Cancel::default()),
        Event::LoginRefused(LoginRefused::default()),
        Event::SessionEnds(SessionEnds::default()),
        Event::Request(Request::default()),
        Event::RequestDecided(RequestDecided::default()),
        Event::GrantOpens(GrantOpens::default()),
        Event::GrantEnds(GrantEnds::default()),
        Event::TokenGiven(TokenGiven { login: "saml", lasts_ms: 600_000 }),
        Event::TokenGiven(TokenGiven::default()),
    ] {
        batch.push(&bare, &event);
    }
    own::journal_begins(&mut batch, "gatepost/gate-1+00000000+key");
    own::segment_begins(&mut batch, "gatepost/gate-1+00000000+key", (1, 4096), ["a", "b"]);
    own::segment_begins(&mut batch, "gatepost/gate-1+00000000+key", (1, 4096), []);
    own::started(&mut batch, false);
    own::stopped(&mut batch);
    own::recovered(&mut batch, 512, "00000000000000000001.jsonl.4096.cut");
    own::damage_accepted(&mut batch, "what was found");
    own::key_changed(&mut batch, "gatepost/gate-1+00000000+key", "note\n");
    own::clock_set_back(&mut batch, "2026-11-21T11:58:09.123456Z");
    own::resumed(&mut batch, "No space left on device", "2026-11-21T11:58:09.123456Z", 2);
    own::session_closed(&mut batch, "8f14e45fceea167a");
    own::head(&mut batch, "text\n\n\u{2014} gatepost/gate-1 signature\n");
    batch
}

#[test]
fn events_are_stored_as_the_golden_file_has_them() {
    let events = String::from_utf8(one_of_each().bytes).unwrap();
    golden("events.txt", &events);
    for line in events.lines() {
        let value: serde_json::Value = serde_json::from_str(&format!("{{\"v\":1{line}")).unwrap();
        assert!(value["event"].is_string());
    }
}

/// A key that everybody knows, and a clock that stands still: the same bytes each time.
#[tokio::test]
async fn a_journal_is_stored_as_the_golden_file_has_it() {
    let directory = Directory::new();
    let pem = "-----BEGIN PRIVATE KEY-----\n\
               MC4CAQAwBQYDK2VwBCIEIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\n\
               -----END PRIVATE KEY-----\n";
    fs::write(directory.0.join("journal.key"), pem).unwrap();
    let outside = Outside::default();
    outside.faults.set_clock(1_795_262_289_123_456);
    let journal = directory.open_with(&outside);
    record(&journal, &begins("s-1")).await.unwrap();
    let mut batch = attempt(1, "SELECT 1");
    push_outcome(&mut batch, &context("s-1"), 1);
    record(&journal, &batch).await.unwrap();
    record(&journal, &ends("s-1")).await.unwrap();
    journal.close().await.unwrap();
    golden("journal.jsonl", &String::from_utf8(content(&directory.last())).unwrap());
    // The format of the past stays readable, whatever the writer does today.
    let past = Directory::new();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/tests/golden/journal.jsonl");
    fs::copy(path, past.0.join("00000000000000000001.jsonl")).unwrap();
    past.verify().unwrap();
}

fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/journal.md");
    fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_describes_every_event_and_every_field() {
    let page = page();
    for line in String::from_utf8(one_of_each().bytes).unwrap().lines() {
        let value: serde_json::Value = serde_json::from_str(&format!("{{\"v\":1{line}")).unwrap();
        let event = value["event"].as_str().unwrap();
        assert!(page.contains(&format!("`{event}`")), "{event}");
        for field in value.as_object().unwrap().keys() {
            assert!(page.contains(&format!("`{field}`")), "{field} of {event}");
        }
    }
}

/// The page's own script, run by bash, finds a good journal good and a changed one not.
#[tokio::test]
async fn the_pages_example_verifies_with_common_tools() {
    let page = page();
    let script = page.split("```bash\n").nth(1).unwrap().split("```").next().unwrap();
    let directory = Directory::new();
    let options = Options { segment_bytes: 4096, ..directory.options() };
    let (journal, _) = Journal::open(options, None).unwrap();
    let mut batch = Batch::new();
    for id in 0..12 {
        batch.clear();
        push_attempt(&mut batch, &context("s-1"), id, "SELECT 'a\\b', \"c\" -- `d` $e %s");
        record(&journal, &batch).await.unwrap();
    }
    journal.close().await.unwrap();
    let run =
        || Command::new("bash").arg("-c").arg(script).current_dir(&directory.0).output().unwrap();
    let good = run();
    let said =
        String::from_utf8_lossy(&good.stdout).into_owned() + &String::from_utf8_lossy(&good.stderr);
    assert!(good.status.success(), "{said}");
    assert!(said.contains("records fit and are signed"), "{said}");

    let path = directory.last();
    let original = content(&path);
    for at in [original.len() / 2, original.len() - 40] {
        let mut bytes = original.clone();
        bytes[at] ^= 1;
        fs::write(&path, bytes).unwrap();
        let bad = run();
        assert!(!bad.status.success(), "byte {at}: {}", String::from_utf8_lossy(&bad.stdout));
    }
}

#[tokio::test]
async fn records_are_shown_by_identity_connection_session_verdict_and_time() {
    let directory = Directory::new();
    let outside = Outside::default();
    outside.faults.set_clock(1_795_262_289_000_000);
    let journal = directory.open_with(&outside);
    let mut tail = Tail::at_end(&directory.0).unwrap();
    record(&journal, &begins("s-1")).await.unwrap();
    outside.faults.set_clock(1_795_262_290_000_000);
    record(&journal, &attempt(1, "SELECT 1")).await.unwrap();
    let fresh = tail.poll(&Filter::default()).unwrap();
    assert_eq!(
        fresh.iter().map(|r| r.event()).collect::<Vec<_>>(),
        ["session_begins", "statement"]
    );
    assert!(tail.poll(&Filter::default()).unwrap().is_empty());

    let shown = |filter: Filter| {
        let mut events = Vec::new();
        crate::read::records(&directory.0, &filter, |record| {
            events.push(record.event().to_owned());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
        events.join(" ")
    };
    let some = |text: &str| Some(text.to_owned());
    let both = "session_begins statement";
    assert_eq!(shown(Filter { identity: some("agent-7"), ..Default::default() }), both);
    assert_eq!(shown(Filter { identity: some("local|agent-7"), ..Default::default() }), both);
    assert_eq!(shown(Filter { identity: some("other|agent-7"), ..Default::default() }), "");
    assert_eq!(shown(Filter { identity: some("agent-8"), ..Default::default() }), "");
    assert_eq!(shown(Filter { connection: some("orders"), ..Default::default() }), both);
    assert_eq!(shown(Filter { session: some("s-2"), ..Default::default() }), "");
    assert_eq!(shown(Filter { verdict: some("allow"), ..Default::default() }), "statement");
    assert_eq!(shown(Filter { verdict: some("refuse"), ..Default::default() }), "");
    let at = || some("2026-11-21T11:58:10");
    assert_eq!(shown(Filter { since: at(), ..Default::default() }), "statement");
    let before = shown(Filter { until: at(), ..Default::default() });
    assert_eq!(before, "journal_begins started session_begins");

    record(&journal, &attempt(2, "SELECT 2")).await.unwrap();
    let fresh = tail.poll(&Filter { verdict: some("allow"), ..Default::default() }).unwrap();
    assert_eq!(fresh.len(), 1);
    journal.close().await.unwrap();
}
