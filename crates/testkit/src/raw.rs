//! The connection of an attacker: it sends bytes, receives bytes, and reports its end. It follows no protocol, so a
//! test can send what no client would.

pub mod answer;
pub mod frames;

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use socket2::SockRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::waiting::PATIENCE;

use answer::{Answer, header};
use frames::{CLOSE, FINAL, TEXT, text};

/// The path and query of the request that opens a session by polling.
pub const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// A TCP connection that sends what the test says.
#[derive(Debug)]
pub struct Raw {
    stream: TcpStream,
    /// Bytes that were received after the last head, body or frame that was read.
    rest: Vec<u8>,
}

impl Raw {
    /// Connects and sends nothing.
    pub async fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).await.expect("the server accepts");
        stream.set_nodelay(true).expect("the connection lives");
        Self { stream, rest: Vec::new() }
    }

    /// Uses this connection, on which nothing was received.
    pub fn over(stream: TcpStream) -> Self {
        Self { stream, rest: Vec::new() }
    }

    /// Connects and sends these bytes.
    pub async fn saying(server: SocketAddr, bytes: impl AsRef<[u8]>) -> Self {
        let mut raw = Self::open(server).await;
        raw.send(bytes.as_ref()).await.expect("a new connection takes a few bytes");
        raw
    }

    /// Opens a websocket, for a new session or for the one with this id. It has read only the answer to its request.
    pub async fn websocket(server: SocketAddr, session: Option<&str>) -> Self {
        let mut raw = Self::saying(server, upgrade(server, session)).await;
        let answer = raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 101, "{answer:?}");
        raw
    }

    /// Opens a websocket and joins the namespace. It has read only the answer to its request.
    pub async fn joined(server: SocketAddr) -> Self {
        let mut raw = Self::websocket(server, None).await;
        raw.send(&text("40")).await.expect("a new websocket takes a frame");
        raw
    }

    /// Opens a websocket in this way, and joins the namespace.
    pub async fn alive_by(way: Way, server: SocketAddr) -> Self {
        match way {
            Way::Directly => Self::alive(server).await,
            Way::Upgraded => Self::upgraded(server).await,
        }
    }

    /// Opens a session by polling, joins the namespace and upgrades to a websocket.
    async fn upgraded(server: SocketAddr) -> Self {
        Self::upgraded_from(server, &polling_counted(server).await).await
    }

    /// Upgrades the polling session with this path to a websocket.
    pub async fn upgraded_from(server: SocketAddr, path: &str) -> Self {
        let session = path.rsplit('=').next().expect("the path ends with it");
        let mut raw = Self::websocket(server, Some(session)).await;
        assert!(raw.is_answered_after(&text("2probe"), "3probe").await, "an upgrade is answered");
        raw.send(&text("5")).await.expect("a new websocket takes a frame");
        raw
    }

    /// Opens a websocket, and waits until it has joined the namespace.
    pub async fn alive(server: SocketAddr) -> Self {
        const WELCOME: &[u8] = b"40{\"sid\"";
        let mut raw = Self::joined(server).await;
        while !raw.rest.windows(WELCOME.len()).any(|bytes| bytes == WELCOME) {
            raw.read_more().await.expect("a welcome comes");
        }
        raw
    }

    /// Sends these bytes, and waits for an answer that contains the `wanted` text. False if the connection ends before.
    pub async fn is_answered_after(&mut self, bytes: &[u8], wanted: &str) -> bool {
        let wanted = wanted.as_bytes();
        let asking = async {
            self.stream.write_all(bytes).await.map_err(|error| error.to_string())?;
            while !self.rest.windows(wanted.len()).any(|received| received == wanted) {
                self.read_more().await?;
            }
            Ok::<(), String>(())
        };
        matches!(timeout(PATIENCE, asking).await, Ok(Ok(())))
    }

    /// Sends these bytes.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let sent = timeout(PATIENCE, self.stream.write_all(bytes)).await;
        sent.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    /// Sends these bytes repeatedly until the server ends the connection. Its answers are discarded.
    pub async fn flood(self, bytes: &[u8]) {
        let (mut reader, mut writer) = self.stream.into_split();
        let writing = async { while writer.write_all(bytes).await.is_ok() {} };
        let mut chunk = [0; 4096];
        let reading = async { while matches!(reader.read(&mut chunk).await, Ok(1..)) {} };
        // A read may notice the end long before a write does. If the connection ends while the send buffer is full, the
        // kernel may take a minute to notice that nothing reads it.
        let flood = async {
            tokio::select! {
                () = writing => {}
                () = reading => {}
            }
        };
        timeout(PATIENCE, flood).await.expect("the server ends a flood");
    }

    /// Closes the sending half of the connection, and continues to read.
    pub async fn half_close(&mut self) {
        // An error means that the server has closed the connection already, which is fine.
        let _ = self.stream.shutdown().await;
    }

    /// Makes the receive buffer small, so that it holds few unread bytes.
    pub fn shrink_window(&self) {
        let shrunk = SockRef::from(&self.stream).set_recv_buffer_size(1024);
        shrunk.expect("the size of a buffer may be set");
    }

    /// Reads the next HTTP answer.
    pub async fn answer(&mut self) -> Result<Answer, String> {
        let reading = timeout(PATIENCE, self.read_answer()).await;
        reading.map_err(|_| String::from("no answer"))?
    }

    /// Reads the head of the next HTTP answer and returns its status. This also works for an event stream, whose body
    /// does not end.
    pub async fn head(&mut self) -> Result<u16, String> {
        let reading = timeout(PATIENCE, self.read_head()).await;
        reading.map_err(|_| String::from("no answer"))?.map(|(status, _)| status)
    }

    async fn read_head(&mut self) -> Result<(u16, String), String> {
        let end = loop {
            if let Some(start) = self.rest.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break start + 4;
            }
            self.read_more().await?;
        };
        let head: Vec<u8> = self.rest.drain(..end).collect();
        let head = String::from_utf8_lossy(&head).to_lowercase();
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.ok_or_else(|| format!("no status in {head:?}"))?, head))
    }

    async fn read_answer(&mut self) -> Result<Answer, String> {
        let (status, head) = self.read_head().await?;
        if header(&head, "transfer-encoding") == Some("chunked") {
            let body = self.read_chunks().await?;
            return Ok(Answer { status, head, body });
        }
        let length = header(&head, "content-length").and_then(|text| text.parse().ok());
        let is_to_the_end = header(&head, "connection") == Some("close") && status != 204;
        if length.is_none() && is_to_the_end {
            while self.read_more().await.is_ok() {}
        }
        let length: usize = length.unwrap_or(if is_to_the_end { self.rest.len() } else { 0 });
        while self.rest.len() < length {
            self.read_more().await?;
        }
        let body: Vec<u8> = self.rest.drain(..length).collect();
        Ok(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }

    async fn read_chunks(&mut self) -> Result<String, String> {
        let mut body = String::new();
        loop {
            let line = self.read_line().await?;
            let length =
                usize::from_str_radix(&line, 16).map_err(|error| format!("{error}: {line}"))?;
            while self.rest.len() < length + 2 {
                self.read_more().await?;
            }
            let chunk: Vec<u8> = self.rest.drain(..length + 2).take(length).collect();
            body += &String::from_utf8_lossy(&chunk);
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn read_line(&mut self) -> Result<String, String> {
        loop {
            if let Some(end) = self.rest.windows(2).position(|bytes| bytes == b"\r\n") {
                let line: Vec<u8> = self.rest.drain(..end + 2).take(end).collect();
                return Ok(String::from_utf8_lossy(&line).into_owned());
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.rest).await {
            Ok(0) => Err(format!("the connection ended after {:?}", self.rest)),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Reads the next text on a websocket. `None` if something else arrives.
    pub async fn text(&mut self) -> Option<String> {
        match timeout(PATIENCE, self.read_frame()).await {
            Ok(Ok((TEXT, payload))) => String::from_utf8(payload).ok(),
            _ => None,
        }
    }

    /// Reads the next frame: its opcode and its payload.
    pub async fn read_frame(&mut self) -> Result<(u8, Vec<u8>), String> {
        loop {
            let length = self.rest.get(1).map(|&length| usize::from(length));
            let (head, length) = match (length, self.rest.get(2..4)) {
                (Some(length @ ..126), _) => (2, Some(length)),
                (_, Some(length)) => {
                    (4, Some(usize::from(u16::from_be_bytes([length[0], length[1]]))))
                }
                _ => (2, None),
            };
            if let Some(length) = length.filter(|length| self.rest.len() >= head + length) {
                let frame: Vec<u8> = self.rest.drain(..head + length).collect();
                return Ok((frame[0] & !FINAL, frame[head..].to_vec()));
            }
            self.read_more().await?;
        }
    }

    /// Waits until the server closes the websocket. Returns the code of its close frame, if there is one.
    pub async fn close_code(mut self) -> Option<u16> {
        let reading = async {
            let mut code = None;
            while let Ok((kind, payload)) = self.read_frame().await {
                if kind == CLOSE {
                    code = payload.first_chunk().map(|&code| u16::from_be_bytes(code));
                }
            }
            code
        };
        timeout(PATIENCE, reading).await.expect("the server ends the connection")
    }

    /// Resets the connection, as the kernel does for a killed process that has not read everything.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("a socket's option");
    }

    /// Waits until the server ends the connection, whatever it sends before. Returns how long that took.
    pub async fn ended(mut self) -> Duration {
        let start = Instant::now();
        let mut chunk = [0; 4096];
        let reading = async { while matches!(self.stream.read(&mut chunk).await, Ok(1..)) {} };
        timeout(PATIENCE, reading).await.expect("the server ends the connection");
        start.elapsed()
    }
}

/// How a session gets its websocket.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    /// The session begins with a websocket.
    Directly,
    /// The session began with polling.
    Upgraded,
}

impl Way {
    /// Both ways.
    pub const BOTH: [Self; 2] = [Self::Directly, Self::Upgraded];
}

/// Sends a request on a new connection, with these headers. Each header ends with a line break.
pub async fn ask(server: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    // Without this header, the server would interpret the end of the connection as the end of a polling client.
    let close = if headers.contains("connection: ") { "" } else { "connection: close\r\n" };
    let request = format!("{method} {path} HTTP/1.1\r\nhost: {server}\r\n{close}{headers}\r\n");
    Raw::saying(server, request).await.answer().await.expect("an answer")
}

/// The request for a websocket, for a new session or for the one with this id.
pub fn upgrade(server: SocketAddr, session: Option<&str>) -> String {
    let session = session.map(|session| format!("&sid={session}")).unwrap_or_default();
    format!(
        "GET /socket.io/?EIO=4&transport=websocket{session} HTTP/1.1\r\nhost: {server}\r\n\
         connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// Opens a session by polling, without joining the namespace. Returns the path of its requests.
pub async fn polling_session(server: SocketAddr) -> String {
    let answer = ask(server, "GET", POLLING, "").await;
    format!("{POLLING}&sid={}", session_in(&answer.body))
}

/// Opens a session by polling and sends the join of the namespace. Returns the path of its requests.
pub async fn polling_joined(server: SocketAddr) -> String {
    let path = polling_session(server).await;
    let answer = Raw::saying(server, post(server, &path, "40")).await.answer().await;
    assert_eq!(answer.expect("an answer").status, 200);
    path
}

/// Opens a session by polling and waits until it has received a count. Returns the path of its requests.
pub async fn polling_counted(server: SocketAddr) -> String {
    let path = polling_joined(server).await;
    while !poll(server, &path).await.body.contains("42[") {}
    path
}

/// Opens a session by polling, waits until it has joined the namespace, and answers its first ping. Returns the path of
/// its requests.
pub async fn polling_alive(server: SocketAddr) -> String {
    let path = polling_joined(server).await;
    let (mut pinged, mut welcomed) = (false, false);
    while !(pinged && welcomed) {
        let body = ask(server, "GET", &path, "").await.body;
        pinged |= body.split('\x1e').any(|packet| packet == "2");
        welcomed |= body.split('\x1e').any(|packet| packet.starts_with("40{"));
    }
    let answer = Raw::saying(server, post(server, &path, "3")).await.answer().await;
    assert_eq!(answer.expect("an answer").status, 200);
    path
}

/// The session id in the first packet of a session.
pub fn session_in(body: &str) -> String {
    let session = body.split("\"sid\":\"").nth(1).and_then(|rest| rest.split('"').next());
    session.unwrap_or_else(|| panic!("no session in {body:?}")).to_owned()
}

/// A request that posts this body.
pub fn post(server: SocketAddr, path: &str, body: &str) -> String {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nhost: {server}\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// Polls on a new connection. Returns the answer.
pub async fn poll(server: SocketAddr, path: &str) -> Answer {
    ask(server, "GET", path, "").await
}

/// Posts this body on a new connection. Returns the answer.
pub async fn say(server: SocketAddr, path: &str, body: &str) -> Answer {
    Raw::saying(server, post(server, path, body)).await.answer().await.expect("an answer")
}

/// A request that posts these pieces, each as a chunk.
pub fn post_in_chunks<'a>(
    server: SocketAddr,
    path: &str,
    pieces: impl IntoIterator<Item = &'a str>,
) -> String {
    let chunks = pieces.into_iter().map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len()));
    let chunks = chunks.collect::<Vec<_>>().concat();
    let head = format!("POST {path} HTTP/1.1\r\nhost: {server}\r\ntransfer-encoding: chunked");
    format!("{head}\r\n\r\n{chunks}0\r\n\r\n")
}
