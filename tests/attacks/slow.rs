//! Clients that send their requests slowly or never.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use headcount_testkit::raw::{POLLING, Raw, polling_session, post};
use tokio::time::sleep;

use crate::besieged::Besieged;

/// Attackers of each kind.
const ATTACKERS: usize = 20;

/// How long a head or a body may take, and what a busy machine may add.
const LIMIT: Duration = Duration::from_secs(10);
/// How long a connection may be idle between two requests in these tests.
const KEEP_ALIVE: Duration = Duration::from_secs(16);
/// The same on the admin listener, whatever is set: it has few connections, which must stay free for probes.
const ADMIN_KEEP_ALIVE: Duration = Duration::from_secs(2);
const NOISE: Duration = Duration::from_secs(4);

/// Goal: a connection on which nothing, or only slow data, arrives is closed after its limit, and not long before it.
/// Method: silent connections on both listeners, half a head, a head byte by byte, and a body that never comes on an
/// existing session. Also half a head after a first request, and silence after one, which has a longer limit, or a shorter one on the admin
/// listener.
#[tokio::test(flavor = "multi_thread")]
async fn slow_and_idle_connections_end_with_the_limit() {
    let keep_alive = format!("{}s", KEEP_ALIVE.as_secs());
    let mut besieged = Besieged::start(&[("HEADCOUNT_KEEP_ALIVE", &keep_alive)]).await;
    let (public, admin) = (besieged.address(), besieged.cluster.instances[0].admin);
    let each = || 0..ATTACKERS;
    let first = tokio::join!(
        join_all(each().map(|_| silence_after(public, String::new()))),
        join_all(each().map(|_| silence_after(admin, String::new()))),
        join_all(each().map(|_| silence_after(public, half_a_head(public)))),
        join_all(each().map(|_| byte_by_byte(public))),
        join_all(each().map(|_| body_that_never_comes(public))),
        later(public, admin),
    );
    let (silent, on_admin, half, trickled, bodies, later) = first;
    let kinds = [
        ("silent", silent, LIMIT),
        ("silent on the admin listener", on_admin, LIMIT),
        ("half a head", half, LIMIT),
        ("byte by byte", trickled, LIMIT),
        ("no body", bodies, LIMIT),
    ];
    for (kind, took, limit) in kinds.into_iter().chain(later) {
        let (least, most) = (took.iter().min(), took.iter().max());
        println!("{kind}: closed after {least:?} to {most:?}");
        let in_time =
            |&took: &Duration| took + Duration::from_secs(1) > limit && took < limit + NOISE;
        assert!(took.iter().all(in_time), "{kind}: {took:?}");
    }
    assert_eq!(besieged.refused("slow").await, ATTACKERS, "bodies that do not come are counted");
    besieged.is_unharmed().await;
}

fn half_a_head(server: SocketAddr) -> String {
    format!("GET /api/count HTTP/1.1\r\nhost: {server}\r\nx-more: ")
}

async fn silence_after(server: SocketAddr, start: String) -> Duration {
    Raw::saying(server, start).await.ended().await
}

async fn byte_by_byte(server: SocketAddr) -> Duration {
    let mut raw = Raw::saying(server, half_a_head(server)).await;
    let start = Instant::now();
    while raw.send(b"x").await.is_ok() {
        assert!(start.elapsed() < LIMIT + NOISE, "it goes on");
        sleep(Duration::from_millis(200)).await;
    }
    start.elapsed()
}

/// Cases on a connection that has had an answer: how long each lasted, and how long it should last.
async fn later(
    public: SocketAddr,
    admin: SocketAddr,
) -> [(&'static str, Vec<Duration>, Duration); 5] {
    let each = |server: SocketAddr, path: &'static str, next: String| {
        join_all((0..ATTACKERS).map(move |_| idle_after(server, path, next.clone())))
    };
    let idle = tokio::join!(
        each(public, "/api/count", String::new()),
        each(admin, "/livez", String::new()),
        each(public, POLLING, String::new()),
        each(public, "/api/count", half_a_head(public)),
        each(public, POLLING, half_a_head(public)),
    );
    [
        ("idle after a page", idle.0, KEEP_ALIVE),
        ("idle on the admin listener", idle.1, ADMIN_KEEP_ALIVE),
        ("idle after a handshake", idle.2, KEEP_ALIVE),
        ("half a head after a page", idle.3, LIMIT),
        ("half a head after a handshake", idle.4, LIMIT),
    ]
}

/// How long a connection stays open after the answer to this request and the start of another one.
async fn idle_after(server: SocketAddr, path: &str, next: String) -> Duration {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n");
    let mut raw = Raw::saying(server, request).await;
    assert_eq!(raw.answer().await.expect("an answer").status, 200);
    raw.send(next.as_bytes()).await.expect("the connection is open");
    raw.ended().await
}

async fn body_that_never_comes(server: SocketAddr) -> Duration {
    let path = polling_session(server).await;
    let mut request = post(server, &path, &"3".repeat(100));
    request.truncate(request.len() - 99);
    silence_after(server, request).await
}

/// Goal: an incomplete request is dropped as soon as its sender closes its side. Method: half a head and half a body,
/// then the end of the stream.
#[tokio::test(flavor = "multi_thread")]
async fn half_closed_requests_end_at_once() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let attackers = (0..2 * ATTACKERS).map(async |number| {
        let start = if number % 2 == 0 {
            half_a_head(address)
        } else {
            let path = polling_session(address).await;
            post(address, &path, "3333").trim_end_matches('3').to_owned()
        };
        let mut raw = Raw::saying(address, start).await;
        raw.half_close().await;
        raw.ended().await
    });
    for took in join_all(attackers).await {
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
    besieged.is_unharmed().await;
}

/// Goal: a client that requests pages and never reads them is disconnected after the ping timeout, which limits how
/// long sent data may stay unread. Method: request far more than the buffers hold, and read nothing. Wait until the
/// server has closed its descriptors.
#[tokio::test(flavor = "multi_thread")]
async fn answers_that_nobody_reads_end_the_connection() {
    let settings = [("HEADCOUNT_PING_INTERVAL", "5s"), ("HEADCOUNT_PING_TIMEOUT", "5s")];
    let mut besieged = Besieged::start(&settings).await;
    let address = besieged.address();
    let request = format!("GET /_api/server.js HTTP/1.1\r\nhost: {address}\r\n\r\n");
    let requests = request.repeat(4000);
    let attackers = (0..ATTACKERS).map(async |_| {
        let mut raw = Raw::open(address).await;
        raw.shrink_window();
        // The server stops reading requests while its answers are not read, so some of these may not be sent.
        let sending = raw.send(requests.as_bytes());
        let _ = tokio::time::timeout(Duration::from_secs(1), sending).await;
        raw
    });
    let attackers = join_all(attackers).await;
    besieged.is_unharmed().await;
    drop(attackers);
}
