//! What was read of one side and is not passed on yet.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncReadExt;

use crate::stream::Reader;

/// A leg's buffer begins small, as most sessions are idle or say little, and grows while reads
/// fill it. What a message needs beyond that it gives back.
const BUFFER_BYTES_MIN: usize = 8 << 10;
pub(super) const BUFFER_BYTES_MAX: usize = 128 << 10;
/// Bytes read and not yet passed on.
pub(super) struct Buffer {
    pub(super) bytes: Vec<u8>,
}

impl Buffer {
    pub(super) fn holding(bytes: Vec<u8>) -> Self {
        Buffer { bytes }
    }

    /// Reads what is there, up to the buffer's size. A message that has to be looked at whole
    /// makes it larger, up to what the gate wants to see of one. Cancel-safe: nothing read is
    /// lost.
    pub(super) async fn fill(&mut self, from: &mut Reader<'_>) -> io::Result<usize> {
        poll_fn(|context| self.poll_fill(from, context)).await
    }

    pub(super) fn poll_fill(
        &mut self,
        from: &mut Reader<'_>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.bytes.len() == self.bytes.capacity() {
            self.bytes.reserve(self.bytes.len().max(BUFFER_BYTES_MIN));
        }
        let room = self.bytes.capacity() - self.bytes.len();
        let read = ready!(pin!(from.read_buf(&mut self.bytes)).poll(context))?;
        if read == room && self.bytes.capacity() < BUFFER_BYTES_MAX {
            self.bytes.reserve(self.bytes.capacity());
        }
        Poll::Ready(Ok(read))
    }

    pub(super) fn consume(&mut self, bytes: usize) {
        self.bytes.drain(..bytes);
        let is_large = self.bytes.capacity() > BUFFER_BYTES_MAX;
        if self.bytes.is_empty()
            && (is_large || self.bytes.capacity() > BUFFER_BYTES_MIN && bytes < BUFFER_BYTES_MIN)
        {
            self.bytes = Vec::new();
        }
    }
}
