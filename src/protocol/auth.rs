//! Parses what a client says about itself when it joins a namespace: socket.io-client's option `auth`.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

/// What a client says when it joins. Members that are not known are ignored.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Auth<'a> {
    /// It wants to be told the count, and not to be counted.
    #[serde(deserialize_with = "true_or_not")]
    pub watch: bool,
    /// It wants to be told who is there.
    #[serde(deserialize_with = "true_or_not")]
    pub list: bool,
    /// The token that says who its user is.
    #[serde(borrow)]
    pub token: Proof<'a>,
    /// The key that the browser chose for itself, by which its tabs are one user.
    #[serde(borrow)]
    pub visitor: Proof<'a>,
}

/// What a client wants to be told in a namespace that it joins, and whether it is counted there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wants {
    /// To be told the count, and not to be counted.
    pub watch: bool,
    /// To be told who is there.
    pub list: bool,
}

/// A text by which a client says who its user is. Its `Debug` output does not contain the text.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum Proof<'a> {
    /// The client says nothing. Pages without a user often say `null`, which is the same.
    #[default]
    Absent,
    /// This text.
    Text(Cow<'a, str>),
    /// Something that is not a text. It is for the caller to decide whether it matters.
    NoText,
}

impl<'a> Auth<'a> {
    /// Parses the JSON object of a CONNECT, or the empty text. `None` if `watch` or `list` has the wrong type, or a known member
    /// occurs twice.
    pub fn parse(payload: &'a str) -> Option<Self> {
        if payload.is_empty() {
            return Some(Self::default());
        }
        serde_json::from_str(payload).ok()
    }

    /// What the client wants.
    pub fn wants(&self) -> Wants {
        Wants { watch: self.watch, list: self.list }
    }
}

/// `null` is the same as nothing, as it is for a [`Proof`].
fn true_or_not<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "Absent",
            Self::Text(_) => "Text(…)",
            Self::NoText => "NoText",
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Proof<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ProofVisitor)
    }
}

/// Takes any value, and keeps it only if it is a text.
struct ProofVisitor;

impl<'de> Visitor<'de> for ProofVisitor {
    type Value = Proof<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Proof::Text(Cow::Borrowed(text)))
    }

    /// A text with escapes is not in the packet as it is.
    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Proof::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Proof::Absent)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Proof::NoText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Proof::NoText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Proof::NoText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Proof::NoText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Proof::NoText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
        while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Proof::NoText)
    }
}

#[cfg(test)]
#[path = "auth/tests.rs"]
mod tests;
