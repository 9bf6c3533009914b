//! What counts as a WHERE, and its near twins that don't. The schema is that of the cases.

use sql::catalog::Names;
use sql::parse::Limits;

use crate::snapshot;

/// `DELETE FROM orders` and UPDATEs of it, by what stands behind.
const RESTRICT: &[&str] = &[
    "WHERE id = 1",
    "WHERE 1 = id",
    "WHERE orders.id = $1",
    "WHERE id > 0 AND true",
    "WHERE true AND (id = 1 OR id = 2)",
    "WHERE NOT (id = 1)",
    "WHERE NOT (id <> 1 AND total = 2)",
    "WHERE id IN (1, 2)",
    "WHERE id NOT IN (1, 2)",
    "WHERE id = ANY ($1)",
    "WHERE (id, total) = (1, 2)",
    "WHERE (id, total) IN ((1, 2), (3, 4))",
    "WHERE id BETWEEN 1 AND $1",
    "WHERE note LIKE 'a%'",
    "WHERE note NOT LIKE 'a%'",
    "WHERE lower(note) = 'a'",
    "WHERE note::text COLLATE \"C\" = 'a'",
    "WHERE note IS NULL",
    "WHERE NOT (note IS NOT NULL)",
    "WHERE (id = 1) IS TRUE",
    "WHERE note IS DISTINCT FROM 'a'",
    "WHERE note IS NOT DISTINCT FROM NULL",
    "WHERE id = (SELECT max(id) FROM orders)",
    "WHERE id > (SELECT max(order_id) FROM items)",
    "WHERE id = ANY ((SELECT array_agg(order_id) FROM items))",
    "WHERE id = ANY (ARRAY(SELECT order_id FROM items))",
    "WHERE id = (SELECT id FROM orders WHERE note = 'a' ORDER BY id LIMIT 1)",
    "WHERE id IN (SELECT id FROM orders WHERE note = 'a')",
    "WHERE id IN (SELECT id FROM orders ORDER BY id LIMIT 100)",
    "WHERE id IN (SELECT order_id FROM items)",
    "WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = orders.id)",
    "WHERE EXISTS (SELECT FROM items WHERE order_id = orders.id AND product = 'x')",
    "WHERE id = 1 AND id = id",
    "WHERE now() > '2020-01-01' AND id = 1",
    "WHERE CURRENT OF c",
    "WHERE ctid = '(0,1)'",
];

const DONT: &[&str] = &[
    "",
    "WHERE true",
    "WHERE 1 = 1",
    "WHERE $1",
    "WHERE $1 = $2",
    "WHERE now() > '2020-01-01'",
    "WHERE true IS NOT FALSE",
    "WHERE id = id",
    "WHERE orders.id = id",
    "WHERE id + 0 = id",
    "WHERE id * 0 = 0",
    "WHERE id >= ALL ('{}')",
    "WHERE id <> ANY ('{1,2}')",
    "WHERE 1 = 1 OR id = 1",
    "WHERE id = 1 OR true",
    "WHERE (id = 1 OR (total = 2 OR true))",
    "WHERE id = 1 OR id IS NOT NULL",
    "WHERE NOT (id = 1 AND false)",
    "WHERE id IS NOT NULL",
    "WHERE NOT (id IS NULL)",
    "WHERE (id = NULL) IS UNKNOWN",
    "WHERE (id = NULL) IS NOT TRUE",
    "WHERE (id = id) IS TRUE",
    "WHERE id IS DISTINCT FROM NULL",
    "WHERE id IS NOT DISTINCT FROM id",
    "WHERE id IN (id, 3)",
    "WHERE id BETWEEN id AND 9",
    "WHERE id BETWEEN 1 AND id",
    "WHERE note LIKE '%'",
    "WHERE note ILIKE '%%'",
    "WHERE note ~ 'a*'",
    "WHERE note = coalesce(note, '')",
    "WHERE coalesce(id, 1) = 1",
    "WHERE CASE WHEN id = 1 THEN 1 ELSE 1 END = 1",
    "WHERE (id, 1) <> (1, 2)",
    "WHERE EXISTS (SELECT 1)",
    "WHERE EXISTS (SELECT 1 FROM items)",
    "WHERE EXISTS (SELECT count(*) FROM items i WHERE i.order_id = orders.id)",
    "WHERE EXISTS (SELECT 1 FROM items WHERE id = id)",
    "WHERE EXISTS (SELECT 1 FROM orders o WHERE o.id = orders.id)",
    "WHERE EXISTS (SELECT 1 FROM big_orders b WHERE b.id = orders.id)",
    "WHERE NOT EXISTS (SELECT 1 FROM items i WHERE i.order_id = orders.id)",
    "WHERE id = (SELECT orders.id)",
    "WHERE id = (SELECT id)",
    // The column is not in `items`, so it is the target's.
    "WHERE total IN (SELECT total FROM items)",
    "WHERE id IN (SELECT id FROM orders)",
    "WHERE id IN (SELECT id FROM orders LIMIT ALL)",
    "WHERE id IN (SELECT id FROM big_orders)",
    "WHERE id IN (SELECT id FROM orders WHERE id = id)",
    "WHERE id NOT IN (SELECT order_id FROM items)",
    "WHERE id IN (SELECT orders.id FROM items)",
    "WHERE orders IS NOT NULL",
    "WHERE id <= (SELECT max(id) FROM orders)",
    "WHERE id BETWEEN 1 AND (SELECT max(id) FROM orders)",
    "WHERE id = ANY ((SELECT array_agg(id) FROM orders))",
    "WHERE id = ANY (ARRAY(SELECT id FROM orders))",
    "WHERE id <> (SELECT -1 FROM orders)",
];

/// What stands between, and the condition.
const WITH_OTHERS: &[(&str, bool)] = &[
    ("UPDATE orders SET note = 'a' FROM items i WHERE i.order_id = orders.id", true),
    ("UPDATE orders SET note = v.n FROM (VALUES (1, 'a')) v(id, n) WHERE v.id = orders.id", true),
    ("UPDATE orders SET note = 'a' FROM orders o WHERE o.id = orders.id", false),
    ("UPDATE orders AS o SET note = 'a' WHERE o.id = o.id", false),
    ("UPDATE orders AS o SET note = 'a' FROM items i WHERE i.id = i.order_id", false),
    ("UPDATE orders SET note = 'a' FROM (SELECT id FROM orders) s WHERE s.id = orders.id", false),
    ("UPDATE orders SET note = 'a' FROM big_orders s WHERE s.id = orders.id", false),
    ("WITH s AS (SELECT id FROM orders) DELETE FROM orders USING s WHERE s.id = orders.id", false),
    ("WITH s AS (SELECT id FROM items) DELETE FROM orders USING s WHERE s.id = orders.id", true),
    ("WITH d AS (DELETE FROM items) DELETE FROM orders WHERE id = 1", false),
    ("WITH d AS (DELETE FROM items WHERE id = 2) DELETE FROM orders WHERE id = 1", true),
    ("MERGE INTO orders o USING items i ON o.id = i.order_id WHEN MATCHED THEN DELETE", true),
    ("MERGE INTO orders o USING items i ON true WHEN MATCHED THEN DELETE", false),
    ("MERGE INTO orders o USING orders i ON o.id = i.id WHEN MATCHED THEN DELETE", false),
];

#[test]
fn a_condition_counts_or_it_does_not() {
    for (conditions, want) in [(RESTRICT, true), (DONT, false)] {
        for condition in conditions {
            for write in ["DELETE FROM orders", "UPDATE orders SET note = 'a'"] {
                check(&format!("{write} {condition}"), want);
            }
        }
    }
    for (text, want) in WITH_OTHERS {
        check(text, *want);
    }
}

/// It takes bounded time, and what is too deep counts for nothing.
#[test]
fn conditions_without_end() {
    let wide = format!("DELETE FROM orders WHERE {} id = id", "id = id AND ".repeat(20_000));
    check(&wide, false);
    let deep = format!("DELETE FROM orders WHERE {}id = 1{}", "NOT (".repeat(40), ")".repeat(40));
    check(&deep, false);
    let near = format!("DELETE FROM orders WHERE {}id = 1{}", "NOT (".repeat(4), ")".repeat(4));
    check(&near, true);
}

fn check(text: &str, want: bool) {
    let catalog = snapshot::snapshot();
    let names =
        Names { search_path: &["app"], user: "agent", temporary: None, database: "postgres" };
    let found = sql::statements(text, &catalog, &names, &Limits::default()).unwrap();
    let facts = found[0].facts.as_ref().unwrap_or_else(|why| panic!("{text}: {why}"));
    assert_eq!(facts.restricted, Some(want), "{}", &text[..text.len().min(200)]);
}
