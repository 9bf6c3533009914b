//! What the integration tests stand on: shared PostgreSQL servers that `cargo xtask test` starts
//! once, a database of its own for each test, a guarded `gatepost` process, certificates, and the
//! client programs. What is tested, and with which statements, is the tests' business.

mod certificates;
mod directory;
mod gate;
mod login;
/// The product's own module, compiled in instead of depended upon: so the tests build without
/// the product, which they only know as a program.
#[path = "../../crates/gatepost/src/scratch.rs"]
pub mod scratch;
mod servers;

pub use certificates::Certificates;
pub use directory::Directory;
pub use gate::{Gatepost, Place, stop_child};
pub use login::Login;
pub use servers::{
    Database, OwnCluster, ROLE_PASSWORD, Role, Server, SharedServers, jdbc, node, own_cluster, pg,
    promtool, python, simplesaml, tls_clients, versions,
};

use std::thread;
use std::time::{Duration, Instant};

/// No single wait of a test is longer. Generous, because two cores run many tests at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Polls until `condition` gives something; panics with `what` when patience ends.
pub fn wait_for<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    wait_within(PATIENCE, what, condition)
}

pub fn wait_within<T>(
    patience: Duration,
    what: &str,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} in vain for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The same test against each PostgreSQL version:
///
/// ```ignore
/// e2e::on_each_version! {
///     fn it_works(server: Server) { … }
/// }
/// ```
///
/// makes the tests `it_works::pg15` and `it_works::pg18`.
#[macro_export]
macro_rules! on_each_version {
    ($($(#[$attribute:meta])* fn $name:ident($server:ident: Server) $body:block)*) => {$(
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            fn run($server: $crate::Server) $body

            $(#[$attribute])*
            #[test]
            fn pg15() {
                run($crate::pg(15));
            }

            $(#[$attribute])*
            #[test]
            fn pg18() {
                run($crate::pg(18));
            }
        }
    )*};
}
