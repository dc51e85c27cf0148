//! Answers requests for the users of a room, page by page, to the bearers of tokens. It is the one answer that is read from the
//! store: an instance does not keep who is in a room elsewhere.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{RawQuery, State},
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Response},
};
use tokio::time::timeout;

use super::{
    json,
    room_query::{self, Refusal},
    site::Site,
};
use crate::{
    core::{people::subject, report::Room, room::RoomName},
    protocol::users::objects,
    store::people::{PeopleCursor, PeoplePage, PeoplePageQuery},
};

/// The most users of a page, and as many as it has if a request says nothing.
const PAGE_USERS_MAX: usize = 100;
/// How long a page may take, with the wait for others.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// Answers `GET /api/users`.
///
/// # Errors
/// Why there is no page.
pub(super) async fn answer(
    State(site): State<Arc<Site>>,
    RawQuery(query): RawQuery,
    request: HeaderMap,
) -> Result<Response, Refusal> {
    let query = query.as_deref();
    let room = room_query::one_room(query, site.rooms.allowed())?.ok_or(Refusal::Missing)?;
    let name = match &room {
        Room::Named(name) if site.rooms.is_listed(name) => name,
        _ => return Err(Refusal::NotListed { room: room.as_str().to_owned() }),
    };
    site.bearer_in(&request, std::slice::from_ref(&room)).await?;
    let query = page_query(query, name).ok_or(Refusal::BadPage(PAGE_USERS_MAX))?;
    let page = timeout(ANSWER_WITHIN, site.users.page(query)).await.ok().flatten();
    let PeoplePage { users, next } = page.ok_or(Refusal::Away)?;
    let users = users.iter().filter_map(|(user, info)| Some((subject(user)?, info.as_deref())));
    let cursor = next.map_or("null".to_owned(), |next| format!("\"{next}\""));
    let room = json::text(&name.as_str());
    let json = format!("{{\"room\":{room},\"users\":{},\"cursor\":{cursor}}}", objects(users));
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, json::answer_with(json)).into_response())
}

/// Which page a query asks for; `None` if it says none. A parameter that is given twice says none.
fn page_query(query: Option<&str>, room: &RoomName) -> Option<PeoplePageQuery> {
    let (mut most, mut cursor) = (None, None);
    for pair in query.unwrap_or_default().split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        match name {
            "limit" if most.is_none() => most = Some(limit(value)?),
            "cursor" if cursor.is_none() => cursor = Some(PeopleCursor::parse(value)?),
            "limit" | "cursor" => return None,
            _ => {}
        }
    }
    Some(PeoplePageQuery { room: room.clone(), cursor, most: most.unwrap_or(PAGE_USERS_MAX) })
}

fn limit(value: &str) -> Option<usize> {
    let is_number = value.bytes().all(|digit| digit.is_ascii_digit());
    value.parse().ok().filter(|limit| is_number && (1..=PAGE_USERS_MAX).contains(limit))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Goal: only what plainly says a page is understood. Method: queries on both sides of each rule.
    #[rstest]
    #[case("", Some((None, 100)))]
    #[case("room=/a&limit=7", Some((None, 7)))]
    #[case("cursor=12&limit=100", Some((Some("12"), 100)))]
    #[case("cursor=0.dDphZGE", Some((Some("0.dDphZGE"), 100)))]
    #[case("limit=0", None)]
    #[case("limit=101", None)]
    #[case("limit=+5", None)]
    #[case("limit=", None)]
    #[case("limit=1&limit=1", None)]
    #[case("cursor=", None)]
    #[case("cursor=x", None)]
    #[case("cursor=1&cursor=1", None)]
    fn pages(#[case] query: &str, #[case] expected: Option<(Option<&str>, usize)>) {
        let page = page_query(Some(query), &RoomName::parse("/a").unwrap());
        let cursor = |text: &str| PeopleCursor::parse(text).unwrap();
        let said = page.map(|page| (page.cursor, page.most));
        assert_eq!(said, expected.map(|(text, most)| (text.map(cursor), most)));
    }
}
