//! The gateway is killed between any two steps: what was agreed to runs at most once, and the
//! journal tells what became of it.

use access::HoldState;

use super::stand::Stand;
use crate::raw;
use crate::setup;

#[test]
fn kill_9_between_every_two_steps() {
    for (point, ran) in [
        ("claim", Some(false)),
        ("claimed", Some(false)),
        ("transaction", Some(false)),
        ("noted", Some(false)),
        // PostgreSQL alone knows.
        ("sent", None),
        ("finish", Some(true)),
        ("finished", Some(true)),
    ] {
        let mut stand = Stand::on(setup::database(), "    limits: { hold_wait: 500ms }\n");
        let update = "UPDATE payments SET amount = amount + 1 WHERE id = 1";
        let mut agent = stand.agent();
        assert_eq!(raw::error(&agent.query(update)).sqlstate(), "ZP001");
        let hold = stand.waits();
        stand.approve(&hold);
        drop(agent);
        stand.gate.process.kill9();
        stand.gate.process.place.environment = vec![("GATEPOST_FAULT".into(), point.into())];
        stand.gate.process.restart();
        let mut agent = stand.agent();
        agent.send(&raw::query(update));
        let _killed = stand.gate.process.wait_exit();
        stand.gate.process.place.environment.clear();
        stand.gate.process.restart();
        let amount = |stand: &Stand| stand.value("SELECT amount FROM payments WHERE id = 1");
        let state = if point == "claim" { None } else { Some(stand.outcome(&hold)) };
        let has_run = amount(&stand) == "101";
        assert_eq!(has_run, ran.unwrap_or(has_run), "{point}: {state:?}");
        let ran = has_run;
        match (&state, ran) {
            (None, _) => {}
            (Some(HoldState::Done { .. }), true) => {}
            (Some(HoldState::Failed { .. } | HoldState::Unknown { .. }), false) => {}
            other => panic!("{point}: {other:?}"),
        }
        // Only an approval that nobody has claimed is still good, and for one run.
        let replies = stand.agent().query(update);
        match raw::show(&replies).contains("ZP001") {
            true => assert!(point != "claim", "{}", raw::show(&replies)),
            false => assert_eq!(point, "claim", "{}", raw::show(&replies)),
        }
        assert!(matches!(amount(&stand).as_str(), "100" | "101"), "{point}");
        if point != "claim" {
            let steps = stand.steps(&hold);
            let last = steps.last().map(String::as_str);
            assert!(matches!(last, Some("done" | "failed" | "unknown")), "{point}: {steps:?}");
        }
    }
}
