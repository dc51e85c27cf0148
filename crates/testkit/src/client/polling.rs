//! Engine.IO over HTTP long-polling: one request waits for packets, others bring them.

use std::net::SocketAddr;

use futures_util::{FutureExt, future::BoxFuture};
use serde::Deserialize;

use crate::http;

/// Separates packets in one payload.
const SEPARATOR: char = '\x1e';

/// A polling session.
pub(super) struct Polling {
    server: SocketAddr,
    sid: String,
    /// The request that waits. It is kept across calls, so that dropping a call loses no packet.
    waiting: Option<BoxFuture<'static, Result<Vec<String>, String>>>,
}

#[derive(Deserialize)]
struct Open {
    sid: String,
}

impl Polling {
    /// The Engine.IO handshake.
    pub(super) async fn open(server: SocketAddr) -> Result<Self, String> {
        let packets = fetch(server, String::from(PATH)).await?;
        let opening = packets.first().and_then(|packet| packet.strip_prefix('0'));
        let open = opening.and_then(|json| serde_json::from_str::<Open>(json).ok());
        let sid = open.ok_or_else(|| format!("not a handshake: {packets:?}"))?.sid;
        Ok(Self { server, sid, waiting: None })
    }

    /// The session id, as the server gave it.
    pub(super) fn sid(&self) -> &str {
        &self.sid
    }

    /// Waits for packets.
    pub(super) async fn receive(&mut self) -> Result<Vec<String>, String> {
        let path = self.path();
        let server = self.server;
        let waiting = self.waiting.get_or_insert_with(|| fetch(server, path).boxed());
        let packets = waiting.await;
        self.waiting = None;
        packets
    }

    /// Hears out the request that waits, if one does.
    pub(super) async fn finish(&mut self) -> Result<Vec<String>, String> {
        match self.waiting.take() {
            Some(waiting) => waiting.await,
            None => Ok(Vec::new()),
        }
    }

    /// Posts one packet, or several already separated.
    pub(super) async fn send(&mut self, packets: &str) -> Result<(), String> {
        let answer = http::post(self.server, &self.path(), packets.to_owned()).await?;
        match answer.status {
            200 => Ok(()),
            status => Err(format!("posting {packets:?} got {status}: {}", answer.body)),
        }
    }

    /// Leaves the namespace and closes the session, in one payload as socket.io-client does.
    pub(super) async fn leave(&mut self) -> Result<(), String> {
        self.send(&format!("41{SEPARATOR}1")).await
    }

    fn path(&self) -> String {
        format!("{PATH}&sid={}", self.sid)
    }
}

const PATH: &str = "/socket.io/?EIO=4&transport=polling";

async fn fetch(server: SocketAddr, path: String) -> Result<Vec<String>, String> {
    let answer = http::get(server, &path).await?;
    match answer.status {
        200 => Ok(answer.body.split(SEPARATOR).map(str::to_owned).collect()),
        status => Err(format!("polling got {status}: {}", answer.body)),
    }
}
