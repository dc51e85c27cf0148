//! Tests of what a request is, with the codes of the reference server.

use http::Request;
use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{
    access::{origin::Origins, rooms::RoomRules},
    core::{rooms::Rooms, tally::Tally},
    engine::{admission::Admission, flusher::Flusher, settings::SessionSettings},
    fixtures::mutate::mutated_text,
    identity::sign_in::SignIn,
    protocol::transport::Transports,
    telemetry::metrics::Metrics,
};

fn engine(transports: Transports, sessions_max: usize) -> Arc<Engine> {
    let metrics = Metrics::new("none").unwrap();
    let settings = SessionSettings {
        ping_interval: std::time::Duration::from_secs(25),
        ping_timeout: std::time::Duration::from_secs(20),
        payload_bytes_max: 1000,
        transports,
        rooms: RoomRules::default(),
        sign_in: SignIn::default(),
        visitors: None,
    };
    let admission = Admission::new(sessions_max, Origins::Same, metrics.clone());
    let (tally, rooms) = (Tally::new(), Rooms::new(10));
    Engine::new(settings, admission, tally, rooms, metrics, Flusher::default())
}

/// The parsed request with this query, or the code of its refusal. `SID` in it is replaced by the id of an open session
/// that polls.
fn judged(engine: &Arc<Engine>, method: &str, query: &str, headers: &[(&str, &str)]) -> String {
    let sid = match engine.sessions().all().first() {
        Some(session) => session.id().to_string(),
        None => String::new(),
    };
    let uri = format!("/socket.io/?{}", query.replace("SID", &sid));
    let request = headers.iter().fold(
        Request::builder().method(method).uri(uri).header("host", "here"),
        |request, header| request.header(header.0, header.1),
    );
    let parts = request.body(()).expect("a request").into_parts().0;
    match engine.admit(&Head::of(&parts)) {
        Ok(Admitted::Opening(_)) => "opening".into(),
        Ok(Admitted::Websocket(..)) => "websocket".into(),
        Ok(Admitted::Upgrade(..)) => "upgrade".into(),
        Ok(Admitted::Poll(_)) => "poll".into(),
        Ok(Admitted::Post(_)) => "post".into(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Goal: every request is judged as by the reference server. Method: requests of clients, and wrong ones.
#[rstest]
#[case("GET", "EIO=4&transport=polling&t=x", "opening")]
#[case("GET", "EIO=4&transport=polling&sid=SID", "poll")]
#[case("GET", "transport=polling&sid=SID", "poll")]
#[case("POST", "EIO=4&transport=polling&sid=SID", "post")]
#[case("GET", "", "UnknownTransport")]
#[case("GET", "EIO=4", "UnknownTransport")]
#[case("GET", "EIO=4&transport=pigeon", "UnknownTransport")]
#[case("GET", "EIO=4&transport=polling&sid=rubbish", "UnknownSession")]
#[case("GET", "EIO=4&transport=polling&sid=", "UnknownSession")]
#[case("POST", "EIO=4&transport=polling", "BadHandshakeMethod")]
#[case("PUT", "EIO=4&transport=polling", "BadHandshakeMethod")]
#[case("PUT", "EIO=4&transport=polling&sid=SID", "BadHandshakeMethod")]
#[case("HEAD", "EIO=4&transport=polling", "BadHandshakeMethod")]
#[case("GET", "transport=polling", "UnsupportedProtocol")]
#[case("GET", "EIO=3&transport=polling", "UnsupportedProtocol")]
#[case("GET", "EIO=4&transport=websocket", "BadRequest")]
#[case("GET", "EIO=4&transport=websocket&sid=SID", "BadRequest")]
fn requests_are_told_apart(#[case] method: &str, #[case] query: &str, #[case] expected: &str) {
    let engine = engine(Transports::Both, 2);
    engine.open_polling(engine.admission().permit().unwrap());
    assert_eq!(judged(&engine, method, query, &[]), expected);
}

/// Goal: a websocket is opened only for a valid handshake, if the transport is served and the page may connect. Method:
/// valid requests with one change each.
#[test]
fn websockets_are_asked_for() {
    let both = engine(Transports::Both, 2);
    both.open_polling(both.admission().permit().unwrap());
    let query = "EIO=4&transport=websocket";
    assert_eq!(judged(&both, "GET", query, &WEBSOCKET), "websocket");
    assert_eq!(judged(&both, "GET", &format!("{query}&sid=SID"), &WEBSOCKET), "upgrade");
    let mut old = WEBSOCKET;
    old[2].1 = "8";
    assert_eq!(judged(&both, "GET", query, &old), "WebsocketVersion");
    for (name, value, expected) in [
        ("origin", "http://here", "websocket"),
        ("origin", "http://elsewhere", "Origin"),
        ("sec-fetch-site", "same-origin", "websocket"),
        ("sec-fetch-site", "none", "websocket"),
        ("sec-fetch-site", "cross-site", "Origin"),
        ("sec-fetch-site", "same-site", "Origin"),
    ] {
        let headers = [&WEBSOCKET[..], &[(name, value)]].concat();
        assert_eq!(judged(&both, "GET", query, &headers), expected, "{name}: {value}");
    }
    let polling = engine(Transports::Polling, 2);
    assert_eq!(judged(&polling, "GET", query, &WEBSOCKET), "UnknownTransport");
    let websocket = engine(Transports::Websocket, 2);
    assert_eq!(judged(&websocket, "GET", "EIO=4&transport=polling", &[]), "UnknownTransport");
    assert_eq!(judged(&websocket, "GET", query, &WEBSOCKET), "websocket");
}

/// Goal: sessions are limited, none begins during a shutdown, and both refusals are counted. Method: one session more than
/// the limit, and one after admission was closed.
#[test]
fn sessions_are_limited() {
    let engine = engine(Transports::Both, 1);
    let opening = "EIO=4&transport=polling";
    engine.open_polling(engine.admission().permit().unwrap());
    assert_eq!(judged(&engine, "GET", opening, &[]), "Full");
    let session = engine.sessions().all().pop().expect("one is open");
    engine.end(&session, crate::engine::reason::EndReason::ClientLeft);
    assert!(engine.sessions().all().is_empty());
    assert_eq!(judged(&engine, "GET", opening, &[]), "opening");
    engine.admission().close();
    assert_eq!(judged(&engine, "GET", opening, &[]), "Draining");
    for reason in ["full", "draining"] {
        assert_eq!(engine.metrics.refused.with_label_values(&[reason]).get(), 1);
    }
}

/// Queries as clients send them, mutated, and others made of the same parts.
fn any_query() -> impl Strategy<Value = String> {
    let parts = [
        "EIO=4",
        "EIO=3",
        "transport=polling",
        "transport=websocket",
        "transport=",
        "transport",
        "sid=SID",
        "sid=",
        "sid",
        "xsid=SID",
        "SID=SID",
        "s%69d=SID",
        "b64=1",
        "",
    ];
    let whole = prop_oneof![
        Just("EIO=4&transport=polling&t=x".to_owned()),
        Just("EIO=4&transport=polling&sid=SID".to_owned()),
    ];
    let parts = proptest::sample::select(parts.to_vec());
    let made = proptest::collection::vec(parts, 0..6).prop_map(|parts| parts.join("&"));
    prop_oneof![mutated_text(whole), mutated_text(made)]
}

proptest! {
    /// Goal: a session id in a query is always found, and no other text is taken for it. Method: random queries, with a
    /// second way to find the first `sid`.
    #[test]
    fn the_first_session_id_counts(query in any_query()) {
        let engine = engine(Transports::Both, 3);
        engine.open_polling(engine.admission().permit().unwrap());
        let id = engine.sessions().all()[0].id().to_string();
        let uri = format!("/socket.io/?{}", query.replace("SID", &id));
        let Ok(request) = Request::builder().uri(uri).header("host", "here").body(()) else {
            return Ok(());
        };
        let parts = request.into_parts().0;
        let named = parts.uri.query().unwrap_or_default().split('&');
        let sid = named.filter_map(|pair| pair.split_once('=')).find(|(name, _)| *name == "sid");
        match engine.admit(&Head::of(&parts)) {
            Ok(Admitted::Opening(_)) => prop_assert_eq!(sid, None),
            Ok(Admitted::Poll(_)) => prop_assert_eq!(sid, Some(("sid", &*id))),
            Ok(other) => prop_assert!(false, "{:?}", other),
            Err(_) => {}
        }
    }
}
