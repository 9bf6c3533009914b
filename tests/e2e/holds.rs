//! Statements that people have to agree to: the client waits, a person decides, and what was agreed
//! to runs once, whatever becomes of clients, sessions and gateways.

mod clients;
mod crash;
mod ends;
mod meaning;
mod run;
pub mod stand;
mod wait;
