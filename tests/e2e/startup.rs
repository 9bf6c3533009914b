//! From the first byte to ReadyForQuery where Gatepost does the login: who gets in, how it looks
//! to who does not, what reaches the server, TLS and cancel keys on the client's side, and the
//! login at the database. `login: database` is judged in `observe`.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Database, ROLE_PASSWORD, Role};

use crate::raw::{self, Address, Raw};
use crate::setup::{self, Gate, Plan, Target};

#[test]
fn the_right_token_opens_the_connection() {
    for version in e2e::versions() {
        let (database, gate) = stand(version);
        let (mut raw, _) = gate.login();
        assert_eq!(raw.value("SELECT current_database()"), database.name);
        assert_eq!(raw.value("SELECT current_user"), Role::Scram.name());
    }
}

#[test]
fn a_secret_from_the_file_opens_the_connection() {
    let database = setup::database();
    let gate = Plan::gateway(&database)
        .top("identities: { ci: { secret: { file: ci-secret } } }")
        .file("ci-secret", "a secret for CI\n")
        .start();
    let (mut raw, _) = Raw::login(&gate.address(), "ci", "a secret for CI", &database.name);
    assert_eq!(raw.value("SELECT 1"), "1");
    let refusal = refused(&gate, "ci", "a secret for CJ", &database.name);
    assert_eq!(refusal.sqlstate(), "28P01");
}

#[test]
fn a_revoked_token_opens_nothing_and_its_twin_still_does() {
    let (database, gate) = stand(e2e::versions()[0]);
    let listed = || {
        let output = gate.process.run(&["token", "list"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let before = listed();
    let other = gate.process.token(setup::AGENT);
    let login = || Raw::login(&gate.address(), setup::AGENT, &other, &database.name).0;
    assert_eq!(login().value("SELECT 1"), "1");

    let after = listed();
    assert!(!after.contains(&other), "a list shows no token: {after}");
    let names = |list: &str| -> Vec<String> {
        list.lines().filter_map(|l| l.split_whitespace().next()).map(str::to_owned).collect()
    };
    let old = names(&before);
    let new: Vec<_> = names(&after).into_iter().filter(|id| !old.contains(id)).collect();
    assert_eq!(new.len(), 1, "one new line:\n{before}\n{after}");
    let revoked = gate.process.run(&["token", "revoke", &new[0]]);
    assert!(revoked.status.success(), "{}", String::from_utf8_lossy(&revoked.stderr));

    let refusal = refused(&gate, setup::AGENT, &other, &database.name);
    assert_eq!(refusal.sqlstate(), "28P01");
    assert_eq!(gate.login().0.value("SELECT 1"), "1");
}

/// Wrong token, somebody else's token, no such user, no such connection: one answer.
#[test]
fn refused_logins_look_alike() {
    let (database, gate) = stand(e2e::versions()[0]);
    gate.process.token("somebody");
    let wrong = refused(&gate, setup::AGENT, "gp_wrong", &database.name);
    assert_eq!(wrong.sqlstate(), "28P01");
    assert_eq!(wrong.severity(), "FATAL");
    for (user, token, dbname) in [
        ("nobody-knows-me", "gp_wrong", database.name.as_str()),
        ("nobody-knows-me", &gate.token, &database.name),
        ("somebody", &gate.token, &database.name),
        (setup::AGENT, "", &database.name),
        (setup::AGENT, "gp_wrong", "no-such-connection"),
        ("nobody-knows-me", "gp_wrong", "no-such-connection"),
    ] {
        let other = refused(&gate, user, token, dbname);
        assert_eq!(
            other.texts().join("|").replace(user, "USER"),
            wrong.texts().join("|").replace(setup::AGENT, "USER"),
            "{user} at {dbname}",
        );
    }
}

/// A salt that changes from try to try, or that differs in shape, would tell who exists.
#[test]
fn salts_do_not_tell_who_exists() {
    let (database, gate) = stand(e2e::versions()[0]);
    let salt = |user: &str| {
        let mut raw = Raw::connect(&gate.address());
        raw.send(&raw::startup(raw::PROTOCOL_3_0, user, &[("database", database.name.as_str())]));
        let offer = raw.read().expect("an offer");
        let mut body = raw::zero_terminated("SCRAM-SHA-256");
        let first = b"n,,n=,r=fyko+d2lbbFgONRv9qkxdawL";
        body.extend((first.len() as u32).to_be_bytes());
        body.extend(first);
        raw.send(&raw::framed(b'p', &body));
        let message = raw.read().expect("a server-first");
        assert_eq!(message.body[..4], [0, 0, 0, 11], "{}", message.show());
        let text = String::from_utf8(message.body[4..].to_vec()).unwrap();
        let fields: Vec<_> = text.split(',').skip(1).map(str::to_owned).collect();
        let nonce_length = text.split(',').next().map(str::len);
        (offer, nonce_length, fields)
    };
    let (known, unknown) = (salt(setup::AGENT), salt("nobody"));
    assert_eq!(known, salt(setup::AGENT));
    assert_eq!(unknown, salt("nobody"));
    assert_ne!(known.2[0], unknown.2[0], "salts are not one for all");
    assert_eq!(known.2[0].len(), unknown.2[0].len());
    assert_eq!((&known.0, known.1, &known.2[1..]), (&unknown.0, unknown.1, &unknown.2[1..]));
}

#[test]
fn an_unknown_connection_is_named_to_who_may_log_in() {
    let (_database, gate) = stand(e2e::versions()[0]);
    let refusal = refused(&gate, setup::AGENT, &gate.token, "no-such-connection");
    assert_eq!(refusal.sqlstate(), "3D000");
    assert_eq!(refusal.severity(), "FATAL");
    assert!(refusal.text().contains("no-such-connection"), "{}", refusal.show());
}

#[test]
fn without_tls_both_requests_get_no_and_plain_goes_on() {
    let (database, gate) = stand(e2e::versions()[0]);
    for requests in [
        &[raw::SSL_REQUEST][..],
        &[raw::GSSENC_REQUEST],
        &[raw::GSSENC_REQUEST, raw::SSL_REQUEST],
        &[raw::SSL_REQUEST, raw::GSSENC_REQUEST],
    ] {
        let mut raw = Raw::connect(&gate.address());
        for request in requests {
            raw.send(&raw::special(*request, &[]));
            assert_eq!(raw.read_byte(), Some(b'N'));
        }
        start(&mut raw, &database);
        raw.finish_login(setup::AGENT, &gate.token).expect("a login");
        assert_eq!(raw.value("SELECT 1"), "1");
    }
}

#[test]
fn tls_after_a_refused_gssenc() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::special(raw::GSSENC_REQUEST, &[]));
    assert_eq!(raw.read_byte(), Some(b'N'));
    let mut raw = raw.into_tls("localhost", &setup::pem(database.server.certificates.ca()));
    start(&mut raw, &database);
    raw.finish_login(setup::AGENT, &gate.token).expect("a login");
    assert_eq!(raw.value("SELECT 1"), "1");
}

/// CVE-2021-23222 and its kin: what was sent in the clear must not count as said inside TLS.
#[test]
fn bytes_stuffed_behind_sslrequest_are_refused() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    let mut raw = Raw::connect(&gate.address());
    let mut bytes = raw::special(raw::SSL_REQUEST, &[]);
    bytes.extend(raw::startup(
        raw::PROTOCOL_3_0,
        setup::AGENT,
        &[("database", database.name.as_str())],
    ));
    raw.send(&bytes);
    let answer = raw.read_to_end(raw::PATIENCE).expect("the connection ends");
    assert!(
        !answer.windows(5).any(|w| w == b"SCRAM"),
        "no login is offered: {:?}",
        String::from_utf8_lossy(&answer)
    );
}

#[test]
fn replication_is_refused() {
    let (database, gate) = stand(e2e::versions()[0]);
    for value in ["database", "true"] {
        let refusal = Raw::refused(
            &gate.address(),
            setup::AGENT,
            &gate.token,
            &[("database", database.name.as_str()), ("replication", value)],
        );
        assert_eq!(refusal.severity(), "FATAL");
        assert!(refusal.text().contains("replication"), "{}", refusal.show());
    }
}

#[test]
fn startup_parameters_reach_the_server() {
    for version in e2e::versions() {
        let (database, gate) = stand(version);
        let (mut raw, greeting) = Raw::login_with(
            &gate.address(),
            setup::AGENT,
            &gate.token,
            &[
                ("database", database.name.as_str()),
                ("application_name", "e2e \"quoted\" ünïcode"),
                (
                    "options",
                    "-c work_mem=12345kB --statement-timeout=54321 -c DateStyle=SQL,\\ DMY",
                ),
                ("TimeZone", "Asia/Kathmandu"),
                ("extra_float_digits", "2"),
                ("client_encoding", "LATIN1"),
            ],
        );
        let application_name = raw.value("SHOW application_name");
        assert!(application_name.starts_with("e2e \"quoted\" "), "{application_name}");
        assert_eq!(raw.value("SHOW work_mem"), "12345kB");
        assert_eq!(raw.value("SHOW statement_timeout"), "54321ms");
        assert_eq!(raw.value("SHOW DateStyle"), "SQL, DMY");
        assert_eq!(raw.value("SHOW TimeZone"), "Asia/Kathmandu");
        assert_eq!(raw.value("SHOW extra_float_digits"), "2");
        let reported = |name: &str| {
            greeting.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone())
        };
        assert_eq!(reported("client_encoding").as_deref(), Some("LATIN1"));
        assert_eq!(reported("TimeZone").as_deref(), Some("Asia/Kathmandu"));
    }
}

/// What the server says against a start-up parameter is the client's to read.
#[test]
fn a_refused_startup_parameter_is_refused_in_the_servers_words() {
    let (database, gate) = stand(e2e::versions()[0]);
    let parameters =
        [("database", database.name.as_str()), ("options", "-c nonsense=1"), ("work_mem", "1MB")];
    let direct = Raw::refused(
        &setup::address(&database.server),
        Role::Scram.name(),
        ROLE_PASSWORD,
        &parameters,
    );
    let gated = Raw::refused(&gate.address(), setup::AGENT, &gate.token, &parameters);
    assert_eq!(direct.sqlstate(), "42704");
    assert_eq!(
        (gated.sqlstate(), gated.severity(), gated.text()),
        (direct.sqlstate(), direct.severity(), direct.text())
    );
}

#[test]
fn every_parameter_status_arrives() {
    for version in e2e::versions() {
        let (database, gate) = stand(version);
        let (_direct, expected) = Target::direct(&database, Role::Scram).login();
        let (_gated, got) = gate.login();
        assert!(expected.parameters.len() > 10);
        assert_eq!(got.parameters, expected.parameters);
    }
}

/// PostgreSQL 15 answers a newer minor version the way Gatepost has to.
mod a_newer_minor_protocol_is_negotiated_down {
    use super::*;

    #[test]
    fn pg15() {
        let (database, gate) = stand(15);
        for (protocol, option) in [(0x0003_0002, None), (0x0003_0000, Some("_pq_.nonsense"))] {
            let mut parameters = vec![("database", database.name.as_str())];
            parameters.extend(option.map(|o| (o, "1")));
            let negotiation = |address: &Address, user: &str| {
                let mut raw = Raw::connect(address);
                raw.send(&raw::startup(protocol, user, &parameters));
                (raw.read().expect("a negotiation"), raw)
            };
            let (expected, _) = negotiation(&setup::address(&database.server), Role::Scram.name());
            let (got, mut raw) = negotiation(&gate.address(), setup::AGENT);
            assert_eq!(got.tag, b'v');
            assert_eq!(got, expected);
            raw.finish_login(setup::AGENT, &gate.token).expect("a login at 3.0");
            assert_eq!(raw.value("SELECT 1"), "1");
        }
    }
}

#[test]
fn another_major_protocol_is_refused() {
    let (_database, gate) = stand(e2e::versions()[0]);
    for protocol in [0x0002_0000, 0x0004_0000] {
        let mut raw = Raw::connect(&gate.address());
        raw.send(&raw::startup(protocol, setup::AGENT, &[]));
        let refusal = raw.read().expect("a refusal");
        assert_eq!(refusal.sqlstate(), "0A000");
        assert!(refusal.text().starts_with("unsupported frontend protocol"), "{}", refusal.show());
        assert_eq!(raw.read(), None);
    }
}

#[test]
fn a_startup_packet_in_single_bytes() {
    let (database, gate) = stand(e2e::versions()[0]);
    let mut raw = Raw::connect(&gate.address());
    for byte in
        raw::startup(raw::PROTOCOL_3_0, setup::AGENT, &[("database", database.name.as_str())])
    {
        raw.send(&[byte]);
    }
    raw.finish_login(setup::AGENT, &gate.token).expect("a login");
    assert_eq!(raw.value("SELECT 1"), "1");
}

/// `user` alone names the database too, as with PostgreSQL.
#[test]
fn without_a_database_the_user_names_the_connection() {
    let (database, gate) = stand(e2e::versions()[0]);
    let token = gate.process.token(&database.name);
    let (mut raw, _) = Raw::login_with(&gate.address(), &database.name, &token, &[]);
    assert_eq!(raw.value("SELECT current_database()"), database.name);
}

#[test]
fn a_cancel_reaches_its_own_session_and_no_other() {
    for version in e2e::versions() {
        let (database, gate) = stand(version);
        cancels(&database, &|| gate.login(), &|bytes| {
            let mut raw = Raw::connect(&gate.address());
            raw.send(bytes);
            assert_eq!(raw.read(), None, "a cancel request is not answered");
        });
    }
}

#[test]
fn a_cancel_over_tls() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    cancels(&database, &|| gate.login(), &|bytes| {
        let mut raw = Raw::connect(&gate.address())
            .into_tls("localhost", &setup::pem(database.server.certificates.ca()));
        raw.send(bytes);
        assert_eq!(raw.read(), None, "a cancel request is not answered");
    });
}

/// Two sleeping sessions, keys that fit neither, then one key that fits.
pub fn cancels(
    database: &Database,
    login: &dyn Fn() -> (Raw, raw::Greeting),
    cancel: &dyn Fn(&[u8]),
) {
    let (mut first, first_key) = login();
    let (mut second, second_key) = login();
    assert_ne!(first_key.key, second_key.key);
    first.send(&raw::query("SELECT pg_sleep(300), 'first'"));
    second.send(&raw::query("SELECT pg_sleep(300), 'second'"));
    let running = |name: &str| {
        setup::activity(
            database,
            &format!("state = 'active' AND query LIKE '%pg_sleep(300), ''{name}''%'"),
        )
    };
    setup::eventually("both sleep", || running("first") + running("second") == 2);

    let mut wrong = first_key.clone();
    *wrong.key.last_mut().unwrap() ^= 1;
    cancel(&raw::cancel(&wrong));
    let swapped = raw::Greeting { pid: first_key.pid, ..second_key.clone() };
    if swapped.pid != second_key.pid {
        cancel(&raw::cancel(&swapped));
    }

    // That the others had no effect shows once a later one had its own.
    cancel(&raw::cancel(&second_key));
    let replies = second.until_ready();
    assert_eq!(raw::error(&replies).sqlstate(), "57014", "{}", raw::show(&replies));
    // PostgreSQL signals a backend and its process group: the second signal may come late and hit
    // what runs by then, so the first statement after a cancel proves nothing.
    second.query("SELECT 'perhaps'");
    assert_eq!(second.value("SELECT 'alive'"), "alive");
    assert_eq!(running("first"), 1);

    // A key whose session is idle cancels nothing, and not what comes next either.
    cancel(&raw::cancel(&second_key));
    assert_eq!(running("first"), 1);

    cancel(&raw::cancel(&first_key));
    let replies = first.until_ready();
    assert_eq!(raw::error(&replies).sqlstate(), "57014", "{}", raw::show(&replies));
}

#[test]
fn psql_with_tls_and_channel_binding() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    let ca = database.server.certificates.ca().display().to_string();
    let other_ca = database.server.certificates.other_ca().display().to_string();
    let connect = |mode: &str, ca: &str, binding: &str| {
        gate.tls_client(&database)
            .with("PGSSLMODE", mode)
            .with("PGSSLROOTCERT", ca)
            .with("PGCHANNELBINDING", binding)
            .try_psql("SELECT 'in'")
    };
    assert_eq!(connect("verify-full", &ca, "require"), Ok("in".to_owned()));
    assert_eq!(connect("verify-full", &ca, "disable"), Ok("in".to_owned()));
    let stranger = connect("verify-full", &other_ca, "require").expect_err("another authority");
    assert!(stranger.contains("certificate verify failed"), "{stranger}");
    let plain = connect("disable", &ca, "require").expect_err("no TLS, no binding");
    assert!(plain.contains("channel binding"), "{plain}");
}

#[test]
fn tls_1_2_and_1_3() {
    let database = setup::database();
    let gate = Plan::gateway(&database).tls(&database.server).start();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let login = gate
            .tls_client(&database)
            .with("PGSSLMODE", "require")
            .with("PGCHANNELBINDING", "require")
            .with("PGSSLMINPROTOCOLVERSION", version)
            .with("PGSSLMAXPROTOCOLVERSION", version);
        assert_eq!(login.try_psql("SELECT 'in'"), Ok("in".to_owned()), "{version}");
    }
}

/// Much in both directions, for what a TLS record holds is not what a message holds.
#[test]
fn bulk_over_tls_on_both_legs() {
    let database = setup::database();
    database.login().psql("CREATE TABLE sink (t text); GRANT ALL ON sink TO public");
    let ca = database.server.certificates.ca();
    let gate = Plan::gateway(&database)
        .tls(&database.server)
        .upstream_tls(&format!("{{ mode: verify-full, ca: {} }}", ca.display()))
        .start();
    let login = gate.tls_client(&database).with("PGSSLMODE", "require");
    let rows = "SELECT g, repeat('w', 100) FROM generate_series(1, 50000) g";
    assert_eq!(login.psql(rows).len(), database.login().psql(rows).len());
    assert_eq!(login.psql("SELECT repeat('x', 20000000)").len(), 20_000_000);
    let directory = e2e::Directory::new();
    let file = directory.file("in", &"a line of some length\n".repeat(500_000));
    login.psql(&format!("\\copy sink FROM '{}'", file.display()));
    assert_eq!(login.psql("SELECT count(*), sum(length(t)) FROM sink"), "500000|10500000");
}

#[test]
fn plain_tcp_from_elsewhere_needs_permission() {
    let outer = outer_address();
    let database = setup::database();
    let listen = ["0.0.0.0:PORT"];
    let connect = |gate: &Gate| {
        let mut raw = Raw::connect(&Address::Tcp(SocketAddr::new(outer.into(), gate.port())));
        start(&mut raw, &database);
        raw
    };

    let strict = Plan::gateway(&database).tls(&database.server).listen(&listen).start();
    let mut raw = connect(&strict);
    let refusal = raw.read().expect("a refusal");
    assert_eq!((refusal.severity(), refusal.sqlstate()), ("FATAL".into(), "28000".into()));
    let told = refusal.texts().join(" ");
    assert!(told.contains("TLS") || told.contains("SSL"), "{told}");
    assert!(told.contains("plaintext"), "the setting is named: {told}");
    assert_eq!(raw.read(), None);
    // The twins: TLS from there, and plain from here.
    let raw = Raw::connect(&Address::Tcp(SocketAddr::new(outer.into(), strict.port())));
    let mut raw = raw.into_tls("localhost", &setup::pem(database.server.certificates.ca()));
    start(&mut raw, &database);
    raw.finish_login(setup::AGENT, &strict.token).expect("a login with TLS");
    let (mut raw, _) = strict.login();
    assert_eq!(raw.value("SELECT 1"), "1");

    let open = Plan::gateway(&database).top("plaintext: everywhere").listen(&listen).start();
    connect(&open).finish_login(setup::AGENT, &open.token).expect("a plain login");
}

#[test]
fn a_unix_socket_and_ipv6() {
    let database = setup::database();
    let gate = Plan::gateway(&database)
        .listen(&["127.0.0.1:PORT", "[::1]:PORT", "DIR/.s.PGSQL.PORT"])
        .start();
    let port = gate.port();
    let socket = gate.process.sockets().join(format!(".s.PGSQL.{port}"));
    let six = Address::Tcp(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    for address in [Address::Unix(socket), six, gate.address()] {
        let (mut raw, _) = Raw::login(&address, setup::AGENT, &gate.token, &database.name);
        assert_eq!(raw.value("SELECT 1"), "1", "{address:?}");
    }
}

#[test]
fn upstream_password_methods() {
    for version in e2e::versions() {
        let database = e2e::pg(version).database();
        for role in Role::ALL {
            let tls = if role == Role::TlsOnly { "require" } else { "disable" };
            let gate =
                Plan::gateway_as(&database, role.name(), ROLE_PASSWORD).upstream_tls(tls).start();
            let (mut raw, _) = gate.login();
            assert_eq!(raw.value("SELECT current_user"), role.name());
            let log = gate.log();
            assert!(!log.contains(ROLE_PASSWORD), "{log}");
            assert!(!log.contains(&gate.token), "{log}");
        }
    }
}

#[test]
fn upstream_over_a_unix_socket() {
    let database = setup::database();
    let server = &database.server;
    let directory = server.sockets.display().to_string();
    let socket = format!("{directory}/.s.PGSQL.{}", server.port);
    let gate = Plan::gateway(&database).address(&socket).start();
    let (mut raw, _) = gate.login();
    assert_eq!(raw.value("SELECT inet_server_addr() IS NULL"), "t");
    // A directory means the socket of port 5432 in it, which our server is not.
    let gate = Plan::gateway(&database).address(&directory).start();
    let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
    assert!(refusal.sqlstate().starts_with("08"), "{}", refusal.show());
}

#[test]
fn upstream_tls_modes() {
    let database = setup::database();
    let server = &database.server;
    let ca = server.certificates.ca();
    let ca = ca.display();
    let stranger = server.certificates.other_ca();
    let stranger = stranger.display();
    let port = server.port;
    let (by_name, by_address) = (format!("localhost:{port}"), format!("127.0.0.1:{port}"));
    for (tls, address, encrypted) in [
        ("disable".to_owned(), &by_address, Some("f")),
        ("prefer".to_owned(), &by_address, Some("t")),
        ("require".to_owned(), &by_address, Some("t")),
        (format!("{{ mode: verify-ca, ca: {ca} }}"), &by_name, Some("t")),
        (format!("{{ mode: verify-full, ca: {ca} }}"), &by_name, Some("t")),
        (format!("{{ mode: verify-full, ca: {ca} }}"), &by_address, Some("t")),
        (format!("{{ mode: verify-full, ca: {stranger} }}"), &by_name, None),
        (format!("{{ mode: verify-ca, ca: {stranger} }}"), &by_name, None),
        // The system's roots don't know our CA.
        ("verify-full".to_owned(), &by_name, None),
    ] {
        let gate = Plan::gateway(&database).address(address).upstream_tls(&tls).start();
        match encrypted {
            Some(expected) => {
                let (mut raw, _) = gate.login();
                let ssl = raw.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()");
                assert_eq!(ssl, expected, "{tls}");
            }
            None => {
                let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
                assert_eq!(refusal.severity(), "FATAL", "{tls}");
                assert_tells_nothing(&refusal);
            }
        }
    }
}

#[test]
fn a_certificate_for_another_name_fails_verify_full_only() {
    let database = setup::database();
    let ca = database.server.certificates.ca();
    // 127.0.0.2 is the same server under a name that its certificate doesn't have; PostgreSQL
    // listens on 127.0.0.1, so a byte copy stands there.
    let forward = setup::Forward::new(Ipv4Addr::new(127, 0, 0, 2), database.server.address());
    let address = forward.address.to_string();
    for (mode, good) in [("verify-ca", true), ("verify-full", false)] {
        let gate = Plan::gateway(&database)
            .address(&address)
            .upstream_tls(&format!("{{ mode: {mode}, ca: {} }}", ca.display()))
            .start();
        if good {
            let (mut raw, _) = gate.login();
            assert_eq!(raw.value("SELECT 1"), "1");
        } else {
            let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
            assert_tells_nothing(&refusal);
        }
    }
}

#[test]
fn the_second_host_when_the_first_is_down() {
    let database = setup::database();
    let down = setup::closed_port();
    let gate = Plan::gateway(&database)
        .address(&format!("[\"127.0.0.1:{down}\", \"127.0.0.1:{}\"]", database.server.port))
        .start();
    let (mut raw, _) = gate.login();
    assert_eq!(raw.value("SELECT 1"), "1");
}

#[test]
fn an_upstream_that_is_down() {
    let database = setup::database();
    let gate =
        Plan::gateway(&database).address(&format!("127.0.0.1:{}", setup::closed_port())).start();
    let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
    assert_eq!(refusal.severity(), "FATAL");
    assert!(refusal.sqlstate().starts_with("08"), "{}", refusal.show());
    assert_tells_nothing(&refusal);
}

#[test]
fn an_upstream_that_never_answers_meets_the_connect_timeout() {
    let database = setup::database();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let gate = Plan::gateway(&database)
        .address(&silent.local_addr().unwrap().to_string())
        .connection("connect_timeout: 300ms")
        .start();
    let began = Instant::now();
    let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
    assert!(began.elapsed() >= Duration::from_millis(300));
    assert!(refusal.sqlstate().starts_with("08"), "{}", refusal.show());
}

#[test]
fn a_wrong_upstream_password_is_not_the_clients_to_read() {
    let database = setup::database();
    for role in [Role::Scram, Role::Md5, Role::Cleartext] {
        let gate = Plan::gateway_as(&database, role.name(), "not-the-password").start();
        let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
        assert_eq!(refusal.severity(), "FATAL");
        let told = refusal.texts().join(" ");
        assert!(!told.contains(role.name()), "the gateway's user is told: {told}");
        assert!(!told.contains("not-the-password"), "{told}");
        assert!(!gate.log().contains("not-the-password"));
    }
}

/// An upstream database that is missing is the configuration's fault; its SQLSTATE is kept.
#[test]
fn an_upstream_error_keeps_its_sqlstate() {
    let database = setup::database();
    let gate = Plan::gateway(&database).with_database("no_such_database").start();
    let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
    assert_eq!((refusal.severity(), refusal.sqlstate()), ("FATAL".into(), "3D000".into()));
}

/// The near twin of a hostile upstream: one that asks for a password in the clear without TLS is
/// served (issue: cleartext is supported), one that can't prove that it knows the password in
/// SCRAM is not.
#[test]
fn an_upstream_that_skips_the_proof_is_not_believed() {
    let database = setup::database();
    let impostor = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = impostor.local_addr().unwrap().to_string();
    let gate = Plan::gateway(&database).address(&address).start();
    let answer = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = impostor.accept().unwrap();
        stream.set_read_timeout(Some(raw::PATIENCE)).unwrap();
        let mut bytes = [0; 4096];
        let _ = stream.read(&mut bytes).unwrap();
        let mut offer = 10u32.to_be_bytes().to_vec();
        offer.extend(b"SCRAM-SHA-256\0\0");
        stream.write_all(&raw::framed(b'R', &offer)).unwrap();
        let n = stream.read(&mut bytes).unwrap();
        let text = String::from_utf8_lossy(&bytes[..n]).into_owned();
        let nonce = text.rsplit_once("r=").unwrap().1.to_owned();
        let first = format!("r={nonce}impostor,s=c2FsdHNhbHRzYWx0c2FsdA==,i=4096");
        let body = [&11u32.to_be_bytes()[..], first.as_bytes()].concat();
        stream.write_all(&raw::framed(b'R', &body)).unwrap();
        let _ = stream.read(&mut bytes).unwrap();
        let forged = "v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
        let body = [&12u32.to_be_bytes()[..], forged.as_bytes()].concat();
        let mut rest = raw::framed(b'R', &body);
        rest.extend(raw::framed(b'R', &0u32.to_be_bytes()));
        rest.extend(raw::framed(b'Z', b"I"));
        // The gateway may be gone already, which is what is hoped for.
        let _ = stream.write_all(&rest);
    });
    let refusal = refused(&gate, setup::AGENT, &gate.token, &database.name);
    assert_eq!(refusal.severity(), "FATAL");
    answer.join().unwrap();
}

fn stand(version: u32) -> (Database, Gate) {
    let database = e2e::pg(version).database();
    let gate = Plan::gateway(&database).start();
    (database, gate)
}

fn start(raw: &mut Raw, database: &Database) {
    raw.send(&raw::startup(
        raw::PROTOCOL_3_0,
        setup::AGENT,
        &[("database", database.name.as_str())],
    ));
}

fn refused(gate: &Gate, user: &str, token: &str, database: &str) -> raw::Message {
    Raw::refused(&gate.address(), user, token, &[("database", database)])
}

/// Nothing of the gateway's own login at the database.
fn assert_tells_nothing(refusal: &raw::Message) {
    let told = refusal.texts().join(" ");
    assert_eq!(refusal.sqlstate().len(), 5);
    assert!(!told.contains(Role::Scram.name()), "the gateway's user is told: {told}");
    assert!(!told.contains(ROLE_PASSWORD), "the gateway's password is told: {told}");
}

/// An address of this machine that is not a loopback one.
pub fn outer_address() -> Ipv4Addr {
    let find = || {
        let listed = Command::new("hostname").arg("-I").output().expect("hostname runs");
        String::from_utf8_lossy(&listed.stdout)
            .split_whitespace()
            .find_map(|a| a.parse::<Ipv4Addr>().ok())
    };
    find().unwrap_or_else(|| {
        // 192.0.2.0/24 is set aside for documentation; on `lo` it leads nowhere.
        let added =
            Command::new("ip").args(["address", "add", "192.0.2.1/32", "dev", "lo"]).status();
        assert!(
            added.is_ok_and(|s| s.success()),
            "this machine has no address but the loopback, and giving it one needs root"
        );
        Ipv4Addr::new(192, 0, 2, 1)
    })
}
