//! Requests that ask for a websocket, nearly ask for one, or ask for something else at another path.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use headcount_testkit::{
    instance::Instance,
    raw::{POLLING, Raw, answer::Answer, ask, upgrade},
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;

/// What is refused is refused within this, also on a busy machine; an open session without a join stays for ten seconds.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Who reads a request: the fast path reads what comes in one piece and has nothing unusual, the HTTP server the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sent {
    Plainly,
    WithAnUnusualHeader,
    InTwoPieces,
}

/// Lines of a request for a websocket.
const CONNECTION: &str = "connection: upgrade\r\n";
const UPGRADE: &str = "\r\nupgrade: websocket\r\n";
const VERSION: &str = "sec-websocket-version: 13\r\n";
const KEY: &str = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// What a request for a websocket has, what it has instead, and how it is answered then.
const NEARLY: [(&str, &str, u16); 24] = [
    ("HTTP/1.1", "HTTP/1.0", 400),
    ("GET ", "POST ", 400),
    ("GET ", "PUT ", 400),
    (CONNECTION, "", 400),
    (CONNECTION, "connection: close\r\n", 400),
    (CONNECTION, "connection: keep-alive\r\n", 400),
    (CONNECTION, "connection: upgraded\r\n", 400),
    (UPGRADE, "\r\n", 400),
    (UPGRADE, "\r\nupgrade: h2c\r\n", 400),
    (UPGRADE, "\r\nupgrade: websockets\r\n", 400),
    (VERSION, "", 400),
    (VERSION, "sec-websocket-version: 8\r\n", 426),
    (VERSION, "sec-websocket-version: 14\r\n", 426),
    (VERSION, "sec-websocket-version: 13\r\nsec-websocket-version: 13\r\n", 400),
    (KEY, "", 400),
    (KEY, "sec-websocket-key: \r\n", 400),
    (KEY, "sec-websocket-key: x\r\n", 400),
    (KEY, "sec-websocket-key: dGhlIHNhbXBsZSBub25j\r\n", 400),
    (KEY, "sec-websocket-key: dGhlIHNhbXBsZSBub25jZSE=\r\n", 400),
    (
        KEY,
        "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        400,
    ),
    ("host: ", "x-host: ", 400),
    ("EIO=4&", "", 400),
    ("EIO=4", "EIO=3", 400),
    ("=websocket", "=pigeon", 400),
];

/// What may stand there as well.
const ALSO: [(&str, &str, u16); 6] = [
    ("", "", 101),
    (CONNECTION, "connection: keep-alive, Upgrade\r\n", 101),
    (CONNECTION, "connection: keep-alive\r\nconnection: UPGRADE\r\n", 101),
    (UPGRADE, "\r\nupgrade: WebSocket\r\n", 101),
    (UPGRADE, "\r\nupgrade: h2c, websocket\r\n", 101),
    (UPGRADE, "\r\nupgrade: h2c\r\nupgrade: websocket\r\n", 101),
];

/// Goal: only what asks for a websocket as RFC 6455 has it is answered with one; what does not is refused at once and takes
/// no room. Method: requests with one thing wrong, or unusual and right, where there is room for two sessions.
#[rstest]
#[case(Sent::Plainly)]
#[case(Sent::WithAnUnusualHeader)]
#[case(Sent::InTwoPieces)]
#[tokio::test(flavor = "multi_thread")]
async fn only_what_asks_for_a_websocket_gets_one(#[case] sent: Sent) {
    let instance = Instance::start(&[("HEADCOUNT_MAX_CONNECTIONS", "2")]).await;
    let server = instance.public;
    let nearly = NEARLY.map(async |(right, wrong, status)| {
        let (answer, _raw) = shake_hands(server, sent, right, wrong).await;
        assert_eq!(answer.status, status, "{wrong:?} instead of {right:?}: {answer:?}");
        let version = answer.header("sec-websocket-version");
        assert_eq!(version, Some("13").filter(|_| status == 426), "{answer:?}");
    });
    let start = Instant::now();
    join_all(nearly).await;
    assert!(start.elapsed() < AT_ONCE, "{:?}", start.elapsed());
    let rooms = [0; 3].map(async |_| ask(server, "GET", POLLING, "").await.status);
    let mut statuses = join_all(rooms).await;
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503], "they took no room");
}

/// Goal: a request may be right in unusual ways. Method: see [`ALSO`]; each must be told the opening packet.
#[rstest]
#[case(Sent::Plainly)]
#[case(Sent::WithAnUnusualHeader)]
#[case(Sent::InTwoPieces)]
#[tokio::test(flavor = "multi_thread")]
async fn requests_for_websockets_may_be_unusual(#[case] sent: Sent) {
    let instance = Instance::start(&[]).await;
    for (usual, unusual, status) in ALSO {
        let (answer, mut raw) = shake_hands(instance.public, sent, usual, unusual).await;
        assert_eq!(answer.status, status, "{unusual:?}: {answer:?}");
        assert_eq!(answer.header("sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
        assert!(raw.text().await.expect("a text").starts_with("0{"));
    }
}

/// Goal: who offers subprotocols gets the first one, since some clients end a connection otherwise. Method: lists, in one
/// header or several, and none.
#[rstest]
#[case(Sent::Plainly)]
#[case(Sent::WithAnUnusualHeader)]
#[case(Sent::InTwoPieces)]
#[tokio::test(flavor = "multi_thread")]
async fn the_first_subprotocol_is_taken(#[case] sent: Sent) {
    let instance = Instance::start(&[]).await;
    for (offered, taken) in [
        ("sec-websocket-protocol: chat.v1\r\n", Some("chat.v1")),
        ("sec-websocket-protocol: b, a\r\n", Some("b")),
        ("sec-websocket-protocol: a\r\nsec-websocket-protocol: b\r\n", Some("a")),
        ("sec-websocket-protocol: \r\n", None),
        ("", None),
    ] {
        let with = format!("{offered}{KEY}");
        let (answer, _raw) = shake_hands(instance.public, sent, KEY, &with).await;
        assert_eq!(answer.status, 101, "{answer:?}");
        assert_eq!(answer.header("sec-websocket-protocol"), taken, "{offered:?}");
    }
}

/// The answer to a request for a websocket in which this stands instead of that.
async fn shake_hands(server: SocketAddr, sent: Sent, usual: &str, instead: &str) -> (Answer, Raw) {
    let request = upgrade(server, None);
    assert!(request.contains(usual), "{usual:?} stands in it");
    let request = request.replacen(usual, instead, 1);
    let mut raw = Raw::open(server).await;
    let pieces = match sent {
        Sent::Plainly => vec![request],
        Sent::WithAnUnusualHeader => {
            vec![request.replacen("\r\n", "\r\nx-page: caf\u{e9}\r\n", 1)]
        }
        Sent::InTwoPieces => {
            let (start, rest) = request.split_at(request.len() / 2);
            vec![start.to_owned(), rest.to_owned()]
        }
    };
    for piece in pieces {
        raw.send(piece.as_bytes()).await.expect("it reads");
    }
    (raw.answer().await.expect("an answer"), raw)
}

/// Paths that the server does not have, although they look like something.
const UNKNOWN: [&str; 8] = [
    "/socket.io/x?EIO=4&transport=polling",
    "/socket.io/x/?EIO=4&transport=websocket",
    "/socket.iox?EIO=4&transport=polling",
    "/socket.io//?EIO=4&transport=polling",
    "/x/socket.io/?EIO=4&transport=polling",
    "/engine.io/?EIO=4&transport=websocket",
    "/ws?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA",
    "/nowhere",
];

/// Goal: what is not there is not found, whatever the query says, also where no session may begin, and counts as no
/// refusal. Method: requests and websockets at unknown paths, on an instance that is open, then full, then shutting down.
#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_are_not_found() {
    let settings = [("HEADCOUNT_MAX_CONNECTIONS", "3"), ("HEADCOUNT_DRAIN", "1min")];
    let mut instance = Instance::start(&settings).await;
    let server = instance.public;
    nothing_is_found(server).await;
    let _clients = join_all([0; 3].map(|_| Raw::alive(server))).await;
    assert_eq!(ask(server, "GET", POLLING, "").await.status, 503, "it is full");
    nothing_is_found(server).await;
    assert_eq!(instance.metric("headcount_refused_total").await, Ok(1.0));
    instance.process().signal(Signal::TERM);
    let draining = "headcount_draining";
    eventually("it shuts down", async || match instance.metric(draining).await? {
        1.0 => Ok(()),
        other => Err(other.to_string()),
    })
    .await;
    nothing_is_found(server).await;
    assert_eq!(instance.metric("headcount_refused_total").await, Ok(1.0));
}

async fn nothing_is_found(server: SocketAddr) {
    let websocket = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                     sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for path in UNKNOWN {
        for (method, headers) in
            [("GET", ""), ("GET", websocket), ("POST", "content-length: 0\r\n")]
        {
            let answer = ask(server, method, path, headers).await;
            assert_eq!(answer.status, 404, "{method} {path}: {answer:?}");
        }
    }
}
