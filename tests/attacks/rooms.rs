//! Rooms made by strangers: names of every kind, very many rooms, and joining and leaving as fast as allowed. Memory is bounded,
//! nobody else is hurt, and nothing is left when the strangers are gone.

use std::{net::SocketAddr, time::Instant};

use futures_util::{StreamExt, future::join_all, stream};
use headcount_testkit::{
    client::Transport,
    raw::{Raw, Way, frames::text, poll, polling_session, say},
    record::Record,
    rooms::RoomsClient,
    waiting::eventually,
};

use crate::besieged::Besieged;

/// How many connections attack at a time.
const AT_A_TIME: usize = 20;

/// Waits until the instance, and the store, know of no room.
pub(crate) async fn nothing_is_left(besieged: &Besieged) {
    for metric in [
        "headcount_rooms",
        "headcount_memberships{kind=\"member\"}",
        "headcount_memberships{kind=\"watcher\"}",
    ] {
        besieged.until(metric, 0).await;
    }
    eventually("the store has no rooms", async || {
        let keys = besieged.cluster.redis_client.send(&["KEYS", "{currentUsers}:*"]).await?;
        let keys = format!("{keys:?}");
        let of_rooms = ["rooms", "at:", "of:", "people", "unannounced", "dead"];
        let is_left =
            of_rooms.iter().any(|part| keys.contains(&format!("{{currentUsers}}:{part}")));
        if is_left { Err(keys) } else { Ok(()) }
    })
    .await;
}

/// Goal: a name is either a room with exactly these bytes, or refused; none harms anybody. Method: names of every kind on both
/// transports: quotes, markup, scripts of all directions, look-alikes, the longest, and names that are none.
#[tokio::test(flavor = "multi_thread")]
async fn names_of_every_kind() {
    let longest = format!("/{}", "x".repeat(127));
    let names = [
        "/\"'<script>alert(1)</script>\\",
        "/{\"a\":[1]}",
        "/%2e%2e/%00",
        "/../../etc/passwd",
        "//",
        "/\u{202e}txt.exe",
        "/\u{430}dmin",
        "/admin",
        "/e\u{301}",
        "/\u{e9}",
        "/\u{1f469}\u{200d}\u{1f680}",
        "/\u{feff}",
        "/$(reboot);`id`|&",
        "/__proto__",
        "/constructor",
        "/currentUsers",
        &longest,
    ];
    let too_long = format!("/{}", "x".repeat(128));
    let no_names =
        ["/a b", "/a\tb", "/a\u{7}b", "/a\u{a0}b", "/a?b", "/a#b", "/\u{2028}", &too_long];
    let mut besieged = Besieged::start(&[("HEADCOUNT_ROOMS_PER_CONNECTION", "100")]).await;
    let server = besieged.address();
    for way in Way::BOTH {
        let mut raw = Raw::alive_by(way, server).await;
        for name in names {
            let joined = format!("40{name},{{\"sid\":");
            assert!(raw.is_answered_after(&text(&format!("40{name},")), &joined).await, "{name:?}");
            let told = format!("42{name},[\"user count\",1]");
            assert!(raw.is_answered_after(&[], &told).await, "{name:?} is a room of its own");
        }
        for name in no_names {
            let refused = format!("44{name},{{\"message\":");
            let asked = text(&format!("40{name},"));
            assert!(raw.is_answered_after(&asked, &refused).await, "{name:?}");
        }
        drop(raw);
        nothing_is_left(&besieged).await;
    }
    let path = polling_session(server).await;
    let asked: Vec<String> =
        names.iter().chain(&no_names).map(|name| format!("40{name},")).collect();
    assert_eq!(say(server, &path, &asked.join("\x1e")).await.status, 200);
    let answer = poll(server, &path).await.body;
    let packets: Vec<&str> = answer.split('\x1e').collect();
    for name in names {
        let joined = format!("40{name},{{\"sid\":");
        assert!(packets.iter().any(|packet| packet.starts_with(&joined)), "{name:?}");
    }
    assert_eq!(say(server, &path, "1").await.status, 200);
    nothing_is_left(&besieged).await;
    besieged.is_unharmed().await;
}

/// Goal: a membership and a room take little memory, also the most that clients can make. Method: connections that are in eight
/// rooms and watch a hundred each, all of them different, up to the limit of the instance; then rooms are refused.
#[tokio::test(flavor = "multi_thread")]
async fn very_many_rooms_are_small() {
    const CONNECTIONS: usize = 100;
    const ROOMS: usize = 108;
    const ROOMS_MAX: usize = CONNECTIONS * ROOMS - 50;
    /// What a room with one membership may take: both sides of the limits of a debug build.
    const BYTES_MAX: u64 = 2048;
    let settings = [("HEADCOUNT_ROOMS_MAX", &*ROOMS_MAX.to_string())];
    let mut besieged = Besieged::start(&settings).await;
    let server = besieged.address();
    let before: u64 = besieged.sample("process_resident_memory_bytes").await;
    let start = Instant::now();
    let joining = stream::iter(0..CONNECTIONS).map(async |number| {
        let mut raw = Raw::alive_by(Way::BOTH[number % 2], server).await;
        let ask = |room: usize| {
            let auth = if room < 8 { "" } else { "{\"watch\":true}" };
            text(&format!("40/attack/{number}/{room},{auth}"))
        };
        let asked: Vec<u8> = (0..ROOMS).flat_map(ask).collect();
        raw.send(&asked).await.expect("the connection is open");
        raw
    });
    let attackers: Vec<Raw> = joining.buffer_unordered(AT_A_TIME).collect().await;
    besieged.until("headcount_rooms", ROOMS_MAX.try_into().expect("it fits")).await;
    besieged.until("headcount_joins_refused_total{code=\"too_many_rooms\"}", 50).await;
    println!("{ROOMS_MAX} rooms after {:?}", start.elapsed());
    let grown =
        besieged.sample::<u64>("process_resident_memory_bytes").await.saturating_sub(before);
    let each = grown / ROOMS_MAX as u64;
    println!("{each} bytes for each room with one membership");
    assert!(each <= BYTES_MAX, "{each} bytes for each room with one membership");
    drop(attackers);
    nothing_is_left(&besieged).await;
    besieged.is_unharmed().await;
}

/// Goal: who joins and leaves without a pause costs the others few counts, and is cut. Method: members of a room on which
/// attackers join and leave as fast as they can; the emissions are bounded by the time, whatever the number of changes.
#[tokio::test(flavor = "multi_thread")]
async fn joining_and_leaving_costs_little() {
    const MEMBERS: usize = 50;
    const ATTACKERS: usize = 10;
    let mut besieged = Besieged::start(&[]).await;
    let server = besieged.address();
    let members: Vec<RoomsClient> =
        (0..MEMBERS).map(|_| RoomsClient::open(server, Transport::Websocket, &["/room"])).collect();
    let records: Vec<Record> = members.iter().map(|member| member.record("/room")).collect();
    all_show(&records, MEMBERS as u64).await;
    let marks: Vec<_> = records.iter().map(Record::mark).collect();
    let emitted: u64 = besieged.sample("headcount_room_emissions_total").await;
    let start = Instant::now();
    join_all((0..ATTACKERS).map(|number| attack(Way::BOTH[number % 2], server))).await;
    all_show(&records, MEMBERS as u64).await;
    let intervals = start.elapsed().as_millis() / 50 + 2;
    let joins: u64 = besieged.sample("headcount_room_joins_total{kind=\"member\"}").await;
    let emissions = besieged.sample::<u64>("headcount_room_emissions_total").await - emitted;
    let heard = records.iter().zip(marks).map(|(record, mark)| record.counts_since(mark).len());
    let most = heard.max().expect("there are members");
    println!(
        "{joins} joins in {:?}: {emissions} emissions, {most} counts at most",
        start.elapsed()
    );
    assert!(joins >= (ATTACKERS * 100) as u64, "{joins} joins are no attack");
    assert!(u128::from(emissions) <= intervals, "{emissions} emissions in {intervals} intervals");
    assert!(most as u128 <= intervals, "{most} counts in {intervals} intervals");
    besieged.until_disconnected("flood", ATTACKERS).await;
    drop(members);
    nothing_is_left(&besieged).await;
    besieged.is_unharmed().await;
}

async fn attack(way: Way, server: SocketAddr) {
    let raw = Raw::alive_by(way, server).await;
    raw.flood(&[text("40/room,"), text("41/room,")].concat().repeat(50)).await;
}

async fn all_show(records: &[Record], users: u64) {
    eventually("all are told the count", async || {
        match records.iter().find(|record| record.shows() != Some(users)) {
            None => Ok(()),
            Some(record) => Err(format!("{}: {:?}", record.name(), record.shows())),
        }
    })
    .await;
}
