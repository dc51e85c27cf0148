//! Reads websockets, with one small task for each. Everything that is written goes through the session's
//! [`outbox`](super::outbox), straight to the socket.
//!
//! A new websocket begins a session, or takes over one that began with polling; see [`super::upgrade`].

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
    outbox::Outbox,
    reason::{End, EndReason},
    session::{Session, shut_down},
    settings::UPGRADE_TIMEOUT,
    sink::Sink,
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

/// Bytes that are read at once, into a buffer on the stack. Clients send little but pongs.
const READ_BYTES: usize = 1024;
/// When a session ends, the bytes that have arrived are read and dropped, at most this many times [`READ_BYTES`]. If they
/// stayed unread, the kernel would send a reset, and the client would lose the last frames that were sent to it.
const LAST_READS_MAX: usize = 64;

/// The status code of a normal closure (RFC 6455, section 7.4.1).
const NORMAL_CLOSURE: u16 = 1000;

/// The reading end of a websocket.
#[derive(Debug)]
struct WebsocketReader {
    connection: Connection,
    decoder: FrameDecoder,
}

impl Engine {
    /// Serves a websocket to its end. `answer` is the answer to its handshake, which has not been sent yet. Bytes that the
    /// client sent after its handshake are read from the connection first.
    pub async fn serve_websocket(
        self: Arc<Self>,
        connection: Connection,
        opening: Opening,
        answer: Vec<u8>,
    ) {
        connection.prefer_new_data();
        let decoder = FrameDecoder::new(self.settings().payload_bytes_max);
        let mut reader = WebsocketReader { connection, decoder };
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
        // As soon as the session has begun, others may send to it. Then the answer waits in the outbox already.
        let session = self.begin(Transport::Websocket, permit, |id| {
            answer.extend(frame::text(&self.opening(id, Transport::Websocket)));
            Outbox::on_websocket(stream, answer)
        });
        let mut state = session.state();
        state.outbox.write_what_waits();
        self.see_to_the_rest(&session, state);
        session
    }
}

/// Ends the session when the task of its websocket ends, for whatever reason.
struct EndGuard<'a> {
    engine: &'a Engine,
    session: &'a Session,
}

impl Drop for EndGuard<'_> {
    fn drop(&mut self) {
        self.engine.end(self.session, EndReason::Draining);
    }
}

impl WebsocketReader {
    /// Answers the handshake of a websocket that is not needed, and closes it.
    async fn turn_away(&mut self, answer: &[u8]) {
        let stream = self.connection.stream();
        let farewell = [answer, &frame::close(NORMAL_CLOSURE)].concat();
        // An error means that the client is gone.
        let _ = write(&stream, &farewell);
        shut_down(&stream);
        self.drop_what_has_arrived().await;
    }

    /// Waits until the client has moved its session to this websocket. Returns `None` if that fails; the websocket is
    /// closed then.
    async fn move_session(
        &mut self,
        engine: &Engine,
        upgrade: Upgrade,
        answer: &[u8],
    ) -> Option<Arc<Session>> {
        let (stream, session) = (self.connection.stream(), Arc::clone(upgrade.session()));
        // As soon as the websocket is named, the end of the session shuts it down.
        let begun = write(&stream, answer).and_then(|()| upgrade.attach(&stream));
        let mut probe = Probe { stream: Arc::clone(&stream), upgrade, is_probed: false };
        let moving = poll_fn(|context| {
            self.poll_read(context, &session, |incoming| {
                // Packets for the session may arrive together with the packet that moves it.
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
            // An error means that the client is gone.
            let _ = write(&stream, &frame::close(code));
        }
        shut_down(&stream);
        self.drop_what_has_arrived().await;
        None
    }

    /// Reads and acts on the client's messages until the session ends.
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

    /// Reads messages until `receive` returns true or an error. The other messages of the same read are still handled.
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
                // Other tasks take their turn before a client that sends much is read again.
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
        }
    }

    async fn drop_what_has_arrived(&mut self) {
        // The buffer lives only during one call. Kept in the future, it would take memory as long as the websocket.
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

/// A websocket to which a session may move.
struct Probe {
    stream: Arc<TcpStream>,
    upgrade: Upgrade,
    is_probed: bool,
}

impl Probe {
    /// Acts on a message; returns whether the session has moved.
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

/// Acts on a message on the websocket of a session.
fn receive(engine: &Engine, session: &Arc<Session>, incoming: Incoming<'_>) -> Result<(), End> {
    match incoming {
        Incoming::Text(message) => engine.receive(session, message),
        Incoming::Binary => engine.receive_binary(session),
        Incoming::Ping(payload) => engine.send_frames(session, &frame::pong(payload)),
        Incoming::Pong => Ok(()),
        Incoming::Close => Err(End::CLOSED),
    }
}

/// Writes to a websocket that carries no session yet. So little was written before that everything fits into the kernel's
/// buffer.
fn write(stream: &Arc<TcpStream>, bytes: &[u8]) -> Result<(), End> {
    match stream.try_write(bytes) {
        Ok(written) if written == bytes.len() => Ok(()),
        _ => Err(EndReason::TransportError.into()),
    }
}

#[cfg(test)]
#[path = "websocket/tests.rs"]
mod tests;
