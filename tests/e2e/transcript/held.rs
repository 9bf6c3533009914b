//! What people have to agree to, in each way that a client can send it: by itself, in a string, in a
//! pipeline, in a transaction, prepared, in parts.

use super::program::{Program, Step};
use crate::raw;

const INSERT: &str = "INSERT INTO logs(what) VALUES ($1) RETURNING id, what";
const TWICE: &str = "INSERT INTO logs(what) VALUES ($1), ('more') RETURNING id";

pub(super) fn held() -> Vec<(&'static str, Program)> {
    let sync = || Step::new("Sync", raw::sync());
    let bound = |portal: &str, statement: &str, value: &str| {
        Step::new("Bind", raw::bind(portal, statement, &[], &[Some(value.as_bytes())], &[]))
    };
    let execute = |portal: &str, rows| Step::new("Execute", raw::execute(portal, rows));
    let free = || {
        [
            Step::parse("", "SELECT name FROM items ORDER BY id LIMIT 2"),
            Step::new("Bind", raw::bind("", "", &[], &[], &[])),
            execute("", 0),
        ]
    };
    let queries = |all: &[&str]| all.iter().map(|sql| Step::query(sql)).collect::<Vec<_>>();
    let count = || Step::query("SELECT count(*) FROM items");
    let programs: Vec<(&'static str, Vec<Step>)> = vec![
        ("by itself", queries(&["INSERT INTO logs(what) VALUES ('a') RETURNING *"])),
        (
            "by itself, and fails by itself",
            queries(&[
                "INSERT INTO logs(what) VALUES (NULL)",
                "INSERT INTO logs(id, what) VALUES (1 / 0, 'x')",
            ]),
        ),
        (
            "in a string, and what stands with it",
            queries(&["SELECT 1; INSERT INTO logs(what) VALUES ('a'); SELECT chatty(2)"]),
        ),
        (
            "in a string that fails behind it",
            queries(&["INSERT INTO logs(what) VALUES ('a'); SELECT 1/0; SELECT 2"]),
        ),
        (
            "twice in a string",
            queries(&["DELETE FROM logs; INSERT INTO logs(what) VALUES ('a') RETURNING id"]),
        ),
        (
            "in a transaction that begins and ends with its string",
            queries(&["BEGIN; INSERT INTO logs(what) VALUES ('a'); COMMIT"]),
        ),
        (
            "in a transaction",
            queries(&["BEGIN", "INSERT INTO logs(what) VALUES ('a') RETURNING id", "COMMIT"]),
        ),
        (
            "in a transaction that does not stand",
            queries(&["BEGIN", "SELECT 1", "DELETE FROM logs", "ROLLBACK"]),
        ),
        (
            "in a transaction that has failed",
            queries(&["BEGIN", "SELECT 1/0", "INSERT INTO logs(what) VALUES ('a')", "COMMIT"]),
        ),
        (
            "behind a savepoint",
            queries(&[
                "BEGIN",
                "SAVEPOINT a",
                "INSERT INTO logs(what) VALUES ('a')",
                "ROLLBACK TO a",
                "SELECT 1",
                "COMMIT",
            ]),
        ),
        (
            "bound and described",
            vec![
                Step::parse("", INSERT),
                Step::new("Describe", raw::describe(b'S', "")),
                bound("", "", "a"),
                Step::new("Describe", raw::describe(b'P', "")),
                execute("", 0),
                sync(),
            ],
        ),
        (
            "prepared, and bound again and again",
            [
                vec![Step::parse("s1", INSERT), sync()],
                vec![bound("", "s1", "a"), execute("", 0), sync()],
                vec![bound("", "s1", "b"), execute("", 0), sync()],
                vec![bound("", "s1", "a"), execute("", 0), sync()],
            ]
            .concat(),
        ),
        (
            "of which the client fetches a part",
            vec![
                Step::parse("s1", TWICE),
                bound("p1", "s1", "a"),
                execute("p1", 1),
                execute("p1", 1),
                execute("p1", 0),
                sync(),
            ],
        ),
        (
            "first in a pipeline",
            [
                vec![Step::parse("", INSERT), bound("", "", "a"), execute("", 0)],
                free().into(),
                vec![sync()],
            ]
            .concat(),
        ),
        (
            "first in a pipeline that fails behind it",
            [
                vec![Step::parse("", INSERT), bound("", "", "a"), execute("", 0)],
                vec![Step::parse("", "SELECT 1 / $1::int"), bound("", "", "0"), execute("", 0)],
                free().into(),
                vec![sync()],
            ]
            .concat(),
        ),
        (
            "with Flush and no Sync for a while",
            vec![
                Step::parse("", INSERT),
                bound("", "", "a"),
                Step::new("Flush", raw::flush()),
                execute("", 0),
                Step::new("Flush", raw::flush()),
                sync(),
            ],
        ),
        (
            "one after the other, all sent at once",
            [
                vec![Step::parse("", INSERT), bound("", "", "a"), execute("", 0), sync()],
                [free().into(), vec![sync()]].concat(),
                vec![Step::parse("", INSERT), bound("", "", "b"), execute("", 0), sync()],
                vec![Step::query("INSERT INTO logs(what) VALUES ('c')")],
            ]
            .concat(),
        ),
    ];
    let programs = programs.into_iter().map(|(name, mut steps)| {
        // The session goes on as it would have.
        steps.push(count());
        (name, Program::of_steps(steps))
    });
    programs.collect()
}
