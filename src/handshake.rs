//! The head of a request that asks for a websocket, and its answer: the plain case, which nearly all clients send in
//! one piece, read without an HTTP server. Pure. Whatever is unusual is left to that.

use std::io::Write;

use httparse::{EMPTY_HEADER, Header, Request, Status};
use tungstenite::handshake::derive_accept_key;

/// Headers of a plain request at most; browsers send about 15, balancers add some.
const HEADERS_MAX: usize = 48;

/// A request for a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handshake<'a> {
    /// What is asked for: path and query.
    pub target: &'a str,
    /// The page that asks.
    pub origin: Option<&'a str>,
    /// Where it was sent.
    pub host: Option<&'a str>,
    /// What is to be answered with its hash.
    key: &'a str,
}

impl<'a> Handshake<'a> {
    /// Reads one from the start of what a client sent, and what it sent behind it. `None` if this is anything else than
    /// one whole and plain request for a websocket.
    pub fn parse(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let mut headers = [EMPTY_HEADER; HEADERS_MAX];
        let mut request = Request::new(&mut headers);
        let Ok(Status::Complete(length)) = request.parse(bytes) else { return None };
        let plain = request.method == Some("GET") && request.version == Some(1);
        let headers = &*request.headers;
        let has_body = ["content-length", "transfer-encoding", "expect"];
        if !plain || has_body.iter().any(|name| text(headers, name).is_some()) {
            return None;
        }
        if !headers.iter().all(is_plain) {
            return None;
        }
        let connection = text(headers, "connection")?;
        let mut options = connection.split(',');
        let asks = options.any(|option| option.trim().eq_ignore_ascii_case("upgrade"))
            && text(headers, "upgrade")?.eq_ignore_ascii_case("websocket")
            && text(headers, "sec-websocket-version")? == "13";
        let handshake = Self {
            target: request.path?,
            origin: text(headers, "origin"),
            host: text(headers, "host"),
            key: text(headers, "sec-websocket-key")?,
        };
        (asks && !handshake.key.is_empty()).then_some((handshake, &bytes[length..]))
    }

    /// The answer that begins the websocket.
    pub fn answer(&self) -> Vec<u8> {
        let accept = derive_accept_key(self.key.as_bytes());
        let mut answer = Vec::with_capacity(256);
        let _ = write!(
            answer,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-accept: {accept}\r\n\r\n"
        );
        answer
    }
}

/// The first header of this name, which counts.
fn text<'a>(headers: &[Header<'a>], name: &str) -> Option<&'a str> {
    let found = headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    found.and_then(|header| str::from_utf8(header.value).ok())
}

/// Whether a header has only what a plain request has.
fn is_plain(header: &Header<'_>) -> bool {
    header.value.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mangled::mangled;

    const HEAD: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: here:3000\r\n\
        Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\nOrigin: https://here\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

    /// Goal: a plain request is read, what follows it is kept, and the answer is the standard's. Method: the example key
    /// of RFC 6455, section 1.3, with two bytes behind the head.
    #[test]
    fn a_plain_request_is_read() {
        let bytes = [HEAD.as_bytes(), b"\x81\x82"].concat();
        let (handshake, rest) = Handshake::parse(&bytes).expect("it is plain");
        assert_eq!(handshake.target, "/socket.io/?EIO=4&transport=websocket");
        assert_eq!((handshake.origin, handshake.host), (Some("https://here"), Some("here:3000")));
        assert_eq!(rest, b"\x81\x82");
        let answer = String::from_utf8(handshake.answer()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
        assert!(answer.ends_with("accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"), "{answer}");
    }

    /// Goal: whatever is not plain is left to the HTTP server. Method: one thing at a time that is not.
    #[rstest]
    #[case("GET ", "POST ")]
    #[case("HTTP/1.1", "HTTP/1.0")]
    #[case("Upgrade: WebSocket", "Upgrade: h2c")]
    #[case("keep-alive, Upgrade", "keep-alive")]
    #[case("Version: 13", "Version: 8")]
    #[case("Sec-WebSocket-Key", "X")]
    #[case("dGhlIHNhbXBsZSBub25jZQ==", "")]
    #[case("Host: here:3000", "Host: here:3000\r\nContent-Length: 1")]
    #[case("https://here", "https://h\u{e4}re")]
    #[case("\r\n\r\n", "\r\n")]
    fn what_is_unusual_is_not(#[case] usual: &str, #[case] unusual: &str) {
        let head = HEAD.replacen(usual, unusual, 1);
        assert_ne!(head, HEAD);
        assert_eq!(Handshake::parse(head.as_bytes()), None);
    }

    proptest! {
        /// Goal: no bytes panic, and what is taken has a whole head. Method: a plain request, mangled.
        #[test]
        fn any_bytes_may_come(bytes in mangled(Just(HEAD.as_bytes().to_vec()))) {
            if let Some((_, rest)) = Handshake::parse(&bytes) {
                prop_assert!(bytes[..bytes.len() - rest.len()].ends_with(b"\n"));
            }
        }
    }
}
