//! The recipes of the policy guide through the real gate: each statement of a `.cases` file in
//! `examples/policies` is sent by a client that has the identity, in both protocols, and passes or
//! is refused as the file says, with the words that it says.

use std::fs;
use std::path::{Path, PathBuf};

use e2e::{Database, Gatepost};
use serde_json::Value;

use crate::raw::{self, Address, Message, Raw};
use crate::setup;

const SECRET: &str = "a secret of the file";

#[test]
fn each_recipe_passes_and_refuses_what_it_says() {
    let database = setup::database();
    database.login().psql(&fs::read_to_string(folder().join("shop.sql")).expect("the shop"));
    let entries = fs::read_dir(folder()).expect("the recipes");
    let paths = entries.map(|entry| entry.expect("a file").path());
    let mut wrong = Vec::new();
    for file in paths.filter(|path| path.extension().is_some_and(|it| it == "yaml")) {
        let gate = gate(&file, &database);
        let cases = fs::read_to_string(file.with_extension("cases")).expect("cases");
        let mut asker = None;
        for paragraph in cases.split("\n\n") {
            let lines = || paragraph.lines().filter(|line| !line.starts_with("# "));
            let verdict = lines().find_map(|line| line.strip_prefix("  "));
            let text: Vec<&str> = lines().filter(|line| !line.starts_with("  ")).collect();
            let text = text.join("\n");
            if let Some(who) = text.strip_prefix("as ") {
                let (who, connection) = who.split_once(" on ").expect("as WHO on CONNECTION");
                asker = Some(gate.login(who, connection));
            } else if let Some(verdict) = verdict {
                let tried = asker.as_mut().expect("as WHO on CONNECTION").tried(&text);
                if let Err(what) = as_written(verdict, &tried) {
                    wrong.push(format!("{}: {text}\n  {verdict}\n  {what}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/policies")
}

struct Gate {
    process: Gatepost,
    /// Identities, with what opens the door to them.
    secrets: Vec<(String, String)>,
}

/// A gateway that goes by the recipe, with its connections on the database of the test.
fn gate(file: &Path, database: &Database) -> Gate {
    let text = fs::read_to_string(file).expect("a recipe");
    let (_, rest) = text.split_once("\nidentities:\n").expect("identities");
    let rest = rest.replace("secret: { env: ", "secret: { file: ");
    let of_file = |line: &str| {
        let (name, what) = line.trim().split_once(": { secret: { file: ")?;
        Some((name.to_owned(), what.split(' ').next()?.to_owned()))
    };
    let own: Vec<(String, String)> = rest.lines().filter_map(of_file).collect();
    let login = database.login();
    let connections: String = ["shop", "reports", "legacy"]
        .map(|name| {
            format!(
                "  {name}: {{ address: \"{}\", tls: disable, database: {}, user: {}, \
                 password: {{ file: upstream }} }}\n",
                database.server.address(),
                database.name,
                login.user
            )
        })
        .concat();
    let process = Gatepost::start_with(|place| {
        place.directory.file("upstream", &login.password);
        own.iter().for_each(|(_, file)| drop(place.directory.file(file, SECRET)));
        format!("{}connections:\n{connections}identities:\n{rest}", place.header())
    });
    let mut secrets: Vec<(String, String)> =
        own.into_iter().map(|(name, _)| (name, SECRET.to_owned())).collect();
    let known: Vec<&str> =
        rest.lines().filter_map(|l| l.trim().split_once(": {")).map(|(n, _)| n).collect();
    for name in known.into_iter().chain(["stranger"]) {
        if !secrets.iter().any(|(own, _)| own == name) && !name.contains(' ') {
            secrets.push((name.to_owned(), process.token(name)));
        }
    }
    Gate { process, secrets }
}

/// What came of a statement: its error, if there was one, in the simple protocol and, where it
/// stands alone in its text, in the extended one.
type Tried = Vec<Option<Message>>;

/// One who asks, in a session for each protocol; or why it was not let in.
struct Asker(Result<[Raw; 2], Message>);

impl Gate {
    fn login(&self, who: &str, connection: &str) -> Asker {
        let known = self.secrets.iter().find(|(name, _)| name == who);
        let (_, secret) = known.unwrap_or_else(|| panic!("nobody is called {who}"));
        let login = || {
            let mut raw = Raw::connect(&Address::Tcp(self.process.address()));
            raw.send(&raw::startup(raw::PROTOCOL_3_0, who, &[("database", connection)]));
            raw.finish_login(who, secret).map(|_| raw)
        };
        Asker(login().and_then(|first| Ok([first, login()?])))
    }
}

impl Asker {
    fn tried(&mut self, text: &str) -> Tried {
        let sessions = match &mut self.0 {
            Ok(sessions) => sessions,
            Err(refused) => return vec![Some(refused.clone())],
        };
        let text = text.trim_end_matches(';');
        let extended = [
            raw::parse("", text, &[]),
            raw::bind("", "", &[], &[], &[]),
            raw::execute("", 0),
            raw::sync(),
        ];
        // Nothing stays of what may be undone, so that the statements can stand in any order.
        let alone = ["BEGIN", "CREATE INDEX CONC", "DISCARD"].iter().any(|it| text.starts_with(it));
        let protocols = if text.contains(';') { 1 } else { 2 };
        let messages = [raw::query(text), extended.concat()];
        let tried = sessions.iter_mut().zip(messages).take(protocols).map(|(raw, messages)| {
            raw.query(if alone { "SELECT 1" } else { "BEGIN" });
            let error = error(raw, &messages);
            raw.query("ROLLBACK");
            error
        });
        tried.collect()
    }
}

/// Sends, and reads until the server is ready; COPY FROM STDIN brings nothing.
fn error(raw: &mut Raw, messages: &[u8]) -> Option<Message> {
    raw.send(messages);
    let mut error = None;
    while let Some(message) = raw.read() {
        match message.tag {
            b'G' if messages.starts_with(b"Q") => raw.send(&raw::copy_done()),
            // The server has eaten the Sync that came before.
            b'G' => raw.send(&[raw::copy_done(), raw::sync()].concat()),
            b'E' => error = Some(message),
            b'Z' => break,
            _ => {}
        }
    }
    error
}

fn as_written(verdict: &str, tried: &Tried) -> Result<(), String> {
    let (what, why) = verdict.split_once("  ").expect("a verdict and its reason");
    for (protocol, error) in ["simple", "extended"].into_iter().zip(tried) {
        let shown = || {
            format!(
                "{protocol}: {}",
                error.as_ref().map_or_else(|| "passed".to_owned(), Message::show)
            )
        };
        // What is Gatepost's own says so in JSON; whatever else the server says was let pass.
        let detail = error.as_ref().and_then(|error| error.field(b'D'));
        let ours: Option<Value> = detail.and_then(|detail| serde_json::from_str(&detail).ok());
        let code = ours.as_ref().and_then(|ours| ours["code"].as_str()).unwrap_or("passed");
        let fits = match (what, why) {
            ("allow", _) => code == "passed",
            // They are tried inside a transaction, where nobody is asked.
            ("hold", _) => code == "held_in_transaction",
            ("refuse", "no policy lets it in") => {
                error.as_ref().is_some_and(|it| it.severity() == "FATAL")
            }
            // A rule that refused it, or the code and what was missing.
            ("refuse", why) => match why.rsplit_once(" (").filter(|_| why.ends_with(')')) {
                Some((rule, _)) if code == "refused" => {
                    ours.as_ref().is_some_and(|it| it["rule"] == rule)
                }
                _ => {
                    let (own, missing) = why.split_once(": ").unwrap_or((why, ""));
                    let list = ours.as_ref().and_then(|it| it["missing"].as_array().cloned());
                    let list: Vec<String> = list
                        .unwrap_or_default()
                        .iter()
                        .filter_map(|it| it.as_str().map(str::to_owned))
                        .collect();
                    code == own && (missing.is_empty() || list.join(", ") == missing)
                }
            },
            _ => return Err(format!("{what} is no verdict")),
        };
        if !fits {
            return Err(shown());
        }
    }
    Ok(())
}
