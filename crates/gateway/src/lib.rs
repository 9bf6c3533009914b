//! Sessions, the gate and upstream: the only crate where client and PostgreSQL meet.
//!
//! A connection arrives at a `Listener`, proves an identity at the `door` (or relays its login in
//! `observe` mode), gets a backend from `upstream`, and becomes a `session`. The rest is what they
//! stand on. Nothing here reads a configuration file or an argument.

pub mod catalogs;
pub mod desk;
pub mod fetch;
pub mod inquiry;
pub mod issuers;
pub mod saml;
pub mod secret;
pub mod settings;
pub mod store;
pub mod tls;

mod admission;
mod arrival;
mod attempts;
mod conditions;
mod dial;
mod door;
mod gate;
mod gateway;
mod grants;
mod holds;
mod limits;
mod line;
mod metrics;
mod observe;
mod refusal;
mod roster;
mod session;
mod stream;
mod telling;
mod upstream;

pub use gateway::{Address, Doors, Gateway, GatewayError, Listener};
