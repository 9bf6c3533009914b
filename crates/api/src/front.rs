//! Where HTTP comes in: TLS and plain HTTP on one port, told apart by the first byte. What comes
//! plain from another machine may look at what is open to all; no secret of anybody's is taken from
//! it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use gateway::Gateway;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;

/// Connections at once. Who comes when there is no room waits.
const CONNECTIONS_MAX: usize = 256;

/// How long somebody may take to begin.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(10);

/// After a failing accept (no descriptor is free, say) trying again at once would only spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The first byte of a TLS handshake.
const HANDSHAKE: u8 = 0x16;

pub(crate) struct Front {
    listener: TcpListener,
    gateway: Arc<Gateway>,
    places: Arc<Semaphore>,
    beginning: JoinSet<Option<(Io, Visitor)>>,
}

/// Who is at the other end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visitor {
    pub(crate) address: SocketAddr,
    /// What they send can be read by nobody on the way: under TLS, or on this machine.
    pub(crate) is_private: bool,
}

pub(crate) struct Io {
    stream: Stream,
    _place: OwnedSemaphorePermit,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Front {
    pub(crate) fn new(listener: TcpListener, gateway: Arc<Gateway>) -> Front {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        Front { listener, gateway, places, beginning: JoinSet::new() }
    }
}

impl Listener for Front {
    type Io = Io;
    type Addr = Visitor;

    async fn accept(&mut self) -> (Io, Visitor) {
        loop {
            tokio::select! {
                // A task that panicked is nobody who came.
                Some(begun) = self.beginning.join_next() => {
                    if let Ok(Some(begun)) = begun {
                        return begun;
                    }
                }
                accepted = accept(&self.listener, &self.places) => match accepted {
                    Ok((stream, address, place)) => {
                        self.beginning.spawn(begin(stream, address, place, self.gateway.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "an HTTP connection could not be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    fn local_addr(&self) -> io::Result<Visitor> {
        Ok(Visitor { address: self.listener.local_addr()?, is_private: false })
    }
}

impl Connected<IncomingStream<'_, Front>> for Visitor {
    fn connect_info(stream: IncomingStream<'_, Front>) -> Visitor {
        *stream.remote_addr()
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

async fn begin(
    stream: TcpStream,
    address: SocketAddr,
    place: OwnedSemaphorePermit,
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
    Some((Io { stream, _place: place }, Visitor { address, is_private }))
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
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().stream {
            Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Stream::Tls(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}
