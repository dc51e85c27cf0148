//! Pages of other sites: one rule for websockets, polling and the API.

use headcount_testkit::{
    instance::Instance,
    raw::{POLLING, Raw, answer::Answer, ask, polling_session, post, upgrade},
};
use rstest::rstest;

use crate::besieged::Besieged;

/// Goal: by default pages of the same host may connect, and pages of other hosts may not. Programs, which send no
/// origin, may connect. Method: handshakes on both transports and requests to the API with different origins. Foreign
/// ones are refused and counted; at the API their page cannot read the answer.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_turned_away() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let own = format!("http://{address}");
    for origin in [Some(own.as_str()), None] {
        for answer in answers(&besieged, origin).await {
            assert!([101, 200].contains(&answer.status), "{answer:?} for {origin:?}");
            // Browsers do not require this header for websockets.
            let leave = origin.filter(|_| answer.status != 101);
            assert_eq!(answer.header("access-control-allow-origin"), leave, "{answer:?}");
        }
    }
    let foreign = ["https://evil.example", "null", "", "rubbish", "http://127.0.0.1:1", "\u{e4}"];
    for origin in foreign {
        let [websocket, polling, api] = answers(&besieged, Some(origin)).await;
        assert_eq!((websocket.status, polling.status, api.status), (403, 403, 200), "{origin}");
        for answer in [websocket, polling, api] {
            assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
            let is_kept = answer.header("cache-control") != Some("no-store");
            let vary = answer.header("vary").unwrap_or_default();
            assert!(!is_kept || vary.contains("origin"), "caches keep origins apart: {answer:?}");
        }
    }
    assert_eq!(besieged.refused("origin").await, 2 * foreign.len(), "each is counted");
    let log = besieged.cluster.instances[0].process().logged(&["turned a page away"]).await;
    let lines: Vec<_> = log.lines().filter(|line| line.contains("turned a page away")).collect();
    let [line] = lines[..] else { panic!("one line in a minute: {lines:?}") };
    let told = format!("origin=https://evil.example host={address}");
    assert!(line.contains(&told), "it tells which page asked for which host: {line}");
    besieged.is_unharmed().await;
}

/// A websocket handshake, a polling handshake and a request to the API, all from a page of this origin.
async fn answers(besieged: &Besieged, origin: Option<&str>) -> [Answer; 3] {
    let address = besieged.address();
    let header = origin.map(|origin| format!("origin: {origin}\r\n")).unwrap_or_default();
    let request = upgrade(address, None).replacen("host:", &format!("{header}host:"), 1);
    let websocket = Raw::saying(address, request).await.answer().await.expect("an answer");
    let polling = ask(address, "GET", POLLING, &header).await;
    [websocket, polling, ask(address, "GET", "/api/count", &header).await]
}

/// Goal: listed pages may connect with cookies, which some balancers need: the preflight allows the exact origin and
/// credentials. Other pages are refused, also in the preflight. Method: an instance with a list; preflights and
/// requests of a listed page and of another page.
#[tokio::test(flavor = "multi_thread")]
async fn listed_pages_may_connect_with_credentials() {
    let listed = "https://blog.example";
    let settings = [("HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example,http://shop.example:8080")];
    let besieged = Besieged::start(&settings).await;
    for answer in answers(&besieged, Some(listed)).await {
        assert!([101, 200].contains(&answer.status), "{answer:?}");
        if answer.status == 101 {
            continue;
        }
        assert_readable(&answer, listed);
    }
    for path in [POLLING, "/api/count"] {
        let answer = preflight(&besieged, path, listed).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_readable(&answer, listed);
        let methods = answer.header("access-control-allow-methods").unwrap_or_default();
        assert!(methods.contains("post") && methods.contains("get"), "{answer:?}");
        let headers = answer.header("access-control-allow-headers");
        assert_eq!(headers, Some("content-type,x-mine"), "{answer:?}");
    }
    for origin in ["http://blog.example", "https://blog.example:8443", "https://evil.example"] {
        let [websocket, polling, api] = answers(&besieged, Some(origin)).await;
        assert_eq!((websocket.status, polling.status, api.status), (403, 403, 200), "{origin}");
        let answer = preflight(&besieged, POLLING, origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{answer:?}");
    }
}

fn assert_readable(answer: &Answer, origin: &str) {
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin), "{answer:?}");
    assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "{answer:?}");
    assert!(answer.header("vary").unwrap_or_default().contains("origin"), "{answer:?}");
}

async fn preflight(besieged: &Besieged, path: &str, origin: &str) -> Answer {
    let headers = format!(
        "origin: {origin}\r\naccess-control-request-method: POST\r\n\
         access-control-request-headers: content-type,x-mine\r\n"
    );
    ask(besieged.address(), "OPTIONS", path, &headers).await
}

/// Goal: pages of other sites cannot open sessions or streams with requests that have no `Origin`, as browsers send
/// them for images and frames. Requests for pages of this site, or for a typed address, are accepted. Method: every
/// kind of request with `Sec-Fetch-Site`, parsed by the fast path and by the HTTP server.
#[rstest]
#[case("")]
#[case("x-page: caf\u{e9}\r\n")]
#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_cannot_hide_their_origin(#[case] more: &str) {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let path = polling_session(server).await;
    let own = format!("origin: http://{server}\r\n");
    let mut refused = 0;
    for (fetch_site, origin, is_foreign) in [
        ("sec-fetch-site: cross-site\r\n", "", true),
        ("sec-fetch-site: same-site\r\n", "", true),
        ("sec-fetch-site: same-origin\r\n", "", false),
        ("sec-fetch-site: none\r\n", "", false),
        ("", "", false),
        ("sec-fetch-site: cross-site\r\n", own.as_str(), false),
    ] {
        let headers = format!("{fetch_site}{origin}{more}");
        let with = |request: String| request.replacen("\r\n", &format!("\r\n{headers}"), 1);
        let stream = "GET /api/count/stream HTTP/1.1\r\nhost: count.example\r\n\r\n"
            .replace("count.example", &server.to_string());
        let requests = [
            with(format!("GET {POLLING} HTTP/1.1\r\nhost: {server}\r\n\r\n")),
            with(upgrade(server, None)),
            // The name is no room's, so every post is answered in the next poll.
            with(post(server, &path, "40/?,")),
            with(format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n")),
            with(stream),
        ];
        for request in requests {
            let mut raw = Raw::saying(server, &request).await;
            let status = raw.head().await.expect("an answer");
            assert_eq!(status == 403, is_foreign, "{status} for {request}");
            assert!(is_foreign || [101, 200].contains(&status), "{status} for {request}");
            refused += u32::from(is_foreign);
        }
    }
    let name = "headcount_refused_total";
    assert_eq!(instance.metric(name).await, Ok(f64::from(refused)), "each is counted");
}

/// Goal: where all pages may connect, requests without an `Origin` are accepted too. Method: the request of an image.
#[tokio::test(flavor = "multi_thread")]
async fn all_pages_may_connect_if_told_so() {
    let instance = Instance::start(&[("HEADCOUNT_ALLOWED_ORIGINS", "*")]).await;
    let image = "sec-fetch-site: cross-site\r\n";
    assert_eq!(ask(instance.public, "GET", POLLING, image).await.status, 200);
}

/// Goal: subdomains and pages of apps can be listed, for every endpoint of a page, the event stream included. Method: a
/// list of such entries; pages that are listed, and pages that differ a little.
#[tokio::test(flavor = "multi_thread")]
async fn subdomains_and_pages_of_apps_can_be_listed() {
    let list = "https://*.shop.example,capacitor://localhost,chrome-extension://abcdefghijklmnop";
    let besieged = Besieged::start(&[("HEADCOUNT_ALLOWED_ORIGINS", list)]).await;
    let stream = async |origin: &str| {
        let request = format!("GET /api/count/stream HTTP/1.0\r\norigin: {origin}\r\n\r\n");
        let mut raw = Raw::saying(besieged.address(), request).await;
        if raw.is_answered_after(b"", "200 OK").await { 200 } else { 403 }
    };
    for (origin, status) in [
        ("https://a.shop.example", [101, 200, 200]),
        ("https://a.b.shop.example", [101, 200, 200]),
        ("capacitor://localhost", [101, 200, 200]),
        ("chrome-extension://abcdefghijklmnop", [101, 200, 200]),
        ("https://shop.example", [403, 403, 403]),
        ("https://evilshop.example", [403, 403, 403]),
        ("ionic://localhost", [403, 403, 403]),
        ("chrome-extension://bbcdefghijklmnop", [403, 403, 403]),
        ("null", [403, 403, 403]),
    ] {
        let [websocket, polling, _] = answers(&besieged, Some(origin)).await;
        let found = [websocket.status, polling.status, stream(origin).await];
        assert_eq!(found, status, "{origin}");
    }
}
