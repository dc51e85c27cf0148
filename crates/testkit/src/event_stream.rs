//! A reader of an instance's public event stream, on a separate connection.
//!
//! It returns the events, and never reopens the stream.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
};

/// The path of an instance's stream.
pub const PATH: &str = "/api/count/stream";

/// The answer to a request for the stream. If it is a refusal, there are no events.
#[derive(Debug)]
pub struct EventStream {
    /// The status code of the answer.
    pub status: u16,
    lines: Lines<BufReader<TcpStream>>,
}

impl EventStream {
    /// Requests the stream of an instance, and reads the head of the answer.
    pub async fn open(server: SocketAddr) -> io::Result<Self> {
        Self::open_at(server, PATH, "").await
    }

    /// Requests the stream at another path, such as that of a proxy, with these headers. Each header ends with a line
    /// break.
    pub async fn open_at(server: SocketAddr, path: &str, headers: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(server).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next_line().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status in {first:?}")))?;
        while lines.next_line().await?.is_some_and(|line| !line.is_empty()) {}
        Ok(Self { status, lines })
    }

    /// The data of the next event, in JSON. `None` at the end, which may also be a reset of the connection.
    pub async fn next(&mut self) -> Option<String> {
        while let Ok(Some(line)) = self.lines.next_line().await {
            // The last chunk of the answer. The connection may stay open.
            if line == "0" {
                return None;
            }
            if let Some(data) = line.strip_prefix("data:") {
                return Some(data.trim_start().to_owned());
            }
        }
        None
    }
}
