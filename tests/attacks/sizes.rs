//! Clients that send messages that are too large or never end.

use std::net::SocketAddr;

use futures_util::future::join_all;
use headcount_testkit::raw::{
    Raw, Way, ask,
    frames::{BINARY, CONTINUATION, FINAL, TEXT, frame, text},
    polling_counted, post,
};

use crate::besieged::{Besieged, CROWD};

/// Attackers of each kind.
const ATTACKERS: usize = 5;

/// The default of `HEADCOUNT_MAX_PAYLOAD`, which is the largest accepted message.
const PAYLOAD: usize = 16_384;

/// Goal: a websocket message may have exactly the size of the setting and not a byte more. The number of frames
/// and the first transport do not matter. Method: messages of the largest size, then larger ones: whole, in
/// fragments, and only announced.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_websocket_messages_end_the_connection() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let largest = frame(FINAL | TEXT, &event(PAYLOAD));
    let fragments = |pieces: usize| {
        let rest = frame(CONTINUATION, &[b'x'; 1000]).repeat(pieces);
        [frame(TEXT, b"42[\"hello\",\""), rest].concat()
    };
    let announced = [&[FINAL | TEXT, 0xff][..], &u64::MAX.to_be_bytes()[..], &[0; 4]].concat();
    let attacks = [
        ("one byte too many", frame(FINAL | TEXT, &event(PAYLOAD + 1))),
        ("bytes, one too many", frame(FINAL | BINARY, &vec![0; PAYLOAD + 1])),
        ("too many in fragments", fragments(17)),
        ("endless, as announced", announced),
        ("a reserved bit", frame(FINAL | 0x40 | TEXT, b"3")),
        ("a frame of no known kind", frame(FINAL | 0x0b, b"")),
        ("a continuation of nothing", frame(FINAL | CONTINUATION, b"3")),
        ("not UTF-8", frame(FINAL | TEXT, &[b'4', b'2', 0xff, 0xfe])),
        ("a long ping", frame(FINAL | 9, &[0; 126])),
        ("not masked", vec![FINAL | TEXT, 1, b'3']),
    ];

    let mut content = Vec::new();
    for way in Way::BOTH.repeat(ATTACKERS) {
        let mut raw = Raw::alive_by(way, address).await;
        raw.send(&largest).await.expect("the connection is open");
        raw.send(&fragments(15)).await.expect("the connection is open");
        raw.send(&frame(FINAL | CONTINUATION, b"\"]")).await.expect("the connection is open");
        assert!(raw.is_answered_after(&text("40/no where,"), "44/no where,").await);
        content.push(raw);
    }
    besieged.agrees_on(CROWD + 2 * ATTACKERS).await;
    drop(content);
    besieged.agrees_on(CROWD).await;

    let errors_before = besieged.disconnected("transport_error").await;
    for (kind, bytes) in &attacks {
        let attackers = Way::BOTH.repeat(ATTACKERS).into_iter().map(async |way| {
            let mut raw = Raw::alive_by(way, address).await;
            raw.send(bytes).await.expect("the connection is open");
            raw.ended().await
        });
        let took = join_all(attackers).await;
        println!("{kind}: ended after {:?}", took.iter().max());
    }
    besieged.agrees_on(CROWD).await;
    let errors = errors_before + 2 * attacks.len() * ATTACKERS;
    besieged.until_disconnected("transport_error", errors).await;
    besieged.is_unharmed().await;
}

fn event(length: usize) -> Vec<u8> {
    let (start, end) = ("42[\"hello\",\"", "\"]");
    let filling = "x".repeat(length - start.len() - end.len());
    format!("{start}{filling}{end}").into_bytes()
}

/// Goal: an incomplete message costs only its own bytes. Method: joined websockets begin a fragmented message, or
/// an event with one or with 1,000 binary parts, and send nothing more. Events with too many parts are refused.
/// The other connections end with their clients.
#[tokio::test(flavor = "multi_thread")]
async fn messages_that_never_end_are_not_waited_for() {
    let settings = [("HEADCOUNT_PING_INTERVAL", "3s"), ("HEADCOUNT_PING_TIMEOUT", "3s")];
    let mut besieged = Besieged::start(&settings).await;
    let address = besieged.address();
    let kinds = [
        ("a message in fragments", frame(TEXT, &[b'4'; 10_000])),
        ("half a frame", frame(FINAL | TEXT, &[b'4'; 10_000])[..5000].to_vec()),
        ("an event with a part", text("451-[\"x\",{\"_placeholder\":true,\"num\":0}]")),
        ("an event with parts", text("451000-[\"x\",{\"_placeholder\":true,\"num\":0}]")),
        ("an event with endless parts", text("4599999999999999999999-[\"x\"]")),
    ];
    for (kind, bytes) in &kinds {
        let attackers = Way::BOTH.repeat(ATTACKERS).into_iter().map(async |way| {
            let mut raw = Raw::alive_by(way, address).await;
            raw.send(bytes).await.expect("the connection is open");
            raw.ended().await
        });
        println!("{kind}: ended after {:?}", join_all(attackers).await.iter().max());
    }
    besieged.is_unharmed().await;
}

/// Goal: the body of a post is limited, with and without a declared length. Method: the largest body is accepted.
/// Larger ones are not: declared, in chunks, and in endless chunks.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_posts_are_refused() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    for _ in 0..ATTACKERS {
        let path = polling_counted(address).await;
        let largest = String::from_utf8(event(PAYLOAD)).expect("it is text");
        assert_eq!(status_of(address, &post(address, &path, &largest)).await, 200);
        assert_eq!(status_of(address, &post(address, &path, &(largest + "x"))).await, 413);
        assert_eq!(ask(address, "GET", &path, "").await.status, 400, "the session has ended");

        let path = polling_counted(address).await;
        let head = format!("POST {path} HTTP/1.1\r\nhost: {address}\r\ntransfer-encoding: chunked");
        let endless =
            format!("{head}\r\n\r\n{}", format!("400\r\n{}\r\n", "x".repeat(1024)).repeat(40));
        assert_eq!(status_of(address, &endless).await, 413);
        let lying = format!(
            "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: 9999999999\r\n\r\n1"
        );
        assert!([400, 413, 429].contains(&status_of(address, &lying).await), "it is too long");
    }
    besieged.agrees_on(CROWD).await;
    besieged.is_unharmed().await;
}

async fn status_of(server: SocketAddr, request: &str) -> u16 {
    let mut raw = Raw::open(server).await;
    // The server may answer and close the connection before everything is sent.
    let _ = raw.send(request.as_bytes()).await;
    raw.answer().await.expect("an answer").status
}

/// Goal: the size and the number of request headers are limited. Method: a long path, a long header, many
/// headers, and an endless header.
#[tokio::test(flavor = "multi_thread")]
async fn oversized_heads_are_refused() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let heads = [
        format!("GET /{} HTTP/1.1\r\nhost: {address}\r\n\r\n", "x".repeat(70_000)),
        format!("GET / HTTP/1.1\r\nhost: {address}\r\ncookie: {}\r\n\r\n", "x".repeat(20_000)),
        format!("GET / HTTP/1.1\r\nhost: {address}\r\n{}\r\n", "a: b\r\n".repeat(1000)),
        format!("GET / HTTP/1.1\r\nhost: {address}\r\nx: {}", "x".repeat(1_000_000)),
    ];
    for head in &heads {
        let attackers = (0..ATTACKERS).map(async |_| {
            let status = status_of(address, head).await;
            assert!([414, 431].contains(&status), "{status} for {}", &head[..60]);
        });
        join_all(attackers).await;
    }
    besieged.is_unharmed().await;
}
