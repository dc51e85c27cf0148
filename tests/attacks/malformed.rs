//! Clients that keep to no protocol: nothing they send may end in a panic or harm anybody else.

use std::net::SocketAddr;

use futures_util::future::join_all;
use headcount_testkit::raw::{
    Raw, Way, ask,
    frames::{FINAL, TEXT, frame},
    polling_joined, polling_session, post, session_in, upgrade,
};

use crate::besieged::{Besieged, CROWD};

/// Packets that are nearly right, or right in the wrong place.
const PACKETS: [&str; 48] = [
    "",
    "0",
    "0{}",
    "1x",
    "2probe",
    "3probe",
    "4",
    "5",
    "6",
    "7",
    "b",
    "bAAAA",
    "b!",
    "\u{1e}",
    "3\u{1e}",
    "4\u{0}",
    "40{",
    "40{}",
    "40null",
    "40[1",
    "40/",
    "40/,",
    "40/nowhere",
    "40/nowhere,{",
    "41/nowhere,",
    "42",
    "42[",
    "42[]",
    "42[1]",
    "42{}",
    "42[\"",
    "42[\"a\"",
    "4299999999999999999999[\"a\"]",
    "43",
    "43[]",
    "431",
    "431[]",
    "44",
    "44{}",
    "44\"x\"",
    "45",
    "450-[]",
    "451-",
    "451-[]",
    "45-1-[]",
    "46",
    "461-[]",
    "47",
];

/// Goal: no packet panics, on either transport, before or after the join. Method: each of the above, alone,
/// in nested and repeated forms, and 2,000 made at random from their pieces, each on a connection of its own.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_packets_harm_nobody() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let nested = format!("42[\"a\",{}", "[".repeat(8000));
    let auth = format!("40{}", "{\"a\":".repeat(3000));
    let mut packets: Vec<String> = PACKETS.iter().map(|&packet| packet.to_owned()).collect();
    packets.extend([nested, auth, "9".repeat(10_000), "40/".repeat(5000), "\u{1e}".repeat(10_000)]);
    packets.extend(random_packets(2000));
    for (number, batch) in packets.chunks(50).enumerate() {
        join_all(batch.iter().map(|packet| say(address, packet, number))).await;
    }
    besieged.agrees_on(CROWD).await;
    besieged.is_unharmed().await;
}

/// Says it in one of five ways; the ordinary packets, which come first, in all of them.
async fn say(server: SocketAddr, packet: &str, number: usize) {
    let ways = if number < 2 { 0..5 } else { number % 5..number % 5 + 1 };
    for way in ways {
        match way {
            0 => on_websocket(Raw::alive_by(Way::Directly, server).await, packet).await,
            4 => on_websocket(Raw::alive_by(Way::Upgraded, server).await, packet).await,
            1 => on_websocket(Raw::websocket(server, None).await, packet).await,
            2 => by_post(server, &polling_joined(server).await, packet).await,
            _ => by_post(server, &polling_session(server).await, packet).await,
        }
    }
}

async fn on_websocket(mut raw: Raw, packet: &str) {
    raw.send(&frame(FINAL | TEXT, packet.as_bytes())).await.expect("the connection is open");
    // Then rubbish below the protocol, which ends every connection.
    let _ = raw.send(&[0xff; 16]).await;
    raw.ended().await;
}

async fn by_post(server: SocketAddr, path: &str, packet: &str) {
    let answer = Raw::saying(server, post(server, path, packet)).await.answer().await;
    let status = answer.expect("an answer").status;
    assert!([200, 400, 413].contains(&status), "{status} for {packet:?}");
    Raw::saying(server, post(server, path, "1")).await.answer().await.expect("an answer");
}

/// The same ones in every run: a linear congruential generator strings pieces together.
fn random_packets(number: usize) -> Vec<String> {
    const PIECES: [&str; 24] = [
        "0",
        "1",
        "2",
        "3",
        "4",
        "5",
        "6",
        "40",
        "42",
        "45",
        "46",
        "-",
        ",",
        "/",
        "/x,",
        "[",
        "]",
        "{",
        "}",
        "\"",
        "[\"a\"]",
        "{\"_placeholder\":true,\"num\":0}",
        "\u{1e}",
        "ä",
    ];
    let mut state = 1u64;
    let mut next = |below: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits fit") % below
    };
    let mut packet = || (0..=next(8)).map(|_| PIECES[next(PIECES.len())]).collect::<String>();
    (0..number).map(|_| packet()).collect()
}

/// Goal: malformed HTTP and malformed requests to Socket.IO are answered with an error or the end of the
/// connection. Method: a list of them; none may be answered with success.
#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_are_refused() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let requests: [&[u8]; 14] = [
        b"\r\n\r\n\r\n",
        b"rubbish\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\n: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x00\x00\x00\r\n\r\n",
        b"POST /socket.io/?sid=x HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        b"POST /socket.io/?sid=x HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzzz\r\n",
        b"GET /socket.io/ HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n",
        b"\xff\xfe\xfd\r\n\r\n",
    ];
    for request in requests {
        let mut raw = Raw::saying(address, request).await;
        raw.half_close().await;
        if let Ok(answer) = raw.answer().await {
            assert!(answer.status >= 400, "{answer:?} for {:?}", String::from_utf8_lossy(request));
        }
    }
    for (method, path) in [
        ("GET", "/socket.io/"),
        ("GET", "/socket.io/?EIO=3&transport=polling"),
        ("GET", "/socket.io/?EIO=4&transport=pigeon"),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid="),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=%00"),
        ("GET", "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"),
        ("GET", "/socket.io/?EIO=4&transport=websocket"),
        ("POST", "/socket.io/?EIO=4&transport=polling"),
        ("POST", "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"),
        ("PUT", "/socket.io/?EIO=4&transport=polling"),
        ("DELETE", "/socket.io/?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAA"),
        ("GET", "/socket.io"),
        ("GET", "/socket.io/../admin"),
        ("GET", "/metrics"),
        ("POST", "/api/count"),
    ] {
        let answer = ask(address, method, path, "").await;
        assert!((400..500).contains(&answer.status), "{answer:?} for {method} {path}");
    }
    besieged.is_unharmed().await;
}

/// Goal: an upgrade can be asked for twice or wrongly without harm to others. Method: websockets
/// on a session that has one already, on sessions that do not exist, and without the headers that it takes.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_upgrades_harm_nobody() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    for _ in 0..5 {
        let path = polling_joined(address).await;
        let session = path.rsplit('=').next().expect("the path ends with it");
        let doubled = upgrade(address, Some(session)).replacen("=websocket", "=websocket=", 1);
        let both = [upgrade(address, Some(session)), doubled];
        let mut sockets = join_all(both.map(|request| Raw::saying(address, request))).await;
        for socket in &mut sockets {
            let _ = socket.answer().await;
        }
        drop(sockets);
        let nobody = upgrade(address, Some("AAAAAAAAAAAAAAAA"));
        Raw::saying(address, nobody).await.ended().await;
        let bare = "connection: upgrade\r\nupgrade: websocket\r\n";
        let answer = ask(address, "GET", "/socket.io/?EIO=4&transport=websocket", bare).await;
        assert_eq!(answer.status, 400);
        let opened = ask(address, "GET", "/socket.io/?EIO=4&transport=polling", bare).await;
        assert_eq!(session_in(&opened.body).len(), session.len());
    }
    besieged.agrees_on(CROWD).await;
    besieged.is_unharmed().await;
}
