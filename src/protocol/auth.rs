//! Parses what a client says about itself when it joins a namespace: socket.io-client's option `auth`.

use serde::Deserialize;

/// What a client says when it joins. Members that are not known are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth {
    /// It wants to be told the count, and not to be counted.
    pub watch: bool,
}

impl Auth {
    /// Parses the JSON object of a CONNECT, or the empty text. `None` if a known member has the wrong type, or occurs twice.
    pub fn parse(payload: &str) -> Option<Self> {
        if payload.is_empty() {
            return Some(Self::default());
        }
        serde_json::from_str(payload).ok()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::protocol::packet::Packet;

    /// Goal: only what is plainly meant is understood. Method: objects on both sides of each rule; all of them are valid
    /// packets.
    #[rstest]
    #[case("", Some(false))]
    #[case("{}", Some(false))]
    #[case("{\"token\":[1,{\"watch\":true}]}", Some(false))]
    #[case("{\"watch\":true}", Some(true))]
    #[case("{\"watch\":false}", Some(false))]
    #[case(" {\"other\":1e999999,\"w\\u0061tch\":true} ", Some(true))]
    #[case("{\"watch\":1}", None)]
    #[case("{\"watch\":\"true\"}", None)]
    #[case("{\"watch\":null}", None)]
    #[case("{\"watch\":{}}", None)]
    #[case("{\"watch\":true,\"watch\":true}", None)]
    #[case("{\"watch\":false,\"watch\":true}", None)]
    fn what_is_meant(#[case] payload: &str, #[case] watch: Option<bool>) {
        assert_eq!(Auth::parse(payload).map(|auth| auth.watch), watch, "{payload}");
        let message = format!("40/a,{payload}");
        let expected = Packet::Connect { namespace: "/a", auth: payload };
        assert_eq!(Packet::parse(&message), Some(expected), "{payload}");
    }

    /// Goal: deep and long objects are read without harm. Method: an unknown member as deep as a large message allows, and
    /// one with very many members of one name.
    #[test]
    fn deep_and_long_objects() {
        let deep =
            format!("{{\"x\":{}{},\"watch\":true}}", "[".repeat(400_000), "]".repeat(400_000));
        assert_eq!(Auth::parse(&deep), Some(Auth { watch: true }));
        let long = format!("{{{}\"watch\":true}}", "\"x\":1,".repeat(100_000));
        assert_eq!(Auth::parse(&long), Some(Auth { watch: true }));
    }
}
