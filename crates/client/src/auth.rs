//! What a client says about itself when it joins a namespace: socket.io-client's option `auth`.

use std::sync::Arc;

use serde::Serialize;

use crate::packet::CONNECT;

/// What a client says when it joins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// It wants to be told the count, and not to be counted.
    pub watch: bool,
    /// A key that all clients of one person share.
    pub visitor: Option<Arc<str>>,
    /// A signed token, which says who it is.
    pub token: Option<Arc<str>>,
}

/// The members in JSON.
#[derive(Serialize)]
struct Members<'a> {
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    watch: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    visitor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<&'a str>,
}

impl Auth {
    /// The packet that joins the default namespace.
    pub fn connect(&self) -> String {
        format!("{CONNECT}{}", self.json())
    }

    /// The packet that joins a room.
    pub fn join(&self, room: &str) -> String {
        format!("{CONNECT}{room},{}", self.json())
    }

    /// The JSON object; empty if there is nothing to say.
    fn json(&self) -> String {
        if *self == Self::default() {
            return String::new();
        }
        let (visitor, token) = (self.visitor.as_deref(), self.token.as_deref());
        let members = Members { watch: self.watch, visitor, token };
        serde_json::to_string(&members).expect("text and flags can be written as JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: packets have the form of socket.io-client. Method: each member alone, all of them, and none.
    #[test]
    fn packets_say_who_joins() {
        let nobody = Auth::default();
        assert_eq!((nobody.connect().as_str(), nobody.join("/a").as_str()), ("40", "40/a,"));
        let visitor = Auth { visitor: Some("k\"1".into()), ..Auth::default() };
        assert_eq!(visitor.connect(), "40{\"visitor\":\"k\\\"1\"}");
        let token = Auth { token: Some("a.b.c".into()), ..Auth::default() };
        assert_eq!(token.join("/a"), "40/a,{\"token\":\"a.b.c\"}");
        let all = Auth { watch: true, token: token.token, ..visitor };
        let text = "40/a,{\"watch\":true,\"visitor\":\"k\\\"1\",\"token\":\"a.b.c\"}";
        assert_eq!(all.join("/a"), text);
    }
}
