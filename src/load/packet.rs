//! Packets of Engine.IO v4 and Socket.IO v5, as far as a visitor needs them. Pure.

use std::time::Duration;

use serde::Deserialize;

use super::fault::Fault;

/// Asks for the default namespace.
pub(super) const CONNECT: &str = "40";
/// Answers a ping.
pub(super) const PONG: &str = "3";
/// Leaves the namespace.
pub(super) const LEAVE: &str = "41";
/// Ends the session.
pub(super) const CLOSE: &str = "1";
/// Stands between packets in one payload of polling.
pub(super) const SEPARATOR: char = '\x1e';

/// What a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// The handshake.
    Open(Opening),
    /// The session is over.
    Close,
    /// Wants a pong.
    Ping,
    /// The namespace is joined.
    Joined,
    /// The server ends the namespace.
    Left,
    /// So many users are online.
    Count(u64),
    /// Nothing to act on.
    Noop,
}

/// What a handshake tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opening {
    /// The session.
    pub(super) sid: String,
    /// A server that says nothing for this long is gone.
    pub(super) silence_max: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    sid: String,
    /// Milliseconds.
    ping_interval: u32,
    /// Milliseconds.
    ping_timeout: u32,
}

impl Packet {
    /// Reads one packet.
    pub(super) fn parse(text: &[u8]) -> Result<Self, Fault> {
        match text {
            [b'0', json @ ..] => Opening::parse(json).map(Self::Open),
            b"1" => Ok(Self::Close),
            b"2" => Ok(Self::Ping),
            b"6" => Ok(Self::Noop),
            b"41" => Ok(Self::Left),
            [b'4', b'0', ..] => Ok(Self::Joined),
            [b'4', b'2', event @ ..] => count(event).map(Self::Count),
            [b'4', b'4', ..] => Err(Fault::Strange("the namespace is refused")),
            _ => Err(Fault::Strange("a packet of another kind")),
        }
    }
}

impl Opening {
    fn parse(json: &[u8]) -> Result<Self, Fault> {
        let handshake: Handshake = serde_json::from_slice(json)
            .map_err(|_| Fault::Strange("a handshake without its parts"))?;
        // The id becomes a part of requests.
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if handshake.sid.is_empty() || !handshake.sid.bytes().all(plain) {
            return Err(Fault::Strange("a session id that fits no address"));
        }
        let silence = u64::from(handshake.ping_interval) + u64::from(handshake.ping_timeout);
        Ok(Self { sid: handshake.sid, silence_max: Duration::from_millis(silence) })
    }
}

/// The event to the letter: `["user count",5]`.
fn count(event: &[u8]) -> Result<u64, Fault> {
    let digits = event
        .strip_prefix(br#"["user count","#)
        .and_then(|rest| rest.strip_suffix(b"]"))
        .filter(|digits| digits.iter().all(u8::is_ascii_digit));
    let number = digits.and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    number.ok_or(Fault::Strange("an event other than the count"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::fixtures::mutate::mangled;

    const PACKETS: &[&[u8]] = &[
        br#"0{"sid":"a-B_9","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#,
        br#"40{"sid":"x"}"#,
        br#"42["user count",12]"#,
    ];

    /// Goal: every packet of the contract is understood. Method: one of each.
    #[rstest]
    #[case(r#"40{"sid":"x"}"#, Packet::Joined)]
    #[case("41", Packet::Left)]
    #[case(r#"42["user count",0]"#, Packet::Count(0))]
    #[case(r#"42["user count",18446744073709551615]"#, Packet::Count(u64::MAX))]
    #[case("1", Packet::Close)]
    #[case("2", Packet::Ping)]
    #[case("6", Packet::Noop)]
    fn packets_are_told_apart(#[case] text: &str, #[case] packet: Packet) {
        assert_eq!(Packet::parse(text.as_bytes()), Ok(packet));
    }

    /// Goal: the handshake is understood. Method: one as servers send it, with fields that nobody needs.
    #[test]
    fn a_handshake_is_read() {
        let text = br#"0{"sid":"a-B_9","upgrades":[],"pingInterval":25000,"pingTimeout":20000,"maxPayload":1}"#;
        let opening = Opening { sid: "a-B_9".to_owned(), silence_max: Duration::from_secs(45) };
        assert_eq!(Packet::parse(text), Ok(Packet::Open(opening)));
    }

    /// Goal: what is outside the contract is a fault, never a count. Method: near misses.
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
    #[case("2probe")]
    #[case("é")]
    fn others_are_faults(#[case] text: &str) {
        assert!(Packet::parse(text.as_bytes()).is_err(), "{text}");
    }

    proptest! {
        /// Goal: nothing that a server sends ends the program. Method: any bytes, and such as begin well.
        #[test]
        fn any_bytes_are_survived(start in "(0|4|40|42|42\\[\"user count\",)?", rest: Vec<u8>) {
            let _ = Packet::parse(&[start.as_bytes(), &rest].concat());
        }

        /// Goal: every count is read as it was written. Method: any number, there and back.
        #[test]
        fn counts_are_exact(users: u64) {
            let text = format!("42[\"user count\",{users}]");
            prop_assert_eq!(Packet::parse(text.as_bytes()), Ok(Packet::Count(users)));
        }

        /// Goal: whatever a handshake says, its session id can be written into a request, and only a packet to the
        /// letter is a count. Method: good packets, mangled.
        #[test]
        fn mangled_packets_are_read_or_refused(
            text in mangled(proptest::sample::select(PACKETS).prop_map(<[u8]>::to_vec)),
        ) {
            match Packet::parse(&text) {
                Ok(Packet::Open(opening)) => {
                    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
                    prop_assert!(!opening.sid.is_empty() && opening.sid.bytes().all(is_plain));
                    prop_assert!(opening.silence_max <= Duration::from_millis(2 * u64::from(u32::MAX)));
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
