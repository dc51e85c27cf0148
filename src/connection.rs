//! One accepted socket, owned by us: its options, the switch that ends it from outside, the budget of bytes a
//! websocket client may send, and the direct way by which counts reach it.
//!
//! It moves bytes and counts them; it knows nothing of HTTP or Socket.IO. What may be written when is decided in
//! [`crate::outlet`].

mod control;

use std::{
    future::poll_fn,
    io::{self, Read},
    net::Shutdown,
    pin::Pin,
    sync::{Arc, PoisonError, atomic::Ordering},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};

use crate::{
    rate::{Bucket, CLIENT_BYTES_PER_SECOND},
    stragglers::Stragglers,
};

pub use control::Control;

/// Bytes read at once: most clients say less, and memory that is not written to costs nothing.
const READ_BYTES_MAX: usize = 2048;

/// An accepted socket. Reads end once its [`Control`] is closed, so whatever protocol runs on it sees the
/// peer go away and cleans up as it always does.
#[derive(Debug)]
pub struct Connection {
    stream: Arc<TcpStream>,
    control: Arc<Control>,
    budget: Bucket,
    /// What was read already, by whoever had this connection before.
    unread: Bytes,
    /// Given back when the socket is closed, whatever has become of it meanwhile.
    _place: OwnedSemaphorePermit,
}

impl Connection {
    /// Takes over an accepted socket.
    ///
    /// `unacknowledged_for` bounds how long sent data may stay unacknowledged, or unread by a peer whose
    /// window is closed, before the kernel ends the connection. Without it a peer that stops reading blocks
    /// the writer for ever, and with it everything that waits for the writer. `burst_bytes` is what a
    /// websocket client may send in one go. `place` is one of as many as there are descriptors for.
    /// `stragglers` are told when a count waits for the kernel to take it.
    ///
    /// # Errors
    /// If the socket is dead already.
    pub fn new(
        stream: TcpStream,
        unacknowledged_for: Duration,
        burst_bytes: u64,
        place: OwnedSemaphorePermit,
        stragglers: Stragglers,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(unacknowledged_for))?;
        let budget = Bucket::new(burst_bytes, CLIENT_BYTES_PER_SECOND, Instant::now());
        let stream = Arc::new(stream);
        let control = Control::new(&stream, stragglers);
        Ok(Self { stream, control, budget, unread: Bytes::new(), _place: place })
    }

    /// The handle to it.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    /// Gives back what was read and not used: it is read next. Little of it is copied rather than a whole buffer kept.
    pub fn unread(&mut self, bytes: &[u8]) {
        self.unread = if bytes.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(bytes) };
    }

    /// Reads what has come, once something has; nothing at the end.
    ///
    /// # Errors
    /// If the socket is dead.
    pub async fn receive(&mut self) -> io::Result<Vec<u8>> {
        poll_fn(|context| {
            let mut bytes = [0; READ_BYTES_MAX];
            let mut buffer = ReadBuf::new(&mut bytes);
            ready!(Pin::new(&mut *self).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().to_vec()))
        })
        .await
    }

    fn read_again(&mut self, buffer: &mut ReadBuf<'_>) {
        let taken = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread.split_to(taken));
        self.charge(taken);
    }

    fn charge(&mut self, bytes: usize) {
        if self.control.websocket.load(Ordering::Relaxed)
            && !self.budget.spend(bytes as u64, Instant::now())
        {
            self.control.close_for("flood");
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.control.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        if self.control.end() {
            // Whoever waits for this socket holds it open, and this wakes them up. A dead socket is as good.
            let _ = SockRef::from(&self.stream).shutdown(Shutdown::Both);
        }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.control.reader.register(context.waker());
        loop {
            if this.control.closed.load(Ordering::Acquire) {
                return Poll::Ready(Ok(()));
            }
            if !this.unread.is_empty() {
                this.read_again(buffer);
                return Poll::Ready(Ok(()));
            }
            ready!(this.stream.poll_read_ready(context))?;
            match read(&this.stream, buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(bytes) => {
                    this.charge(bytes);
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}

/// Reads once. What comes back less than full has emptied the kernel's buffer, so that the socket counts as not
/// ready at once, which saves asking it in vain; the runtime drops that mark if more has come meanwhile.
fn read(stream: &TcpStream, buffer: &mut ReadBuf<'_>) -> io::Result<usize> {
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
    Ok(read)
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

/// For HTTP and Socket.IO; a websocket of our own is written to through its [`Control`].
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
