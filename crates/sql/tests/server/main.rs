//! Facts against a real PostgreSQL: what we say of a statement, and what the server says of it.
//!
//! Each test starts clusters of its own: PostgreSQL 15 from Debian's package, and 18 from where
//! `GATEPOST_TEST_PG18_BIN` says, as `cargo xtask test` does. To try another version, name its
//! directory of programs in the one or the other (`GATEPOST_TEST_PG15_BIN`); `programs` alone is
//! about these two.

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
mod disguised;
mod draft;
mod oracle;
mod programs;
mod rights;

fn on(version: u32, test: fn(&cluster::Cluster)) {
    match cluster::Cluster::of(version) {
        Some(cluster) => test(&cluster),
        // 18 is only there after `cargo xtask test`.
        None if version != 15 => println!("not run: there is no PostgreSQL {version}"),
        None => panic!("install postgresql-15, or set GATEPOST_TEST_PG15_BIN"),
    }
}
