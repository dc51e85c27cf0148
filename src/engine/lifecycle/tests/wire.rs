//! What a server says on one connection, to the last byte.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::judge::Judged;
use crate::http::serve::tests::{PATIENCE, Server};

/// A client's end of a connection.
pub(super) struct Wire {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Wire {
    pub(super) async fn open(server: &Server) -> Self {
        Self { stream: server.connect().await, received: Vec::new() }
    }

    /// The server may have ended the connection. That is read afterwards.
    pub(super) async fn write(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    /// Sends texts as frames that are masked with zeros.
    pub(super) async fn say(&mut self, texts: &[&str]) {
        let frames = texts.iter().flat_map(|text| frame(0x81, text.as_bytes()));
        self.write(&frames.collect::<Vec<_>>()).await;
    }

    pub(super) async fn close(&mut self) {
        self.write(&frame(0x88, &1000_u16.to_be_bytes())).await;
    }

    /// Reads more. Returns false at the end of the connection.
    async fn more(&mut self) -> Judged<bool> {
        match timeout(PATIENCE, self.stream.read_buf(&mut self.received)).await {
            Err(_) => Err("the server says nothing".into()),
            Ok(Ok(0)) => Ok(false),
            Ok(Ok(_)) => Ok(true),
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionReset => Ok(false),
            Ok(Err(error)) => Err(error.to_string()),
        }
    }

    /// The end of the connection, or of the part of it that was read, must not be within something.
    fn ended<T>(&self) -> Judged<Option<T>> {
        if self.received.is_empty() {
            return Ok(None);
        }
        Err(format!("cut short: {}", String::from_utf8_lossy(&self.received)))
    }

    /// The next head; `None` if the connection ends instead.
    async fn head(&mut self) -> Judged<Option<String>> {
        loop {
            let end = self.received.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                let head: Vec<u8> = self.received.drain(..end + 4).collect();
                let head = String::from_utf8_lossy(&head).to_lowercase();
                let is_answer = head.starts_with("http/1.1 ");
                return is_answer.then_some(Some(head)).ok_or("no answer of HTTP".into());
            }
            let begin = b"HTTP/1.1 ".iter().zip(&self.received).all(|(one, other)| one == other);
            if !begin {
                return Err(format!("not HTTP: {}", String::from_utf8_lossy(&self.received)));
            }
            if !self.more().await? {
                return self.ended();
            }
        }
    }

    /// The next answer: its status and its body; `None` if the connection ends instead.
    pub(super) async fn answer(&mut self) -> Judged<Option<(u16, String)>> {
        let Some(head) = self.head().await? else { return Ok(None) };
        let status = head[9..12].parse().map_err(|_| head.clone())?;
        let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
        let length: usize =
            length.split("\r\n").next().unwrap_or("0").parse().map_err(|_| head.clone())?;
        while self.received.len() < length {
            if !self.more().await? {
                return self.ended();
            }
        }
        let body: Vec<u8> = self.received.drain(..length).collect();
        Ok(Some((status, String::from_utf8_lossy(&body).into_owned())))
    }

    /// The next frame: its first byte and its text; `None` at the end.
    pub(super) async fn frame(&mut self) -> Judged<Option<(u8, String)>> {
        loop {
            if let [first, length @ ..126, ..] = self.received[..]
                && self.received.len() >= 2 + usize::from(length)
            {
                let frame: Vec<u8> = self.received.drain(..2 + usize::from(length)).collect();
                return Ok(Some((first, String::from_utf8_lossy(&frame[2..]).into_owned())));
            }
            if let [first, second, ..] = self.received[..]
                && (![0x81, 0x88].contains(&first) || second > 125)
            {
                return Err(format!("no frame: {}", String::from_utf8_lossy(&self.received)));
            }
            if !self.more().await? {
                return self.ended();
            }
        }
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let length = 0x80 | u8::try_from(payload.len()).expect("texts are short");
    [&[first, length, 0, 0, 0, 0], payload].concat()
}
