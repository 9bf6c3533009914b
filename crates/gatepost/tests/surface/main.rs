//! What people and programs see of the binary, as golden files: configuration errors, help texts,
//! the schema, the reference. `UPDATE_GOLDEN=1` writes them anew; the diff is what is reviewed.

#![expect(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a test that can't go on has failed; clippy only knows the functions marked as tests"
)]

mod command;
mod config;
mod golden;
