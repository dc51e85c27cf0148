//! Packets of Engine.IO 4 and Socket.IO 5, as far as a visitor needs them, and the answers that a client must give.

use std::time::Duration;

use serde::Deserialize;

use crate::Error;

/// Joins the default namespace.
pub const CONNECT: &str = "40";
/// Answers a ping.
pub const PONG: &str = "3";
/// Asks on a new websocket whether the session may upgrade to it.
pub const PROBE: &str = "2probe";
/// Upgrades the session to the websocket that was probed.
pub const UPGRADE: &str = "5";
/// Leaves the namespace.
pub const DISCONNECT: &str = "41";
/// Ends the session.
pub const CLOSE: &str = "1";
/// Separates packets in one payload of polling.
pub const SEPARATOR: u8 = 0x1e;

/// A packet from a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// The session is open.
    Open(Handshake),
    /// The session is over.
    Close,
    /// The server requires a pong.
    Ping,
    /// The session may upgrade to the websocket on which this packet arrives.
    ProbeAnswer,
    /// Requires no action. It ends a poll.
    Noop,
    /// The namespace is joined.
    Connected,
    /// The server ends the namespace.
    Disconnected,
    /// The namespace may not be joined, for the reason with this code.
    Refused(String),
    /// The event `user count`: this many users are online.
    Count(u64),
    /// A packet of a room.
    Room {
        /// The name of the room.
        room: String,
        /// What is said of it.
        news: RoomNews,
    },
}

/// What a server says about a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RoomNews {
    /// The room is joined.
    Joined,
    /// It may not be joined, for the reason with this code.
    Refused(String),
    /// The event `user count`: this many users are in the room.
    Count(u64),
}

/// The fields of a refusal in JSON.
#[derive(Deserialize)]
struct Refusal {
    data: RefusalData,
}

#[derive(Deserialize)]
struct RefusalData {
    code: String,
}

/// The packet that joins a room.
pub fn join(room: &str) -> String {
    format!("{CONNECT}{room},")
}

/// The packet that watches a room: the client is told the count and not counted.
pub fn watch(room: &str) -> String {
    format!("{CONNECT}{room},{{\"watch\":true}}")
}

/// The packet that leaves a room.
pub fn leave(room: &str) -> String {
    format!("{DISCONNECT}{room},")
}

/// The content of the first packet of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handshake {
    /// The session's id. It consists of letters, digits, `-` and `_`, so that it can be written into requests.
    pub sid: String,
    /// A server that sends nothing for longer than this is gone.
    pub silence_max: Duration,
}

/// The fields of a handshake in JSON.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HandshakeFields {
    sid: String,
    /// Milliseconds.
    ping_interval: u32,
    /// Milliseconds.
    ping_timeout: u32,
}

impl Packet {
    /// Parses one packet.
    ///
    /// # Errors
    /// If it is outside the contract, such as an event other than the count.
    pub fn parse(text: &[u8]) -> Result<Self, Error> {
        match text {
            [b'0', json @ ..] => Handshake::parse(json).map(Self::Open),
            b"1" => Ok(Self::Close),
            b"2" => Ok(Self::Ping),
            b"3probe" => Ok(Self::ProbeAnswer),
            b"6" => Ok(Self::Noop),
            b"41" => Ok(Self::Disconnected),
            [b'4', kind, b'/', ..] => Self::parse_room(*kind, &text[2..])
                .ok_or_else(|| Error::unexpected("a packet of a room", text)),
            [b'4', b'0', b'{', .., b'}'] => Ok(Self::Connected),
            [b'4', b'2', event @ ..] => count(event)
                .map(Self::Count)
                .ok_or_else(|| Error::unexpected("an event other than the count", text)),
            [b'4', b'4', refusal @ ..] => code(refusal)
                .map(Self::Refused)
                .ok_or_else(|| Error::unexpected("the namespace is refused", text)),
            _ => Err(Error::unexpected("a packet of another kind", text)),
        }
    }

    /// Parses the packet of a room, after its type.
    fn parse_room(kind: u8, text: &[u8]) -> Option<Self> {
        let (room, rest) = str::from_utf8(text).ok()?.split_once(',')?;
        let news = match kind {
            b'0' if rest.starts_with('{') && rest.ends_with('}') => RoomNews::Joined,
            b'2' => RoomNews::Count(count(rest.as_bytes())?),
            b'4' => RoomNews::Refused(code(rest.as_bytes())?),
            _ => return None,
        };
        Some(Self::Room { room: room.to_owned(), news })
    }

    /// Parses the packets of one payload of polling.
    ///
    /// # Errors
    /// If one of them is outside the contract.
    pub fn parse_payload<T: FromIterator<Self>>(payload: &[u8]) -> Result<T, Error> {
        payload.split(|&byte| byte == SEPARATOR).map(Self::parse).collect()
    }

    /// The packet that a client must send after this one to stay connected.
    pub fn answer(&self) -> Option<&'static str> {
        match self {
            Self::Ping => Some(PONG),
            Self::ProbeAnswer => Some(UPGRADE),
            Self::Open(_) => Some(CONNECT),
            Self::Close
            | Self::Noop
            | Self::Connected
            | Self::Disconnected
            | Self::Refused(_)
            | Self::Count(_)
            | Self::Room { .. } => None,
        }
    }
}

impl Handshake {
    fn parse(json: &[u8]) -> Result<Self, Error> {
        let fields: HandshakeFields = serde_json::from_slice(json)
            .map_err(|_| Error::unexpected("a handshake without its parts", json))?;
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if fields.sid.is_empty() || !fields.sid.bytes().all(is_plain) {
            return Err(Error::unexpected("a session id that fits no address", json));
        }
        let silence = u64::from(fields.ping_interval) + u64::from(fields.ping_timeout);
        Ok(Self { sid: fields.sid, silence_max: Duration::from_millis(silence) })
    }
}

/// The code of a refusal.
fn code(refusal: &[u8]) -> Option<String> {
    Some(serde_json::from_slice::<Refusal>(refusal).ok()?.data.code)
}

/// Parses exactly this form of the event: `["user count",5]`.
fn count(event: &[u8]) -> Option<u64> {
    let digits = event.strip_prefix(br#"["user count","#)?.strip_suffix(b"]")?;
    // `parse` would accept a leading plus sign.
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use headcount_mutate::mutated;
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    const PACKETS: &[&[u8]] = &[
        br#"0{"sid":"a-B_9","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#,
        br#"40{"sid":"x"}"#,
        br#"42["user count",12]"#,
    ];

    /// Goal: every packet of the contract is understood. Method: one of each.
    #[rstest]
    #[case(r#"40{"sid":"x"}"#, Packet::Connected)]
    #[case("41", Packet::Disconnected)]
    #[case(r#"44{"message":"no","data":{"code":"bad_auth"}}"#, Packet::Refused("bad_auth".into()))]
    #[case(r#"42["user count",0]"#, Packet::Count(0))]
    #[case(r#"42["user count",18446744073709551615]"#, Packet::Count(u64::MAX))]
    #[case("1", Packet::Close)]
    #[case("2", Packet::Ping)]
    #[case("3probe", Packet::ProbeAnswer)]
    #[case("6", Packet::Noop)]
    fn packets_are_told_apart(#[case] text: &str, #[case] packet: Packet) {
        assert_eq!(Packet::parse(text.as_bytes()), Ok(packet));
    }

    /// Goal: packets of rooms are told apart, and the client's own have the form of socket.io-client. Method: one of each.
    #[test]
    fn rooms_have_packets() {
        let parsed = |text: &str| match Packet::parse(text.as_bytes()) {
            Ok(Packet::Room { room, news }) => (room, news),
            other => panic!("{text}: {other:?}"),
        };
        let room = || String::from("/a/\u{e4}{");
        assert_eq!(parsed("40/a/\u{e4}{,{\"sid\":\"x\"}"), (room(), RoomNews::Joined));
        assert_eq!(parsed("42/a/\u{e4}{,[\"user count\",7]"), (room(), RoomNews::Count(7)));
        let refusal = "44/a/\u{e4}{,{\"message\":\"no\",\"data\":{\"code\":\"bad_auth\"}}";
        assert_eq!(parsed(refusal), (room(), RoomNews::Refused("bad_auth".into())));
        assert_eq!((join("/a").as_str(), leave("/a").as_str()), ("40/a,", "41/a,"));
        assert_eq!(watch("/a"), "40/a,{\"watch\":true}");
    }

    /// Goal: the handshake of a session is parsed. Method: one as servers send it, with additional fields.
    #[test]
    fn a_handshake_is_read() {
        let text = br#"0{"sid":"a-B_9","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#;
        let handshake = Handshake { sid: "a-B_9".to_owned(), silence_max: Duration::from_secs(45) };
        assert_eq!(Packet::parse(text), Ok(Packet::Open(handshake)));
    }

    /// Goal: an invalid packet is an error, and never a count. Method: packets that are nearly valid.
    #[rstest]
    #[case("")]
    #[case("0")]
    #[case("0{}")]
    #[case(r#"0{"sid":"a b","pingInterval":1,"pingTimeout":1}"#)]
    #[case(r#"0{"sid":"","pingInterval":1,"pingTimeout":1}"#)]
    #[case(r#"0{"sid":"a","pingInterval":-1,"pingTimeout":1}"#)]
    #[case("4")]
    #[case("42")]
    #[case(r#"42["user count"]"#)]
    #[case(r#"42["user count",]"#)]
    #[case(r#"42["user count",-1]"#)]
    #[case(r#"42["user count",+1]"#)]
    #[case(r#"42["user count",1.0]"#)]
    #[case(r#"42["user count",18446744073709551616]"#)]
    #[case(r#"42["user count",1,2]"#)]
    #[case(r#"42["user count","1"]"#)]
    #[case(r#"42["users",1]"#)]
    #[case(r#"44{"message":"no"}"#)]
    #[case("411")]
    #[case("40")]
    #[case("40{")]
    #[case("40/other")]
    #[case("40/other,{")]
    #[case("41/other,")]
    #[case("42/other,[\"users\",1]")]
    #[case("44/other,{\"message\":\"no\"}")]
    #[case("3")]
    #[case("2probe")]
    #[case("é")]
    fn others_are_faults(#[case] text: &str) {
        assert!(Packet::parse(text.as_bytes()).is_err(), "{text}");
    }

    /// Goal: a client answers every packet as the protocol requires. Method: the answer to each.
    #[rstest]
    #[case(r#"0{"sid":"a","pingInterval":1,"pingTimeout":1}"#, Some("40"))]
    #[case("2", Some("3"))]
    #[case("3probe", Some("5"))]
    #[case("1", None)]
    #[case("6", None)]
    #[case("40{}", None)]
    #[case("41", None)]
    #[case(r#"42["user count",1]"#, None)]
    fn what_wants_an_answer_has_one(#[case] text: &str, #[case] answer: Option<&str>) {
        assert_eq!(Packet::parse(text.as_bytes()).unwrap().answer(), answer);
    }

    /// Goal: a payload is accepted as a whole or refused as a whole. Method: three packets, and the same with one invalid
    /// packet.
    #[test]
    fn a_payload_is_read() {
        let payload = b"40{}\x1e42[\"user count\",3]\x1e2";
        let packets: Vec<Packet> = Packet::parse_payload(payload).unwrap();
        assert_eq!(packets, [Packet::Connected, Packet::Count(3), Packet::Ping]);
        for wrong in [&b""[..], b"2\x1e", b"2\x1e\x1e2", b"2\x1e42"] {
            assert!(Packet::parse_payload::<Vec<_>>(wrong).is_err(), "{wrong:?}");
        }
    }

    proptest! {
        /// Goal: nothing that a server sends causes a panic. Method: random bytes, also after a valid beginning.
        #[test]
        fn any_bytes_are_survived(start in "(0|4|40|42|42\\[\"user count\",)?", rest: Vec<u8>) {
            let _ = Packet::parse(&[start.as_bytes(), &rest].concat());
        }

        /// Goal: every count is parsed as it was written. Method: random numbers, written and parsed.
        #[test]
        fn counts_are_exact(users: u64) {
            let text = format!("42[\"user count\",{users}]");
            prop_assert_eq!(Packet::parse(text.as_bytes()), Ok(Packet::Count(users)));
        }

        /// Goal: the session id of any handshake can be written into a request, and only an exact packet is a count.
        /// Method: damaged packets.
        #[test]
        fn mutated_packets_are_read_or_refused(
            text in mutated(proptest::sample::select(PACKETS).prop_map(<[u8]>::to_vec)),
        ) {
            match Packet::parse(&text) {
                Ok(Packet::Open(handshake)) => {
                    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    prop_assert!(!handshake.sid.is_empty() && handshake.sid.bytes().all(is_plain));
                    prop_assert!(handshake.silence_max <= Duration::from_millis(2 * u64::from(u32::MAX)));
                }
                Ok(Packet::Count(users)) => {
                    let text = String::from_utf8(text).unwrap();
                    let digits = text.trim_start_matches("42[\"user count\",").trim_end_matches(']');
                    prop_assert!(digits.bytes().all(|byte| byte.is_ascii_digit()));
                    prop_assert_eq!(digits.parse(), Ok(users));
                }
                Ok(_) | Err(_) => {}
            }
        }
    }
}
