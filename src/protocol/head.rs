//! The head of an HTTP request, as far as Socket.IO's endpoint needs it. It comes from the HTTP server, or from the fast path,
//! which reads plain heads itself.

use base64::{Engine, prelude::BASE64_STANDARD};
use http::{HeaderMap, Method, Version, header, request::Parts, uri::PathAndQuery};
use httparse::{EMPTY_HEADER, Request, Status};
use tungstenite::handshake::derive_accept_key;

/// The most headers of a plain request. Browsers send about 15, and balancers add some.
const HEADERS_MAX: usize = 48;
/// The bytes of a websocket key before encoding (RFC 6455, section 4.1).
const KEY_BYTES: usize = 16;

/// The head of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub method: Method,
    /// The path, without the query.
    pub path: &'a str,
    /// The query, without its question mark; empty if there is none.
    pub query: &'a str,
    /// The origin of the page that sends the request; `Some("")`, which is no origin, if the header cannot be read.
    pub origin: Option<&'a str>,
    /// The host that the request was sent to.
    pub host: Option<&'a str>,
    /// The header `Sec-Fetch-Site` (Fetch Metadata): `cross-site`, `same-site`, `same-origin` or `none`.
    pub fetch_site: Option<&'a str>,
    /// Whether the request asks for a websocket.
    pub websocket: WebsocketRequest<'a>,
}

/// Whether a request asks for a websocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebsocketRequest<'a> {
    /// It does not ask for one, or not in the right form.
    No,
    /// It asks for one, of another version of the protocol than 13.
    OtherVersion,
    /// It asks for one as RFC 6455, section 4.2.1, requires.
    Yes(WebsocketHandshake<'a>),
}

/// What the answer to a websocket handshake needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebsocketHandshake<'a> {
    key: &'a str,
    /// The first subprotocol that the client offers.
    subprotocol: Option<&'a str>,
}

/// The length of a plain request's body, and whether its connection stays open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Framing {
    /// The length of the body in bytes.
    pub content_length: usize,
    /// Whether the client asks to close the connection after the answer.
    pub close: bool,
}

/// Access to headers by name, for both kinds of storage.
trait Headers<'a> {
    /// The values of all headers of this name. A value that cannot be read is empty.
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a str>;

    fn first_value(&self, name: &'static str) -> Option<&'a str> {
        self.values(name).next()
    }

    /// The value of a header that must not be repeated.
    fn only(&self, name: &'static str) -> Option<&'a str> {
        let mut values = self.values(name);
        values.next().filter(|_| values.next().is_none())
    }

    /// Whether one of the headers of this name lists this token.
    fn has_token(&self, name: &'static str, wanted: &str) -> bool {
        let mut tokens = self.values(name).flat_map(|value| value.split(','));
        tokens.any(|token| token.trim().eq_ignore_ascii_case(wanted))
    }
}

impl<'a> Headers<'a> for &'a [httparse::Header<'a>] {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        let named = self.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
        named.map(|header| str::from_utf8(header.value).unwrap_or_default())
    }
}

impl<'a> Headers<'a> for &'a HeaderMap {
    fn values(&self, name: &'static str) -> impl Iterator<Item = &'a str> {
        self.get_all(name).iter().map(|value| value.to_str().unwrap_or_default())
    }
}

impl<'a> Head<'a> {
    /// Reads a plain head from the beginning of the bytes. Returns the head, the framing of the body, and the bytes after the
    /// head. `None` if the request needs the HTTP server: its head is incomplete, malformed, or unusual.
    pub fn parse_plain(
        bytes: &'a [u8],
        headers: &'a mut PlainHeaders<'a>,
    ) -> Option<(Self, Framing, &'a [u8])> {
        let mut request = Request::new(&mut headers.0);
        let Ok(Status::Complete(length)) = request.parse(bytes) else { return None };
        let (method, target) = (request.method?.parse().ok()?, request.path?);
        let is_usual = target.starts_with('/') && !target.contains('#');
        if request.version != Some(1) || !is_usual || target.parse::<PathAndQuery>().is_err() {
            return None;
        }
        let headers: &'a [httparse::Header<'a>] = request.headers;
        let unusual = ["transfer-encoding", "expect"];
        let is_plain = headers.iter().all(is_plain)
            && unusual.iter().all(|name| headers.first_value(name).is_none())
            && headers.values("content-length").count() <= 1
            && headers.only("host").is_some();
        let content_length = match headers.first_value("content-length") {
            Some(length) if length.bytes().all(|digit| digit.is_ascii_digit()) => {
                length.parse().ok()?
            }
            Some(_) => return None,
            None => 0,
        };
        let framing = Framing { content_length, close: headers.has_token("connection", "close") };
        let head = Self::new(method, target, Version::HTTP_11, &headers);
        is_plain.then_some((head, framing, &bytes[length..]))
    }

    /// The head of a request that the HTTP server read.
    pub fn of(parts: &'a Parts) -> Self {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        Self::new(parts.method.clone(), target, parts.version, &&parts.headers)
    }

    fn new(method: Method, target: &'a str, version: Version, headers: &impl Headers<'a>) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let websocket = if version >= Version::HTTP_11 && method == Method::GET {
            WebsocketRequest::of(headers)
        } else {
            WebsocketRequest::No
        };
        Self {
            method,
            path,
            query,
            origin: headers.first_value("origin"),
            host: headers.first_value("host"),
            fetch_site: headers.first_value("sec-fetch-site"),
            websocket,
        }
    }

    /// The value of a query parameter, not decoded.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }
}

/// Storage for the headers of a plain head.
#[derive(Debug)]
pub struct PlainHeaders<'a>([httparse::Header<'a>; HEADERS_MAX]);

impl Default for PlainHeaders<'_> {
    fn default() -> Self {
        Self([EMPTY_HEADER; HEADERS_MAX])
    }
}

impl<'a> WebsocketRequest<'a> {
    fn of(headers: &impl Headers<'a>) -> Self {
        let asks = headers.has_token("connection", "upgrade")
            && headers.has_token("upgrade", "websocket")
            && headers.only("host").is_some();
        if !asks {
            return Self::No;
        }
        let (version, key) =
            (headers.only("sec-websocket-version"), headers.only("sec-websocket-key"));
        match (version, key) {
            (Some("13"), Some(key)) if is_key(key) => {
                Self::Yes(WebsocketHandshake { key, subprotocol: subprotocol(headers) })
            }
            (Some("13") | None, _) => Self::No,
            (Some(_), _) => Self::OtherVersion,
        }
    }
}

impl WebsocketHandshake<'_> {
    /// The headers of the answer, without `Connection` and `Upgrade`.
    pub fn answer_headers(&self) -> Vec<(header::HeaderName, String)> {
        let accept = (header::SEC_WEBSOCKET_ACCEPT, derive_accept_key(self.key.as_bytes()));
        let subprotocol =
            self.subprotocol.map(|name| (header::SEC_WEBSOCKET_PROTOCOL, name.to_owned()));
        [Some(accept), subprotocol].into_iter().flatten().collect()
    }
}

/// The first subprotocol that the client offers, as in the reference server. It changes nothing in what is sent.
fn subprotocol<'a>(headers: &impl Headers<'a>) -> Option<&'a str> {
    let first = headers.first_value("sec-websocket-protocol")?.split(',').next()?.trim();
    let is_token = |byte: u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(&byte);
    (!first.is_empty() && first.bytes().all(is_token)).then_some(first)
}

fn is_key(key: &str) -> bool {
    BASE64_STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == KEY_BYTES)
}

/// Whether a header may be part of a plain request.
fn is_plain(header: &httparse::Header<'_>) -> bool {
    header.value.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
#[path = "head/tests.rs"]
mod tests;
