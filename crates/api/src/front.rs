//! Where HTTP comes in: TLS and plain HTTP on one port, told apart by the first byte, a deadline for
//! all that a visitor has to do, and no more places for one address than leave some for others: who
//! holds the door must not keep a person from denying, revoking and killing. What comes plain from
//! another machine may look at what is open to all; no secret of anybody's is taken from it.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use gateway::Gateway;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Sleep, sleep, timeout};
use tokio_rustls::server::TlsStream;

/// Connections at once. Who comes when there is no room waits.
const CONNECTIONS_MAX: usize = 256;

/// Of one address. Who has more is turned away.
const CONNECTIONS_OF_ADDRESS_MAX: usize = 128;

/// How long somebody may take to begin: to the first byte, and for a handshake of TLS.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a request may take to its empty line, and a connection may be silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the rest of a request may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Who takes nothing of an answer for so long gets no more of it.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// After a failing accept (no descriptor is free, say) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    /// What they send can be read by nobody on the way: under TLS, or on this machine.
    pub(crate) is_private: bool,
}

struct Io {
    stream: Stream,
    /// While what was written is not taken.
    stalls: Option<Pin<Box<Sleep>>>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Serves whoever comes, for as long as the process lives.
pub(crate) async fn serve(listener: TcpListener, routes: Router, gateway: Arc<Gateway>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let present = Arc::<Present>::default();
    loop {
        match accept(&listener, &places).await {
            Ok((stream, address, place)) => {
                let Some(share) = Present::enter(&present, address.ip().to_canonical()) else {
                    continue;
                };
                let visit = visit(stream, address, routes.clone(), gateway.clone());
                tokio::spawn(async move {
                    visit.await;
                    drop((place, share));
                });
            }
            Err(error) => {
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = listener.accept().await?;
    Ok((stream, address, place))
}

/// One connection, from its first byte to its last.
async fn visit(stream: TcpStream, address: SocketAddr, routes: Router, gateway: Arc<Gateway>) {
    let Some((io, visitor)) = begin(stream, address, gateway).await else { return };
    let routes = routes.layer(Extension(ConnectInfo(visitor)));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(routes));
    if let Err(error) = served.await {
        tracing::debug!(%error, peer = %address, "an HTTP connection broke");
    }
}

/// Reads a request's body before anything is done with it, up to `bytes_max`.
pub(crate) async fn whole(
    State(bytes_max): State<usize>,
    request: Request,
    next: Next,
) -> Response {
    let (parts, body) = request.into_parts();
    match timeout(BODY_TIMEOUT, to_bytes(body, bytes_max)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(parts, Body::from(body))).await,
        // It is longer, or broke off, and then nobody reads this.
        Ok(Err(_)) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        Err(_) => StatusCode::REQUEST_TIMEOUT.into_response(),
    }
}

/// Who is there, by address.
#[derive(Default)]
struct Present(Mutex<HashMap<IpAddr, usize>>);

/// One of an address's places; given back when it is dropped.
struct Share {
    of: Arc<Present>,
    address: IpAddr,
}

impl Present {
    fn enter(of: &Arc<Present>, address: IpAddr) -> Option<Share> {
        let mut present = of.lock();
        let count = present.entry(address).or_default();
        if *count >= CONNECTIONS_OF_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Share { of: of.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut present = self.of.lock();
        if let Some(count) = present.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                present.remove(&self.address);
            }
        }
    }
}

async fn begin(
    stream: TcpStream,
    address: SocketAddr,
    gateway: Arc<Gateway>,
) -> Option<(Io, Visitor)> {
    let begun = timeout(BEGIN_TIMEOUT, async {
        let mut first = [0];
        stream.peek(&mut first).await?;
        match gateway.tls().filter(|_| first == [HANDSHAKE]) {
            Some(tls) => Ok(Stream::Tls(Box::new(tls.accept(stream).await?))),
            None => Ok::<Stream, io::Error>(Stream::Plain(stream)),
        }
    });
    let stream = begun.await.ok()?.ok()?;
    let is_private = matches!(stream, Stream::Tls(_)) || address.ip().to_canonical().is_loopback();
    Some((Io { stream, stalls: None }, Visitor { address, is_private }))
}

impl Io {
    /// What came of a write, unless the other side has taken nothing for too long.
    fn in_time<T>(
        &mut self,
        context: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalls = None;
            return wrote;
        }
        let stalls = self.stalls.get_or_insert_with(|| Box::pin(sleep(STALL_TIMEOUT)));
        ready!(stalls.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let io = self.get_mut();
        let wrote = match &mut io.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        };
        io.in_time(context, wrote)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = self.get_mut();
        let flushed = match &mut io.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        };
        io.in_time(context, flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
