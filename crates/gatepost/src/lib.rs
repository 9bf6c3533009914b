//! The binary's own part: the configuration file, the command line and the wiring of the crates
//! below. What happens on a connection is `gateway`'s business.

pub mod cli;
pub mod config;
pub mod scratch;

mod check;
mod demo;
mod desk;
mod explain;
mod journal;
mod log;
mod login;
mod psql;
mod records;
mod remote;
mod serve;
mod status;
mod table;
mod terminal;
mod token;
mod when;
