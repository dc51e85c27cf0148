//! Rooms and tokens behind the proxies of deploy/proxies: in handshakes, in headers, in streams, and in no access log.

use std::time::Duration;

use headcount_testkit::{
    client::Transport,
    cluster::nothing_is_wrong_in,
    foreign::{ForeignClients, Library},
    record::Record,
    rooms::RoomsClient,
    tokens::{Issuer, in_seconds},
    waiting::eventually,
};
use rstest::rstest;
use serde_json::json;

use super::{
    Pair,
    entrance::{CERTIFICATE, Connection, OWN_HOST, USUAL, YOUR_SITE},
    program::{Changes, Program, Proxy},
};

const ROOM: &str = "/team/7";
/// The longest address in this test: below the 16 KiB that an instance takes for a head, with room for the headers of a proxy.
const LONG_ADDRESS_BYTES: usize = 14_000;
/// The longest token that instances take.
const LONG_TOKEN_BYTES: usize = 8192;

/// Each proxy's own access log, as its packages or documents turn it on.
const LOGGED: Changes<'_> = &[
    (
        "ProxyPreserveHost On",
        "CustomLog access \"%h %l %u %t \\\"%r\\\" %>s %b\"\nProxyPreserveHost On",
    ),
    ("\ncount.example {", "\ncount.example {\nlog {\noutput file access\n}"),
    ("providers:", "accessLog: {filePath: access}\n\nproviders:"),
    ("local0 notice", "local0 info"),
    ("option dontlognull", "option dontlognull\n    option httplog"),
];

/// Goal: users sign in behind every proxy, on every transport, and are counted once over both instances; programs read a private
/// room with the longest token, in the longest list and as a stream that arrives at once; and no access log has a token. Method:
/// real clients with tokens over TLS, some of them with the longest one, requests with headers, and the log that the proxy wrote.
#[rstest]
#[case(Program::Nginx, &[])]
#[case(Program::Caddy, &LOGGED[1..2])]
#[case(Program::Traefik, &LOGGED[2..3])]
#[case(Program::Apache, &LOGGED[..1])]
#[case(Program::HaProxy, &LOGGED[3..])]
#[tokio::test(flavor = "multi_thread")]
async fn tokens_pass_a_proxy_and_are_in_no_log(
    #[case] program: Program,
    #[case] logged: Changes<'_>,
) {
    let issuer = Issuer::new("site");
    let settings = [&issuer.settings()[..], &[("HEADCOUNT_PRIVATE_ROOMS", "/team/*")]].concat();
    let pair = Pair::start(&settings).await;
    let proxy = Proxy::start_with(program, &pair, logged).await;
    let (usual, long) = (issuer.token("ada"), long_token(&issuer));

    let mut clients = ForeignClients::start(Library::Newest);
    let mut records = Vec::new();
    for token in [&usual, &long] {
        for transport in Transport::ALL {
            let url = format!("https://{OWN_HOST}:{}{ROOM}", proxy.entrance.address.port());
            let origin = format!("https://{OWN_HOST}:{}", proxy.entrance.address.port());
            let options = json!({
                "ca": CERTIFICATE.chain,
                "withCredentials": true,
                "extraHeaders": { "Origin": origin },
                "auth": { "token": token },
            });
            let more = json!({ "strict": true, "options": options });
            records.extend(clients.open_with(1, &url, transport, &more).await);
        }
    }
    eventually("two users are counted", async || {
        let told: Vec<_> = records.iter().map(Record::shows).collect();
        if told == [Some(2); 6] { Ok(()) } else { Err(format!("{told:?}")) }
    })
    .await;
    nothing_is_wrong_in(&records);

    programs_read_the_room(&proxy, &long).await;
    a_stream_arrives_at_once(&proxy, &pair, &issuer).await;
    // A proxy logs a request when it has been answered.
    let (log, _) = eventually("the requests are logged", async || {
        let log = proxy.logged();
        let is_whole = log.contains("socket.io") && log.contains("/api/counts");
        if is_whole { Ok(log) } else { Err(log) }
    })
    .await;
    for secret in [&usual, &long] {
        let signature = secret.rsplit('.').next().expect("a signature");
        assert!(!log.contains(signature), "the access log has a token");
    }
}

/// A token that is as long as it may be.
fn long_token(issuer: &Issuer) -> String {
    let exp = in_seconds(Duration::from_hours(1));
    let filled = |bytes: usize| {
        issuer.sign(&json!({ "sub": "margaret", "exp": exp, "groups": "x".repeat(bytes) }))
    };
    let longest =
        (0..LONG_TOKEN_BYTES).rev().map(filled).find(|token| token.len() <= LONG_TOKEN_BYTES);
    longest.expect("a short one fits")
}

async fn programs_read_the_room(proxy: &Proxy, token: &str) {
    let bearer = format!("authorization: Bearer {token}\r\n");
    let one = format!("/api/count?room={ROOM}");
    for (host, path) in [(OWN_HOST, ""), (YOUR_SITE, "/count")] {
        let without = proxy.entrance.get(host, &format!("{path}{one}"), "").await;
        assert_eq!(without.status, 401, "{without:?}");
        // An instance that has nobody there asks the store, and does not wait long for an answer.
        eventually("the room has two users", async || {
            let with = proxy.entrance.get(host, &format!("{path}{one}"), &bearer).await;
            assert_eq!(with.status, 200, "{with:?}");
            if with.body.contains("\"count\":2,") { Ok(()) } else { Err(format!("{with:?}")) }
        })
        .await;
        // As many rooms as one request may ask for, with names as long as the head allows.
        let name = "x".repeat(LONG_ADDRESS_BYTES / 100 - "room=/00&".len() - 15);
        let rooms: Vec<_> = (10..110).map(|room| format!("room=/{room}{name}")).collect();
        let many = format!("{path}/api/counts?{}", rooms.join("&"));
        assert!(many.len() > 8192, "it is longer than what proxies take by default");
        let answer = proxy.entrance.get(host, &many, "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

/// A buffer would keep the news until there is more of it, or for ever.
async fn a_stream_arrives_at_once(proxy: &Proxy, pair: &Pair, issuer: &Issuer) {
    let mut connection = proxy.entrance.connect(YOUR_SITE, USUAL).await.expect("it accepts");
    let url = format!("https://{YOUR_SITE}/count/api/count/stream?room={ROOM}");
    let bearer = format!("authorization: Bearer {}\r\n", issuer.token("watcher"));
    connection.say(&url, &bearer, None).await;
    is_told(&mut connection, 2).await;
    let newcomer = RoomsClient::open(pair.cluster.instances[0].public, Transport::Websocket, &[]);
    newcomer.join_with(ROOM, &json!({ "token": issuer.token("grace") }));
    is_told(&mut connection, 3).await;
}

async fn is_told(stream: &mut Connection, users: u64) {
    let wanted = format!("\"count\":{users},");
    loop {
        let line = stream.line().await.expect("the stream goes on");
        if line.starts_with("data: ") && line.contains(&wanted) {
            return;
        }
    }
}
