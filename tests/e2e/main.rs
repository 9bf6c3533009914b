//! Gatepost as its users meet it: a process, a configuration file, a real PostgreSQL behind it
//! and real clients before it. `raw` and `setup` are the tools; each other module holds the tests
//! of one promise.

mod raw;
mod setup;

mod check;
mod conditions;
mod desk;
mod drivers;
mod grants;
mod holds;
mod hostile;
mod identity;
mod journal;
mod lifecycle;
mod limits;
mod masked_clients;
mod masks;
mod observe;
mod people;
mod policy;
mod policy_clients;
mod recipes;
mod saml;
mod startup;
mod state;
mod status;
mod transcript;
mod window;
