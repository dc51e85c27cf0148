//! More clients than there is room for: who is in stays in, who is not is told when to try again, and room
//! comes back.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use headcount_testkit::{
    raw::{POLLING, Raw, ask, upgrade},
    waiting::eventually,
};

use crate::besieged::{Besieged, CROWD};

/// How many handshakes come at about the same time, and how many sessions there may be.
const HANDSHAKES: usize = 3000;
const SESSIONS_MAX: usize = 1000;

/// What the crowd leaves free.
const ROOM: usize = SESSIONS_MAX - CROWD;

/// How many connections are opened at a time; more only wait in the kernel's queue.
const AT_A_TIME: usize = 100;

/// How long a session may exist without asking for the namespace; and what a busy machine may add.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);
const NOISE: Duration = Duration::from_secs(5);

/// Goal: sessions are limited from the handshake on, whether they ever join or not, on both transports
/// together; those beyond are told when to try again; all room comes back when sessions end and when they
/// do not join in time. Method: 3,000 handshakes, half of them on websockets, against room for 1,000 of which
/// the crowd has 200; again when their time to join is over; and once more after those have hung up.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_limited_from_the_handshake_on() {
    let limit = SESSIONS_MAX.to_string();
    let mut besieged = Besieged::start(&[("HEADCOUNT_MAX_CONNECTIONS", &limit)]).await;
    let start = Instant::now();
    let held = handshakes(besieged.address(), HANDSHAKES).await;
    let opened = start.elapsed();
    println!("{} of {HANDSHAKES} handshakes were let in, within {opened:?}", held.len());
    let in_time = held.iter().filter(|(at, _)| at.duration_since(start) < CONNECT_WITHIN).count();
    assert_eq!(in_time, ROOM, "those that come later may get the room of those that did not join");
    let refused = besieged.refused("full").await;
    assert_eq!(refused, HANDSHAKES - held.len(), "each refusal is counted");
    besieged.agrees_on(CROWD).await;

    let what = "room comes back when nobody joins";
    eventually(what, async || {
        let held = handshakes(besieged.address(), 1).await;
        if held.is_empty() { Err(String::from("it is full")) } else { Ok(()) }
    })
    .await;
    let took = start.elapsed();
    println!("{what}: {took:?}");
    assert!(took < opened + CONNECT_WITHIN + NOISE, "{took:?}");
    drop(held);
    all_room_is_back(&besieged).await;

    // Websockets that end give their room back at once, without the time to join passing.
    all_room_is_back(&besieged).await;
    besieged.is_unharmed().await;
}

/// Waits until exactly as many sessions can be opened as the crowd leaves room for, and lets them go.
async fn all_room_is_back(besieged: &Besieged) {
    let start = Instant::now();
    eventually("all room is back", async || {
        let begun = Instant::now();
        let attempts = (0..ROOM + 20).map(|_| websocket(besieged.address()));
        let attempts = stream::iter(attempts).buffer_unordered(AT_A_TIME);
        let held: Vec<Raw> = attempts.filter_map(async |let_in| let_in).collect().await;
        match held.len() {
            ROOM => Ok(()),
            _ if begun.elapsed() > CONNECT_WITHIN => Err(String::from("too slow to tell")),
            room => Err(format!("there was room for {room}")),
        }
    })
    .await;
    println!("all room was back after {:?}", start.elapsed());
}

/// Tries so many handshakes, on both transports by turns; returns when those were done that were let in, and
/// what keeps them open.
async fn handshakes(server: SocketAddr, number: usize) -> Vec<(Instant, Option<Raw>)> {
    let attempts = (0..number).map(async |number| {
        if number % 2 == 0 { websocket(server).await.map(Some) } else { polling(server).await }
    });
    let attempts = stream::iter(attempts).buffer_unordered(AT_A_TIME);
    attempts.filter_map(async |let_in| Some((Instant::now(), let_in?))).collect().await
}

async fn websocket(server: SocketAddr) -> Option<Raw> {
    let mut raw = Raw::saying(server, upgrade(server, None)).await;
    let answer = raw.answer().await.expect("an answer");
    if answer.status == 101 {
        return Some(raw);
    }
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    None
}

/// `Some(None)` if it was let in: a polling session needs no connection to stay open.
async fn polling(server: SocketAddr) -> Option<Option<Raw>> {
    let answer = ask(server, "GET", POLLING, "").await;
    if answer.status == 200 {
        return Some(None);
    }
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")), "{answer:?}");
    None
}
