//! Who is in a room is told to nobody who may not know it, whatever he asks for.

use std::{net::SocketAddr, time::Duration};

use headcount_testkit::{
    http,
    raw::{Raw, Way, frames::text},
    tokens::{Issuer, in_seconds},
};
use serde_json::{Value, json};

use super::{
    besiege,
    lister::{Lister, Poller, join, leave, told},
};

/// A part of what is to be known to nobody else: the ids of users, and what is shown of them.
const SECRET: &str = "sesame";
/// A packet that is refused, and how the refusal begins.
const LAST_QUESTION: &str = "40/end,{\"watch\":5}";
const LAST_ANSWER: &str = "44/end,";

/// Goal: a client without a token, or with one that does not allow the room, learns nothing of who is there, on the wire and from the
/// API; nor does a member that has not asked, or anybody in a room without lists. Method: everything that such clients can say,
/// on both kinds of websocket and by polling, while users whose ids and information say a word come and go; the word is in no byte
/// that they are sent.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_learn_nothing() {
    let (issuer, other) = (Issuer::new("blog"), Issuer::new("somebody"));
    let mut besieged = besiege(&issuer, &[]).await;
    let server = besieged.address();
    let users: Vec<Value> = (0..5)
        .map(|number| {
            let user = format!("{SECRET}-{number}");
            json!({ "token": issuer.token_showing(&user, &json!({ "name": SECRET })) })
        })
        .collect();
    let rooms = ["/team/7", "/hall"];
    let beside = Lister::open(Way::Directly, server, rooms[0], &issuer.token("ada")).await;
    let mut there = Vec::new();
    for auth in &users {
        let mut raw = Raw::alive_by(Way::Directly, server).await;
        enter(&mut raw, &rooms, auth).await;
        there.push(raw);
    }
    let says = what_strangers_say(&issuer, &other);
    let (mut sockets, mut pollers) = (Vec::new(), Vec::new());
    for auth in &says {
        for way in Way::BOTH {
            let mut raw = Raw::alive_by(way, server).await;
            let asked = rooms.map(|room| join(room, auth)).concat();
            raw.send(&[asked, text(&format!("40{auth}"))].concat()).await.expect("it may");
            sockets.push(raw);
        }
        let poller = Poller::open(server).await;
        poller.say(&rooms.map(|room| format!("40{room},{auth}")).join("\x1e")).await;
        pollers.push(poller);
    }
    beside.knows("all are listed", |known| known.users.len() > users.len()).await;
    for raw in &mut there {
        raw.send(&rooms.map(leave).concat()).await.expect("it may");
    }
    beside.knows("they have left", |known| known.left.len() == users.len()).await;
    for (raw, auth) in there.iter_mut().zip(&users) {
        enter(raw, &rooms, auth).await;
    }
    beside.knows("they are back", |known| known.users.len() > users.len()).await;
    for raw in sockets {
        assert_no_secret(&all_told(raw).await);
    }
    for mut poller in pollers {
        poller.say(LAST_QUESTION).await;
        let mut told = String::new();
        while !told.contains(LAST_ANSWER) {
            told += &poller.poll().await.concat();
        }
        assert_no_secret(&told);
    }
    the_api_says_nothing(server, &says).await;
    drop((there, beside));
    besieged.is_unharmed().await;
}

/// Everything that clients can say who may not be told the list.
fn what_strangers_say(issuer: &Issuer, other: &Issuer) -> Vec<Value> {
    let expired = issuer.sign(&json!({ "sub": "mallory", "exp": in_seconds(Duration::ZERO) - 60 }));
    vec![
        json!({}),
        json!({ "list": true }),
        json!({ "list": true, "watch": true }),
        json!({ "list": true, "visitor": "k3J".repeat(8) }),
        json!({ "list": true, "token": null }),
        json!({ "list": true, "token": other.token("mallory") }),
        json!({ "list": true, "token": expired }),
        json!({ "list": true, "token": issuer.token_in("mallory", &json!(["/hall", "/team/8"])) }),
        json!({ "list": "true", "token": issuer.token("mallory") }),
        json!({ "list": false, "token": issuer.token("mallory") }),
        json!({ "users": true, "token": issuer.token("mallory"), "watch": true }),
    ]
}

/// Joins these rooms, and waits until it is in.
async fn enter(raw: &mut Raw, rooms: &[&str], auth: &Value) {
    for room in rooms {
        raw.send(&join(room, auth)).await.expect("it may");
        told(raw, &format!("40{room},{{")).await;
    }
}

/// Everything that a client is told until an answer that comes last.
async fn all_told(mut raw: Raw) -> String {
    let mut told = String::new();
    raw.send(&text(LAST_QUESTION)).await.expect("it may");
    while !told.contains(LAST_ANSWER) {
        told += &raw.text().await.expect("it goes on");
    }
    told
}

fn assert_no_secret(told: &str) {
    assert!(!told.contains(SECRET) && !told.contains("[\"users\""), "{told}");
    assert!(told.contains("40/") || told.contains("44/"), "it was answered: {told}");
}

async fn the_api_says_nothing(server: SocketAddr, says: &[Value]) {
    for auth in says {
        for room in ["/team/7", "/hall"] {
            let bearer = auth["token"].as_str().map(|token| format!("Bearer {token}"));
            let headers: Vec<_> =
                bearer.iter().map(|bearer| ("authorization", bearer.as_str())).collect();
            let path = format!("/api/users?room={room}");
            let answer = http::get_with(server, &path, &headers).await.expect("it answers");
            let may = auth["list"] != true && bearer.is_some() && room == "/team/7";
            assert_eq!(answer.status == 200, may, "{auth}: {answer:?}");
            assert!(may || !answer.body.contains(SECRET), "{answer:?}");
        }
    }
}
