//! Lists of users under attack: users with as much to show as may be who come and go, clients that ask again and again or read
//! nothing, a crowd in one room, and clients who may not know who is there.

mod lister;
mod secrets;
mod shown;

use std::{net::SocketAddr, time::Instant};

use futures_util::{StreamExt, future::join_all, stream};
use headcount_testkit::{
    instance::Setting,
    open_files,
    raw::{Raw, Way},
    tokens::Issuer,
    users::Known,
};
use serde_json::json;

use crate::{besieged::Besieged, rooms::nothing_is_left};
use lister::{Lister, Poller, Seen, asking, join, leave, showing_much, told};

/// The room that is attacked.
const ROOM: &str = "/team/7";
/// The rooms with lists, and no grace, so that everything that happens is told.
const LISTED: [Setting<'static>; 2] = [("HEADCOUNT_LISTS", "/team/*"), ("HEADCOUNT_GRACE", "0s")];
/// The time between two emissions, in milliseconds.
const EMIT_INTERVAL: u128 = 50;
/// The longest list, in bytes: 32 KiB of users, and what is around them.
const LIST_BYTES_MAX: usize = 40 * 1024;

async fn besiege(issuer: &Issuer, more: &[Setting<'_>]) -> Besieged {
    Besieged::start(&[&issuer.settings()[..], &LISTED, more].concat()).await
}

/// Joins and leaves the room as ever other users with as much to show as may be.
async fn visit(server: SocketAddr, issuer: &Issuer, number: usize, visits: usize) {
    let mut raw = Raw::alive_by(Way::BOTH[number % 2], server).await;
    for visit in 0..visits {
        let token = showing_much(issuer, &format!("visitor-{number:04}-{visit:04}"));
        let auth = json!({ "token": token });
        raw.send(&join(ROOM, &auth)).await.expect("it may");
        told(&mut raw, &format!("40{ROOM},{{")).await;
        raw.send(&leave(ROOM)).await.expect("it may");
    }
}

/// Waits until nobody is told a list, and nothing of rooms is left here and in Redis.
async fn nobody_lists(besieged: &Besieged) {
    besieged.until("headcount_lists", 0).await;
    nothing_is_left(besieged).await;
}

/// Goal: users with as much to show as may be who come and go by thousands cost those who list the room a bounded number of events,
/// hurt nobody and leave nothing. Method: connections that are ever other users, beside three who list the room all the time; what
/// these are told, and the memory of Redis before and after.
#[tokio::test(flavor = "multi_thread")]
async fn crowds_that_come_and_go_are_bounded() {
    const CONNECTIONS: usize = 40;
    const VISITS: usize = 50;
    let issuer = Issuer::new("blog");
    let mut besieged = besiege(&issuer, &[]).await;
    let server = besieged.address();
    let ids = ["ada", "bob", "eve"];
    let listers =
        join_all(ids.iter().zip(Way::BOTH.into_iter().cycle()).map(async |(user, way)| {
            Lister::open(way, server, ROOM, &showing_much(&issuer, user)).await
        }))
        .await;
    for lister in &listers {
        lister.lists(&ids).await;
    }
    let (start, before) = (Instant::now(), listers[0].seen());
    let stored = redis_bytes(&besieged).await;
    join_all((0..CONNECTIONS).map(|number| visit(server, &issuer, number, VISITS))).await;
    for lister in &listers {
        lister.lists(&ids).await;
    }
    let intervals = start.elapsed().as_millis() / EMIT_INTERVAL + 2;
    let Seen { known, events, bytes, .. } = listers[0].seen();
    let (events, bytes) = (events - before.events, bytes - before.bytes);
    println!(
        "{} visits in {:?}: {} of the visitors were listed, in {events} events of {bytes} bytes",
        CONNECTIONS * VISITS,
        start.elapsed(),
        known.left.len()
    );
    assert!(known.left.len() >= 100, "{} is no crowd", known.left.len());
    assert!(events as u128 <= intervals, "{events} events in {intervals} intervals");
    assert!(bytes <= events * 2 * LIST_BYTES_MAX, "{bytes} bytes in {events} events");
    let left = redis_bytes(&besieged).await.saturating_sub(stored);
    assert!(left <= 1024 * 1024, "{left} bytes are left in Redis");
    drop(listers);
    nobody_lists(&besieged).await;
    besieged.is_unharmed().await;
}

/// The bytes that Redis takes.
async fn redis_bytes(besieged: &Besieged) -> u64 {
    let asked = besieged.cluster.redis_client.send(&["INFO", "memory"]).await;
    number_in(&format!("{:?}", asked.expect("Redis runs")), "used_memory:")
}

/// The calls of the command that reads users, since Redis has started.
async fn reads(besieged: &Besieged) -> u64 {
    let asked = besieged.cluster.redis_client.send(&["INFO", "commandstats"]).await;
    number_in(&format!("{:?}", asked.expect("Redis runs")), "cmdstat_hscan:calls=")
}

/// The number after this in a text; 0 if it is not there.
fn number_in(text: &str, before: &str) -> u64 {
    let digits = text.split(before).nth(1).unwrap_or("0");
    let end = digits.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().expect("a number")
}

/// Goal: a client that asks for the list again and again is told it a bounded number of times and then cut, whether others list the
/// room or it is alone, and others are told little of it. Method: join and leave as fast as the answers come, in a room with fifty
/// users with as much to show as may be, and in one of its own; count lists, bytes, readings of the store, and CPU time.
#[tokio::test(flavor = "multi_thread")]
async fn asking_again_and_again_is_bounded() {
    /// The joins that a client may make in a burst, and a second: half of its joins and leaves.
    const JOINS: (u128, u128) = (224, 10);
    let issuer = Issuer::new("blog");
    let mut besieged = besiege(&issuer, &[]).await;
    let server = besieged.address();
    let members = join_all((0..50).map(async |number| {
        let mut raw = Raw::alive_by(Way::Directly, server).await;
        let token = showing_much(&issuer, &format!("member-{number:02}"));
        raw.send(&join(ROOM, &json!({ "token": token }))).await.expect("it may");
        raw
    }))
    .await;
    let beside = Lister::open(Way::Directly, server, ROOM, &issuer.token("ada")).await;
    beside.knows("all are listed", |known| known.users.len() == 51).await;
    for (cut, room) in [ROOM, "/team/alone"].into_iter().enumerate() {
        let (start, before) = (Instant::now(), beside.seen());
        let (read, worked) = (reads(&besieged).await, cpu_millis(&besieged).await);
        let (joins, lists, bytes) = ask_until_cut(server, room, &issuer.token("mallory")).await;
        besieged.until_disconnected("flood", cut + 1).await;
        let took = start.elapsed();
        let read = reads(&besieged).await - read;
        let worked = cpu_millis(&besieged).await - worked;
        let events = beside.seen().events - before.events;
        println!(
            "{room}: {joins} joins in {took:?} gave {lists} lists of {bytes} bytes, {read} readings, {worked} ms of CPU time; \
             the other client was told {events} events"
        );
        let allowed = JOINS.0 + JOINS.1 * (took.as_millis() / 1000 + 1);
        assert!((100..=allowed).contains(&joins), "{joins} of {allowed} in {took:?}");
        assert!(
            lists <= joins && bytes as u128 <= lists * LIST_BYTES_MAX as u128,
            "{lists}, {bytes}"
        );
        assert!(u128::from(read) <= 2 * joins + took.as_millis() / 20 + 100, "{read} readings");
        let intervals = took.as_millis() / EMIT_INTERVAL + 2;
        assert!(events as u128 <= intervals, "{events} events in {intervals} intervals");
    }
    drop((members, beside));
    nobody_lists(&besieged).await;
    besieged.is_unharmed().await;
}

/// The CPU time that the instance has taken.
async fn cpu_millis(besieged: &Besieged) -> u64 {
    let seconds: f64 = besieged.sample("process_cpu_seconds_total").await;
    format!("{:.0}", seconds * 1000.0).parse().expect("a number")
}

/// Joins for the list and leaves, as fast as the answers come, until it is cut. Returns how often it has joined, the lists that it was told, and their bytes.
async fn ask_until_cut(server: SocketAddr, room: &str, token: &str) -> (u128, u128, usize) {
    let mut raw = asking(Way::Directly, server, room, token).await;
    let (mut joins, mut lists, mut bytes) = (1, 0, 0);
    let again = [leave(room), join(room, &json!({ "token": token, "list": true }))].concat();
    let list = format!("42{room},[\"users\",{{\"users\":");
    while let Some(packet) = raw.text().await {
        if packet.starts_with(&list) {
            (lists, bytes) = (lists + 1, bytes + packet.len());
            if raw.send(&again).await.is_err() {
                break;
            }
            joins += 1;
        }
    }
    (joins, lists, bytes)
}

/// Goal: in a crowd that is all in one room, at most a hundred are listed, everybody knows how many more there are, and the room is
/// empty once they have gone. Method: 2,000 connections, each a user; two that list the room; then all but these leave at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_in_one_room_is_cut_short() {
    const CROWD: usize = 2000;
    const AT_A_TIME: usize = 100;
    open_files::raise_limit();
    let issuer = Issuer::new("blog");
    // Counts of the site and of the room go to everybody; they are not what is examined.
    let mut besieged = besiege(&issuer, &[("HEADCOUNT_EMIT_INTERVAL", "250ms")]).await;
    let server = besieged.address();
    let start = Instant::now();
    let first = Lister::open(Way::Directly, server, ROOM, &issuer.token("ada")).await;
    first.lists(&["ada"]).await;
    let entering = stream::iter(0..CROWD).map(async |number| {
        let auth = json!({ "token": issuer.token(&format!("user-{number:05}")) });
        let mut raw = Raw::websocket(server, None).await;
        raw.send(&join(ROOM, &auth)).await.expect("it may");
        raw
    });
    let crowd: Vec<Raw> = entering.buffer_unordered(AT_A_TIME).collect().await;
    let last = Lister::open(Way::Upgraded, server, ROOM, &issuer.token("eve")).await;
    for lister in [&first, &last] {
        lister
            .knows("all are listed or counted", |known| {
                known.users.len() == 100 && known.more == (CROWD - 98) as u64
            })
            .await;
    }
    let Seen { events, bytes, .. } = first.seen();
    println!("{CROWD} users after {:?}, in {events} events of {bytes} bytes", start.elapsed());
    assert!(events as u128 <= start.elapsed().as_millis() / 250 + 3, "{events} events");
    drop(crowd);
    for lister in [&first, &last] {
        lister.lists(&["ada", "eve"]).await;
    }
    println!("all had left after {:?}", start.elapsed());
    drop((first, last));
    nobody_lists(&besieged).await;
    besieged.is_unharmed().await;
}

/// Goal: clients that do not read hold little memory, and know who is there once they read again, by a whole list in place of what
/// they have missed. Method: websockets of both ways, and one that polls, ask for the list of a large room and read nothing, until a
/// client beside them was told more than all buffers hold; then they read.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_gets_a_fresh_list() {
    const SLOW: usize = 24;
    /// What a client may hold that does not read: a list, and what is allowed beside lists.
    const BYTES_MAX: u64 = 100 * 1024;
    let issuer = Issuer::new("blog");
    let mut besieged = besiege(&issuer, &[]).await;
    let server = besieged.address();
    let beside = Lister::open(Way::Directly, server, ROOM, &showing_much(&issuer, "ada")).await;
    beside.lists(&["ada"]).await;
    let before: u64 = besieged.sample("process_resident_memory_bytes").await;
    let slow = join_all((0..SLOW).map(async |number| {
        let token = showing_much(&issuer, &format!("slow-{number:02}"));
        let raw = asking(Way::BOTH[number % 2], server, ROOM, &token).await;
        raw.shrink_window();
        raw
    }))
    .await;
    beside.knows("all are listed", |known| known.users.len() == SLOW + 1).await;
    let told_before = beside.seen().bytes;
    for round in 0.. {
        let visitors = (0..20).map(|number| visit(server, &issuer, 100 * round + number, 20));
        join_all(visitors).await;
        if beside.seen().bytes - told_before > 300 * 1024 {
            break;
        }
    }
    let after: u64 = besieged.sample("process_resident_memory_bytes").await;
    let each = after.saturating_sub(before) / SLOW as u64;
    println!("{} bytes told; {each} bytes for each slow client", beside.seen().bytes - told_before);
    assert!(each <= BYTES_MAX, "{each} bytes for each slow client");
    beside.knows("only the slow are left", |known| known.users.len() == SLOW + 1).await;
    let expected = beside.seen().known.users;
    let reading: Vec<Lister> = slow.into_iter().map(|raw| Lister::listen(raw, ROOM)).collect();
    for lister in &reading {
        // The first list may have been right, too. What it missed is not told: another list takes its place.
        let has_caught_up = |known: &Known| known.lists >= 2 && known.users == expected;
        lister.knows("it has a second list of who is there", has_caught_up).await;
    }
    drop(reading);
    who_polls_late_gets_a_fresh_list(server, &issuer, &beside).await;
    drop(beside);
    nobody_lists(&besieged).await;
    besieged.is_unharmed().await;
}

/// The same for a client that polls: several changes come and go between two of its polls.
async fn who_polls_late_gets_a_fresh_list(server: SocketAddr, issuer: &Issuer, beside: &Lister) {
    beside.lists(&["ada"]).await;
    let mut poller = Poller::open(server).await;
    let auth = json!({ "token": issuer.token("late"), "list": true });
    poller.say(&format!("40{ROOM},{auth}")).await;
    let is_all = |known: &Known| known.ids() == ["ada", "late"] && known.more == 0;
    let mut seen = Seen::default();
    poller.hear_until(&mut seen, ROOM, is_all).await;
    let events = beside.seen().events;
    while beside.seen().events < events + 3 {
        visit(server, issuer, 9999, 5).await;
    }
    beside.lists(&["ada", "late"]).await;
    let lists = seen.known.lists;
    poller.hear_until(&mut seen, ROOM, |known| known.lists > lists).await;
    poller.hear_until(&mut seen, ROOM, is_all).await;
    assert_eq!(seen.known.left.len(), 0, "nobody left whom it knew");
    poller.say("1").await;
}
