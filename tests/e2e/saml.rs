//! The promise that a login at a provider that speaks SAML ends in a password for who logged in, in the
//! browser that began it, and that nothing else does: with SimpleSAMLphp as it is, and with a provider
//! that forges. Each check of a response is crate `identity`'s.

mod provider;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use e2e::{Database, Directory, Gatepost, Server};
use serde_json::{Value, json};

use crate::journal::records;
use crate::raw::{self, Message, PROTOCOL_3_0, Raw};
use crate::setup::{self, Gate, Plan};
use provider::{Forger, Simple, browse, certificate};

const AUDIENCE: &str = "https://gate.example/saml";

/// What tokens of a SAML login come under.
const USER: &str = "saml";

const POLICIES: &str = "policies:
  - name: people of the provider
    who: { group: data-agents, claim.env: production, issuer: \"ISSUER\" }
    to: \"*\"
    access: { approval: none, window: 1h }
    allow: [{ read: public.items }]
";

/// Pages of one web server.
pub struct Web {
    address: SocketAddr,
}

#[derive(Debug)]
pub struct Page {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Web {
    pub fn new(address: SocketAddr) -> Web {
        Web { address }
    }

    pub fn get(&self, path: &str, cookie: Option<&str>) -> Page {
        self.ask("GET", path, cookie, "", "text/plain")
    }

    pub fn post(&self, path: &str, cookie: Option<&str>, response: &str) -> Page {
        let escaped = response.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let body = format!("SAMLResponse={escaped}&RelayState=x");
        self.ask("POST", path, cookie, &body, "application/x-www-form-urlencoded")
    }

    fn ask(&self, method: &str, path: &str, cookie: Option<&str>, body: &str, kind: &str) -> Page {
        let cookie = cookie.map_or_else(String::new, |it| format!("Cookie: {it}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{cookie}\
             Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut said = String::new();
        stream.read_to_string(&mut said).expect("text");
        let (head, body) = said.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
        Page { status, head: head.to_owned(), body: body.to_owned() }
    }
}

impl Page {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|it| it.0.eq_ignore_ascii_case(name)).map(|it| it.1)
    }

    #[track_caller]
    fn between(&self, before: &str, after: &str) -> String {
        let rest =
            self.body.split_once(before).unwrap_or_else(|| panic!("no {before} in {self:?}"));
        rest.1.split_once(after).expect("its end").0.to_owned()
    }

    /// Where it goes on, once a response was right.
    #[track_caller]
    fn next(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.between("content=\"0;url=", "\"")
    }

    #[track_caller]
    fn token(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.between("<pre>", "</pre>")
    }
}

fn database(server: &Server) -> Database {
    let database = server.database();
    database.login().psql(
        "CREATE TABLE items AS SELECT g AS id FROM generate_series(1, 5) g;
         CREATE TABLE secrets AS SELECT 1 AS id;
         GRANT SELECT ON items, secrets TO public",
    );
    database
}

/// An entry under `issuers`, with further lines under `saml`.
fn issuer(entity: &str, lines: &[&str]) -> String {
    let lines = lines.iter().map(|line| format!("      {line}\n")).collect::<String>();
    format!(
        "  - url: \"{entity}\"\n    audience: {AUDIENCE}\n    claims: {{ env: environment }}\n    \
         saml:\n      here: http://127.0.0.1:HTTP_PORT\n{lines}"
    )
}

/// A gate that the forger's people log in to.
struct Stand {
    forger: Forger,
    gate: Gate,
    database: Database,
}

impl Stand {
    fn new() -> Stand {
        let database = database(&e2e::pg(e2e::versions()[0]));
        let mut forger = Forger::new();
        let gate = Stand::plan(&database, &forger).start();
        forger.start(AUDIENCE, &consumer(&gate));
        Stand { forger, gate, database }
    }

    fn plan(database: &Database, forger: &Forger) -> Plan {
        let certificate = format!("certificates: {}", forger.directory.join("idp.crt").display());
        let issuer = issuer(Forger::ENTITY, &["sso: https://idp.example/sso", &certificate]);
        Plan::gateway(database)
            .top(&format!("issuers:\n{issuer}"))
            .top(&POLICIES.replace("ISSUER", Forger::ENTITY))
            .top("bounds: { failed_logins: 1000 }")
    }

    fn web(&self) -> Web {
        Web::new(self.gate.process.http())
    }

    /// The request that a browser begins, and the cookie that it keeps.
    fn begin(&self, query: &str) -> (String, String) {
        let page = self.web().get(&format!("/saml/login{query}"), None);
        assert_eq!(page.status, 303, "{page:?}");
        let cookie = page.header("set-cookie").expect("a cookie");
        for guard in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(cookie.contains(guard), "{cookie}");
        }
        let cookie = cookie.split(';').next().expect("its value").to_owned();
        (request_of(page.header("location").expect("an address")), cookie)
    }

    fn post(&mut self, kind: &str, request: &str) -> Page {
        let response = self.forger.forge(kind, request);
        self.web().post("/saml/acs", None, &response)
    }

    /// The password that a login ends in.
    fn token(&mut self) -> String {
        let (request, cookie) = self.begin("");
        let next = self.post("right", &request).next();
        self.web().get(&next, Some(&cookie)).token()
    }

    fn restart(&mut self) {
        let process = &mut self.gate.process;
        process.signal("TERM");
        assert!(process.wait_exit().success());
        process.restart();
    }

    fn reasons(&self) -> Vec<String> {
        let all = records::all(&records::directory(&self.gate));
        let refused = records::of_event(&all, "login_refused");
        refused.iter().map(|record| records::text(record, "reason").to_owned()).collect()
    }
}

fn consumer(gate: &Gate) -> String {
    format!("http://{}/saml/acs", gate.process.http())
}

/// The name of the request that an address carries.
fn request_of(address: &str) -> String {
    let value = address.split_once("SAMLRequest=").expect("a request").1;
    let value = value.split('&').next().expect("its value");
    let value = value.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=");
    let bytes = STANDARD.decode(value).expect("base64");
    let text = String::from_utf8(bytes[5..].to_vec()).expect("XML, stored");
    text.split_once("ID=\"").expect("a name").1.split('"').next().expect("its end").to_owned()
}

fn try_login(gate: &Gate, user: &str, password: &str) -> Result<Raw, Message> {
    let mut raw = Raw::connect(&gate.address());
    raw.send(&raw::startup(PROTOCOL_3_0, user, &[("database", &gate.target().database)]));
    raw.finish_login(user, password).map(|_| raw)
}

#[track_caller]
fn login(gate: &Gate, password: &str) -> Raw {
    try_login(gate, USER, password).unwrap_or_else(|refusal| panic!("refused: {}", refusal.show()))
}

/// SimpleSAMLphp, and a gate for its people that signs what it asks.
fn simple(database: &Database) -> (Simple, Plan) {
    let simple = Simple::start();
    certificate(&simple.directory, "gate");
    let file = |name: &str| simple.directory.join(name).display().to_string();
    simple.directory.file("idp.xml", &simple.metadata());
    let metadata = format!("metadata: {}", file("idp.xml"));
    let sign = format!("sign: {{ certificate: {}, key: {} }}", file("gate.crt"), file("gate.key"));
    let issuer = issuer(Simple::ENTITY, &[&metadata, &sign]);
    let policies = POLICIES.replace("ISSUER", Simple::ENTITY);
    let plan = Plan::gateway(database).top(&format!("issuers:\n{issuer}")).top(&policies);
    (simple, plan)
}

/// What the gate says of itself is what SimpleSAMLphp is told, and the other way round; requests are
/// signed, and it checks that.
#[test]
fn a_login_at_simplesamlphp_ends_in_a_query() {
    let server = e2e::pg(e2e::versions()[0]);
    let database = database(&server);
    let (simple, plan) = simple(&database);
    let gate = plan.tls(&server).start();

    let web = Web::new(gate.process.http());
    let own = web.get("/saml/metadata", None);
    for said in [AUDIENCE, &consumer(&gate), "AuthnRequestsSigned=\"true\""] {
        assert!(own.body.contains(said), "{said}: {own:?}");
    }
    let signing =
        std::fs::read_to_string(simple.directory.join("gate.crt")).expect("a certificate");
    simple.register(AUDIENCE, &consumer(&gate), &signing);

    let address = format!("http://{}/saml/login", gate.process.http());
    let page = browse(&address, "anna", "annas");
    let token = page.split_once("<pre>").unwrap_or_else(|| panic!("{page}")).1;
    let token = token.split_once("</pre>").expect("its end").0;
    assert!(page.contains("<b>anna</b> of https://idp.example/simple?a=b&amp;c"), "{page}");

    let psql = gate.process.login(&database.login(), USER, token, &database.name);
    let psql = e2e::Login { clients: e2e::tls_clients(), ..psql }.with("PGSSLMODE", "require");
    assert_eq!(psql.psql("SELECT count(*) FROM items"), "5");
    // The near twin: what the policy of her group does not name.
    let refused = psql.try_psql("SELECT * FROM secrets").expect_err("a refusal");
    assert!(refused.contains("No policy in force allows read public.secrets"), "{refused}");

    // Another key than the provider knows, and another password.
    let page = browse(&address, "anna", "wrong");
    assert!(!page.contains("<pre>"), "{page}");
    simple.register(
        AUDIENCE,
        &consumer(&gate),
        &std::fs::read_to_string(simple.directory.join("idp.crt")).unwrap(),
    );
    let page = browse(&address, "anna", "annas");
    assert!(!page.contains("<pre>"), "{page}");

    let all = records::all(&records::directory(&gate));
    let expected = json!({
        "issuer": Simple::ENTITY, "subject": "anna", "groups": ["data-agents", "ops"],
        "claims": {"env": "production"},
    });
    let given = records::of_event(&all, "token_given");
    assert_eq!(given.len(), 1);
    assert_eq!((&given[0]["identity"], &given[0]["login"]), (&expected, &json!("saml")));
    let begins = records::of_event(&all, "session_begins");
    assert!(!begins.is_empty());
    for record in begins {
        assert_eq!((&record["identity"], &record["login"]), (&expected, &json!("token")));
    }
    assert!(!gate.log().contains(token));
}

/// The same from a terminal: nothing is copied by hand.
#[test]
fn a_login_by_the_terminal_ends_in_a_query() {
    let database = database(&e2e::pg(e2e::versions()[0]));
    let (simple, plan) = simple(&database);
    let gate = plan.start();
    let signing =
        std::fs::read_to_string(simple.directory.join("gate.crt")).expect("a certificate");
    simple.register(AUDIENCE, &consumer(&gate), &signing);
    let home = Directory::new();
    let browser = provider::browser(&home);
    let run = |arguments: &[&str]| {
        let paths = std::env::var("PATH").expect("a PATH");
        let output = Gatepost::program()
            .args(arguments)
            .env_remove("GATEPOST_URL")
            .env("PATH", format!("{}:{paths}", e2e::tls_clients().display()))
            .env("XDG_STATE_HOME", home.join("state"))
            .env("BROWSER", &browser)
            .output()
            .expect("gatepost runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let url = format!("http://{}", gate.process.http());
    let told = run(&["login", &url, "--saml"]);
    assert!(told.contains(&format!("logged in at {url} as {}|anna", Simple::ENTITY)), "{told}");
    let query = ["psql", &database.name, "--", "-Atc", "SELECT count(*) FROM items"];
    assert_eq!(run(&query).trim_end(), "5");
    // Without a word, too: there is no other provider.
    assert!(run(&["login"]).contains("logged in"));
    assert!(run(&["logout"]).contains("logged out"));
    assert!(!run(&query).ends_with("5\n"));
}

/// One forgery of each kind; what is wrong with it is in the journal, and nowhere else.
#[test]
fn forged_responses_open_nothing() {
    let mut stand = Stand::new();
    for kind in [
        "right",
        "right by xmlsec1",
        "right and the response too",
        "right with sha512",
        "right with prefixes",
        "right with spaces",
    ] {
        let (request, cookie) = stand.begin("");
        let next = stand.post(kind, &request);
        assert_eq!(next.status, 200, "{kind}: {next:?} {:?}", stand.reasons());
        let token = stand.web().get(&next.next(), Some(&cookie)).token();
        assert_eq!(login(&stand.gate, &token).value("SELECT count(*) FROM items"), "5", "{kind}");
    }
    assert_eq!(stand.reasons(), Vec::<String>::new());

    let markup = "it has a DTD, a comment, CDATA or a processing instruction";
    let form = "its signature is not of the only form that is taken";
    let algorithm = "its signature is by an algorithm that is not taken";
    for (kind, why) in [
        ("unsigned", "its assertion is not signed itself"),
        ("only the response is signed", "its assertion is not signed itself"),
        ("signed response, another assertion", ""),
        ("changed", "what is signed is something else"),
        ("changed group", "what is signed is something else"),
        ("by another key", "its signature is not by a key that the file names"),
        ("by another key that comes along", "its signature is not by a key that the file names"),
        ("rsa-sha1", algorithm),
        ("digest sha1", algorithm),
        ("hmac by the certificate", algorithm),
        ("algorithm swapped to hmac", algorithm),
        ("algorithm none", algorithm),
        ("two references", form),
        ("reference to the document", form),
        ("inclusive canonicalization", form),
        ("with comments", form),
        ("transform with comments", form),
        ("one transform", form),
        ("xpath", form),
        ("comment in a name", markup),
        ("comment that cuts a name", markup),
        ("cdata", markup),
        ("instruction", markup),
        ("dtd", markup),
        ("entity", markup),
        ("external entity", markup),
        ("bomb", markup),
        ("expired", "it has expired"),
        ("not yet valid", "it is not valid yet"),
        ("issued later", "it is not valid yet"),
        ("good for days", "is good for too long"),
        ("without an end", "it does not say when it ends"),
        ("another audience", "it is for another audience"),
        ("without an audience", "it is for another audience"),
        ("another recipient", "its subject is not confirmed for this address"),
        ("another destination", "it is for another address"),
        ("another request around", "it answers no request, or another one"),
        ("no request", "it answers no request, or another one"),
        ("another issuer", "its issuer is none that the file names"),
        ("another issuer of the assertion", "its issuer is none that the file names"),
        ("failed", "the provider says that the login has failed"),
        ("transient", "its subject is missing"),
        ("encrypted", "its assertion is encrypted"),
        // Wrapped ones fail for several reasons; which is named first says nothing.
        ("xsw1", ""),
        ("xsw2", ""),
        ("xsw3", ""),
        ("xsw4", ""),
        ("xsw5", ""),
        ("xsw6", ""),
        ("xsw7", ""),
        ("xsw8", ""),
        ("xsw last", ""),
        ("xsw same id", ""),
        ("xsw advice", ""),
        ("xsw renamed", ""),
        ("xsw moved signature", form),
    ] {
        let (request, _) = stand.begin("");
        let page = stand.post(kind, &request);
        assert_eq!(page.status, 403, "{kind}: {page:?}");
        assert!(page.body.contains("This login has failed"), "{kind}: {page:?}");
        let reason = stand.reasons().pop().expect("a record");
        assert!(reason.contains("the provider's answer proves nothing"), "{kind}: {reason}");
        assert!(reason.contains(why), "{kind}: {reason}");
    }
    // What is no response at all.
    for body in ["", "SAMLResponse=", "SAMLResponse=%%%", "x=y", "SAMLResponse=a&SAMLResponse=b"] {
        let page =
            stand.web().ask("POST", "/saml/acs", None, body, "application/x-www-form-urlencoded");
        assert!((400..500).contains(&page.status), "{body}: {page:?}");
    }
    let large = "A".repeat(600_000);
    assert_eq!(stand.web().post("/saml/acs", None, &large).status, 413);
    let given = records::all(&records::directory(&stand.gate));
    assert_eq!(records::of_event(&given, "token_given").len(), 6);
}

/// A response counts once, also after a restart, and also if nobody has ended its login.
#[test]
fn a_replayed_response_opens_nothing() {
    let mut stand = Stand::new();
    let (request, cookie) = stand.begin("");
    let response = stand.forger.forge("right", &request);
    let next = stand.web().post("/saml/acs", None, &response).next();
    assert_eq!(stand.web().post("/saml/acs", None, &response).status, 403);
    assert!(stand.reasons().pop().expect("a record").contains("has been here before"));
    stand.restart();
    assert_eq!(stand.web().post("/saml/acs", None, &response).status, 403);
    // What was begun before goes on.
    let token = stand.web().get(&next, Some(&cookie)).token();
    login(&stand.gate, &token);
    // The code is spent, and the token outlives a restart, too.
    assert_eq!(stand.web().get(&next, Some(&cookie)).status, 403);
    stand.restart();
    login(&stand.gate, &token);
    assert_eq!(stand.web().post("/saml/acs", None, &response).status, 403);
}

/// A login that somebody began elsewhere is ended by nobody: neither the browser that a response came
/// through gets it, nor the one that began it.
#[test]
fn a_login_ends_in_the_browser_that_began_it() {
    let mut stand = Stand::new();
    let (attackers, attackers_cookie) = stand.begin("");
    let (_, victims_cookie) = stand.begin("");
    for cookie in [Some(&*victims_cookie), None, Some("gatepost-login=x"), Some("gatepost-login=")]
    {
        let next = stand.post("right", &attackers).next();
        let page = stand.web().get(&next, cookie);
        assert_eq!(page.status, 403, "{cookie:?} {page:?}");
        // It was in wrong hands, so it is spent for the right ones, too.
        assert_eq!(stand.web().get(&next, Some(&attackers_cookie)).status, 403);
    }
    // Two cookies of one name: nobody can say which one counts.
    let next = stand.post("right", &attackers).next();
    let both = format!("{attackers_cookie}; {victims_cookie}");
    assert_eq!(stand.web().get(&next, Some(&both)).status, 403);
    // Guessing.
    for code in ["", "gp_x", "%22%3E%3Cscript%3E"] {
        let page = stand.web().get(&format!("/saml/done?code={code}"), Some(&attackers_cookie));
        assert_eq!(page.status, 403, "{page:?}");
        assert!(!page.body.contains("<script"));
    }
    let next = stand.post("right", &attackers).next();
    stand.web().get(&next, Some(&attackers_cookie)).token();
}

/// Pages can't be framed, kept, or made to run something.
#[test]
fn pages_are_guarded() {
    let mut stand = Stand::new();
    let (request, cookie) = stand.begin("");
    let on = stand.post("right", &request);
    let end = stand.web().get(&on.next(), Some(&cookie));
    assert!(end.header("set-cookie").expect("its end").contains("Max-Age=0"), "{end:?}");
    let login = stand.web().get("/saml/login", None);
    let refusals = [
        stand.web().get("/saml/login?issuer=%3Cscript%3Ealert(1)%3C/script%3E", None),
        stand.web().get("/saml/login?redirect=https://evil.example/&challenge=x&state=y", None),
        stand.web().get("/saml/login?redirect=x", None),
        stand.web().get("/saml/login?unknown=x", None),
        stand.web().get("/saml/done", Some(&cookie)),
    ];
    for page in refusals.iter().chain([&on, &end, &login]) {
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        assert_eq!(page.header("cache-control"), Some("no-store"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
        assert!(!page.body.contains("<script"), "{page:?}");
    }
    for page in &refusals {
        assert!(page.status >= 400 && page.header("location").is_none(), "{page:?}");
    }
    let foreign = stand.web().get("/saml/acs", None);
    assert_eq!(foreign.status, 405);
}

/// The examples of RFC 7636.
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A program that waits on the person's machine: it gets a code by way of the browser, and the password
/// for it only with what its challenge was made of.
#[test]
fn a_program_takes_the_login_over() {
    let mut stand = Stand::new();
    let query = format!("?redirect=http://127.0.0.1:4711/callback&challenge={CHALLENGE}&state=s-1");
    let code = |stand: &mut Stand| {
        let (request, cookie) = stand.begin(&query);
        let next = stand.post("right", &request).next();
        let page = stand.web().get(&next, Some(&cookie));
        // A person lets it go on.
        assert!(!page.body.contains("http-equiv") && !page.body.contains("<pre>"), "{page:?}");
        let address = page.between("<a href=\"", "\"").replace("&amp;", "&");
        let code = address.strip_prefix("http://127.0.0.1:4711/callback?code=").expect("a code");
        code.strip_suffix("&state=s-1").expect("its state").to_owned()
    };
    let redeem = |stand: &Stand, code: &str, verifier: &str| {
        let body = json!({"code": code, "verifier": verifier}).to_string();
        let page = stand.web().ask("POST", "/v1/login/saml", None, &body, "application/json");
        let said: Value = serde_json::from_str(&page.body).expect("JSON");
        (page.status, said)
    };
    let first = code(&mut stand);
    // A code of a browser is none of a program, and the other way round.
    assert_eq!(stand.web().get(&format!("/saml/done?code={first}"), None).status, 403);
    let (status, said) = redeem(&stand, &first, VERIFIER);
    assert_eq!((status, &said["user"]), (201, &json!(USER)), "{said}");
    assert_eq!((&said["subject"], &said["issuer"]), (&json!("anna"), &json!(Forger::ENTITY)));
    let token = said["password"].as_str().expect("a password").to_owned();
    assert_eq!(login(&stand.gate, &token).value("SELECT count(*) FROM items"), "5");
    assert_eq!(redeem(&stand, &first, VERIFIER).0, 401);
    // Whoever reads the address has no verifier, and has spent the code.
    let second = code(&mut stand);
    assert_eq!(redeem(&stand, &second, CHALLENGE).0, 401);
    assert_eq!(redeem(&stand, &second, VERIFIER).0, 401);
    // It opens the desk, as tokens of other providers do.
    let bearer = crate::desk::Http::plain(stand.gate.process.http());
    let who = crate::desk::Credential(Some(format!("Bearer {token}")));
    let grants = bearer.call(&who, "GET", "/v1/grants", b"");
    assert_eq!(grants.status, 200, "{grants:?}");
    let grants = grants.body["rows"].as_array().expect("rows").len();
    assert_eq!(grants, 1);
}

/// A token is asked for as a password whatever the name, but for local ones, and is no longer one when
/// its provider is gone from the file.
#[test]
fn a_token_is_a_password_for_a_while() {
    let mut stand = Stand::new();
    let token = stand.token();
    for name in [USER, "anna", "anything"] {
        assert!(try_login(&stand.gate, name, &token).is_ok(), "{name}");
    }
    for (name, password) in [(setup::AGENT, &*token), (USER, "gp_x"), (USER, &format!("{token}x"))]
    {
        let refusal = try_login(&stand.gate, name, password).err().expect("a refusal");
        assert_eq!(refusal.sqlstate(), "28P01", "{name} {}", refusal.show());
    }
    // Another entity ID, and the same file otherwise.
    let plan = Stand::plan(&stand.database, &stand.forger);
    let certificate = format!("certificates: {}", stand.forger.directory.join("idp.crt").display());
    let other =
        issuer("https://idp.example/other", &["sso: https://idp.example/sso", &certificate]);
    let other = Plan::gateway(&stand.database).top(&format!("issuers:\n{other}"));
    stand.gate.reload(&other);
    setup::eventually("the provider to be gone", || try_login(&stand.gate, USER, &token).is_err());
    stand.gate.reload(&plan);
    setup::eventually("the provider to be back", || try_login(&stand.gate, USER, &token).is_ok());
    let wrong = stand.reasons().into_iter().any(|reason| reason.contains("its issuer is none"));
    assert!(wrong, "{:?}", stand.reasons());
}
