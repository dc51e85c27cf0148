//! Tests of one session over a real socket, frame by frame.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::{
    ops::{Deref, DerefMut},
    time::Duration,
};

use axum::Router;
use socketioxide::SocketIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tower::Layer;

use super::*;
use crate::{connection::tests::pair, frame::USER_COUNT, session::Transports};

const PING: Duration = Duration::from_secs(25);
/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(10);

struct Stage {
    peer: Peer,
    websockets: Arc<Websockets>,
}

/// The client's end of a websocket, frame by frame.
pub(crate) struct Peer {
    pub(crate) client: TcpStream,
    received: Vec<u8>,
}

impl Deref for Stage {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

impl Stage {
    /// A client whose handshake has been answered.
    async fn new(ping: Duration) -> Self {
        let settings = SocketSettings {
            ping_interval: ping,
            ping_timeout: ping,
            payload_bytes_max: 1000,
            transports: Transports::Both,
            direct: true,
        };
        let metrics = Metrics::new("none").unwrap();
        let library = Library::new(SocketIo::new_layer().0.layer(Router::new()));
        let websockets = Websockets::new(&settings, Tally::new(), metrics, library);
        let (connection, client) = pair().await;
        tokio::spawn(Arc::clone(&websockets).serve(connection, Opening::New(Vec::new())));
        tokio::spawn(Arc::clone(&websockets).ping(CancellationToken::new()));
        Self { peer: Peer::new(client), websockets }
    }

    /// One that has joined.
    async fn joined(ping: Duration) -> Self {
        let mut stage = Self::new(ping).await;
        assert!(stage.hear().await.starts_with("0{"));
        stage.say("40").await;
        while !stage.hear().await.starts_with("40{") {}
        stage
    }

    async fn users(&self, users: u64) {
        let mut local = self.websockets.tally.subscribe();
        let counted = timeout(PATIENCE, local.wait_for(|local| local.users == users)).await;
        counted.expect("they are counted").unwrap();
    }

    fn disconnects(&self, reason: &str) -> u64 {
        self.websockets.metrics.disconnects.with_label_values(&[reason]).get()
    }
}

impl Peer {
    /// On a connection whose handshake has been answered.
    pub(crate) fn new(client: TcpStream) -> Self {
        Self { client, received: Vec::new() }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(0x81, text.as_bytes()).await;
    }

    /// A frame, masked with zeros.
    async fn send(&mut self, first: u8, payload: &[u8]) {
        let length = 0x80 | u8::try_from(payload.len()).unwrap();
        let frame = [&[first, length, 0, 0, 0, 0], payload].concat();
        self.client.write_all(&frame).await.unwrap();
    }

    /// The next frame: its first byte and its payload; `None` at the end.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            if let [first, length, rest @ ..] = &self.received[..]
                && rest.len() >= usize::from(*length)
            {
                let (first, length) = (*first, usize::from(*length));
                assert!(length < 126, "no frame here is long");
                let payload = self.received[2..2 + length].to_vec();
                self.received.drain(..2 + length);
                return Some((first, payload));
            }
            let read = timeout(PATIENCE, self.client.read_buf(&mut self.received)).await;
            match read.expect("the server says something, or ends the connection") {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// The next text.
    pub(crate) async fn hear(&mut self) -> String {
        let (first, payload) = self.receive().await.expect("the connection lasts");
        assert_eq!(first, 0x81);
        String::from_utf8(payload).unwrap()
    }
}

/// Goal: a session says what the protocols say. Method: the opening packet; joining, elsewhere too; events; leaving
/// and joining again; a ping of the websocket; the close.
#[tokio::test]
async fn a_session_keeps_to_the_protocols() {
    let mut stage = Stage::new(PING).await;
    let opening = stage.hear().await;
    let opening: serde_json::Value = serde_json::from_str(&opening[1..]).unwrap();
    assert_eq!(opening["upgrades"], serde_json::json!([]));
    assert_eq!(
        (&opening["pingInterval"], &opening["pingTimeout"]),
        (&25_000.into(), &25_000.into())
    );
    assert_eq!(opening["maxPayload"], 1000);
    let id = opening["sid"].as_str().expect("an id").to_owned();
    assert_eq!(stage.websockets.tally.users(), 0);

    for round in 1..=2 {
        stage.say("40{\"token\":1}").await;
        assert_eq!(stage.hear().await, format!("40{{\"sid\":\"{id}\"}}"));
        stage.users(1).await;
        stage.say(&format!("42[\"{USER_COUNT}\",7]")).await;
        stage.say("40/nowhere,").await;
        assert_eq!(stage.hear().await, "44/nowhere,{\"message\":\"Invalid namespace\"}");
        assert_eq!(stage.websockets.joined(), 1);
        stage.say("41").await;
        stage.users(0).await;
        assert_eq!(stage.disconnects("client_left"), round);
    }

    stage.say("40").await;
    stage.hear().await;
    stage.send(0x89, b"there?").await;
    assert_eq!(stage.receive().await, Some((0x8a, b"there?".to_vec())));
    stage.send(0x88, &1001_u16.to_be_bytes()).await;
    assert_eq!(stage.receive().await, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(stage.receive().await, None);
    stage.users(0).await;
    assert_eq!((stage.disconnects("transport_close"), stage.websockets.joined()), (1, 0));
    assert!(stage.websockets.everybody().is_empty());
}

/// Goal: whoever says what no client may is told why and ended. Method: one packet and one frame.
#[tokio::test]
async fn rubbish_ends_the_session() {
    for (first, payload, code, reason) in
        [(0x81, &b"9"[..], 1002_u16, "bad_packet"), (0x81, &[0xff], 1007, "transport_error")]
    {
        let mut stage = Stage::joined(PING).await;
        stage.send(first, payload).await;
        assert_eq!(stage.receive().await, Some((0x88, code.to_be_bytes().to_vec())));
        assert_eq!(stage.receive().await, None);
        stage.users(0).await;
        assert_eq!(stage.disconnects(reason), 1);
    }
}

/// Goal: who answers pings stays, who does not is found out. Method: a client that answers five of them and then falls
/// silent.
#[tokio::test]
async fn the_silent_are_found_out() {
    let mut stage = Stage::joined(Duration::from_millis(200)).await;
    for _ in 0..5 {
        assert_eq!(stage.hear().await, "2");
        assert_eq!(stage.websockets.joined(), 1);
        stage.say("3").await;
    }
    assert_eq!(stage.hear().await, "2");
    assert_eq!(stage.receive().await, None, "it is pinged once and then ended");
    stage.users(0).await;
    assert_eq!(stage.disconnects("ping_timeout"), 1);
}

/// Goal: a session that nobody joins ends. Method: a client that says nothing, on a clock that runs when all wait.
#[tokio::test(start_paused = true)]
async fn a_session_must_be_joined() {
    let mut stage = Stage::new(PING).await;
    assert!(stage.hear().await.starts_with("0{"));
    let start = tokio::time::Instant::now();
    assert_eq!(stage.peer.client.read_buf(&mut stage.peer.received).await.unwrap(), 0);
    assert_eq!(start.elapsed().as_secs(), CONNECT_TIMEOUT.as_secs());
    assert!(stage.websockets.everybody().is_empty());
}
