//! Requests and answers of HTTP/1.1, as far as a visitor needs them. Pure.

use httparse::{EMPTY_HEADER, Status};

use super::{fault::Fault, wire::Found};
use crate::config::Target;

/// No server of a count needs more to say about its answers.
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
/// A poll brings some packets, `/api/count` one line.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// A request without its method.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request<'a> {
    /// Whom it asks.
    pub(super) target: &'a Target,
    /// What it asks for, with the query.
    pub(super) path: &'a str,
    /// Further headers, each with the end of its line.
    pub(super) extra: &'a str,
}

/// What was answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status code.
    pub(super) status: u16,
    /// The body; none if only the head was looked for.
    pub(super) body: Vec<u8>,
    /// The name and the value of the first cookie that was set: balancers know their visitors by one.
    pub(super) cookie: Option<String>,
    /// `Sec-WebSocket-Accept`.
    pub(super) accept: Option<String>,
    /// No other request may follow on this connection.
    pub(super) is_last: bool,
    /// How long the body is; `None` if it is not said.
    body_bytes: Option<usize>,
    /// It comes in pieces, whatever else is said of its length.
    is_in_pieces: bool,
}

impl Request<'_> {
    /// To fetch.
    pub(super) fn get(&self) -> Vec<u8> {
        self.write("GET", "", "")
    }

    /// To bring a text.
    pub(super) fn post(&self, body: &str) -> Vec<u8> {
        let about =
            format!("Content-Type: text/plain;charset=UTF-8\r\nContent-Length: {}\r\n", body.len());
        self.write("POST", &about, body)
    }

    fn write(&self, method: &str, about: &str, body: &str) -> Vec<u8> {
        let Self { target, path, extra } = self;
        let host = target.authority();
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{extra}{about}\r\n{body}").into_bytes()
    }
}

/// Looks for a whole answer.
pub(super) fn answer(bytes: &[u8]) -> Found<Answer> {
    let Some((mut answer, head_bytes)) = head(bytes)? else {
        return Ok(None);
    };
    let body_bytes = answer
        .body_bytes
        .filter(|_| !answer.is_in_pieces)
        .ok_or(Fault::Strange("an answer of unknown length"))?;
    let end = head_bytes + body_bytes;
    Ok(bytes.get(head_bytes..end).map(|body| {
        answer.body = body.to_vec();
        (answer, end)
    }))
}

/// Looks for the head of an answer, which is all that comes before a websocket.
pub(super) fn head(bytes: &[u8]) -> Found<Answer> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let parsed =
        response.parse(bytes).map_err(|_| Fault::Strange("an answer other than of HTTP"))?;
    let Status::Complete(head_bytes) = parsed else {
        return if bytes.len() < HEAD_BYTES_MAX {
            Ok(None)
        } else {
            Err(Fault::Strange("an endless answer"))
        };
    };
    let mut answer = Answer { status: response.code.unwrap_or_default(), ..Answer::default() };
    for header in response.headers {
        answer.note(header)?;
    }
    Ok(Some((answer, head_bytes)))
}

impl Answer {
    fn note(&mut self, header: &httparse::Header<'_>) -> Result<(), Fault> {
        let value = str::from_utf8(header.value).unwrap_or_default().trim();
        match header.name.to_ascii_lowercase().as_str() {
            "content-length" => {
                // `parse` takes a leading plus sign.
                let digits = Some(value).filter(|value| value.bytes().all(|b| b.is_ascii_digit()));
                let length = digits.and_then(|digits| digits.parse().ok());
                let length = length.filter(|&length| length <= BODY_BYTES_MAX);
                let length = length.ok_or(Fault::Strange("an answer that is too long"))?;
                if self.body_bytes.is_some_and(|other| other != length) {
                    return Err(Fault::Strange("an answer of two lengths"));
                }
                self.body_bytes = Some(length);
            }
            "transfer-encoding" => self.is_in_pieces = true,
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
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::mutate::mangled;

    const ANSWERS: &[&[u8]] = &[
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: server=one; path=/\r\n\r\n40",
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLM=\r\n\r\n\x81\x01",
        b"HTTP/1.0 503 x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
    ];

    /// Goal: a poll's answer is read, with what a balancer adds. Method: one such answer, cut everywhere.
    #[test]
    fn an_answer_is_found_once_it_is_whole() {
        let text = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: server=one; path=/\r\nconnection: Close\r\n\r\n40 and more";
        let whole = text.len() - " and more".len();
        for cut in 0..whole {
            assert_eq!(answer(&text[..cut]), Ok(None));
        }
        let (found, length) = answer(text).unwrap().unwrap();
        assert_eq!((found.status, &found.body[..], length), (200, &b"40"[..], whole));
        assert_eq!((found.cookie.as_deref(), found.is_last), (Some("server=one"), true));
    }

    /// Goal: answers that cannot be held or told apart are refused. Method: one of each.
    #[test]
    fn other_answers_are_refused() {
        let refused = |text: &str| answer(text.as_bytes()).is_err();
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

    /// Goal: requests are HTTP to the letter. Method: the whole text of both.
    #[test]
    fn requests_are_written() {
        let target = Target::parse("http://127.0.0.1:3000").unwrap();
        let request = Request { target: &target, path: "/x?y", extra: "Cookie: a=b\r\n" };
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
        /// Goal: nothing that a server sends ends the program. Method: any bytes, and such as begin well.
        #[test]
        fn any_bytes_are_survived(start in "(HTTP/1.1 200 OK\r\n(Content-Length: [0-9]{1,30}\r\n\r\n)?)?", rest: Vec<u8>) {
            let bytes = [start.as_bytes(), &rest].concat();
            if let Ok(Some((_, length))) = answer(&bytes) {
                prop_assert!(length <= bytes.len());
            }
        }

        /// Goal: it does not matter where the network cuts an answer. Method: good answers, mangled, and each
        /// looked at twice: cut, and whole. What is found early stays, and so does a refusal.
        #[test]
        fn cuts_do_not_matter(
            bytes in mangled(proptest::sample::select(ANSWERS).prop_map(<[u8]>::to_vec)),
            cut: prop::sample::Index,
        ) {
            let part = &bytes[..cut.index(bytes.len() + 1)];
            match answer(part) {
                Ok(None) => {}
                Ok(found) => prop_assert_eq!(answer(&bytes), Ok(found)),
                Err(_) => prop_assert!(answer(&bytes).is_err()),
            }
            match head(part) {
                Ok(None) => {}
                Ok(found) => {
                    let (answer, length) = found.as_ref().expect("it was just looked at");
                    prop_assert!(*length <= part.len() && answer.body.is_empty());
                    let cookie = answer.cookie.as_deref().unwrap_or_default();
                    prop_assert!(!cookie.contains(['\r', '\n', ';']), "it becomes a part of requests");
                    prop_assert_eq!(head(&bytes), Ok(found));
                }
                Err(_) => prop_assert!(head(&bytes).is_err()),
            }
        }
    }
}
