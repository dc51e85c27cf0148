//! Clients that are counted and then become silent, in different ways: all must leave the count in time.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{FutureExt, future::BoxFuture, future::join_all};
use headcount_testkit::{
    raw::{Raw, frames::text, polling_alive},
    waiting::eventually,
};
use rstest::rstest;

use crate::besieged::{Besieged, CROWD};

/// Attackers of a kind.
const ATTACKERS: usize = 5;

const PING: Duration = Duration::from_secs(3);
/// What the contract allows, which is ping interval + 2 × ping timeout, and what a busy machine may add.
const BOUND: Duration = Duration::from_secs(9);
const NOISE: Duration = Duration::from_secs(2);

/// What a client does before it becomes silent. Returns what must stay open meanwhile.
type Attack = fn(SocketAddr) -> BoxFuture<'static, Option<Raw>>;

/// Goal: a silent client leaves the count within ping interval + 2 × ping timeout, whatever else it does. Method: some
/// clients of one kind join, answer the first ping and become silent. The time until the crowd sees its own number
/// again is measured. Every kind has an instance of its own, so that they need not wait for each other.
#[rstest]
#[case::reads_nothing(|server| never_reads(server).boxed())]
#[case::half_closes(|server| half_closes(server).boxed())]
#[case::never_polls_again(|server| never_polls_again(server).boxed())]
#[case::polls_and_never_answers(|server| polls_without_pongs(server).boxed())]
#[case::asks_for_a_websocket_and_says_nothing_on_it(|server| upgrade_with(server, &[]).boxed())]
#[case::upgrades_half_way(|server| upgrade_with(server, &["2probe"]).boxed())]
#[case::upgrades_and_says_no_word_more(|server| upgrade_with(server, &["2probe", "5"]).boxed())]
#[case::upgrades_with_rubbish(|server| upgrade_with(server, &["2probe", "rubbish"]).boxed())]
#[case::breaks_an_upgrade_off(|server| breaks_an_upgrade_off(server).boxed())]
#[tokio::test(flavor = "multi_thread")]
async fn silent_clients_leave_the_count_in_time(#[case] attack: Attack) {
    let seconds = format!("{}s", PING.as_secs());
    let settings = [("HEADCOUNT_PING_INTERVAL", &*seconds), ("HEADCOUNT_PING_TIMEOUT", &*seconds)];
    let mut besieged = Besieged::start(&settings).await;
    let address = besieged.address();
    let start = Instant::now();
    let held = join_all((0..ATTACKERS).map(|_| attack(address))).await;
    eventually("all of them were counted", async || match besieged.joined().await {
        counted if counted == CROWD + ATTACKERS => Ok(()),
        counted => Err(format!("{counted} were, of {}", CROWD + ATTACKERS)),
    })
    .await;
    besieged.agrees_on(CROWD).await;
    let took = start.elapsed();
    println!("counted out after {took:?}");
    assert!(took <= BOUND + NOISE, "too late: {took:?}");
    drop(held);
    besieged.is_unharmed().await;
}

/// Like a stopped process: its kernel accepts what fits, and nothing reads it.
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
