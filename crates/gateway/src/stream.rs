//! One type for the sockets of both legs, so that the session loop is written once.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::{client, server};

/// A peer that vanished without a word is noticed after about two minutes.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
const KEEPALIVE_PROBES: u32 = 4;

pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
    /// TLS that a client began.
    Accepted(Box<server::TlsStream<TcpStream>>),
    /// TLS that we began.
    Dialled(Box<client::TlsStream<TcpStream>>),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let keepalive = socket2::TcpKeepalive::new()
            .with_time(KEEPALIVE_AFTER)
            .with_interval(KEEPALIVE_EVERY)
            .with_retries(KEEPALIVE_PROBES);
        socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
        Ok(Stream::Tcp(stream))
    }

    pub(crate) fn is_encrypted(&self) -> bool {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => false,
            Stream::Accepted(_) | Stream::Dialled(_) => true,
        }
    }
}

impl Stream {
    /// Protocol and cipher suite of a client's TLS.
    pub(crate) fn tls(&self) -> Option<String> {
        match self {
            Stream::Accepted(stream) => {
                let session = stream.get_ref().1;
                let version = session.protocol_version()?;
                let suite = session.negotiated_cipher_suite()?.suite();
                Some(format!("{} {}", version.as_str()?, suite.as_str()?))
            }
            Stream::Tcp(_) | Stream::Unix(_) | Stream::Dialled(_) => None,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Accepted(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Dialled(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Accepted(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Dialled(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Accepted(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Dialled(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Accepted(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Dialled(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

/// One half of a stream whose other half another loop of the same task has. Neither is borrowed
/// beyond a poll, so nothing is locked.
pub(crate) struct Reader<'s>(&'s RefCell<Stream>);

/// See [`Reader`].
pub(crate) struct Writer<'s>(&'s RefCell<Stream>);

impl<'s> Reader<'s> {
    pub(crate) fn of(stream: &'s RefCell<Stream>) -> Self {
        Reader(stream)
    }
}

impl<'s> Writer<'s> {
    pub(crate) fn of(stream: &'s RefCell<Stream>) -> Self {
        Writer(stream)
    }
}

impl AsyncRead for Reader<'_> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Writer<'_> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
