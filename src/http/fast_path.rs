//! Serves plain requests to Socket.IO's endpoint without the HTTP server. Nearly all requests are plain: the head arrives in
//! one piece and has nothing unusual in it.
//!
//! This saves most of a handshake's CPU time, and the HTTP server's buffers for every open poll. At the first request that is
//! not plain, the connection and everything that was read from it goes to the HTTP server. Both answer alike.

use std::{io, sync::Arc, time::Duration};

use http::Method;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use super::{
    answer::Answer,
    timeouts::{POST_TIMEOUT, Timeouts},
};
use crate::{
    engine::{
        lifecycle::Engine,
        polling::{Poll, Post},
        reason::{EndReason, Refusal},
        request::{Admitted, is_endpoint},
        session::Session,
        upgrade::Opening,
    },
    net::connection::Connection,
    protocol::head::{Framing, Head, PlainHeaders},
};

/// The most bytes that a client may send after a request before it is answered. A client that sends more is disconnected.
const PIPELINED_BYTES_MAX: usize = 16 * 1024;
/// The longest body of a post that is served here. Most have a few bytes; longer ones are left to the HTTP server.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long, and for how many bytes, a connection is read after its last answer: see [`FastPath::linger`].
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What a connection is when the fast path leaves it.
#[derive(Debug)]
pub enum Handoff {
    /// The connection has ended.
    Ended,
    /// The HTTP server serves the next request.
    Http,
    /// The connection becomes a websocket. The answer to its handshake has not been sent yet.
    Websocket(Opening, Vec<u8>),
}

/// A connection on the fast path.
#[derive(Debug)]
pub struct FastPath<'a> {
    engine: &'a Arc<Engine>,
    connection: &'a mut Connection,
    /// Bytes that were read and not used yet.
    received: Vec<u8>,
    /// The session whose last poll this connection carried.
    polled: Option<Arc<Session>>,
}

/// The result of one request.
enum Step {
    /// The request was answered, and another one may follow.
    Answered,
    /// The fast path leaves the connection.
    Over(Handoff),
}

/// A request whose head has been read.
struct Received {
    request: Result<Request, Refusal>,
    framing: Framing,
    /// The page that may read the answer.
    origin: Option<String>,
}

/// An admitted request, with nothing borrowed from its head.
enum Request {
    Opening(String),
    Websocket(Opening, Vec<u8>),
    Poll(Poll),
    Post(Post),
}

impl<'a> FastPath<'a> {
    /// Begins with a new connection.
    pub fn new(engine: &'a Arc<Engine>, connection: &'a mut Connection) -> Self {
        Self { engine, connection, received: Vec::new(), polled: None }
    }

    /// Serves requests as long as they are plain requests to the endpoint.
    ///
    /// # Errors
    /// If the connection breaks, or its client is too slow.
    pub async fn run(&mut self, timeouts: &Timeouts) -> io::Result<Handoff> {
        let mut patience = timeouts.head;
        loop {
            if self.received.is_empty() {
                let read = self.connection.receive(&mut self.received);
                if timeout(patience, read).await?? == 0 {
                    return Ok(Handoff::Ended);
                }
            }
            if let Step::Over(outcome) = self.step().await? {
                self.connection.unread(&self.received);
                return Ok(outcome);
            }
            patience = timeouts.keep_alive;
        }
    }

    /// The session whose last poll this connection carried.
    pub fn polled(self) -> Option<Arc<Session>> {
        self.polled
    }

    /// Serves the first request of the received bytes, if it is for the fast path.
    async fn step(&mut self) -> io::Result<Step> {
        let Some(Received { request, framing, origin }) = self.admit() else {
            return Ok(Step::Over(Handoff::Http));
        };
        let answer = match request {
            Err(refusal) => Answer::refusal(refusal),
            Ok(Request::Websocket(opening, answer)) => {
                return Ok(Step::Over(Handoff::Websocket(opening, answer)));
            }
            Ok(Request::Opening(packet)) => Answer::payload(packet),
            Ok(Request::Post(post)) => self.read(post, framing).await?,
            Ok(Request::Poll(poll)) => {
                if self.polled.is_none() {
                    self.connection.prefer_new_data();
                }
                let session = Arc::clone(poll.session());
                let Some(payload) = self.wait(poll).await? else {
                    return Ok(Step::Over(Handoff::Ended));
                };
                let answer = payload.map_or_else(Answer::refusal, Answer::payload);
                let sent = self.send(answer, framing, origin.as_deref()).await;
                if sent.is_err() {
                    self.engine.end_polled(&session, EndReason::TransportError);
                }
                self.polled = Some(session).filter(|_| !framing.close);
                return sent;
            }
        };
        self.send(answer, framing, origin.as_deref()).await
    }

    /// Takes the first head out of the received bytes. `None` if the request is not for the fast path.
    fn admit(&mut self) -> Option<Received> {
        let mut headers = PlainHeaders::default();
        let (head, framing, rest) = Head::parse_plain(&self.received, &mut headers)?;
        // On the fast path only posts have a body.
        let body_bytes_max = match head.method {
            Method::GET => 0,
            Method::POST => BODY_BYTES_MAX,
            _ => return None,
        };
        if !is_endpoint(head.path) || framing.content_length > body_bytes_max {
            return None;
        }
        let request = admit(self.engine, &head);
        let origin = head.origin.filter(|_| !matches!(request, Err(Refusal::Origin)));
        let received = Received { request, framing, origin: origin.map(str::to_owned) };
        let used = self.received.len() - rest.len();
        // No buffer is held while a poll waits.
        self.received = self.received.split_off(used);
        Some(received)
    }

    /// Reads the body of a post piece by piece.
    async fn read(&mut self, mut post: Post, framing: Framing) -> io::Result<Answer> {
        let deadline = Instant::now() + POST_TIMEOUT;
        let mut missing = framing.content_length;
        loop {
            let piece = missing.min(self.received.len());
            if let Err(refusal) = post.read(&self.received[..piece]) {
                return Ok(Answer::refusal(refusal));
            }
            self.received.drain(..piece);
            missing -= piece;
            if missing == 0 {
                return Ok(post.finish().map_or_else(Answer::refusal, |()| Answer::posted()));
            }
            match timeout_at(deadline, self.connection.receive(&mut self.received)).await {
                Err(_) => return Ok(Answer::refusal(post.time_out())),
                // Dropping the post ends its session.
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => drop(read?),
            }
        }
    }

    /// Waits for the answer to a poll. `None` if the client closes the connection before.
    async fn wait(&mut self, mut poll: Poll) -> io::Result<Option<Result<Vec<u8>, Refusal>>> {
        loop {
            tokio::select! {
                biased;
                payload = &mut poll => return Ok(Some(payload)),
                read = self.connection.receive(&mut self.received) => {
                    if read? == 0 || self.received.len() > PIPELINED_BYTES_MAX {
                        return Ok(None);
                    }
                }
            }
        }
    }

    async fn send(
        &mut self,
        answer: Answer,
        framing: Framing,
        origin: Option<&str>,
    ) -> io::Result<Step> {
        let answer = if framing.close { answer.and_close() } else { answer };
        let answer = match origin {
            Some(origin) => answer.readable_by(origin),
            None => answer,
        };
        let keeps_connection = answer.keeps_connection();
        self.connection.write_all(&answer.into_bytes()).await?;
        if keeps_connection {
            return Ok(Step::Answered);
        }
        // An error means that the client is gone.
        let _ = timeout(LINGER, self.linger()).await;
        Ok(Step::Over(Handoff::Ended))
    }

    /// Reads and drops what the client still sends, until it closes the connection. If bytes stayed unread, the kernel would
    /// send a reset, and the client could lose the answer.
    async fn linger(&mut self) -> io::Result<()> {
        self.connection.shutdown().await?;
        let mut bytes = 0;
        while bytes < LINGER_BYTES_MAX {
            self.received.clear();
            match self.connection.receive(&mut self.received).await? {
                0 => return Ok(()),
                read => bytes += read,
            }
        }
        Ok(())
    }
}

fn admit(engine: &Arc<Engine>, head: &Head<'_>) -> Result<Request, Refusal> {
    let begin = |opening, handshake: &_| {
        Request::Websocket(opening, Answer::websocket(handshake).into_bytes())
    };
    Ok(match engine.admit(head)? {
        Admitted::Opening(permit) => Request::Opening(engine.open_polling(permit)),
        Admitted::Websocket(permit, handshake) => begin(Opening::New(permit), &handshake),
        Admitted::Upgrade(session, handshake) => begin(engine.begin_upgrade(session)?, &handshake),
        Admitted::Poll(session) => Request::Poll(engine.poll(session)?),
        Admitted::Post(session) => Request::Post(engine.post(session)?),
    })
}
