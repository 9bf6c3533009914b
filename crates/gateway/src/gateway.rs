//! The gateway as a whole: what all sessions stand on, the doors at which clients arrive, the
//! threads that serve them, and its end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use access::State;
use arc_swap::ArcSwap;
use audit::{Head, Health, Journal};
use identity::scram::Salts;
use prometheus_client::registry::Registry;
use sql::secrets::Patterns;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::LocalOptions;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

use crate::admission::Admission;
use crate::arrival::{self, Accepted, Arrival};
use crate::attempts::Attempts;
use crate::catalogs::Catalogs;
use crate::door::Accounts;
use crate::grants::Grants;
use crate::holds::Holds;
use crate::issuers::Provider;
use crate::limits::kept::Margin;
use crate::limits::{self, Ledgers};
use crate::metrics::Metrics;
use crate::roster::Roster;
use crate::secret::SecretError;
use crate::settings::Settings;
use crate::telling::{self, Telling};
use crate::upstream::Keyring;

/// After a failing accept (no descriptor is free, say) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long cancelled statements have to end before their sessions are dropped.
const AFTER_CANCEL: Duration = Duration::from_secs(5);

/// The handle that the binary and the API hold.
pub struct Gateway {
    installed: ArcSwap<Installed>,
    stopping: AtomicBool,
    pub(crate) state: State,
    pub(crate) journal: Journal,
    pub(crate) salts: Salts,
    pub(crate) admission: Arc<Admission>,
    pub(crate) attempts: Attempts,
    pub(crate) roster: Arc<Roster>,
    pub(crate) keyring: Arc<Keyring>,
    catalogs: Catalogs,
    pub(crate) metrics: Metrics,
    pub(crate) ledgers: Arc<Ledgers>,
    pub(crate) grants: Grants,
    pub(crate) holds: Holds,
    pub(crate) telling: Telling,
}

/// One version of the configuration with the secrets of its accounts read.
pub(crate) struct Installed {
    pub(crate) settings: Settings,
    pub(crate) accounts: Accounts,
    pub(crate) providers: Vec<Arc<Provider>>,
    pub(crate) patterns: Patterns,
}

#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    #[error(transparent)]
    State(#[from] access::StateError),
    #[error("the secret of identity {name}: {source}")]
    Account { name: String, source: SecretError },
    #[error("a thread can't be started: {0}")]
    Thread(io::Error),
    #[error("can't listen on {address}: {source}")]
    Listen { address: Address, source: io::Error },
}

/// Where clients arrive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// A bound address.
pub enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The open listeners, and the threads behind them: sessions end with this value.
pub struct Doors {
    listening: Vec<tokio::task::JoinHandle<()>>,
    _workers: Arc<Vec<Worker>>,
}

impl Doors {
    /// Nobody arrives any more: who connects is refused by the system.
    pub fn close(&self) {
        for door in &self.listening {
            door.abort();
        }
    }
}

impl Gateway {
    pub async fn new(
        settings: Settings,
        state: State,
        journal: Journal,
    ) -> Result<Arc<Gateway>, GatewayError> {
        let salts = Salts::new(state.salt_key());
        let installed = install(settings, &salts, &[]).await?;
        let (keyring, metrics) = (Arc::<Keyring>::default(), Metrics::default());
        let catalogs = Catalogs::start(keyring.clone(), metrics.catalogs.clone())
            .map_err(GatewayError::Thread)?;
        let grants = Grants::start(&state).await?;
        let holds = Holds::new(journal.node());
        let telling = Telling::new(journal.node());
        let ledgers = Arc::<Ledgers>::default();
        ledgers.restore(&state.counts(journal.node()).await?);
        let gateway = Arc::new(Gateway {
            installed: ArcSwap::from_pointee(installed),
            stopping: AtomicBool::new(false),
            state,
            journal,
            salts,
            admission: Arc::default(),
            attempts: Attempts::new(),
            roster: Arc::default(),
            keyring,
            catalogs,
            metrics,
            ledgers,
            grants,
            holds,
            telling,
        });
        // What an earlier process has left comes before anything that this one records. If it can't be
        // told now, the log says so, and `Grants` tries again.
        let _told_later = telling::tell(&gateway).await;
        Grants::keep(&gateway).map_err(GatewayError::Thread)?;
        Holds::keep(&gateway);
        Ok(gateway)
    }

    /// From now on new sessions go by `settings`. On an error nothing changes.
    pub async fn reload(&self, mut settings: Settings) -> Result<(), GatewayError> {
        let before = self.installed();
        // What stays as it was stays what it is, so that what is known of its database is still known,
        // and nobody asks for it over yet another backend.
        for (name, connection) in &mut settings.connections {
            if let Some(same) = before.settings.connections.get(name)
                && same.is_as(connection)
            {
                same.login.forget_secret();
                connection.clone_from(same);
            }
        }
        let installed = install(settings, &self.salts, &before.providers).await?;
        self.installed.store(Arc::new(installed));
        Ok(())
    }

    /// What the connections' databases hold.
    pub fn catalogs(&self) -> &Catalogs {
        &self.catalogs
    }

    pub fn register_metrics(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Whether the journal can be written. While it can't, nothing runs.
    pub fn journal_health(&self) -> Health {
        self.journal.health()
    }

    /// The newest head that is durable.
    pub fn journal_head(&self) -> Option<Head> {
        self.journal.head()
    }

    /// How many are open now.
    pub fn sessions(&self) -> usize {
        self.roster.present().len()
    }

    /// How clients are offered TLS, by the file as it is now.
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.installed().settings.tls.as_ref().map(|tls| tls.acceptor.clone())
    }

    /// What new sessions go by.
    pub fn read_settings<T>(&self, read: impl FnOnce(&Settings) -> T) -> T {
        read(&self.installed().settings)
    }

    /// Serves everybody who arrives at `listeners`, on `threads` threads. Both sockets of a
    /// session stay on one of them, so that passing a message on wakes nobody else.
    pub fn serve(
        self: &Arc<Self>,
        listeners: Vec<Listener>,
        threads: usize,
    ) -> Result<Doors, GatewayError> {
        let workers = Arc::new(
            (0..threads.max(1))
                .map(|number| Worker::start(self.clone(), number))
                .collect::<Result<Vec<_>, _>>()
                .map_err(GatewayError::Thread)?,
        );
        let listening = listeners
            .into_iter()
            .map(|listener| tokio::spawn(accept(self.clone(), listener, workers.clone())))
            .collect();
        Ok(Doors { listening, _workers: workers })
    }

    /// Lets running statements end, then ends their sessions; cancels what takes longer than the
    /// bound. Nobody new is let in.
    pub async fn stop(&self) {
        self.drain().await;
        let counts = self.ledgers.unkept(usize::MAX, Margin::None, limits::now_ms());
        if !counts.is_empty()
            && let Err(error) = self.state.keep_counts(self.journal.node(), counts).await
        {
            tracing::error!(%error, "counts of limits could not be kept");
        }
    }

    async fn drain(&self) {
        self.stopping.store(true, Ordering::Release);
        self.roster.stop();
        let bound = self.installed().settings.bounds.drain_timeout;
        if tokio::time::timeout(bound, self.roster.empty()).await.is_ok() {
            return;
        }
        let present = self.roster.present();
        tracing::warn!(sessions = present.len(), "statements still run and are cancelled");
        let cancels = present.into_iter().map(|attendee| {
            tokio::spawn(async move {
                if let Err(error) = attendee.backend.cancel().await {
                    tracing::warn!(session = attendee.about.session, %error, "a statement could not be cancelled");
                }
            })
        });
        // All are on their way at once; whoever can't be cancelled is dropped below.
        drop(cancels.collect::<Vec<_>>());
        if tokio::time::timeout(AFTER_CANCEL, self.roster.empty()).await.is_err() {
            tracing::warn!("sessions that did not end are dropped");
        }
    }

    pub(crate) fn installed(&self) -> Arc<Installed> {
        self.installed.load_full()
    }

    /// Whether this is what the gateway goes by now.
    pub(crate) fn has_installed(&self, installed: &Arc<Installed>) -> bool {
        std::ptr::eq(Arc::as_ptr(&self.installed.load()), Arc::as_ptr(installed))
    }
}

impl Address {
    /// Binds it. A socket file that a dead gateway left behind is replaced, one that somebody
    /// listens on is not.
    pub fn bind(&self) -> Result<Listener, GatewayError> {
        let bound = match self {
            Address::Tcp(address) => bind_tcp(*address).map(Listener::Tcp),
            Address::Unix(path) => {
                if std::os::unix::net::UnixStream::connect(path)
                    .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
                {
                    let _ = std::fs::remove_file(path);
                }
                UnixListener::bind(path).map(Listener::Unix)
            }
        };
        bound.map_err(|source| GatewayError::Listen { address: self.clone(), source })
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    /// As PostgreSQL's default for a few hundred connections.
    const BACKLOG: u32 = 1024;
    let socket = match address {
        SocketAddr::V4(_) => tokio::net::TcpSocket::new_v4()?,
        SocketAddr::V6(_) => tokio::net::TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    if address.is_ipv6() {
        // `[::]` beside `0.0.0.0` would clash with it otherwise.
        socket2::SockRef::from(&socket).set_only_v6(true)?;
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// `before` are the providers that there were: what is known of their keys stays known.
async fn install(
    settings: Settings,
    salts: &Salts,
    before: &[Arc<Provider>],
) -> Result<Installed, GatewayError> {
    let accounts = Accounts::read(&settings, salts)
        .await
        .map_err(|(name, source)| GatewayError::Account { name, source })?;
    let patterns = Patterns::new(&settings.secret_names);
    let providers = settings.issuers.iter().map(|issuer| {
        let url = &issuer.oidc.url;
        let before = before.iter().find(|before| before.issuer.oidc.url == *url);
        Provider::new(issuer.clone(), before.map(|it| &**it))
    });
    let providers = providers.collect();
    Ok(Installed { settings, accounts, providers, patterns })
}

/// Takes in whoever arrives, without waiting for a word of theirs.
async fn accept(gateway: Arc<Gateway>, listener: Listener, workers: Arc<Vec<Worker>>) {
    loop {
        let accepted = match &listener {
            Listener::Tcp(listener) => listener
                .accept()
                .await
                .and_then(|(stream, peer)| Ok(Accepted::Tcp(stream.into_std()?, peer))),
            Listener::Unix(listener) => listener
                .accept()
                .await
                .and_then(|(stream, _)| Ok(Accepted::Unix(stream.into_std()?))),
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        gateway.metrics.connections.inc();
        let place = gateway.admission.login(&gateway.installed().settings.bounds);
        let arrival = Arrival { stream, place };
        let Some(worker) = workers.iter().min_by_key(|worker| worker.load()) else {
            return;
        };
        worker.take(arrival);
    }
}

/// A thread that serves connections from their first byte to their last.
struct Worker {
    arrivals: mpsc::UnboundedSender<Arrival>,
    /// Connections on this thread.
    load: Arc<AtomicUsize>,
}

impl Worker {
    fn start(gateway: Arc<Gateway>, number: usize) -> io::Result<Worker> {
        // What waits in it is bounded by the places for logins.
        let (arrivals, mut arriving) = mpsc::unbounded_channel();
        let load = Arc::new(AtomicUsize::new(0));
        let carried = load.clone();
        // It can't leave its thread, so whether it could be made is heard from there.
        let (made, is_made) = std::sync::mpsc::channel();
        std::thread::Builder::new().name(format!("sessions-{number}")).spawn(move || {
            let mut runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = match runtime.enable_all().build_local(LocalOptions::default()) {
                Ok(runtime) => runtime,
                Err(error) => return drop(made.send(Err(error))),
            };
            drop(made.send(Ok(())));
            runtime.block_on(async {
                while let Some(arrival) = arriving.recv().await {
                    let (gateway, carried) = (gateway.clone(), Carried(carried.clone()));
                    tokio::task::spawn_local(async move {
                        arrival::attend(&gateway, arrival).await;
                        drop(carried);
                    });
                }
            });
        })?;
        is_made.recv().map_err(io::Error::other)??;
        Ok(Worker { arrivals, load })
    }

    fn load(&self) -> usize {
        self.load.load(Ordering::Relaxed)
    }

    fn take(&self, arrival: Arrival) {
        self.load.fetch_add(1, Ordering::Relaxed);
        if self.arrivals.send(arrival).is_err() {
            tracing::error!("a thread that serves sessions is gone");
        }
    }
}

/// A connection's weight on its thread, given back when the connection is over.
struct Carried(Arc<AtomicUsize>);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
