//! `gatepost serve`: runs the gateway by a configuration until it is told to stop.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use access::State;
use api::Api;
use audit::Journal;
use gateway::settings::Settings;
use gateway::{Address, Doors, Gateway, GatewayError};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::config::{self, Config};
use crate::journal::{self, JournalError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum ServeError {
    #[error("the state {store}: {source}")]
    State { store: String, source: access::StateError },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error("can't listen on {address} for HTTP: {source}")]
    Http { address: SocketAddr, source: io::Error },
    #[error("can't start: {0}")]
    Start(#[from] io::Error),
}

/// Serves until SIGTERM or SIGINT. `path` is read again at SIGHUP.
pub(crate) fn run(path: &Path, config: Config, accept_damage: bool) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(path, config, accept_damage))
}

async fn serve(path: &Path, config: Config, accept_damage: bool) -> Result<(), ServeError> {
    // The signals first: one that comes while we start must not kill what has begun.
    let mut signals = Signals::new()?;
    let running = start(config, accept_damage).await?;
    while let Told::Reload = signals.next().await {
        running.reload(path).await;
    }
    tracing::info!("stopping: nobody new is let in, running statements may end");
    tokio::select! {
        () = running.stop() => tracing::info!("stopped"),
        () = signals.stop() => tracing::warn!("told to stop once more: stopping at once"),
    }
    Ok(())
}

/// Starts a gateway by `config`. It serves until it is stopped.
pub(crate) async fn start(config: Config, accept_damage: bool) -> Result<Running, ServeError> {
    let store = config.state;
    let state =
        store.open().map_err(|source| ServeError::State { store: store.to_string(), source })?;
    let begun = Begun { listen: config.listen, http: config.http, state: store.to_string() };
    let journal = journal::open(&config.journal, accept_damage, &state).await?;
    say_what_judges(&config.settings);
    let gateway = Gateway::new(config.settings, state.clone(), journal.clone()).await?;
    let mut listeners = Vec::new();
    for address in &begun.listen {
        listeners.push(address.bind()?);
    }
    if let Some(address) = begun.http {
        let api = Api::bind(address, gateway.clone(), &begun.listen)
            .await
            .map_err(|source| ServeError::Http { address, source })?;
        tokio::spawn(api.serve());
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let doors = gateway.serve(listeners, threads)?;
    for address in &begun.listen {
        tracing::info!(%address, "listening");
    }
    Ok(Running { gateway, doors, begun, state, journal, kept: config.journal })
}

fn say_what_judges(settings: &Settings) {
    match &settings.policies {
        Some(policies) => tracing::info!(policies = policies.names().len(), "policies judge"),
        None => tracing::warn!(
            "there are no policies: whoever has an identity may do whatever the connection may"
        ),
    }
}

/// A gateway that serves.
pub(crate) struct Running {
    gateway: Arc<Gateway>,
    doors: Doors,
    begun: Begun,
    state: State,
    journal: Journal,
    kept: config::Journal,
}

impl Running {
    pub(crate) async fn stop(&self) {
        self.doors.close();
        self.gateway.stop().await;
        journal::close(&self.journal, &self.state, &self.kept).await;
    }

    /// Goes by the file as it is now. A broken one changes nothing.
    async fn reload(&self, path: &Path) {
        let config = match config::load(path) {
            Ok(config) => config,
            Err(error) => {
                return tracing::error!("the configuration is broken, nothing changes: {error}");
            }
        };
        let now =
            Begun { listen: config.listen, http: config.http, state: config.state.to_string() };
        if now != self.begun {
            tracing::warn!("`listen`, `http` or `state` has changed: that takes a restart");
        }
        say_what_judges(&config.settings);
        match self.gateway.reload(config.settings).await {
            Ok(()) => tracing::info!("the configuration has been read again"),
            Err(error) => {
                tracing::error!(%error, "the configuration can't be used, nothing changes");
            }
        }
    }
}

/// What is fixed for as long as the process lives.
#[derive(PartialEq, Eq)]
struct Begun {
    listen: Vec<Address>,
    http: Option<SocketAddr>,
    state: String,
}

enum Told {
    Reload,
    Stop,
}

struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Signals> {
        Ok(Signals {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.hangup.recv() => Told::Reload,
            _ = self.terminate.recv() => Told::Stop,
            _ = self.interrupt.recv() => Told::Stop,
        }
    }

    async fn stop(&mut self) {
        while let Told::Reload = self.next().await {}
    }
}
