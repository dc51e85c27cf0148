//! Tests of sessions that go from polling to a websocket of our own, over real sockets.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

#[path = "tests/model.rs"]
mod model;

use std::time::Duration;

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{handover::tests::Server, session::Transports, websocket::tests::Peer};

/// How long anything may take that happens at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server with one session, which began with polling.
struct Stage {
    server: Server,
    session: String,
}

impl Stage {
    async fn opened() -> Self {
        let server = Server::start(Transports::Both);
        let mut stage = Self { server, session: String::new() };
        let opening = stage.ask("GET", "").await;
        stage.session = opening.split('"').nth(3).expect("the id comes first").to_owned();
        stage
    }

    /// Its client has asked to join, and has not polled yet.
    async fn joined() -> Self {
        let stage = Self::opened().await;
        assert!(stage.ask("POST", "40").await.ends_with("ok"));
        stage.users(1).await;
        stage
    }

    /// The same, and it has polled all that it is told at first: the library pings a new session at once.
    async fn settled() -> Self {
        let stage = Self::joined().await;
        let mut told = String::new();
        while !(told.contains("40{") && told.contains("\r\n\r\n2") | told.contains("\x1e2")) {
            told += &stage.ask("GET", "").await;
        }
        stage
    }

    async fn send(&self, method: &str, body: &str) -> TcpStream {
        let id =
            if self.session.is_empty() { String::new() } else { format!("&sid={}", self.session) };
        let mut client = self.server.connect().await;
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{id} HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    async fn ask(&self, method: &str, body: &str) -> String {
        answer(self.send(method, body).await).await
    }

    /// The answer to a request for a websocket on the session, and what is behind that.
    async fn ask_for_websocket(&self, session: &str) -> (String, Peer) {
        let mut client = self.server.connect().await;
        let request = format!(
            "GET /socket.io/?EIO=4&transport=websocket&sid={session} HTTP/1.1\r\nhost: here\r\n\
             upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
             sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("an answer comes"));
        }
        (String::from_utf8(head).unwrap(), Peer::new(client))
    }

    async fn websocket(&self) -> Peer {
        let (head, peer) = self.ask_for_websocket(&self.session).await;
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        peer
    }

    /// A websocket that has been probed.
    async fn probed(&self) -> Peer {
        let mut peer = self.websocket().await;
        peer.say("2probe").await;
        assert_eq!(peer.hear().await, "3probe");
        peer
    }

    async fn users(&self, users: u64) {
        let mut local = self.server.tally.subscribe();
        let counted = timeout(PATIENCE, local.wait_for(|local| local.users == users)).await;
        counted.expect("they are counted").unwrap();
    }

    /// How often anybody was counted in or out.
    fn changes(&self) -> u64 {
        self.server.tally.subscribe().borrow().change.0
    }

    /// Waits until the library has this session no more.
    async fn left_the_library(&self) {
        let gone = async {
            while !self.ask("POST", "3").await.contains("Session ID unknown") {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.expect("the session ends");
    }

    fn by_transport(&self) -> [usize; 2] {
        self.server.sockets.by_transport().map(|(_, sockets)| sockets)
    }
}

/// What a client is told next. The library pings a new session at once, which may be told by either way.
async fn hear(peer: &mut Peer) -> String {
    loop {
        let told = peer.hear().await;
        if told != "2" {
            return told;
        }
    }
}

async fn answer(mut client: TcpStream) -> String {
    let mut answer = String::new();
    timeout(PATIENCE, client.read_to_string(&mut answer)).await.expect("an answer").unwrap();
    answer
}

/// Goal: who goes over keeps its place in the count, its id, and what it was still to be told; and the library has it no
/// more. Method: a client that has joined and not polled, with a poll of nobody's; then it leaves, joins and closes.
#[tokio::test]
async fn a_session_moves_with_all_it_has() {
    let stage = Stage::joined().await;
    let mut peer = stage.probed().await;
    let before = stage.changes();
    peer.say("5").await;
    assert_eq!(hear(&mut peer).await, format!("40{{\"sid\":\"{}\"}}", stage.session));
    stage.left_the_library().await;
    assert_eq!((stage.changes(), stage.by_transport()), (before, [1, 0]));

    peer.say("41").await;
    stage.users(0).await;
    peer.say("40").await;
    assert_eq!(hear(&mut peer).await, format!("40{{\"sid\":\"{}\"}}", stage.session));
    stage.users(1).await;
    peer.say("1").await;
    stage.users(0).await;
    let ended = |reason| stage.server.metrics.disconnects.with_label_values(&[reason]).get();
    assert_eq!((ended("client_left"), ended("transport_close")), (1, 1));
    assert!(stage.server.sockets.everybody().is_empty());
}

/// Goal: a poll that waits is answered when the websocket has been probed, later ones at once, and what is there to be
/// told they tell. Method: a poll before the probe; one with a packet that waits, and one without, after it.
#[tokio::test]
async fn polls_end_when_the_websocket_is_probed() {
    let stage = Stage::settled().await;
    let waiting = stage.send("GET", "").await;
    let mut peer = stage.probed().await;
    assert!(answer(waiting).await.ends_with("\r\n\r\n6"));
    assert!(stage.ask("POST", "40/nowhere,").await.ends_with("ok"));
    assert!(stage.ask("GET", "").await.ends_with("44/nowhere,{\"message\":\"Invalid namespace\"}"));
    assert!(stage.ask("GET", "").await.ends_with("\r\n\r\n6"));
    peer.say("5").await;
    peer.say("40/nowhere,").await;
    assert_eq!(hear(&mut peer).await, "44/nowhere,{\"message\":\"Invalid namespace\"}");
    stage.left_the_library().await;
}

/// Goal: a client that joins only when it has gone over is counted once. Method: one that asks on the websocket, and one
/// whose request by polling is on its way meanwhile.
#[rstest]
#[tokio::test]
async fn who_has_not_joined_joins_on_the_websocket(#[values(false, true)] asked_before: bool) {
    let stage = Stage::opened().await;
    let mut peer = stage.probed().await;
    if asked_before {
        assert!(stage.ask("POST", "40").await.ends_with("ok"));
        peer.say("5").await;
    } else {
        peer.say("5").await;
        peer.say("40").await;
    }
    assert_eq!(hear(&mut peer).await, format!("40{{\"sid\":\"{}\"}}", stage.session));
    stage.users(1).await;
    stage.left_the_library().await;
    assert_eq!((stage.changes(), stage.by_transport()), (1, [1, 0]));
    drop(peer);
    stage.users(0).await;
}

/// Goal: an attempt that comes to nothing leaves the session as it was, and another may follow. Method: websockets that
/// break off before and after the probe, that say something else, and one beside another.
#[tokio::test]
async fn a_broken_attempt_harms_nothing() {
    let stage = Stage::joined().await;
    drop(stage.websocket().await);
    drop(stage.probed_again().await);
    for wrong in ["5", "2", "40", "3probe"] {
        let mut peer = stage.websocket_again().await;
        peer.say(wrong).await;
        assert_eq!(
            peer.receive().await,
            Some((0x88, vec![3, 0xea])),
            "{wrong} is answered by 1002"
        );
    }
    let mut peer = stage.probed_again().await;
    let (head, _) = stage.ask_for_websocket(&stage.session).await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    let (head, _) = stage.ask_for_websocket("AAAAAAAAAAAAAAAA").await;
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
    assert_eq!((stage.changes(), stage.by_transport()), (1, [0, 1]));
    peer.say("5").await;
    assert!(hear(&mut peer).await.starts_with("40{"));
    stage.left_the_library().await;
    assert_eq!(stage.changes(), 1);
}

impl Stage {
    /// A websocket as soon as the attempt before has been given up.
    async fn websocket_again(&self) -> Peer {
        let again = async {
            loop {
                let (head, peer) = self.ask_for_websocket(&self.session).await;
                if head.starts_with("HTTP/1.1 101 ") {
                    return peer;
                }
            }
        };
        timeout(PATIENCE, again).await.expect("an attempt may follow")
    }

    async fn probed_again(&self) -> Peer {
        let mut peer = self.websocket_again().await;
        peer.say("2probe").await;
        assert_eq!(peer.hear().await, "3probe");
        peer
    }
}

/// Goal: an attempt that takes too long ends the websocket; the session goes on unless its client may have gone over
/// already. Method: one that is not probed and one that is, while the clock runs whenever all wait.
#[rstest]
#[tokio::test]
async fn an_attempt_that_takes_too_long_ends(#[values(false, true)] probed: bool) {
    let stage = Stage::settled().await;
    let mut peer = if probed { stage.probed().await } else { stage.websocket().await };
    tokio::time::pause();
    assert_eq!(peer.client.read(&mut [0]).await.unwrap(), 0, "it ends");
    tokio::time::resume();
    if probed {
        stage.left_the_library().await;
    }
    assert_eq!(stage.server.tally.users(), u64::from(!probed));
}

/// Goal: with the session, the websocket ends that was to carry it. Method: its client closes it by polling, before and
/// after it has been probed.
#[rstest]
#[tokio::test]
async fn a_session_that_ends_ends_its_attempt(#[values(false, true)] probed: bool) {
    let stage = Stage::joined().await;
    let mut peer = if probed { stage.probed().await } else { stage.websocket().await };
    assert!(stage.ask("POST", "1").await.ends_with("ok"));
    assert_eq!(peer.receive().await, None);
    stage.users(0).await;
}
