//! Tests of sessions on websockets, over real sockets, frame by frame.

use std::time::Duration;

use rstest::rstest;
use tokio::io::AsyncReadExt;

use super::*;
use crate::{
    engine::settings::JOIN_TIMEOUT,
    http::serve::tests::{PATIENCE, Peer, Server},
    protocol::{frame::USER_COUNT, transport::Transports},
};

/// A server and a client whose websocket is open.
async fn opened(ping: Duration) -> (Server, Peer) {
    let server = Server::start(ping, Transports::Both);
    let peer = Peer::open(&server, None).await;
    (server, peer)
}

/// A server and a client that has joined.
async fn joined(ping: Duration) -> (Server, Peer) {
    let (server, mut peer) = opened(ping).await;
    assert!(peer.hear().await.starts_with("0{"));
    peer.say("40").await;
    while !peer.hear().await.starts_with("40{") {}
    (server, peer)
}

/// Goal: a session sends what the protocols require. Method: the first packet; joining, other namespaces; events; leaving
/// and joining again; a ping frame; the close.
#[tokio::test]
async fn a_session_keeps_to_the_protocols() {
    let (server, mut peer) = opened(PATIENCE).await;
    let opening = peer.hear().await;
    let opening: serde_json::Value = serde_json::from_str(&opening[1..]).unwrap();
    assert_eq!(opening["upgrades"], serde_json::json!([]));
    let pings = (&opening["pingInterval"], &opening["pingTimeout"], &opening["maxPayload"]);
    assert_eq!(pings, (&20_000.into(), &20_000.into(), &1000.into()));
    let id = opening["sid"].as_str().expect("an id").to_owned();
    assert_eq!(server.tally.users(), 0);

    for round in 1..=2 {
        peer.say("40{\"token\":1}").await;
        assert_eq!(peer.hear().await, format!("40{{\"sid\":\"{id}\"}}"));
        server.users(1).await;
        peer.say(&format!("42[\"{USER_COUNT}\",7]")).await;
        peer.say("451-[\"x\",{\"_placeholder\":true,\"num\":0}]").await;
        peer.send(0x82, b"part").await;
        peer.say("40").await;
        peer.say("40/nowhere,").await;
        assert_eq!(peer.hear().await, "44/nowhere,{\"message\":\"Invalid namespace\"}");
        assert_eq!(server.engine.joined(Transport::Websocket), 1);
        peer.say("41").await;
        server.users(0).await;
        assert_eq!(server.disconnects("client_left"), round);
    }

    peer.say("40").await;
    peer.hear().await;
    peer.send(0x89, b"there?").await;
    assert_eq!(peer.receive().await, Some((0x8a, b"there?".to_vec())));
    peer.send(0x88, &1001_u16.to_be_bytes()).await;
    assert_eq!(peer.receive().await, Some((0x88, 1000_u16.to_be_bytes().to_vec())));
    assert_eq!(peer.receive().await, None);
    server.users(0).await;
    let left = (server.disconnects("transport_close"), server.engine.joined(Transport::Websocket));
    assert_eq!(left, (1, 0));
    server.no_session().await;
}

/// Goal: a client that sends something invalid is told the reason, and its session ends at once. Method: one invalid packet
/// or frame each, before and after joining.
#[rstest]
#[case(0x81, b"9", 1002, "bad_packet")]
#[case(0x81, b"42{}", 1002, "bad_packet")]
#[case(0x81, b"42abc[\"x\"]", 1002, "bad_packet")]
#[case(0x82, b"\x80", 1002, "bad_packet")]
#[case(0x81, b"2probe", 1002, "bad_packet")]
#[case(0x81, b"5", 1002, "bad_packet")]
#[case(0x81, b"\xff", 1007, "transport_error")]
#[tokio::test]
async fn what_no_client_may_say_ends_the_session(
    #[case] first: u8,
    #[case] payload: &[u8],
    #[case] code: u16,
    #[case] reason: &str,
    #[values(false, true)] has_joined: bool,
) {
    let (server, mut peer) =
        if has_joined { joined(PATIENCE).await } else { opened(PATIENCE).await };
    peer.send(first, payload).await;
    while let Some((first, payload)) = peer.receive().await {
        if first == 0x88 {
            assert_eq!(payload, code.to_be_bytes());
        }
    }
    server.users(0).await;
    server.no_session().await;
    assert_eq!(server.disconnects(reason), u64::from(has_joined));
}

/// Goal: a client that answers pings stays, and the session of one that does not ends. Method: a client that answers five
/// pings and then is silent.
#[tokio::test]
async fn the_silent_are_found_out() {
    let (server, mut peer) = joined(Duration::from_millis(200)).await;
    for _ in 0..5 {
        assert_eq!(peer.hear().await, "2");
        assert_eq!(server.engine.joined(Transport::Websocket), 1);
        peer.say("3").await;
    }
    assert_eq!(peer.hear().await, "2");
    assert_eq!(peer.receive().await, None, "it is pinged once and then ended");
    server.users(0).await;
    assert_eq!(server.disconnects("ping_timeout"), 1);
}

/// Goal: a session ends if its client never joins, or leaves and does not join again. Method: one client of each kind, with
/// a paused clock.
#[rstest]
#[tokio::test]
async fn a_session_must_be_joined(#[values(false, true)] leaves: bool) {
    let hour = Duration::from_hours(1);
    let (server, mut peer) = if leaves { joined(hour).await } else { opened(hour).await };
    if leaves {
        peer.say("41").await;
        server.users(0).await;
    } else {
        assert!(peer.hear().await.starts_with("0{"));
    }
    tokio::time::pause();
    let start = tokio::time::Instant::now();
    assert_eq!(peer.client.read(&mut [0]).await.unwrap(), 0);
    let took = start.elapsed();
    assert!(took.abs_diff(JOIN_TIMEOUT) < Duration::from_secs(3), "{took:?}");
    server.no_session().await;
}

/// Goal: a flood ends the session. Method: far more pongs than are allowed.
#[tokio::test]
async fn a_flood_ends_the_session() {
    let (server, mut peer) = joined(PATIENCE).await;
    let pongs = [0x81, 0x81, 0, 0, 0, 0, b'3'].repeat(20_000);
    // It is cut amid them.
    let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.client, &pongs).await;
    server.users(0).await;
    assert_eq!(server.disconnects("flood"), 1);
}
