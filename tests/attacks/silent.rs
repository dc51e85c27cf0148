//! Clients that are counted and then fall silent, each in its own way: all must leave the count in time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use headcount_testkit::{
    raw::{Raw, frames::text, polling_alive},
    waiting::eventually,
};

use crate::besieged::{Besieged, CROWD};

/// How many of each kind.
const ATTACKERS: usize = 5;

const PING: Duration = Duration::from_secs(3);
/// What the contract allows: ping interval + 2 × ping timeout; and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(9);
const NOISE: Duration = Duration::from_secs(2);

/// What a client does before it falls silent. It returns what must be kept open meanwhile.
type Attack = fn(SocketAddr) -> BoxFuture<'static, Option<Raw>>;

const KINDS: [(&str, Attack); 9] = [
    ("reads nothing", |server| never_reads(server).boxed()),
    ("half closes", |server| half_closes(server).boxed()),
    ("never polls again", |server| never_polls_again(server).boxed()),
    ("polls and never answers", |server| polls_without_pongs(server).boxed()),
    ("asks for a websocket and says nothing on it", |server| upgrade_with(server, &[]).boxed()),
    ("upgrades half-way", |server| upgrade_with(server, &["2probe"]).boxed()),
    ("upgrades and says no word more", |server| upgrade_with(server, &["2probe", "5"]).boxed()),
    ("upgrades with rubbish", |server| upgrade_with(server, &["2probe", "rubbish"]).boxed()),
    ("breaks an upgrade off", |server| breaks_an_upgrade_off(server).boxed()),
];

/// Goal: whatever a client does or leaves undone, it leaves the count within ping interval + 2 × ping
/// timeout. Method: some of each kind join, answer the first ping and fall silent; the time until each kind is counted out is the time until the
/// crowd sees its own number again.
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_leave_the_count_in_time() {
    let seconds = format!("{}s", PING.as_secs());
    let settings = [("HEADCOUNT_PING_INTERVAL", &*seconds), ("HEADCOUNT_PING_TIMEOUT", &*seconds)];
    let mut besieged = Besieged::start(&settings).await;
    let address = besieged.address();
    let (mut late, mut joined) = (Vec::new(), CROWD);
    for (kind, attack) in KINDS {
        let start = Instant::now();
        let held = join_all((0..ATTACKERS).map(|_| attack(address))).await;
        joined += ATTACKERS;
        eventually("all of them were counted", async || match besieged.joined().await {
            counted if counted == joined => Ok(()),
            counted => Err(format!("{counted} were, of {joined}")),
        })
        .await;
        besieged.agrees_on(CROWD).await;
        let took = start.elapsed();
        println!("{kind}: counted out after {took:?}");
        if took > BOUND + NOISE {
            late.push((kind, took));
        }
        drop(held);
    }
    assert!(late.is_empty(), "too late: {late:?}");
    besieged.is_unharmed().await;
}

/// As a process that was stopped: its kernel takes what fits and nobody looks at it.
async fn never_reads(server: SocketAddr) -> Option<Raw> {
    let raw = Raw::alive(server).await;
    raw.shrink_window();
    Some(raw)
}

async fn half_closes(server: SocketAddr) -> Option<Raw> {
    let mut raw = Raw::alive(server).await;
    raw.half_close().await;
    Some(raw)
}

async fn never_polls_again(server: SocketAddr) -> Option<Raw> {
    polling_alive(server).await;
    None
}

async fn polls_without_pongs(server: SocketAddr) -> Option<Raw> {
    let path = polling_alive(server).await;
    let poll = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n");
    let mut raw = Raw::open(server).await;
    while raw.send(poll.as_bytes()).await.is_ok() {
        match raw.answer().await {
            Ok(answer) if answer.status == 200 => {}
            _ => break,
        }
    }
    None
}

async fn upgrade_with(server: SocketAddr, packets: &[&str]) -> Option<Raw> {
    let path = polling_alive(server).await;
    let session = path.rsplit('=').next();
    let mut raw = Raw::websocket(server, session).await;
    for packet in packets {
        raw.send(&text(packet)).await.expect("a new websocket takes a frame");
    }
    Some(raw)
}

async fn breaks_an_upgrade_off(server: SocketAddr) -> Option<Raw> {
    drop(upgrade_with(server, &["2probe"]).await);
    None
}
