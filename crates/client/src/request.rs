//! The requests that carry a session: polls, posts, and the one that asks for a websocket.

use crate::{
    Error,
    http::{Request, Response},
};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
/// The key by which a server proves that it speaks the protocol, and its proof; they are the example of RFC 6455. Clients
/// have no reason to differ in the key.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// The requests of one session.
#[derive(Clone, Copy, Debug)]
pub struct Requests<'a> {
    /// Host and port of the server.
    pub authority: &'a str,
    /// The session's id; `None` asks for a new session.
    pub sid: Option<&'a str>,
    /// A cookie as its name and its value, by which a balancer knows the session's server.
    pub cookie: Option<&'a str>,
}

impl Requests<'_> {
    /// A request that waits for packets. For a new session these begin with the handshake.
    pub fn poll(&self) -> Vec<u8> {
        self.write(POLLING, "", |request| request.get())
    }

    /// A request that brings packets: one, or several with [`crate::packet::SEPARATOR`] between.
    pub fn post(&self, packets: &str) -> Vec<u8> {
        self.write(POLLING, "", |request| request.post(packets))
    }

    /// A request for a websocket.
    pub fn websocket(&self) -> Vec<u8> {
        let upgrade = format!(
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
        );
        self.write(WEBSOCKET, &upgrade, |request| request.get())
    }

    fn write(
        &self,
        path: &str,
        headers: &str,
        write: impl FnOnce(Request<'_>) -> Vec<u8>,
    ) -> Vec<u8> {
        let path = match self.sid {
            Some(sid) => format!("{path}&sid={sid}"),
            None => path.to_owned(),
        };
        let headers = match self.cookie {
            Some(cookie) => format!("Cookie: {cookie}\r\n{headers}"),
            None => headers.to_owned(),
        };
        write(Request { authority: self.authority, path: &path, headers: &headers })
    }
}

/// Checks the response to [`Requests::websocket`].
///
/// # Errors
/// If it opens no websocket.
pub fn check_upgrade(response: &Response) -> Result<(), Error> {
    match response.status {
        101 if response.accept.as_deref() == Some(ACCEPT) => Ok(()),
        101 => {
            let accept = response.accept.as_deref().unwrap_or_default();
            Err(Error::unexpected("an upgrade to something else", accept.as_bytes()))
        }
        status => Err(Error::Status(status)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::decode_head;

    const NEW: Requests<'_> = Requests { authority: "a:1", sid: None, cookie: None };

    /// Goal: requests are what the protocols require. Method: compare the complete text, without and with a session and a
    /// cookie.
    #[test]
    fn requests_are_written() {
        assert_eq!(
            NEW.poll(),
            b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a:1\r\n\r\n"
        );
        let known = Requests { sid: Some("x-1"), cookie: Some("server=b"), ..NEW };
        assert_eq!(
            known.post("40"),
            b"POST /socket.io/?EIO=4&transport=polling&sid=x-1 HTTP/1.1\r\nHost: a:1\r\n\
              Cookie: server=b\r\nContent-Type: text/plain;charset=UTF-8\r\nContent-Length: 2\r\n\r\n40"
        );
        assert_eq!(
            known.websocket(),
            b"GET /socket.io/?EIO=4&transport=websocket&sid=x-1 HTTP/1.1\r\nHost: a:1\r\n\
              Cookie: server=b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
    }

    /// Goal: only a valid answer is accepted as a websocket. Method: the right proof, a wrong one, none, and a refusal.
    #[test]
    fn upgrades_are_checked() {
        let check = |status: u16, accept: Option<&str>| {
            let accept = accept.map(|accept| format!("Sec-WebSocket-Accept: {accept}\r\n"));
            let head = format!("HTTP/1.1 {status} x\r\n{}\r\n", accept.unwrap_or_default());
            let (response, _) = decode_head(head.as_bytes()).unwrap().unwrap();
            check_upgrade(&response)
        };
        assert_eq!(check(101, Some(ACCEPT)), Ok(()));
        assert!(check(101, Some(KEY)).is_err());
        assert!(check(101, None).is_err());
        assert_eq!(check(200, Some(ACCEPT)), Err(Error::Status(200)));
    }
}
