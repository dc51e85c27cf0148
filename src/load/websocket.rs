//! A session on a websocket: one message, one packet.
//!
//! It is written by hand because a visitor that waits should hold some hundred bytes, not buffers: that is what
//! lets one process carry many.

mod frame;

use frame::Kind;

use super::{
    fault::Fault,
    http::{self, Request},
    packet::{LEAVE, Opening, Packet},
    wire::Wire,
};
use crate::config::load::Target;

const PATH: &str = "/socket.io/?EIO=4&transport=websocket";
/// Proves that the server speaks the protocol; the pair is the example of RFC 6455. Visitors have no reason to
/// differ in it.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Good-bye, in order; 1000 is a normal closure.
const NORMAL_CLOSURE: [u8; 2] = 1000_u16.to_be_bytes();

/// An open session.
#[derive(Debug)]
pub(super) struct Websocket {
    wire: Wire,
}

/// What one frame says.
enum Heard {
    Packet(Packet),
    Ping(Vec<u8>),
    Pong,
    Close,
}

impl Websocket {
    /// Connects and shakes hands, for HTTP, the websocket and Engine.IO.
    pub(super) async fn open(target: &Target) -> Result<(Self, Opening), Fault> {
        let mut wire = Wire::open(target).await?;
        let extra = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        );
        let request = Request { target, path: PATH, extra: &extra };
        wire.send(&request.get()).await?;
        let answer = wire.take(http::head).await?;
        match answer.status {
            101 if answer.accept.as_deref() == Some(ACCEPT) => {}
            101 => return Err(Fault::Strange("an upgrade to something else")),
            status => return Err(Fault::Status(status)),
        }
        let mut socket = Self { wire };
        match socket.next().await? {
            Packet::Open(opening) => Ok((socket, opening)),
            _ => Err(Fault::Strange("a session without a handshake")),
        }
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Packet, Fault> {
        loop {
            match self.wire.take(|bytes| frame::find(bytes, Heard::read)).await? {
                Heard::Packet(packet) => return Ok(packet),
                Heard::Ping(payload) => {
                    self.wire.send(&frame::encode(Kind::Pong, &payload)).await?;
                }
                Heard::Pong => {}
                Heard::Close => return Err(Fault::Closed),
            }
        }
    }

    /// Sends a packet.
    pub(super) async fn send(&mut self, packet: &str) -> Result<(), Fault> {
        self.wire.send(&frame::encode(Kind::Text, packet.as_bytes())).await
    }

    /// Leaves the namespace, closes the websocket and waits until the server has closed the connection.
    pub(super) async fn leave(&mut self) -> Result<(), Fault> {
        let leave = frame::encode(Kind::Text, LEAVE.as_bytes());
        let close = frame::encode(Kind::Close, &NORMAL_CLOSURE);
        self.wire.send(&[leave, close].concat()).await?;
        self.wire.drain().await
    }
}

impl Heard {
    fn read(kind: Kind, payload: &[u8]) -> Result<Self, Fault> {
        Ok(match kind {
            Kind::Text => Self::Packet(Packet::parse(payload)?),
            Kind::Ping => Self::Ping(payload.to_vec()),
            Kind::Pong => Self::Pong,
            Kind::Close => Self::Close,
        })
    }
}
