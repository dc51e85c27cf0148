//! A session on a websocket: one message, one packet.
//!
//! It is written by hand because a waiting client should take some hundred bytes and no buffers. So one process can run
//! many clients.

use crate::{
    Error, Packet,
    connection::Connection,
    frame::{self, Message, Opcode},
    http,
    packet::{Handshake, PROBE},
    request::{Requests, check_upgrade},
};

/// An open websocket.
#[derive(Debug)]
pub struct Websocket {
    connection: Connection,
}

impl Websocket {
    /// Opens a session, without joining the namespace.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn open(authority: &str) -> Result<(Self, Handshake), Error> {
        let mut socket = Self::connect(Requests { authority, sid: None, cookie: None }).await?;
        match socket.next().await? {
            Packet::Open(handshake) => Ok((socket, handshake)),
            other => Err(Error::out_of_turn("a session without a handshake", &other)),
        }
    }

    /// Opens a websocket to which a polling session may upgrade. Sending [`crate::packet::UPGRADE`] on it upgrades the
    /// session.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn probe(requests: Requests<'_>) -> Result<Self, Error> {
        let mut socket = Self::connect(requests).await?;
        socket.send(PROBE).await?;
        match socket.next().await? {
            Packet::ProbeAnswer => Ok(socket),
            other => Err(Error::out_of_turn("a probe without an answer", &other)),
        }
    }

    async fn connect(requests: Requests<'_>) -> Result<Self, Error> {
        let mut connection = Connection::open(requests.authority).await?;
        connection.send(&requests.websocket()).await?;
        check_upgrade(&connection.receive(http::decode_head).await?)?;
        Ok(Self { connection })
    }

    /// The next packet. Dropping the future loses none.
    ///
    /// # Errors
    /// If the connection is lost, or the server breaks the protocol.
    pub async fn next(&mut self) -> Result<Packet, Error> {
        loop {
            match self.connection.receive(Message::decode).await? {
                Message::Packet(packet) => return Ok(packet),
                Message::Ping(payload) => {
                    self.connection.send(&frame::encode(Opcode::Pong, &payload)).await?;
                }
                Message::Pong => {}
                Message::Close => return Err(Error::Closed),
            }
        }
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send(&mut self, packet: &str) -> Result<(), Error> {
        self.connection.send(&frame::encode_packet(packet)).await
    }

    /// Sends several packets in one write.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn send_all(&mut self, packets: &[String]) -> Result<(), Error> {
        let frames: Vec<u8> =
            packets.iter().flat_map(|packet| frame::encode_packet(packet)).collect();
        self.connection.send(&frames).await
    }

    /// Leaves the namespace, closes the websocket, and waits until the server has closed the connection. Then the
    /// server knows that the client left.
    ///
    /// # Errors
    /// If the connection is lost.
    pub async fn leave(&mut self) -> Result<(), Error> {
        self.connection.send(&frame::encode_leave()).await?;
        self.connection.drain().await
    }
}
