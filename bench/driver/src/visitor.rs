//! One simulated visitor: from the TCP connect to the counts it is told. It owns its socket and what of a
//! frame has arrived; it never decides when to join or leave.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::TcpStream,
    time::Instant,
};

/// Payloads here are short: a length that needs 64 bits is no Socket.IO server's.
const PAYLOAD_BYTES_MAX: usize = u16::MAX as usize;
const REQUEST: &[u8] = b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n\
Host: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Key: aGVhZGNvdW50LWJlbmNoIQ==\r\n\r\n";
/// Any mask does, since the benchmark does not cross proxies.
const MASK: [u8; 4] = [7, 1, 3, 5];

/// One connection to a server.
#[derive(Debug)]
pub struct Visitor {
    stream: TcpStream,
    stage: Stage,
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
    Connecting,
    /// The request is sent.
    Requested,
    /// The websocket is open, the session not yet.
    Upgraded,
    /// It has asked to join the namespace.
    Joining,
    /// It was told a count.
    Told,
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
}

impl Visitor {
    /// On a socket whose connection is being made.
    pub fn new(stream: TcpStream) -> Self {
        let asked_at = Instant::now();
        Self { stream, stage: Stage::Connecting, arrived: Vec::new(), asked_at, last: None }
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

    /// The connection is made: asks for a websocket.
    ///
    /// # Errors
    /// If the connection failed.
    pub fn request(&mut self) -> io::Result<()> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error);
        }
        self.stream.write_all(REQUEST)?;
        self.stage = Stage::Requested;
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
        if self.stage == Stage::Requested {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(protocol(&String::from_utf8_lossy(bytes)));
            }
            self.stage = Stage::Upgraded;
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

    fn hear(&mut self, payload: &[u8], heard: &mut Heard) -> io::Result<()> {
        match payload {
            [b'4', b'2', ..] => {
                self.last = Some(count_in(payload).ok_or_else(|| garbled(payload))?);
                heard.counts += 1;
                if self.stage != Stage::Told {
                    self.stage = Stage::Told;
                    heard.joined_after = Some(self.asked_at.elapsed());
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

    /// Goal: only counts are taken for counts. Method: a right one and some that are not.
    #[test]
    fn counts_are_numbers() {
        assert_eq!(count_in(b"42[\"user count\",10001]"), Some(10001));
        for wrong in ["42[\"user count\"]", "42[\"user count\",-1]", "42[\"user count\",5"] {
            assert_eq!(count_in(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
