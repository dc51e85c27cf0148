//! Clients that send too much: each kind is disconnected, has its own reason in the metrics, and does not affect other
//! clients.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use headcount_testkit::{
    raw::{
        Raw, Way,
        frames::{BINARY, FINAL, PING, frame, text},
        polling_counted, post,
    },
    waiting::eventually,
};

use crate::besieged::{Besieged, CROWD};

/// Attackers of each kind.
const ATTACKERS: usize = 3;

/// Goal: a flood of well-formed packets ends the connection, is counted as a flood, and does not write a log line for
/// every message. Method: joined websockets, some of which began with polling, send one kind of packet without a pause
/// until they are disconnected.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_well_formed_packets_are_cut() {
    let kinds = [
        ("pongs", text("3")),
        ("acknowledgements", text("431[]")),
        ("requests for the namespace", text("40")),
        ("namespaces that are none", text("40/no where,")),
        ("rooms joined and left", [text("40/room,"), text("41/room,")].concat()),
        ("rooms that are left and were not joined", text("41/room,")),
        ("events", text("42[\"hello\"]")),
        ("large events", text(&format!("42[\"hello\",\"{}\"]", "x".repeat(16_000)))),
        ("events for an unknown namespace", text("42/nowhere,[\"hello\"]")),
        (
            "binary events",
            [text("451-[\"x\",{\"_placeholder\":true,\"num\":0}]"), binary(8)].concat(),
        ),
        ("websocket pings", frame(FINAL | PING, &[0; 100])),
    ];
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let ways = kinds.iter().flat_map(|(kind, bytes)| Way::BOTH.map(|way| (kind, bytes, way)));
    let floods = ways.flat_map(|attack| [attack; ATTACKERS]).map(async |(kind, bytes, way)| {
        let raw = Raw::alive_by(way, address).await;
        let start = Instant::now();
        // Many packets in one write, so that the attacker is not slower than the server.
        raw.flood(&bytes.repeat(1 + 4096 / bytes.len())).await;
        println!("{kind}, {way:?}: cut after {:?}", start.elapsed());
    });
    join_all(floods).await;
    besieged.agrees_on(CROWD).await;
    besieged.until_disconnected("flood", 2 * kinds.len() * ATTACKERS).await;
    besieged.is_unharmed().await;
}

fn binary(length: usize) -> Vec<u8> {
    frame(FINAL | BINARY, &vec![0; length])
}

/// Goal: a flood of invalid packets is cut at its first packet. Method: joined websockets send invalid input without a
/// pause: empty messages, packets of unknown types, pings, which only servers send, or bytes that no event announced.
/// Others alternate joins and leaves.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_rubbish_are_cut_at_once() {
    let kinds = ["", "9", "4", "4rubbish", "2"].map(text);
    let kinds = kinds.into_iter().chain([binary(1), binary(16_000)]);
    let attacks: Vec<_> =
        kinds.flat_map(|bytes| Way::BOTH.map(|way| (bytes.clone(), way))).collect();
    let churn = [text("41"), text("40")].concat();
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let floods = attacks.iter().flat_map(|attack| [attack; ATTACKERS]).map(async |(bytes, way)| {
        Raw::alive_by(*way, address).await.flood(&bytes.repeat(1 + 4096 / bytes.len())).await;
    });
    join_all(floods).await;
    for way in Way::BOTH {
        Raw::alive_by(way, address).await.flood(&churn.repeat(300)).await;
    }
    besieged.agrees_on(CROWD).await;
    besieged.until_disconnected("bad_packet", attacks.len() * ATTACKERS).await;
    // A client that leaves and joins repeatedly may be cut after either.
    eventually("each churner is counted out as often as in", async || {
        let left = besieged.left("client_left").await;
        if left > 0 { Ok(()) } else { Err(besieged.all_disconnects().await) }
    })
    .await;
    besieged.is_unharmed().await;
}

/// Goal: a polling session that posts without a pause, or too much at a time, is ended and gets an error. Method:
/// joined polling sessions post on one connection until the answer is not 200.
#[tokio::test(flavor = "multi_thread")]
async fn floods_of_posts_end_the_session() {
    let many = vec!["3"; 4000].join("\x1e");
    let churn = ["41", "40"].repeat(2000).join("\x1e");
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let kinds = ["3", "40", "42[\"hello\"]", &many, &churn];
    let floods = kinds.iter().flat_map(|body| [body; ATTACKERS]).map(async |body| {
        let path = polling_counted(address).await;
        let start = Instant::now();
        let posts = posts_until_refused(address, &post(address, &path, body)).await;
        let allowed = posts_max(body.len(), start.elapsed());
        println!("{} bytes a post: refused after {posts}, {allowed} are allowed", body.len());
        assert!(posts <= allowed, "{posts} posts of {} bytes, {allowed} are allowed", body.len());
        posts
    });
    let posts = join_all(floods).await;
    let small = &posts[..3 * ATTACKERS];
    assert!(small.iter().all(|&posts| posts >= 10), "a client may say something: {small:?}");
    assert_eq!(besieged.refused("flood").await, kinds.len() * ATTACKERS, "each was told so");
    besieged.is_unharmed().await;
}

/// The number of posts that the limits allow in this time: 64 KiB at once and 4 KiB a second. A post costs 2 KiB in
/// addition to its own bytes. One more may be under way when the time is measured.
pub(crate) fn posts_max(bytes: usize, time: Duration) -> usize {
    let seconds = usize::try_from(time.as_secs()).expect("a test ends") + 1;
    (64 * 1024 + 4096 * seconds) / (2048 + bytes) + 1
}

async fn posts_until_refused(server: SocketAddr, request: &str) -> usize {
    let mut raw = Raw::open(server).await;
    for posts in 0..10_000 {
        raw.send(request.as_bytes()).await.expect("the connection is open");
        let answer = raw.answer().await.expect("an answer");
        match answer.status {
            200 => {}
            429 => return posts,
            _ => panic!("{answer:?}"),
        }
    }
    panic!("10,000 posts were taken");
}

/// Goal: polling at a high rate ends the session, and requesting the API at a high rate delays no client for long.
/// Method: three polls at a time on joined sessions, and eight connections that request the count without a pause for
/// some seconds. Meanwhile a newcomer must be counted by all.
#[tokio::test(flavor = "multi_thread")]
async fn hammering_with_requests_harms_nobody() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let hammers: Vec<_> = (0..8).map(|_| tokio::spawn(hammer(address))).collect();
    for _ in 0..ATTACKERS {
        let path = polling_counted(address).await;
        let poll = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
        // While counts arrive, every poll may be answered before the next one comes.
        while !polls_at_a_time(address, &poll).await.contains(&400) {}
    }
    let what = "everybody sees who joins and who leaves under fire";
    let ((), took) = eventually(what, async || {
        besieged.cluster.all_say(CROWD as u64, &besieged.records()).await
    })
    .await;
    println!("{what}: {took:?}");
    for hammer in hammers {
        println!("one hammer got {} answers", hammer.await.expect("it does not panic"));
    }
    besieged.until_disconnected("multiple_polls", ATTACKERS).await;
    besieged.is_unharmed().await;
}

/// The answers to three polls at a time. One of them takes the waiting packets, and the other two overlap.
async fn polls_at_a_time(server: SocketAddr, poll: &str) -> Vec<u16> {
    let polls = [(); 3].map(async |()| {
        let answer = Raw::saying(server, poll).await.answer().await;
        let status = answer.expect("each is answered").status;
        assert!([200, 400].contains(&status), "{status}");
        status
    });
    join_all(polls).await
}

async fn hammer(server: SocketAddr) -> usize {
    let request = format!("GET /api/count HTTP/1.1\r\nhost: {server}\r\n\r\n");
    let mut raw = Raw::open(server).await;
    let start = Instant::now();
    let mut answers = 0;
    while start.elapsed() < Duration::from_secs(3) {
        raw.send(request.as_bytes()).await.expect("the connection is open");
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
        answers += 1;
    }
    answers
}
