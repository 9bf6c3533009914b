//! From the file as written to what Gatepost runs by. Reports everything that is wrong, each
//! with its place; reads certificates, but no secrets: those are fetched when they are needed.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gateway::Address;
use gateway::secret::{self, Source};
use gateway::settings::{self, Bounds, Host, Settings};
use gateway::store::Store;
use gateway::tls;
use policy::Policies;

use super::file::{
    BoundsFile, Connection, Durability, DurationOrNone, DurationText, File, Identity, JournalFile,
    ListenAddress, ListenerTls, Login, PathText, Plaintext, Secret, TlsMode, UpstreamTls,
};
use super::place::Position;
use super::policies::{self, PolicyFile, Texts};
use super::problem::{Problem, Text};
use super::shape::{At, Named, OneOrMany};
use super::state::StatePlace;
use super::{Config, Journal, values};

/// The connection that stands for every database that no other one names.
const ANY: &str = "*";

pub(crate) fn resolve(file: File, text: &Text<'_>, base: &Path) -> Result<Config, Vec<Problem>> {
    let mut resolver = Resolver { text, base, problems: Vec::new() };
    let config = resolver.config(file);
    match config {
        Some(config) if resolver.problems.is_empty() => Ok(config),
        _ => Err(resolver.problems),
    }
}

type Accounts = HashMap<String, secret::Secret>;
type Traits = HashMap<String, settings::Traits>;
type Connections = HashMap<String, Arc<settings::Connection>>;
type AnyDatabase = Option<Arc<settings::Connection>>;

/// Collects problems. Whatever returns `None` has added one.
pub(super) struct Resolver<'a> {
    text: &'a Text<'a>,
    base: &'a Path,
    problems: Vec<Problem>,
}

impl Resolver<'_> {
    // Everything is looked at before anything is given up, so that all problems are reported.
    fn config(&mut self, file: File) -> Option<Config> {
        let listen = self.listen(&file.listen);
        let tls = file.tls.as_ref().map(|tls| self.listener_tls(tls));
        let http = file.http.as_ref().map(|at| self.read(at, |it| values::http(&it.0)));
        let bounds = self.bounds(&file.bounds);
        let journal = self.journal(&file.journal);
        let (accounts, traits) = self.identities(file.identities);
        let is_local = |name: &str| accounts.contains_key(name) || traits.contains_key(name);
        let (issuers, saml) = self.issuers(file.issuers, is_local);
        if file.http.is_none() && !saml.is_empty() {
            self.refuse::<()>(None, "an issuer has `saml`, so browsers need `http` to log in");
        }
        let state = self.state(&file.state);
        let (connections, any_database) = self.connections(file.connections);
        if file.policies.is_none() {
            self.needs_policies(&issuers);
        }
        let admins = self.admins(file.admins);
        let policies = file.policies.map(|it| self.policies(it, &connections, &any_database));
        Some(Config {
            settings: Settings {
                connections,
                any_database,
                accounts,
                issuers,
                saml,
                tls: optional(tls)?,
                plaintext: match file.plaintext {
                    Plaintext::Loopback => settings::Plaintext::Loopback,
                    Plaintext::Everywhere => settings::Plaintext::Everywhere,
                },
                bounds: bounds?,
                traits,
                policies: optional(policies)?,
                admins,
                secret_names: file.journal.secrets,
            },
            journal: journal?,
            listen: listen?,
            http: optional(http)?,
            state: state?,
        })
    }

    fn listen(&mut self, written: &At<OneOrMany<ListenAddress>>) -> Option<Vec<Address>> {
        if written.value.0.is_empty() {
            let message = "`listen` is an empty list; name at least one address";
            self.refuse::<()>(written.at, message);
        }
        self.each(&written.value.0, |it, base| values::listen(&it.0, base))
    }

    fn listener_tls(&mut self, written: &ListenerTls) -> Option<tls::ListenerTls> {
        let certificate = self.path(&written.certificate);
        let key = self.path(&written.key);
        match tls::ListenerTls::load(&certificate, &key) {
            Ok(tls) => Some(tls),
            Err(error) => self.refuse(written.certificate.at, format!("`tls`: {error}")),
        }
    }

    fn journal(&mut self, written: &JournalFile) -> Option<Journal> {
        let relaxed = self.timeout(&written.relaxed);
        self.filled(&written.node, "node");
        let mut options =
            audit::Options::new(self.path(&written.directory), written.node.value.clone());
        options.relaxed = relaxed?;
        if let Some(key) = &written.key {
            options.key = self.path(key);
        }
        options.previous_key = written.previous_key.as_ref().map(|key| self.path(key));
        Some(Journal { options, anchor: written.anchor.as_ref().map(|anchor| self.path(anchor)) })
    }

    fn state(&mut self, written: &At<StatePlace>) -> Option<Store> {
        let it = match &written.value {
            StatePlace::File(path) if path.0.is_empty() => {
                return self.refuse(written.at, "`state` has no value");
            }
            StatePlace::File(path) => return Some(Store::File(self.base.join(&path.0))),
            StatePlace::Elsewhere(elsewhere) => &elsewhere.postgres,
        };
        if it.address.value.0.is_empty() {
            let message = "`address` is an empty list; name at least one server";
            self.refuse::<()>(it.address.at, message);
        }
        let hosts = self.each(&it.address.value.0, |host, base| values::host(&host.0, base));
        let tls = self.upstream_tls(&it.tls, hosts.as_deref().unwrap_or_default());
        self.filled(&it.user, "user");
        self.filled(&it.database, "database");
        let password = it.password.as_ref().map(|password| self.secret(password, "password"));
        Some(Store::Postgres(Arc::new(settings::Connection {
            name: "state".to_owned(),
            hosts: hosts?,
            tls: tls?,
            login: settings::Login::Gateway {
                user: it.user.value.clone(),
                database: it.database.value.clone(),
                password: optional(password)?.map(secret::Secret::new),
            },
            connect_timeout: access::CONNECT_WITHIN,
            durability: audit::Durability::Strict,
        })))
    }

    fn bounds(&mut self, written: &BoundsFile) -> Option<Bounds> {
        let login_timeout = self.timeout(&written.login_timeout);
        let logins = self.read(&written.logins, |it| values::count(&it.0));
        let bytes = self.read(&written.login_message_bytes, |it| values::count(&it.0));
        let failed = self.read(&written.failed_logins, |it| values::count(&it.0));
        let sessions = self.read(&written.sessions, |it| values::count(&it.0));
        let each = self.read(&written.sessions_per_identity, |it| values::count(&it.0));
        let idle_timeout = self.read(&written.idle_timeout, idle_timeout);
        // Zero is fine here: a stop then waits for nothing.
        let drain_timeout = self.read(&written.drain_timeout, |it| values::duration(&it.0));
        let catalog_age_max = self.read(&written.catalog_age_max, |it| values::duration(&it.0));
        Some(Bounds {
            login_timeout: login_timeout?,
            logins: logins?,
            login_message_bytes: bytes?,
            failed_logins: failed?,
            sessions: sessions?,
            sessions_per_identity: each?,
            idle_timeout: idle_timeout?,
            drain_timeout: drain_timeout?,
            catalog_age_max: catalog_age_max?,
        })
    }

    fn identities(&mut self, written: Named<Identity>) -> (Accounts, Traits) {
        let (mut accounts, mut traits) = (HashMap::new(), HashMap::new());
        for (name, identity) in written.0 {
            self.read(&name, |name| values::name(name));
            let mut own = settings::Traits::default();
            for group in identity.groups.0 {
                self.filled(&group, "groups");
                own.groups.push(group.value);
            }
            for (claim, values) in identity.claims.0 {
                match <[At<String>; 1]>::try_from(values.0) {
                    Ok([value]) => {
                        own.claims.insert(claim.value, value.value);
                    }
                    Err(_) => {
                        self.refuse::<()>(claim.at, "a claim has one value");
                    }
                }
            }
            let nothing = own.groups.is_empty() && own.claims.is_empty();
            match &identity.secret {
                Some(secret) => {
                    if let Some(source) = self.secret(secret, "secret") {
                        accounts.insert(name.value.clone(), secret::Secret::new(source));
                    }
                }
                None if nothing => {
                    let message =
                        format!("identity `{}` has no `secret`, `groups` or `claims`", name.value);
                    self.refuse::<()>(name.at, message);
                }
                None => {}
            }
            if !nothing {
                traits.insert(name.value, own);
            }
        }
        (accounts, traits)
    }

    fn admins(&mut self, written: Texts) -> Vec<String> {
        for who in written.0.iter().filter(|who| !policy::is_by(&who.value)) {
            let message =
                format!("`{}` is nobody; name one as group:NAME or identity:NAME", who.value);
            self.refuse::<()>(who.at, message);
        }
        written.0.into_iter().map(|who| who.value).collect()
    }

    fn policies(
        &mut self,
        written: Vec<PolicyFile>,
        connections: &Connections,
        any_database: &AnyDatabase,
    ) -> Option<Arc<Policies>> {
        let mut problems = Vec::new();
        let mut policies = Vec::new();
        for policy in written {
            for to in &policy.to.0 {
                let mut names = to.value.split(',').map(str::trim);
                let unknown = names.find(|name| *name != ANY && !connections.contains_key(*name));
                if let (Some(name), None) = (unknown, any_database) {
                    let known: Vec<&str> = connections.keys().map(String::as_str).collect();
                    let hint = super::nearest(name, &known)
                        .map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
                    self.refuse::<()>(to.at, format!("there is no connection `{name}`{hint}"));
                }
            }
            policies.push(policy.written(&mut problems));
        }
        let read = Policies::new(policies);
        let read = match read {
            Ok(policies) if problems.is_empty() => Some(Arc::new(policies)),
            Ok(_) => None,
            Err(found) => {
                problems.extend(found);
                None
            }
        };
        for problem in problems {
            self.refuse::<()>(policies::position(problem.place), problem.message);
        }
        read
    }

    fn connections(&mut self, written: At<Named<Connection>>) -> (Connections, AnyDatabase) {
        let mut connections = HashMap::new();
        let mut any_database = None;
        if written.value.0.is_empty() {
            self.refuse::<()>(written.at, "`connections` names no database");
        }
        for (name, connection) in written.value.0 {
            self.read(&name, |name| values::name(name));
            let Some(connection) = self.connection(&name, &connection) else {
                continue;
            };
            if name.value == ANY {
                any_database = Some(Arc::new(connection));
            } else {
                connections.insert(name.value, Arc::new(connection));
            }
        }
        (connections, any_database)
    }

    fn connection(&mut self, name: &At<String>, it: &Connection) -> Option<settings::Connection> {
        if it.address.value.0.is_empty() {
            let message = "`address` is an empty list; name at least one server";
            self.refuse::<()>(it.address.at, message);
        }
        let hosts = self.each(&it.address.value.0, |host, base| values::host(&host.0, base));
        let tls = self.upstream_tls(&it.tls, hosts.as_deref().unwrap_or_default());
        let login = self.login(name, it);
        let connect_timeout = self.timeout(&it.connect_timeout);
        Some(settings::Connection {
            name: name.value.clone(),
            hosts: hosts?,
            tls: tls?,
            login: login?,
            connect_timeout: connect_timeout?,
            durability: match it.durability {
                Durability::Strict => audit::Durability::Strict,
                Durability::Relaxed => audit::Durability::Relaxed,
            },
        })
    }

    fn login(&mut self, name: &At<String>, it: &Connection) -> Option<settings::Login> {
        let any = name.value == ANY;
        if let (true, Some(database)) = (any, &it.database) {
            let message = "connection `*` stands for every database, so it can't have `database`";
            self.refuse::<()>(database.at, message);
        }
        if let Some(database) = &it.database {
            self.filled(database, "database");
        }
        match it.login {
            Some(Login::Database) => {
                let user = it.user.as_ref().map(|user| ("user", user.at));
                let password = it.password.as_ref().map(|password| ("password", password.at));
                for (key, at) in [user, password].into_iter().flatten() {
                    let message = format!(
                        "`{key}` has no place beside `login: database`, where the client's own \
                         user and password go to the server"
                    );
                    self.refuse::<()>(at, message);
                }
                let database = it.database.as_ref().map(|database| database.value.clone());
                Some(settings::Login::Database { database })
            }
            None if any => self.refuse(name.at, "connection `*` needs `login: database`"),
            None => {
                let password =
                    it.password.as_ref().map(|password| self.secret(password, "password"));
                let Some(user) = &it.user else {
                    let message = format!(
                        "connection `{}` has no `user` for Gatepost to log in as; name one, or \
                         write `login: database` to relay the client's own login",
                        name.value
                    );
                    return self.refuse(name.at, message);
                };
                self.filled(user, "user");
                let database = it.database.as_ref().unwrap_or(name);
                Some(settings::Login::Gateway {
                    user: user.value.clone(),
                    database: database.value.clone(),
                    password: optional(password)?.map(secret::Secret::new),
                })
            }
        }
    }

    fn upstream_tls(&mut self, it: &At<UpstreamTls>, hosts: &[Host]) -> Option<tls::UpstreamTls> {
        let written = match it.value.read() {
            Ok(written) => written,
            Err(error) => return self.refuse(it.at, self.text.sentence(&error, it.at)),
        };
        // Sockets need no roots, which this machine may not have.
        let only_sockets =
            !hosts.is_empty() && hosts.iter().all(|host| matches!(host, Host::Unix(_)));
        let mode = match written.mode {
            _ if only_sockets => tls::TlsMode::Disable,
            TlsMode::Disable => tls::TlsMode::Disable,
            TlsMode::Prefer => tls::TlsMode::Prefer,
            TlsMode::Require => tls::TlsMode::Require,
            TlsMode::VerifyCa => tls::TlsMode::VerifyCa,
            TlsMode::VerifyFull => tls::TlsMode::VerifyFull,
        };
        if let Some(ca) = &written.ca
            && !matches!(written.mode, TlsMode::VerifyCa | TlsMode::VerifyFull)
        {
            // libpq would verify here, another reader would not: nobody should have to know.
            let message = "`ca` verifies nothing in this mode; use verify-ca or verify-full";
            return self.refuse(ca.at, message);
        }
        let ca = written.ca.as_ref().map(|ca| self.path(ca));
        match tls::UpstreamTls::new(mode, ca.as_deref()) {
            Ok(tls) => Some(tls),
            Err(error) => {
                let at = written.ca.as_ref().map_or(it.at, |ca| ca.at);
                self.refuse(at, format!("`tls`: {error}"))
            }
        }
    }

    fn secret(&mut self, written: &At<Secret>, key: &str) -> Option<Source> {
        let Secret::Reference(map) = &written.value else {
            return self.refuse(
                written.at,
                format!(
                    "`{key}` must say where the secret is: {{ env: NAME }}, {{ file: PATH }} or \
                     {{ command: [PROGRAM, ARGUMENT] }}; the secret itself never stands in this file"
                ),
            );
        };
        let lifetime = map.lifetime.as_ref().map(|lifetime| self.timeout(lifetime));
        if let (Some(lifetime), None) = (&map.lifetime, &map.command) {
            self.refuse::<()>(lifetime.at, "`lifetime` has a meaning only beside a `command`");
        }
        match (&map.env, &map.file, &map.command) {
            (Some(env), None, None) if bad_variable(&env.value) => {
                self.refuse(env.at, "`env` is not the name of a variable")
            }
            (Some(env), None, None) => Some(Source::Env(env.value.clone())),
            (None, Some(file), None) => Some(Source::File(self.path(file))),
            (None, None, Some(command)) => match command.value.first() {
                Some(program) if !program.is_empty() => Some(Source::Command {
                    argv: command.value.clone(),
                    lifetime: optional(lifetime)?,
                }),
                _ => self.refuse(command.at, "`command` names no program"),
            },
            _ => {
                let message = format!("`{key}` needs exactly one of `env`, `file` and `command`");
                self.refuse(written.at, message)
            }
        }
    }

    pub(super) fn timeout(&mut self, at: &At<DurationText>) -> Option<Duration> {
        self.read(at, |it| values::timeout(&it.0))
    }

    pub(super) fn filled(&mut self, at: &At<String>, key: &str) {
        if at.value.is_empty() || at.value.contains('\0') {
            self.refuse::<()>(at.at, format!("`{key}` can't be empty or hold a zero byte"));
        }
    }

    pub(super) fn path(&self, written: &At<PathText>) -> std::path::PathBuf {
        self.base.join(&written.value.0)
    }

    fn each<T, U>(
        &mut self,
        items: &[At<T>],
        read: impl Fn(&T, &Path) -> Result<U, String>,
    ) -> Option<Vec<U>> {
        let base = self.base;
        let read: Vec<_> =
            items.iter().map(|item| self.read(item, |value| read(value, base))).collect();
        read.into_iter().collect()
    }

    pub(super) fn read<T, U>(
        &mut self,
        at: &At<T>,
        read: impl Fn(&T) -> Result<U, String>,
    ) -> Option<U> {
        match read(&at.value) {
            Ok(value) => Some(value),
            Err(message) => self.refuse(at.at, message),
        }
    }

    /// Adds a problem, and is the `None` that stands for it.
    pub(super) fn refuse<T>(
        &mut self,
        at: Option<Position>,
        message: impl Into<String>,
    ) -> Option<T> {
        self.problems.push(self.text.problem(at, message));
        None
    }
}

/// `None` if something was written and was wrong; nothing written is fine.
fn optional<T>(written: Option<Option<T>>) -> Option<Option<T>> {
    match written {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

fn idle_timeout(written: &DurationOrNone) -> Result<Option<Duration>, String> {
    match written.0.as_str() {
        "none" => Ok(None),
        text => values::timeout(text).map(Some),
    }
}

fn bad_variable(name: &str) -> bool {
    name.is_empty() || name.contains(['=', '\0'])
}
