//! Answers of Socket.IO's endpoint. The fast path and the HTTP server send the same ones.

use axum::body::Body;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use crate::{engine::reason::Refusal, protocol::head::WebsocketHandshake};

/// What refused clients are asked to wait, in seconds: longer than a balancer takes to notice that this
/// instance is leaving.
const RETRY_AFTER_SECONDS: &str = "5";
const TEXT: &str = "text/plain; charset=UTF-8";
const HTML: &str = "text/html";
const JSON: &str = "application/json";

/// An answer to a request to the endpoint.
#[derive(Debug)]
pub struct Answer {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Vec<u8>,
}

impl Answer {
    /// The answer to a poll.
    pub fn payload(body: impl Into<Vec<u8>>) -> Self {
        Self::new(StatusCode::OK, TEXT, body)
    }

    /// The answer to a post. The media type is the reference server's.
    pub fn posted() -> Self {
        Self::new(StatusCode::OK, HTML, "ok")
    }

    /// The answer to a request that is not served.
    pub fn refusal(refusal: Refusal) -> Self {
        let status = StatusCode::from_u16(refusal.status()).expect("a status of HTTP");
        let mut answer = Self::new(status, JSON, refusal.body()).and_close();
        if refusal.asks_to_wait() {
            answer = answer.with(header::RETRY_AFTER, RETRY_AFTER_SECONDS);
        }
        if refusal == Refusal::WebsocketVersion {
            answer = answer.with(header::SEC_WEBSOCKET_VERSION, "13");
        }
        answer
    }

    /// The answer to a websocket handshake. The websocket begins right after it.
    pub fn websocket(handshake: &WebsocketHandshake<'_>) -> Self {
        let mut headers = vec![
            (header::CONNECTION, HeaderValue::from_static("Upgrade")),
            (header::UPGRADE, HeaderValue::from_static("websocket")),
        ];
        for (name, value) in handshake.answer_headers() {
            headers.push((name, value.parse().expect("a token, or Base64")));
        }
        Self { status: StatusCode::SWITCHING_PROTOCOLS, headers, body: Vec::new() }
    }

    /// Forbids caches to keep the answer: it is for one client, once.
    fn new(status: StatusCode, media_type: &'static str, body: impl Into<Vec<u8>>) -> Self {
        let headers = vec![
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        ];
        Self { status, headers, body: body.into() }
    }

    fn with(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers.push((name, HeaderValue::from_static(value)));
        self
    }

    /// Announces that the connection is closed after the answer.
    #[must_use]
    pub fn and_close(self) -> Self {
        if self.keeps_connection() { self.with(header::CONNECTION, "close") } else { self }
    }

    /// Lets pages of this origin read it, with cookies, as [`crate::access::origin::cors`] does where the HTTP server answers.
    #[must_use]
    pub fn readable_by(mut self, origin: &str) -> Self {
        if let Ok(origin) = HeaderValue::from_str(origin) {
            self.headers.push((header::ACCESS_CONTROL_ALLOW_ORIGIN, origin));
            self = self.with(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true");
        }
        self.with(header::VARY, "origin")
    }

    /// Whether the connection stays open for another request.
    pub fn keeps_connection(&self) -> bool {
        !self.headers.iter().any(|(name, value)| name == header::CONNECTION && value == "close")
    }

    /// The bytes of the answer in HTTP/1.1.
    pub fn into_bytes(self) -> Vec<u8> {
        let Self { status, headers, body } = self;
        let reason = status.canonical_reason().unwrap_or_default();
        let mut bytes = Vec::with_capacity(256 + body.len());
        bytes.extend_from_slice(b"HTTP/1.1 ");
        bytes.extend_from_slice(status.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(reason.as_bytes());
        for (name, value) in &headers {
            bytes.extend_from_slice(b"\r\n");
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
        }
        if status != StatusCode::SWITCHING_PROTOCOLS {
            bytes.extend_from_slice(format!("\r\ncontent-length: {}", body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&body);
        bytes
    }
}

impl From<Answer> for Response<Body> {
    fn from(answer: Answer) -> Self {
        let mut response = Response::new(answer.body.into());
        *response.status_mut() = answer.status;
        response.headers_mut().extend(answer.headers);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: the fast path and the HTTP server send the same answer. Method: a refusal with all kinds of headers.
    #[test]
    fn bytes_and_response_agree() {
        let refusal = || Answer::refusal(Refusal::WebsocketVersion).and_close();
        let answer = || refusal().readable_by("https://a.example");
        let response = Response::from(answer());
        let bytes = String::from_utf8(answer().into_bytes()).unwrap();
        assert!(bytes.starts_with("HTTP/1.1 426 Upgrade Required\r\n"), "{bytes}");
        assert_eq!(response.status(), 426);
        for (name, value) in response.headers() {
            let line = format!("\r\n{name}: {}\r\n", value.to_str().unwrap());
            assert!(bytes.contains(&line), "{line} is missing in {bytes}");
        }
        let body = Refusal::WebsocketVersion.body();
        assert!(bytes.ends_with(&format!("content-length: {}\r\n\r\n{body}", body.len())));
        assert_eq!(bytes.matches("\r\nconnection: close").count(), 1);
        assert!(!answer().keeps_connection() && Answer::posted().keeps_connection());
    }
}
