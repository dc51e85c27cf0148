//! Tests of sessions on websockets, over real sockets, frame by frame.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use rstest::rstest;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    runtime::Handle,
};

use super::*;
use crate::{
    engine::settings::JOIN_TIMEOUT,
    http::serve::tests::{PATIENCE, Peer, ROOMS_MAX, Server},
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
    assert_eq!(server.tally.connections(), 0);

    for round in 1..=2 {
        peer.say("40{\"token\":1}").await;
        assert_eq!(peer.hear().await, format!("40{{\"sid\":\"{id}\"}}"));
        server.users(1).await;
        peer.say(&format!("42[\"{USER_COUNT}\",7]")).await;
        peer.say("451-[\"x\",{\"_placeholder\":true,\"num\":0}]").await;
        peer.send(0x82, b"part").await;
        peer.say("40").await;
        peer.say("40/no where,").await;
        assert!(peer.hear().await.starts_with("44/no where,{"));
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

/// Goal: nothing is sent before the answer to a websocket's handshake: a ping whose turn has come, or the close of a session that
/// is sent away at once. Method: a thread that does both to every session it sees, as fast as it can, while clients come.
#[rstest]
#[case::a_ping(|engine: &Engine, session: &Arc<Session>| engine.ping(session, 1))]
#[case::a_farewell(|engine: &Engine, session: &Arc<Session>| {
    engine.end(session, End { close_code: Some(1001), ..EndReason::Draining.into() });
})]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_to_the_handshake_comes_first(#[case] meet: fn(&Engine, &Arc<Session>)) {
    let (server, stop) = (Server::start(PATIENCE, Transports::Both), AtomicBool::new(false));
    let engine = &*server.engine;
    std::thread::scope(|threads| {
        let meeting = threads.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                engine.sessions().all().iter().for_each(|session| meet(engine, session));
            }
        });
        let visits = async {
            for _ in 0..1000 {
                drop(Peer::open(&server, None).await);
                server.no_session().await;
            }
        };
        let visits = std::panic::AssertUnwindSafe(visits).catch_unwind();
        let seen = tokio::task::block_in_place(|| Handle::current().block_on(visits));
        stop.store(true, Ordering::Relaxed);
        meeting.join().unwrap();
        seen.unwrap();
    });
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
    // The connection is cut in the middle of them.
    let _ = peer.client.write_all(&pongs).await;
    server.users(0).await;
    assert_eq!(server.disconnects("flood"), 1);
}

/// Goal: several rooms share one websocket: each has its acknowledgement, its first value and its own counts, and leaving one
/// leaves the others alone. Method: two clients, one of which is in the site and in two rooms; exact frames.
#[tokio::test]
async fn rooms_share_a_websocket() {
    let (server, mut one) = opened(PATIENCE).await;
    let opening = one.hear().await;
    let id = opening.split('"').nth(3).expect("the id comes first").to_owned();
    for room in ["/blog/post-1", "/caf\u{e9}/\"{}\\"] {
        one.say(&format!("40{room},{{\"token\":\"x\"}}")).await;
        assert_eq!(one.hear().await, format!("40{room},{{\"sid\":\"{id}\"}}"));
        assert_eq!(one.hear().await, format!("42{room},[\"{USER_COUNT}\",1]"));
    }
    assert_eq!(server.tally.connections(), 0, "it is in rooms alone");
    one.say("40/blog/post-1,").await;
    one.say("40").await;
    assert_eq!(
        one.hear().await,
        format!("40{{\"sid\":\"{id}\"}}"),
        "joining twice is joining once"
    );
    let mut two = Peer::open(&server, None).await;
    two.hear().await;
    two.say("40/blog/post-1,").await;
    two.hear().await;
    let told = format!("42/blog/post-1,[\"{USER_COUNT}\",2]");
    assert_eq!((one.hear().await, two.hear().await), (told.clone(), told));
    one.say("41/blog/post-1,").await;
    assert_eq!(two.hear().await, format!("42/blog/post-1,[\"{USER_COUNT}\",1]"));
    one.say("40/blog/post-1,").await;
    assert!(one.hear().await.starts_with("40/blog/post-1,{"));
    let told = format!("42/blog/post-1,[\"{USER_COUNT}\",2]");
    assert_eq!((one.hear().await, two.hear().await), (told.clone(), told));
    let joined = server.metrics.memberships.with_label_values(&["member"]).get();
    assert_eq!((server.tally.connections(), joined), (1, 3));
    drop(one);
    assert_eq!(two.hear().await, format!("42/blog/post-1,[\"{USER_COUNT}\",1]"));
    server.users(0).await;
    drop(two);
    server.no_session().await;
    server.no_rooms().await;
}

/// Goal: a refusal names its reason, and leaves the connection and its other rooms alone. Method: each kind of refusal, in a
/// session that is in a room.
#[tokio::test]
async fn refusals_have_codes() {
    let (server, mut peer) = opened(PATIENCE).await;
    peer.hear().await;
    let long = format!("/{}", "x".repeat(300));
    let cases = [
        ("/a b", "", "room_not_allowed"),
        ("/private/1", "", "room_not_allowed"),
        ("/a?b=1", "", "room_not_allowed"),
        (&*long, "", "room_not_allowed"),
        ("/a", "{\"watch\":1}", "bad_auth"),
        ("", "{\"list\":\"\"}", "bad_auth"),
    ];
    for (room, auth, code) in cases {
        let comma = if room.is_empty() { "" } else { "," };
        // The peer's frames are short.
        peer.send_long(&format!("40{room}{comma}{auth}")).await;
        let refusal = peer.hear().await;
        let json = refusal.strip_prefix(&format!("44{room}{comma}")).expect(&refusal);
        let json: serde_json::Value = serde_json::from_str(json).expect(&refusal);
        assert_eq!(json["data"]["code"], code, "{refusal}");
        assert!(json["message"].is_string());
    }
    for number in 1..=8 {
        peer.say(&format!("40/n/{number},")).await;
        assert!(peer.hear().await.starts_with("40/"));
        assert!(peer.hear().await.starts_with("42/"));
    }
    peer.say("40/n/9,").await;
    assert!(peer.hear().await.ends_with("\"code\":\"too_many_rooms\"}}"));
    // More may be watched.
    for number in 9..=ROOMS_MAX {
        peer.say(&format!("40/n/{number},{{\"watch\":true}}")).await;
        assert!(peer.hear().await.starts_with("40/"));
        assert!(peer.hear().await.ends_with("[\"user count\",0]"));
    }
    peer.say("40/n/21,{\"watch\":true}").await;
    assert!(peer.hear().await.ends_with("\"code\":\"too_many_rooms\"}}"), "on the instance");
    peer.say("41/n/9,").await;
    // An empty room makes space as soon as the store knows.
    let joined = async {
        while {
            peer.say("40/n/21,{\"watch\":true}").await;
            !peer.hear().await.starts_with("40/n/21,")
        } {}
    };
    timeout(PATIENCE, joined).await.expect("there is space");
    let refused = ["room_not_allowed", "bad_auth", "too_many_rooms"]
        .map(|code| server.metrics.joins_refused.with_label_values(&[code]).get());
    assert!(refused[..2] == [4, 2] && refused[2] >= 2, "{refused:?}");
}

/// Goal: a client that is only in rooms has joined; one that has left all must join again. Method: with a paused clock, the time
/// to join passes after a join, and after leaving the last of two rooms.
#[tokio::test]
async fn rooms_are_joined_in_time() {
    let (server, mut peer) = opened(Duration::from_mins(5)).await;
    peer.hear().await;
    for room in ["/a", "/b"] {
        peer.say(&format!("40{room},")).await;
        peer.hear().await;
        peer.hear().await;
    }
    peer.say("41/a,").await;
    server.memberships(1).await;
    tokio::time::pause();
    tokio::time::sleep(2 * JOIN_TIMEOUT).await;
    assert_eq!(server.engine.sessions().all().len(), 1, "it is in a room");
    tokio::time::resume();
    peer.say("41/b,").await;
    server.memberships(0).await;
    tokio::time::pause();
    tokio::time::sleep(2 * JOIN_TIMEOUT).await;
    server.no_session().await;
    assert_eq!(peer.receive().await, None);
}

/// Goal: a client that joins and leaves rooms too often is cut, and a page that changes all its rooms is not. Method: joins and
/// leaves of a page with a hundred rooms, twice; then more.
#[tokio::test]
async fn joins_and_leaves_are_limited() {
    let (server, mut peer) = opened(PATIENCE).await;
    peer.hear().await;
    for number in 0..200 {
        peer.say(&format!("40/n/{number},{{\"watch\":true}}")).await;
        peer.say(&format!("41/n/{number},")).await;
        while !peer.hear().await.starts_with("40/") {}
    }
    let cut = async {
        loop {
            // Writing fails once the server has ended the connection.
            let frame = [&[0x81, 0x85, 0, 0, 0, 0], &b"41/a,"[..]].concat();
            if peer.client.write_all(&frame).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, cut).await.expect("it is cut");
    server.no_rooms().await;
    server.no_session().await;
    let ended = server.metrics.sessions.ended.with_label_values(&["flood"]).get();
    assert_eq!((ended, server.disconnects("flood")), (1, 0), "it was only in rooms");
}

/// Goal: a watcher of the site is not counted, and a session may watch it or be counted in it. Method: a watcher that leaves and
/// joins.
#[tokio::test]
async fn the_site_may_be_watched() {
    let (server, mut peer) = opened(PATIENCE).await;
    peer.hear().await;
    peer.say("40{\"watch\":true}").await;
    assert!(peer.hear().await.starts_with("40{"));
    assert_eq!((server.tally.connections(), server.tally.watchers()), (0, 1));
    assert_eq!(server.engine.joined(Transport::Websocket), 0);
    assert_eq!(server.metrics.site_watchers.get(), 1);
    peer.say("41").await;
    peer.say("40{\"watch\":false}").await;
    assert!(peer.hear().await.starts_with("40{"));
    assert_eq!((server.tally.connections(), server.tally.watchers()), (1, 0));
    assert_eq!((server.metrics.site_watchers.get(), server.disconnects("client_left")), (0, 0));
}
