//! Where requests, grants, holds, tokens and the journal's heads are kept: a file, or a PostgreSQL
//! database that is reached like any connection's. What is in it is the business of `access`.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use access::{Dialled, PostgresStore, State, StateError};

use crate::dial::dial;
use crate::settings::{Connection, Host, Login};

#[derive(Clone)]
pub enum Store {
    File(PathBuf),
    /// With `Login::Gateway`: nobody else's login opens it.
    Postgres(Arc<Connection>),
}

impl Store {
    /// Opens it, and makes it where there is none. Blocks for as long as that takes.
    pub fn open(&self) -> Result<State, StateError> {
        match self {
            Self::File(path) => State::open(path),
            Self::Postgres(connection) => match &connection.login {
                Login::Gateway { user, database, .. } => {
                    State::open_postgres(reached(connection.clone(), user, database))
                }
                Login::Database { .. } => {
                    Err(StateError::Away("there is nobody to log in as".to_owned()))
                }
            },
        }
    }

    /// Whether opening it would make it.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::File(path) if !path.exists())
    }
}

fn reached(connection: Arc<Connection>, user: &str, database: &str) -> PostgresStore {
    PostgresStore {
        user: user.to_owned(),
        database: database.to_owned(),
        hosts: connection.hosts.len(),
        dial: Box::new(move |number, again| {
            let connection = connection.clone();
            Box::pin(async move {
                let host = connection.hosts.get(number).ok_or(io::ErrorKind::NotFound)?;
                let password = match &connection.login {
                    Login::Gateway { password: Some(password), .. } => {
                        if again {
                            password.forget();
                        }
                        Some(password.read().await.map_err(io::Error::other)?)
                    }
                    Login::Gateway { password: None, .. } | Login::Database { .. } => None,
                };
                let (line, _) = dial(&connection, host).await.map_err(io::Error::other)?;
                let (stream, _) = line.into_parts();
                Ok(Dialled { stream: Box::new(stream), password })
            })
        }),
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(connection) => {
                f.write_str("in PostgreSQL at")?;
                for host in &connection.hosts {
                    match host {
                        Host::Tcp { host, port } => write!(f, " {host}:{port}")?,
                        Host::Unix(path) => write!(f, " {}", path.display())?,
                    }
                }
                match &connection.login {
                    Login::Gateway { user, database, .. } => write!(f, ", {database} as {user}"),
                    Login::Database { .. } => Ok(()),
                }
            }
        }
    }
}
