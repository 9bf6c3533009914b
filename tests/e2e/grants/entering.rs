//! Coming in: what opens at once, what waits for a person, what is refused and with which words.

use e2e::on_each_version;

use super::{Asking, Stand, asks, detail, opens};
use crate::raw;
use crate::setup::AGENT;

on_each_version! {
    fn what_opens_at_once_is_one_grant_for_all_who_connect(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 1h", ""));
        let mut sessions: Vec<_> = (0..5).map(|_| stand.gate.login().0).collect();
        for raw in &mut sessions {
            assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        }
        let people = stand.people();
        let grants = people.grants();
        assert_eq!(grants.len(), 1, "{grants:?}");
        assert_eq!(grants[0].policies, ["items"]);
        assert_eq!(grants[0].ends_at - grants[0].opened_at, 3_600_000);
        assert!(people.requests().is_empty());
        drop(sessions);
        // What the journal has of it.
        stand.gate.process.signal("TERM");
        crate::setup::eventually("the end", || stand.gate.log().contains("stopped"));
        let journal = stand.gate.process.place.directory.join("journal");
        let text: String = std::fs::read_dir(journal).unwrap()
            .filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok())
            .collect();
        let opened = text.matches("\"event\":\"grant_opens\"").count();
        assert_eq!(opened, 1, "{text}");
        let id = grants[0].id.to_string();
        let begins: Vec<_> =
            text.lines().filter(|line| line.contains("\"event\":\"session_begins\"")).collect();
        assert_eq!(begins.len(), 5);
        for line in begins {
            assert!(line.contains(&format!("\"grant\":\"{id}\"")), "{line}");
        }
    }

    fn ten_at_once_make_one_request_and_all_are_let_in(server: Server) {
        let stand = Stand::new(&server, &asks("items", "window: 1h", ""));
        let target = stand.gate.target();
        let mut waiting: Vec<_> = (0..10).map(|_| Asking::begin(&target, "")).collect();
        let mut told = Vec::new();
        for asking in &mut waiting {
            told.push(asking.notice());
        }
        let people = stand.people();
        let request = people.pending();
        assert_eq!(people.requests().len(), 1);
        assert_eq!(crate::setup::activity(&stand.database, "application_name <> 'gatepost catalog'"), 0, "no backend waits");
        for notice in &told {
            assert_eq!(notice.sqlstate(), "ZP002");
            assert!(notice.text().contains("1 of identity:anna"), "{}", notice.show());
            assert_eq!(detail(notice)["request"], request.id.as_str());
            assert_eq!(detail(notice)["needs"][0], "1 of identity:anna");
        }
        people.approve(&request.id);
        for asking in waiting {
            let (mut raw, _) = asking.finish().unwrap();
            assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
        }
        let grants = people.grants();
        assert_eq!(grants.len(), 1);
        assert_eq!(grants[0].request, Some(request.id));
        assert_eq!(grants[0].approved_by.len(), 1);
    }

    fn who_denies_says_why(server: Server) {
        let stand = Stand::new(&server, &asks("items", "window: 1h", ""));
        let people = stand.people();
        let mut asking = Asking::begin(&stand.gate.target(), "");
        asking.notice();
        people.deny(&people.pending().id, "not on a Friday");
        let refusal = asking.finish().err().expect("a refusal");
        assert_eq!(refusal.sqlstate(), "42501");
        assert!(refusal.text().contains("not on a Friday"), "{}", refusal.show());
        assert_eq!(detail(&refusal)["code"], "denied");
        // The same again has the same answer; another reason is another request.
        let again = stand.asking("").err().expect("a refusal");
        assert_eq!(detail(&again)["words"], "not on a Friday");
        let mut other = Asking::begin(&stand.gate.target(), "-c gatepost.reason=it\\ is\\ Monday");
        other.notice();
        assert_eq!(people.pending().reason.as_deref(), Some("it is Monday"));
    }

    fn nobody_waits_for_longer_than_the_policy_says_and_the_request_goes_on(server: Server) {
        let policies = asks("items", "window: 1h", "    limits: { hold_wait: 1s }\n");
        let stand = Stand::new(&server, &policies);
        let refusal = stand.asking("").err().expect("a refusal");
        assert_eq!((refusal.sqlstate(), refusal.severity()), ("ZP002".into(), "FATAL".into()));
        let people = stand.people();
        let request = people.pending();
        let said = detail(&refusal);
        assert_eq!((said["code"].as_str(), said["request"].as_str()),
            (Some("pending"), Some(request.id.as_str())));
        assert!(refusal.field(b'H').unwrap().contains("gatepost approve"), "{}", refusal.show());
        // Who leaves leaves it, too.
        let mut asking = Asking::begin(&stand.gate.target(), "");
        asking.notice();
        asking.leave();
        assert_eq!(people.requests().len(), 1);
        people.approve(&request.id);
        let (mut raw, notices) = stand.asking("").unwrap();
        assert!(notices.is_empty());
        assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    }

    fn what_is_asked_for_by_name_for_a_time_and_with_a_reason(server: Server) {
        let policies = opens("items", "window: 10m, longest: 1h", "")
            + &opens("\"notes, with care\"", "window: 20m, reason: required", "")
            + &asks("more", "window: 5m", "");
        let stand = Stand::new(&server, &policies);
        let refused = |options: &str| stand.asking(options).err().expect("a refusal");

        let refusal = refused("-c gatepost.policy=nothing");
        assert_eq!(detail(&refusal)["unknown"][0], "nothing");
        assert_eq!(detail(&refusal)["policies"][1], "notes, with care");
        let refusal = refused("-c gatepost.policy=notes,\\ with\\ care");
        assert_eq!(detail(&refusal)["code"], "reason_required");
        // What it says is ready to be used.
        let ask = detail(&refusal)["ask"]["connect"].as_str().unwrap().to_owned();
        let login = stand.gate.client(&stand.database);
        let conninfo = format!(
            "host=127.0.0.1 port={} user={AGENT} dbname={} {ask}",
            stand.gate.port(), stand.database.name
        );
        let mut psql = login.program("psql");
        psql.env("PGPASSWORD", &stand.gate.token)
            .args(["-XAtq", "-d", &conninfo, "-c", "SELECT 1"]);
        let output = psql.output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "1\n", "{output:?}");
        for wrong in ["-c gatepost.for=soon", "-c gatepost.what=x", "-c gatepost.scope=select:x"] {
            let refusal = refused(wrong);
            assert_eq!(refusal.sqlstate(), "22023", "{}", refusal.show());
            assert_eq!(detail(&refusal)["code"], "malformed_request");
        }
        let people = stand.people();
        people.grants().iter().for_each(|grant| people.revoke(&grant.id, "enough"));

        let (_raw, notices) = stand.asking("-c gatepost.for=2h -c geqo=off").unwrap();
        assert_eq!(notices.len(), 1);
        assert_eq!(detail(&notices[0])["policies"][0], "items");
        let grant = people.grants().pop().unwrap();
        assert_eq!(grant.ends_at - grant.opened_at, 3_600_000, "and no longer than `longest`");
        people.revoke(&grant.id, "enough");
        let both = "-c gatepost.policy=items,\"notes,\\ with\\ care\" -c gatepost.reason=two\\ things";
        let (_raw, _) = stand.asking(both).unwrap();
        let grant = people.grants().pop().unwrap();
        assert_eq!(grant.policies, ["items", "notes, with care"]);
        assert_eq!(grant.reason.as_deref(), Some("two things"));
        assert_eq!(grant.ends_at - grant.opened_at, 600_000);
    }

    fn a_narrower_scope_is_what_passes(server: Server) {
        let stand = Stand::new(&server, &opens("items", "window: 10m", ""));
        let scope = "-c gatepost.scope=read:\\ public.items(id),\\ public.secrets;\\ insert:\\ public.notes";
        let (mut raw, notices) = stand.asking(scope).unwrap();
        let said = detail(&notices[0]);
        assert_eq!(said["given"][0], "read public.items(id)", "{said}");
        assert_eq!(said["lacking"][0], "read public.secrets (does not exist)", "{said}");
        assert_eq!(raw.value("SELECT count(id) FROM items"), "5");
        for (sql, code) in [
            ("SELECT name FROM items", "out_of_scope"),
            ("UPDATE notes SET what = 'x'", "out_of_scope"),
            ("DELETE FROM items", "not_allowed"),
            ("SET gatepost.scope = 'everything'", "not_allowed"),
        ] {
            let replies = raw.query(sql);
            let error = raw::error(&replies);
            assert_eq!(detail(error)["code"], code, "{sql}: {}", error.show());
        }
        raw.query("INSERT INTO notes VALUES (1, 'x')");
        assert_eq!(stand.database.login().psql("SELECT count(*) FROM notes"), "1");
        // The same scope is the same grant, and another one another; a plain connect has what opens.
        let (mut same, _) = stand.asking(scope).unwrap();
        assert_eq!(detail(raw::error(&same.query("SELECT name FROM items")))["code"], "out_of_scope");
        assert_eq!(stand.people().grants().len(), 1);
        let (mut plain, _) = stand.asking("").unwrap();
        assert_eq!(plain.value("SELECT count(name) FROM items"), "5");
        let (mut other, _) = stand.asking("-c gatepost.scope=read:public.items").unwrap();
        assert_eq!(other.value("SELECT count(name) FROM items"), "5");
        assert_eq!(stand.people().grants().len(), 3);
    }

    fn limits_of_a_grant_are_those_of_all_its_sessions(server: Server) {
        let limits = "    limits: { rows: 7 per grant }\n";
        let stand = Stand::new(&server, &opens("items", "window: 10m", limits));
        let (mut one, _) = stand.gate.login();
        let (mut two, _) = stand.gate.login();
        assert!(one.query("TABLE items").iter().all(|message| message.tag != b'E'));
        let replies = two.query("TABLE items");
        assert_eq!(replies.iter().filter(|message| message.tag == b'D').count(), 2);
        let error = raw::error(&replies);
        assert_eq!(error.sqlstate(), "53400");
        assert_eq!((detail(error)["per"].as_str(), detail(error)["resets"].as_str()),
            (Some("grant"), Some("next grant")));
        // Nobody has to agree to another, so it is no way to more.
        let spent = |raw: &mut raw::Raw| {
            let replies = raw.query("TABLE items");
            assert_eq!(raw::error(&replies).sqlstate(), "53400", "{}", raw::show(&replies));
            replies.iter().all(|message| message.tag != b'D')
        };
        let (mut narrower, _) = stand.asking("-c gatepost.scope=read:public.items").unwrap();
        assert!(spent(&mut narrower));
        let people = stand.people();
        people.grants().iter().for_each(|grant| people.revoke(&grant.id, "enough"));
        crate::setup::eventually("another grant", || {
            stand.asking("").is_ok_and(|(mut raw, _)| spent(&mut raw))
        });
    }
}
