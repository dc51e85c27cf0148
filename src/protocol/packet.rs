//! Parses the packets of clients: Engine.IO 4 and Socket.IO 5, as far as needed by a server whose clients only listen.
//!
//! The rules are those of socket.io-parser 4.2. So exactly those packets are invalid here for which the reference server
//! would end the session.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, SeqAccess, Visitor};

/// A packet of a client, by what has to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to a ping.
    Pong,
    /// The client closes its session.
    Close,
    /// The client asks to join a namespace.
    Connect {
        /// The namespace.
        namespace: &'a str,
        /// The JSON object beside it, for [`Auth::parse`](super::auth::Auth::parse). Empty if there is none.
        auth: &'a str,
    },
    /// The client leaves this namespace.
    Disconnect(&'a str),
    /// An event or an acknowledgement, both of which are ignored, and the number of binary messages that follow as parts of
    /// it.
    Event(u8),
}

/// The default namespace. Packets may leave its name out.
const DEFAULT_NAMESPACE: &str = "/";
/// The most binary parts of an event: the reference server's default.
const ATTACHMENTS_MAX: u8 = 10;
/// Event names that Socket.IO reserves. Socket.IO clients do not send them.
const RESERVED_EVENTS: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// The packet by which a polling client tests a websocket. It is valid only during an upgrade.
pub const PROBE: &str = "2probe";
/// The answer to [`PROBE`].
pub const PROBE_ANSWER: &str = "3probe";
/// The packet that completes an upgrade.
pub const UPGRADE: &str = "5";
/// The empty packet. It answers a poll for which nothing waits.
pub const NOOP: &str = "6";
/// The packet by which the server closes a session.
pub const CLOSE: &str = "1";
/// The server's ping.
pub const PING: &str = "2";

impl<'a> Packet<'a> {
    /// Parses a text message; `None` if it is not a valid packet of a client.
    pub fn parse(message: &'a str) -> Option<Self> {
        match message.split_at_checked(1)? {
            ("1", "") => Some(Self::Close),
            ("3", "") => Some(Self::Pong),
            ("4", packet) => Self::parse_socket_io(packet),
            _ => None,
        }
    }

    fn parse_socket_io(packet: &'a str) -> Option<Self> {
        let (kind, rest) = packet.split_at_checked(1)?;
        let (attachments, rest) = match kind {
            "5" | "6" => attachments(rest)?,
            _ => (0, rest),
        };
        let (namespace, rest) = namespace(rest);
        let payload = rest.trim_start_matches(|digit: char| digit.is_ascii_digit());
        match kind {
            "0" if is_object_or_nothing(payload) => {
                Some(Self::Connect { namespace, auth: payload })
            }
            "1" if payload.is_empty() => Some(Self::Disconnect(namespace)),
            "2" | "5" if is::<EventPayload>(payload) => Some(Self::Event(attachments)),
            "3" | "6" if is::<Vec<IgnoredAny>>(payload) => Some(Self::Event(attachments)),
            _ => None,
        }
    }
}

/// Splits off the number of binary parts, which ends with a dash.
fn attachments(packet: &str) -> Option<(u8, &str)> {
    let (number, rest) = packet.split_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit());
    let number = number.parse().ok().filter(|&number| digits && number <= ATTACHMENTS_MAX)?;
    Some((number, rest))
}

/// Splits off the namespace. The default namespace may be left out.
fn namespace(packet: &str) -> (&str, &str) {
    if !packet.starts_with('/') {
        return (DEFAULT_NAMESPACE, packet);
    }
    packet.split_once(',').unwrap_or((packet, ""))
}

/// Whether the payload of a CONNECT is valid: an object or nothing.
fn is_object_or_nothing(payload: &str) -> bool {
    payload.is_empty() || (payload.trim_start().starts_with('{') && is::<IgnoredAny>(payload))
}

/// The packet that acknowledges a join, byte for byte as Socket.IO's server sends it.
pub fn acknowledgement(namespace: &str, sid: impl fmt::Display) -> String {
    format!("40{}{{\"sid\":\"{sid}\"}}", Prefix(namespace))
}

/// The packet that refuses a join, as Socket.IO's server sends it for an error with `data`. The message and the code must be
/// free of characters that JSON escapes.
pub fn refusal(namespace: &str, message: &str, code: &str) -> String {
    let prefix = Prefix(namespace);
    format!("44{prefix}{{\"message\":\"{message}\",\"data\":{{\"code\":\"{code}\"}}}}")
}

/// The namespace in a packet: as it is, and a comma; nothing for the default one.
pub(super) struct Prefix<'a>(pub(super) &'a str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == DEFAULT_NAMESPACE {
            return Ok(());
        }
        write!(f, "{},", self.0)
    }
}

fn is<'de, T: Deserialize<'de>>(payload: &'de str) -> bool {
    serde_json::from_str::<T>(payload).is_ok()
}

/// The payload of an event: an array whose first element is the event's name.
struct EventPayload;

impl<'de> Deserialize<'de> for EventPayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(EventVisitor)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = EventPayload;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an array that begins with the name of an event")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<EventPayload, A::Error> {
        match elements.next_element::<serde_json::Value>()? {
            Some(serde_json::Value::Number(_)) => {}
            Some(serde_json::Value::String(name)) if !RESERVED_EVENTS.contains(&&*name) => {}
            _ => return Err(A::Error::custom("no name of an event")),
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(EventPayload)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn connect<'a>(namespace: &'a str, auth: &'a str) -> Packet<'a> {
        Packet::Connect { namespace, auth }
    }

    /// Goal: answers have the form that Socket.IO's server gives them. Method: the site, and a room whose name JSON would
    /// escape.
    #[test]
    fn answers_name_their_namespace() {
        assert_eq!(acknowledgement("/", "s"), "40{\"sid\":\"s\"}");
        assert_eq!(acknowledgement("/a\"b\\/c", "s"), "40/a\"b\\/c,{\"sid\":\"s\"}");
        let data = "{\"message\":\"no\",\"data\":{\"code\":\"why\"}}";
        assert_eq!(refusal("/", "no", "why"), format!("44{data}"));
        assert_eq!(refusal("/a", "no", "why"), format!("44/a,{data}"));
    }

    /// Goal: a name that is too long for a room is not the end of the connection. Method: a name as long as a packet can carry.
    #[test]
    fn long_names_are_names() {
        let long = format!("/{}", "x".repeat(15_000));
        assert_eq!(Packet::parse(&format!("40{long},")), Some(connect(&long, "")));
        assert_eq!(Packet::parse(&format!("41{long},")), Some(Packet::Disconnect(&long)));
    }

    /// Goal: every packet is parsed as the protocols define it. Method: packets of real clients, and invalid ones.
    #[rstest]
    #[case("3", Some(Packet::Pong))]
    #[case("1", Some(Packet::Close))]
    #[case("40", Some(connect("/", "")))]
    #[case("40{\"token\":[1,{}]}", Some(connect("/", "{\"token\":[1,{}]}")))]
    #[case("40/,", Some(connect("/", "")))]
    #[case("40/?a=b,{}", Some(connect("/?a=b", "{}")))]
    #[case("40/admin,{}", Some(connect("/admin", "{}")))]
    #[case("40/größe/\"{,{\"a\":1}", Some(connect("/größe/\"{", "{\"a\":1}")))]
    #[case("40/admin", Some(connect("/admin", "")))]
    #[case("41", Some(Packet::Disconnect("/")))]
    #[case("41/admin,", Some(Packet::Disconnect("/admin")))]
    #[case("42[\"chat\",\"1,2\"]", Some(Packet::Event(0)))]
    #[case("42[7]", Some(Packet::Event(0)))]
    #[case("4212[\"chat\"]", Some(Packet::Event(0)))]
    #[case("42/admin,12[\"chat\",{}]", Some(Packet::Event(0)))]
    #[case("430[]", Some(Packet::Event(0)))]
    #[case("451-[\"a\",{\"_placeholder\":true,\"num\":0}]", Some(Packet::Event(1)))]
    #[case("4510-/admin,3[\"a\"]", Some(Packet::Event(10)))]
    #[case("461-0[{\"_placeholder\":true,\"num\":0}]", Some(Packet::Event(1)))]
    #[case("40{", None)]
    #[case("40null", None)]
    #[case("40[]", None)]
    #[case("40\"token\"", None)]
    #[case("40/admin,{", None)]
    #[case("41{}", None)]
    #[case("42", None)]
    #[case("42{}", None)]
    #[case("42[]", None)]
    #[case("42[{}]", None)]
    #[case("42[\"connect\"]", None)]
    #[case("42[\"a\"]x", None)]
    #[case("42abc[\"x\"]", None)]
    #[case("431", None)]
    #[case("44{\"message\":\"x\"}", None)]
    #[case("45[\"a\"]", None)]
    #[case("45-[\"a\"]", None)]
    #[case("45+1-[\"a\"]", None)]
    #[case("4511-[\"a\"]", None)]
    #[case("45-1-[\"a\"]", None)]
    #[case("", None)]
    #[case("4", None)]
    #[case("47", None)]
    #[case("4ä", None)]
    #[case("0{}", None)]
    #[case("1x", None)]
    #[case("2", None)]
    #[case("2probe", None)]
    #[case("3probe", None)]
    #[case("5", None)]
    #[case("6", None)]
    #[case("bAAAA", None)]
    #[case("ä", None)]
    fn packets(#[case] message: &str, #[case] meaning: Option<Packet<'_>>) {
        assert_eq!(Packet::parse(message), meaning);
    }

    proptest! {
        /// Goal: no text of a client causes a panic. Method: strings of pieces of the protocols, and random ones.
        #[test]
        fn any_text_may_come(message in "(4[0-7]|[0-6])?([0-9]{0,2}-)?(/[a-z?,]{0,4})?([{\\[\"a:1,\\]}]{0,6}|\\PC{0,8})") {
            let _ = Packet::parse(&message);
        }
    }
}
