//! One simulated visitor: from the TCP connect to the counts it is told. It owns its socket and what of a
//! frame has arrived; it never decides when to join or leave.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Instant,
};

/// Payloads here are short: a length that needs 64 bits is no Socket.IO server's.
const PAYLOAD_BYTES_MAX: usize = u16::MAX as usize;
/// Any mask does, since the benchmark does not cross proxies.
const MASK: [u8; 4] = [7, 1, 3, 5];

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
    /// When it asked to join the namespace.
    asked_at: Instant,
    /// The last count it was told.
    last: Option<u64>,
}

/// How far a visitor has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The TCP connection is being made.
    Connecting(Way),
    /// It has asked for a session by polling.
    Opening,
    /// It has posted that it wants to join the namespace.
    Posted,
    /// It polls for the acknowledgement of that.
    Polling,
    /// It waits for a second TCP connection, to go on with a websocket.
    Moving,
    /// The request for a websocket is sent.
    Requested,
    /// The websocket is open, the session not yet.
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
    /// With polling, to go on with a websocket once it has joined, as socket.io-client does by default.
    Polling,
}

/// What a visitor heard in one go.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Counts.
    pub counts: u64,
    /// Pings, each of which was answered.
    pub pings: u64,
    /// The time from asking to join until the first count, if that came.
    pub joined_after: Option<std::time::Duration>,
    /// The connection has ended.
    pub ended: bool,
    /// It needs another connection, by [`Visitor::move_to`].
    pub moves: bool,
}

impl Visitor {
    /// On a socket whose connection is being made.
    pub fn new(stream: TcpStream, way: Way) -> Self {
        let (stage, asked_at) = (Stage::Connecting(way), Instant::now());
        let (session, arrived) = (None, Vec::new());
        Self { stream, stage, session, owes_pong: false, arrived, asked_at, last: None }
    }

    /// Goes on with a websocket, on a socket whose connection is being made.
    pub fn move_to(&mut self, stream: TcpStream) {
        self.stream = stream;
        self.stage = Stage::Connecting(Way::Websocket);
    }

    /// How far it has come.
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

    /// The connection is made: asks for what it was made for.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn request(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        if self.stage == Stage::Connecting(Way::Polling) {
            return self.ask("GET", "", Stage::Opening);
        }
        let session = self.session.iter().map(|session| format!("&sid={session}"));
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: aGVhZGNvdW50LWJlbmNoIQ==\r\n\r\n",
            session.collect::<String>()
        );
        self.stream.write_all(request.as_bytes())?;
        self.stage = Stage::Requested;
        Ok(())
    }

    /// A request of polling.
    fn ask(&mut self, method: &str, body: &str, stage: Stage) -> io::Result<()> {
        let session = self.session.iter().map(|session| format!("&sid={session}"));
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{} HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Content-Type: text/plain\r\nContent-Length: {}\r\n\r\n{body}",
            session.collect::<String>(),
            body.len()
        );
        self.stream.write_all(request.as_bytes())?;
        self.stage = stage;
        Ok(())
    }

    /// Leaves the namespace and closes, as socket.io-client does.
    pub fn leave(mut self) {
        if self.say("41").is_ok() {
            // The close frame of a websocket; nobody waits for the answer.
            drop(self.stream.write_all(&[0x88, 0x80, 0, 0, 0, 0]));
        }
    }

    /// Reads what is there and answers it.
    ///
    /// # Errors
    /// If the server says what no Socket.IO server does.
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

    /// Takes whole frames from the front; returns how many bytes they were.
    fn take(&mut self, bytes: &[u8], heard: &mut Heard) -> io::Result<usize> {
        let mut used = 0;
        if matches!(self.stage, Stage::Opening | Stage::Posted | Stage::Polling) {
            let Some((body, length)) = first_answer(bytes)? else { return Ok(0) };
            self.hear_answer(body, heard)?;
            return Ok(length);
        }
        if self.stage == Stage::Requested {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(protocol(&String::from_utf8_lossy(bytes)));
            }
            self.stage = Stage::Upgraded;
            if self.session.is_some() {
                self.say("2probe")?;
            }
            used = end + 4;
        }
        while let Some(frame) = first_frame(&bytes[used..])? {
            used += frame.length;
            if frame.closes {
                heard.ended = true;
                break;
            }
            self.hear(frame.payload, heard)?;
        }
        Ok(used)
    }

    /// The answer to a request of polling.
    fn hear_answer(&mut self, body: &str, heard: &mut Heard) -> io::Result<()> {
        match self.stage {
            Stage::Opening => {
                let session = body.split('"').nth(3).ok_or_else(|| protocol(body))?;
                self.session = Some(session.to_owned());
                self.asked_at = Instant::now();
                self.ask("POST", "40", Stage::Posted)
            }
            Stage::Posted => self.ask("GET", "", Stage::Polling),
            _ => {
                for packet in body.split('\x1e') {
                    if packet == "2" {
                        self.owes_pong = true;
                        heard.pings += 1;
                    } else if packet.starts_with("42") {
                        let count = count_in(packet.as_bytes());
                        self.last = Some(count.ok_or_else(|| protocol(body))?);
                        heard.counts += 1;
                    }
                }
                heard.moves = true;
                self.stage = Stage::Moving;
                Ok(())
            }
        }
    }

    fn is_told(&mut self, heard: &mut Heard) {
        if self.stage != Stage::Told {
            self.stage = Stage::Told;
            heard.joined_after = Some(self.asked_at.elapsed());
        }
    }

    fn hear(&mut self, payload: &[u8], heard: &mut Heard) -> io::Result<()> {
        match payload {
            [b'4', b'2', ..] => {
                self.last = Some(count_in(payload).ok_or_else(|| garbled(payload))?);
                heard.counts += 1;
                self.is_told(heard);
            }
            b"3probe" => {
                self.say("5")?;
                if self.owes_pong {
                    self.say("3")?;
                }
                self.stage = Stage::Joining;
                if self.last.is_some() {
                    self.is_told(heard);
                }
            }
            [b'2', ..] => {
                heard.pings += 1;
                self.say("3")?;
            }
            [b'0', ..] => {
                self.stage = Stage::Joining;
                self.asked_at = Instant::now();
                self.say("40")?;
            }
            [b'4', b'0', ..] | [] => {}
            _ => return Err(garbled(payload)),
        }
        Ok(())
    }

    fn say(&mut self, packet: &str) -> io::Result<()> {
        let length = u8::try_from(packet.len()).expect("packets to the server are short");
        let mut frame = vec![0x81, 0x80 | length];
        frame.extend(MASK);
        frame.extend(packet.bytes().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.stream.write_all(&frame)
    }
}

struct Frame<'a> {
    payload: &'a [u8],
    /// Of header and payload.
    length: usize,
    closes: bool,
}

/// The first frame if it is whole. Servers do not mask.
fn first_frame(bytes: &[u8]) -> io::Result<Option<Frame<'_>>> {
    let &[first, second, ..] = bytes else { return Ok(None) };
    let (header, length) = match second {
        0..126 => (2, usize::from(second)),
        126 => match bytes.get(2..4) {
            Some(length) => (4, usize::from(u16::from_be_bytes([length[0], length[1]]))),
            None => return Ok(None),
        },
        _ => return Err(protocol(&format!("a frame above {PAYLOAD_BYTES_MAX} bytes, or masked"))),
    };
    let payload = bytes.get(header..header + length);
    Ok(payload.map(|payload| {
        let opcode = first & 0xf;
        // Websocket pings carry nothing that matters here, and no server of the benchmark sends them.
        let payload = if opcode == 1 { payload } else { &[] };
        Frame { payload, length: header + length, closes: opcode == 8 }
    }))
}

/// The body of the first answer to a request if it is whole, and the length of all of it.
fn first_answer(bytes: &[u8]) -> io::Result<Option<(&str, usize)>> {
    let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| garbled(bytes))?;
    let mut lines = head.lines();
    let well = lines.next().is_some_and(|status| status.starts_with("HTTP/1.1 200"));
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    let length: usize = length.filter(|_| well).ok_or_else(|| garbled(bytes))?;
    let Some(body) = bytes.get(end + 4..end + 4 + length) else { return Ok(None) };
    let body = std::str::from_utf8(body).map_err(|_| garbled(bytes))?;
    Ok(Some((body, end + 4 + length)))
}

/// The number at the end of `42["user count",5]`.
fn count_in(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_suffix(b"]")?;
    let start = digits.iter().rposition(|byte| *byte == b',')? + 1;
    std::str::from_utf8(&digits[start..]).ok()?.trim().parse().ok()
}

fn garbled(payload: &[u8]) -> io::Error {
    protocol(&String::from_utf8_lossy(payload))
}

fn protocol(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the server said: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: frames are taken whole or not at all. Method: a count cut at every length, then two in a row.
    #[test]
    fn frames_are_taken_whole() {
        let mut bytes = b"\x81\x1242[\"user count\",5]".to_vec();
        for cut in 0..bytes.len() {
            assert!(first_frame(&bytes[..cut]).unwrap().is_none());
        }
        bytes.extend_from_slice(b"\x88\x00");
        let frame = first_frame(&bytes).unwrap().unwrap();
        assert_eq!(count_in(frame.payload), Some(5));
        assert!(first_frame(&bytes[frame.length..]).unwrap().unwrap().closes);
    }

    /// Goal: answers are taken whole or not at all, and only good ones. Method: one cut at every length, and a refusal.
    #[test]
    fn answers_are_taken_whole() {
        let bytes = b"HTTP/1.1 200 OK\r\nA: b\r\ncontent-length: 2\r\n\r\nokHTTP";
        for cut in 0..bytes.len() - 4 {
            assert_eq!(first_answer(&bytes[..cut]).unwrap(), None);
        }
        assert_eq!(first_answer(bytes).unwrap(), Some(("ok", bytes.len() - 4)));
        first_answer(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").unwrap_err();
    }

    /// Goal: only counts are taken for counts. Method: a right one and some that are not.
    #[test]
    fn counts_are_numbers() {
        assert_eq!(count_in(b"42[\"user count\",10001]"), Some(10001));
        for wrong in ["42[\"user count\"]", "42[\"user count\",-1]", "42[\"user count\",5"] {
            assert_eq!(count_in(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
