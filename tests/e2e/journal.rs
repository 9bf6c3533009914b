//! The promise that nothing reaches PostgreSQL unrecorded, played with the real binary, real
//! clients and a real database: what is recorded, what is kept out, and what is left after a
//! crash, loss of power, a full disk and a stranger's hand. `records` reads the journal; each
//! other module holds the tests of one part of the promise.

mod disk;
mod load;
pub mod records;

mod crash;
mod overlap;
mod proof;
mod secrets;
mod statements;
mod trouble;
