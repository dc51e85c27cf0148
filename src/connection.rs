//! One accepted socket, owned by us: its options, the switch that ends it from outside, and the budget of
//! bytes a websocket client may send.
//!
//! It moves bytes and counts them; it knows nothing of HTTP or Socket.IO.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};

use crate::rate::{Bucket, CLIENT_BYTES_PER_SECOND};

/// An accepted socket. Reads end once its [`Control`] is closed, so whatever protocol runs on it sees the
/// peer go away and cleans up as it always does.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    control: Arc<Control>,
    budget: Bucket,
    /// Given back when the socket is closed, whatever has become of it meanwhile.
    _place: OwnedSemaphorePermit,
}

/// The handle by which other parts reach a [`Connection`].
#[derive(Debug, Default)]
pub struct Control {
    closed: AtomicBool,
    /// Set once the connection carries a websocket. Before, it may be a proxy's connection that many clients
    /// share, which a budget would punish together.
    websocket: AtomicBool,
    flooded: AtomicBool,
    reader: AtomicWaker,
    /// Given back when the connection closes, although others may hold this handle for longer.
    permit: Mutex<Option<OwnedSemaphorePermit>>,
}

impl Connection {
    /// Takes over an accepted socket.
    ///
    /// `unacknowledged_for` bounds how long sent data may stay unacknowledged, or unread by a peer whose
    /// window is closed, before the kernel ends the connection. Without it a peer that stops reading blocks
    /// the writer for ever, and with it everything that waits for the writer. `burst_bytes` is what a
    /// websocket client may send in one go. `place` is one of as many as there are descriptors for.
    ///
    /// # Errors
    /// If the socket is dead already.
    pub fn new(
        stream: TcpStream,
        unacknowledged_for: Duration,
        burst_bytes: u64,
        place: OwnedSemaphorePermit,
    ) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(unacknowledged_for))?;
        let budget = Bucket::new(burst_bytes, CLIENT_BYTES_PER_SECOND, Instant::now());
        Ok(Self { stream, control: Arc::default(), budget, _place: place })
    }

    /// The handle to it.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    fn charge(&mut self, bytes: usize) {
        if self.control.websocket.load(Ordering::Relaxed)
            && !self.budget.spend(bytes as u64, Instant::now())
        {
            self.control.flooded.store(true, Ordering::Relaxed);
            self.control.closed.store(true, Ordering::Release);
        }
    }
}

impl Control {
    /// Ends the connection: the next read finds the end of the stream.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// From now on the connection carries a websocket, whose client has a budget.
    pub fn begin_websocket(&self) {
        self.websocket.store(true, Ordering::Relaxed);
    }

    /// Keeps this permit for as long as the connection is open.
    pub fn keep(&self, permit: OwnedSemaphorePermit) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// Whether it was ended because its client sent too much.
    pub fn flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.control.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
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
        if this.control.closed.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut this.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) {
            this.charge(buffer.filled().len() - before);
        }
        polled
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        sync::Semaphore,
    };

    use super::*;

    const BURST_BYTES: u64 = 64 * 1024;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        (Connection::new(accepted, Duration::from_secs(20), BURST_BYTES, place).unwrap(), peer)
    }

    /// Goal: closing ends a read that waits, and every later one. Method: a read on an idle socket, closed
    /// from another task.
    #[tokio::test]
    async fn closing_ends_a_waiting_read() {
        let (mut connection, _peer) = pair().await;
        let control = connection.control();
        let reading = tokio::task::spawn(async move { connection.read_u8().await });
        tokio::task::yield_now().await;
        control.close();
        let error = reading.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!control.flooded());
    }

    /// Goal: a permit comes back with the end of the connection. Method: its handle outlives it.
    #[tokio::test]
    async fn a_permit_is_given_back_when_the_connection_closes() {
        let (connection, _peer) = pair().await;
        let (control, permits) = (connection.control(), Arc::new(Semaphore::new(1)));
        control.keep(Arc::clone(&permits).try_acquire_owned().unwrap());
        assert_eq!(permits.available_permits(), 0);
        drop(connection);
        assert_eq!(permits.available_permits(), 1);
        drop(control);
    }

    /// Goal: a flood ends a websocket and nothing else. Method: twice the burst, before and after the
    /// connection becomes a websocket.
    #[tokio::test]
    async fn a_flood_ends_a_websocket_only() {
        let flood = vec![0u8; 2 * usize::try_from(BURST_BYTES).unwrap()];
        for websocket in [false, true] {
            let (mut connection, mut peer) = pair().await;
            let control = connection.control();
            if websocket {
                control.begin_websocket();
            }
            let bytes = flood.clone();
            let writing = tokio::task::spawn(async move { peer.write_all(&bytes).await });
            let (mut received, mut chunk) = (0, [0u8; 4096]);
            while received < flood.len() {
                let read = connection.read(&mut chunk).await.unwrap();
                received += read;
                if read == 0 {
                    break;
                }
            }
            drop(connection);
            let _either_way = writing.await.unwrap();
            assert_eq!(control.flooded(), websocket);
            assert_eq!(received < flood.len(), websocket, "{received}");
        }
    }
}
