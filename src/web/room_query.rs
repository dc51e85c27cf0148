//! The parameter `room` of the API: which rooms a request names, and the answers to requests that name none that can be
//! answered.

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use percent_encoding::percent_decode;
use serde::Serialize;

use super::json;
use crate::{
    access::rooms::RoomPatterns,
    core::{
        report::Room,
        room::{BadRoomName, RoomName, SITE},
    },
};

/// The most rooms of one request. A page that lists more can ask twice.
pub(super) const ROOMS_MAX: usize = 100;

/// Why a request for rooms is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The value of a parameter is no text.
    #[error("a parameter room is not percent-encoded UTF-8")]
    Malformed,
    /// More rooms than one answer may have.
    #[error("this address answers at most {0} of the parameter room")]
    TooMany(usize),
    /// An address that needs a room has none.
    #[error("the parameter room is missing")]
    Missing,
    /// No room has this name.
    #[error("{error}")]
    BadName {
        /// The name.
        room: String,
        /// What is wrong with it.
        error: BadRoomName,
    },
    /// This server has no such room.
    #[error("HEADCOUNT_ROOMS does not allow this room")]
    NotAllowed {
        /// The name.
        room: String,
    },
    /// A token is needed, and there is none.
    #[error("a token is needed here: send the header Authorization with Bearer and the token")]
    TokenMissing,
    /// The token is not valid here.
    #[error("the token is not valid here: metrics and debug log of the server say why")]
    TokenInvalid,
    /// The token was valid once.
    #[error("the token has expired")]
    TokenExpired,
    /// The token says which rooms its bearer may join, and this is none of them.
    #[error("the token does not allow this room")]
    Forbidden {
        /// The name.
        room: String,
    },
    /// The users of this room are not listed.
    #[error("HEADCOUNT_LISTS does not allow to list the users of this room")]
    NotListed {
        /// The name.
        room: String,
    },
    /// A parameter says no page.
    #[error("limit is 1 to {0}, and cursor is that of an answer")]
    BadPage(usize),
    /// The store did not answer.
    #[error("the store does not answer: try again soon")]
    Away,
    /// As many rooms are watched for programs as may be.
    #[error("programs ask for too many rooms on this instance: try again soon")]
    Full,
}

/// How long a client should wait that is refused for lack of room, in seconds: after that a room that nobody has asked for again
/// makes way ([`PLACE_HELD_FOR`](crate::core::rooms::PLACE_HELD_FOR)).
const PLACE_FREE_AFTER: HeaderValue = HeaderValue::from_static("10");
/// The same while the store is away, in seconds: about as long as an instance takes to find it again.
const STORE_BACK_AFTER: HeaderValue = HeaderValue::from_static("2");

/// The JSON of a refusal.
#[derive(Debug, Serialize)]
struct RefusalAnswer<'a> {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<&'a str>,
}

/// The rooms that a query names, in its order, with repetitions: at most `most`. Other parameters are left to others.
///
/// # Errors
/// If a name is malformed, or not the name of a room that may be asked for; the first one decides.
pub(super) fn rooms(
    query: Option<&str>,
    most: usize,
    allowed: &RoomPatterns,
) -> Result<Vec<Room>, Refusal> {
    let parameters = query.unwrap_or_default().split('&');
    let pairs = parameters.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let named = pairs.filter(|(name, _)| decoded(name).is_some_and(|name| name == "room"));
    let values: Vec<&str> = named.map(|(_, value)| value).take(most + 1).collect();
    if values.len() > most {
        return Err(Refusal::TooMany(most));
    }
    values.into_iter().map(|value| room(value, allowed)).collect()
}

/// The one room that a query names; the site if it names none.
///
/// # Errors
/// As for [`rooms`], or if there are several.
pub(super) fn one_room(
    query: Option<&str>,
    allowed: &RoomPatterns,
) -> Result<Option<Room>, Refusal> {
    Ok(rooms(query, 1, allowed)?.pop())
}

fn room(value: &str, allowed: &RoomPatterns) -> Result<Room, Refusal> {
    let name = decoded(value).ok_or(Refusal::Malformed)?;
    if name == SITE {
        return Ok(Room::Site);
    }
    match RoomName::parse(&name) {
        Ok(room) if allowed.allow(&room) => Ok(Room::Named(room)),
        Ok(_) => Err(Refusal::NotAllowed { room: name }),
        Err(error) => Err(Refusal::BadName { room: name, error }),
    }
}

/// Decodes a name or a value of a form. `None` if it is not text, or has a `%` that begins no escape. Replacing what is wrong,
/// as browsers do, would make different names the same.
fn decoded(text: &str) -> Option<String> {
    let is_escape = |rest: &[u8]| rest.len() >= 2 && rest[..2].iter().all(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let mut percents = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'%');
    if !percents.all(|(at, _)| is_escape(&bytes[at + 1..])) {
        return None;
    }
    let spaced = text.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(Into::into)
}

impl Refusal {
    /// Why, for programs.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::Malformed | Self::BadPage(_) => "bad_parameter",
            Self::TooMany(_) => "too_many_rooms",
            Self::Missing => "room_missing",
            Self::BadName { .. } | Self::NotAllowed { .. } => "room_not_allowed",
            Self::TokenMissing => "token_missing",
            Self::TokenInvalid => "token_invalid",
            Self::TokenExpired => "token_expired",
            Self::Forbidden { .. } => "room_forbidden",
            Self::NotListed { .. } => "list_not_allowed",
            Self::Away => "store_away",
            Self::Full => "rooms_full",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Malformed | Self::TooMany(_) | Self::Missing | Self::BadPage(_) => {
                StatusCode::BAD_REQUEST
            }
            Self::BadName { .. } | Self::NotAllowed { .. } | Self::NotListed { .. } => {
                StatusCode::NOT_FOUND
            }
            Self::TokenMissing | Self::TokenInvalid | Self::TokenExpired => {
                StatusCode::UNAUTHORIZED
            }
            Self::Forbidden { .. } => StatusCode::FORBIDDEN,
            Self::Full | Self::Away => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// What the client should do about its token, as RFC 6750, section 3, writes it.
    fn challenge(&self) -> Option<HeaderValue> {
        Some(HeaderValue::from_static(match self {
            Self::TokenMissing => "Bearer realm=\"headcount\"",
            Self::TokenInvalid => {
                "Bearer realm=\"headcount\", error=\"invalid_token\", \
                 error_description=\"The token is not valid here\""
            }
            Self::TokenExpired => {
                "Bearer realm=\"headcount\", error=\"invalid_token\", \
                 error_description=\"The token has expired\""
            }
            Self::Forbidden { .. } => "Bearer realm=\"headcount\", error=\"insufficient_scope\"",
            _ => return None,
        }))
    }

    /// How long the client should wait before it asks again, if waiting helps.
    fn retry_after(&self) -> Option<HeaderValue> {
        match self {
            Self::Full => Some(PLACE_FREE_AFTER),
            Self::Away => Some(STORE_BACK_AFTER),
            _ => None,
        }
    }

    /// The name that is refused. Names that are too long are left out.
    fn room(&self) -> Option<&str> {
        match self {
            Self::NotAllowed { room } | Self::Forbidden { room } | Self::NotListed { room } => {
                Some(room)
            }
            Self::BadName { room, error } if *error != BadRoomName::TooLong => Some(room),
            _ => None,
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let answer =
            RefusalAnswer { code: self.code(), message: self.to_string(), room: self.room() };
        let mut response = json::answer(&answer);
        *response.status_mut() = self.status();
        let mut add = |name: HeaderName, value| response.headers_mut().insert(name, value);
        add(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after() {
            add(header::RETRY_AFTER, wait);
        }
        if let Some(challenge) = self.challenge() {
            add(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
#[path = "room_query/tests.rs"]
mod tests;
