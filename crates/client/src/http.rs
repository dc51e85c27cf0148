//! Requests and responses of HTTP/1.1, as far as a visitor needs them.

use httparse::{EMPTY_HEADER, Status};

use crate::{Decoded, Error};

/// The longest head of a response that is accepted; those of Headcount and of balancers are far shorter.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// The longest body that is accepted. A poll brings some packets, `/api/count` one line.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request without its method.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// Host and port of the server.
    pub authority: &'a str,
    /// What it asks for, with the query.
    pub path: &'a str,
    /// Further headers, each with the end of its line.
    pub headers: &'a str,
}

/// What a server answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The body; empty if only the head was decoded.
    pub body: Vec<u8>,
    /// The name and the value of the first cookie that was set: balancers know their visitors by one.
    pub cookie: Option<String>,
    /// `Sec-WebSocket-Accept`.
    pub accept: Option<String>,
    /// Whether no other request may follow on this connection.
    pub is_last: bool,
    /// The length of the body; `None` if the head does not say it.
    body_bytes: Option<usize>,
    /// Whether the body comes in chunks, whatever else the head says of its length.
    is_chunked: bool,
}

impl Request<'_> {
    /// The bytes of a GET request.
    pub fn get(&self) -> Vec<u8> {
        self.write("GET", "", "")
    }

    /// The bytes of a POST request with a text as its body.
    pub fn post(&self, body: &str) -> Vec<u8> {
        let about =
            format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n", body.len());
        self.write("POST", &about, body)
    }

    fn write(&self, method: &str, about: &str, body: &str) -> Vec<u8> {
        let Self { authority, path, headers } = self;
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\n{headers}{about}\r\n{body}")
            .into_bytes()
    }
}

/// Decodes a whole response.
///
/// # Errors
/// If it is not of HTTP/1.1, or too long, or its length is not said.
pub fn decode(bytes: &[u8]) -> Decoded<Response> {
    let Some((mut response, head_bytes)) = decode_head(bytes)? else {
        return Ok(None);
    };
    let body_bytes = response
        .body_bytes
        .filter(|_| !response.is_chunked)
        .ok_or_else(|| Error::unexpected("an answer of unknown length", bytes))?;
    let end = head_bytes + body_bytes;
    Ok(bytes.get(head_bytes..end).map(|body| {
        response.body = body.to_vec();
        (response, end)
    }))
}

/// Decodes the head of a response, which is all that comes before a websocket.
///
/// # Errors
/// If it is not of HTTP/1.1, or too long.
pub fn decode_head(bytes: &[u8]) -> Decoded<Response> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut headers);
    let parsed =
        head.parse(bytes).map_err(|_| Error::unexpected("an answer other than of HTTP", bytes))?;
    let Status::Complete(head_bytes) = parsed else {
        return if bytes.len() < HEAD_BYTES_MAX {
            Ok(None)
        } else {
            Err(Error::unexpected("an endless answer", bytes))
        };
    };
    let mut response = Response { status: head.code.unwrap_or_default(), ..Response::default() };
    for header in head.headers {
        response.note(header)?;
    }
    Ok(Some((response, head_bytes)))
}

impl Response {
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), Error> {
        let value = str::from_utf8(header.value).unwrap_or_default().trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                // `parse` takes a leading plus sign.
                let digits = Some(value).filter(|value| value.bytes().all(|b| b.is_ascii_digit()));
                let length = digits.and_then(|digits| digits.parse().ok());
                let length = length.filter(|&length| length <= BODY_BYTES_MAX);
                let length = length
                    .ok_or_else(|| Error::unexpected("an answer that is too long", header.value))?;
                if self.body_bytes.is_some_and(|other| other != length) {
                    return Err(Error::unexpected("an answer of two lengths", header.value));
                }
                self.body_bytes = Some(length);
            }
            "transfer-encoding" => self.is_chunked = true,
            "connection" => self.is_last = value.eq_ignore_ascii_case("close"),
            "sec-websocket-accept" => self.accept = Some(value.to_owned()),
            "set-cookie" if self.cookie.is_none() => {
                self.cookie = value.split(';').next().map(|pair| pair.trim().to_owned());
            }
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use headcount_mutate::mutated;
    use proptest::prelude::*;

    use super::*;

    const RESPONSES: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: server=one; path=/\r\n\r\n40",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLM=\r\n\r\n\x81\x01",
        b"HTTP/1.0 503 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ];

    /// Goal: the response to a poll is parsed, with headers that a balancer adds. Method: one such response, cut at every
    /// byte.
    #[test]
    fn a_response_is_decoded_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: server=one; path=/\r\nconnection: Close\r\n\r\n40 and more";
        let whole = text.len() - " and more".len();
        for cut in 0..whole {
            assert_eq!(decode(&text[..cut]), Ok(None));
        }
        let (found, length) = decode(text).unwrap().unwrap();
        assert_eq!((found.status, &found.body[..], length), (200, &b"40"[..], whole));
        assert_eq!((found.cookie.as_deref(), found.is_last), (Some("server=one"), true));
    }

    /// Goal: responses that are too long or ambiguous are refused. Method: one of each kind.
    #[test]
    fn other_responses_are_refused() {
        let refused = |text: &str| decode(text.as_bytes()).is_err();
        assert!(refused("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: 65537\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n40"));
        assert!(refused("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n40"));
        assert!(refused(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n40"
        ));
        assert!(refused("220 mail.example ESMTP\r\n"));
        assert!(refused(&format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(HEAD_BYTES_MAX))));
    }

    /// Goal: requests are valid HTTP. Method: compare the complete text of both kinds.
    #[test]
    fn requests_are_written() {
        let headers = "Cookie: a=b\r\n";
        let request = Request { authority: "127.0.0.1:3000", path: "/x?y", headers };
        assert_eq!(
            request.get(),
            b"GET /x?y HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nCookie: a=b\r\n\r\n"
        );
        assert_eq!(
            request.post("40"),
            b"POST /x?y HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nCookie: a=b\r\n\
              Content-Type: text/plain;charset=UTF-8\r\nContent-Length: 2\r\n\r\n40"
        );
    }

    proptest! {
        /// Goal: nothing that a server sends causes a panic. Method: random bytes, also after a valid beginning.
        #[test]
        fn any_bytes_are_survived(start in "(HTTP/1.1 200 OK\r\n(Content-Length: [0-9]{1,30}\r\n\r\n)?)?", rest: Vec<u8>) {
            let bytes = [start.as_bytes(), &rest].concat();
            if let Ok(Some((_, length))) = decode(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        /// Goal: it makes no difference where the network cuts a response. Method: damaged responses, parsed cut and whole;
        /// what was found early stays, and so does a refusal.
        #[test]
        fn cuts_do_not_matter(
            bytes in mutated(proptest::sample::select(RESPONSES).prop_map(<[u8]>::to_vec)),
            cut: prop::sample::Index,
        ) {
            let part = &bytes[..cut.index(bytes.len() + 1)];
            match decode(part) {
                Ok(None) => {}
                Ok(found) => prop_assert_eq!(decode(&bytes), Ok(found)),
                Err(_) => prop_assert!(decode(&bytes).is_err()),
            }
            match decode_head(part) {
                Ok(None) => {}
                Ok(found) => {
                    let (response, length) = found.as_ref().expect("it was just looked at");
                    prop_assert!(*length <= part.len() && response.body.is_empty());
                    let cookie = response.cookie.as_deref().unwrap_or_default();
                    prop_assert!(!cookie.contains(['\r', '\n', ';']), "it becomes a part of requests");
                    prop_assert_eq!(decode_head(&bytes), Ok(found));
                }
                Err(_) => prop_assert!(decode_head(&bytes).is_err()),
            }
        }
    }
}
