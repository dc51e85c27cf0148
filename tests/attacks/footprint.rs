//! What sessions hold in memory: bounded in bytes for each, whatever its client says and never fetches.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use headcount_testkit::{
    instance::Instance,
    raw::{POLLING, Raw, Way, frames::text, polling_session, post, post_in_chunks, session_in},
    waiting::eventually,
};

/// Sessions that are measured, and how many are opened at a time.
const SESSIONS: usize = 300;
const AT_A_TIME: usize = 20;

/// What a session that was spoken on may hold: 4 KiB that wait for its client, and itself. What the allocator and a debug
/// build add is less than the rest of this. When 16 refusals of up to a payload each could wait, it was 290 kB.
const SPOKEN_BYTES_MAX: usize = 24 * 1024;
/// What a session that has never joined may hold. It should be 1 kB; when there were tasks and channels for it, it was 18 kB.
const SILENT_BYTES_MAX: usize = 4 * 1024;

/// Goal: a session that polls holds little, whatever is posted. Method: sessions that never poll each post 16 times the
/// largest unknown namespace, in chunks; and as many of the longest names that are answered as the budget allows.
#[tokio::test(flavor = "multi_thread")]
async fn posts_of_unknown_namespaces_are_not_kept() {
    let longest = format!("40/{},", "x".repeat(16_300));
    let answered = vec![format!("40/{},", "x".repeat(250)); 60].join("\x1e");
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    for (kind, body) in [("the longest", longest), ("those that are answered", answered)] {
        let before = resident_bytes(&instance).await;
        let sessions = stream::iter(0..SESSIONS).map(|_| post_often(server, &body));
        sessions.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
        assert_bounded(&instance, kind, before, SESSIONS, SPOKEN_BYTES_MAX).await;
    }
}

async fn post_often(server: SocketAddr, body: &str) {
    let path = polling_session(server).await;
    let mut raw = Raw::open(server).await;
    for _ in 0..16 {
        let request = post_in_chunks(server, &path, body.as_bytes().chunks(4000).map(ascii));
        // Once it is refused the connection ends.
        let sent = raw.send(request.as_bytes()).await;
        if sent.is_err() || raw.answer().await.is_ok_and(|answer| answer.status != 200) {
            raw = Raw::open(server).await;
        }
    }
}

fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("it is ASCII")
}

/// Goal: a websocket holds as little, however much may be said on it. Method: where a megabyte may be said, clients of either
/// kind that read nothing ask for unknown namespaces; each is cut for what it leaves unread, long before its budget is spent.
#[tokio::test(flavor = "multi_thread")]
async fn what_websockets_do_not_read_is_not_kept() {
    const WEBSOCKETS: usize = 30;
    let instance = Instance::start(&[("HEADCOUNT_MAX_PAYLOAD", "262144")]).await;
    let server = instance.public;
    let says = text(&format!("40/{},", "x".repeat(250))).repeat(3500);
    let before = resident_bytes(&instance).await;
    let sessions = stream::iter(0..WEBSOCKETS).map(async |number| {
        let mut raw = Raw::alive_by(Way::BOTH[number % 2], server).await;
        raw.shrink_window();
        // It may be cut amid what it says.
        let _ = raw.send(&says).await;
        raw
    });
    let held = sessions.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await;
    eventually("all are cut", async || {
        match instance.metric("headcount_disconnects_total").await? {
            cut if cut >= 30.0 => Ok(()),
            cut => Err(cut.to_string()),
        }
    })
    .await;
    assert_bounded(&instance, "websockets", before, WEBSOCKETS, 2 * SPOKEN_BYTES_MAX).await;
    drop(held);
}

/// Goal: a session that never joins takes next to nothing. Method: 3,000 polling handshakes, many on each connection.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_never_join_are_small() {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 300;
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    // What is made once is made before.
    drop(handshakes(server, 1).await);
    let before = resident_bytes(&instance).await;
    let opened = (0..CONNECTIONS).map(|_| handshakes(server, EACH));
    let paths = futures_util::future::join_all(opened).await.concat();
    assert_bounded(&instance, "never joined", before, paths.len(), SILENT_BYTES_MAX).await;
    // They are all there, or the figure says nothing: the first and the last one would be the first ones to be over.
    for path in [&paths[0], &paths[paths.len() - 1]] {
        let answer = Raw::saying(server, post(server, path, "3")).await.answer().await;
        assert_eq!(answer.expect("an answer").status, 200, "it was measured in time");
    }
}

/// So many handshakes, one after the other; returns the paths of their sessions.
async fn handshakes(server: SocketAddr, number: usize) -> Vec<String> {
    let request = format!("GET {POLLING} HTTP/1.1\r\nhost: {server}\r\n\r\n");
    let mut raw = Raw::saying(server, request.repeat(number)).await;
    let mut paths = Vec::new();
    while paths.len() < number {
        let answer = raw.answer().await.expect("an answer");
        paths.push(format!("{POLLING}&sid={}", session_in(&answer.body)));
    }
    paths
}

async fn assert_bounded(
    instance: &Instance,
    kind: &str,
    before: usize,
    sessions: usize,
    bytes_max: usize,
) {
    let grown = resident_bytes(instance).await.saturating_sub(before);
    let each = grown / sessions;
    println!("{kind}: {each} bytes for each of {sessions} sessions");
    assert!(each <= bytes_max, "{kind}: {each} bytes for each of {sessions} sessions");
}

async fn resident_bytes(instance: &Instance) -> usize {
    let bytes = instance.metric("process_resident_memory_bytes").await.expect("a metric");
    bytes.to_string().parse().expect("a whole number")
}
