//! Sessions, the gate and upstream: the only crate where client and PostgreSQL meet.

pub mod secret;
pub mod settings;
pub mod tls;
