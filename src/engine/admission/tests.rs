//! Tests of the gate: what a request is.

use http_body_util::BodyExt;
use proptest::prelude::*;
use socketioxide::SocketIo;
use tower::ServiceExt;

use super::*;
use crate::mangled::mangled_text;

/// Goal: only a GET without a session id begins a session. Method: the queries clients send, and odd ones.
#[test]
fn requests_are_told_apart() {
    let session = Sid::new();
    let of = |method, query: &str| Kind::of(&method, query);
    assert_eq!(of(Method::GET, "EIO=4&transport=polling&t=x"), Kind::Handshake);
    assert_eq!(of(Method::GET, "EIO=4&transport=websocket"), Kind::Handshake);
    assert_eq!(of(Method::GET, ""), Kind::Handshake);
    let upgrade = format!("EIO=4&transport=websocket&sid={session}");
    assert_eq!(of(Method::GET, &upgrade), Kind::Upgrade(session));
    assert_eq!(
        of(Method::GET, &format!("transport=websocket=&sid={session}")),
        Kind::Upgrade(session)
    );
    assert_eq!(of(Method::GET, "EIO=4&transport=websocket&sid=rubbish"), Kind::Other);
    let poll = format!("EIO=4&transport=polling&sid={session}");
    assert_eq!(of(Method::GET, &poll), Kind::Poll(session));
    assert_eq!(of(Method::POST, "EIO=4&transport=polling"), Kind::Other);
    let post = format!("EIO=4&transport=polling&sid={session}");
    assert_eq!(of(Method::POST, &post), Kind::Post(session));
}

/// Queries as clients send them, mangled, and others made of the same parts.
fn any_query() -> impl Strategy<Value = String> {
    let session = "AAAAAAAAAAAAAAHs";
    let whole = prop_oneof![
        Just("EIO=4&transport=polling&t=x".to_owned()),
        Just("EIO=4&transport=websocket".to_owned()),
        Just(format!("EIO=4&transport=polling&sid={session}")),
        Just(format!("EIO=4&transport=websocket&sid={session}")),
    ];
    let parts = [
        "EIO=4",
        "EIO=3",
        "transport=polling",
        "transport=websocket",
        "transport=",
        "transport",
        "sid=AAAAAAAAAAAAAAHs",
        "sid=",
        "sid",
        "xsid=AAAAAAAAAAAAAAHs",
        "SID=AAAAAAAAAAAAAAHs",
        "s%69d=AAAAAAAAAAAAAAHs",
        "b64=1",
        "",
    ];
    let parts = proptest::sample::select(parts.to_vec());
    let made = proptest::collection::vec(parts, 0..6).prop_map(|parts| parts.join("&"));
    prop_oneof![mangled_text(whole), mangled_text(made)]
}

/// Whether the Engine.IO service begins a session for this request.
async fn begins_session(method: Method, uri: &str) -> Option<bool> {
    let request = http::Request::builder().method(method).uri(uri).body(Body::empty()).ok()?;
    let (service, _io) = SocketIo::new_svc();
    let response = service.oneshot(request).await.expect("it answers everything");
    let status = response.status();
    let body = response.into_body().collect().await.expect("it is in memory").to_bytes();
    Some(status == StatusCode::OK && body.starts_with(b"0{"))
}

proptest! {
    /// Goal: no session begins that the gate has not admitted. Method: any query and method, given to the real
    /// Engine.IO service as well: whatever begins a session there is a handshake here.
    #[test]
    fn every_session_passes_the_gate(
        query in any_query(),
        method in proptest::sample::select(vec![Method::GET, Method::POST, Method::PUT, Method::HEAD]),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let uri = format!("/socket.io/?{query}");
        if runtime.block_on(begins_session(method.clone(), &uri)) == Some(true) {
            // What follows a `#` is no part of the query.
            let uri: http::Uri = uri.parse().unwrap();
            let kind = Kind::of(&method, uri.query().unwrap_or_default());
            prop_assert_eq!(kind, Kind::Handshake, "{}", query);
        }
    }

    /// Goal: a session id is never overlooked. Method: any query; the first pair of that name, found another way,
    /// decides.
    #[test]
    fn the_first_session_id_counts(query in any_query()) {
        let named = query.split('&').filter_map(|pair| pair.split_once('='));
        let session = named.clone().find(|(name, _)| *name == "sid").map(|(_, value)| value);
        let is_handshake = Kind::of(&Method::GET, &query) == Kind::Handshake;
        prop_assert_eq!(is_handshake, session.is_none());
        let posts = session.and_then(|session| session.parse().ok()).map_or(Kind::Other, Kind::Post);
        prop_assert_eq!(Kind::of(&Method::POST, &query), posts);
    }
}
