//! One accepted socket, owned by us: its options, the switch that ends it from outside, and the budget of
//! bytes a websocket client may send.
//!
//! It moves bytes and counts them; it knows nothing of HTTP or Socket.IO.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
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
    time::Instant,
};

/// What a websocket client may send, sustained. It needs to answer a ping now and then: 7 bytes.
const BYTES_PER_SECOND: u64 = 4096;
/// What it may send in one go: four messages of the default largest size.
const BYTES_BURST: u64 = 64 * 1024;

/// An accepted socket. Reads end once its [`Control`] is closed, so whatever protocol runs on it sees the
/// peer go away and cleans up as it always does.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    control: Arc<Control>,
    budget: Budget,
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
}

impl Connection {
    /// Takes over an accepted socket.
    ///
    /// `unacknowledged_for` bounds how long sent data may stay unacknowledged, or unread by a peer whose
    /// window is closed, before the kernel ends the connection. Without it a peer that stops reading blocks
    /// the writer for ever, and with it everything that waits for the writer.
    ///
    /// # Errors
    /// If the socket is dead already.
    pub fn new(stream: TcpStream, unacknowledged_for: Duration) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        #[cfg(target_os = "linux")]
        SockRef::from(&stream).set_tcp_user_timeout(Some(unacknowledged_for))?;
        Ok(Self {
            stream,
            control: Arc::default(),
            budget: Budget::new(Instant::now()),
        })
    }

    /// The handle to it.
    pub fn control(&self) -> Arc<Control> {
        Arc::clone(&self.control)
    }

    fn charge(&mut self, bytes: usize) {
        if self.control.websocket.load(Ordering::Relaxed)
            && !self.budget.spend(bytes, Instant::now())
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

    /// Whether it was ended because its client sent too much.
    pub fn flooded(&self) -> bool {
        self.flooded.load(Ordering::Relaxed)
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

/// A token bucket of bytes: [`BYTES_BURST`] at once, [`BYTES_PER_SECOND`] sustained.
#[derive(Debug)]
struct Budget {
    left: u64,
    refilled_at: Instant,
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self {
            left: BYTES_BURST,
            refilled_at: now,
        }
    }

    /// False if that was too much.
    fn spend(&mut self, bytes: usize, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let earned = u64::try_from(elapsed.as_millis())
            .unwrap_or(u64::MAX)
            .saturating_mul(BYTES_PER_SECOND)
            / 1000;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BYTES_BURST);
            self.refilled_at = now;
        }
        let rest = self.left.checked_sub(bytes as u64);
        self.left = rest.unwrap_or(0);
        rest.is_some()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        (
            Connection::new(accepted, Duration::from_secs(20)).unwrap(),
            peer,
        )
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

    /// Goal: a flood ends a websocket and nothing else. Method: twice the burst, before and after the
    /// connection becomes a websocket.
    #[tokio::test]
    async fn a_flood_ends_a_websocket_only() {
        let flood = vec![0u8; 2 * usize::try_from(BYTES_BURST).unwrap()];
        for websocket in [false, true] {
            let (mut connection, mut peer) = pair().await;
            let control = connection.control();
            if websocket {
                control.begin_websocket();
            }
            let bytes = flood.clone();
            let writing =
                tokio::task::spawn(async move { peer.write_all(&bytes).await.map(|()| peer) });
            let mut received = Vec::new();
            let _ = connection
                .read_to_end(&mut received)
                .await
                .map(drop)
                .is_ok()
                && writing.await.is_ok();
            assert_eq!(control.flooded(), websocket);
            assert_eq!(
                received.len() < flood.len(),
                websocket,
                "{}",
                received.len()
            );
        }
    }

    /// Goal: the budget refills with time and not beyond the burst. Method: a clock made by hand.
    #[test]
    fn the_budget_refills() {
        let start = Instant::now();
        let burst = usize::try_from(BYTES_BURST).unwrap();
        let mut budget = Budget::new(start);
        assert!(budget.spend(burst, start));
        assert!(!budget.spend(1, start));
        assert!(budget.spend(4096, start + Duration::from_secs(1)));
        assert!(!budget.spend(1, start + Duration::from_secs(1)));
        assert!(budget.spend(burst, start + Duration::from_secs(3600)));
        assert!(!budget.spend(1, start + Duration::from_secs(3600)));
    }
}
