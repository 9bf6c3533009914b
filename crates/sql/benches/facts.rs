//! How long it takes from text to facts: an ordinary short query, a long one, and hostile ones.
//! `cargo bench -p sql`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use sql::catalog::{Builder, Catalog, Names, Read};
use sql::parse::Limits;
use sql::rewrite::{Disguises, Expression, Look, Mask, Piece, edited};

const SHORT: &str = "SELECT abalance FROM pgbench_accounts WHERE aid = 4711;";

const ANALYTICAL: &str = "
WITH recent AS (
    SELECT o.id, o.customer_id, o.total, o.placed
    FROM orders o
    WHERE o.placed >= date_trunc('month', now()) - interval '3 months'
), ranked AS (
    SELECT r.customer_id,
           r.total,
           row_number() OVER (PARTITION BY r.customer_id ORDER BY r.total DESC) AS place,
           sum(r.total) OVER (PARTITION BY r.customer_id) AS spent
    FROM recent r
)
SELECT c.region,
       c.name,
       count(*) AS orders,
       sum(k.total) AS total,
       max(k.spent) AS spent,
       coalesce(string_agg(i.product, ', ' ORDER BY i.product), '-') AS products
FROM customers c
JOIN ranked k ON k.customer_id = c.id
LEFT JOIN LATERAL (
    SELECT i.product
    FROM items i
    JOIN recent r ON r.id = i.order_id
    WHERE r.customer_id = c.id
    LIMIT 3
) i ON true
WHERE k.place <= 5
  AND c.region IN ('north', 'south')
  AND NOT EXISTS (SELECT 1 FROM orders x WHERE x.customer_id = c.id AND x.total < 0)
GROUP BY c.region, c.name
HAVING sum(k.total) > 1000
ORDER BY total DESC, c.name
LIMIT 100";

fn catalog() -> Catalog {
    let mut builder = Builder::default();
    let mut row = |read, values: &[&str]| {
        let values: Vec<Option<&str>> = values.iter().copied().map(Some).collect();
        assert!(builder.row(read, &values).is_ok(), "{values:?}");
    };
    row(Read::Schemas, &["11", "pg_catalog"]);
    row(Read::Schemas, &["2200", "public"]);
    let tables: [(&str, &[&str]); 4] = [
        ("pgbench_accounts", &["aid", "bid", "abalance", "filler"]),
        ("orders", &["id", "customer_id", "total", "placed"]),
        ("customers", &["id", "name", "region"]),
        ("items", &["order_id", "product"]),
    ];
    for (at, (name, columns)) in tables.iter().enumerate() {
        let oid = (20_000 + at).to_string();
        row(Read::Relations, &[&oid, "2200", name, "r", "10", "f", "f"]);
        for (number, column) in columns.iter().enumerate() {
            row(Read::Columns, &[&oid, &(number + 1).to_string(), column, "23", "", "-1"]);
        }
    }
    row(Read::Types, &["23", "11", "int4", "0", "0", "0", "b", "-1"]);
    let functions = [
        ("date_trunc", 2),
        ("now", 0),
        ("row_number", 0),
        ("sum", 1),
        ("count", 0),
        ("max", 1),
        ("string_agg", 2),
    ];
    for (at, (name, arguments)) in functions.iter().enumerate() {
        let types = vec!["23"; *arguments].join("\u{1f}");
        let oid = (1_000 + at).to_string();
        row(
            Read::Functions,
            &[
                &oid,
                "11",
                name,
                "f",
                "i",
                "f",
                &arguments.to_string(),
                "0",
                "f",
                "f",
                "23",
                &types,
                "",
                "",
                "",
                "",
            ],
        );
    }
    builder.build()
}

fn facts(c: &mut Criterion) {
    let catalog = catalog();
    let names = Names {
        search_path: &["$user", "public"],
        user: "anna",
        temporary: None,
        database: "postgres",
    };
    let hostile = [
        ("a chain of 50,000 terms", format!("SELECT {}1", "1 + ".repeat(50_000))),
        ("10 MB in one constant", format!("SELECT '{}'", "a".repeat(9_999_000))),
        ("100,000 parentheses", format!("SELECT {}1{}", "(".repeat(100_000), ")".repeat(100_000))),
        ("100,000 comments in each other", "/*".repeat(100_000) + &"*/".repeat(100_000)),
        ("10,000 WITH queries", {
            let each = (0..10_000).map(|n| format!("a{n} AS (SELECT 1)")).collect::<Vec<_>>();
            format!("WITH {} SELECT 1", each.join(", "))
        }),
    ];
    let mut of = |name: &str, text: &str, whole: bool| {
        let statements = sql::statements(text, &catalog, &names, &Limits::default());
        let understood = statements.is_ok_and(|s| s.iter().all(|s| s.facts.is_ok()));
        assert!(understood || !whole, "{name} is refused");
        c.bench_function(name, |b| {
            b.iter(|| sql::statements(black_box(text), &catalog, &names, &Limits::default()));
        });
    };
    of("pgbench SELECT", SHORT, true);
    of("30 lines", ANALYTICAL, true);
    for (name, text) in &hostile {
        of(name, text, false);
    }
}

/// What rewriting a new statement adds to understanding it: masks on every table but one, and a
/// statement that reads none of them.
fn rewriting(c: &mut Criterion) {
    let catalog = catalog();
    let names = Names {
        search_path: &["$user", "public"],
        user: "anna",
        temporary: None,
        database: "postgres",
    };
    let mut disguises = Disguises::new();
    for relation in catalog.relations().filter(|relation| &*relation.name != "items") {
        let Some(id) = catalog.relation_by_oid(relation.oid) else { continue };
        for column in relation.columns.iter().filter(|column| column.number > 1) {
            let expression = Expression(vec![
                Piece::Text("CASE WHEN pg_catalog.length(".into()),
                Piece::Column(column.number),
                Piece::Text(") OPERATOR(pg_catalog.>) 8 THEN pg_catalog.right(".into()),
                Piece::Column(column.number),
                Piece::Text(", 4) END::pg_catalog.varchar(20)".into()),
            ]);
            let mask = Mask { expression, look: Look::Any };
            disguises.entry(id).or_default().masks.insert(column.number, mask);
        }
    }
    let none = Disguises::new();
    let texts = [
        ("pgbench SELECT", SHORT),
        ("30 lines", ANALYTICAL),
        ("a SELECT of what has no mask", "SELECT product FROM items WHERE order_id = 4711"),
    ];
    for (name, text) in texts {
        for (how, disguises) in [("rewritten", &disguises), ("beside no masks", &none)] {
            c.bench_function(&format!("{name}, {how}"), |b| {
                b.iter(|| {
                    let all = sql::disguised(
                        black_box(text),
                        &catalog,
                        &names,
                        &Limits::default(),
                        disguises,
                    );
                    let all = all.into_iter().flatten().filter_map(|one| one.understood.ok());
                    let rewritten = all.filter_map(|(_, rewritten)| rewritten.ok());
                    rewritten.map(|one| edited(text, &one.edits)).collect::<Vec<_>>()
                });
            });
        }
    }
}

/// From rows to a snapshot; the server's part of loading it comes on top.
fn snapshot(c: &mut Criterion) {
    let mut rows = Vec::new();
    for oid in 20_000..30_000 {
        let name = format!("table_{oid}");
        rows.push((
            Read::Relations,
            [&*oid.to_string(), "2200", &name, "r", "10", "f", "f"].map(str::to_owned).to_vec(),
        ));
    }
    for oid in 20_000..30_000 {
        for number in 1..=20 {
            let name = format!("column_{number}");
            rows.push((
                Read::Columns,
                [&*oid.to_string(), &*number.to_string(), &name, "23", "", "-1"]
                    .map(str::to_owned)
                    .to_vec(),
            ));
        }
    }
    c.bench_function("a snapshot of 10,000 relations with 20 columns", |b| {
        b.iter(|| {
            let mut builder = Builder::default();
            assert!(builder.row(Read::Schemas, &[Some("2200"), Some("public")]).is_ok());
            for (read, values) in &rows {
                let values: Vec<Option<&str>> = values.iter().map(|v| Some(&**v)).collect();
                assert!(builder.row(*read, &values).is_ok());
            }
            builder.build()
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20);
    targets = facts, rewriting, snapshot
}
criterion_main!(benches);
