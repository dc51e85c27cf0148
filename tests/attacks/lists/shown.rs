//! What a token may have shown of its user: every kind of text, to the last byte that is allowed.

use std::{collections::BTreeMap, time::Duration};

use headcount_testkit::{
    http,
    raw::{Raw, Way},
    tokens::{Issuer, in_seconds},
    users::{Known, users_of},
};
use serde_json::{Value, json};

use super::{
    LISTED, ROOM, besiege,
    lister::{INFO_BYTES_MAX, Lister, Poller, Seen, info_of, join, told},
    nobody_lists,
};
use crate::besieged::Besieged;

/// What may be shown of users.
fn good() -> Vec<Value> {
    vec![
        json!({}),
        json!({ "name": "\"Ada\" \\ 'Lovelace'" }),
        json!({ "name": "</script><script>alert(1)</script>", "<img onerror=x>": "&lt;" }),
        json!({ "name": "\u{0}\u{1}\t\n\r\u{1b}[2J\u{1e}\u{1f}\u{7f}\u{85}" }),
        json!({ "name": "\u{202e}nimda\u{202c}\u{200f}\u{2066}\u{2069}\u{feff}\u{2028}\u{2029}" }),
        json!({ "name": "\u{1f469}\u{200d}\u{1f680} e\u{301} \u{fffd}\u{ffff}", "日本": "語" }),
        json!({ "name": "42/team/7,[\"users\",{\"users\":[],\"more\":0}]" }),
        json!({ "__proto__": { "admin": true }, "constructor": null, "id": "root", "more": 5 }),
        json!({ "n": [1, -1.5, 1e300, 0, true, false, null, [[[[{}]]]], "", {}] }),
        info_of(INFO_BYTES_MAX),
        info_of(INFO_BYTES_MAX - 1),
        json!({ "n": "\u{1f680}".repeat(126) }),
        json!({ "n": "\"".repeat(252) }),
    ]
}

/// Texts in place of what may be shown, each of which makes a token bad.
fn bad() -> Vec<String> {
    let deep = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    [
        "null",
        "[]",
        "\"{}\"",
        "5",
        "{\"n\":NaN}",
        "{\"n\":Infinity}",
        "{\"n\":1e999}",
        "{\"n\":01}",
        "{\"n\":\"\\ud800\"}",
        "{'n':1}",
        "{\"n\":1,}",
        "{\"n\":\"\u{1}\"}",
    ]
    .map(str::to_owned)
    .into_iter()
    .chain([info_of(INFO_BYTES_MAX + 1).to_string(), info_of(8000).to_string(), deep(200)])
    .collect()
}

/// Goal: what a token has to show of its user is shown as it is, whatever it is, up to the last byte that is allowed, and comes from
/// Redis as it went in; what is no such object makes the token bad. Method: users with every kind of text, one after the other in one
/// room, beside clients that are told the list by websocket and by polling, and a program that asks the API; a client that
/// comes later is told what Redis holds.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_text_is_shown() {
    let issuer = Issuer::new("blog");
    let mut besieged = besiege(&issuer, &[]).await;
    let server = besieged.address();
    let first = Lister::open(Way::Directly, server, ROOM, &issuer.token("ada")).await;
    let mut there = Vec::new();
    for (number, info) in good().iter().enumerate() {
        let mut raw = Raw::alive_by(Way::BOTH[number % 2], server).await;
        let token = issuer.token_showing(&format!("user-{number:02}"), info);
        raw.send(&join(ROOM, &json!({ "token": token }))).await.expect("it may");
        told(&mut raw, &format!("40{ROOM},{{")).await;
        there.push(raw);
    }
    first.knows("all is shown", |known| is_good(&known.users)).await;
    stored_is_shown(&mut besieged, &issuer).await;

    for info in bad() {
        let exp = in_seconds(Duration::from_hours(1));
        let claims = format!("{{\"sub\":\"mallory\",\"exp\":{exp},\"info\":{info}}}");
        let auth = json!({ "token": issuer.sign_text(&claims), "list": true });
        let mut raw = Raw::alive_by(Way::Directly, server).await;
        raw.send(&join(ROOM, &auth)).await.expect("it may");
        let refused = told(&mut raw, &format!("44{ROOM},")).await;
        assert!(refused.contains("token_invalid"), "{info}: {refused}");
    }
    assert!(is_good(&first.seen().known.users), "nobody else came");
    drop((first, there));
    nobody_lists(&besieged).await;
    besieged.is_unharmed().await;
}

/// Whether these are exactly the users with what may be shown, and another one.
fn is_good(users: &BTreeMap<String, Value>) -> bool {
    let mut all = good().into_iter().enumerate();
    let is_shown = |(number, info)| users.get(&format!("user-{number:02}")) == Some(&info);
    users.len() == good().len() + 1 && all.all(is_shown)
}

/// Everything once more as Redis holds it, on an instance on which none of these users is: by websocket, by polling and from the API.
async fn stored_is_shown(besieged: &mut Besieged, issuer: &Issuer) {
    besieged.cluster.add(&[&issuer.settings()[..], &LISTED].concat()).await;
    let server = besieged.cluster.instances[1].public;
    let token = issuer.token("ada");
    let lister = Lister::open(Way::Directly, server, ROOM, &token).await;
    lister.knows("all is shown", |known| is_good(&known.users)).await;
    let mut poller = Poller::open(server).await;
    poller.say(&format!("40{ROOM},{}", json!({ "token": token, "list": true }))).await;
    let is_known = |known: &Known| is_good(&known.users);
    poller.hear_until(&mut Seen::default(), ROOM, is_known).await;
    let bearer = format!("Bearer {token}");
    let path = format!("/api/users?room={ROOM}");
    let answer = http::get_with(server, &path, &[("authorization", &bearer)]).await;
    let page: Value = serde_json::from_str(&answer.expect("it answers").body).expect("it is JSON");
    assert!(is_good(&users_of(&page["users"]).expect("users with ids")), "{page}");
    poller.say("1").await;
}
