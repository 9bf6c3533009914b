//! `gatepost psql`: becomes plain psql with everything filled in that it takes to get in. What it says
//! there is between psql and the gateway.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use api::v1::login::{DoorShown, Ways};

use crate::cli::Failure;
use crate::config;
use crate::remote::{Called, Gate, Remote, Who};

/// What is asked of psql and of the gateway.
pub(crate) struct Wanted {
    pub(crate) connection: String,
    pub(crate) reason: Option<String>,
    pub(crate) lasts: Option<Duration>,
    pub(crate) policies: Vec<String>,
    pub(crate) scope: Option<String>,
    pub(crate) arguments: Vec<OsString>,
}

/// What of the caller's environment would lead a token elsewhere, or ask for what a gateway has not.
const NOT_PASSED_ON: [&str; 17] = [
    "PGHOSTADDR",
    "PGSERVICE",
    "PGSERVICEFILE",
    "PGPASSFILE",
    "PGREQUIREAUTH",
    "PGREQUIREPEER",
    "PGREQUIRESSL",
    "PGCHANNELBINDING",
    "PGGSSENCMODE",
    "PGSSLCERT",
    "PGSSLKEY",
    "PGSSLCERTMODE",
    "PGSSLCRL",
    "PGSSLCRLDIR",
    "PGSSLNEGOTIATION",
    "PGTARGETSESSIONATTRS",
    "PGLOADBALANCEHOSTS",
];

/// Where systems have the certificates they trust, for a psql that can't find them by itself.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The first psql that knows `sslrootcert=system`.
const KNOWS_SYSTEM: u32 = 16;

/// Returns only if it could not: psql takes this process over, and so its exit code is psql's.
pub(crate) fn run(who: &Who, wanted: Wanted) -> Result<(), Failure> {
    let Called { gate, ca, secret } = who.called()?;
    let ways: Ways = Remote::new(&gate, ca.as_deref(), None)?.get("/v1/login")?;
    let door = ways.postgresql.ok_or_else(|| {
        Failure::Failed(format!("the gateway at {gate} listens at Unix sockets alone"))
    })?;
    let mut psql = Command::new("psql");
    for name in NOT_PASSED_ON {
        psql.env_remove(name);
    }
    // The password is in psql's environment alone, where only its owner can look.
    psql.env("PGHOST", &gate.host)
        .env("PGPORT", door.port.to_string())
        .env("PGDATABASE", &wanted.connection)
        .env("PGUSER", secret.user())
        .env("PGPASSWORD", secret.text())
        .env("PGOPTIONS", options(std::env::var("PGOPTIONS").ok(), &wanted))
        .envs(transport(&gate, door, ca)?)
        .args(&wanted.arguments);
    Err(missing(psql.exec()))
}

fn transport(
    gate: &Gate,
    door: DoorShown,
    ca: Option<PathBuf>,
) -> Result<Vec<(&'static str, PathBuf)>, Failure> {
    if !gate.is_secure() {
        // Such a gate is on this very machine, and what it is told stays here.
        return Ok(vec![("PGSSLMODE", "disable".into())]);
    }
    if !door.tls {
        return Err(Failure::Failed(format!(
            "the gateway at {gate} has no TLS for PostgreSQL's clients, and your token does not cross a \
             network in the clear"
        )));
    }
    let ca = match ca {
        Some(ca) => std::path::absolute(ca).map_err(|error| Failure::Failed(error.to_string()))?,
        None => system_roots()?,
    };
    Ok(vec![("PGSSLMODE", "verify-full".into()), ("PGSSLROOTCERT", ca)])
}

fn system_roots() -> Result<PathBuf, Failure> {
    let told = Command::new("psql").arg("--version").output().map_err(missing)?;
    if major(&String::from_utf8_lossy(&told.stdout)).is_some_and(|major| major >= KNOWS_SYSTEM) {
        return Ok("system".into());
    }
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let found = named.into_iter().chain(BUNDLES.map(PathBuf::from)).find(|path| path.is_file());
    found.ok_or_else(|| {
        Failure::Failed(
            "this psql can't find the system's certificates; say with --ca which one signs the gateway's"
                .to_owned(),
        )
    })
}

/// Of `psql (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_whitespace().nth(2)?;
    number.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

fn missing(error: io::Error) -> Failure {
    Failure::Failed(match error.kind() {
        io::ErrorKind::NotFound => {
            "there is no psql here; it comes with PostgreSQL's client programs \
                                    (Debian's package postgresql-client)"
                .to_owned()
        }
        _ => format!("psql can't be started: {error}"),
    })
}

/// Ours come last: of two the last one counts.
fn options(before: Option<String>, wanted: &Wanted) -> String {
    let policies: Vec<String> =
        wanted.policies.iter().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let asked = [
        ("reason", wanted.reason.clone()),
        ("for", wanted.lasts.map(config::write_duration)),
        ("policy", Some(policies.join(",")).filter(|policies| !policies.is_empty())),
        ("scope", wanted.scope.clone()),
    ];
    let asked = asked
        .into_iter()
        .filter_map(|(name, value)| Some(format!("-c gatepost.{name}={}", escaped(&value?))));
    before.into_iter().chain(asked).collect::<Vec<_>>().join(" ")
}

/// As start-up options are cut into words.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if letter == '\\' || letter.is_ascii_whitespace() || letter == '\u{b}' {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(reason: &str, policies: &[&str]) -> Wanted {
        Wanted {
            connection: "orders".to_owned(),
            reason: Some(reason.to_owned()),
            lasts: Some(Duration::from_secs(1200)),
            policies: policies.iter().map(|name| (*name).to_owned()).collect(),
            scope: None,
            arguments: Vec::new(),
        }
    }

    #[test]
    fn what_is_asked_for_comes_as_it_was_said() {
        assert_eq!(
            options(None, &wanted("ticket 42\\\n", &["a, b", "c\"d"])),
            "-c gatepost.reason=ticket\\ 42\\\\\\\n -c gatepost.for=20m \
             -c gatepost.policy=\"a,\\ b\",\"c\"\"d\""
        );
        let before = Some("-c geqo=off".to_owned());
        assert!(options(before, &wanted("x", &[])).starts_with("-c geqo=off -c gatepost.reason=x"));
    }

    #[test]
    fn versions() {
        for (told, expected) in [
            ("psql (PostgreSQL) 15.20 (Debian 15.20-0+deb12u1)\n", Some(15)),
            ("psql (PostgreSQL) 18.4\n", Some(18)),
            ("psql (PostgreSQL) 19devel\n", Some(19)),
            ("", None),
        ] {
            assert_eq!(major(told), expected, "{told}");
        }
    }

    #[test]
    fn no_token_crosses_a_network_in_the_clear() {
        let gate = |url| Gate::read(url).unwrap();
        let door = |tls| DoorShown { port: 6432, tls };
        let ca = || Some(PathBuf::from("/ca.pem"));
        let of = |gate: &Gate, tls| transport(gate, door(tls), ca()).ok();
        let verified: Vec<(&str, PathBuf)> =
            vec![("PGSSLMODE", "verify-full".into()), ("PGSSLROOTCERT", "/ca.pem".into())];
        assert_eq!(of(&gate("https://gate.internal"), true), Some(verified));
        assert_eq!(of(&gate("https://gate.internal"), false), None);
        let plain: Vec<(&str, PathBuf)> = vec![("PGSSLMODE", "disable".into())];
        assert_eq!(of(&gate("http://127.0.0.1:1"), true), Some(plain));
    }
}
