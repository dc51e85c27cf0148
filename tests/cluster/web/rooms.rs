//! The counts of rooms for programs: `/api/count?room=`, `/api/counts`, streams and badges of rooms, and what strangers may ask for.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use headcount_testkit::{
    cluster::Cluster,
    http::{self, Answer},
    instance::Instance,
    raw::{Raw, frames::text},
    redis_client::RedisClient,
    waiting::eventually,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::stream::Reader;

/// A websocket whose client is in this room, and has been told its first count.
async fn member(server: SocketAddr, room: &str) -> Raw {
    let mut client = Raw::websocket(server, None).await;
    let (join, told) = (text(&format!("40{room},")), format!("42{room},"));
    assert!(client.is_answered_after(&join, &told).await, "{room} is joined and counted");
    client
}

/// A hundred parameters, each with an ampersand at its end.
fn parameters(room: impl Fn(u32) -> String) -> String {
    (0..100).map(|n| format!("room={}&", room(n))).collect::<Vec<_>>().concat()
}

async fn get(server: SocketAddr, path: &str) -> Answer {
    http::get(server, path).await.expect("it answers")
}

async fn json_of(server: SocketAddr, path: &str) -> Value {
    let answer = get(server, path).await;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    serde_json::from_str(&answer.body).expect("JSON")
}

/// Asks until the answer has the room, the count, whether it is exact, and the local connections that are expected.
async fn shows(server: SocketAddr, room: &str, expected: Value) -> Value {
    let ask = async || {
        let said = json_of(server, &format!("/api/count?room={room}")).await;
        let found = json!([said["room"], said["count"], said["exact"], said["connections"]]);
        if found == expected { Ok(said) } else { Err(format!("{said}")) }
    };
    eventually(&format!("{room} shows {expected}"), ask).await.0
}

/// The calls of scripts that Redis has served.
async fn scripts_run(redis: &RedisClient) -> u64 {
    let stats = redis.send(&["INFO", "commandstats"]).await.expect("Redis runs");
    let stats = format!("{stats:?}");
    let calls = stats.split("cmdstat_evalsha:calls=").nth(1).expect("scripts were run");
    let digits = calls.split(|c: char| !c.is_ascii_digit()).next();
    digits.and_then(|digits| digits.parse().ok()).expect("a number")
}

/// Goal: programs read the counts of rooms at any instance, also of rooms in which nobody is there, and asking costs the store nothing
/// once a room is watched. Method: members of two rooms on two instances; both are asked for each room, for many in one request, and
/// for one room hundreds of times.
#[tokio::test(flavor = "multi_thread")]
async fn programs_read_the_counts_of_rooms() {
    let cluster = Cluster::start(2).await;
    let [here, there] = [0, 1].map(|index| cluster.instances[index].public);
    let mut clients = vec![member(here, "/a").await, member(here, "/a").await];
    clients.push(member(there, "/a").await);
    clients.push(member(there, "/b/%C3").await);
    let first = shows(here, "/a", json!(["/a", 3, true, 2])).await;
    let other = shows(there, "%2fa", json!(["/a", 3, true, 1])).await;
    assert_eq!(first["revision"], other["revision"]);
    assert_ne!(first["instance"], other["instance"]);
    shows(here, "/b/%25C3", json!(["/b/%C3", 1, true, 0])).await;
    shows(here, "/nobody", json!(["/nobody", 0, true, 0])).await;
    shows(here, "/", json!(["/", 0, true, 0])).await;

    let path = "/api/counts?room=/b/%25C3&room=/nobody&room=/a&room=/&room=/a";
    let said = json_of(here, path).await;
    let counts = said["counts"].as_array().expect("a list").iter();
    let counts: Vec<Value> =
        counts.map(|one| json!([one["room"], one["count"], one["exact"]])).collect();
    let expected = [("/b/%C3", 1), ("/nobody", 0), ("/a", 3), ("/", 0), ("/a", 3)];
    assert_eq!(counts, expected.map(|(room, count)| json!([room, count, true])));
    assert_eq!((&said["instances"], said["age_ms"].is_u64()), (&json!(2), true), "{said}");

    let before = scripts_run(&cluster.redis_client).await;
    for _ in 0..300 {
        json_of(here, "/api/count?room=/a").await;
    }
    let scripts = scripts_run(&cluster.redis_client).await - before;
    println!("300 answers while {scripts} scripts ran");
    assert!(scripts < 150, "{scripts} scripts for 300 answers");
    drop(clients);
    shows(here, "/a", json!(["/a", 0, true, 0])).await;
}

/// Goal: clients that know the counts get 304, on whichever instance they ask, and any change gives another answer. Method: ask with
/// the tag of one instance at the other, for one room and for two, before and after somebody joins one of them.
#[rstest]
#[case("/api/count?room=/a")]
#[case("/api/counts?room=/b&room=/a")]
#[tokio::test(flavor = "multi_thread")]
async fn known_counts_are_not_sent_again(#[case] path: &str) {
    let cluster = Cluster::start(2).await;
    let [here, there] = [0, 1].map(|index| cluster.instances[index].public);
    let _client = member(here, "/a").await;
    for server in [here, there] {
        shows(server, "/a", json!(["/a", 1, true, u8::from(server == here)])).await;
        shows(server, "/b", json!(["/b", 0, true, 0])).await;
    }
    let first = get(here, path).await;
    assert_eq!((first.status, first.header("cache-control")), (200, "no-cache"));
    assert_eq!(first.header("content-type"), "application/json");
    let known = [("if-none-match", first.header("etag"))];
    let ask = async || http::get_with(there, path, &known).await.expect("it answers");
    let same = ask().await;
    assert_eq!((same.status, same.body.as_str()), (304, ""), "{first:?} {same:?}");
    let _other = member(there, "/a").await;
    eventually("another answer", async || match ask().await.status {
        200 => Ok(()),
        status => Err(status.to_string()),
    })
    .await;
}

/// Goal: one stream tells of several rooms, wherever their members are, and of no others; an unknown room is told as soon as the store
/// has answered. Method: members come and go on another instance.
#[tokio::test(flavor = "multi_thread")]
async fn one_stream_tells_of_several_rooms() {
    let cluster = Cluster::start(2).await;
    let [here, there] = [0, 1].map(|index| cluster.instances[index].public);
    let path = "/api/count/stream?room=/a&room=/b&room=/a";
    let mut reader = Reader::open_at(here, path, "").await;
    let mut until = async |room: &str, count: u64| loop {
        let event = reader.event().await.expect("the stream goes on");
        let (name, is_exact) = (&event["room"], event["exact"] == true);
        assert!(name == "/a" || name == "/b", "{event}");
        if name == room && event["count"] == count && is_exact {
            break event;
        }
    };
    until("/a", 0).await;
    until("/b", 0).await;
    let _other = member(there, "/c").await;
    let client = member(there, "/b").await;
    assert_eq!(until("/b", 1).await["connections"], 0);
    let _here = member(here, "/a").await;
    assert_eq!(until("/a", 1).await["connections"], 1);
    drop(client);
    until("/b", 0).await;
}

/// Goal: a badge shows a room's count, with no text that strangers chose. Method: the badge of a room with one member, whose name is
/// markup; with a label; and badges of rooms that do not exist.
#[tokio::test(flavor = "multi_thread")]
async fn badges_show_rooms() {
    let cluster = Cluster::start_with(1, &[("HEADCOUNT_ROOMS", "/<b>*,/blog/*")]).await;
    let server = cluster.instances[0].public;
    let _client = member(server, "/<b>&\"x").await;
    let path = "/badge.svg?room=/%3Cb%3E%26%22x";
    let (badge, _) = eventually("the badge shows one", async || {
        let badge = get(server, path).await;
        if badge.body.contains(">online: 1</title>") { Ok(badge) } else { Err(badge.body) }
    })
    .await;
    assert_eq!((badge.status, badge.header("content-type")), (200, "image/svg+xml"));
    assert!(!badge.body.contains("<b>") && !badge.body.contains("&lt;b"), "{}", badge.body);
    let labelled = get(server, &format!("{path}&label=readers")).await.body;
    assert!(labelled.contains(">readers: 1</title>"), "{labelled}");
    for (query, status) in [
        ("room=/shop", 404),
        ("room=x", 404),
        ("room=/%80", 400),
        ("room=/blog/a&room=/blog/b", 400),
    ] {
        assert_eq!(get(server, &format!("/badge.svg?{query}")).await.status, status, "{query}");
    }
}

/// Goal: a query that names no room gets an error that programs understand, on every address, and names that look alike are different
/// rooms. Method: queries with every fault, up to the longest that a request can have.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_queries_are_refused() {
    let settings =
        [("HEADCOUNT_ROOMS", "/*"), ("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")];
    let cluster = Cluster::start_with(1, &settings).await;
    let server = cluster.instances[0].public;
    let _client = member(server, "/\u{e9}").await;
    shows(server, "/%C3%A9", json!(["/\u{e9}", 1, true, 1])).await;
    for look_alike in ["/e%CC%81", "/%C3%89", "/%C3%A9%E2%80%8B", "//%C3%A9", "/%C3%A9/"] {
        let said = json_of(server, &format!("/api/count?room={look_alike}")).await;
        assert_eq!(said["count"], 0, "{look_alike}: {said}");
    }
    let cases = [
        ("room=/a%FF".to_owned(), 400, "bad_parameter"),
        ("room=/a%zz".to_owned(), 400, "bad_parameter"),
        ("room=/a%C0%AFb".to_owned(), 400, "bad_parameter"),
        ("room=".to_owned(), 404, "room_not_allowed"),
        ("room=a".to_owned(), 404, "room_not_allowed"),
        ("room=/a%20b".to_owned(), 404, "room_not_allowed"),
        ("room=/a%0d%0aSet-Cookie:x".to_owned(), 404, "room_not_allowed"),
        (format!("room=/{}", "x".repeat(10_000)), 404, "room_not_allowed"),
        ("room=/a&".repeat(1500), 400, "too_many_rooms"),
    ];
    for path in ["/api/count", "/api/counts", "/api/count/stream"] {
        for (query, status, code) in &cases {
            let answer = get(server, &format!("{path}?{query}")).await;
            let said: Value = serde_json::from_str(&answer.body).expect("JSON");
            let shown = &query[..query.len().min(40)];
            assert_eq!(
                (answer.status, said["code"].as_str()),
                (*status, Some(*code)),
                "{path}?{shown}"
            );
            assert_eq!(answer.header("cache-control"), "no-store");
            assert!(answer.body.len() < 300, "{}", answer.body);
        }
        let endless = "room=/a&".repeat(3000);
        let refused = http::get(server, &format!("{path}?{endless}")).await;
        assert!(refused.is_ok_and(|answer| answer.status == 431), "a head of 24 kB");
        let origin = [("origin", "https://blog.example")];
        let page =
            http::get_with(server, &format!("{path}?room=a"), &origin).await.expect("it answers");
        assert_eq!(page.header("access-control-allow-origin"), "https://blog.example", "{path}");
    }
    let all = parameters(|n| format!("/{n}"));
    assert_eq!(json_of(server, &format!("/api/counts?{all}")).await["counts"][99]["room"], "/99");
    assert_eq!(get(server, &format!("/api/counts?{all}room=/a")).await.status, 400);
    assert_eq!(get(server, "/api/counts").await.status, 400);
}

/// Goal: a stranger who asks for ever more rooms gets a share of the table, hurts nobody, and leaves nothing in Redis. Method: ask for
/// twenty thousand rooms on an instance with a table of 2,000. Known rooms are answered, and clients join new ones, all the time; a
/// room that nobody knew is answered as soon as a place has been held for its time.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_asks_for_many_rooms() {
    let cluster = Cluster::start_with(1, &[("HEADCOUNT_ROOMS_MAX", "2000")]).await;
    let server = cluster.instances[0].public;
    let _client = member(server, "/lively").await;
    let (mut answered, mut refused) = (0, 0);
    let start = Instant::now();
    for batch in 0..200 {
        let query = parameters(|n| format!("/{batch}-{n}"));
        let answer = get(server, &format!("/api/counts?{query}")).await;
        match answer.status {
            200 => answered += 1,
            503 => {
                // Its place is held for ten seconds, so only the first refusals are within that time on any machine.
                if refused == 0 {
                    shows(server, "/0-0", json!(["/0-0", 0, true, 0])).await;
                }
                refused += 1;
                assert_eq!(answer.header("retry-after"), "10");
                assert!(answer.body.contains("\"code\":\"rooms_full\""), "{}", answer.body);
            }
            _ => panic!("{answer:?}"),
        }
    }
    // A tenth of the table is for programs, and each of its places for another room every ten seconds.
    let turns = 1 + start.elapsed().as_secs() / 10;
    assert!((2..=2 * turns).contains(&answered), "{answered} of 200 in {:?}", start.elapsed());
    let counted = cluster.instances[0].metric("headcount_refused_total{reason=\"rooms\"}").await;
    assert_eq!(counted, Ok(f64::from(refused)));
    shows(server, "/lively", json!(["/lively", 1, true, 1])).await;
    let _newcomer = member(server, "/new").await;
    shows(server, "/new", json!(["/new", 1, true, 1])).await;
    let stored = cluster.redis_client.send(&["HKEYS", "{currentUsers}:rooms"]).await;
    let stored = format!("{:?}", stored.expect("Redis runs"));
    assert!(stored.contains("/lively") && stored.contains("/new"), "{stored}");
    assert!(!stored.contains("0-0"), "{stored}");
    let ((), took) = eventually("somebody else's room is answered", async || {
        let answer = get(server, "/api/count?room=/of-somebody-else").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.body) }
    })
    .await;
    println!("a place was free after {took:?}");
}

/// Goal: a program that asks for an unknown room while the store is away is answered soon, with what is known, and told that it is an
/// estimate; once the store is back, exactly. Method: kill Redis, ask for a room with a member here, and for one without.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_estimated_without_the_store() {
    let mut cluster = Cluster::start(1).await;
    let server = cluster.instances[0].public;
    let _client = member(server, "/a").await;
    shows(server, "/a", json!(["/a", 1, true, 1])).await;
    cluster.redis.kill_9();
    shows(server, "/a", json!(["/a", 1, false, 1])).await;
    let start = Instant::now();
    let said = json_of(server, "/api/counts?room=/x&room=/y&room=/z").await;
    println!("the answer took {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "it waits once, not for each room");
    for entry in said["counts"].as_array().expect("a list") {
        assert_eq!((&entry["count"], &entry["exact"]), (&json!(0), &json!(false)), "{said}");
    }
    cluster.redis.restart();
    shows(server, "/a", json!(["/a", 1, true, 1])).await;
    shows(server, "/x", json!(["/x", 0, true, 0])).await;
}

/// Goal: without a store to share, an instance counts its own rooms exactly. Method: one instance alone.
#[tokio::test(flavor = "multi_thread")]
async fn one_instance_alone_counts_its_rooms() {
    let instance = Instance::start(&[]).await;
    instance.ready().await;
    let client = member(instance.public, "/a").await;
    shows(instance.public, "/a", json!(["/a", 1, true, 1])).await;
    shows(instance.public, "/b", json!(["/b", 0, true, 0])).await;
    drop(client);
    shows(instance.public, "/a", json!(["/a", 0, true, 0])).await;
}

/// Goal: rooms that the settings do not allow do not exist for programs either. Method: patterns, and none at all.
#[rstest]
#[case("/blog/*", &[("/blog/1", 200), ("/blog/", 404), ("/shop", 404), ("/", 200)])]
#[case("none", &[("/a", 404), ("/", 200)])]
#[tokio::test(flavor = "multi_thread")]
async fn only_rooms_of_the_settings_exist(#[case] rooms: &str, #[case] asked: &[(&str, u16)]) {
    let instance = Instance::start(&[("HEADCOUNT_ROOMS", rooms)]).await;
    for &(room, status) in asked {
        for path in ["/api/count", "/api/counts", "/badge.svg"] {
            let answer = get(instance.public, &format!("{path}?room={room}")).await;
            assert_eq!(answer.status, status, "{path} {room}: {answer:?}");
        }
    }
}

/// Goal: HEAD asks for the headers alone, and a stream that is asked so takes no place. Method: a HEAD request to each address until
/// the header arrives; then no stream is open.
#[tokio::test(flavor = "multi_thread")]
async fn heads_can_be_asked_for() {
    let instance = Instance::start(&[]).await;
    let heads = [
        ("/api/count?room=/a", "etag: W/"),
        ("/api/counts?room=/a&room=/b", "etag: W/"),
        ("/badge.svg?room=/a", "image/svg+xml"),
        ("/api/count?room=a", "HTTP/1.1 404"),
        ("/api/count/stream?room=/a", "text/event-stream"),
    ];
    for (path, wanted) in heads {
        let mut client = Raw::open(instance.public).await;
        let head =
            format!("HEAD {path} HTTP/1.1\r\nhost: count.example\r\nconnection: close\r\n\r\n");
        assert!(client.is_answered_after(head.as_bytes(), wanted).await, "{path}");
    }
    eventually("no stream is open", async || {
        let open = instance.metric("headcount_streams").await?;
        if open == 0.0 { Ok(()) } else { Err(format!("{open} streams")) }
    })
    .await;
}
