//! What polling clients post, and when: everything outside the protocol ends the session, however it is sent.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use headcount_testkit::{
    instance::{Instance, Shown},
    raw::{
        POLLING, Raw, Way,
        answer::Answer,
        ask,
        frames::{BINARY, FINAL, PING, frame, text},
        poll, polling_alive, polling_counted, polling_session, post, post_in_chunks, say,
    },
    waiting::eventually,
};
use rstest::rstest;
use tokio::time::sleep;

/// Packets that only servers send, that are only valid during an upgrade, or that no protocol has.
const WRONG: [&str; 16] = [
    "",
    "2",
    "2probe",
    "3probe",
    "5",
    "6",
    "b",
    "bAAAA",
    "0",
    "42",
    "42{}",
    "42abc[\"x\"]",
    "42[\"disconnect\"]",
    "45",
    "450",
    "4\u{0}",
];
/// What happens in time happens within this, even on a busy machine. What waits for the time to join takes ten seconds.
const SOON: Duration = Duration::from_secs(5);

/// Goal: an invalid packet ends the session at once, joined or not, on either transport. Method: each packet of a list
/// is posted, which is answered with 400. It is also sent on websockets of either kind, which are closed with 1002.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_packets_end_the_session() {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    for packet in WRONG {
        for path in [polling_session(server).await, polling_counted(server).await] {
            let answer = say(server, &path, packet).await;
            assert_eq!((answer.status, code_in(&answer)), (400, Some(3)), "{packet:?}");
            let next = poll(server, &path).await;
            assert_eq!((next.status, code_in(&next)), (400, Some(1)), "{packet:?}");
        }
        for way in Way::BOTH {
            is_refused(Raw::alive_by(way, server).await, &text(packet)).await;
        }
        is_refused(Raw::websocket(server, None).await, &text(packet)).await;
    }
    nobody_is_counted(&instance).await;
}

async fn is_refused(mut websocket: Raw, message: &[u8]) {
    let start = Instant::now();
    websocket.send(message).await.expect("the connection is open");
    let code = websocket.close_code().await;
    assert_eq!(code, Some(1002), "for {:?}", String::from_utf8_lossy(message));
    assert!(start.elapsed() < SOON, "{:?}", start.elapsed());
}

/// Goal: the binary parts of an event are accepted if the event announced them, and nothing else is accepted at that
/// point. Method: the CONNECT of a binary parser, which is bytes; too many bytes; text where bytes were announced. All
/// on both transports.
#[tokio::test(flavor = "multi_thread")]
async fn only_announced_bytes_are_taken() {
    const EVENT: &str =
        "452-[\"x\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let bytes = frame(FINAL | BINARY, &[0x84, 0xa4]);
    is_refused(Raw::websocket(server, None).await, &bytes).await;
    let whole = [text(EVENT), bytes.clone(), bytes.clone()].concat();
    for way in Way::BOTH {
        is_refused(Raw::alive_by(way, server).await, &bytes).await;
        let mut websocket = Raw::alive_by(way, server).await;
        let more = [whole.clone(), whole.clone(), text("40/no where,")].concat();
        assert!(websocket.is_answered_after(&more, "44/no where,").await, "both events are taken");
        is_refused(websocket, &bytes).await;
        let interrupted = [text(EVENT), bytes.clone(), text("42[\"x\"]")].concat();
        is_refused(Raw::alive_by(way, server).await, &interrupted).await;
    }
    let path = polling_counted(server).await;
    let posted = format!("{EVENT}\x1ebAQID\x1ebBAUG");
    assert_eq!(say(server, &path, &posted).await.status, 200);
    // The parts may come in separate posts.
    for packets in [EVENT, "bAQID", "bBAUG"] {
        assert_eq!(say(server, &path, packets).await.status, 200, "{packets}");
    }
    assert_eq!(say(server, &path, "bAQID").await.status, 400);
    let path = polling_counted(server).await;
    assert_eq!(say(server, &path, &format!("{EVENT}\x1e42[\"x\"]")).await.status, 400);
    nobody_is_counted(&instance).await;
}

/// Goal: a post has the same cost when it is sent in chunks. Method: joined sessions post a few bytes, and some
/// thousand bytes in small chunks, until they are refused as a flood. The limits allow a known number of posts.
#[rstest]
#[case("3", 1)]
#[case("42[\"hello\"]", 2)]
#[case(
    "42[\"hello\",\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"]",
    7
)]
#[tokio::test(flavor = "multi_thread")]
async fn posts_in_chunks_are_charged_like_others(#[case] packet: &str, #[case] chunk: usize) {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let body = vec![packet; 4000 / (packet.len() + 1)].join("\x1e");
    for body in [packet, &body] {
        let pieces =
            body.as_bytes().chunks(chunk).map(|piece| str::from_utf8(piece).expect("ASCII"));
        let chunked = post_in_chunks(server, &polling_counted(server).await, pieces);
        let plain = post(server, &polling_counted(server).await, body);
        for request in [chunked, plain] {
            let start = Instant::now();
            let posts = posts_until_flood(server, &request).await;
            let allowed = crate::floods::posts_max(body.len(), start.elapsed());
            println!("{} bytes: refused after {posts} posts, {allowed} are allowed", body.len());
            assert!(posts <= allowed, "{posts} posts, {allowed} are allowed");
            assert!(posts >= 5, "a client may say something: {posts}");
        }
    }
}

async fn posts_until_flood(server: SocketAddr, request: &str) -> usize {
    let mut raw = Raw::open(server).await;
    for posts in 0..1000 {
        raw.send(request.as_bytes()).await.expect("the connection is open");
        match raw.answer().await.expect("an answer") {
            answer if answer.status == 200 => {}
            answer => {
                assert_eq!(answer.status, 429, "{answer:?}");
                return posts;
            }
        }
    }
    panic!("1,000 posts were taken");
}

/// Goal: a client that never polls leaves the count in time, whatever it posts. Method: sessions join, stop polling,
/// and post pongs, events, or the join itself as often as allowed. Each is out within ping interval, ping timeout and
/// one more interval.
#[tokio::test(flavor = "multi_thread")]
async fn who_never_polls_is_out_whatever_is_posted() {
    const BOUND: Duration = Duration::from_secs(3);
    const NOISE: Duration = Duration::from_secs(2);
    let settings = [("HEADCOUNT_PING_INTERVAL", "1s"), ("HEADCOUNT_PING_TIMEOUT", "1s")];
    let instance = Instance::start(&settings).await;
    let server = instance.public;
    let posters = ["3", "42[\"x\"]", "40", "3\x1e3"].map(async |packets| {
        let path = polling_alive(server).await;
        let start = Instant::now();
        while say(server, &path, packets).await.status == 200 {
            assert!(start.elapsed() < BOUND + NOISE, "{packets:?} keeps a session alive");
            // The pace that the budget allows permanently.
            sleep(Duration::from_millis(550)).await;
        }
        println!("{packets:?}: over after {:?}", start.elapsed());
    });
    join_all(posters).await;
    nobody_is_counted(&instance).await;
}

/// Goal: two posts at a time end the session. Method: send a second post before the body of the first has arrived. The
/// first is parsed by the fast path or by the HTTP server.
#[rstest]
#[case("")]
#[case("x-page: caf\u{e9}\r\n")]
#[tokio::test(flavor = "multi_thread")]
async fn two_posts_at_a_time_end_the_session(#[case] headers: &str) {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let path = polling_counted(server).await;
    let whole = post(server, &path, "3333").replacen("\r\n", &format!("\r\n{headers}"), 1);
    let first = Raw::saying(server, &whole[..whole.len() - 2]).await;
    eventually("a second post is refused", async || {
        // The server may not have read the first post yet.
        match say(server, &path, "3").await {
            answer if answer.status == 400 => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
    assert_eq!(code_in(&poll(server, &path).await), Some(1), "the session has ended");
    let reason = "headcount_disconnects_total";
    assert_eq!(instance.metric(reason).await, Ok(1.0));
    drop(first);
}

/// Goal: once a websocket carries the session, polls and posts are refused and do not harm the session. Method: a poll
/// and a post after an upgrade, of a joined client and of one that has not joined. Then the websocket still answers.
#[tokio::test(flavor = "multi_thread")]
async fn requests_after_the_upgrade_are_refused() {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    for path in [polling_session(server).await, polling_counted(server).await] {
        let session = path.rsplit('=').next().expect("the path ends with it");
        let mut websocket = Raw::websocket(server, Some(session)).await;
        assert!(websocket.is_answered_after(&text("2probe"), "3probe").await);
        let moved = [text("5"), text("40/no where,")].concat();
        assert!(websocket.is_answered_after(&moved, "44/no where,").await, "it has moved");
        let refused = [poll(server, &path).await, say(server, &path, "3").await];
        for answer in refused {
            assert_eq!((answer.status, code_in(&answer)), (400, Some(3)), "{answer:?}");
        }
        assert!(websocket.is_answered_after(&text("40/else where,"), "44/else where,").await);
    }
}

/// Goal: after its own `41` a client gets no count until it joins again. Method: clients of both transports leave and
/// join many times while the count changes permanently. On websockets a pong marks what was sent after leaving.
#[tokio::test(flavor = "multi_thread")]
async fn no_count_follows_leaving() {
    let instance = Instance::start(&[("HEADCOUNT_EMIT_INTERVAL", "1ms")]).await;
    let server = instance.public;
    let churn = tokio::spawn(async move {
        loop {
            drop(join_all((0..4).map(|_| Raw::joined(server))).await);
        }
    });
    let on_websockets = join_all((0..8).map(|number| async move {
        let mut raw = Raw::alive_by(Way::BOTH[number % 2], server).await;
        for _ in 0..50 {
            leave_and_listen(&mut raw).await;
        }
    }));
    let by_polling = join_all((0..24).map(|_| async move {
        let path = polling_counted(server).await;
        for _ in 0..7 {
            assert_eq!(say(server, &path, "41").await.status, 200);
            // A packet that is answered, so that the poll need not wait for a ping.
            assert_eq!(say(server, &path, "40/no where,").await.status, 200);
            let heard = poll(server, &path).await.body;
            assert!(heard.contains("44/no where,") && !heard.contains("42["), "{heard:?}");
            assert_eq!(say(server, &path, "40").await.status, 200);
            assert!(poll(server, &path).await.body.contains("40{"), "it is let in again");
        }
    }));
    tokio::join!(on_websockets, by_polling);
    churn.abort();
}

/// Leaves, and reads up to the pong that follows. Returns what else arrives before the answer to the next join.
async fn leave_and_listen(raw: &mut Raw) {
    const PONG: u8 = 10;
    raw.send(&[text("41"), frame(FINAL | PING, b"left")].concat()).await.expect("it is open");
    while raw.read_frame().await.expect("it is open") != (PONG, b"left".to_vec()) {}
    raw.send(&text("40")).await.expect("it is open");
    loop {
        let heard = raw.text().await.expect("a text");
        assert!(!heard.starts_with("42"), "{heard} after leaving");
        if heard.starts_with("40{") {
            return;
        }
    }
}

/// Goal: no cache may store an answer of the endpoint. Method: every kind of answer, errors included, by the fast path
/// and by the HTTP server.
#[rstest]
#[case("")]
#[case("x-page: caf\u{e9}\r\n")]
#[tokio::test(flavor = "multi_thread")]
async fn no_answer_may_be_kept(#[case] headers: &str) {
    let instance = Instance::start(&[("HEADCOUNT_MAX_CONNECTIONS", "3")]).await;
    let server = instance.public;
    let path = polling_counted(server).await;
    let foreign = format!("origin: https://evil.example\r\n{headers}");
    let mut answers = vec![ask(server, "GET", POLLING, headers).await];
    let poll_again = ask(server, "GET", &path, headers);
    let (news, other) = tokio::join!(poll_again, Raw::joined(server));
    answers.push(news);
    let posted = post(server, &path, "3").replacen("\r\n", &format!("\r\n{headers}"), 1);
    answers.push(Raw::saying(server, posted).await.answer().await.expect("an answer"));
    for (method, path, headers) in [
        ("GET", POLLING, headers),
        ("GET", POLLING, &foreign),
        ("POST", POLLING, headers),
        ("GET", "/socket.io/?EIO=3&transport=polling", headers),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=x", headers),
        ("GET", "/socket.io/?EIO=4&transport=websocket", headers),
        ("GET", "/socket.io/?EIO=4", headers),
        ("PUT", &path, headers),
    ] {
        answers.push(ask(server, method, path, headers).await);
    }
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [200, 200, 200, 503, 403, 400, 400, 400, 400, 400, 400]);
    for answer in answers {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{answer:?}");
    }
    drop(other);
}

/// The code of an error, in the format of the reference server.
fn code_in(answer: &Answer) -> Option<u64> {
    serde_json::from_str::<serde_json::Value>(&answer.body).ok()?.get("code")?.as_u64()
}

async fn nobody_is_counted(instance: &Instance) {
    eventually("nobody is counted", async || match instance.shown().await? {
        Shown { count: 0, .. } => Ok(()),
        shown => Err(format!("{shown:?}")),
    })
    .await;
}
