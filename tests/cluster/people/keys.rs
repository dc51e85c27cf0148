//! Clients whose token is signed with a key that the instance does not know yet: they wait for it, and nothing else of their
//! connection does.

use std::time::{Duration, Instant};

use headcount_testkit::{
    http,
    instance::Instance,
    raw::{Raw, Way, frames::text, poll, polling_session, say},
    tokens::{Issuer, Provider},
    waiting::eventually,
};
use serde_json::json;

/// The longest time that a client waits for a key is a second; the rest is for a busy machine.
const WAITS_AT_MOST: Duration = Duration::from_secs(4);

fn join(room: &str, token: &str) -> Vec<u8> {
    text(&format!("40{room},{}", json!({ "token": token })))
}

/// Goal: a CONNECT waits for the key of its token while the rest of the connection goes on, and is then answered as if it had come at
/// that moment; what the client leaves meanwhile it does not join, and what it says anew replaces what it said. Method: a provider that
/// does not answer yet; on both kinds of websocket, rooms are joined with its token, left, and joined again without one. Then the
/// provider answers.
#[tokio::test(flavor = "multi_thread")]
async fn connects_wait_for_keys() {
    for way in Way::BOTH {
        let provider = Provider::start().await;
        let instance = Instance::start(&provider.settings()).await;
        let token = provider.token("margaret");
        let mut raw = Raw::alive_by(way, instance.public).await;
        for room in ["/waits", "/left", "/anew", "/twice"] {
            raw.send(&join(room, &token)).await.expect("the connection is open");
        }
        raw.send(&text("41/left,")).await.expect("the connection is open");
        raw.send(&join("/twice", &token)).await.expect("the connection is open");
        assert!(raw.is_answered_after(&text("40/anew,{}"), "42/anew,[\"user count\",1]").await);
        assert!(raw.is_answered_after(&text("40/other,"), "42/other,[\"user count\",1]").await);
        provider.publish();
        assert!(raw.is_answered_after(&[], "42/waits,[\"user count\",1]").await, "{way:?}");
        assert!(raw.is_answered_after(&[], "42/twice,[\"user count\",1]").await, "{way:?}");
        assert!(raw.is_answered_after(&text("40/last,"), "42/last,").await);
        let memberships = "headcount_room_joins_total{kind=\"member\"}";
        assert_eq!(instance.metric(memberships).await, Ok(5.0), "anew, other, waits, twice, last");
        assert_eq!(instance.metric("headcount_joins_refused_total").await, Ok(0.0));
        assert_eq!(instance.metric("headcount_tokens_refused_total").await, Ok(0.0));
    }
}

/// Goal: who polls waits the same way, and so does a program that asks with a token. Method: a post with two joins, of which one needs
/// no key; a request for a private room; then the provider answers.
#[tokio::test(flavor = "multi_thread")]
async fn polls_and_programs_wait_for_keys() {
    let provider = Provider::start().await;
    let private = [("HEADCOUNT_PRIVATE_ROOMS", "/team/*")];
    let instance = Instance::start(&[&provider.settings()[..], &private].concat()).await;
    let (server, token) = (instance.public, provider.token("margaret"));
    let path = polling_session(server).await;
    let joins = format!("40/team/1,{}\x1e40/other,", json!({ "token": token }));
    assert_eq!(say(server, &path, &joins).await.status, 200);
    assert!(poll(server, &path).await.body.starts_with("40/other,{"), "it does not wait");
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let asking = http::get_with(server, "/api/count?room=/team/1", &headers);
    let (answer, ()) = tokio::join!(asking, async { provider.publish() });
    assert_eq!(answer.expect("it answers").status, 200);
    eventually("the one who polls joins", async || {
        let answer = poll(server, &path).await;
        if answer.body.contains("40/team/1,{") { Ok(()) } else { Err(answer.body) }
    })
    .await;
}

/// Goal: nobody waits longer than a second for a provider that does not answer, a client that is gone leaves nothing behind, and what
/// waits on one connection is bounded. Method: the provider never answers; joins with ever other tokens and rooms, with an end before
/// the answer.
#[tokio::test(flavor = "multi_thread")]
async fn waiting_for_keys_is_bounded() {
    let provider = Provider::start().await;
    let instance = Instance::start(&provider.settings()).await;
    let server = instance.public;
    let start = Instant::now();
    let mut raw = Raw::alive(server).await;
    let many: Vec<u8> =
        (0..130).flat_map(|room| join(&format!("/{room}"), &provider.token("a"))).collect();
    drop(Raw::alive(server).await);
    let mut gone = Raw::alive(server).await;
    gone.send(&join("/gone", &provider.token("b"))).await.expect("the connection is open");
    drop(gone);
    let refused = "44/129,{";
    let is_told = raw.is_answered_after(&many, refused).await;
    println!("the last of many is told after {:?}: {is_told}", start.elapsed());
    assert!(start.elapsed() < WAITS_AT_MOST, "{:?}", start.elapsed());
    eventually("nobody is in a room", async || {
        match instance.metric("headcount_memberships").await? {
            0.0 => Ok(()),
            left => Err(left.to_string()),
        }
    })
    .await;
    let issuer = Issuer::new("somebody");
    let mut other = Raw::alive(server).await;
    let bad = join("/bad", &issuer.token("a"));
    assert!(
        other.is_answered_after(&bad, "\"code\":\"token_invalid\"").await,
        "a bad one does not"
    );
}
