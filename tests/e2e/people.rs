//! The promise that a person logs in once, in a browser or by a code, and is then let in by psql and
//! the desk's commands: with a real identity provider and its login form.

mod device;
mod renewal;
mod terminal;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use e2e::{Database, Directory, Gatepost};
use serde_json::Value;

use crate::identity::provider::Provider;
use crate::journal::records;
use crate::setup::{self, Gate, Plan};

/// People may do what they give a reason for.
const POLICIES: &str = "policies:
  - name: people
    who: { group: people, issuer: \"ISSUER\" }
    to: \"*\"
    access: { approval: none, window: 1h, reason: required }
    allow: [{ read: public.items }]
  - name: short looks
    who: { group: people }
    to: \"*\"
    access: { approval: none, window: 10m }
    allow: [{ read: public.items }]
";

/// A person with a home of their own, and the gate that they log in at.
pub struct Person {
    home: Directory,
    pub gate: Gate,
    pub database: Database,
    pub idp: Provider,
    ca: PathBuf,
}

pub struct Said {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Person {
    /// `login` is what the file says of the provider's logins.
    pub fn new(login: &str) -> Person {
        let idp = Provider::http();
        let issuer = issuer(&idp.url, &format!("login: {login}"));
        Person::with(idp, &[issuer])
    }

    /// Of a gate with these issuers.
    pub fn with(idp: Provider, issuers: &[String]) -> Person {
        let database = setup::database();
        database.login().psql(
            "CREATE TABLE items AS SELECT g AS id FROM generate_series(1, 5) g;
             GRANT SELECT ON items TO public",
        );
        let plan = Plan::gateway(&database)
            .top(&format!("issuers:\n{}", issuers.concat()))
            .top(&POLICIES.replace("ISSUER", &idp.url))
            .tls(&database.server);
        let ca = database.server.certificates.ca();
        Person { home: Directory::new(), gate: plan.start(), database, idp, ca }
    }

    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.gate.process.http().port())
    }

    /// A command as the person would give it, before a screen with a browser that does so.
    pub fn command(&self, browser: &str, arguments: &[&str]) -> Command {
        let mut command = Gatepost::program();
        let variables = std::env::vars().map(|(name, _)| name);
        for name in variables.filter(|name| name.starts_with("PG") || name.starts_with("GATEPOST_"))
        {
            command.env_remove(name);
        }
        let paths = std::env::var("PATH").expect("a PATH");
        command
            .args(arguments)
            .env("PATH", format!("{}:{paths}", e2e::tls_clients().display()))
            .env("XDG_STATE_HOME", self.home.join("state"))
            .env("HOME", &*self.home)
            .env("BROWSER", self.browser(browser))
            .env("NODE_EXTRA_CA_CERTS", &self.ca)
            .env("TZ", "UTC")
            .stdin(Stdio::null());
        command
    }

    /// A program that takes a URL, as browsers do.
    fn browser(&self, how: &str) -> PathBuf {
        let (node, _) = e2e::node();
        let script = browser_script();
        let page = self.home.join("page");
        let text = format!(
            "#!/bin/sh\nexec {} {} {how} \"$1\" >{} 2>&1\n",
            node.display(),
            script.display(),
            page.display()
        );
        let path = self.home.file(&format!("browser-{how}"), &text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        path
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        said(self.command("agree", arguments).output().expect("gatepost runs"))
    }

    pub fn login(&self) -> Said {
        self.login_by("agree", &[])
    }

    pub fn login_by(&self, browser: &str, more: &[&str]) -> Said {
        let url = self.url();
        let ca = self.ca.display().to_string();
        let arguments = [&["login", &url, "--ca", &ca], more].concat();
        said(self.command(browser, &arguments).output().expect("gatepost runs"))
    }

    pub fn psql(&self, more: &[&str]) -> Said {
        self.run(&[&["psql", &self.database.name], more].concat())
    }

    pub fn file(&self) -> PathBuf {
        self.home.join("state/gatepost/logins.json")
    }

    /// What is kept of the login.
    pub fn kept(&self) -> Value {
        let text = fs::read_to_string(self.file()).expect("a login");
        let logins: Value = serde_json::from_str(&text).expect("JSON");
        logins["logins"][self.url()].clone()
    }

    pub fn secret(&self, key: &str) -> String {
        self.kept()[key].as_str().unwrap_or_else(|| panic!("no {key}")).to_owned()
    }
}

pub fn browser_script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/identity/browser.mjs")
}

pub fn said(Output { status, stdout, stderr }: Output) -> Said {
    let text = |bytes| String::from_utf8(bytes).expect("words");
    Said { code: status.code().expect("a code"), out: text(stdout), err: text(stderr) }
}

#[track_caller]
fn assert_well(said: &Said) {
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
}

/// An entry under `issuers`.
fn issuer(url: &str, more: &str) -> String {
    format!("  - url: {url}\n    audience: [gatepost, cli]\n    {more}\n")
}

const CLIENT: &str = "{ client_id: cli, scopes: [openid, offline_access] }";

#[test]
fn one_login_opens_psql_and_the_desk() {
    let mut person = Person::new(CLIENT);
    let without = person.psql(&[]);
    assert_eq!(without.code, 2, "{}", without.err);
    assert!(without.err.contains("where is the gateway?"), "{}", without.err);
    let url = person.url();
    let without = person.run(&["pending", "--at", &url]);
    assert_eq!(without.code, 2, "{}", without.err);
    assert!(without.err.contains("`gatepost login`"), "{}", without.err);

    let login = person.login();
    assert_well(&login);
    let expected = format!("logged in at {url} as {}|anna, ", person.idp.url);
    assert!(login.out.starts_with(&expected), "{}", login.out);
    let page = fs::read_to_string(person.home.join("page")).expect("a page");
    assert!(page.contains("Go back to your terminal"), "{page}");
    let (token, refresh) = (person.secret("token"), person.secret("refresh"));
    for secret in [&token, &refresh] {
        assert!(!login.out.contains(secret) && !login.err.contains(secret));
    }
    let mode = |path: &Path| fs::metadata(path).expect("it is there").mode() & 0o777;
    assert_eq!(mode(&person.file()), 0o600);
    assert_eq!(mode(person.file().parent().expect("a directory")), 0o700);

    // From now on nothing has to be said.
    let pending = person.run(&["pending"]);
    assert_eq!((pending.code, &*pending.out), (0, "nothing waits\n"), "{}", pending.err);
    let counted = person.psql(&["--", "-XAtc", "SELECT count(*) FROM items"]);
    assert_eq!((counted.code, &*counted.out), (0, "5\n"), "{}", counted.err);
    let asked = ["--reason", "ticket 42 \\ now", "--for", "20m", "--policy", "people"];
    let sql = "SELECT reason, policies, seconds_left BETWEEN 1000 AND 1200 FROM gatepost.me";
    let told = person.psql(&[&asked[..], &["--", "-XAtc", sql]].concat());
    assert_eq!(told.out, "ticket 42 \\ now|{people}|t\n", "{}", told.err);
    // The certificate is verified, and the secret is in no process list.
    let command_line = "\\! tr '\\0' ' ' </proc/$PPID/cmdline";
    let told = person.psql(&["--", "-X", "-c", "\\conninfo", "-c", command_line]);
    assert_well(&told);
    assert!(told.out.contains("SSL"), "{}", told.out);
    assert!(told.out.contains("psql ") && !told.out.contains(&token), "{}", told.out);

    // psql's own exit codes.
    for (arguments, code) in [
        (&["-XAt", "-v", "ON_ERROR_STOP=1", "-c", "SELECT 1/0"][..], 1),
        (&["-X", "--no-such-option"], 1),
        (&["-X", "-d", "nowhere", "-c", "SELECT 1"], 2),
    ] {
        let ended = person.psql(&[&["--"], arguments].concat());
        assert_eq!(ended.code, code, "{arguments:?}: {}", ended.err);
    }

    let all = records::all(&records::directory(&person.gate));
    let begins = records::of_event(&all, "session_begins");
    assert!(begins.iter().all(|it| it["login"] == "token" && it["identity"]["subject"] == "anna"));

    let logout = person.run(&["logout"]);
    assert_eq!((logout.code, &*logout.err), (0, ""), "{}", logout.out);
    assert!(logout.out.contains("the provider knows"), "{}", logout.out);
    assert!(!fs::read_to_string(person.file()).expect("a file").contains(&token));
    assert_eq!(person.idp.renew("cli", &refresh), "invalid_grant");
    assert_eq!(person.run(&["pending", "--at", &url]).code, 2);
    let twice = person.run(&["logout", &url]);
    assert_eq!(twice.code, 1, "{}", twice.err);
}

/// Near twins of a login that works.
#[test]
fn who_says_no_is_not_logged_in() {
    let person = Person::new(CLIENT);
    let denied = person.login_by("deny", &[]);
    assert_eq!((denied.code, &*denied.out), (1, ""), "{}", denied.err);
    assert!(denied.err.contains("access_denied"), "{}", denied.err);
    assert!(!person.file().exists());
    // What others send to the port that waits for the browser neither logs in nor ends it.
    let forged = person.login_by("forge", &[]);
    assert_well(&forged);
    // Whom the gateway does not believe is not logged in, whatever the provider says.
    let idp = Provider::http();
    let issuer =
        issuer(&idp.url, "login: { client_id: cli }").replace("gatepost, cli", "urn:other");
    let other = Person::with(idp, &[issuer]);
    let refused = other.login();
    assert_eq!((refused.code, &*refused.out), (1, ""), "{}", refused.err);
    assert!(!other.file().exists());
    let all = records::all(&records::directory(&other.gate));
    let refusals = records::of_event(&all, "login_refused");
    assert!(records::text(refusals[0], "reason").contains("it is for another audience"));
}

#[test]
fn an_id_token_where_the_file_says_so() {
    let person = Person::new("{ client_id: cli, token: id }");
    let login = person.login();
    assert_well(&login);
    assert!(login.out.contains(", until 20"), "{}", login.out);
    assert_well(&person.run(&["pending"]));
}

#[test]
fn which_of_two_providers() {
    let server = e2e::pg(e2e::versions()[0]);
    let (first, second) = (Provider::http(), Provider::https(&server));
    let ca = format!("ca: {}", server.certificates.ca().display());
    let login = "login: { client_id: cli }";
    let issuers = [issuer(&first.url, login), issuer(&second.url, &format!("{login}\n    {ca}"))];
    let person = Person::with(first, &issuers);
    let which = person.login();
    assert_eq!(which.code, 2, "{}", which.err);
    for url in [&person.idp.url, &second.url] {
        assert!(which.err.contains(url.as_str()), "{}", which.err);
    }
    assert_eq!(person.login_by("agree", &["--issuer", "https://localhost:1"]).code, 2);
    let login = person.login_by("agree", &["--issuer", &second.url]);
    assert_well(&login);
    assert!(login.out.contains(&format!(" as {}|anna", second.url)), "{}", login.out);
    // The next time it is known which.
    let again = person.run(&["login"]);
    assert_well(&again);
    assert!(again.out.contains(&format!(" as {}|anna", second.url)), "{}", again.out);
}

#[test]
fn what_is_missing_is_said() {
    let person = Person::new(CLIENT);
    assert_well(&person.login());
    let empty = Directory::new();
    let name = &person.database.name;
    let mut command = person.command("agree", &["psql", name]);
    let missing = said(command.env("PATH", &*empty).output().expect("it runs"));
    assert_eq!(missing.code, 1);
    assert!(missing.err.contains("there is no psql here"), "{}", missing.err);
    // What others could have read is not used.
    fs::set_permissions(person.file(), fs::Permissions::from_mode(0o644)).expect("its mode");
    for arguments in [&["pending"][..], &["psql", name], &["login"]] {
        let exposed = person.run(arguments);
        assert_eq!(exposed.code, 1, "{}", exposed.err);
        assert!(exposed.err.contains("is open to others"), "{}", exposed.err);
    }
    fs::set_permissions(person.file(), fs::Permissions::from_mode(0o600)).expect("its mode");
    assert_well(&person.run(&["pending"]));
    // No certificate of another authority's gate gets the token.
    let other = person.database.server.certificates.other_ca().display().to_string();
    let other = person.run(&["psql", name, "--ca", &other]);
    assert_eq!(other.code, 1, "{}", other.err);
    assert!(other.err.contains("no gateway answers"), "{}", other.err);
}

/// Started, with what it says on stderr to be read as it comes.
fn started(mut command: Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("gatepost starts")
}
