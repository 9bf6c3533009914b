//! What judging costs once a statement has facts: each verdict is made once for a text and kept.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    dead_code,
    reason = "a bench that can't go on has failed, and so has what it is built on"
)]

#[path = "../../sql/tests/facts/snapshot.rs"]
mod snapshot;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use policy::written::{Access, Approval, Place, Policy, Rule, Text, Who};
use policy::{Context, Opened, Policies, Scope, Subject};
use sql::catalog::{Catalog, Names};
use sql::facts::Facts;
use sql::parse::Limits;

fn text(text: &str) -> Text {
    Text { text: text.to_owned(), place: Place { line: 1, column: 1 } }
}

fn rule(verbs: &str, objects: &str, except: &str) -> Rule {
    let except = if except.is_empty() { Vec::new() } else { vec![text(except)] };
    Rule { verbs: text(verbs), objects: vec![text(objects)], except, ..Rule::default() }
}

/// A file of some size: what one identity has in force is what counts.
fn scope(catalog: &Arc<Catalog>) -> Scope {
    let opens = Some(Access { approval: Some(Approval::Word(text("none"))), ..Access::default() });
    let policies = (0..10).map(|number| Policy {
        name: text(&format!("policy {number}")),
        who: vec![Who::One(text("*"))],
        to: vec![text("*")],
        access: opens.clone(),
        allow: vec![
            rule("read", "public.*, billing.payments(id, amount)", "public.password_resets"),
            rule("write", "public.orders, public.notes", ""),
            rule("use", "public.clean, extension:postgis", ""),
        ],
        refuse: vec![rule("read", "*(ssn)", "")],
        ..Policy::default()
    });
    let policies = Policies::new(policies.collect()).unwrap();
    let claims = BTreeMap::new();
    let who = Subject {
        name: Some("agent"),
        issuer: "gatepost",
        subject: "agent",
        groups: &[],
        claims: &claims,
    };
    match policies.open(&who, "shop") {
        Opened::Open(in_force) => in_force.scope(catalog),
        other => panic!("{other:?}"),
    }
}

fn facts(text: &str, catalog: &Catalog) -> Facts {
    let names =
        Names { search_path: &["public"], user: "agent", temporary: None, database: "shop" };
    let statements = sql::statements(text, catalog, &names, &Limits::default()).unwrap();
    statements.into_iter().next().unwrap().facts.unwrap()
}

fn decide(criterion: &mut Criterion) {
    let catalog = Arc::new(snapshot::read(include_str!("../tests/cases/catalog.txt")));
    let scope = scope(&catalog);
    for (name, text) in [
        ("select by key", "SELECT name FROM customers WHERE id = 1"),
        ("refused column", "SELECT ssn FROM customers WHERE id = 1"),
        ("update", "UPDATE orders SET note = 'x' WHERE id = 1"),
        ("partitions", "SELECT id FROM events"),
        (
            "join of five, functions",
            "SELECT upper(c.name), clean(n.body) FROM customers c JOIN orders o ON o.customer_id = \
             c.id JOIN notes n ON n.id = o.id JOIN people p ON p.id = n.id JOIN customer_names v ON \
             v.id = p.id WHERE o.total > 1",
        ),
        ("built in", "SELECT relname FROM pg_class"),
        ("setting", "SET application_name = 'x'"),
    ] {
        let facts = facts(text, &catalog);
        criterion.bench_function(name, |bencher| {
            bencher.iter(|| scope.decide(black_box(&facts), Context::default()));
        });
    }
}

criterion_group!(benches, decide);
criterion_main!(benches);
