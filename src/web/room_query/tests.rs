//! Tests of the parameter `room`: what is a name, what is refused, and how it is said.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::mutate::mutated_text;

fn names(query: &str) -> Result<Vec<String>, Refusal> {
    let named = rooms(Some(query), ROOMS_MAX, &RoomPatterns::default())?;
    Ok(named.iter().map(|room| room.as_str().to_owned()).collect())
}

/// Goal: names are those that the client encoded, in its order and byte by byte, and other parameters do not matter. Method:
/// queries with every kind of escape.
#[rstest]
#[case("", &[])]
#[case("x=1&_=1700000000", &[])]
#[case("room=/a", &["/a"])]
#[case("room=%2Fa%2fb", &["/a/b"])]
#[case("room=/a&x=%&room=/b&&room=/a", &["/a", "/b", "/a"])]
#[case("%72oom=/a", &["/a"])]
#[case("room=/", &["/"])]
#[case("room=//", &["//"])]
#[case("room=/a=b%26c", &["/a=b&c"])]
#[case("room=/%E6%97%A5%E6%9C%AC", &["/日本"])]
#[case("room=/a%2Bb%25", &["/a+b%"])]
#[case("room=/e%CC%81&room=/%C3%A9", &["/e\u{301}", "/é"])]
#[case("rooms=/a&ROOM=/a&room%20=/a", &[])]
fn names_are_read(#[case] query: &str, #[case] named: &[&str]) {
    assert_eq!(names(query).unwrap(), named, "{query}");
}

/// Goal: what is no name of a room is refused with its code, and never read as another name. Method: one query for each reason.
#[rstest]
#[case("room=/%FF", 400, "bad_parameter")]
#[case("room=/%C3", 400, "bad_parameter")]
#[case("room=/%ED%A0%80", 400, "bad_parameter")]
#[case("room=/a%zz", 400, "bad_parameter")]
#[case("room=/a%2", 400, "bad_parameter")]
#[case("room=/a%", 400, "bad_parameter")]
#[case("room=", 404, "room_not_allowed")]
#[case("room", 404, "room_not_allowed")]
#[case("room=a", 404, "room_not_allowed")]
#[case("room=/a+b", 404, "room_not_allowed")]
#[case("room=/a%00", 404, "room_not_allowed")]
#[case("room=/a%1B[31m", 404, "room_not_allowed")]
#[case("room=/a,b", 404, "room_not_allowed")]
#[case("room=/a?b", 404, "room_not_allowed")]
#[case("room=/a&room=b&room=/%FF", 404, "room_not_allowed")]
fn bad_names_are_refused(#[case] query: &str, #[case] status: u16, #[case] code: &str) {
    let refusal = names(query).unwrap_err();
    assert_eq!((refusal.status().as_u16(), refusal.code()), (status, code), "{query}");
}

/// Goal: a room that no pattern allows does not exist, except for the site. Method: ask with patterns, and with none.
#[rstest]
#[case("/blog/*", "room=/blog/1", true)]
#[case("/blog/*", "room=/shop", false)]
#[case("/blog/*", "room=/BLOG/1", false)]
#[case("none", "room=/a", false)]
#[case("none", "room=/", true)]
fn only_allowed_rooms_exist(#[case] patterns: &str, #[case] query: &str, #[case] exists: bool) {
    let patterns = RoomPatterns::parse(patterns).unwrap();
    let named = rooms(Some(query), ROOMS_MAX, &patterns);
    let is_missing = matches!(named, Err(Refusal::NotAllowed { .. }));
    assert_eq!((named.is_ok(), is_missing), (exists, !exists));
}

/// Goal: the number of rooms is limited before any of them is read. Method: as many as allowed, one more, and thousands of bad
/// ones.
#[test]
fn rooms_of_a_request_are_bounded() {
    let of = |rooms: usize| (0..rooms).map(|n| format!("room=/{n}&")).collect::<Vec<_>>().concat();
    assert_eq!(names(&of(ROOMS_MAX)).unwrap().len(), ROOMS_MAX);
    assert_eq!(names(&of(ROOMS_MAX + 1)), Err(Refusal::TooMany(ROOMS_MAX)));
    assert_eq!(names(&"room=%FF&".repeat(5000)), Err(Refusal::TooMany(ROOMS_MAX)));
    let one = |query| one_room(Some(query), &RoomPatterns::default());
    assert_eq!(one("room=/a&room=/a"), Err(Refusal::TooMany(1)));
    assert_eq!(one("room=/").unwrap(), Some(Room::Site));
    assert_eq!(one("label=x").unwrap(), None);
}

/// Goal: a refusal is JSON with code, reason and name, is kept by no cache, and is short whatever the client sent. Method: refuse a
/// name with marks that change the direction of text, and one of 10 kB.
#[tokio::test]
async fn refusals_are_json() {
    let of = async |query: &str| {
        let response = names(query).unwrap_err().into_response();
        let [kind, caching] = [header::CONTENT_TYPE, header::CACHE_CONTROL]
            .map(|name| response.headers()[name].to_str().unwrap().to_owned());
        assert_eq!([kind.as_str(), caching.as_str()], ["application/json", "no-store"]);
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    };
    let json = of("room=/a%E2%80%AE%20b").await;
    let expected = r#"{"code":"room_not_allowed","message":"a room's name contains no control characters, white space, commas, ? or #","room":"/a\u202e b"}"#;
    assert_eq!(json, expected);
    let long = of(&format!("room=/{}", "x".repeat(10_000))).await;
    assert!(long.contains("at most 128 bytes") && long.len() < 200, "{long}");
}

/// Goal: a client that is refused for the moment is told when to ask again, and no other. Method: a refusal of each kind.
#[test]
fn refusals_for_the_moment_say_how_long() {
    let wait = |refusal: Refusal| {
        let response = refusal.into_response();
        let wait = response.headers().get(header::RETRY_AFTER);
        (response.status().as_u16(), wait.map(|wait| wait.to_str().unwrap().to_owned()))
    };
    let seconds = |seconds: &str| Some(seconds.to_owned());
    assert_eq!(wait(Refusal::Full), (503, seconds("10")));
    assert_eq!(wait(Refusal::Away), (503, seconds("2")));
    let room = "/a".to_owned();
    for lasting in [Refusal::Missing, Refusal::TokenMissing, Refusal::NotListed { room }] {
        assert_eq!(wait(lasting).1, None);
    }
}

proptest! {
    /// Goal: every name survives its way through a query, and a damaged query is read or refused. Method: random names, encoded by
    /// another library, and damaged.
    #[test]
    fn any_name_survives(name in "/[^,?#\\s\\pC]{1,20}", query in mutated_text(Just("room=/%E6%97%A5&room=/a+b%25".to_owned()))) {
        let encoded: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("room", &name).finish();
        prop_assert_eq!(names(&encoded), Ok(vec![name]));
        if let Ok(named) = names(&query) {
            prop_assert!(named.iter().all(|name| name == "/" || RoomName::parse(name).is_ok()));
        }
    }
}
