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

mod carried;
mod classes;
mod cluster;
mod commands;
mod oracle;
mod programs;
mod rights;
