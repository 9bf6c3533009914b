//! The promise that a provider's token opens what its subject may open, and nothing else does: with
//! a real identity provider and real clients. Forged tokens of every kind are crate `identity`'s.

mod desk;
pub mod provider;
mod service;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::{Database, Gatepost, Login, Server, on_each_version};
use serde_json::{Value, json};

use crate::journal::records;
use crate::raw::{self, Address, Message, PROTOCOL_3_0, Raw};
use crate::setup::{self, Gate, Plan};
use crate::startup::outer_address;
use provider::Provider;

/// Whom the tokens name is of no interest to a login: the user name is only a name.
const NAME: &str = "anything";

const POLICIES: &str = "policies:
  - name: agents of the provider
    who: { group: data-agents, claim.env: production, issuer: ISSUER }
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [{ read: public.items }]
  - name: others
    who: { group: data-agents, claim.env: staging }
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [everything]
";

fn database(server: &Server) -> Database {
    let database = server.database();
    database.login().psql(
        "CREATE TABLE items AS SELECT g AS id FROM generate_series(1, 5) g;
         CREATE TABLE secrets AS SELECT 1 AS id;
         GRANT SELECT ON items, secrets TO public",
    );
    database
}

/// An entry under `issuers`, with further lines.
fn issuer(provider: &Provider, more: &[&str]) -> String {
    let head = [format!("  - url: {}\n    audience: gatepost\n", provider.url)];
    let claims = ["    claims: { env: environment }\n".to_owned()];
    let more = more.iter().map(|line| format!("    {line}\n"));
    head.into_iter().chain(claims).chain(more).collect()
}

/// A gate that takes the tokens of these issuers.
fn plan(database: &Database, issuers: &[String]) -> Plan {
    Plan::gateway(database).top(&format!("issuers:\n{}", issuers.concat()))
}

fn try_login(gate: &Gate, token: &str) -> Result<Raw, Message> {
    try_login_as(gate, NAME, token)
}

fn try_login_as(gate: &Gate, user: &str, password: &str) -> Result<Raw, Message> {
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::startup(PROTOCOL_3_0, user, &[("database", &gate.target().database)]));
    raw.finish_login(user, password).map(|_| raw)
}

fn login(gate: &Gate, token: &str) -> Raw {
    try_login(gate, token).unwrap_or_else(|refusal| panic!("refused: {}", refusal.show()))
}

fn refusal(gate: &Gate, token: &str) -> String {
    refusal_as(gate, NAME, token)
}

fn refusal_as(gate: &Gate, user: &str, password: &str) -> String {
    match try_login_as(gate, user, password) {
        Ok(_) => panic!("it was let in"),
        Err(refusal) => refusal.show(),
    }
}

/// What a login is asked for: the number of the authentication request.
fn asked(gate: &Gate, user: &str) -> u32 {
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::startup(PROTOCOL_3_0, user, &[("database", &gate.target().database)]));
    let message = raw.read().expect("an authentication request");
    assert_eq!(message.tag, b'R', "{}", message.show());
    u32::from_be_bytes(message.body[..4].try_into().expect("a number"))
}

const CLEARTEXT: u32 = 3;
const SASL: u32 = 10;

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/identity").join(name)
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("the program runs");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).trim_end().to_owned()
}

/// No part of a token that could be used is anywhere but with who it was given to.
fn assert_kept_secret(gate: &Gate, token: &str) {
    let signature = token.rsplit('.').next().expect("a signature");
    let journal = records::segments(&records::directory(gate));
    let journal: Vec<u8> = journal.iter().flat_map(|path| records::written(path)).collect();
    let kept = [gate.log(), String::from_utf8_lossy(&journal).into_owned()];
    for text in kept {
        for part in [token, signature] {
            assert!(!text.contains(part), "a token is in the log or the journal");
        }
    }
}

on_each_version! {
    fn a_token_is_a_password(server: Server) {
        let mut idp = Provider::http();
        let database = database(&server);
        let policies = POLICIES.replace("ISSUER", &idp.url);
        let gate = plan(&database, &[issuer(&idp, &[])]).top(&policies).tls(&server).start();
        let token = idp.token("agent-7");

        let psql = gate.process.login(&database.login(), NAME, &token, &database.name);
        let psql = Login { clients: e2e::tls_clients(), ..psql }.with("PGSSLMODE", "require");
        assert_eq!(psql.psql("SELECT count(*) FROM items"), "5");
        // The near twin: what the policy of its group does not name.
        let refused = psql.try_psql("SELECT * FROM secrets").expect_err("a refusal");
        assert!(refused.contains("No policy in force allows read public.secrets"), "{refused}");

        let script = "import psycopg, sys\n\
            with psycopg.connect(sys.argv[1]) as c: \
            print(c.execute('SELECT count(*) FROM items WHERE id > %s', [0]).fetchone()[0])";
        let mut python = psql.apply(e2e::python());
        assert_eq!(said(python.args(["-c", script]).arg(psql.conninfo())), "5");

        let url = format!(
            "jdbc:postgresql://localhost:{}/{}?sslmode=verify-full&sslrootcert={}",
            gate.port(), database.name, server.certificates.ca().display()
        );
        let mut java = Command::new("java");
        java.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m"])
            .arg("-cp").arg(e2e::jdbc()).arg(program("Count.java")).args([&url, NAME, &token]);
        assert_eq!(said(&mut java), "5");

        // A local name is asked for a proof and not for a password, whatever is configured.
        assert_eq!((asked(&gate, setup::AGENT), asked(&gate, NAME)), (SASL, CLEARTEXT));

        let all = records::all(&records::directory(&gate));
        let begins = records::of_event(&all, "session_begins");
        assert_eq!(begins.len(), 4);
        for record in begins {
            assert_eq!(record["login"], "token");
            let expected = json!({
                "issuer": idp.url, "subject": "agent-7", "groups": ["data-agents"],
                "claims": {"env": "production"},
            });
            assert_eq!(record["identity"], expected);
        }
        assert_kept_secret(&gate, &token);
    }
}

/// Policies are asked about what the token says: the same subject of another issuer is another.
#[test]
fn two_issuers_each_with_its_own_audience() {
    let server = e2e::pg(e2e::versions()[0]);
    let (mut one, mut two) = (Provider::http(), Provider::https(&server));
    let database = database(&server);
    let ca = format!("ca: {}", server.certificates.ca().display());
    let second = issuer(&two, &[&ca]).replace("audience: gatepost", "audience: urn:second");
    let policies = POLICIES.replace("ISSUER", &two.url);
    let gate = plan(&database, &[issuer(&one, &[]), second]).top(&policies).start();

    let mut raw = login(&gate, &two.token_for("agent-7", "urn:second"));
    assert_eq!(raw.value("SELECT count(*) FROM items"), "5");
    // Proven, but not whom the policy means.
    let told = refusal(&gate, &one.token("agent-7"));
    assert!(told.contains("no policy lets you into connection"), "{told}");
    // Right for the other issuer only.
    for token in [one.token_for("agent-7", "urn:second"), two.token("agent-7")] {
        let told = refusal(&gate, &token);
        assert!(told.contains("password authentication failed"), "{told}");
        assert!(!told.contains("audience"), "{told}");
        assert_kept_secret(&gate, &token);
    }
    let all = records::all(&records::directory(&gate));
    let refused = records::of_event(&all, "login_refused");
    let reasons = refused.iter().map(|record| records::text(record, "reason"));
    assert_eq!(reasons.filter(|reason| reason.ends_with("it is for another audience")).count(), 2);
    // A certificate of an authority that nobody named.
    let other = format!("ca: {}", server.certificates.other_ca().display());
    let gate = plan(&database, &[issuer(&two, &[&other])]).start();
    let told = refusal(&gate, &two.token("agent-7"));
    assert!(told.contains("the keys of its issuer are not to be had"), "{told}");
}

#[test]
fn keys_change_in_mid_run() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &[])]).start();
    let old = idp.token("agent-7");
    login(&gate, &old);
    idp.rotate();
    let new = idp.token("agent-7");
    // All who come at once are let in by one asking.
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| login(&gate, &new));
        }
    });
    // The provider's old key is gone, and with it what was signed by it.
    assert!(refusal(&gate, &old).contains("password authentication failed"));
}

#[test]
fn a_provider_goes_away_and_comes_back() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &["keys_age_max: 3s"])]).start();
    let token = idp.token("agent-7");
    let mut session = login(&gate, &token);
    idp.stop();
    // What is known of its keys is good for a while.
    login(&gate, &token);
    let mut told = String::new();
    setup::eventually("the keys to be too old", || match try_login(&gate, &token) {
        Ok(_) => false,
        Err(refusal) => {
            told = refusal.show();
            true
        }
    });
    assert!(told.contains("58000"), "{told}");
    assert!(told.contains("the keys of its issuer are not to be had"), "{told}");
    assert!(gate.log().contains("the issuer's keys can't be fetched"));
    assert_eq!(session.value("SELECT count(*) FROM items"), "5");
    // Who is local needs no provider.
    gate.login();

    idp.start();
    let token = idp.token("agent-7");
    setup::eventually("it to be believed again", || try_login(&gate, &token).is_ok());
    assert_eq!(session.value("SELECT count(*) FROM items"), "5");
}

/// A provider that is away when the gateway starts keeps nobody out but its own subjects.
#[test]
fn a_provider_that_is_not_there_yet() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let token = idp.token("agent-7");
    idp.stop();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &[])]).start();
    gate.login();
    assert!(refusal(&gate, &token).contains("58000"));
    idp.start();
    let token = idp.token("agent-7");
    setup::eventually("it to be believed", || try_login(&gate, &token).is_ok());
}

#[test]
fn whether_a_session_ends_with_its_token() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let until = plan(&database, &[issuer(&idp, &["session_until: expiry"])]).start();
    let beyond = plan(&database, &[issuer(&idp, &[])]).start();
    let token = idp.token("short");
    let since = Instant::now();
    let (mut ends, mut goes_on) = (login(&until, &token), login(&beyond, &token));
    assert_eq!(ends.value("SELECT 1"), "1");
    let last = ends.read().expect("the end of the session");
    assert_eq!((last.severity(), last.sqlstate()), ("FATAL".into(), "57P01".into()));
    assert!(last.text().contains("token"), "{}", last.show());
    assert!(since.elapsed() < Duration::from_secs(10));
    assert_eq!(goes_on.value("SELECT 1"), "1");
    // A local identity has no such end.
    until.login();
}

#[test]
fn oauthbearer_by_libpq_18() {
    let server = e2e::pg(e2e::versions()[0]);
    // libpq believes no other.
    let mut idp = Provider::https(&server);
    let database = database(&server);
    let ca = format!("ca: {}", server.certificates.ca().display());
    let oauth = [&*ca, "oauth: { user: sso, scope: openid groups }"];
    let policies = POLICIES.replace("ISSUER", &idp.url);
    let gate = plan(&database, &[issuer(&idp, &oauth)]).top(&policies).start();
    let run = |user: &str, issuer: &str, token: &str| {
        let conninfo = format!(
            "host=127.0.0.1 port={} dbname={} user={user} oauth_issuer={issuer} \
             oauth_client_id=gatepost require_auth=oauth",
            gate.port(),
            database.name
        );
        said(Command::new(e2e::python()).arg(program("bearer.py")).args([&conninfo, token]))
    };
    let configuration = format!("{}/.well-known/openid-configuration", idp.url);
    let token = idp.token("agent-7");
    // It asks the gateway first, and comes again with what the hook gave it.
    let expected = format!("configuration {configuration}\nscope openid groups\nin 5");
    assert_eq!(run("sso", &idp.url, &token), expected);
    // It knows already where tokens come from.
    let expected = format!("configuration {configuration}\nscope \nin 5");
    assert_eq!(run("sso", &configuration, &token), expected);
    // Other issuers than the one it wants it does not believe.
    let told = run("sso", "https://localhost:1", &token);
    assert!(told.starts_with("refused") && !told.contains("in 5"), "{told}");
    // A wrong token, and a name that isn't asked for one this way.
    let told = run("sso", &idp.url, &token.replace('.', ".x"));
    assert!(told.contains("OAuth bearer authentication failed for user \"sso\""), "{told}");
    let told = run(NAME, &idp.url, &token);
    assert!(told.contains("refused"), "{told}");

    let all = records::all(&records::directory(&gate));
    let begins = records::of_event(&all, "session_begins");
    assert_eq!(begins.len(), 2);
    assert!(begins.iter().all(|record| record["login"] == "oauthbearer"));
    assert_kept_secret(&gate, &token);

    // By hand: what it is told, and that nothing goes on without its word.
    let mut raw = bearer(&gate, b"n,,\x01auth=\x01\x01");
    let told: Value = serde_json::from_slice(&raw.read().expect("it is told").body[4..]).unwrap();
    let scope = "openid groups";
    assert_eq!(
        told,
        json!({"status": "invalid_token", "openid-configuration": configuration, "scope": scope})
    );
    raw.send(&raw::framed(b'p', b"\x01"));
    assert_eq!(raw.read().expect("a refusal").sqlstate(), "28000");
    for message in [&b"n,,\x01auth=Bearer \x01\x01"[..], b"", b"p=x,,\x01auth=\x01\x01"] {
        assert_eq!(bearer(&gate, message).read().expect("a refusal").sqlstate(), "08P01");
    }
}

/// As far as the server's answer to a first message.
fn bearer(gate: &Gate, first: &[u8]) -> Raw {
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::startup(PROTOCOL_3_0, "sso", &[("database", &gate.target().database)]));
    let offered = raw.read().expect("an authentication request");
    assert_eq!(&offered.body[4..], b"OAUTHBEARER\0\0");
    let length = (first.len() as u32).to_be_bytes();
    raw.send(&raw::framed(b'p', &[b"OAUTHBEARER\0", &length[..], first].concat()));
    raw
}

/// Nothing can be learned from how a refusal reads, and a token that crosses the network is seen by
/// nobody.
#[test]
fn what_is_no_token_is_refused_in_the_same_words() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let mut stranger = Provider::http();
    let database = database(&server);
    let gate = plan(&database, &[issuer(&idp, &[])]).top("plaintext: everywhere").tls(&server);
    let gate = gate.listen(&["0.0.0.0:PORT"]).start();
    let token = idp.token("agent-7");
    let (head, signature) = token.rsplit_once('.').expect("three parts");
    let expected = refusal(&gate, "");
    assert!(expected.contains("28P01"), "{expected}");
    assert!(expected.contains("password authentication failed for user \"anything\""));
    for wrong in [
        "gp_something",
        head,
        &format!("{head}."),
        &format!("{head}.{}", signature.replace(['a', 'b', 'c', 'd', 'e'], "A")),
        &stranger.token("agent-7"),
        &idp.token_for("agent-7", "urn:other"),
        &"x".repeat(16_000),
    ] {
        let since = Instant::now();
        assert_eq!(refusal(&gate, wrong), expected, "{wrong:.20}");
        assert!(since.elapsed() >= Duration::from_millis(100));
    }
    // Longer than is looked at.
    let told = refusal(&gate, &"x".repeat(40_000));
    assert!(told.contains("08P01"), "{told}");
    // A name that is a local one's is asked for SCRAM, with or without tokens that still open.
    assert_eq!(asked(&gate, setup::AGENT), SASL);
    let listed = gate.process.run(&["token", "list"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let id = listed.lines().find(|line| line.contains(setup::AGENT)).expect("its token");
    let id = id.split_whitespace().next().expect("a number");
    assert!(gate.process.run(&["token", "revoke", id]).status.success());
    assert_eq!(asked(&gate, setup::AGENT), SASL);
    assert!(refusal_as(&gate, setup::AGENT, &gate.token).contains("28P01"));

    // From elsewhere only under TLS, whatever is allowed to the others.
    let outer = std::net::SocketAddr::new(outer_address().into(), gate.port());
    let start = |raw: &mut Raw| {
        raw.send(&raw::startup(PROTOCOL_3_0, NAME, &[("database", &database.name)]));
    };
    let mut raw = Raw::connect(&Address::Tcp(outer));
    start(&mut raw);
    let told = raw.read().expect("a refusal");
    assert_eq!(told.sqlstate(), "28000", "{}", told.show());
    assert!(told.text().contains("only under TLS"), "{}", told.show());
    let raw = Raw::connect(&Address::Tcp(outer));
    let mut raw = raw.into_tls("localhost", &setup::pem(server.certificates.ca()));
    start(&mut raw);
    raw.finish_login(NAME, &token).expect("a login under TLS");
}

#[test]
fn failed_logins_have_a_limit() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let plan = plan(&database, &[issuer(&idp, &[])]).top("bounds: { failed_logins: 3 }");
    let gate = plan.start();
    let token = idp.token("agent-7");
    // Who was in here before is counted apart.
    login(&gate, &token);
    gate.login();
    for name in ["one", "two", "three"] {
        assert!(refusal_as(&gate, name, "wrong").contains("28P01"));
    }
    // The address is spent, for names that exist and for others.
    for name in ["one", "four"] {
        let told = refusal_as(&gate, name, &token);
        assert!(told.contains("53400") && told.contains("failed_logins"), "{told}");
    }
    login(&gate, &token);
    gate.login();
    // And so are they, when they guess themselves.
    for _ in 0..3 {
        assert!(refusal_as(&gate, setup::AGENT, "wrong").contains("28P01"));
    }
    assert!(refusal_as(&gate, setup::AGENT, &gate.token).contains("53400"));
    login(&gate, &token);
    let all = records::all(&records::directory(&gate));
    assert_eq!(records::of_event(&all, "login_refused").len(), 9);
}

/// What the file says of issuers is read anew, and what is known of their keys is kept.
#[test]
fn issuers_come_and_go_with_a_reload() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let without = Plan::gateway(&database);
    let gate = without.start();
    let token = idp.token("agent-7");
    assert_eq!(asked(&gate, NAME), SASL);
    gate.reload(&plan(&database, &[issuer(&idp, &[])]));
    setup::eventually("the issuer to be known", || asked(&gate, NAME) == CLEARTEXT);
    login(&gate, &token);
    idp.stop();
    gate.reload(&plan(&database, &[issuer(&idp, &["session_until: expiry"])]));
    setup::eventually("the file to be read again", || {
        gate.log().matches("the configuration has been read again").count() == 2
    });
    login(&gate, &token);
    gate.reload(&without);
    setup::eventually("the issuer to be forgotten", || asked(&gate, NAME) == SASL);
    assert!(refusal(&gate, &token).contains("28P01"));
}

/// What the commands say of issuers and of those who come with their tokens.
#[test]
fn checked_and_explained() {
    let server = e2e::pg(e2e::versions()[0]);
    let mut idp = Provider::http();
    let database = database(&server);
    let policies = POLICIES.replace("ISSUER", &idp.url);
    let gate = plan(&database, &[issuer(&idp, &[])]).top(&policies).start();
    let explained = |arguments: &[&str]| {
        let output = gate.process.run(arguments);
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let check = || {
        let file = gate.process.place.directory.join("gatepost.yaml");
        said(Gatepost::program().arg("check").arg(file).arg("--live"))
    };
    // Groups and claims may come with a token, so nobody says that no one has them.
    let told = check();
    assert!(!told.contains("nobody is that") && !told.contains("issuer http"), "{told}");
    idp.stop();
    let told = check();
    assert!(told.contains(&format!("issuer {}: its keys can't be fetched", idp.url)), "{told}");

    let who = format!("{}|agent-7", idp.url);
    let explain = ["explain", "--as", &who, "--on", &database.name, "SELECT * FROM items"];
    let told = explained(&explain);
    assert!(told.contains("No policy lets"), "{told}");
    let told = explained(
        &[&explain[..], &["--group", "data-agents", "--claim", "env=production"]].concat(),
    );
    assert!(told.contains("agents of the provider"), "{told}");
    let told = explained(&[
        "explain",
        "--as",
        "agent-7",
        "--on",
        &database.name,
        "SELECT 1",
        "--group",
        "x",
    ]);
    assert!(told.contains("stand in the file"), "{told}");
}
