//! A server of sessions in this process, its clients, and tests of how connections pass from one part to the other.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::{net::SocketAddr, time::Duration};

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    access::{
        origin::Origins,
        rooms::{RoomPatterns, RoomRules},
    },
    broadcast::rooms::RoomBroadcaster,
    core::{
        rooms::{RoomLedger, Rooms},
        tally::Tally,
        view::View,
    },
    engine::{
        admission::Admission,
        flusher::Flusher,
        ping_wheel,
        session::{Membership, RoomMembership},
        settings::SessionSettings,
    },
    fixtures::LonelyStore,
    http::endpoint,
    identity::sign_in::SignIn,
    net::listener::{self, Listener},
    protocol::transport::Transports,
    telemetry::{labels::RefusedReason, metrics::Metrics},
};

/// How long anything may take that happens at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const HEAD: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// A masked text: the client joins the namespace.
const JOIN: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'4', b'0'];
const EMIT_INTERVAL: Duration = Duration::from_millis(1);
const TIMEOUTS: Timeouts =
    Timeouts { head: Duration::from_secs(10), keep_alive: Duration::from_secs(30) };

/// The most rooms of the server, and which it allows.
pub(crate) const ROOMS_MAX: usize = 20;
const ROOMS: &str = "/a,/b,/n/*,/blog/*,/caf*";

/// A server of sessions, without a store: no client gets the count of the site. The counts of rooms are the local ones.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) engine: Arc<Engine>,
    pub(crate) tally: Arc<Tally<Membership>>,
    pub(crate) metrics: Metrics,
    /// The connections that may still be opened.
    pub(crate) free_connections: Arc<Semaphore>,
}

/// What a server has room for.
#[derive(Clone, Copy)]
pub(crate) struct Space {
    pub(crate) sessions: usize,
    pub(crate) connections: usize,
    pub(crate) rooms: usize,
}

impl Server {
    /// With room for a few sessions, and pings at this interval.
    pub(crate) fn start(ping: Duration, transports: Transports) -> Self {
        let space = Space { sessions: 3, connections: 10, rooms: ROOMS_MAX };
        Self::with_space(space, ping, transports)
    }

    pub(crate) fn with_space(space: Space, ping: Duration, transports: Transports) -> Self {
        let (metrics, tally) = (Metrics::new("none").unwrap(), Tally::new());
        let settings = SessionSettings {
            ping_interval: ping,
            ping_timeout: ping,
            payload_bytes_max: 1000,
            transports,
            rooms: RoomRules {
                allowed: RoomPatterns::parse(ROOMS).unwrap(),
                ..RoomRules::default()
            },
            sign_in: SignIn::default(),
            visitors: None,
        };
        let admission = Admission::new(space.sessions, Origins::Same, metrics.clone());
        let (tallied, flusher) = (Arc::clone(&tally), Flusher::default());
        let rooms = Rooms::new(space.rooms);
        let engine = Engine::new(
            settings,
            admission,
            tallied,
            Arc::clone(&rooms),
            metrics.clone(),
            flusher.clone(),
        );
        let bound = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.local_addr().unwrap();
        let served = Some(Arc::clone(&engine));
        let router = endpoint::router(Arc::clone(&engine));
        let free_connections = Arc::new(Semaphore::new(space.connections));
        let listener = Listener {
            listener: bound,
            serve: HttpService { router, engine: served, timeouts: TIMEOUTS },
            unacknowledged_for: PATIENCE,
            permits: Arc::clone(&free_connections),
            unserved: metrics.refused(RefusedReason::Descriptors),
        };
        let stop = CancellationToken::new();
        tokio::spawn(listener.run(stop.clone()));
        tokio::spawn(flusher.clone().run(stop.clone()));
        tokio::spawn(ping_wheel::run(Arc::clone(&engine), stop.clone()));
        tokio::spawn(Arc::clone(&engine).run_checks(stop.clone()));
        let view = watch::Sender::new(LonelyStore::view());
        let broadcaster = RoomBroadcaster::new(
            Arc::clone(&rooms),
            view.subscribe(),
            flusher,
            metrics.clone(),
            EMIT_INTERVAL,
        );
        tokio::spawn(count(rooms, view));
        tokio::spawn(broadcaster.run(stop));
        Self { address, engine, tally, metrics, free_connections }
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Waits until this number of clients is counted.
    pub(crate) async fn users(&self, users: u64) {
        let mut local = self.tally.subscribe();
        let counted = timeout(PATIENCE, local.wait_for(|local| local.connections == users)).await;
        counted.expect("they are counted").unwrap();
    }

    /// Waits until no session is open.
    pub(crate) async fn no_session(&self) {
        let gone = async {
            while !self.engine.sessions().all().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, gone).await.expect("all sessions end");
    }

    /// Waits until there are so many memberships in rooms.
    pub(crate) async fn memberships(&self, memberships: i64) {
        let kinds = ["member", "watcher"];
        let open = || kinds.map(|kind| self.metrics.memberships.with_label_values(&[kind]).get());
        let reached = async {
            while open().iter().sum::<i64>() != memberships {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("they join and leave");
    }

    /// Waits until nobody is in any room.
    pub(crate) async fn no_rooms(&self) {
        let gone = async {
            while self.metrics.rooms.get() > 0 {
                tokio::task::yield_now().await;
            }
        };
        self.memberships(0).await;
        timeout(PATIENCE, gone).await.expect("the rooms are dropped");
    }

    pub(crate) fn disconnects(&self, reason: &str) -> u64 {
        self.metrics.disconnects.with_label_values(&[reason]).get()
    }
}

/// Has everything counted that happens in rooms.
async fn count(rooms: Arc<Rooms<RoomMembership>>, view: watch::Sender<View>) {
    let mut store = LonelyStore::default();
    loop {
        view.send_modify(|view| store.answer(&rooms, view, Instant::now()));
        rooms.reports().notified().await;
    }
}

/// The client's end of a websocket, frame by frame.
pub(crate) struct Peer {
    pub(crate) client: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    /// Opens a websocket, with a new session or for one that polls, and reads the answer to its handshake.
    pub(crate) async fn open(server: &Server, session: Option<&str>) -> Self {
        let mut client = server.connect().await;
        let head = match session {
            Some(session) => HEAD.replace(" HTTP", &format!("&sid={session} HTTP")),
            None => HEAD.to_owned(),
        };
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = read_head(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        Self { client, received: Vec::new() }
    }

    pub(crate) async fn say(&mut self, text: &str) {
        self.send(0x81, text.as_bytes()).await;
    }

    /// A text of any length up to 65,535 bytes.
    pub(crate) async fn send_long(&mut self, text: &str) {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let frame = [&[0x81, 0xfe][..], &length, &[0; 4], text.as_bytes()].concat();
        self.client.write_all(&frame).await.unwrap();
    }

    /// A frame, masked with zeros.
    pub(crate) async fn send(&mut self, first: u8, payload: &[u8]) {
        let length = 0x80 | u8::try_from(payload.len()).unwrap();
        let frame = [&[first, length, 0, 0, 0, 0], payload].concat();
        self.client.write_all(&frame).await.unwrap();
    }

    /// The next frame: its first byte and its payload; `None` at the end.
    pub(crate) async fn receive(&mut self) -> Option<(u8, Vec<u8>)> {
        loop {
            let header = match self.received[..] {
                [first, 126, high, low, ..] => Some((first, 4, u16::from_be_bytes([high, low]))),
                [first, length @ ..126, ..] => Some((first, 2, u16::from(length))),
                _ => None,
            };
            if let Some((first, start, length)) = header
                && self.received.len() >= start + usize::from(length)
            {
                let frame: Vec<u8> = self.received.drain(..start + usize::from(length)).collect();
                return Some((first, frame[start..].to_vec()));
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

/// What comes until the end of a head.
async fn read_head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let reading = async {
        while !head.ends_with(b"\r\n\r\n") {
            head.push(client.read_u8().await.expect("an answer comes"));
        }
    };
    timeout(PATIENCE, reading).await.expect("an answer comes");
    String::from_utf8(head).unwrap()
}

/// An answer: its head and its body.
pub(crate) async fn read_answer(client: &mut TcpStream) -> (String, String) {
    let head = read_head(client).await.to_lowercase();
    let (_, length) = head.split_once("content-length: ").expect("a length");
    let length = length.split("\r\n").next().unwrap().parse().expect("a number");
    let mut body = vec![0; length];
    client.read_exact(&mut body).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Goal: packets that a client sends together with its handshake are not lost, whoever reads the handshake. Method:
/// handshake and join in one piece, for the fast path, and in pieces of a few bytes, for the HTTP server.
#[rstest]
#[tokio::test]
async fn an_eager_client_is_heard(#[values(9, usize::MAX)] piece: usize) {
    let server = Server::start(PATIENCE, Transports::Both);
    let whole = [HEAD.as_bytes(), &JOIN].concat();
    let mut client = server.connect().await;
    client.set_nodelay(true).unwrap();
    for bytes in whole.chunks(piece.min(whole.len())) {
        client.write_all(bytes).await.unwrap();
        tokio::task::yield_now().await;
    }
    let head = read_head(&mut client).await;
    assert!(head.to_lowercase().contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    server.users(1).await;
    let mut peer = Peer { client, received: Vec::new() };
    assert!(peer.hear().await.starts_with("0{"));
    assert!(peer.hear().await.starts_with("40{"));
    drop(peer);
    server.users(0).await;
}

/// Goal: a connection serves several requests, whoever reads them, and then a websocket. Method: plain requests, one for
/// the HTTP server, plain ones again, and a handshake, all on one connection.
#[tokio::test]
async fn one_connection_serves_all_in_turn() {
    let server = Server::start(PATIENCE, Transports::Both);
    let mut client = server.connect().await;
    let opening = "GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: here\r\n\r\n";
    client.write_all(opening.as_bytes()).await.unwrap();
    let (head, body) = read_answer(&mut client).await;
    assert!(head.contains("\r\ncache-control: no-store\r\n") && body.starts_with("0{"), "{head}");
    let sid = body.split('"').nth(3).expect("the id comes first").to_owned();
    let path = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let post = format!("POST {path} HTTP/1.1\r\nhost: here\r\ncontent-length: 2\r\n\r\n40");
    let poll = format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n");
    client.write_all(post.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut client).await.1, "ok");
    client.write_all(poll.as_bytes()).await.unwrap();
    assert_eq!(read_answer(&mut client).await.1, format!("40{{\"sid\":\"{sid}\"}}"));
    client.write_all(b"GET /nowhere HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
    assert!(read_answer(&mut client).await.0.starts_with("http/1.1 404 "));
    let chunked = "POST PATH HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n2\r\n41\r\n0\r\n\r\n";
    client.write_all(chunked.replace("PATH", &path).as_bytes()).await.unwrap();
    let (head, body) = read_answer(&mut client).await;
    assert!(head.contains("\r\ncache-control: no-store\r\n") && body == "ok", "{head}{body}");
    server.users(0).await;
    client.write_all(HEAD.as_bytes()).await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 101 "));
}

/// Goal: a connection may be idle between two requests for longer than a head may take. Method: a paused clock; connections
/// without a head, with half of one, and idle after an answer of the fast path and of the HTTP server.
#[rstest]
#[case("", false, TIMEOUTS.head)]
#[case("GET /", false, TIMEOUTS.head)]
#[case("GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nhost: here\r\n\r\n", true, TIMEOUTS.keep_alive)]
#[case("GET /nowhere HTTP/1.1\r\nhost: here\r\n\r\n", true, TIMEOUTS.keep_alive)]
#[tokio::test]
async fn connections_may_be_idle(
    #[case] said: &str,
    #[case] is_answered: bool,
    #[case] expected: Duration,
) {
    let server = Server::start(PATIENCE, Transports::Both);
    let mut client = server.connect().await;
    client.write_all(said.as_bytes()).await.unwrap();
    if is_answered {
        read_answer(&mut client).await;
    } else {
        // The server has accepted and reads, or the clock would run before.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::pause();
    let start = Instant::now();
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    let took = start.elapsed();
    assert!(took.abs_diff(expected) < Duration::from_secs(2), "{took:?}, not {expected:?}");
}
