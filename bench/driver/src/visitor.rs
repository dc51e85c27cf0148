//! One simulated visitor: from the TCP connect to the counts it is told. It owns its socket and the bytes of an
//! incomplete frame. It never decides when to join or leave.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Instant,
};

use headcount_client::{
    Error, Packet,
    frame::{self, Message, Opcode},
    http,
    packet::{CONNECT, DISCONNECT, PONG, PROBE},
    request::{Requests, check_upgrade},
};

/// The `Host` of the requests. All servers of the benchmark are on this machine, and none of them checks it.
const AUTHORITY: &str = "127.0.0.1";

/// One connection to a server.
#[derive(Debug)]
pub struct Visitor {
    stream: TcpStream,
    stage: Stage,
    /// The session, if it began with polling.
    session: Option<String>,
    /// A ping came by polling, to be answered on the websocket.
    owes_pong: bool,
    /// The beginning of a frame whose end has not arrived.
    arrived: Vec<u8>,
    /// When its first TCP connection began.
    came_at: Instant,
    /// When it asked to join the namespace.
    asked_at: Instant,
    /// The last count it was told.
    last: Option<u64>,
}

/// The states of a visitor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The TCP connection is being opened.
    Connecting(Way),
    /// It has asked for a session by polling.
    Opening,
    /// It has posted its request to join the namespace.
    Posted,
    /// It polls for the acknowledgement of the join.
    Polling,
    /// It waits for a second TCP connection, to upgrade to a websocket.
    Moving,
    /// The request for a websocket is sent.
    Requested,
    /// The websocket is open, but the session is not yet.
    Upgraded,
    /// It has asked to join the namespace.
    Joining,
    /// It was told a count.
    Told,
}

/// How a visitor begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// With a websocket.
    Websocket,
    /// With polling, and an upgrade to a websocket after joining, as socket.io-client does by default.
    Polling,
}

/// What a visitor received in one call.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Counts.
    pub counts: u64,
    /// Pings, each of which was answered.
    pub pings: u64,
    /// The time from asking to join to the first count, if that came.
    pub joined_after: Option<std::time::Duration>,
    /// The time from the first TCP connect to that count.
    pub came_after: Option<std::time::Duration>,
    /// The connection has ended.
    pub ended: bool,
    /// It needs another connection, by [`Visitor::move_to`].
    pub moves: bool,
}

impl Visitor {
    /// A visitor on a socket whose connection is being opened.
    pub fn new(stream: TcpStream, way: Way) -> Self {
        let (stage, now) = (Stage::Connecting(way), Instant::now());
        let (session, arrived) = (None, Vec::new());
        Self {
            stream,
            stage,
            session,
            owes_pong: false,
            arrived,
            came_at: now,
            asked_at: now,
            last: None,
        }
    }

    /// Upgrades to a websocket, on a socket whose connection is being opened.
    pub fn move_to(&mut self, stream: TcpStream) {
        self.stream = stream;
        self.stage = Stage::Connecting(Way::Websocket);
    }

    /// Its state.
    pub fn stage(&self) -> Stage {
        self.stage
    }

    /// The last count it was told.
    pub fn last(&self) -> Option<u64> {
        self.last
    }

    /// Its socket.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The connection is open: sends the request that it was opened for.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn request(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        if self.stage == Stage::Connecting(Way::Polling) {
            return self.ask(&self.requests().poll(), Stage::Opening);
        }
        self.ask(&self.requests().websocket(), Stage::Requested)
    }

    fn requests(&self) -> Requests<'_> {
        Requests { authority: AUTHORITY, sid: self.session.as_deref(), cookie: None }
    }

    fn ask(&mut self, request: &[u8], stage: Stage) -> io::Result<()> {
        self.stream.write_all(request)?;
        self.stage = stage;
        Ok(())
    }

    /// Leaves the namespace and closes, as socket.io-client does.
    pub fn leave(mut self) {
        if self.say(DISCONNECT).is_ok() {
            // The answer is not needed.
            drop(self.stream.write_all(&frame::encode(Opcode::Close, &[])));
        }
    }

    /// Reads the bytes that are there and answers them.
    ///
    /// # Errors
    /// If the server sends what no Socket.IO server sends.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<Heard> {
        let mut heard = Heard::default();
        let length = match self.stream.read(buffer) {
            Ok(0) => return Ok(Heard { ended: true, ..heard }),
            Ok(length) => length,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(heard),
            Err(error) => return Err(error),
        };
        if self.arrived.is_empty() {
            let used = self.take(&buffer[..length], &mut heard)?;
            if used < length {
                self.arrived = buffer[used..length].to_vec();
            }
        } else {
            let mut arrived = std::mem::take(&mut self.arrived);
            arrived.extend_from_slice(&buffer[..length]);
            let used = self.take(&arrived, &mut heard)?;
            if used < arrived.len() {
                self.arrived = arrived.split_off(used);
            }
        }
        Ok(heard)
    }

    /// Takes whole frames and responses from the front; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8], heard: &mut Heard) -> io::Result<usize> {
        let mut used = 0;
        if matches!(self.stage, Stage::Opening | Stage::Posted | Stage::Polling) {
            let Some((response, length)) = http::decode(bytes).map_err(refused)? else {
                return Ok(0);
            };
            self.hear_response(&response, heard)?;
            return Ok(length);
        }
        if self.stage == Stage::Requested {
            let Some((response, length)) = http::decode_head(bytes).map_err(refused)? else {
                return Ok(0);
            };
            check_upgrade(&response).map_err(refused)?;
            self.stage = Stage::Upgraded;
            if self.session.is_some() {
                self.say(PROBE)?;
            }
            used = length;
        }
        while let Some((message, length)) = Message::decode(&bytes[used..]).map_err(refused)? {
            used += length;
            match message {
                Message::Packet(packet) => self.hear(&packet, heard)?,
                Message::Ping(payload) => {
                    self.stream.write_all(&frame::encode(Opcode::Pong, &payload))?;
                }
                Message::Pong => {}
                Message::Close => heard.ended = true,
            }
            if heard.ended {
                break;
            }
        }
        Ok(used)
    }

    /// Handles the response to a polling request.
    fn hear_response(&mut self, response: &http::Response, heard: &mut Heard) -> io::Result<()> {
        if response.status != 200 {
            return Err(refused(Error::Status(response.status)));
        }
        if self.stage == Stage::Posted {
            return self.ask(&self.requests().poll(), Stage::Polling);
        }
        let packets: Vec<Packet> = Packet::parse_payload(&response.body).map_err(refused)?;
        if self.stage == Stage::Opening {
            let [Packet::Open(handshake), ..] = &packets[..] else {
                let what = "a session without a handshake";
                return Err(refused(Error::unexpected(what, &response.body)));
            };
            self.session = Some(handshake.sid.clone());
            self.asked_at = Instant::now();
            return self.ask(&self.requests().post(CONNECT), Stage::Posted);
        }
        for packet in packets {
            match packet {
                Packet::Ping => {
                    self.owes_pong = true;
                    heard.pings += 1;
                }
                Packet::Count(users) => {
                    self.last = Some(users);
                    heard.counts += 1;
                }
                _ => {}
            }
        }
        heard.moves = true;
        self.stage = Stage::Moving;
        Ok(())
    }

    fn is_told(&mut self, heard: &mut Heard) {
        if self.stage != Stage::Told {
            self.stage = Stage::Told;
            heard.joined_after = Some(self.asked_at.elapsed());
            heard.came_after = Some(self.came_at.elapsed());
        }
    }

    fn hear(&mut self, packet: &Packet, heard: &mut Heard) -> io::Result<()> {
        match packet {
            Packet::Count(users) => {
                self.last = Some(*users);
                heard.counts += 1;
                self.is_told(heard);
            }
            Packet::Ping => heard.pings += 1,
            Packet::Open(_) => {
                self.stage = Stage::Joining;
                self.asked_at = Instant::now();
            }
            Packet::Close | Packet::Disconnected | Packet::Refused(_) => heard.ended = true,
            Packet::ProbeAnswer | Packet::Connected | Packet::Noop | Packet::Room { .. } => {}
        }
        if let Some(answer) = packet.answer() {
            self.say(answer)?;
        }
        if *packet == Packet::ProbeAnswer {
            self.moved(heard)?;
        }
        Ok(())
    }

    /// Continues the session on the websocket.
    fn moved(&mut self, heard: &mut Heard) -> io::Result<()> {
        if self.owes_pong {
            self.say(PONG)?;
        }
        self.stage = Stage::Joining;
        if self.last.is_some() {
            self.is_told(heard);
        }
        Ok(())
    }

    fn say(&mut self, packet: &str) -> io::Result<()> {
        self.stream.write_all(&frame::encode_packet(packet))
    }
}

fn refused(error: Error) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, error)
}

#[cfg(test)]
#[path = "visitor/tests.rs"]
mod tests;
