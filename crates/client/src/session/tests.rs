//! Tests of sessions against servers that follow a script: what is asked, in which order, and that nothing is lost when
//! whoever waits for the next event stops waiting.

use std::time::Duration;

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::yield_now,
    time::timeout,
};

use super::*;
use crate::packet::{CONNECT, PONG};

const OPEN: &str =
    r#"0{"sid":"a","upgrades":["websocket"],"pingInterval":300,"pingTimeout":200,"maxPayload":1}"#;
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Far longer than any step takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The other side of one session.
struct Server(TcpListener);

impl Server {
    async fn start() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        (Self(listener), authority)
    }

    async fn accept(&self) -> TcpStream {
        self.0.accept().await.unwrap().0
    }
}

/// Reads one request, and checks that it holds these words.
async fn request(stream: &mut TcpStream, words: &[&str]) {
    let mut request = String::new();
    let is_whole = |request: &str| match request.split_once("\r\n\r\n") {
        Some((head, body)) => !head.starts_with("POST") || !body.is_empty(),
        None => false,
    };
    while !is_whole(&request) {
        let mut bytes = [0; 1024];
        let length = stream.read(&mut bytes).await.unwrap();
        assert!(length > 0, "no request but {request:?}");
        request.push_str(str::from_utf8(&bytes[..length]).unwrap());
    }
    for word in words {
        assert!(request.contains(word), "no {word:?} in {request:?}");
    }
}

async fn respond(stream: &mut TcpStream, headers: &str, body: &str) {
    let length = body.len();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n{headers}\r\n");
    // In two pieces, so that a client that stops waiting has a part of it.
    stream.write_all(head.as_bytes()).await.unwrap();
    yield_now().await;
    stream.write_all(body.as_bytes()).await.unwrap();
}

/// Reads a masked frame of text.
async fn frame(stream: &mut TcpStream) -> String {
    let mut head = [0; 6];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!((head[0], head[1] & 0x80), (0x81, 0x80), "text, and masked");
    let mut payload = vec![0; usize::from(head[1] & 0x7f)];
    stream.read_exact(&mut payload).await.unwrap();
    let payload = payload.iter().zip(head[2..].iter().cycle()).map(|(byte, mask)| byte ^ mask);
    String::from_utf8(payload.collect()).unwrap()
}

async fn send_frame(stream: &mut TcpStream, text: &str) {
    let length = u8::try_from(text.len()).unwrap();
    stream.write_all(&[&[0x81, length], text.as_bytes()].concat()).await.unwrap();
}

/// What both sides come to. A side that waits for what the other never sends fails the test.
async fn both<A, B>(visit: impl Future<Output = A>, serve: impl Future<Output = B>) -> (A, B) {
    let both = async { tokio::join!(visit, serve) };
    timeout(PATIENCE, both).await.expect("both sides come to an end")
}

/// How a client waits for the next event.
#[derive(Clone, Copy, Debug)]
enum Waiting {
    /// Until it comes.
    Patiently,
    /// By looking once, again and again: each look is dropped if nothing has come.
    InGlances,
}

async fn next(session: &mut Session, waiting: Waiting) -> Result<Event, Error> {
    loop {
        tokio::select! {
            biased;
            event = session.next() => return event,
            () = yield_now(), if matches!(waiting, Waiting::InGlances) => {}
        }
    }
}

/// Goal: a session upgrades as in browsers, also through a balancer, and loses nothing. Method: a server that checks every
/// request in order; it answers the open poll after the probe, with a count in it, and sends another count on the
/// websocket.
#[rstest]
#[case(Waiting::Patiently)]
#[case(Waiting::InGlances)]
#[tokio::test]
async fn a_session_moves(#[case] waiting: Waiting) {
    let (server, authority) = Server::start().await;
    let serve = async {
        let mut polling = server.accept().await;
        request(&mut polling, &["GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"]).await;
        respond(&mut polling, "Set-Cookie: server=b; path=/\r\n", OPEN).await;
        let known = ["&sid=a HTTP/1.1\r\n", "\r\nCookie: server=b\r\n"];
        request(&mut polling, &[&known[..], &["POST", "\r\n\r\n40"]].concat()).await;
        respond(&mut polling, "", "ok").await;
        request(&mut polling, &[&known[..], &["GET"]].concat()).await;
        respond(&mut polling, "", "40{}").await;
        // The first poll may be answered before the probe is begun; the second is under way while it is answered.
        let mut socket = server.accept().await;
        request(
            &mut socket,
            &[&known[..], &["transport=websocket", "Upgrade: websocket"]].concat(),
        )
        .await;
        request(&mut polling, &["GET"]).await;
        socket.write_all(SWITCH.as_bytes()).await.unwrap();
        assert_eq!(frame(&mut socket).await, "2probe");
        send_frame(&mut socket, "3probe").await;
        respond(&mut polling, "", "42[\"user count\",1]\x1e6").await;
        assert_eq!(frame(&mut socket).await, "5");
        send_frame(&mut socket, "42[\"user count\",2]").await;
        socket
    };
    let visit = async {
        let (mut session, handshake) = Session::open(&authority, Transport::Upgrade).await.unwrap();
        assert_eq!(handshake.sid, "a");
        session.send(CONNECT).await.unwrap();
        let mut events = Vec::new();
        while !events.contains(&Event::Packet(Packet::Count(2))) {
            events.push(next(&mut session, waiting).await.unwrap());
        }
        events
    };
    let (events, _socket) = both(visit, serve).await;
    let packets = |packets: &[Packet]| packets.iter().cloned().map(Event::Packet).collect();
    let before: Vec<Event> = packets(&[Packet::Connected, Packet::Count(1), Packet::Noop]);
    let after = packets(&[Packet::Count(2)]);
    assert_eq!(events, [before, vec![Event::Upgraded], after].concat());
}

/// Goal: a client can post while its poll is open. Method: a pong during a poll, on another connection; then the poll is
/// answered.
#[tokio::test]
async fn a_poll_stays_while_its_client_speaks() {
    let (server, authority) = Server::start().await;
    let serve = async {
        let mut polling = server.accept().await;
        request(&mut polling, &["GET"]).await;
        respond(&mut polling, "", OPEN).await;
        request(&mut polling, &["GET", "&sid=a"]).await;
        let mut other = server.accept().await;
        request(&mut other, &["POST", "\r\n\r\n3"]).await;
        respond(&mut other, "", "ok").await;
        respond(&mut polling, "", "6").await;
        polling
    };
    let visit = async {
        let (mut session, _) = Session::open(&authority, Transport::Polling).await.unwrap();
        tokio::select! {
            biased;
            event = session.next() => panic!("nothing has been sent: {event:?}"),
            () = yield_now() => {}
        }
        session.send(PONG).await.unwrap();
        next(&mut session, Waiting::Patiently).await
    };
    let (event, _polling) = both(visit, serve).await;
    assert_eq!(event, Ok(Event::Packet(Packet::Noop)));
}

/// Goal: a probe that the server refuses ends the session, with the reason. Method: a server that refuses the websocket
/// with a status, and one that answers the probe with another packet.
#[rstest]
#[case("HTTP/1.1 400 Bad Request\r\n\r\n", "status 400")]
#[case(SWITCH, "unexpected: a probe without an answer")]
#[tokio::test]
async fn refused_probes_are_told_apart(#[case] head: &str, #[case] reason: &str) {
    let (server, authority) = Server::start().await;
    let serve = async {
        let mut polling = server.accept().await;
        request(&mut polling, &["GET"]).await;
        respond(&mut polling, "", OPEN).await;
        let mut socket = server.accept().await;
        request(&mut socket, &["transport=websocket"]).await;
        socket.write_all(head.as_bytes()).await.unwrap();
        send_frame(&mut socket, "6").await;
        (polling, socket)
    };
    let visit = async {
        let (mut session, _) = Session::open(&authority, Transport::Upgrade).await.unwrap();
        next(&mut session, Waiting::Patiently).await
    };
    let (event, _streams) = both(visit, serve).await;
    assert_eq!(event.unwrap_err().to_string(), reason);
}
