//! What a message of a client means, in Engine.IO 4 and Socket.IO 5, as far as somebody matters who only listens.
//! Pure.

use serde::de::IgnoredAny;

/// A message, by what is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    /// The answer to a ping.
    Pong,
    /// The client closes its session.
    Close,
    /// It asks to join the default namespace.
    Connect,
    /// It asks to join this namespace, of which there is none.
    ConnectElsewhere(&'a str),
    /// It leaves the default namespace.
    Disconnect,
    /// Nothing: a ping, an event, an acknowledgement, something in another namespace.
    Ignored,
}

/// Bytes of a namespace's name at most: it is repeated in the answer.
const NAMESPACE_BYTES_MAX: usize = 255;
/// A client on polling tries a websocket; amid an upgrade and nowhere else, as is the answer.
pub const PROBE_ASKED: &str = "2probe";
/// The websocket can be used.
pub const PROBE_ANSWERED: &str = "3probe";
/// The client goes over to the websocket.
pub const UPGRADE: &str = "5";
/// Nothing: the answer to a poll that is to end.
pub const NOOP: &str = "6";
/// What is between the packets of a payload.
pub const SEPARATOR: char = '\u{1e}';
/// The namespace that everybody is in.
const DEFAULT: &str = "/";

impl<'a> Packet<'a> {
    /// Reads a message; `None` if no client may say it. Events are not looked into.
    pub fn parse(message: &'a str) -> Option<Self> {
        if [PROBE_ASKED, PROBE_ANSWERED].contains(&message) {
            return None;
        }
        let mut said = message.chars();
        match said.next()? {
            '1' => return Some(Self::Close),
            '2' => return Some(Self::Ignored),
            '3' => return Some(Self::Pong),
            '4' => {}
            _ => return None,
        }
        match (said.next()?, namespace(said.as_str())) {
            ('0', (namespace, auth)) if namespace.len() > NAMESPACE_BYTES_MAX || !is_json(auth) => {
                None
            }
            ('0', (DEFAULT, _)) => Some(Self::Connect),
            ('0', (namespace, _)) => Some(Self::ConnectElsewhere(namespace)),
            ('1', (DEFAULT, _)) => Some(Self::Disconnect),
            ('1'..='6', _) => Some(Self::Ignored),
            _ => None,
        }
    }
}

/// The namespace, and what follows it. The default one goes without saying.
fn namespace(said: &str) -> (&str, &str) {
    if !said.starts_with('/') {
        return (DEFAULT, said);
    }
    said.split_once(',').unwrap_or((said, ""))
}

/// What a client shows to be let in, if anything, is not looked at but must be what it should.
fn is_json(auth: &str) -> bool {
    auth.is_empty() || serde_json::from_str::<IgnoredAny>(auth).is_ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Goal: what is answered is bounded. Method: a name that may be just so long, and one byte more.
    #[test]
    fn names_are_bounded() {
        let longest = format!("/{}", "x".repeat(NAMESPACE_BYTES_MAX - 1));
        let asking = format!("40{longest},");
        assert_eq!(Packet::parse(&asking), Some(Packet::ConnectElsewhere(&longest)));
        assert_eq!(Packet::parse(&format!("40{longest}x,")), None);
    }

    /// Goal: each packet means what the protocols say. Method: those of real clients, and crooked ones.
    #[rstest]
    #[case("3", Some(Packet::Pong))]
    #[case("1", Some(Packet::Close))]
    #[case("2", Some(Packet::Ignored))]
    #[case("40", Some(Packet::Connect))]
    #[case("40{\"token\":[1,{}]}", Some(Packet::Connect))]
    #[case("40/,", Some(Packet::Connect))]
    #[case("40/?a=b,{}", Some(Packet::ConnectElsewhere("/?a=b")))]
    #[case("40/admin,{}", Some(Packet::ConnectElsewhere("/admin")))]
    #[case("41", Some(Packet::Disconnect))]
    #[case("41/admin,", Some(Packet::Ignored))]
    #[case("42[\"chat\",\"1,2\"]", Some(Packet::Ignored))]
    #[case("451-[\"a\",{\"_placeholder\":true,\"num\":0}]", Some(Packet::Ignored))]
    #[case("40{", None)]
    #[case("40/admin,{", None)]
    #[case("", None)]
    #[case("4", None)]
    #[case("47", None)]
    #[case("4ä", None)]
    #[case("0{}", None)]
    #[case("2probe", None)]
    #[case("3probe", None)]
    #[case("5", None)]
    #[case("6", None)]
    #[case("bAAAA", None)]
    fn packets(#[case] message: &str, #[case] meaning: Option<Packet<'_>>) {
        assert_eq!(Packet::parse(message), meaning);
    }

    proptest! {
        /// Goal: nothing that a client says panics. Method: strings of the protocols' pieces and any others.
        #[test]
        fn anything_may_be_said(message in "(4[0-7]|[0-6])?(/[a-z?,]{0,4})?([{\\[\"a:1,\\]}]{0,6}|\\PC{0,8})") {
            let _ = Packet::parse(&message);
        }
    }
}
