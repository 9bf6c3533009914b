//! What a storm of logins does to sessions that are open: the 99th percentile of pgbench's SELECTs while
//! a thousand clients a minute come with an identity provider's token, beside that of a calm run. The
//! same storm on PostgreSQL itself stands beside it: a backend has to be started for each of them.

use std::fmt::Arguments;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::client::Client;
use crate::contender::Contender;
use crate::report::median;
use crate::workload::program;

const LOGINS_PER_MINUTE: u32 = 1000;

const CLIENTS: u32 = 8;

const SECONDS: u32 = 10;

/// Longer than a run.
const TOKEN_SECONDS: u64 = 86_400;

/// An identity provider: two documents over HTTP, and one token.
pub struct Issuer {
    pub url: String,
    pub token: String,
}

/// One round, in µs.
#[derive(Clone, Copy)]
pub struct Storm {
    direct: Beside,
    gate: Beside,
}

#[derive(Clone, Copy)]
struct Beside {
    calm: f64,
    stormy: f64,
    /// Of those that got in.
    logins_per_minute: f64,
}

impl Issuer {
    /// Serves until this process ends.
    pub fn start() -> Issuer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("its address"));
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let (x, y) = key.public_key().as_ref()[1..].split_at(32);
        let jwk =
            json!({"kty": "EC", "crv": "P-256", "kid": "bench", "x": encode(x), "y": encode(y)});
        let keys = json!({ "keys": [jwk] }).to_string();
        let description = json!({"issuer": url, "jwks_uri": format!("{url}/keys")}).to_string();
        let token = token(&url, &key);
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let body = match request[..read].starts_with(b"GET /keys ") {
                    true => &keys,
                    false => &description,
                };
                let length = body.len();
                // Who hangs up asks again.
                let _gone = write!(
                    stream,
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            }
        });
        Issuer { url, token }
    }
}

impl Storm {
    /// `storm` is who comes to the gate; what pgbench logs goes below `directory`.
    pub fn measure(
        direct: &Contender,
        gate: &Contender,
        storm: &Contender,
        directory: &Path,
    ) -> Result<Storm, String> {
        Ok(Storm {
            direct: Beside::measure(direct, direct, directory)?,
            gate: Beside::measure(gate, storm, directory)?,
        })
    }

    fn over_calm(&self) -> f64 {
        self.gate.stormy / self.gate.calm
    }

    fn direct_over_calm(&self) -> f64 {
        self.direct.stormy / self.direct.calm
    }
}

impl Beside {
    fn measure(open: &Contender, coming: &Contender, directory: &Path) -> Result<Beside, String> {
        let calm = p99(open, directory)?;
        let is_over = AtomicBool::new(false);
        let came = AtomicU32::new(0);
        thread::scope(|scope| {
            let storm = scope.spawn(|| storm(coming, &is_over, &came));
            let begin = Instant::now();
            let stormy = p99(open, directory);
            let minutes = begin.elapsed().as_secs_f64() / 60.0;
            let logins_per_minute = f64::from(came.load(Ordering::Relaxed)) / minutes;
            is_over.store(true, Ordering::Relaxed);
            storm.join().map_err(|_| "the storm broke off".to_owned())??;
            Ok(Beside { calm, stormy: stormy?, logins_per_minute })
        })
    }
}

/// One after the other, at their time; who is late is not waited for.
fn storm(coming: &Contender, is_over: &AtomicBool, came: &AtomicU32) -> Result<(), String> {
    let mut due = Instant::now();
    while !is_over.load(Ordering::Relaxed) {
        Client::connect(coming).map_err(|error| format!("a login of the storm: {error}"))?;
        came.fetch_add(1, Ordering::Relaxed);
        due += Duration::from_secs(60) / LOGINS_PER_MINUTE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    Ok(())
}

/// Of all statements of a run.
fn p99(contender: &Contender, directory: &Path) -> Result<f64, String> {
    let logs = directory.join("statements");
    std::fs::create_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    let mut command = program(contender, "pgbench");
    command
        .args(["-n", "-S", "-M", "prepared", "-c", &CLIENTS.to_string(), "-j", "2"])
        .args(["-T", &SECONDS.to_string(), "-l", "--log-prefix"])
        .arg(logs.join("p"))
        .stdout(Stdio::null());
    let output = command.output().map_err(|e| format!("starting pgbench: {e}"))?;
    if !output.status.success() {
        return Err(format!("pgbench: {}", String::from_utf8_lossy(&output.stderr)));
    }
    let mut each = Vec::new();
    for entry in std::fs::read_dir(&logs).map_err(|e| format!("{}: {e}", logs.display()))? {
        let path = entry.map_err(|e| e.to_string())?.path();
        let text = std::fs::read_to_string(&path).map_err(|e| e.to_string())?;
        // Client, number, and how long it took in µs.
        let took = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<u32>().ok());
        each.extend(took);
    }
    std::fs::remove_dir_all(&logs).map_err(|e| format!("{}: {e}", logs.display()))?;
    each.sort_unstable();
    let found = each.get(each.len() * 99 / 100);
    found.map(|took| f64::from(*took)).ok_or_else(|| "pgbench logged nothing".to_owned())
}

pub fn table(rounds: &[Storm], line: &mut dyn FnMut(Arguments)) {
    let over = |value: fn(&Storm) -> f64| median(rounds.iter().map(value).collect());
    let (logins, to_direct) =
        (over(|it| it.gate.logins_per_minute), over(|it| it.direct.logins_per_minute));
    line(format_args!(
        "\nA storm of {logins:.0} logins a minute by token ({to_direct:.0} by SCRAM, direct) beside \
         {CLIENTS} clients of prepared SELECTs, p99:"
    ));
    for (what, calm, stormy, ratio) in [
        (
            "through Gatepost",
            over(|it| it.gate.calm),
            over(|it| it.gate.stormy),
            over(Storm::over_calm),
        ),
        (
            "the same, direct",
            over(|it| it.direct.calm),
            over(|it| it.direct.stormy),
            over(Storm::direct_over_calm),
        ),
    ] {
        line(format_args!(
            "{what:<22}{calm:>8.0} µs without, {stormy:.0} µs beside it: {ratio:.2}"
        ));
    }
}

pub fn json(rounds: &[Storm]) -> Value {
    let each = |value: fn(&Storm) -> f64| rounds.iter().map(value).collect::<Vec<_>>();
    json!({
        "clients": CLIENTS,
        "logins_per_minute_each": each(|it| it.gate.logins_per_minute),
        "p99_us_calm_each": each(|it| it.gate.calm),
        "p99_us_stormy_each": each(|it| it.gate.stormy),
        "p99_over_calm_each": each(Storm::over_calm),
        "direct_p99_over_calm_each": each(Storm::direct_over_calm),
    })
}

fn token(url: &str, key: &EcdsaKeyPair) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs();
    let claims = json!({
        "iss": url, "sub": "storm", "aud": "gatepost", "iat": now, "exp": now + TOKEN_SECONDS,
        "groups": ["bench"],
    });
    let header = json!({"alg": "ES256", "kid": "bench", "typ": "at+jwt"});
    let signed = format!("{}.{}", encode(header.to_string()), encode(claims.to_string()));
    let signature = key.sign(&SystemRandom::new(), signed.as_bytes()).expect("a signature");
    format!("{signed}.{}", encode(signature))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
