//! One accepted socket: its options, and reading and writing. It knows nothing of what the bytes mean.

use std::{
    future::poll_fn,
    io::{self, Read},
    net::Shutdown,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
};

/// Bytes that are read at once. Most clients send less.
pub const READ_BYTES_MAX: usize = 2048;
/// The most unsent bytes that the kernel accepts (`TCP_NOTSENT_LOWAT`). For a client that reads nothing, about 40 kB of stale
/// counts wait in the kernel with it, and 4 MB without (both measured on the loopback).
pub(crate) const UNSENT_BYTES_MAX: u32 = 4096;

/// An accepted socket.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    /// Bytes that were read and given back. They are read next.
    unread: Bytes,
    /// Counts against the limit of connections. It is given back when the connection is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Takes over an accepted socket.
    ///
    /// `unacknowledged_for` limits how long sent data may stay unacknowledged, or unread by a peer whose window is closed
    /// (`TCP_USER_TIMEOUT`). Then the kernel ends the connection. Without this limit a peer that stops reading blocks its
    /// writer for good. `permit` counts against the limit of connections.
    ///
    /// # Errors
    /// If the socket is dead already.
    pub fn new(
        stream: TcpStream,
        unacknowledged_for: Duration,
        permit: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(unacknowledged_for))?;
        Ok(Self { stream: Arc::new(stream), unread: Bytes::new(), _permit: permit })
    }

    /// The socket. Shutting it down ends the connection: the next read finds the end of the stream.
    pub fn stream(&self) -> Arc<TcpStream> {
        Arc::clone(&self.stream)
    }

    /// Prepares the connection for small messages of which only the newest matters: see [`UNSENT_BYTES_MAX`].
    pub fn prefer_new_data(&self) {
        #[cfg(target_os = "linux")]
        // A dead socket shows when it is read.
        let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    }

    /// Gives back bytes that were read and not used. They are copied, so that no larger buffer is kept, and are read next.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.unread = if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
    }

    /// Waits for bytes and appends them to `bytes`. Returns their number; 0 at the end of the stream.
    ///
    /// # Errors
    /// If the socket is dead.
    pub async fn receive(&mut self, bytes: &mut Vec<u8>) -> io::Result<usize> {
        poll_fn(|context| {
            let mut piece = [0; READ_BYTES_MAX];
            let mut buffer = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
            bytes.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
        .await
    }

    /// Closes the writing half of the connection.
    ///
    /// # Errors
    /// If the socket is dead.
    pub async fn shutdown(&mut self) -> io::Result<()> {
        AsyncWriteExt::shutdown(self).await
    }

    fn read_again(&mut self, buffer: &mut ReadBuf<'_>) {
        let taken = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(taken));
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if !this.unread.is_empty() {
                this.read_again(buffer);
                return Poll::Ready(Ok(()));
            }
            ready!(this.stream.poll_read_ready(context))?;
            match read(&this.stream, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(()) => return Poll::Ready(Ok(())),
            }
        }
    }
}

/// Reads once. A read that does not fill the buffer has emptied the kernel's. Then the socket is marked as not ready, which
/// saves a system call that would find nothing. The runtime ignores the mark if more has arrived meanwhile.
fn read(stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
    let space = buffer.initialize_unfilled_to(buffer.remaining().min(READ_BYTES_MAX));
    let mut read = 0;
    let tried = stream.try_io(Interest::READABLE, || {
        read = (&*SockRef::from(stream)).read(space)?;
        if 0 < read && read < space.len() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    if read == 0 {
        tried?;
    }
    buffer.advance(read);
    Ok(())
}

impl Connection {
    /// Calls `write` until the kernel takes something.
    fn poll_writing(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

/// Used for HTTP only. Websockets are written to by their session's outbox.
impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// There is nothing to flush: the kernel sends what it has by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match SockRef::from(&self.stream).shutdown(Shutdown::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            done => done,
        })
    }
}

#[cfg(test)]
#[path = "connection/tests.rs"]
pub(crate) mod tests;
