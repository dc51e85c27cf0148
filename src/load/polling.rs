//! A session on HTTP long-polling: one request waits for packets, others bring them.
//!
//! A visitor has one connection: it answers a ping between two polls. Only to leave in the middle of a poll it
//! takes another.

use std::collections::VecDeque;

use super::{
    fault::Fault,
    http::{self, Answer, Request},
    packet::{CLOSE, LEAVE, Opening, Packet, SEPARATOR},
    wire::Wire,
};
use crate::config::load::Target;

const PATH: &str = "/socket.io/?EIO=4&transport=polling";

/// An open session.
#[derive(Debug)]
pub(super) struct Polling {
    target: Target,
    /// `None` if the server wants each request on a connection of its own.
    wire: Option<Wire>,
    /// With the session id, once there is one.
    path: String,
    /// A header that says which server the session is on, for balancers; else empty.
    cookie: String,
    packets: VecDeque<Packet>,
}

impl Polling {
    /// Connects and shakes hands.
    pub(super) async fn open(target: &Target) -> Result<(Self, Opening), Fault> {
        let wire = Some(Wire::open(target).await?);
        let (path, cookie) = (PATH.to_owned(), String::new());
        let mut polling =
            Self { target: target.clone(), wire, path, cookie, packets: VecDeque::new() };
        match polling.next().await? {
            Packet::Open(opening) => {
                polling.path = format!("{PATH}&sid={}", opening.sid);
                Ok((polling, opening))
            }
            _ => Err(Fault::Strange("a session without a handshake")),
        }
    }

    /// The next packet.
    pub(super) async fn next(&mut self) -> Result<Packet, Fault> {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                return Ok(packet);
            }
            let request = self.request().get();
            let answer = self.ask(&request).await?;
            let packets = answer.body.split(|&byte| byte == SEPARATOR as u8).map(Packet::parse);
            self.packets = packets.collect::<Result<_, _>>()?;
        }
    }

    /// Sends a packet.
    pub(super) async fn send(&mut self, packet: &str) -> Result<(), Fault> {
        let request = self.request().post(packet);
        self.ask(&request).await.map(drop)
    }

    /// Leaves the namespace and ends the session, in one payload as browsers do.
    pub(super) async fn leave(&mut self) -> Result<(), Fault> {
        // If a poll is under way it will not be heard out, and nothing else can be asked on its connection.
        self.wire = None;
        self.send(&format!("{LEAVE}{SEPARATOR}{CLOSE}")).await
    }

    fn request(&self) -> Request<'_> {
        Request { target: &self.target, path: &self.path, extra: &self.cookie }
    }

    async fn ask(&mut self, request: &[u8]) -> Result<Answer, Fault> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None => Wire::open(&self.target).await?,
        };
        wire.send(request).await?;
        let answer = wire.take(http::answer).await?;
        if let Some(cookie) = &answer.cookie {
            self.cookie = format!("Cookie: {cookie}\r\n");
        }
        self.wire = (!answer.is_last).then_some(wire);
        match answer.status {
            200 => Ok(answer),
            status => Err(Fault::Status(status)),
        }
    }
}
