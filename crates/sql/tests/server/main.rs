//! Facts against a real PostgreSQL: what we say of a statement, and what the server says of it.
//!
//! A cluster of its own is started from the PostgreSQL that is installed; `GATEPOST_SQL_SERVER`
//! (a connection string with superuser rights) names another one instead. Neither there: the
//! tests fail and say so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests fail by panicking, and so does what they are built on"
)]

/// Tests that take a cluster, each against PostgreSQL 15 and 18.
macro_rules! on_15_and_18 {
    ($($name:ident)*) => {
        $(mod $name {
            #[test]
            fn pg15() {
                crate::on(15, super::$name);
            }

            #[test]
            fn pg18() {
                crate::on(18, super::$name);
            }
        })*
    };
}

mod carried;
mod classes;
mod cluster;
mod commands;
mod oracle;
mod programs;
mod rights;

fn on(version: u32, test: fn(&cluster::Cluster)) {
    match cluster::Cluster::of(version) {
        Some(cluster) => test(&cluster),
        None => println!("not run: no PostgreSQL {version}, which `cargo xtask test` brings along"),
    }
}
