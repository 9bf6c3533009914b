//! A secret by reference: where it is, never what it is, so that no configuration, log or error
//! can show it.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a command may take to print a secret.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A variable of Gatepost's own environment.
    Env(String),
    /// A file's first line.
    File(PathBuf),
    /// What a command prints: its first line. It runs again once `lifetime` has passed, or when
    /// a login with what it printed fails.
    Command { argv: Vec<String>, lifetime: Option<Duration> },
}

/// A secret that is fetched when it is needed and remembered while it is good.
#[derive(Debug)]
pub struct Secret {
    source: Source,
    fetched: Mutex<Option<Fetched>>,
}

struct Fetched {
    at: Instant,
    text: String,
}

impl std::fmt::Debug for Fetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(withheld)")
    }
}

/// Why a secret is not to be had. Says where it should have been, never what was there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    #[error("the environment variable {0} is not set or not UTF-8")]
    Env(String),
    #[error("can't read the secret's file {path}: {source}")]
    File { path: PathBuf, source: std::io::Error },
    #[error("the command {program} that prints a secret can't be run: {source}")]
    Spawn { program: String, source: std::io::Error },
    #[error("the command {program} that prints a secret {what}")]
    Command { program: String, what: String },
    #[error("the secret is empty")]
    Empty,
}

impl Secret {
    pub fn new(source: Source) -> Self {
        Secret { source, fetched: Mutex::new(None) }
    }

    pub async fn read(&self) -> Result<String, SecretError> {
        if let Some(text) = self.remembered() {
            return Ok(text);
        }
        let text = fetch(&self.source).await?;
        *self.fetched.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Fetched { at: Instant::now(), text: text.clone() });
        Ok(text)
    }

    pub(crate) fn source(&self) -> Source {
        self.source.clone()
    }

    /// A login with it failed: it may have been rotated. `true` if reading it again may help.
    pub(crate) fn forget(&self) -> bool {
        let mut fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        fetched.take().is_some() && !matches!(self.source, Source::Env(_))
    }

    fn remembered(&self) -> Option<String> {
        let fetched = self.fetched.lock().unwrap_or_else(PoisonError::into_inner);
        let lifetime = match &self.source {
            Source::Command { lifetime, .. } => *lifetime,
            Source::Env(_) | Source::File(_) => None,
        };
        fetched
            .as_ref()
            .filter(|fetched| lifetime.is_none_or(|lifetime| fetched.at.elapsed() < lifetime))
            .map(|fetched| fetched.text.clone())
    }
}

async fn fetch(source: &Source) -> Result<String, SecretError> {
    let text = match source {
        Source::Env(name) => std::env::var(name).map_err(|_| SecretError::Env(name.clone()))?,
        Source::File(path) => std::fs::read_to_string(path)
            .map_err(|source| SecretError::File { path: path.clone(), source })?,
        Source::Command { argv, .. } => run(argv).await?,
    };
    let line = text.lines().next().unwrap_or_default();
    if line.is_empty() { Err(SecretError::Empty) } else { Ok(line.to_owned()) }
}

async fn run(argv: &[String]) -> Result<String, SecretError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Err(SecretError::Empty);
    };
    let failed = |what: String| SecretError::Command { program: program.clone(), what };
    let child = tokio::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(COMMAND_TIMEOUT, child)
        .await
        .map_err(|_| failed(format!("took more than {} s", COMMAND_TIMEOUT.as_secs())))?
        .map_err(|source| SecretError::Spawn { program: program.clone(), source })?;
    if !output.status.success() {
        return Err(failed(format!("failed: {}", output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| failed("printed what is not UTF-8".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(secret: &Secret) -> Result<String, SecretError> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(secret.read())
    }

    fn command(script: &str, lifetime: Option<Duration>) -> Secret {
        let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
        Secret::new(Source::Command { argv, lifetime })
    }

    #[test]
    fn a_command_runs_once_until_its_secret_fails_or_ends() {
        let count = std::env::temp_dir().join(format!("gatepost-secret-{}", std::process::id()));
        let script = format!("echo x >> {0}; wc -l < {0}", count.display());
        let remembered = command(&script, None);
        assert_eq!(read(&remembered).unwrap(), "1");
        assert_eq!(read(&remembered).unwrap(), "1");
        assert!(remembered.forget());
        assert_eq!(read(&remembered).unwrap(), "2");
        let ended = command(&script, Some(Duration::ZERO));
        assert_eq!(read(&ended).unwrap(), "3");
        assert_eq!(read(&ended).unwrap(), "4");
        std::fs::remove_file(count).unwrap();
    }

    #[test]
    fn what_can_not_be_read_says_where_it_should_have_been() {
        for (secret, want) in [
            (Secret::new(Source::Env("GATEPOST_NOT_SET".into())), "GATEPOST_NOT_SET is not set"),
            (Secret::new(Source::File("/nonexistent".into())), "/nonexistent"),
            (command("exit 3", None), "failed: exit status: 3"),
            (command("true", None), "empty"),
            (
                Secret::new(Source::Command { argv: vec!["/nonexistent".into()], lifetime: None }),
                "can't be run",
            ),
        ] {
            let error = read(&secret).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn a_secret_is_not_printed() {
        let secret = command("echo hush", None);
        assert_eq!(read(&secret).unwrap(), "hush");
        assert!(!format!("{:?}", secret.fetched).contains("hush"));
    }
}
