//! Tokens for the HTTP API: counts of private rooms are for bearers of tokens, on every address, and nobody else's cache keeps them.

use std::{net::SocketAddr, time::Duration};

use headcount_testkit::{
    client::Transport,
    http::{self, Answer},
    instance::Instance,
    raw::ask,
    rooms::RoomsClient,
    tokens::{Issuer, in_seconds},
    waiting::eventually,
};
use rstest::rstest;
use serde_json::{Value, json};

use super::stream::Reader;

/// An instance whose rooms of teams are private, and a member of one of them.
async fn with_a_team(issuer: &Issuer, more: &[(&str, &str)]) -> (Instance, RoomsClient) {
    let private = [("HEADCOUNT_PRIVATE_ROOMS", "/team/*")];
    let instance = Instance::start(&[&issuer.settings()[..], &private, more].concat()).await;
    let member = RoomsClient::open(instance.public, Transport::Websocket, &[]);
    member.join_with("/team/1", &json!({ "token": issuer.token("margaret") }));
    eventually("the member is told", async || match member.record("/team/1").shows() {
        Some(1) => Ok(()),
        shown => Err(format!("{shown:?}")),
    })
    .await;
    (instance, member)
}

async fn get(server: SocketAddr, path: &str, token: Option<&str>) -> Answer {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
    http::get_with(server, path, &headers).await.expect("it answers")
}

/// Goal: the count of a private room is read with a token that allows it, on every address, and each other request is told what is
/// wrong, in the way of RFC 6750. Method: all addresses with a good token, without one, and with one of each fault; one private room
/// among public ones is enough.
#[tokio::test(flavor = "multi_thread")]
async fn private_rooms_are_read_with_a_token() {
    let (issuer, stranger) = (Issuer::new("blog"), Issuer::new("somebody"));
    let (instance, _member) = with_a_team(&issuer, &[]).await;
    let server = instance.public;
    let expired = issuer.sign(&json!({ "sub": "a", "exp": in_seconds(Duration::ZERO) - 3600 }));
    let in_blog = issuer.token_in("ada", &json!(["/blog/*"]));
    let faults = [
        (None, 401, "token_missing", "Bearer realm=\"headcount\""),
        (Some(stranger.token("ada")), 401, "token_invalid", "error=\"invalid_token\""),
        (Some("rubbish".to_owned()), 401, "token_invalid", "error=\"invalid_token\""),
        (Some(expired), 401, "token_expired", "The token has expired"),
        (Some(in_blog), 403, "room_forbidden", "error=\"insufficient_scope\""),
    ];
    let paths = [
        "/api/count?room=/team/1",
        "/api/counts?room=/blog/1&room=/team/1",
        "/api/count/stream?room=/&room=/team/1",
    ];
    for path in paths {
        for (token, status, code, challenge) in &faults {
            let answer = get(server, path, token.as_deref()).await;
            let said: Value = serde_json::from_str(&answer.body).expect("JSON");
            let found = (answer.status, said["code"].as_str());
            assert_eq!(found, (*status, Some(*code)), "{path}: {answer:?}");
            let asked = answer.header("www-authenticate");
            assert!(asked.starts_with("Bearer ") && asked.contains(challenge), "{asked}");
            assert_eq!(answer.header("cache-control"), "no-store", "{path} {code}");
        }
    }
    for (token, status, ..) in &faults {
        let badge = get(server, "/badge.svg?room=/team/1", token.as_deref()).await;
        let Some(_) = token else {
            assert_eq!((badge.status, badge.header("content-type")), (200, "image/svg+xml"));
            assert_eq!(badge.header("cache-control"), "private, no-cache");
            assert!(badge.body.contains(">online: private</title>"), "{badge:?}");
            continue;
        };
        let found = (badge.status, badge.header("cache-control"));
        assert_eq!(found, (*status, "no-store"), "{badge:?}");
    }
    // A page that shows a badge shows no bad token.
    assert_eq!(instance.metric("headcount_refused_total{reason=\"token\"}").await, Ok(19.0));
    for token in [issuer.token("ada"), issuer.token_in("ada", &json!(["/team/1", "/blog/*"]))] {
        for path in &paths[..2] {
            let answer = get(server, path, Some(&token)).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            assert!(answer.body.contains("\"room\":\"/team/1\",\"count\":1"), "{}", answer.body);
        }
        let badge = get(server, "/badge.svg?room=/team/1", Some(&token)).await;
        assert!(badge.body.contains(">online: 1</title>"), "{badge:?}");
        let header = format!("authorization: Bearer {token}\r\n");
        let mut reader = Reader::open_at(server, paths[2], &header).await;
        let told = [reader.event().await, reader.event().await];
        let rooms: Vec<_> = told.iter().flatten().map(|event| event["room"].clone()).collect();
        assert_eq!(rooms, ["/", "/team/1"]);
    }
}

/// Goal: answers that depended on a token are kept by no shared cache, and still cost little when nothing has changed; all others are
/// as ever, whatever token a proxy adds. Method: the headers of both kinds; a second request with the tag of the first; a bad token
/// with public rooms.
#[tokio::test(flavor = "multi_thread")]
async fn answers_for_bearers_are_for_nobody_else() {
    let issuer = Issuer::new("blog");
    let (instance, _member) = with_a_team(&issuer, &[]).await;
    let (server, token) = (instance.public, issuer.token("ada"));
    for path in ["/api/count?room=/team/1", "/api/counts?room=/team/1", "/badge.svg?room=/team/1"] {
        let answer = get(server, path, Some(&token)).await;
        assert_eq!(answer.header("cache-control"), "private, no-cache", "{path}");
        let vary: Vec<_> = answer.headers.get_all("vary").iter().collect();
        let all = format!("{vary:?}").to_lowercase();
        assert!(all.contains("authorization") && all.contains("origin"), "{path}: {all}");
        if answer.header("etag").is_empty() {
            continue;
        }
        let bearer = format!("Bearer {token}");
        let known = [("if-none-match", answer.header("etag")), ("authorization", &bearer)];
        let again = http::get_with(server, path, &known).await.expect("it answers");
        assert_eq!((again.status, again.header("cache-control")), (304, "private, no-cache"));
        let without = http::get_with(server, path, &known[..1]).await.expect("it answers");
        assert_eq!(without.status, 401, "a tag is no token");
    }
    for path in ["/api/count", "/api/count?room=/blog/1", "/api/counts?room=/", "/badge.svg"] {
        for token in [None, Some("rubbish"), Some(token.as_str())] {
            let answer = get(server, path, token).await;
            assert_eq!(answer.status, 200, "{path}");
            let caching = answer.header("cache-control");
            assert!(caching == "no-cache" || caching.starts_with("public"), "{path}: {caching}");
        }
    }
}

/// Goal: where sign-in is required, programs need a token for everything, the site's count too. Method: every address with and without
/// one; the page and the scripts are served to everybody.
#[tokio::test(flavor = "multi_thread")]
async fn required_sign_in_is_required_of_programs() {
    let issuer = Issuer::new("blog");
    let (instance, _member) = with_a_team(&issuer, &[("HEADCOUNT_SIGN_IN", "required")]).await;
    let (server, token) = (instance.public, issuer.token("ada"));
    for (path, without) in [
        ("/api/count", 401),
        ("/api/count?room=/blog/1", 401),
        ("/api/counts?room=/", 401),
        ("/badge.svg", 200),
        ("/", 200),
        ("/headcount.js", 200),
    ] {
        assert_eq!(get(server, path, None).await.status, without, "{path}");
        assert_eq!(get(server, path, Some(&token)).await.status, 200, "{path}");
    }
    let badge = get(server, "/badge.svg?label=members", None).await;
    assert!(badge.body.contains(">members: private</title>"), "no number: {badge:?}");
    assert_eq!(get(server, "/badge.svg?color=loud", None).await.status, 400);
    assert_eq!(Reader::open_at(server, "/api/count/stream", "").await.status(), 401);
}

/// Goal: a stream ends when its token expires, and not before; one that needs no token goes on. Method: a token of some seconds; a stream
/// of a private room and of a public one.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_their_token() {
    let issuer = Issuer::new("blog");
    let (instance, member) = with_a_team(&issuer, &[]).await;
    let server = instance.public;
    let expires_at = in_seconds(Duration::from_secs(3));
    let token = issuer.sign(&json!({ "sub": "ada", "exp": expires_at }));
    let header = format!("authorization: Bearer {token}\r\n");
    let mut private = Reader::open_at(server, "/api/count/stream?room=/team/1", &header).await;
    let mut public = Reader::open_at(server, "/api/count/stream?room=/blog/1", &header).await;
    assert_eq!(private.event().await.expect("it is read")["count"], 1);
    assert_eq!(public.event().await.expect("it is read")["room"], "/blog/1");
    member.leave("/team/1");
    while private.event().await.is_some() {}
    assert!(in_seconds(Duration::ZERO) >= expires_at, "it was read until its token expired");
    member.join("/blog/1");
    while public.event().await.expect("it goes on")["count"] != 1 {}
    let header =
        format!("authorization: Bearer {}\r\n", issuer.sign(&json!({ "sub": "a", "exp": 1 })));
    let again = Reader::open_at(server, "/api/count/stream?room=/team/1", &header).await;
    assert_eq!(again.status(), 401);
}

/// Goal: a page of an allowed origin may send its token: its browser asks before, and is told so. Method: the question of a browser before
/// a request with `Authorization`, and that request, by an allowed origin and by another one.
#[rstest]
#[case("https://blog.example", true)]
#[case("https://evil.example", false)]
#[tokio::test(flavor = "multi_thread")]
async fn pages_may_send_tokens(#[case] origin: &str, #[case] is_allowed: bool) {
    let issuer = Issuer::new("blog");
    let more = [("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")];
    let (instance, _member) = with_a_team(&issuer, &more).await;
    let (server, path) = (instance.public, "/api/count?room=/team/1");
    let headers = format!(
        "origin: {origin}\r\naccess-control-request-method: GET\r\n\
         access-control-request-headers: authorization\r\n"
    );
    let asked = ask(server, "OPTIONS", path, &headers).await;
    assert_eq!(asked.status, 200);
    let allows = |name: &str, value: &str| asked.head.contains(&format!("{name}: {value}\r\n"));
    assert_eq!(allows("access-control-allow-origin", origin), is_allowed, "{}", asked.head);
    assert!(allows("access-control-allow-headers", "authorization"), "{}", asked.head);
    let token = issuer.token("ada");
    let headers = format!("origin: {origin}\r\nauthorization: Bearer {token}\r\n");
    let answer = ask(server, "GET", path, &headers).await;
    assert_eq!(answer.status, 200);
    let allowed = format!("access-control-allow-origin: {origin}\r\n");
    assert_eq!(answer.head.contains(&allowed), is_allowed, "{}", answer.head);
}
