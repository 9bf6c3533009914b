//! What waiting for people costs: connecting under a grant beside connecting without, a thousand
//! statements that wait, and a decision on its way to whoever waits for it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::Client;
use crate::contender::{Contender, POLICY, Programs, RELAXED, Waiting};
use crate::report::{at_most, median};

/// Statements that wait, and how many of one identity: a grant may have 64.
const HOLDS: usize = 1_000;
const HOLDS_OF_ONE: usize = 50;

/// How long they are watched while they wait.
const AT_REST: Duration = Duration::from_secs(10);

const CONNECTS: usize = 300;
const DECISIONS: usize = 100;

/// In milliseconds: the most that a grant may add to a connect, and a decision may take.
const CONNECT_GOAL: f64 = 1.0;
const DECISION_GOAL: f64 = 50.0;
/// Of one CPU, the most that all who wait may use. None is what is wanted: the rest is what a gateway
/// at rest uses.
const REST_GOAL: f64 = 0.01;

pub fn run(programs: &Programs, beside: &Path) {
    let waiting = Waiting::start(programs, beside, HOLDS.div_ceil(HOLDS_OF_ONE));
    let run = || -> Result<(), String> {
        let direct = &waiting.direct;
        Client::connect(direct)?.count_rows(
            "CREATE TABLE held (id int PRIMARY KEY, n int); \
             INSERT INTO held SELECT g, 0 FROM generate_series(0, 10000) g",
        )?;
        connects(&waiting)?;
        let at_rest = used(&waiting.gate(0))?;
        let sessions = hold(&waiting)?;
        let waits = used(&waiting.gate(0))?;
        println!("CPU of a gateway at rest                {at_rest:>8.4} of one");
        let verdict = at_most(REST_GOAL, waits);
        println!("with {HOLDS} statements that wait         {verdict}");
        decisions(&waiting)?;
        drop(sessions);
        Ok(())
    };
    run().unwrap_or_else(|error| panic!("{error}"));
}

/// In turns, so that what else the machine does is in both.
fn connects(waiting: &Waiting) -> Result<(), String> {
    let [without, under] = [waiting.plain(), waiting.gate(0)];
    // The grant is there from the first on.
    Client::connect(&under)?;
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..CONNECTS {
        for (contender, taken) in [&without, &under].into_iter().zip(&mut taken) {
            let begin = Instant::now();
            let client = Client::connect(contender)?;
            taken.push(begin.elapsed().as_secs_f64() * 1e3);
            drop(client);
        }
    }
    let [without, under] = taken.map(median);
    println!("{RELAXED}: connecting takes           {without:>8.3} ms");
    println!("{POLICY}: connecting takes            {under:>8.3} ms");
    println!("a grant adds                            {}", at_most(CONNECT_GOAL, under - without));
    Ok(())
}

/// So many sessions, each with a statement that waits.
fn hold(waiting: &Waiting) -> Result<Vec<Client>, String> {
    let mut sessions = Vec::with_capacity(HOLDS);
    for number in 0..HOLDS {
        let mut client = Client::connect(&waiting.gate(number / HOLDS_OF_ONE))?;
        client.ask(&format!("UPDATE held SET n = n + 1 WHERE id = {number}"))?;
        client.until(b'N')?;
        sessions.push(client);
    }
    Ok(sessions)
}

/// Of one CPU, by the gateway.
fn used(gate: &Contender) -> Result<f64, String> {
    let before = gate.cpu();
    std::thread::sleep(AT_REST);
    Ok(gate.cpu().since(&before).as_secs_f64() / AT_REST.as_secs_f64())
}

/// From the call that says yes to the end of the statement, with all the others waiting.
fn decisions(waiting: &Waiting) -> Result<(), String> {
    let gate = waiting.gate(waiting.identities() - 1);
    let mut client = Client::connect(&gate)?;
    let mut taken = Vec::new();
    for number in 0..DECISIONS {
        client.ask(&format!("UPDATE held SET n = n + 1 WHERE id = {}", HOLDS + number))?;
        client.until(b'N')?;
        let listed = call(waiting, "GET", "/v1/holds")?;
        let id = listed["rows"][0]["id"].as_str().ok_or("no hold is listed")?.to_owned();
        let begin = Instant::now();
        let path = format!("/v1/holds/{id}/approve");
        let (answer, ran) = std::thread::scope(|threads| {
            let call = threads.spawn(|| call(waiting, "POST", &path));
            client.until(b'Z')?;
            let ran = begin.elapsed().as_secs_f64() * 1e3;
            let answer = call.join().map_err(|_| "the call has panicked")?;
            Ok::<_, String>((answer, ran))
        })?;
        answer?;
        taken.push(ran);
    }
    taken.sort_by(f64::total_cmp);
    let slowest = taken.last().copied().unwrap_or_default();
    println!("from a yes to the statement's end        {}", at_most(DECISION_GOAL, median(taken)));
    println!("the slowest of {DECISIONS}                       {slowest:>8.3} ms");
    Ok(())
}

fn call(waiting: &Waiting, method: &str, path: &str) -> Result<Value, String> {
    let failed = |error: std::io::Error| format!("{path}: {error}");
    let secret = STANDARD.encode(format!("approver:{}", waiting.approver));
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, waiting.http)).map_err(failed)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Authorization: Basic {secret}\r\nContent-Length: 2\r\n\r\n{{}}"
    );
    stream.write_all(head.as_bytes()).map_err(failed)?;
    let mut said = String::new();
    stream.read_to_string(&mut said).map_err(failed)?;
    let (head, body) = said.split_once("\r\n\r\n").ok_or("no answer")?;
    if !head.starts_with("HTTP/1.1 200") {
        return Err(format!("{path}: {said}"));
    }
    serde_json::from_str(body).map_err(|error| format!("{path}: {error}"))
}
