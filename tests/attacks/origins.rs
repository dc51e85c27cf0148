//! Pages of other sites: one rule for websockets, polling and the API.

use crate::{
    besieged::Besieged,
    raw::{Answer, Raw, ask, upgrade},
};

/// The address of Socket.IO's polling handshake.
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// Goal: unless it is set otherwise, pages of the same host may connect, pages of others may not, and
/// programs, which send no origin, may. Method: handshakes on both transports and requests to the API with
/// different origins; the foreign ones are refused and counted, or, at the API, left unreadable for the page.
#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_turned_away() {
    let mut besieged = Besieged::start(&[]).await;
    let address = besieged.address();
    let own = format!("http://{address}");
    for origin in [Some(own.as_str()), None] {
        for answer in answers(&besieged, origin).await {
            assert!([101, 200].contains(&answer.status), "{answer:?} for {origin:?}");
            // Browsers ask for no such leave where websockets are concerned.
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

/// Goal: listed pages may connect, with cookies, which some balancers need: their browsers ask first, and get
/// the exact origin and leave for credentials. Others are refused, in the preflight as well. Method: an
/// instance with a list; preflights and requests of a page that is on it and of one that is not.
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
