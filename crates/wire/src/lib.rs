//! Bytes to PostgreSQL frames and back.
//!
//! This crate knows the protocol (version 3.0) and nothing of sockets, time or policy: input is
//! a slice, incomplete input is an answer, and every length is checked before it is believed.
//! <https://www.postgresql.org/docs/current/protocol-message-formats.html>

pub mod backend;
pub mod exchange;
pub mod frame;
pub mod frontend;
pub mod startup;

mod read;
