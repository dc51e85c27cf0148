//! Sessions that a websocket carries: one small task for each, which reads. Whatever is written goes straight to the
//! socket, by [`super::outbox`].
//!
//! A websocket on which a client wants to go on with a session that began with polling is first probed: see
//! [`super::upgrade`].

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
    sync::OwnedSemaphorePermit,
    time::timeout,
};

use super::{
    lifecycle::{Engine, charge},
    outbox::{Outbox, Sink},
    reason::{End, EndReason},
    session::{Session, shut_down},
    settings::UPGRADE_TIMEOUT,
    upgrade::{Opening, Upgrade},
};
use crate::{
    net::connection::Connection,
    protocol::{
        decoder::{FrameDecoder, Incoming},
        frame,
        packet::{PROBE, PROBE_ANSWER, UPGRADE},
        transport::Transport,
    },
};

/// Bytes read at once, on the stack: clients have nothing to say but pongs.
const READ_BYTES: usize = 1024;
/// What has arrived when a session ends is read and dropped, or the kernel would tell the client of a reset instead of
/// what it was told last; at most so many times [`READ_BYTES`].
const LAST_READS_MAX: usize = 64;

/// The status code of a close frame in good order (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

/// The reading end of a websocket.
#[derive(Debug)]
struct Reader {
    connection: Connection,
    decoder: FrameDecoder,
}

impl Engine {
    /// Serves a websocket to its end. `answer` is still to be said to its handshake. What the client has said behind its
    /// handshake is in the connection.
    pub async fn serve_websocket(
        self: Arc<Self>,
        connection: Connection,
        opening: Opening,
        answer: Vec<u8>,
    ) {
        connection.prefer_new_data();
        let decoder = FrameDecoder::new(self.settings().payload_bytes_max);
        let mut reader = Reader { connection, decoder };
        let session = match opening {
            Opening::New(permit) => self.open_websocket(reader.connection.stream(), permit, answer),
            Opening::Unwanted => return reader.turn_away(&answer).await,
            Opening::Upgrade(upgrade) => {
                let moved = Box::pin(reader.move_session(&self, upgrade, &answer)).await;
                let Some(session) = moved else { return };
                session
            }
        };
        let guard = EndGuard { engine: &self, session: &session };
        let end = poll_fn(|context| reader.poll_until_end(context, &self, &session)).await;
        guard.engine.end(guard.session, end);
        reader.drop_what_has_arrived().await;
    }

    /// Begins a session on a websocket.
    fn open_websocket(
        self: &Arc<Self>,
        stream: Arc<TcpStream>,
        permit: OwnedSemaphorePermit,
        mut answer: Vec<u8>,
    ) -> Arc<Session> {
        let session = self.begin(Transport::Websocket, Outbox::on_websocket(stream), permit);
        answer.extend(frame::text(&self.opening(session.id(), Transport::Websocket)));
        if let Err(end) = self.send_frames(&session, &answer) {
            self.end(&session, end);
        }
        session
    }
}

/// However the task of a websocket ends, its session ends with it.
struct EndGuard<'a> {
    engine: &'a Engine,
    session: &'a Session,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.engine.end(self.session, EndReason::Draining);
    }
}

impl Reader {
    /// Closes a websocket that nobody wants.
    async fn turn_away(&mut self, answer: &[u8]) {
        let stream = self.connection.stream();
        let farewell = [answer, &frame::close(NORMAL_CLOSURE)].concat();
        // A client that is gone needs no close frame.
        let _ = write(&stream, &farewell);
        shut_down(&stream);
        self.drop_what_has_arrived().await;
    }

    /// Waits until the client has moved here. `None` if it does not; the websocket is of no more use then.
    async fn move_session(
        &mut self,
        engine: &Engine,
        upgrade: Upgrade,
        answer: &[u8],
    ) -> Option<Arc<Session>> {
        let (stream, session) = (self.connection.stream(), Arc::clone(upgrade.session()));
        let begun = upgrade.attach(&stream).and_then(|()| write(&stream, answer));
        let mut probe = Probe { stream: Arc::clone(&stream), upgrade, is_probed: false };
        let moving = poll_fn(|context| {
            self.poll_read(context, &session, |incoming| {
                // The client's next words may come with the packet that moves it.
                if probe.upgrade.is_complete() {
                    return receive(engine, &session, incoming).map(|()| true);
                }
                probe.receive(incoming)
            })
        });
        let moved = match begun {
            Ok(()) => timeout(UPGRADE_TIMEOUT, moving).await,
            Err(end) => Ok(Err(end)),
        };
        let moved = moved.unwrap_or(Err(EndReason::TransportError.into()));
        let Err(end) = moved else { return Some(session) };
        if probe.upgrade.is_complete() {
            engine.end(&session, end);
            return None;
        }
        tracing::debug!(session = ?session.id(), reason = end.reason.label(), "an upgrade failed");
        drop(probe);
        if let Some(code) = end.close_code {
            // A client that is gone needs no close frame.
            let _ = write(&stream, &frame::close(code));
        }
        shut_down(&stream);
        self.drop_what_has_arrived().await;
        None
    }

    /// Acts on what the client says until that ends the session.
    fn poll_until_end(
        &mut self,
        context: &mut Context<'_>,
        engine: &Engine,
        session: &Arc<Session>,
    ) -> Poll<End> {
        let read = self.poll_read(context, session, |incoming| {
            receive(engine, session, incoming).map(|()| false)
        });
        read.map(|end| end.err().unwrap_or(End::CLOSED))
    }

    /// Reads until `receive` returns true for one of the messages that came in one go, or an end.
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        session: &Session,
        mut receive: impl FnMut(Incoming<'_>) -> Result<bool, End>,
    ) -> Poll<Result<(), End>> {
        let Self { connection, decoder } = self;
        let mut bytes = [0; READ_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = ready!(Pin::new(&mut *connection).poll_read(context, &mut buffer));
            read.map_err(|_| End::from(EndReason::TransportError))?;
            if buffer.filled().is_empty() {
                let ended = session.ended().unwrap_or(EndReason::TransportClose);
                return Poll::Ready(Err(ended.into()));
            }
            let more = buffer.remaining() == 0;
            charge(session, buffer.filled().len() as u64)?;
            let mut is_enough = false;
            decoder.read(buffer.filled_mut(), |incoming| -> Result<(), End> {
                is_enough |= receive(incoming)?;
                Ok(())
            })?;
            if is_enough {
                return Poll::Ready(Ok(()));
            }
            if more {
                // A client that has much to say waits for others in between.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    async fn drop_what_has_arrived(&mut self) {
        // The buffer is on the stack of each look: in the future it would be held as long as the websocket.
        let mut look = |context: &mut Context<'_>| {
            let mut bytes = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = Pin::new(&mut self.connection).poll_read(context, &mut buffer);
            Poll::Ready(read.is_ready() && !buffer.filled().is_empty())
        };
        for _ in 0..LAST_READS_MAX {
            if !poll_fn(&mut look).await {
                return;
            }
        }
    }
}

/// A websocket that carries no session yet.
struct Probe {
    stream: Arc<TcpStream>,
    upgrade: Upgrade,
    is_probed: bool,
}

impl Probe {
    /// Acts on what the client says; returns whether it has moved.
    fn receive(&mut self, incoming: Incoming<'_>) -> Result<bool, End> {
        match incoming {
            Incoming::Text(PROBE) if !self.is_probed => {
                self.is_probed = true;
                self.upgrade.probe();
                write(&self.stream, &frame::text(PROBE_ANSWER))?;
            }
            Incoming::Text(UPGRADE) if self.is_probed => {
                self.upgrade.complete(Arc::clone(&self.stream))?;
                return Ok(true);
            }
            Incoming::Ping(payload) => write(&self.stream, &frame::pong(payload))?,
            Incoming::Pong => {}
            Incoming::Close => return Err(End::CLOSED),
            Incoming::Text(_) | Incoming::Binary => return Err(End::BAD_PACKET),
        }
        Ok(false)
    }
}

/// Acts on what the client of a session says on its websocket.
fn receive(engine: &Engine, session: &Arc<Session>, incoming: Incoming<'_>) -> Result<(), End> {
    match incoming {
        Incoming::Text(message) => engine.receive(session, message),
        Incoming::Binary => engine.receive_binary(session),
        Incoming::Ping(payload) => engine.send_frames(session, &frame::pong(payload)),
        Incoming::Pong => Ok(()),
        Incoming::Close => Err(End::CLOSED),
    }
}

/// Writes to a websocket that carries no session yet, and to which so little was written that all of this fits.
fn write(stream: &Arc<TcpStream>, bytes: &[u8]) -> Result<(), End> {
    match stream.try_write(bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        _ => Err(EndReason::TransportError.into()),
    }
}

#[cfg(test)]
#[path = "websocket/tests.rs"]
mod tests;
