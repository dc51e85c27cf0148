//! One accepted socket: its options, and reading and writing.
//!
//! It moves bytes; it knows nothing of what they mean.

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

/// Bytes read at once: most clients say less, and memory that is not written to costs nothing.
pub const READ_BYTES_MAX: usize = 2048;
/// Bytes the kernel may hold that have not been sent yet, before it begins no further segment. So at most about 40 kB
/// that are stale wait here for a client that reads nothing, where it would be 4 MB (both measured on the loopback).
pub(crate) const UNSENT_BYTES_MAX: u32 = 4096;

/// An accepted socket.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    /// What was read already, by whoever had this connection before.
    unread: Bytes,
    /// Given back when the connection is dropped.
    _permit: OwnedSemaphorePermit,
}

impl Connection {
    /// Takes over an accepted socket.
    ///
    /// `unacknowledged_for` bounds how long sent data may stay unacknowledged, or unread by a peer whose
    /// window is closed, before the kernel ends the connection. Without it a peer that stops reading blocks
    /// its writer until the machine restarts, and with it everything that waits for the writer. `permit` is one of as many
    /// as there are descriptors for.
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

    /// The socket. Whoever shuts it down ends the connection: the next read finds the end of the stream.
    pub fn stream(&self) -> Arc<TcpStream> {
        Arc::clone(&self.stream)
    }

    /// From now on the connection carries small messages of which only the newest matters: little is held back unsent.
    pub fn prefer_new_data(&self) {
        #[cfg(target_os = "linux")]
        // A dead socket shows when it is read.
        let _ = SockRef::from(&self.stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
    }

    /// Gives back what was read and not used: it is read next. Little of it is copied rather than a whole buffer kept.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.unread = if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
    }

    /// Reads what has come, once something has, behind `bytes`. Returns how much that is; 0 at the end.
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

    /// Says that nothing more will be written.
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

/// Reads once. What comes back less than full has emptied the kernel's buffer, so that the socket counts as not
/// ready at once, which saves asking it in vain; the runtime drops that mark if more has come meanwhile.
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
    /// Writes once the kernel takes something, by whichever way `write` does it.
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

/// For HTTP; a websocket is written to through its session.
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

    /// The kernel sends what it has by itself.
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
