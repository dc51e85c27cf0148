//! Engine.IO 4 and Socket.IO 5, as their specifications have them and their reference server does them.
//!
//! Each scenario is run against Headcount and against the reference server: both must do what it expects. Where Headcount is
//! stricter on purpose (the reference server opens a websocket before it looks at the version, and goes on after a packet
//! of Socket.IO that it cannot read), other tests say so.

mod reference;
mod scenarios;

use std::{net::SocketAddr, pin::Pin};

use serde_json::Value;

use headcount_testkit::{
    instance::Instance,
    raw::{answer::Answer, ask, poll, polling_session, say},
};
use reference::Reference;

/// What a server is seen to do.
type Seen = Vec<String>;
/// Something that a client does.
type Scenario = fn(SocketAddr) -> Pin<Box<dyn Future<Output = Seen> + Send>>;

/// Goal: requests that begin no session are refused as the reference server refuses them: the same status, the same code in
/// the same JSON, the same media type. Method: wrong versions, transports, methods and sessions, sent to both.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_requests_are_refused_as_by_the_reference() {
    let (instance, reference) = servers().await;
    let requests = [
        ("GET", "", (400, 0)),
        ("GET", "?transport=polling", (400, 5)),
        ("GET", "?EIO=3&transport=polling", (400, 5)),
        ("GET", "?EIO=abc&transport=polling", (400, 5)),
        ("GET", "?EIO=4", (400, 0)),
        ("GET", "?EIO=4&transport=pigeon", (400, 0)),
        ("GET", "?EIO=4&transport=", (400, 0)),
        ("GET", "?EIO=4&transport=__proto__", (400, 0)),
        ("GET", "?EIO=4&transport=websocket", (400, 3)),
        ("POST", "?EIO=4&transport=polling", (400, 2)),
        ("PUT", "?EIO=4&transport=polling", (400, 2)),
        ("DELETE", "?EIO=4&transport=polling", (400, 2)),
        ("GET", "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", (400, 1)),
        ("POST", "?EIO=4&transport=polling&sid=AAAAAAAAAAAAAAAAAAAA", (400, 1)),
        ("GET", "?EIO=4&transport=websocket&sid=AAAAAAAAAAAAAAAAAAAA", (400, 1)),
    ];
    for (method, query, expected) in requests {
        let path = format!("/socket.io/{query}");
        let ours = ask(instance.public, method, &path, "").await;
        let theirs = ask(reference.address, method, &path, "").await;
        assert_eq!(
            (ours.status, code_in(&ours)),
            (expected.0, Some(expected.1)),
            "{method} {query}"
        );
        assert_eq!(error(&ours), error(&theirs), "{method} {query}");
    }
}

/// Status, code, message and media type.
fn error(answer: &Answer) -> (u16, Value, Option<&str>) {
    let body = serde_json::from_str(&answer.body).expect("it is JSON");
    (answer.status, body, answer.header("content-type"))
}

fn code_in(answer: &Answer) -> Option<u64> {
    serde_json::from_str::<Value>(&answer.body).ok()?.get("code")?.as_u64()
}

/// Goal: both servers do the same in all other cases. Method: the scenarios, each on both at once.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_go_as_with_the_reference() {
    let (instance, reference) = servers().await;
    let mut differing = Vec::new();
    for (name, scenario, expected) in scenarios::ALL {
        let (ours, theirs) = tokio::join!(scenario(instance.public), scenario(reference.address));
        if ours != *expected || theirs != ours {
            differing
                .push(format!("{name}: expected {expected:?}, {ours:?}, reference {theirs:?}"));
        }
    }
    assert!(differing.is_empty(), "{}", differing.join("\n"));
}

/// Goal: the endpoint is the same with and without the slash at its end. Method: a handshake, a post and a poll on each.
#[tokio::test(flavor = "multi_thread")]
async fn the_slash_at_the_end_may_be_left_out() {
    let instance = Instance::start(&[]).await;
    let path = polling_session(instance.public).await.replacen("/?", "?", 1);
    assert!(path.starts_with("/socket.io?"), "{path}");
    assert_eq!(say(instance.public, &path, "40").await.status, 200);
    assert!(poll(instance.public, &path).await.body.starts_with("40{"));
    let handshake = ask(instance.public, "GET", "/socket.io?EIO=4&transport=polling", "").await;
    assert!(handshake.body.starts_with("0{"), "{handshake:?}");
}

async fn servers() -> (Instance, Reference) {
    (Instance::start(&[]).await, Reference::start().await)
}
