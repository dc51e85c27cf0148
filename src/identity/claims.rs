//! What a token says: whose it is, how long it is valid, which rooms its bearer may join, and what lists show of him.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    access::rooms::RoomPatterns,
    core::{
        report::INFO_BYTES_MAX,
        room::{IdentityKind, Person, USER_BYTES_MAX, UserId},
    },
    telemetry::labels::TokenFault,
};

/// The latest time that a token can name, in seconds since 1970: the last second of the year 9999. Later ones are taken for it.
const SECONDS_MAX: f64 = 253_402_300_799.0;

/// The claims that have a meaning here. Each is the text of its JSON value.
#[derive(Debug, Default)]
pub(super) struct Claims<'a> {
    user: Option<&'a RawValue>,
    exp: Option<&'a RawValue>,
    nbf: Option<&'a RawValue>,
    rooms: Option<&'a RawValue>,
    iss: Option<&'a RawValue>,
    aud: Option<&'a RawValue>,
    info: Option<&'a RawValue>,
}

impl<'a> Claims<'a> {
    /// Reads the claims. `user_claim` is the name of the one that says whose the token is.
    ///
    /// # Errors
    /// If the text is no JSON object, or a claim occurs twice.
    pub(super) fn read(json: &'a str, user_claim: &str) -> Result<Self, TokenFault> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let claims = Reader { user_claim }.deserialize(&mut deserializer);
        let claims = claims.map_err(|_| TokenFault::Claims)?;
        deserializer.end().map_err(|_| TokenFault::Claims)?;
        Ok(claims)
    }

    /// When the token expires.
    pub(super) fn expires_at(&self) -> Result<SystemTime, TokenFault> {
        time(self.exp.ok_or(TokenFault::NoExpiry)?)
    }

    /// Before when it is not valid.
    pub(super) fn valid_from(&self) -> Result<Option<SystemTime>, TokenFault> {
        self.nbf.map(time).transpose()
    }

    /// Whose it is, with what lists show of him.
    pub(super) fn person(&self) -> Result<Person, TokenFault> {
        let user = self.user.ok_or(TokenFault::NoSubject)?;
        let name: Cow<'_, str> = string(user).ok_or(TokenFault::Subject)?;
        let person = Person::named(&name).ok_or(TokenFault::Subject)?;
        Ok(Person { info: self.info()?, ..person })
    }

    /// Whether the token names its issuer as one text (RFC 7519, section 4.1.1), and not as a list.
    pub(super) fn has_one_issuer(&self) -> bool {
        self.iss.is_some_and(|issuer| string(issuer).is_some())
    }

    /// The rooms that the bearer may join; `None` for all. Each element of the list is one pattern, whatever is in it.
    pub(super) fn rooms(&self) -> Result<Option<RoomPatterns>, TokenFault> {
        let Some(rooms) = self.rooms else { return Ok(None) };
        let list: Vec<Cow<'_, str>> =
            serde_json::from_str(rooms.get()).map_err(|_| TokenFault::Claims)?;
        RoomPatterns::of_list(&list).map(Some).map_err(|_| TokenFault::Claims)
    }

    fn info(&self) -> Result<Option<Arc<str>>, TokenFault> {
        let Some(info) = self.info else { return Ok(None) };
        let info: Map<String, Value> =
            serde_json::from_str(info.get()).map_err(|_| TokenFault::Claims)?;
        let text = Value::Object(info).to_string();
        if text.len() > INFO_BYTES_MAX { Err(TokenFault::Claims) } else { Ok(Some(text.into())) }
    }
}

impl Person {
    /// The user with this name in the application that vouches for him: what the claim of a token says, or a session of the
    /// application itself. `None` if the name has not 1 to 126 bytes, or has control characters.
    pub fn named(name: &str) -> Option<Self> {
        let prefix = IdentityKind::Token.prefix();
        let is_long = name.len() > USER_BYTES_MAX - prefix.len();
        if name.is_empty() || is_long || name.contains(char::is_control) {
            return None;
        }
        let user = UserId::parse(&format!("{prefix}{name}"))?;
        Some(Self { user, kind: IdentityKind::Token, info: None })
    }
}

/// A JSON string; `None` if the value is another one.
fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    let text: Option<&str> = serde_json::from_str(value.get()).ok();
    match text {
        Some(text) => Some(Cow::Borrowed(text)),
        // It has escapes.
        None => serde_json::from_str(value.get()).ok().map(Cow::Owned),
    }
}

/// The time that a number of seconds since 1970 stands for. It may have a fraction (RFC 7519, section 2).
fn time(value: &RawValue) -> Result<SystemTime, TokenFault> {
    let seconds: f64 = serde_json::from_str(value.get()).map_err(|_| TokenFault::Claims)?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs_f64(seconds.clamp(0.0, SECONDS_MAX)))
}

struct Reader<'n> {
    user_claim: &'n str,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Claims<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of claims")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut claims = Claims::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let claim = match &*name {
                name if name == self.user_claim => &mut claims.user,
                "exp" => &mut claims.exp,
                "nbf" => &mut claims.nbf,
                "rooms" => &mut claims.rooms,
                "iss" => &mut claims.iss,
                "aud" => &mut claims.aud,
                "info" => &mut claims.info,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            if claim.replace(map.next_value()?).is_some() {
                return Err(A::Error::custom("a claim occurs twice"));
            }
        }
        Ok(claims)
    }
}

#[cfg(test)]
#[path = "claims/tests.rs"]
mod tests;
