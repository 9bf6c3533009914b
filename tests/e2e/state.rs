//! State in PostgreSQL: two gateways that share it are one to their clients.

use std::process::Output;

use e2e::{Database, Gatepost};

use crate::raw::{Address, Raw};
use crate::setup::{self, AGENT};

/// A gateway to `database` that keeps its state in `store`.
fn gateway(store: &Database, database: &Database, password_file: &str) -> Gatepost {
    Gatepost::start_with(|place| {
        let server = &store.server;
        let state = format!(
            "state:\n  postgres:\n    address: localhost:{}\n    database: {}\n    user: {}\n    \
             password: {{ file: {password_file} }}\n    tls: {{ mode: verify-full, ca: {} }}\n",
            server.port,
            store.name,
            store.login().user,
            server.certificates.ca().display(),
        );
        let header = place.header().replace("state: gatepost.db\n", &state);
        format!("{header}connections:\n{}", database.connection("orders"))
    })
}

#[test]
fn a_token_that_one_gateway_knows_opens_the_other_until_it_is_revoked() {
    let (store, database) = (setup::database(), setup::database());
    let password = store.server.password_file.display().to_string();
    let one = gateway(&store, &database, &password);
    let two = gateway(&store, &database, &password);
    let token = one.token(AGENT);
    let (mut session, _) = Raw::login(&Address::Tcp(two.address()), AGENT, &token, "orders");
    assert_eq!(session.value("SELECT 1"), "1");

    let Output { status, stdout, stderr } = two.run(&["token", "revoke", "1"]);
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    assert_eq!(String::from_utf8_lossy(&stdout), "token 1 is revoked\n");
    let database = [("database", "orders")];
    let refusal = Raw::refused(&Address::Tcp(one.address()), AGENT, &token, &database);
    assert_eq!(refusal.sqlstate(), "28P01");
    assert!(!one.place.directory.join("gatepost.db").exists());
}

#[test]
fn a_store_that_does_not_let_us_in_is_named_and_its_password_is_not() {
    let (store, database) = (setup::database(), setup::database());
    let password = store.server.role_password_file.display().to_string();
    let gateway = || gateway(&store, &database, &password);
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(gateway));
    let Err(said) = failed else { panic!("it started") };
    let said = said.downcast_ref::<String>().expect("words");
    let words = "the store can't be reached: FATAL: password authentication failed";
    assert!(said.contains(words), "{said}");
    assert!(said.contains(&format!("state in PostgreSQL at localhost:{}", store.server.port)));
    assert!(!said.contains(e2e::ROLE_PASSWORD), "{said}");
}
