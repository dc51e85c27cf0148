//! One accepted socket, owned by us: its options, the switch that ends it from outside, the budget of bytes a
//! websocket client may send, and the direct way by which counts reach it.
//!
//! It moves bytes and counts them; it knows nothing of HTTP or Socket.IO. What may be written when is decided in
//! [`crate::outlet`].

use std::{
    future::poll_fn,
    io::{self, Read},
    net::Shutdown,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::Instant,
};

use crate::{
    frame::{self, CountFrame},
    outlet::{Outlet, StayNumber, Told},
    rate::{Bucket, CLIENT_BYTES_PER_SECOND},
    stragglers::Stragglers,
};

/// Bytes the kernel may hold that have not been sent yet, before it begins no further segment. So at most about 40 kB
/// that are stale wait here for a client that reads nothing, where it would be 4 MB (both measured on the loopback).
const UNSENT_BYTES_MAX: u32 = 4096;

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

/// The handle by which other parts reach a [`Connection`].
#[derive(Debug, Default)]
pub struct Control {
    closed: AtomicBool,
    /// Set once the connection carries a websocket. Before, it may be a proxy's connection that many clients
    /// share, which a budget would punish together.
    websocket: AtomicBool,
    /// Why it was ended from here, if there is a reason that the metrics know.
    ended_for: OnceLock<&'static str>,
    /// When its unanswered ping was sent, as [`crate::pings`] counts time; 0 if there is none.
    pinged: AtomicU64,
    reader: AtomicWaker,
    outlet: Mutex<Outlet<Arc<TcpStream>>>,
    /// Who comes back when the kernel takes more.
    stragglers: Stragglers,
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
        let outlet = Mutex::new(Outlet::new(Arc::clone(&stream)));
        let control = Arc::new(Control { outlet, stragglers, ..Control::default() });
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

impl Control {
    /// Ends the connection: the next read finds the end of the stream.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Ends the connection, and says why.
    pub fn close_for(&self, reason: &'static str) {
        self.ended_for.get_or_init(|| reason);
        self.close();
    }

    /// From now on the connection carries a websocket of the library's, whose client has a budget. The answer that
    /// begins it has not been written.
    pub fn begin_websocket(&self) {
        let mut outlet = self.outlet();
        outlet.begin_websocket();
        self.set_up_websocket(&outlet);
    }

    /// From now on the connection carries a websocket of our own: what is written goes through [`Control::send`].
    pub fn begin_frames(&self) {
        let mut outlet = self.outlet();
        outlet.begin_frames();
        self.set_up_websocket(&outlet);
    }

    fn set_up_websocket(&self, outlet: &Outlet<Arc<TcpStream>>) {
        self.websocket.store(true, Ordering::Relaxed);
        #[cfg(target_os = "linux")]
        if let Some(stream) = outlet.sink() {
            // A dead socket shows when it is read.
            let _ = SockRef::from(stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX);
        }
    }

    /// The client joined the namespace.
    pub fn begin_stay(&self) -> StayNumber {
        self.outlet().begin_stay()
    }

    /// The client left the namespace, if that is its present stay there.
    pub fn end_stay(&self, stay: StayNumber) {
        self.outlet().end_stay(stay);
    }

    /// A first count is about to be emitted; when it has been written, those of [`Control::tell`] follow. Returns
    /// whether this is new: if not, it has been on the broadcaster's list.
    pub fn expect_count(&self) -> bool {
        self.outlet().expect()
    }

    /// The client is told nothing more, until it joins again.
    pub fn silence(&self) {
        self.outlet().begin_stay();
    }

    /// The first count may follow what was sent. See [`Outlet::open`].
    pub fn open(&self, stay: StayNumber) -> Option<bool> {
        self.outlet().open(stay)
    }

    /// Sends whole frames of our own, now or when the kernel takes them; a client that leaves too much unread is
    /// cut off.
    pub fn send(self: &Arc<Self>, frames: &[u8]) {
        let mut outlet = self.outlet();
        let sent = outlet.send(frames);
        let stuck = outlet.becomes_stuck();
        drop(outlet);
        if stuck {
            self.stragglers.report(self);
        }
        if !sent {
            self.close_for("flood");
        }
    }

    /// Pings the client, at this time, unless it owes an answer already.
    pub fn ping(self: &Arc<Self>, now: u64) {
        if self.pinged.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.send(frame::PING);
        }
    }

    /// The client has answered.
    pub fn pong(&self) {
        self.pinged.store(0, Ordering::Relaxed);
    }

    /// When the ping was sent that the client has not answered.
    pub fn unanswered(&self) -> Option<u64> {
        Some(self.pinged.load(Ordering::Relaxed)).filter(|&pinged| pinged > 0)
    }

    /// Tells the client this count, newer than all before, as soon as it can be written; unless a still newer one
    /// comes before that. Returns false if the client is to be told no counts any more.
    pub fn tell(self: &Arc<Self>, frame: &CountFrame) -> bool {
        let told = self.outlet().tell(frame);
        if told == Told::Stuck {
            self.stragglers.report(self);
        }
        told != Told::Gone
    }

    /// This is on the broadcaster's list no more.
    pub fn unlist(&self) {
        self.outlet().unlist();
    }

    /// Writes what waits, now that the kernel takes more. Returns whether nothing is left to come back for.
    pub fn flush(&self) -> bool {
        self.outlet().flush()
    }

    /// The socket, to wait for; `None` if it is closed.
    pub fn stream(&self) -> Option<Arc<TcpStream>> {
        self.outlet().sink().cloned()
    }

    /// Every critical section leaves the outlet whole.
    fn outlet(&self) -> MutexGuard<'_, Outlet<Arc<TcpStream>>> {
        self.outlet.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps this permit for as long as the connection is open.
    pub fn keep(&self, permit: OwnedSemaphorePermit) {
        *self.permit.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
    }

    /// Why it was ended from here, if it was and there is a reason.
    pub fn ended_for(&self) -> Option<&'static str> {
        self.ended_for.get().copied()
    }

    /// Whether the connection is still there.
    pub fn is_open(&self) -> bool {
        self.outlet().sink().is_some()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        drop(self.control.permit.lock().unwrap_or_else(PoisonError::into_inner).take());
        if self.control.outlet().close() {
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
        mut write: impl FnMut(&mut Outlet<Arc<TcpStream>>) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            let mut outlet = self.control.outlet();
            let written = write(&mut outlet);
            let stuck = outlet.becomes_stuck();
            drop(outlet);
            if stuck {
                self.control.stragglers.report(&self.control);
            }
            match written {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(context, |outlet| outlet.write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let stream = Arc::clone(&this.stream);
        this.poll_writing(context, |outlet| {
            if !outlet.is_http() {
                let first = slices.iter().find(|slice| !slice.is_empty());
                return first.map_or(Ok(0), |bytes| outlet.write(bytes));
            }
            let written = stream.try_write_vectored(slices)?;
            let mut left = written;
            for slice in slices {
                let taken = left.min(slice.len());
                outlet.wrote(&slice[..taken]);
                left -= taken;
            }
            Ok(written)
        })
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
