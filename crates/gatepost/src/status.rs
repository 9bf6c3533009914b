//! `gatepost status`: which protections are on for each connection, and what was recorded last; of
//! the running gateway where it can be asked, else of the file and the journal. What there is to
//! say is `api::status`'s business.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use api::STATUS;
use api::status::{OfConnection, OfPolicy, Status};

use crate::cli::{self, Failure};
use crate::config::{self, Config};

/// For connecting, and for each step of the answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Some hundred bytes for each connection.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Prints the status of one connection, or of all. Fails, once it is printed, if it is not well.
pub(crate) fn run(config: &Config, connection: Option<&str>) -> Result<(), Failure> {
    let asked = config.http.map(|address| (address, ask(address)));
    let (status, mut unwell) = match asked {
        Some((_, Ok(status))) => (status, None),
        Some((address, Err(error))) => (
            of_file(config)?,
            Some(format!("no gateway answers at {address}: {error}; that is of the file")),
        ),
        None => (of_file(config)?, None),
    };
    if let Some(why) = &status.journal.refusing {
        unwell = Some(format!("nothing runs, as nothing can be recorded: {why}"));
    }
    let shown: Vec<&OfConnection> = match connection {
        None => status.connections.iter().collect(),
        Some(name) => vec![one(&status.connections, name)?],
    };
    let mut text = overall(&status);
    for connection in shown {
        text.push_str(&format!("\n{}", of_connection(connection)));
    }
    cli::print(&text)?;
    unwell.map_or(Ok(()), |why| Err(Failure::Failed(why)))
}

fn of_file(config: &Config) -> Result<Status, Failure> {
    let directory = &config.journal.options.directory;
    let newest = match audit::read::newest_head(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        read => {
            read.map_err(|error| Failure::Failed(format!("{}: {error}", directory.display())))?
        }
    };
    Ok(Status::of_settings(&config.settings, newest))
}

fn one<'a>(all: &'a [OfConnection], name: &str) -> Result<&'a OfConnection, Failure> {
    let found = all.iter().find(|it| it.name == name);
    // The connection `"*"` is every database that has no name of its own.
    found.or_else(|| all.iter().find(|it| it.name == "*")).ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(|it| it.name.as_str()).collect();
        let nearest = config::nearest(name, &names);
        let meant = nearest.map(|it| format!("; did you mean `{it}`?")).unwrap_or_default();
        Failure::Usage(format!("there is no connection `{name}`{meant}"))
    })
}

fn overall(status: &Status) -> String {
    let gateway = match &status.gateway {
        None => "not asked; this is what the file says".to_owned(),
        Some(it) if it.stopping => format!("stopping; {} sessions are open", it.sessions),
        Some(it) => format!("running; {} sessions are open", it.sessions),
    };
    let durable = match &status.journal.durable {
        None => "nothing is recorded yet".to_owned(),
        Some(it) => format!("record {} of {} is the last durable one", it.record, it.time),
    };
    let journal = match &status.journal.refusing {
        None => durable,
        Some(why) => format!("can't be written: {why}; {durable}"),
    };
    format!("gateway  {gateway}\njournal  {journal}\n")
}

fn of_connection(it: &OfConnection) -> String {
    let identity = match it.identity {
        true => "clients prove who they are to Gatepost, which has the database's credential",
        false => "clients log in to the database as they always did (observe mode)",
    };
    let written = |time| config::write_duration(Duration::from_millis(time));
    let about = it.policies.as_deref().unwrap_or_default();
    let windows: Vec<String> = about
        .iter()
        .filter_map(|policy| Some(format!("{} for `{}`", written(policy.window_ms?), policy.name)))
        .collect();
    let idle = match it.idle_timeout_ms {
        None => "an idle session stays".to_owned(),
        Some(time) => format!("a session ends after {} without a statement", written(time)),
    };
    let timing = match windows.as_slice() {
        [] => idle,
        windows => format!("{}; {idle}", windows.join(", ")),
    };
    let policies = match &it.policies {
        None => {
            "there are none: who has an identity may do what the database's role may".to_owned()
        }
        Some(none) if none.is_empty() => "none is about this connection: nobody gets in".to_owned(),
        Some(some) => some.iter().map(|it| format!("`{}`", it.name)).collect::<Vec<_>>().join(", "),
    };
    let masking = masking(about);
    let recording = match it.strict {
        true => "strict: a statement waits until its record survives loss of power",
        false => "relaxed: loss of power can lose the last records",
    };
    let mut text = format!("{}\n", it.name);
    for (what, is_on, words) in [
        ("identity", it.identity, identity),
        ("timing", !windows.is_empty(), &*timing),
        ("policies", it.policies.is_some(), &*policies),
        ("masking", masking.is_some(), masking.as_deref().unwrap_or("no policy has masks or rows")),
        ("recording", true, recording),
    ] {
        text.push_str(&format!("  {what:9}  {:3}  {words}\n", if is_on { "on" } else { "off" }));
    }
    text
}

/// Which policies hide something of what the others give.
fn masking(about: &[OfPolicy]) -> Option<String> {
    let hiding = |what: &str, hides: fn(&OfPolicy) -> bool| {
        let names: Vec<String> =
            about.iter().filter(|it| hides(it)).map(|it| format!("`{}`", it.name)).collect();
        (!names.is_empty()).then(|| format!("{what} of {}", names.join(", ")))
    };
    let both = [hiding("masks", |it| it.masks), hiding("row filters", |it| it.rows)];
    let hidden: Vec<String> = both.into_iter().flatten().collect();
    (!hidden.is_empty()).then(|| hidden.join("; "))
}

fn ask(address: SocketAddr) -> Result<Status, String> {
    let answer = get(address, STATUS).map_err(|error| error.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("that is no HTTP")?;
    let line = head.lines().next().unwrap_or_default();
    if line.split(' ').nth(1) != Some("200") {
        return Err(format!("it says `{line}`"));
    }
    serde_json::from_str(body).map_err(|error| format!("that is no status: {error}"))
}

/// By HTTP/1.0: the answer is what comes until the connection closes.
fn get(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_TIME)?;
    stream.set_read_timeout(Some(ANSWER_TIME))?;
    stream.set_write_timeout(Some(ANSWER_TIME))?;
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    Ok(answer)
}
