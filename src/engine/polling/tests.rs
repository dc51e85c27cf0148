//! Tests of sessions that poll, and of their move to a websocket, over real sockets.

#[path = "tests/model.rs"]
mod model;

use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;
use crate::{
    engine::settings::{POLL_GAP_MAX, POLL_GAP_SUSPECT},
    http::serve::tests::{PATIENCE, Peer, Server, read_answer},
    net::connection::tests::pair,
    protocol::transport::Transports,
};

/// A server with one session that polls.
struct Stage {
    server: Server,
    sid: String,
    /// Whether requests come in a form that the fast path leaves to the HTTP server.
    is_unusual: bool,
}

impl Stage {
    async fn opened(is_unusual: bool) -> Self {
        let server = Server::start(PATIENCE, Transports::Both);
        let mut stage = Self { server, sid: String::new(), is_unusual };
        let (_, opening) = stage.ask("GET", "").await;
        assert!(opening.contains("\"upgrades\":[\"websocket\"]"), "{opening}");
        stage.sid = opening.split('"').nth(3).expect("the id comes first").to_owned();
        stage
    }

    /// Its client has asked to join, and has not polled yet.
    async fn joined(is_unusual: bool) -> Self {
        let stage = Self::opened(is_unusual).await;
        assert_eq!(stage.ask("POST", "40").await, (200, "ok".to_owned()));
        stage.server.users(1).await;
        stage
    }

    /// The same, and it has polled the acknowledgement.
    async fn settled(is_unusual: bool) -> Self {
        let stage = Self::joined(is_unusual).await;
        assert_eq!(stage.ask("GET", "").await.1, stage.acknowledgement());
        stage
    }

    fn acknowledgement(&self) -> String {
        format!("40{{\"sid\":\"{}\"}}", self.sid)
    }

    /// Sends a request on a new connection.
    async fn send(&self, method: &str, body: &str) -> TcpStream {
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let unusual = if self.is_unusual { "x-unusual: \u{e4}\r\n" } else { "" };
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nhost: here\r\n{unusual}\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut client = self.server.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// The status and the body of an answer.
    async fn ask(&self, method: &str, body: &str) -> (u16, String) {
        answer(self.send(method, body).await).await
    }

    /// Sends a poll, and waits until it is open.
    async fn poll(&self) -> TcpStream {
        let client = self.send("GET", "").await;
        let opened = async {
            let session = self.server.engine.sessions().all().pop().expect("it is open");
            while session.state().requests.poll != PollState::Open {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, opened).await.expect("the poll is served");
        client
    }

    /// A websocket that has been probed.
    async fn probed(&self) -> Peer {
        let mut peer = Peer::open(&self.server, Some(&self.sid)).await;
        peer.say("2probe").await;
        assert_eq!(peer.hear().await, "3probe");
        peer
    }

    fn by_transport(&self) -> [usize; 2] {
        Transport::ALL.map(|transport| self.server.engine.joined(transport))
    }
}

/// The refusal of this room.
fn not_allowed(room: &str) -> String {
    let code = "room_not_allowed";
    format!(
        "44{room},{{\"message\":\"This room is not allowed here\",\"data\":{{\"code\":\"{code}\"}}}}"
    )
}

async fn answer(mut client: TcpStream) -> (u16, String) {
    let read = timeout(PATIENCE, read_answer(&mut client)).await;
    let (head, body) = read.expect("an answer comes");
    assert!(head.contains("\r\ncache-control: no-store\r\n"), "{head}");
    (head[9..12].parse().expect("a status"), body)
}

/// Goal: a polling client gets what it should, from the fast path and from the HTTP server. Method: joining and leaving
/// with and without an open poll, other namespaces, several packets in one body, and the close.
#[rstest]
#[tokio::test]
async fn a_poller_keeps_to_the_protocols(#[values(false, true)] is_unusual: bool) {
    let stage = Stage::opened(is_unusual).await;
    let poll = stage.poll().await;
    let (status, body) = stage.ask("POST", "40").await;
    assert_eq!((status, &*body), (200, "ok"));
    assert_eq!(answer(poll).await, (200, stage.acknowledgement()));
    stage.server.users(1).await;
    assert_eq!(stage.by_transport(), [0, 1]);
    let said = "42[\"x\"]\u{1e}451-[\"x\",{\"_placeholder\":true,\"num\":0}]\u{1e}bAQID\u{1e}41\u{1e}40/a b,\u{1e}40";
    assert_eq!(stage.ask("POST", said).await.0, 200);
    let told = format!("{}\u{1e}{}", not_allowed("/a b"), stage.acknowledgement());
    assert_eq!(stage.ask("GET", "").await.1, told);
    assert_eq!(stage.server.disconnects("client_left"), 1);
    let poll = stage.poll().await;
    assert_eq!(stage.ask("POST", "1").await, (200, "ok".to_owned()));
    assert_eq!(answer(poll).await, (200, "6".to_owned()));
    stage.server.no_session().await;
    assert_eq!(stage.ask("GET", "").await.0, 400);
    assert_eq!(stage.server.disconnects("transport_close"), 1);
}

/// Goal: a client that is gone leaves the count at once. Method: cut a poll, and cut a post.
#[rstest]
#[tokio::test]
async fn a_request_that_is_cut_ends_the_session(
    #[values(false, true)] is_unusual: bool,
    #[values(false, true)] posts: bool,
) {
    let stage = Stage::settled(is_unusual).await;
    if posts {
        let sid = &stage.sid;
        let mut client = stage.server.connect().await;
        let unusual = if is_unusual { "transfer-encoding: chunked" } else { "content-length: 9" };
        let post = format!(
            "POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nhost: here\r\n{unusual}\r\n\r\n2"
        );
        client.write_all(post.as_bytes()).await.unwrap();
        let begun = async {
            let session = stage.server.engine.sessions().all().pop().expect("it is open");
            while !session.state().requests.posts {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, begun).await.expect("the post is served");
    } else {
        drop(stage.poll().await);
    }
    stage.server.users(0).await;
    stage.server.no_session().await;
    assert_eq!(stage.server.disconnects("transport_close"), 1);
}

/// Goal: only one poll may be open at a time. Method: a second poll ends the session, which the first one is told.
#[rstest]
#[tokio::test]
async fn a_second_poll_ends_the_session(#[values(false, true)] is_unusual: bool) {
    let stage = Stage::settled(is_unusual).await;
    let first = stage.poll().await;
    assert_eq!(stage.ask("GET", "").await.0, 400);
    assert_eq!(answer(first).await, (200, "1".to_owned()));
    stage.server.users(0).await;
    assert_eq!(stage.server.disconnects("multiple_polls"), 1);
}

/// Goal: a client that is sent away is not told that its session is closed, which python-socketio takes for the last word. Method: ends for
/// several reasons while a poll is open.
#[rstest]
#[case(EndReason::Draining, 400)]
#[case(EndReason::TokenExpired, 400)]
#[case(EndReason::PingTimeout, 200)]
#[tokio::test]
async fn who_is_sent_away_comes_back(#[case] reason: EndReason, #[case] status: u16) {
    let stage = Stage::settled(false).await;
    let poll = stage.poll().await;
    let session = stage.server.engine.sessions().all().pop().expect("it is open");
    stage.server.engine.end(&session, reason);
    let (answered, body) = answer(poll).await;
    assert_eq!((answered, body == "1"), (status, status == 200), "{body}");
    assert_eq!(stage.ask("GET", "").await.0, 400, "the session has ended");
    stage.server.users(0).await;
}

/// Goal: an invalid body is refused and ends the session. Method: one invalid body each.
#[rstest]
#[case("9", 400, "bad_packet")]
#[case("", 400, "bad_packet")]
#[case("5", 400, "bad_packet")]
#[case("6", 400, "bad_packet")]
#[case("2probe", 400, "bad_packet")]
#[case("3\u{1e}3probe", 400, "bad_packet")]
#[case("bAQID", 400, "bad_packet")]
#[case("451-[\"x\"]\u{1e}42[\"y\"]", 400, "bad_packet")]
#[case(&"x".repeat(1001), 413, "transport_error")]
#[tokio::test]
async fn what_no_client_may_post_ends_the_session(
    #[case] body: &str,
    #[case] status: u16,
    #[case] reason: &str,
    #[values(false, true)] is_unusual: bool,
) {
    let stage = Stage::settled(is_unusual).await;
    let poll = stage.poll().await;
    assert_eq!(stage.ask("POST", body).await.0, status);
    assert_eq!(answer(poll).await, (200, "1".to_owned()));
    stage.server.users(0).await;
    assert_eq!(stage.server.disconnects(reason), 1);
}

/// Goal: a session whose client does not poll ends, whatever the client posts. Method: a client that posts pongs, with a
/// paused clock.
#[tokio::test]
async fn who_does_not_poll_is_gone() {
    let stage = Stage::joined(false).await;
    // Its connection stays open, or its client would be taken for gone sooner.
    let mut client = stage.send("GET", "").await;
    assert_eq!(read_answer(&mut client).await.1, stage.acknowledgement());
    let engine = &stage.server.engine;
    let session = engine.sessions().all().pop().expect("it is open");
    tokio::time::pause();
    let start = Instant::now();
    // No socket is in the way, or the clock would run meanwhile.
    while let Ok(mut post) = engine.post(Arc::clone(&session)) {
        post.read(b"3").and_then(|()| post.finish()).expect("it is a good one");
        sleep(Duration::from_secs(1)).await;
    }
    let took = start.elapsed();
    assert!(took.abs_diff(POLL_GAP_MAX) < Duration::from_secs(3), "{took:?}");
    assert_eq!(stage.server.disconnects("ping_timeout"), 1);
}

/// Goal: an upgrade changes the transport and nothing else. Method: a client that has joined and not polled upgrades; then
/// it leaves, joins and closes.
#[tokio::test]
async fn a_session_moves_with_all_it_has() {
    let stage = Stage::joined(false).await;
    let mut peer = stage.probed().await;
    let before = stage.server.tally.subscribe().borrow().change;
    peer.say("5").await;
    assert_eq!(peer.hear().await, stage.acknowledgement());
    assert_eq!(stage.ask("GET", "").await.0, 400, "a websocket carries it");
    assert_eq!(stage.server.tally.subscribe().borrow().change, before);
    assert_eq!(stage.by_transport(), [1, 0]);
    peer.say("41").await;
    stage.server.users(0).await;
    peer.say("40").await;
    assert_eq!(peer.hear().await, stage.acknowledgement());
    let unwanted = Peer::open(&stage.server, Some(&stage.sid)).await.receive().await;
    assert_eq!(unwanted, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
    peer.say("1").await;
    stage.server.users(0).await;
    let ended = ["client_left", "transport_close"].map(|reason| stage.server.disconnects(reason));
    assert_eq!(ended, [1, 1]);
    stage.server.no_session().await;
}

/// Goal: an open poll is answered when the websocket has been probed, later polls soon after, and all of them take what
/// waits. Method: a poll before the probe, and after it one with a waiting packet and one without.
#[tokio::test]
async fn polls_end_when_the_websocket_is_probed() {
    let stage = Stage::settled(false).await;
    let waiting = stage.poll().await;
    let mut peer = stage.probed().await;
    assert_eq!(answer(waiting).await, (200, "6".to_owned()));
    assert_eq!(stage.ask("POST", "40/no where,").await.0, 200);
    let refusal = not_allowed("/no where");
    assert_eq!(stage.ask("GET", "").await.1, refusal);
    assert_eq!(stage.ask("GET", "").await, (200, "6".to_owned()));
    // The client's next words come with the packet that moves it.
    peer.say("5").await;
    peer.say("40/no where,").await;
    assert_eq!(peer.hear().await, refusal);
}

/// Goal: after a failed upgrade polls still carry the session, and another upgrade may follow. Method: websockets that send
/// invalid packets, beside an open poll.
#[rstest]
#[case("5")]
#[case("2")]
#[case("40")]
#[case("3probe")]
#[tokio::test]
async fn a_failed_attempt_harms_nothing(#[case] wrong: &str) {
    let stage = Stage::settled(false).await;
    let poll = stage.poll().await;
    let mut peer = Peer::open(&stage.server, Some(&stage.sid)).await;
    peer.say(wrong).await;
    assert_eq!(peer.receive().await, Some((0x88, 1002_u16.to_be_bytes().to_vec())));
    assert_eq!((stage.by_transport(), peer.receive().await), ([0, 1], None));
    let mut peer = stage.probed().await;
    assert_eq!(answer(poll).await, (200, "6".to_owned()));
    peer.say("5").await;
    peer.say("40/a,").await;
    assert!(peer.hear().await.starts_with("40/a,"));
    assert_eq!(stage.by_transport(), [1, 0]);
}

/// Goal: a client that vanishes during an upgrade is counted out soon; one that polls again stays. Method: a websocket that
/// is cut after the probe, with and without a later poll, with a paused clock.
#[rstest]
#[tokio::test]
async fn who_goes_away_amid_a_move_is_gone_soon(#[values(false, true)] polls_on: bool) {
    let stage = Stage::settled(false).await;
    drop(stage.probed().await);
    let poll = if polls_on { Some(stage.poll().await) } else { None };
    let session = stage.server.engine.sessions().all().pop().expect("it is open");
    while session.state().requests.upgrades {
        tokio::task::yield_now().await;
    }
    tokio::time::pause();
    sleep(POLL_GAP_SUSPECT + Duration::from_millis(500)).await;
    assert_eq!(stage.server.tally.connections(), u64::from(polls_on));
    tokio::time::resume();
    drop(poll);
    stage.server.users(0).await;
}

/// Goal: an upgrade that takes too long ends, and the session only if the client does not poll. Method: a websocket that is
/// probed and never completes the upgrade, with a paused clock.
#[tokio::test]
async fn an_attempt_that_takes_too_long_ends() {
    let stage = Stage::settled(false).await;
    let mut peer = stage.probed().await;
    tokio::time::pause();
    assert_eq!(peer.client.read(&mut [0]).await.unwrap(), 0, "it ends");
    tokio::time::resume();
    stage.server.users(0).await;
    stage.server.no_session().await;
}

/// Goal: the end of a session also ends the websocket of its upgrade. Method: the client closes the session by polling,
/// before and after the probe.
#[rstest]
#[tokio::test]
async fn a_session_that_ends_ends_its_attempt(#[values(false, true)] is_probed: bool) {
    let stage = Stage::joined(false).await;
    let mut peer = if is_probed {
        stage.probed().await
    } else {
        Peer::open(&stage.server, Some(&stage.sid)).await
    };
    assert_eq!(stage.ask("POST", "1").await, (200, "ok".to_owned()));
    assert_eq!(peer.receive().await, None);
    stage.server.users(0).await;
}

/// Goal: the handshake of a websocket is answered also if the session that was to move has ended meanwhile. Method: a session that ends
/// between the request and the answer.
#[tokio::test]
async fn the_handshake_of_a_move_is_answered() {
    let stage = Stage::settled(false).await;
    let (engine, session) = (&stage.server.engine, stage.server.engine.sessions().all().remove(0));
    let opening = engine.begin_upgrade(Arc::clone(&session)).expect("it may move");
    engine.end(&session, EndReason::Draining);
    let (connection, mut client) = pair().await;
    Arc::clone(engine).serve_websocket(connection, opening, b"answer".to_vec()).await;
    let mut received = String::new();
    client.read_to_string(&mut received).await.unwrap();
    assert_eq!(received, "answer");
}
