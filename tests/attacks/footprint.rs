//! What sessions hold in memory: a limited number of bytes each, whatever the client sends and never fetches.

use std::net::SocketAddr;

use futures_util::{StreamExt, stream};
use headcount_testkit::{
    cluster::Cluster,
    instance::Instance,
    open_files,
    raw::{POLLING, Raw, Way, frames::text, polling_session, post, post_in_chunks, session_in},
    tokens::Issuer,
    waiting::eventually,
};
use serde_json::{Value, json};

/// How many sessions are measured, and how many are opened at a time.
const SESSIONS: usize = 300;
const AT_A_TIME: usize = 20;

/// What a session with traffic may hold: 4 KiB that wait for its client, and the session itself. The rest of the limit
/// is for the allocator and a debug build. When 16 refusals of a whole payload each could wait, it was 290 kB.
const SPOKEN_BYTES_MAX: usize = 24 * 1024;
/// What a session that has never joined may hold. It should be 1 kB. When every such session had tasks and channels, it
/// was 18 kB.
const SILENT_BYTES_MAX: usize = 4 * 1024;

/// Goal: a polling session holds little memory, whatever is posted. Method: sessions that never poll each post, in
/// chunks, 16 times the largest unknown namespace. Other sessions post as many of the longest answered namespaces as
/// the budget allows.
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
        // The connection ends after the refusal.
        let sent = raw.send(request.as_bytes()).await;
        if sent.is_err() || raw.answer().await.is_ok_and(|answer| answer.status != 200) {
            raw = Raw::open(server).await;
        }
    }
}

fn ascii(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("it is ASCII")
}

/// Goal: a websocket whose client reads nothing holds little memory too, however much the client sends. Method: the
/// limits allow a megabyte. Clients of either kind that read nothing ask for unknown namespaces. Each is disconnected
/// because of its unread answers, long before its budget is spent.
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
        // The connection may be cut during this write.
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

/// Goal: a session that never joins takes almost no memory. Method: 3,000 polling handshakes, many on each connection.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_never_join_are_small() {
    const CONNECTIONS: usize = 10;
    const EACH: usize = 300;
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    // Allocations that happen only once are made before the measurement.
    drop(handshakes(server, 1).await);
    let before = resident_bytes(&instance).await;
    let opened = (0..CONNECTIONS).map(|_| handshakes(server, EACH));
    let paths = futures_util::future::join_all(opened).await.concat();
    assert_bounded(&instance, "never joined", before, paths.len(), SILENT_BYTES_MAX).await;
    // Without all sessions the measurement would mean nothing. The first and the last one would be the first to end.
    for path in [&paths[0], &paths[paths.len() - 1]] {
        let answer = Raw::saying(server, post(server, path, "3")).await.answer().await;
        assert_eq!(answer.expect("an answer").status, 200, "it was measured in time");
    }
}

/// Makes this number of handshakes, one after the other, and returns the paths of their sessions.
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

/// Goal: a connection of a user takes little more memory than one without an identity. Method: many idle websockets of each kind on one
/// instance, one kind after the other, each with a user of its own; the resident memory says what each of them takes.
#[tokio::test(flavor = "multi_thread")]
async fn identified_connections_are_small() {
    const EACH: usize = 2000;
    /// What an identity may take beside its connection: 2.4 kB less the 2.04 kB of a connection, and a part for what the allocator
    /// keeps.
    const IDENTITY_BYTES_MAX: usize = 360 + 200;
    open_files::raise_limit();
    let issuer = Issuer::new("blog");
    // These clients answer no pings.
    let patient = [("HEADCOUNT_PING_INTERVAL", "10min"), ("HEADCOUNT_PING_TIMEOUT", "10min")];
    let cluster = Cluster::start_with(1, &[&issuer.settings()[..], &patient].concat()).await;
    let instance = &cluster.instances[0];
    let kinds: [(&str, &dyn Fn(usize) -> Value); 4] = [
        ("what is allocated only once", &|_| json!({})),
        ("no identity", &|_| json!({})),
        ("a token", &|number| json!({ "token": issuer.token(&format!("user-{number:08}")) })),
        ("a visitor key", &|number| json!({ "visitor": format!("a-visitor-key-{number:08}") })),
    ];
    let (mut held, mut each) = (Vec::new(), Vec::new());
    for (kind, says) in kinds {
        let before = resident_bytes(instance).await;
        let opening = stream::iter(0..EACH).map(async |number| {
            let mut raw = Raw::websocket(instance.public, None).await;
            let packet = text(&format!("40{}", says(number)));
            assert!(raw.is_answered_after(&packet, "42[\"user count\",").await, "{kind} {number}");
            raw
        });
        held.push(opening.buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await);
        let grown = resident_bytes(instance).await.saturating_sub(before);
        println!("{kind}: {} bytes for each of {EACH} connections", grown / EACH);
        each.push(grown / EACH);
    }
    assert_eq!(instance.metric("headcount_connections").await, Ok(8000.0));
    for identified in &each[2..] {
        let more = identified.saturating_sub(each[1]);
        assert!(more <= IDENTITY_BYTES_MAX, "{more} bytes for an identity: {each:?}");
    }
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
