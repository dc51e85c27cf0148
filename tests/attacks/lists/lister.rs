//! A client that is told who is in its room and follows it, and packets and tokens of those who attack with lists.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
};

use headcount_testkit::{
    raw::{POLLING, Raw, Way, frames::text, say, session_in},
    tokens::Issuer,
    users::Known,
    waiting::eventually,
};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// The longest claim `info`, as compact JSON.
pub(super) const INFO_BYTES_MAX: usize = 512;

/// A client in a room. It reads all that it is told, as it comes.
#[derive(Debug)]
pub(super) struct Lister {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What a client was told.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) known: Known,
    /// Events with users, and their bytes.
    pub(super) events: usize,
    pub(super) bytes: usize,
    /// What it cannot have been told.
    fault: Option<String>,
}

impl Lister {
    /// Opens a websocket, joins the room as this user, and asks for the list.
    pub(super) async fn open(way: Way, server: SocketAddr, room: &str, token: &str) -> Self {
        Self::listen(asking(way, server, room, token).await, room)
    }

    /// Begins to read on a connection that has asked for the list of this room.
    pub(super) fn listen(mut raw: Raw, room: &str) -> Self {
        let seen = Arc::<Mutex<Seen>>::default();
        let (room, shared) = (room.to_owned(), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            while let Some(packet) = raw.text().await {
                if packet == "2" && raw.send(&text("3")).await.is_err() {
                    break;
                }
                shared.lock().expect("no holder panics").hear(&packet, &room);
            }
        });
        Self { seen, task }
    }

    /// What it was told so far. Panics if that cannot be.
    pub(super) fn seen(&self) -> Seen {
        let seen = self.lock().clone();
        assert_eq!(seen.fault, None, "{:?}", seen.known);
        seen
    }

    /// Waits until it knows exactly these users, and that there are no more.
    pub(super) async fn lists(&self, ids: &[&str]) {
        self.knows(&format!("it lists {ids:?}"), |known| known.more == 0 && known.ids() == ids)
            .await;
    }

    /// Waits until what it knows meets a condition.
    pub(super) async fn knows(&self, what: &str, wanted: impl Fn(&Known) -> bool) {
        eventually(what, async || {
            let known = self.seen().known;
            if wanted(&known) { Ok(()) } else { Err(format!("{:?}", known.ids())) }
        })
        .await;
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("no holder panics")
    }
}

impl Drop for Lister {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Takes in a packet. Other packets than those with users say nothing.
    pub(super) fn hear(&mut self, packet: &str, room: &str) {
        let Some(event) = packet.strip_prefix(&format!("42{room},[\"users\",")) else { return };
        self.events += 1;
        self.bytes += packet.len();
        let value = event.strip_suffix(']').unwrap_or_default();
        let heard = serde_json::from_str(value)
            .map_err(|error| error.to_string())
            .and_then(|value| self.known.hear(&value));
        self.fault = self.fault.take().or(heard.err());
    }
}

/// A client that polls, on one connection, when the test says so.
#[derive(Debug)]
pub(super) struct Poller {
    raw: Raw,
    server: SocketAddr,
    path: String,
}

impl Poller {
    pub(super) async fn open(server: SocketAddr) -> Self {
        let request = format!("GET {POLLING} HTTP/1.1\r\nhost: {server}\r\n\r\n");
        let mut raw = Raw::saying(server, request).await;
        let answer = raw.answer().await.expect("an answer");
        Self { raw, server, path: format!("{POLLING}&sid={}", session_in(&answer.body)) }
    }

    /// Posts these packets.
    pub(super) async fn say(&self, packets: &str) {
        let answer = say(self.server, &self.path, packets).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// Polls once. Returns the packets.
    pub(super) async fn poll(&mut self) -> Vec<String> {
        let request = format!("GET {} HTTP/1.1\r\nhost: {}\r\n\r\n", self.path, self.server);
        self.raw.send(request.as_bytes()).await.expect("the connection is open");
        let answer = self.raw.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body.split('\x1e').map(str::to_owned).collect()
    }

    /// Polls until what it was told of a room meets a condition.
    pub(super) async fn hear_until(
        &mut self,
        seen: &mut Seen,
        room: &str,
        wanted: impl Fn(&Known) -> bool,
    ) {
        while !wanted(&seen.known) {
            for packet in self.poll().await {
                seen.hear(&packet, room);
            }
            assert_eq!(seen.fault, None);
        }
    }
}

/// A websocket whose client has asked to join this room and for its list, and reads nothing.
pub(super) async fn asking(way: Way, server: SocketAddr, room: &str, token: &str) -> Raw {
    let mut raw = Raw::alive_by(way, server).await;
    let auth = json!({ "token": token, "list": true });
    raw.send(&join(room, &auth)).await.expect("a new websocket takes a frame");
    raw
}

/// The frame that joins a room and says this.
pub(super) fn join(room: &str, auth: &Value) -> Vec<u8> {
    text(&format!("40{room},{auth}"))
}

/// The frame that leaves a room.
pub(super) fn leave(room: &str) -> Vec<u8> {
    text(&format!("41{room},"))
}

/// Reads on until a packet begins so.
pub(super) async fn told(raw: &mut Raw, start: &str) -> String {
    loop {
        let packet = raw.text().await.expect("it is told");
        if packet.starts_with(start) {
            return packet;
        }
    }
}

/// What is shown of a user, with this many bytes as JSON.
pub(super) fn info_of(bytes: usize) -> Value {
    json!({ "n": "x".repeat(bytes - "{\"n\":\"\"}".len()) })
}

/// A token of a user with as much to show as may be.
pub(super) fn showing_much(issuer: &Issuer, user: &str) -> String {
    issuer.token_showing(user, &info_of(INFO_BYTES_MAX))
}
