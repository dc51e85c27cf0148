//! Tests of request heads: plain ones, others, and requests for a websocket, by either parser.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::mutate::mutated;

const HEAD: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: here:3000\r\n\
    Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nOrigin: https://here\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

/// What the fast path makes of a head.
fn plain<T>(head: &str, of: impl FnOnce(Option<(Head<'_>, Framing, &[u8])>) -> T) -> T {
    let bytes = head.as_bytes().to_vec();
    let mut headers = PlainHeaders::default();
    of(Head::parse_plain(&bytes, &mut headers))
}

/// What the HTTP server makes of a head, which it takes apart before.
fn parts(head: &str) -> Parts {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    request.parse(head.as_bytes()).expect("a head");
    let version = if request.version == Some(0) { Version::HTTP_10 } else { Version::HTTP_11 };
    let method = request.method.expect("a method");
    let target = request.path.expect("a target");
    let builder = http::Request::builder().method(method).uri(target).version(version);
    let fields = request.headers.iter();
    let builder = fields.fold(builder, |builder, field| builder.header(field.name, field.value));
    builder.body(()).expect("a request").into_parts().0
}

/// Goal: a plain request is read, the bytes after it are kept, and the answer is the standard's. Method: the example key of
/// RFC 6455, section 1.3, with two bytes after the head.
#[test]
fn a_plain_request_is_read() {
    let bytes = [HEAD.as_bytes(), b"\x81\x82"].concat();
    let mut headers = PlainHeaders::default();
    let (head, framing, rest) = Head::parse_plain(&bytes, &mut headers).expect("it is plain");
    assert_eq!((head.path, head.query), ("/socket.io/", "EIO=4&transport=websocket"));
    assert_eq!((head.parameter("EIO"), head.parameter("sid")), (Some("4"), None));
    assert_eq!((head.origin, head.host), (Some("https://here"), Some("here:3000")));
    assert_eq!((rest, framing), (&b"\x81\x82"[..], Framing { content_length: 0, close: false }));
    let WebsocketRequest::Yes(handshake) = head.websocket else { panic!("{head:?}") };
    let accept = (header::SEC_WEBSOCKET_ACCEPT, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=".to_owned());
    assert_eq!(handshake.answer_headers(), [accept]);
}

/// Goal: the length of a post's body is read. Method: a post that also asks to close its connection.
#[test]
fn a_plain_post_is_read() {
    let post = "POST /socket.io/?sid=x HTTP/1.1\r\nhost: here\r\nconnection: Close\r\ncontent-length: 2\r\n\r\n40";
    plain(post, |plain| {
        let (head, framing, rest) = plain.expect("it is plain");
        assert_eq!(
            (&head.method, head.parameter("sid"), rest),
            (&Method::POST, Some("x"), &b"40"[..])
        );
        assert_eq!(framing, Framing { content_length: 2, close: true });
    });
}

/// Goal: requests that are not plain are left to the HTTP server. Method: one unusual property each.
#[rstest]
#[case("HTTP/1.1", "HTTP/1.0")]
#[case("GET /", "GET http://here/")]
#[case("EIO=4", "EIO=<")]
#[case("EIO=4", "EIO=4#")]
#[case("Host: here:3000\r\n", "")]
#[case("Host: here:3000", "Host: here:3000\r\nHost: there")]
#[case("Host: here:3000", "Host: here:3000\r\nTransfer-Encoding: chunked")]
#[case("Host: here:3000", "Host: here:3000\r\nExpect: 100-continue")]
#[case("Host: here:3000", "Host: here:3000\r\nContent-Length: x")]
#[case("Host: here:3000", "Host: here:3000\r\nContent-Length: +1")]
#[case("Host: here:3000", "Host: here:3000\r\nContent-Length: 1\r\nContent-Length: 1")]
#[case("https://here", "https://h\u{e4}re")]
#[case("\r\n\r\n", "\r\n")]
fn what_is_unusual_is_not_plain(#[case] usual: &str, #[case] unusual: &str) {
    let head = HEAD.replacen(usual, unusual, 1);
    assert_ne!(head, HEAD);
    plain(&head, |plain| assert_eq!(plain, None));
}

/// What a head asks for, in words.
fn asks(websocket: WebsocketRequest<'_>) -> &'static str {
    match websocket {
        WebsocketRequest::No => "no",
        WebsocketRequest::OtherVersion => "other version",
        WebsocketRequest::Yes(WebsocketHandshake { subprotocol: None, .. }) => "yes",
        WebsocketRequest::Yes(WebsocketHandshake { subprotocol: Some("chat"), .. }) => "chat",
        WebsocketRequest::Yes(other) => panic!("{other:?}"),
    }
}

/// Goal: a request asks for a websocket only if it fulfils RFC 6455, section 4.2.1, whichever reader read it. Method: one
/// change each, read by both readers if it is plain.
#[rstest]
#[case("keep-alive, Upgrade", "upgrade", "yes")]
#[case("keep-alive, Upgrade", "keep-alive\r\nConnection: x,UPGRADE", "yes")]
#[case("Upgrade: WebSocket", "Upgrade: h2c, websocket", "yes")]
#[case("Upgrade: WebSocket", "Upgrade: h2c", "no")]
#[case("Upgrade: WebSocket", "X: y", "no")]
#[case("keep-alive, Upgrade", "keep-alive", "no")]
#[case("keep-alive, Upgrade", "upgraded", "no")]
#[case("GET ", "POST ", "no")]
#[case("HTTP/1.1", "HTTP/1.0", "no")]
#[case("Host: here:3000\r\n", "", "no")]
#[case("Version: 13", "Version: 8", "other version")]
#[case("Version: 13", "Version: 013", "other version")]
#[case("Sec-WebSocket-Version: 13\r\n", "", "no")]
#[case("Sec-WebSocket-Key", "X", "no")]
#[case("dGhlIHNhbXBsZSBub25jZQ==", "", "no")]
#[case("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25j", "no")]
#[case(
    "dGhlIHNhbXBsZSBub25jZQ==",
    "dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    "no"
)]
#[case("Origin", "Sec-WebSocket-Protocol: chat, v2\r\nOrigin", "chat")]
#[case("Origin", "Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Protocol: v2\r\nOrigin", "chat")]
#[case("Origin", "Sec-WebSocket-Protocol: a b\r\nOrigin", "yes")]
#[case("Origin", "Sec-WebSocket-Protocol:\r\nOrigin", "yes")]
fn what_asks_for_a_websocket(#[case] usual: &str, #[case] other: &str, #[case] expected: &str) {
    let head = HEAD.replacen(usual, other, 1);
    assert_ne!(head, HEAD);
    assert_eq!(asks(Head::of(&parts(&head)).websocket), expected, "by the HTTP server");
    plain(&head, |plain| {
        if let Some((head, ..)) = plain {
            assert_eq!(asks(head.websocket), expected, "by the fast path");
        }
    });
}

proptest! {
    /// Goal: no bytes cause a panic, accepted requests have a complete head, and both readers agree. Method: a damaged
    /// plain request.
    #[test]
    fn any_bytes_may_come(bytes in mutated(Just(HEAD.as_bytes().to_vec()))) {
        let mut headers = PlainHeaders::default();
        if let Some((head, _, rest)) = Head::parse_plain(&bytes, &mut headers) {
            let whole = &bytes[..bytes.len() - rest.len()];
            prop_assert!(whole.ends_with(b"\n"));
            let parts = parts(&String::from_utf8_lossy(whole));
            prop_assert_eq!(Head::of(&parts), head);
        }
    }
}
