//! A session on HTTP long-polling: one request waits for packets, others send them.
//!
//! A client has one connection: it answers a ping between two polls. It opens a second one only to send during a poll.

use std::collections::VecDeque;

use crate::{
    Error, Packet,
    connection::Connection,
    http::{self, Response},
    packet::{CLOSE, DISCONNECT, Handshake, SEPARATOR},
    request::Requests,
};

/// An open session.
#[derive(Debug)]
pub struct Polling {
    authority: String,
    /// The session's id, once there is one.
    sid: Option<String>,
    /// The cookie by which balancers find the session's server.
    cookie: Option<String>,
    /// The connection for the next request. `None` if it is in use, or if the server wants a new connection for every
    /// request.
    idle: Option<Connection>,
    /// The poll that is under way.
    poll: Option<Poll>,
    /// Packets that are received, but not yet returned.
    packets: VecDeque<Packet>,
}

/// A request that waits for packets.
#[derive(Debug)]
struct Poll {
    connection: Connection,
    /// The part of the request that is not sent yet.
    unsent: Vec<u8>,
}

impl Polling {
    /// Opens a session, without joining the namespace.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn open(authority: &str) -> Result<(Self, Handshake), Error> {
        let mut polling = Self {
            authority: authority.to_owned(),
            sid: None,
            cookie: None,
            idle: None,
            poll: None,
            packets: VecDeque::new(),
        };
        match polling.next().await? {
            Packet::Open(handshake) => {
                polling.sid = Some(handshake.sid.clone());
                Ok((polling, handshake))
            }
            other => Err(Error::out_of_turn("a session without a handshake", &other)),
        }
    }

    /// The requests of this session.
    pub fn requests(&self) -> Requests<'_> {
        Requests {
            authority: &self.authority,
            sid: self.sid.as_deref(),
            cookie: self.cookie.as_deref(),
        }
    }

    /// The next packet. Dropping the future loses none, and leaves the poll under way.
    ///
    /// # Errors
    /// If the connection is lost, or the server breaks the protocol.
    pub async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(packet);
            }
            self.poll().await?;
        }
    }

    /// The next packet that has arrived or that the poll under way brings. `None` if there are none and no poll is
    /// under way. Dropping the future loses none.
    ///
    /// # Errors
    /// If the connection is lost, or the server breaks the protocol.
    pub async fn finish(&mut self) -> Result<Option<Packet>, Error> {
        if self.packets.is_empty() && self.poll.is_some() {
            self.poll().await?;
        }
        Ok(self.packets.pop_front())
    }

    /// Sends a packet, or several with [`SEPARATOR`] between.
    ///
    /// # Errors
    /// If the connection is lost, or the server refuses.
    pub async fn send(&mut self, packets: &str) -> Result<(), Error> {
        let mut connection = self.connect().await?;
        connection.send(&self.requests().post(packets)).await?;
        let response = connection.receive(http::decode).await?;
        self.take_in(&response, connection);
        check(&response)
    }

    /// Sends several packets in one payload.
    ///
    /// # Errors
    /// If the connection is lost, or the server refuses.
    pub async fn send_all(&mut self, packets: &[String]) -> Result<(), Error> {
        self.send(&packets.join(char::from(SEPARATOR).encode_utf8(&mut [0; 1]))).await
    }

    /// Leaves the namespace and ends the session, in one payload as browsers do. The answer of a poll under way is not
    /// awaited.
    ///
    /// # Errors
    /// If the connection is lost, or the server refuses.
    pub async fn leave(&mut self) -> Result<(), Error> {
        self.poll = None;
        self.send(&format!("{DISCONNECT}{}{CLOSE}", char::from(SEPARATOR))).await
    }

    /// Receives the packets of the poll under way, or of a new one.
    async fn poll(&mut self) -> Result<(), Error> {
        if self.poll.is_none() {
            let connection = self.connect().await?;
            self.poll = Some(Poll { connection, unsent: self.requests().poll() });
        }
        let Some(Poll { connection, unsent }) = &mut self.poll else {
            return Ok(());
        };
        connection.send_rest(unsent).await?;
        let response = connection.receive(http::decode).await?;
        if let Some(Poll { connection, .. }) = self.poll.take() {
            self.take_in(&response, connection);
        }
        check(&response)?;
        self.packets = Packet::parse_payload(&response.body)?;
        Ok(())
    }

    /// The connection for the next request.
    async fn connect(&mut self) -> Result<Connection, Error> {
        match self.idle.take() {
            Some(connection) => Ok(connection),
            None => Connection::open(&self.authority).await,
        }
    }

    /// Stores what a response says about later requests, and the connection on which it came.
    fn take_in(&mut self, response: &Response, connection: Connection) {
        if let Some(cookie) = &response.cookie {
            self.cookie = Some(cookie.clone());
        }
        self.idle = (!response.is_last).then_some(connection);
    }
}

fn check(response: &Response) -> Result<(), Error> {
    match response.status {
        200 => Ok(()),
        status => Err(Error::Status(status)),
    }
}
