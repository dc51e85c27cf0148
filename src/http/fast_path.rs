//! Requests to Socket.IO's endpoint that need no HTTP server: plain ones, that come in one piece, as nearly all do.
//!
//! What it saves is most of a handshake's cost, and the HTTP server's buffers on every connection with an open poll. It
//! takes what it can and gives the connection to the HTTP server, with all that was read, at the first request that it
//! cannot: refused ones are told the same by either.

use std::{io, sync::Arc, time::Duration};

use http::Method;
use tokio::{
    io::AsyncWriteExt,
    time::{Instant, timeout, timeout_at},
};

use super::{answer::Answer, endpoint::POST_TIMEOUT, serve::Timeouts};
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

/// Bytes that a client may send behind a request before it is answered; a client that sends more is cut off.
const PIPELINED_BYTES_MAX: usize = 16 * 1024;
/// A post with a longer body is left to the HTTP server; most are a few bytes long.
const BODY_BYTES_MAX: usize = 16 * 1024;
/// How long a connection that is to be closed is read from after its last answer, and at most so many bytes.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: usize = 256 * 1024;

/// What a connection is after the fast path is done with it.
#[derive(Debug)]
pub enum Outcome {
    /// It has ended.
    Ended,
    /// The HTTP server goes on.
    Http,
    /// It is a websocket; the answer to the handshake is still to be sent.
    Websocket(Opening, Vec<u8>),
}

/// A connection on the fast path.
#[derive(Debug)]
pub struct FastPath<'a> {
    engine: &'a Arc<Engine>,
    connection: &'a mut Connection,
    /// What has been read and not used.
    received: Vec<u8>,
    /// The session whose last poll this connection carried.
    polled: Option<Arc<Session>>,
}

/// What becomes of one request.
enum Step {
    /// It has been answered, and the next one may come.
    Answered,
    /// See [`Outcome`].
    Over(Outcome),
}

/// A request whose head was read.
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
    /// For a new connection.
    pub fn new(engine: &'a Arc<Engine>, connection: &'a mut Connection) -> Self {
        Self { engine, connection, received: Vec::new(), polled: None }
    }

    /// Serves requests as long as they are plain ones to the endpoint.
    ///
    /// # Errors
    /// If the connection breaks, or its client is too slow.
    pub async fn run(&mut self, timeouts: &Timeouts) -> io::Result<Outcome> {
        let mut patience = timeouts.head;
        loop {
            if self.received.is_empty() {
                let read = self.connection.receive(&mut self.received);
                if timeout(patience, read).await?? == 0 {
                    return Ok(Outcome::Ended);
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

    /// Serves the request that begins what was received, if it is one for the fast path.
    async fn step(&mut self) -> io::Result<Step> {
        let Some(Received { request, framing, origin }) = self.admit() else {
            return Ok(Step::Over(Outcome::Http));
        };
        let answer = match request {
            Err(refusal) => Answer::refusal(refusal),
            Ok(Request::Websocket(opening, answer)) => {
                return Ok(Step::Over(Outcome::Websocket(opening, answer)));
            }
            Ok(Request::Opening(packet)) => Answer::payload(packet),
            Ok(Request::Post(post)) => self.read(post, framing).await?,
            Ok(Request::Poll(poll)) => {
                let session = Arc::clone(poll.session());
                let Some(payload) = self.wait(poll).await? else {
                    return Ok(Step::Over(Outcome::Ended));
                };
                let answer = payload.map_or_else(Answer::refusal, Answer::payload);
                let sent = self.send(answer, framing, origin.as_deref()).await;
                if sent.is_err() {
                    self.engine.end(&session, EndReason::TransportError);
                }
                self.polled = Some(session).filter(|_| !framing.close);
                return sent;
            }
        };
        self.send(answer, framing, origin.as_deref()).await
    }

    /// Reads the head that begins what was received, and takes it out. `None` if it is not for the fast path.
    fn admit(&mut self) -> Option<Received> {
        let mut headers = PlainHeaders::default();
        let (head, framing, rest) = Head::parse_plain(&self.received, &mut headers)?;
        // Nothing but posts has a body here.
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
        // Nothing is held while a poll waits.
        self.received = self.received.split_off(used);
        Some(received)
    }

    /// Reads the body of a post as it comes.
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
                // The post is dropped, and its session ends.
                Ok(Ok(0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => drop(read?),
            }
        }
    }

    /// Waits for the answer to a poll; `None` if the client goes away before.
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
        // The client may not have an error before it has closed.
        let _ = timeout(LINGER, self.linger()).await;
        Ok(Step::Over(Outcome::Ended))
    }

    /// Reads what the client still sends until it closes too: the kernel answers what nobody reads by a reset, which would
    /// take the answer from a client that has not read it.
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
