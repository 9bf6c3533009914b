//! Gatepost's own login at a database: the credential is read here, used here, and goes nowhere
//! else. What the server says until it is ready is kept for the client, who must see all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use identity::scram::{
    Client, ClientBinding, ClientKeys, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError,
};
use md5::{Digest as _, Md5};
use wire::backend::{self, Authentication, BackendKey, ErrorFields};
use wire::frontend;
use wire::startup::{Startup, Version};

use crate::dial::{self, Backend, DialError, Route};
use crate::line::{Line, LineError, Message};
use crate::refusal::{self, Refusal};
use crate::secret::Secret;
use crate::settings::Connection;

/// One message of a server while it greets us. Notices can be long; nothing else is.
pub(crate) const GREETING_MESSAGE_BYTES_MAX: usize = 1 << 20;

/// All that a server may say between our login and its first ReadyForQuery.
const GREETING_BYTES_MAX: usize = 4 << 20;

/// A backend that is ready for its first statement.
pub(crate) struct Opened {
    pub(crate) line: Line,
    pub(crate) backend: Backend,
    pub(crate) greeting: Greeting,
}

/// What a server said from AuthenticationOk to ReadyForQuery, in two parts: the key between them
/// is the server's and must not reach the client.
#[derive(Default)]
pub(crate) struct Greeting {
    pub(crate) before_key: Vec<u8>,
    pub(crate) after_key: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Line(#[from] LineError),
    #[error("no credential: {0}")]
    Secret(#[from] crate::secret::SecretError),
    #[error("the server asks for a password and the connection has none")]
    NoPassword,
    #[error("SCRAM failed: {0}")]
    Scram(#[from] ScramError),
    #[error("the server asks for authentication method {0}, which Gatepost does not speak")]
    Method(i32),
    #[error("the server offers no SASL mechanism that Gatepost speaks")]
    Mechanism,
    #[error("the server sent {0:?} where it should not")]
    Protocol(char),
    #[error("the server said more than {GREETING_BYTES_MAX} bytes before it was ready")]
    Long,
    /// An error of the server's; `message` can name our user and goes to the log alone.
    #[error("the server said {sqlstate}: {message}")]
    Said { sqlstate: String, message: String, frame: Vec<u8>, logged_in: bool },
}

/// Keys derived from the passwords of connections. Deriving costs milliseconds of CPU and gives
/// the same for the same password and salt, which a server keeps until the password is changed.
#[derive(Default)]
pub(crate) struct Keyring {
    keys: Mutex<HashMap<String, Cached>>,
}

struct Cached {
    password: String,
    salt: Vec<u8>,
    iterations: u32,
    keys: Arc<ClientKeys>,
}

/// What Gatepost logs in as.
pub(crate) struct Credential<'a> {
    pub(crate) user: &'a str,
    pub(crate) database: &'a str,
    pub(crate) password: Option<&'a Secret>,
}

/// Opens a backend on the first host that admits us, with the client's own settings.
pub(crate) async fn open(
    connection: &Arc<Connection>,
    credential: &Credential<'_>,
    asked: &Startup,
    keyring: &Keyring,
) -> Result<Opened, UpstreamError> {
    let startup = startup(credential, asked);
    let mut failure = UpstreamError::Dial(DialError::NoAddress);
    for host in &connection.hosts {
        match dial_and_login(connection, host, credential, &startup, keyring).await {
            Ok(opened) => return Ok(opened),
            Err(error) if is_about_the_host(&error) => failure = error,
            Err(error) => return Err(error),
        }
    }
    Err(failure)
}

/// Another host may do better. As libpq: a server that refuses our login is the last one tried.
fn is_about_the_host(error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Dial(_) | UpstreamError::Line(_) => true,
        UpstreamError::Said { sqlstate, .. } => refusal::is_cannot_connect_now(sqlstate.as_bytes()),
        _ => false,
    }
}

async fn dial_and_login(
    connection: &Arc<Connection>,
    host: &crate::settings::Host,
    credential: &Credential<'_>,
    startup: &Startup,
    keyring: &Keyring,
) -> Result<Opened, UpstreamError> {
    let (line, route) = dial::dial(connection, host).await?;
    match login(line, route, credential, startup, keyring).await {
        Err(UpstreamError::Said { sqlstate, logged_in: false, .. })
            if refusal::is_wrong_credential(sqlstate.as_bytes())
                && credential.password.is_some_and(Secret::forget) =>
        {
            // It may have been rotated since we read it.
            let (line, route) = dial::dial(connection, host).await?;
            login(line, route, credential, startup, keyring).await
        }
        opened => opened,
    }
}

/// The client's start-up as we send it: our user and database, its settings.
fn startup(credential: &Credential<'_>, asked: &Startup) -> Startup {
    let ours = [("user", credential.user), ("database", credential.database)]
        .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
    let theirs = asked
        .parameters
        .iter()
        .filter(|(name, _)| !matches!(name.as_slice(), b"user" | b"database" | b"replication"));
    Startup {
        version: Version::V3_0,
        parameters: ours.into_iter().chain(theirs.cloned()).collect(),
    }
}

async fn login(
    mut line: Line,
    route: Route,
    credential: &Credential<'_>,
    startup: &Startup,
    keyring: &Keyring,
) -> Result<Opened, UpstreamError> {
    let mut out = Vec::new();
    startup.write(&mut out);
    line.say(&out).await?;
    loop {
        let message = line.message(GREETING_MESSAGE_BYTES_MAX).await?;
        match asked(&message)? {
            Authentication::Ok => break,
            Authentication::Cleartext => {
                let password = password(credential).await?;
                say(&mut line, |out| frontend::write_password(out, password.as_bytes())).await?;
            }
            Authentication::Md5 { salt } => {
                let answer = md5_answer(credential.user, &password(credential).await?, salt);
                say(&mut line, |out| frontend::write_password(out, answer.as_bytes())).await?;
            }
            Authentication::Sasl { mechanisms } => {
                scram(&mut line, &mechanisms, &password(credential).await?, &route, keyring)
                    .await?;
            }
            Authentication::SaslContinue(_) | Authentication::SaslFinal(_) => {
                return Err(UpstreamError::Protocol('R'));
            }
            Authentication::Other(method) => return Err(UpstreamError::Method(method)),
        }
    }
    let (greeting, pid, key) = greeting(&mut line).await?;
    Ok(Opened { line, backend: Backend { route, pid, key }, greeting })
}

/// Reads what a server says from AuthenticationOk to ReadyForQuery.
pub(crate) async fn greeting(line: &mut Line) -> Result<(Greeting, i32, Vec<u8>), UpstreamError> {
    let mut greeting = Greeting::default();
    let mut key = None;
    loop {
        let message = line.message(GREETING_MESSAGE_BYTES_MAX).await?;
        match message.tag {
            backend::ERROR => return Err(said(&message, true)),
            backend::BACKEND_KEY_DATA => {
                let read = BackendKey::read(message.body());
                let read = read.ok_or(UpstreamError::Protocol('K'))?;
                key = Some((read.pid, read.key.to_vec()));
                continue;
            }
            backend::AUTHENTICATION => return Err(UpstreamError::Protocol('R')),
            _ => {}
        }
        let part = match key {
            None => &mut greeting.before_key,
            Some(_) => &mut greeting.after_key,
        };
        part.extend_from_slice(&message.bytes);
        if message.tag == backend::READY_FOR_QUERY {
            let (pid, key) = key.ok_or(UpstreamError::Protocol('Z'))?;
            return Ok((greeting, pid, key));
        }
        if greeting.before_key.len() + greeting.after_key.len() > GREETING_BYTES_MAX {
            return Err(UpstreamError::Long);
        }
    }
}

async fn scram(
    line: &mut Line,
    mechanisms: &[&[u8]],
    password: &str,
    route: &Route,
    keyring: &Keyring,
) -> Result<(), UpstreamError> {
    let offers = |name: &str| mechanisms.contains(&name.as_bytes());
    let hash = dial::certificate(line).and_then(|leaf| identity::endpoint::certificate_hash(leaf));
    let binding = match hash {
        Some(hash) if offers(SCRAM_SHA_256_PLUS) => ClientBinding::Endpoint(hash),
        Some(_) if offers(SCRAM_SHA_256) => ClientBinding::NotOffered,
        None if offers(SCRAM_SHA_256) => ClientBinding::Unsupported,
        _ => return Err(UpstreamError::Mechanism),
    };
    let mechanism = binding.mechanism();
    let (first, client) = Client::begin(binding)?;
    say(line, |out| frontend::write_sasl_initial(out, mechanism, first.as_bytes())).await?;

    let message = line.message(GREETING_MESSAGE_BYTES_MAX).await?;
    let Authentication::SaslContinue(server_first) = asked(&message)? else {
        return Err(UpstreamError::Protocol('R'));
    };
    let challenge = client.challenge(server_first)?;
    let keys =
        keyring.keys(&route.connection().name, password, challenge.salt(), challenge.iterations());
    let (answer, answered) = challenge.answer(&keys);
    say(line, |out| frontend::write_sasl_response(out, &answer)).await?;

    let message = line.message(GREETING_MESSAGE_BYTES_MAX).await?;
    let Authentication::SaslFinal(server_final) = asked(&message)? else {
        return Err(UpstreamError::Protocol('R'));
    };
    Ok(answered.verify(server_final)?)
}

/// What a server that has not admitted us asks for.
fn asked(message: &Message) -> Result<Authentication<'_>, UpstreamError> {
    match message.tag {
        backend::AUTHENTICATION => {
            Authentication::read(message.body()).ok_or(UpstreamError::Protocol('R'))
        }
        backend::ERROR => Err(said(message, false)),
        other => Err(UpstreamError::Protocol(char::from(other))),
    }
}

async fn say(line: &mut Line, write: impl FnOnce(&mut Vec<u8>)) -> Result<(), UpstreamError> {
    let mut out = Vec::new();
    write(&mut out);
    Ok(line.say(&out).await?)
}

async fn password(credential: &Credential<'_>) -> Result<String, UpstreamError> {
    let secret = credential.password.ok_or(UpstreamError::NoPassword)?;
    Ok(secret.read().await?)
}

/// <https://www.postgresql.org/docs/current/protocol-flow.html>, AuthenticationMD5Password.
fn md5_answer(user: &str, password: &str, salt: [u8; 4]) -> String {
    let inner = Md5::new().chain_update(password).chain_update(user).finalize();
    let outer = Md5::new().chain_update(hex(&inner)).chain_update(salt).finalize();
    format!("md5{}", hex(&outer))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(error: &Message, logged_in: bool) -> UpstreamError {
    let fields = ErrorFields::read(error.body());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    UpstreamError::Said {
        sqlstate: text(fields.code),
        message: text(fields.message),
        frame: error.bytes.clone(),
        logged_in,
    }
}

impl UpstreamError {
    /// What the client may read of it.
    pub(crate) fn refusal(&self, connection: &Connection) -> Refusal {
        let connection = connection.name.clone();
        match self {
            UpstreamError::Dial(DialError::NoTls | DialError::Tls(_)) => {
                Refusal::UpstreamTls { connection }
            }
            UpstreamError::Secret(_) | UpstreamError::NoPassword => {
                Refusal::NoCredential { connection }
            }
            UpstreamError::Said { sqlstate, message, .. }
                if refusal::speaks_of_the_client(sqlstate.as_bytes()) =>
            {
                Refusal::UpstreamSaid { sqlstate: sqlstate.clone(), message: message.clone() }
            }
            UpstreamError::Said { sqlstate, .. } => {
                Refusal::UpstreamLogin { connection, sqlstate: sqlstate.clone() }
            }
            UpstreamError::Dial(_)
            | UpstreamError::Line(_)
            | UpstreamError::Scram(_)
            | UpstreamError::Method(_)
            | UpstreamError::Mechanism
            | UpstreamError::Protocol(_)
            | UpstreamError::Long => Refusal::Unreachable { connection },
        }
    }
}

impl Keyring {
    fn keys(
        &self,
        connection: &str,
        password: &str,
        salt: &[u8],
        iterations: std::num::NonZeroU32,
    ) -> Arc<ClientKeys> {
        if let Some(cached) = self.lock().get(connection)
            && cached.password == password
            && cached.salt == salt
            && cached.iterations == iterations.get()
        {
            return cached.keys.clone();
        }
        let keys = Arc::new(ClientKeys::derive(password.as_bytes(), salt, iterations));
        let cached = Cached {
            password: password.to_owned(),
            salt: salt.to_vec(),
            iterations: iterations.get(),
            keys: keys.clone(),
        };
        self.lock().insert(connection.to_owned(), cached);
        keys
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Cached>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_as_postgresql_computes_it() {
        // 'md5' || md5(md5('hush' || 'gatepost') || '\x01020304'), spelled out.
        assert_eq!(md5_answer("gatepost", "hush", [1, 2, 3, 4]), EXPECTED);
    }

    const EXPECTED: &str = "md5ef1e98455114beb75d2e3be917d3d9fe";

    #[test]
    fn our_user_and_database_with_the_settings_of_the_client() {
        let pair = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let asked = Startup {
            version: Version::V3_0,
            parameters: vec![
                pair("user", "agent-7"),
                pair("database", "orders"),
                pair("application_name", "psql"),
                pair("options", "-c geqo=off"),
                pair("replication", "off"),
            ],
        };
        let credential = Credential { user: "gatepost", database: "prod", password: None };
        let sent = startup(&credential, &asked);
        assert_eq!(
            sent.parameters,
            [
                pair("user", "gatepost"),
                pair("database", "prod"),
                pair("application_name", "psql"),
                pair("options", "-c geqo=off"),
            ]
        );
    }
}
