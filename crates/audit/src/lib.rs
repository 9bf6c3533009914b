//! The journal: what happened, in lines of JSON that are chained by hash and signed, durable before
//! anybody is told. Appending, sealing, recovering, proving and reading; what is recorded when is
//! the gateway's business. The format is described in `docs/journal.md`.
//!
//! The life of an event: `event` writes it into a session's `Batch`; `queue` takes a copy;
//! `writer` numbers and chains it with all that waits, signs the head, writes (by `blocks`) and
//! syncs once, and wakes those who wait for their `Ticket`; `keeper` compresses its segment when that is full;
//! `verify` proves it and `read` shows it. `chain` holds the rules by which it is read back,
//! `recovery` uses them at a start.

mod blocks;
mod chain;
pub mod event;
mod journal;
mod json;
mod keeper;
mod key;
mod note;
mod outside;
mod parameter;
mod queue;
pub mod read;
mod recovery;
mod segment;
pub mod verify;
mod writer;

pub use journal::{Journal, OpenError, OpenReport, Options, RELAXED, SEGMENT_BYTES};
pub use json::{time, time_of_millis};
pub use note::{Head, NotAHead};
pub use parameter::{PARAMETER_BYTES_MAX, Parameter};
pub use queue::{Durability, Health, QUEUE_BYTES_MAX, QUEUE_EVENTS_MAX, Ticket, Unrecorded};

#[cfg(test)]
mod tests;
