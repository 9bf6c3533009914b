//! What SQL text says: tokens, and the secrets in it.
//!
//! This crate knows PostgreSQL's language and nothing of rules, sockets or clocks: text goes in,
//! facts come out. All text is hostile: every pass is linear in it and has a bounded depth.

pub mod secrets;

mod lex;
