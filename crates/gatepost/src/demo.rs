//! `gatepost demo`: a scratch database with a small shop in it, a gate in front, and a real client
//! that shows each step. With `--check` the answers are checked and it ends; else it stays up.

mod issuer;
mod people;

use std::fs;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use audit::read::{self, Filter};
use tokio::process::Command;

use crate::cli::Failure;
use crate::config::{self, ConfigError};
use crate::records;
use crate::scratch::{self, Cluster, ScratchError, ServerBinaries};
use crate::serve::{self, ServeError};
use crate::token;
use issuer::Issuer;

/// The first of these that is free, with the next one, is the demo's.
const PORTS: std::ops::Range<u16> = 6432..6532;

/// The local identity that most is shown with.
const AGENT: &str = "agent-7";

const SHOP: &str = include_str!("demo/shop.sql");

/// What the scratch server writes before each statement that it runs for the agent. (Gatepost asks
/// for itself what the database holds, under a name of its own.)
const LOG_PREFIX: &str = "gatepost on shop for psql";

/// What stands in the place of a statement that is refused begins so, and then fails.
const INSTEAD: &str = "SELECT \"gatepost-refused-";

#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error(transparent)]
    Scratch(#[from] ScratchError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error("{0}")]
    Token(String),
    #[error("{doing}: {source}")]
    Io { doing: &'static str, source: io::Error },
    #[error(
        "no psql found beside the server or along PATH: install it (on Debian: \
         apt-get install postgresql-client)"
    )]
    NoClient,
    #[error("the shop could not be set up: {0}")]
    Shop(String),
    #[error("no port is free from {} to {}", PORTS.start, PORTS.end - 1)]
    NoPort,
    #[error("step «{step}» answered otherwise than it should: {what}")]
    Otherwise { step: &'static str, what: String },
}

/// Runs the demo; with `check` it asserts each step's result and ends.
pub(crate) fn run(check: bool) -> Result<(), DemoError> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().doing("starting")?;
    runtime.block_on(demo(check))
}

/// Ctrl-C ends it at any step; what it has made goes with what it holds.
async fn demo(check: bool) -> Result<(), DemoError> {
    tokio::select! {
        shown = show(check) => shown,
        pressed = tokio::signal::ctrl_c() => {
            pressed.doing("waiting for Ctrl-C")?;
            say("\nStopping, and removing everything.");
            Ok(())
        }
    }
}

async fn show(check: bool) -> Result<(), DemoError> {
    say("Starting a scratch PostgreSQL with a small shop in it …");
    let binaries = ServerBinaries::find(None)?;
    let client = client(&binaries)?;
    let mut options = scratch::Options::new(binaries);
    options.settings = [("log_statement", "all"), ("log_line_prefix", "%q%u on %d for %a: ")]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let cluster = Cluster::start(options)?;
    let place = Place::new()?;
    shop(&client, &cluster, &place).await?;

    let port = PORTS
        .into_iter()
        .find(|&port| is_free(port) && is_free(port + 1))
        .ok_or(DemoError::NoPort)?;
    let issuer = Issuer::start().await.doing("starting an identity provider")?;
    let written = configuration(port, &cluster, &issuer.url);
    let file = place.write("gatepost.yaml", &written)?;
    let config = config::load(&file)?;
    let state = config.state.clone();
    let journal = config.journal.options.directory.clone();
    let running = serve::start(config, false).await?;
    let token = token::make(&state, AGENT, None).await.map_err(told)?;
    let persons = token::make(&state, people::PERSON, None).await.map_err(told)?;
    say(&format!(
        "Gatepost listens on 127.0.0.1:{port}. Its configuration is {}:\n",
        file.display()
    ));
    say(&indented(&written));

    let token = token.token.text().to_owned();
    let persons = persons.token.text().to_owned();
    let tour = Tour { client, cluster: &cluster, port, token, persons, issuer };
    tour.steps().await?;
    tour.held().await?;
    tour.window(check).await?;
    journal_step(&journal, &place)?;
    if check {
        running.stop().await;
        say("All steps answered as they should.");
        return Ok(());
    }
    tour.goodbye();
    std::future::pending().await
}

/// What a visitor sees.
struct Tour<'a> {
    client: PathBuf,
    cluster: &'a Cluster,
    port: u16,
    token: String,
    /// Of the person who is asked.
    persons: String,
    issuer: Issuer,
}

/// How a step is known to have gone right: what the client says has these words.
enum Expect<'a> {
    /// The statement was answered, and PostgreSQL ran it as it was sent.
    Answered(&'a [&'a str]),
    /// It was answered, and PostgreSQL ran another text, which reads masks in the place of values.
    Masked(&'a [&'a str]),
    /// It was not, and PostgreSQL ran nothing.
    Refused(&'a [&'a str]),
}

impl Tour<'_> {
    async fn steps(&self) -> Result<(), DemoError> {
        self.step(
            "The agent asks with its own token; it has no password of the database",
            &self.token,
            "SELECT id, name, region FROM customers ORDER BY id LIMIT 3",
            Expect::Answered(&["Ada Moreau", "Bo Lindqvist", "Chidi Okafor", "(3 rows)"]),
        )
        .await?;
        self.step(
            "What is masked is masked where it is read, in the text that PostgreSQL gets",
            &self.token,
            "SELECT name, email FROM customers WHERE region = 'EU' ORDER BY id",
            Expect::Masked(&["Ada Moreau", "****@example.com", "****@example.net", "(2 rows)"]),
        )
        .await?;
        self.step(
            "It writes where its policy lets it",
            &self.token,
            "INSERT INTO notes (customer_id, body) VALUES (3, 'Asked for an invoice') \
             RETURNING id, body",
            Expect::Answered(&["Asked for an invoice", "INSERT 0 1"]),
        )
        .await?;
        self.step(
            "It asks for more than its policy gives, and is told what, and what to do",
            &self.token,
            "SELECT name, ssn FROM customers",
            Expect::Refused(&[
                "No policy in force allows read public.customers(ssn).",
                "DETAIL:  {\"code\":\"not_allowed\"",
                "\"missing\":[\"read public.customers(ssn)\"]",
                "HINT:  ",
            ]),
        )
        .await?;
        self.step(
            "However a statement begins: what it would do decides",
            &self.token,
            "WITH gone AS (DELETE FROM orders RETURNING id) SELECT count(*) FROM gone",
            Expect::Refused(&["No policy in force allows delete public.orders."]),
        )
        .await?;
        self.step(
            "It errs, and hears what PostgreSQL says to that",
            &self.token,
            "SELECT nme FROM customers",
            Expect::Refused(&["column \"nme\" does not exist"]),
        )
        .await?;
        self.step(
            "A wrong token opens nothing",
            "gp_0000000000000000000000000000000000000000000",
            "SELECT 1",
            Expect::Refused(&["password authentication failed for user \"agent-7\""]),
        )
        .await?;
        self.steps_with_provider().await
    }

    /// A job of a pipeline has no token of Gatepost's: its own identity provider signs one.
    async fn steps_with_provider(&self) -> Result<(), DemoError> {
        let token = |audience| self.issuer.token("nightly-report", "reporting", audience);
        self.step_as(
            "ci",
            "A job comes with a token (JWT) that its identity provider signed, as its password",
            &token("gatepost"),
            "SELECT count(*), sum(total) FROM orders",
            Expect::Answered(&["40", "(1 row)"]),
        )
        .await?;
        self.step_as(
            "ci",
            "It may do what the policy of its group names, and nothing else",
            &token("gatepost"),
            "SELECT name FROM customers",
            Expect::Refused(&["No policy in force allows read public.customers"]),
        )
        .await?;
        self.step_as(
            "ci",
            "A token that the same provider gave out for another service opens nothing",
            &token("mail"),
            "SELECT 1",
            Expect::Refused(&["password authentication failed for user \"ci\""]),
        )
        .await
    }

    async fn step(
        &self,
        title: &'static str,
        token: &str,
        sql: &str,
        expect: Expect<'_>,
    ) -> Result<(), DemoError> {
        self.step_as(AGENT, title, token, sql, expect).await
    }

    async fn step_as(
        &self,
        user: &str,
        title: &'static str,
        token: &str,
        sql: &str,
        expect: Expect<'_>,
    ) -> Result<(), DemoError> {
        let seen = self.cluster.log().len();
        let address = self.address(user);
        let shown = Command::new(&self.client)
            .args(["-X", "-w", &address, "-c", sql])
            .env("PGPASSWORD", token)
            .output()
            .await
            .doing("running psql")?;
        say(&format!("{title}:\n\n    $ psql \"{address}\" -c \"{sql}\""));
        say(&indented(&format!("{}{}", text(&shown.stdout), text(&shown.stderr))));
        let ran = self.ran_since(seen);
        let instead = ran.iter().all(|it| it.starts_with(INSTEAD));
        let what = match ran.as_slice() {
            [] => "PostgreSQL ran nothing.",
            _ if instead => {
                "PostgreSQL got a statement in its place that only fails, as its log says:"
            }
            _ => "PostgreSQL ran, by its own log:",
        };
        let ran_lines =
            if ran.is_empty() { String::new() } else { indented(&ran.join("\n")) + "\n" };
        say(format!("  {what}\n\n{ran_lines}").trim_end_matches('\n'));
        say("");

        let said = format!("{}{}", text(&shown.stdout), text(&shown.stderr));
        let (as_expected, words) = match expect {
            Expect::Answered(words) => (shown.status.success() && ran == [sql], words),
            Expect::Masked(words) => {
                let other = matches!(ran.as_slice(), [one] if one != sql && !instead);
                (shown.status.success() && other, words)
            }
            Expect::Refused(words) => (!shown.status.success() && instead, words),
        };
        if as_expected && words.iter().all(|word| said.contains(word)) {
            Ok(())
        } else {
            Err(DemoError::Otherwise { step: title, what: said })
        }
    }

    fn goodbye(&self) {
        say(&format!(
            "Try it yourself:\n\n    \
             export PGPASSWORD={}\n    \
             psql \"{}\"\n    \
             GATEPOST_TOKEN={} gatepost pending --at http://127.0.0.1:{} --as {}\n    \
             curl http://127.0.0.1:{}/metrics\n\n\
             Ctrl-C stops it all and removes everything.",
            self.token,
            self.address(AGENT),
            self.persons,
            self.port + 1,
            people::PERSON,
            self.port + 1,
        ));
    }

    fn address(&self, user: &str) -> String {
        format!("host=127.0.0.1 port={} dbname=shop user={user}", self.port)
    }

    /// The statements that PostgreSQL has run for the agent since its log was this long.
    fn ran_since(&self, seen: usize) -> Vec<String> {
        let log = self.cluster.log();
        let new = log.get(seen..).unwrap_or_default();
        new.lines()
            .filter_map(|line| line.strip_prefix(LOG_PREFIX)?.strip_prefix(": LOG:  statement: "))
            .map(str::to_owned)
            .collect()
    }
}

fn configuration(port: u16, cluster: &Cluster, issuer: &str) -> String {
    format!(
        "\
listen: 127.0.0.1:{port}
http: 127.0.0.1:{http}
state: gatepost.db

connections:
  shop:
    address: {address}
    tls: disable                    # it is on this very machine
    user: gatepost
    password: {{ file: shop.password }}

issuers:
  - url: {issuer}         # it signs tokens, and this demo runs it
    audience: gatepost

identities:
  anna: {{ groups: [dba] }}

policies:
  - name: agents
    who: identity:agent-7
    to: shop
    access: {{ window: 1h, approval: none }}
    allow:
      - read: public.*
        except: public.payments, public.customers(ssn, card_number)
      - insert: public.notes
    hold:
      - alter: public.notes
        by: group:dba
    limits: {{ rows: 10000 per session, statement_time: 30s }}

  - name: personal                  # gives nothing: it masks, whoever else lets them in
    who: \"*\"
    to: shop
    mask:
      public.customers.email: email

  - name: {look}
    who: identity:agent-7
    to: shop
    access: {{ window: 60s, approval: {{ by: group:dba }}, reason: required }}
    allow:
      - read: public.payments

  - name: reports
    who: {{ issuer: \"{issuer}\", group: reporting }}
    to: shop
    access: {{ window: 15m, approval: none }}
    allow:
      - read: public.orders
",
        http = port + 1,
        look = people::LOOK,
        address = cluster.address(),
    )
}

/// Shows what was recorded of all this, and that nobody can change it unseen.
fn journal_step(journal: &Path, place: &Place) -> Result<(), DemoError> {
    say("All of it is in the journal, recorded before it happened:\n");
    let mut shown = String::new();
    read::records(journal, &Filter::default(), |record| {
        let shown_of =
            ["statement", "outcome", "login_refused", "hold", "request", "request_decided"];
        if shown_of.contains(&record.event()) {
            shown.push_str(&records::sentence(&record));
        }
        ControlFlow::Continue(())
    })
    .doing("reading the journal")?;
    say(&indented(&shown));
    let whole = records::prove(&[journal.to_owned()], None, None, &mut |_| {});
    say(&format!(
        "    $ gatepost audit verify {}\n{}",
        journal.display(),
        indented(either(&whole))
    ));

    let copy = place.0.join("journal-changed");
    fs::create_dir(&copy).doing("copying the journal")?;
    for entry in fs::read_dir(journal).doing("copying the journal")? {
        let entry = entry.doing("copying the journal")?;
        let name = entry.file_name();
        if !name.to_string_lossy().ends_with(".jsonl") {
            continue;
        }
        let mut bytes = fs::read(entry.path()).doing("copying the journal")?;
        // Somebody would like the note to have been about another customer.
        let note = b"invoice";
        if let Some(at) = bytes.windows(note.len()).position(|window| window == note) {
            bytes.splice(at..at + note.len(), *b"voucher");
        }
        fs::write(copy.join(name), bytes).doing("copying the journal")?;
    }
    say("In a copy of it somebody turns the invoice into a voucher:\n");
    let changed = records::prove(std::slice::from_ref(&copy), None, None, &mut |_| {});
    say(&format!("    $ gatepost audit verify {}\n{}", copy.display(), indented(either(&changed))));
    let recorded = [
        "Asked for an invoice",
        "refuse query: SELECT name, ssn FROM customers",
        "rewrite query: SELECT name, email FROM customers",
        "SELECT nme FROM customers",
        "password authentication",
    ];
    if whole.is_ok() && changed.is_err() && recorded.iter().all(|text| shown.contains(text)) {
        Ok(())
    } else {
        Err(DemoError::Otherwise { step: "the journal", what: shown })
    }
}

fn either(proven: &Result<String, String>) -> &str {
    match proven {
        Ok(words) | Err(words) => words,
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Creates the shop, with a password that only Gatepost's file knows.
async fn shop(client: &Path, cluster: &Cluster, place: &Place) -> Result<(), DemoError> {
    let password =
        identity::token::Token::generate().map_err(|error| DemoError::Token(error.to_string()))?;
    place.write("shop.password", password.text())?;
    let script = place.write("shop.sql", SHOP)?;
    let superuser = format!(
        "host=127.0.0.1 port={} user={} dbname=postgres",
        cluster.port(),
        scratch::SUPERUSER
    );
    let made = Command::new(client)
        .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-v"])
        .arg(format!("password={}", password.text()))
        .arg(&superuser)
        .arg("-f")
        .arg(&script)
        .env("PGPASSWORD", cluster.password())
        .output()
        .await
        .doing("running psql")?;
    if made.status.success() { Ok(()) } else { Err(DemoError::Shop(text(&made.stderr))) }
}

/// psql from beside the server or along PATH: a server can come without one.
fn client(binaries: &ServerBinaries) -> Result<PathBuf, DemoError> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(binaries.directory().to_owned())
        .chain(std::env::split_paths(&path))
        .map(|directory| directory.join("psql"))
        .find(|psql| psql.is_file())
        .ok_or(DemoError::NoClient)
}

/// The demo's own directory. It goes when the demo does.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place, DemoError> {
        let path = std::env::temp_dir().join(format!("gatepost-demo-{}", std::process::id()));
        fs::DirBuilder::new().mode(0o700).create(&path).doing("making a directory")?;
        Ok(Place(path))
    }

    fn write(&self, name: &str, contents: &str) -> Result<PathBuf, DemoError> {
        let path = self.0.join(name);
        let mut open = fs::OpenOptions::new();
        open.write(true).create_new(true).mode(0o600);
        let mut file = open.open(&path).doing("writing a file")?;
        file.write_all(contents.as_bytes()).doing("writing a file")?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            say(&format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, DemoError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str) -> Result<T, DemoError> {
        self.map_err(|source| DemoError::Io { doing, source })
    }
}

fn told(failure: Failure) -> DemoError {
    match failure {
        Failure::Usage(words) | Failure::Failed(words) => DemoError::Token(words),
    }
}

/// A demo that nobody reads goes on all the same.
fn say(line: &str) {
    let _unread = writeln!(io::stdout(), "{line}");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn indented(text: &str) -> String {
    text.trim_end().lines().map(|line| format!("    {line}\n")).collect()
}
