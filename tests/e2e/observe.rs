//! `login: database`: the client brings the database's own credential, and Gatepost can't be told
//! from the server, neither by what it lets in nor by how it refuses. Statements are judged in
//! `transcript`.

use e2e::{Database, Login, ROLE_PASSWORD, Role, on_each_version};

use crate::raw::{self, Address, Message, Raw};
use crate::setup::{self, Gate, Plan, Target};
use crate::startup::cancels;

/// Those that a plain connection may use.
const PLAIN_ROLES: [Role; 4] = [Role::Scram, Role::Md5, Role::Cleartext, Role::Trust];

on_each_version! {
    /// Parameters, process id and transaction state included.
    fn a_login_is_the_servers_own(server: Server) {
        let database = server.database();
        let gate = Plan::observe(&database).start();
        for role in PLAIN_ROLES {
            let direct = Target::direct(&database, role);
            let (_expected, expected) = direct.login();
            let (mut raw, greeting) = through(&gate, &direct).login();
            assert_eq!(greeting.parameters, expected.parameters, "{role:?}");
            assert_eq!(raw.value("SELECT pg_backend_pid()"), greeting.pid.to_string());
            assert_eq!(raw.value("SELECT current_user"), role.name());
            assert!(!gate.log().contains(ROLE_PASSWORD));
        }
    }

    /// To the byte, whatever is wrong. (The server logs the reason; the client reads what it
    /// may.)
    fn a_refusal_is_the_servers_own(server: Server) {
        let database = server.database();
        let gate = Plan::observe(&database).named("*").start();
        let good = ("database", database.name.as_str());
        for (user, password, parameters) in [
            (Role::Scram.name(), "wrong", vec![good]),
            (Role::Md5.name(), "wrong", vec![good]),
            (Role::Cleartext.name(), "wrong", vec![good]),
            (Role::Scram.name(), "", vec![good]),
            ("no_such_role", "wrong", vec![good]),
            (Role::TlsOnly.name(), ROLE_PASSWORD, vec![good]),
            (Role::Scram.name(), ROLE_PASSWORD, vec![("database", "no_such_database")]),
            (Role::Trust.name(), "", vec![("database", "no_such_database")]),
            (Role::Trust.name(), "", vec![good, ("options", "-c nonsense=1")]),
            (Role::Trust.name(), "", vec![good, ("work_mem", "many")]),
        ] {
            let direct = refused(&setup::address(&server), user, password, &parameters);
            let gated = refused(&gate.address(), user, password, &parameters);
            assert_eq!(raw::show(&gated), raw::show(&direct), "{user} with {parameters:?}");
            assert_eq!(gated, direct);
        }
    }

    fn a_cancel_reaches_its_own_session(server: Server) {
        let database = server.database();
        let gate = Plan::observe(&database).start();
        let target = through(&gate, &Target::direct(&database, Role::Scram));
        cancels(&database, &|| target.login(), &|bytes| {
            let mut raw = Raw::connect(&gate.address());
            raw.send(bytes);
            assert_eq!(raw.read(), None, "a cancel request is not answered");
        });
    }
}

/// The server's own key must not reach the client: who has it can go around the gateway.
#[test]
fn cancel_keys_are_the_gateways() {
    let database = setup::database();
    let gate = Plan::observe(&database).start();
    let target = through(&gate, &Target::direct(&database, Role::Scram));
    let (mut session, greeting) = target.login();
    session.send(&raw::query("SELECT pg_sleep(300)"));
    setup::eventually("it sleeps", || setup::activity(&database, "wait_event = 'PgSleep'") == 1);
    let mut direct = Raw::connect(&setup::address(&database.server));
    direct.send(&raw::cancel(&greeting));
    assert_eq!(direct.read(), None);
    // PostgreSQL has judged that request before it closes; ours comes after it.
    assert_eq!(setup::activity(&database, "wait_event = 'PgSleep'"), 1);
    let mut gated = Raw::connect(&gate.address());
    gated.send(&raw::cancel(&greeting));
    assert_eq!(raw::error(&session.until_ready()).sqlstate(), "57014");
}

#[test]
fn the_star_stands_for_every_database() {
    let (one, two) = (setup::database(), setup::database());
    let gate = Plan::observe(&one).named("*").start();
    for database in [&one, &two] {
        let target = through(&gate, &Target::direct(database, Role::Scram));
        let (mut raw, _) = target.login();
        assert_eq!(raw.value("SELECT current_database()"), database.name);
    }
    // Without a database the user's name is taken for one.
    let direct = refused(&setup::address(&one.server), Role::Trust.name(), "", &[]);
    let gated = refused(&gate.address(), Role::Trust.name(), "", &[]);
    assert_eq!(gated, direct);
}

#[test]
fn a_named_connection_comes_before_the_star_and_may_rename() {
    let (one, two) = (setup::database(), setup::database());
    let star = Plan::observe(&one).named("*").connections();
    let named = Plan::observe(&two).named("shop").with_database(&two.name).connections();
    let named = named.strip_prefix("connections:\n").expect("its first line");
    let gatepost = e2e::Gatepost::start(&format!("{star}{named}"));
    let address = Address::Tcp(gatepost.address());
    for (dbname, expected) in [("shop", &two.name), (one.name.as_str(), &one.name)] {
        let (mut raw, _) = Raw::login(&address, Role::Scram.name(), ROLE_PASSWORD, dbname);
        assert_eq!(raw.value("SELECT current_database()"), *expected);
    }
}

#[test]
fn replication_is_refused_here_too() {
    let database = setup::database();
    let gate = Plan::observe(&database).start();
    let login = database.login();
    let refusal = Raw::refused(
        &gate.address(),
        &login.user,
        &login.password,
        &[("database", database.name.as_str()), ("replication", "database")],
    );
    assert!(refusal.text().contains("replication"), "{}", refusal.show());
}

/// One leg with TLS, either one, and both with the server's own certificate.
#[test]
fn psql_with_scram_and_tls_on_either_leg() {
    let database = setup::database();
    let certificates = &database.server.certificates;
    let ca = certificates.ca().display().to_string();
    let (certificate, key) = certificates.server();
    let plain = Plan::observe(&database);
    let to_server = plain.clone().upstream_tls(&format!("{{ mode: verify-full, ca: {ca} }}"));
    let both = to_server.clone().certificate(&certificate, &key);
    let mut failed = Vec::new();
    for (name, plan, mode, binding) in [
        ("no leg", &plain, "disable", "prefer"),
        ("the client's leg", &plain.clone().tls(&database.server), "verify-full", "prefer"),
        ("the server's leg", &to_server, "disable", "prefer"),
        ("both legs", &both, "verify-full", "require"),
        ("both legs, client without binding", &both, "disable", "disable"),
    ] {
        let gate = plan.start();
        let login = client(&gate, &database, Role::Scram)
            .with("PGSSLMODE", mode)
            .with("PGSSLROOTCERT", &ca)
            .with("PGCHANNELBINDING", binding);
        match login.try_psql("SELECT current_user") {
            Ok(user) => assert_eq!(user, Role::Scram.name(), "{name}"),
            Err(told) => failed.push(format!("{name}: {told}")),
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Only SCRAM is bound to a channel: the others pass over two legs of TLS.
#[test]
fn psql_without_scram_and_tls_on_both_legs() {
    let database = setup::database();
    let gate = Plan::observe(&database).upstream_tls("require").tls(&database.server).start();
    for role in [Role::Md5, Role::Cleartext, Role::Trust] {
        let login = client(&gate, &database, role)
            .with("PGSSLMODE", "require")
            .with("PGCHANNELBINDING", "disable");
        assert_eq!(login.try_psql("SELECT current_user"), Ok(role.name().to_owned()));
    }
}

#[test]
fn two_certificates_and_scram_are_told_what_to_set() {
    let database = setup::database();
    let gate = Plan::observe(&database).upstream_tls("require").tls(&database.server).start();
    for binding in ["prefer", "require"] {
        let told = client(&gate, &database, Role::Scram)
            .with("PGSSLMODE", "require")
            .with("PGCHANNELBINDING", binding)
            .try_psql("SELECT 1")
            .expect_err("SCRAM over two certificates");
        if binding == "prefer" {
            assert!(told.contains("certificate"), "{told}");
            assert!(told.contains("tls"), "the setting is named: {told}");
        }
    }
}

/// A server that is not there is not a refusal of the server's, but the client must learn of it.
#[test]
fn a_server_that_is_down() {
    let database = setup::database();
    let gate =
        Plan::observe(&database).address(&format!("127.0.0.1:{}", setup::closed_port())).start();
    let refusal = refused(
        &gate.address(),
        Role::Scram.name(),
        ROLE_PASSWORD,
        &[("database", database.name.as_str())],
    );
    let refusal = raw::error(&refusal);
    assert_eq!(refusal.severity(), "FATAL");
    assert!(refusal.sqlstate().starts_with("08"), "{}", refusal.show());
}

fn through(gate: &Gate, direct: &Target) -> Target {
    Target { address: gate.address(), ..direct.clone() }
}

fn client(gate: &Gate, database: &Database, role: Role) -> Login {
    let mut login = database.login_as(role);
    login.host = "localhost".to_owned();
    login.port = gate.port();
    login.clients = e2e::tls_clients();
    login
}

/// Everything that follows the start-up packet of a login that fails, requests included.
fn refused(
    address: &Address,
    user: &str,
    password: &str,
    parameters: &[(&str, &str)],
) -> Vec<Message> {
    let mut raw = Raw::connect(address);
    raw.send(&raw::startup(raw::PROTOCOL_3_0, user, parameters));
    match raw.finish_login(user, password) {
        Ok(_) => panic!("{user} got in"),
        Err(refusal) => {
            let mut messages = vec![refusal];
            while let Some(message) = raw.read() {
                messages.push(message);
            }
            messages
        }
    }
}
