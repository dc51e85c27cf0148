//! Correct and wrong actions of clients, and the behaviour of a server that is expected then.

use std::{net::SocketAddr, time::Duration};

use futures_util::FutureExt;
use headcount_testkit::raw::{
    POLLING, Raw,
    answer::Answer,
    ask,
    frames::{BINARY, CLOSE, FINAL, frame, text},
    poll, polling_session, post, say,
};
use serde_json::Value;
use tokio::time::timeout;

use super::{Scenario, Seen, code_in};

/// The name, the actions of the client, and the expected behaviour.
pub(super) const ALL: &[(&str, Scenario, &[&str])] = &[
    (
        "handshake by polling",
        |server| polling_handshake(server).boxed(),
        &[
            "200 text/plain; charset=utf-8",
            "20 characters",
            "[\"websocket\"] 25000 20000 16384",
            "5 members",
        ],
    ),
    (
        "handshake by websocket",
        |server| websocket_handshake(server).boxed(),
        &["20 characters", "[] 25000 20000 16384", "5 members"],
    ),
    ("refused websockets", |server| refused_websockets(server).boxed(), &["400", "400", "400"]),
    ("a post", |server| a_post(server).boxed(), &["200 text/html ok", "44/a a,"]),
    (
        "several packets in a payload",
        |server| payload(server).boxed(),
        &["200", "44/a a,", "44/b b,", "44/c c,"],
    ),
    ("packets of bytes", |server| packets_of_bytes(server).boxed(), &["200", "200", "44/a a,"]),
    ("a cut poll", |server| cut_poll(server).boxed(), &["400 1"]),
    ("two polls at a time", |server| two_polls(server).boxed(), &["200 1", "400 1"]),
    ("no packet, posted", |server| no_packet_posted(server).boxed(), &["400 1"]),
    (
        "no packet on a websocket",
        |server| no_packet_on_a_websocket(server).boxed(),
        &["closed", "closed", "closed"],
    ),
    (
        "a client that closes while it polls",
        |server| closes_while_polling(server).boxed(),
        &["200 ok", "200 6", "400 1"],
    ),
    (
        "an upgrade with a poll open",
        |server| upgrade(server).boxed(),
        &["3probe", "200 6", "44/a a,", "400 3", "400 3"],
    ),
    ("a second websocket", |server| second_websocket(server).boxed(), &["closed", "44/a a,"]),
    ("joining", |server| joins(server).boxed(), &["40{\"sid\":", "44/a a,"]),
    (
        "a room by polling",
        |server| room(server).boxed(),
        &["40/room,", "42/room,[\"user count\",1]"],
    ),
];

/// The beginning of a packet: its type and its namespace.
fn beginning(packet: &str) -> String {
    packet.split_inclusive(',').next().unwrap_or_default().to_owned()
}

/// Joins a room. The reference server has this room, and emits `1` to who joins.
async fn room(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    assert_eq!(say(server, &path, "40/room,{\"a\":1}").await.status, 200);
    let mut seen: Seen = Vec::new();
    while seen.len() < 2 {
        let body = poll(server, &path).await.body;
        let is_answer = |packet: &str| packet.starts_with("40");
        let brief = |packet| if is_answer(packet) { beginning(packet) } else { packet.to_owned() };
        seen.extend(body.split('\x1e').map(brief));
    }
    seen
}

async fn polling_handshake(server: SocketAddr) -> Seen {
    let answer = ask(server, "GET", POLLING, "").await;
    let media_type = answer.header("content-type").unwrap_or_default().to_owned();
    let mut seen = vec![format!("{} {media_type}", answer.status)];
    seen.extend(opening(&answer.body));
    seen
}

async fn websocket_handshake(server: SocketAddr) -> Seen {
    let mut websocket = Raw::websocket(server, None).await;
    opening(&websocket.text().await.expect("a text")).into()
}

fn opening(packet: &str) -> [String; 3] {
    let packet: Value =
        serde_json::from_str(packet.strip_prefix('0').expect(packet)).expect(packet);
    let length = packet["sid"].as_str().map_or(0, str::len);
    let members = packet.as_object().map_or(0, serde_json::Map::len);
    let rest = ["upgrades", "pingInterval", "pingTimeout", "maxPayload"];
    let rest = rest.map(|member| packet[member].to_string()).join(" ");
    [format!("{length} characters"), rest, format!("{members} members")]
}

async fn refused_websockets(server: SocketAddr) -> Seen {
    let mut seen = Vec::new();
    for query in
        ["EIO=4", "EIO=4&transport=pigeon", "EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA"]
    {
        let request = headcount_testkit::raw::upgrade(server, None);
        let request = request.replacen("EIO=4&transport=websocket", query, 1);
        let answer = Raw::saying(server, request).await.answer().await.expect("an answer");
        seen.push(answer.status.to_string());
    }
    seen
}

async fn a_post(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    let answer = say(server, &path, "40/a a,").await;
    let media_type = answer.header("content-type").unwrap_or_default();
    let posted = format!("{} {media_type} {}", answer.status, answer.body);
    vec![posted, beginning(&poll(server, &path).await.body)]
}

async fn payload(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    let answer = say(server, &path, "40/a a,\x1e40/b b,\x1e40/c c,").await;
    let mut seen = vec![answer.status.to_string()];
    while seen.len() < 4 {
        let body = poll(server, &path).await.body;
        for packet in body.split('\x1e') {
            seen.push(beginning(packet));
        }
    }
    seen
}

async fn packets_of_bytes(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    joined(server, &path).await;
    let event = "451-[\"x\",{\"_placeholder\":true,\"num\":0}]\x1ebAQID";
    let whole = say(server, &path, event).await;
    let question = say(server, &path, "40/a a,").await;
    let mut seen = vec![whole.status.to_string(), question.status.to_string()];
    let answer = poll(server, &path).await.body;
    // Counts may arrive in the same answer.
    if answer.contains("44/a a,") {
        seen.push("44/a a,".to_owned());
    }
    seen
}

/// Joins the namespace, and waits for the answer. Where counts are sent, it waits for the first one
/// too.
async fn joined(server: SocketAddr, path: &str) {
    assert_eq!(say(server, path, "40").await.status, 200);
    let answer = poll(server, path).await.body;
    assert!(answer.starts_with("40{"), "{answer}");
}

async fn cut_poll(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    drop(open_poll(server, &path).await);
    // A poll of a living session would wait.
    let request = headcount_testkit::raw::upgrade(server, path.rsplit('=').next());
    let ended = async {
        while Raw::saying(server, &request)
            .await
            .answer()
            .await
            .is_ok_and(|answer| answer.status != 400)
        {}
    };
    timeout(SOON, ended).await.expect("the session ends");
    vec![brief(&poll(server, &path).await)]
}

async fn two_polls(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    let mut first = open_poll(server, &path).await;
    let second = poll(server, &path).await;
    assert!([400, 500].contains(&second.status), "{second:?}");
    let first = first.answer().await.expect("an answer");
    vec![brief(&first), brief(&poll(server, &path).await)]
}

async fn no_packet_posted(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    // The reference server cuts the connection instead of answering.
    let _ = Raw::saying(server, post(server, &path, "abc")).await.answer().await;
    vec![brief(&poll(server, &path).await)]
}

async fn no_packet_on_a_websocket(server: SocketAddr) -> Seen {
    let mut seen = Vec::new();
    for message in [text("abc"), text("4abc"), frame(FINAL | BINARY, &[0x80])] {
        let mut websocket = Raw::websocket(server, None).await;
        websocket.send(&message).await.expect("it is open");
        seen.push(fate(websocket).await);
    }
    seen
}

/// Whether the server closes the websocket soon.
async fn fate(mut websocket: Raw) -> String {
    let closed =
        async { while websocket.read_frame().await.is_ok_and(|(kind, _)| kind != CLOSE) {} };
    let is_closed = timeout(SOON, closed).await.is_ok();
    String::from(if is_closed { "closed" } else { "open" })
}

/// Time limit on a busy machine. A session that never joins ends after ten seconds at the earliest.
const SOON: Duration = Duration::from_secs(6);

async fn closes_while_polling(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    joined(server, &path).await;
    let mut waiting = open_poll(server, &path).await;
    let posted = brief(&say(server, &path, "1").await);
    let polled = brief(&waiting.answer().await.expect("an answer"));
    vec![posted, polled, brief(&poll(server, &path).await)]
}

async fn upgrade(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    let mut waiting = open_poll(server, &path).await;
    let mut websocket = Raw::websocket(server, path.rsplit('=').next()).await;
    websocket.send(&text("2probe")).await.expect("it is open");
    let mut seen = vec![websocket.text().await.expect("a text")];
    seen.push(brief(&waiting.answer().await.expect("an answer")));
    websocket.send(&[text("5"), text("40/a a,")].concat()).await.expect("it is open");
    seen.push(beginning(&websocket.text().await.expect("a text")));
    seen.push(brief(&poll(server, &path).await));
    seen.push(brief(&say(server, &path, "3").await));
    seen
}

async fn second_websocket(server: SocketAddr) -> Seen {
    let path = polling_session(server).await;
    let mut first = Raw::upgraded_from(server, &path).await;
    assert!(first.is_answered_after(&text("40/b b,"), "44/b b,").await, "it has moved");
    let second = Raw::websocket(server, path.rsplit('=').next()).await;
    let fate = fate(second).await;
    let goes_on = first.is_answered_after(&text("40/a a,"), "44/a a,").await;
    vec![fate, if goes_on { "44/a a,".into() } else { "nothing".into() }]
}

async fn joins(server: SocketAddr) -> Seen {
    let mut websocket = Raw::websocket(server, None).await;
    let mut seen = Vec::new();
    for (packets, wanted) in [(text("40"), "40{\"sid\":"), (text("40/a a,{}"), "44/a a,")] {
        if websocket.is_answered_after(&packets, wanted).await {
            seen.push(wanted.to_owned());
        }
    }
    seen
}

/// A poll that waits at the server.
async fn open_poll(server: SocketAddr, path: &str) -> Raw {
    loop {
        let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n");
        let mut raw = Raw::saying(server, request).await;
        let Ok(answer) = timeout(Duration::from_millis(300), raw.answer()).await else {
            return raw;
        };
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

/// The status, with the code of an error or any other body.
fn brief(answer: &Answer) -> String {
    match code_in(answer) {
        Some(code) if answer.status >= 400 => format!("{} {code}", answer.status),
        _ => format!("{} {}", answer.status, answer.body),
    }
}
