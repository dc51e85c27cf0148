//! Tests of claims: what becomes the id of a user, his rooms, and what lists show of him.

use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::core::room::RoomName;

fn person(claims: &str, user_claim: &str) -> Result<Person, &'static str> {
    let claims = Claims::read(claims, user_claim).map_err(TokenFault::label)?;
    claims.person().map_err(TokenFault::label)
}

fn user(claims: &str) -> Result<String, &'static str> {
    person(claims, "sub").map(|person| person.user.as_str().to_owned())
}

/// Goal: exactly what can be the id of a user is taken for one. Method: both sides of each rule.
#[rstest]
#[case("{\"sub\":\"a\"}", Ok("t:a"))]
#[case("{\"sub\":\"auth0|5f7c8e\"}", Ok("t:auth0|5f7c8e"))]
#[case("{\"sub\":\"v:0123456789abcdef\"}", Ok("t:v:0123456789abcdef"))]
#[case("{\"sub\":\"Zo\\u00eb \\ud83d\\ude42\"}", Ok("t:Zoë 🙂"))]
#[case("{}", Err("no_subject"))]
#[case("{\"SUB\":\"a\"}", Err("no_subject"))]
#[case("{\"sub\":\"\"}", Err("subject"))]
#[case("{\"sub\":null}", Err("subject"))]
#[case("{\"sub\":7}", Err("subject"))]
#[case("{\"sub\":[\"a\"]}", Err("subject"))]
#[case("{\"sub\":\"a\\nb\"}", Err("subject"))]
#[case("{\"sub\":\"a\\u0000\"}", Err("subject"))]
#[case("{\"sub\":\"a\\u0085\"}", Err("subject"))]
#[case("{\"sub\":\"a\\u007f\"}", Err("subject"))]
fn users_are_checked(#[case] claims: &str, #[case] expected: Result<&str, &'static str>) {
    assert_eq!(user(claims), expected.map(str::to_owned), "{claims}");
}

/// Goal: ids fit into the store. Method: the longest in bytes, one more, and characters of several bytes.
#[test]
fn users_are_bounded() {
    let of = |name: &str| user(&json!({ "sub": name }).to_string());
    assert_eq!(of(&"x".repeat(126)).unwrap().len(), USER_BYTES_MAX);
    assert_eq!(of(&"x".repeat(127)), Err("subject"));
    assert_eq!(of(&"ö".repeat(64)), Err("subject"));
}

/// Goal: another claim may say whose a token is, and then only that one. Method: a token with both, and without the other.
#[test]
fn another_claim_may_name_the_user() {
    let claim = "https://id.example/uid";
    let named = person("{\"sub\":\"a\",\"https://id.example/uid\":\"b\"}", claim).unwrap();
    assert_eq!(named.user.as_str(), "t:b");
    assert_eq!(person("{\"sub\":\"a\"}", claim).unwrap_err(), "no_subject");
}

/// Goal: claims are one object in which no claim that matters occurs twice. Method: other texts.
#[rstest]
#[case("")]
#[case("[]")]
#[case("null")]
#[case("\"sub\"")]
#[case("{\"sub\":\"a\"")]
#[case("{\"sub\":\"a\"} {}")]
#[case("{\"sub\":\"a\",\"sub\":\"a\"}")]
#[case("{\"sub\":\"a\",\"s\\u0075b\":\"b\"}")]
#[case("{\"exp\":1,\"exp\":2}")]
#[case("{\"nbf\":1,\"nbf\":2}")]
#[case("{\"rooms\":[],\"rooms\":[\"/*\"]}")]
#[case("{\"info\":{},\"info\":{}}")]
#[case("{\"iss\":\"a\",\"iss\":\"b\"}")]
#[case("{\"aud\":\"a\",\"aud\":[\"b\"]}")]
fn claims_are_one_object(#[case] json: &str) {
    assert_eq!(Claims::read(json, "sub").unwrap_err(), TokenFault::Claims, "{json}");
}

/// Goal: the rooms of a token are those that it lists. Method: lists, and rooms on both sides.
#[rstest]
#[case("[\"/team/7\",\"/blog/*\"]", &["/team/7", "/blog/a"], &["/team/8", "/blog/"])]
#[case("[\"/*\"]", &["/a"], &[])]
#[case("[]", &[], &["/a", "/none"])]
fn rooms_are_listed(#[case] list: &str, #[case] may: &[&str], #[case] may_not: &[&str]) {
    let json = format!("{{\"rooms\":{list}}}");
    let rooms = Claims::read(&json, "sub").unwrap().rooms().unwrap().unwrap();
    let allow = |name: &&str| rooms.allow(&RoomName::parse(name).unwrap());
    assert!(may.iter().all(allow) && !may_not.iter().any(allow), "{list}: {rooms:?}");
}

/// Goal: rooms that nobody can mean are refused, and are not taken for all rooms. Method: lists with mistakes.
#[rstest]
#[case("null")]
#[case("true")]
#[case("{}")]
#[case("\"\"")]
#[case("[\"team/7\"]")]
#[case("[\"/\"]")]
#[case("[\"/a/*/b\"]")]
#[case("[\"/a\",null]")]
#[case("[\"/a\",[\"/b\"]]")]
#[case("[\"/a\",\"none\"]")]
#[case("[\"none\"]")]
#[case("\"none\"")]
#[case("\"/*\"")]
#[case("\"/team/7, /blog/*\"")]
#[case("[\"/team/7,/*\"]")]
#[case("[\"/team/7\\u002c/*\"]")]
#[case("[\" /a \"]")]
#[case("[\"/a\\n\"]")]
#[case("[\"\"]")]
fn wrong_rooms_are_refused(#[case] list: &str) {
    let json = format!("{{\"rooms\":{list}}}");
    assert_eq!(Claims::read(&json, "sub").unwrap().rooms(), Err(TokenFault::Claims), "{list}");
}

/// Goal: without a list, a token is for all rooms. Method: leave it out.
#[test]
fn rooms_need_not_be_listed() {
    assert_eq!(Claims::read("{}", "sub").unwrap().rooms(), Ok(None));
}

/// Goal: what lists show of a user is a small object, in compact form. Method: values on both sides of each rule.
#[test]
fn info_is_checked() {
    let info = |info: &str| {
        let person = person(&format!("{{\"sub\":\"a\",\"info\":{info}}}"), "sub");
        person.map(|person| person.info.map(|info| info.to_string()))
    };
    let compact = "{\"name\":\"Zoë\",\"of\":[1,{}]}".to_owned();
    assert_eq!(info(" { \"name\" : \"Zo\\u00eb\",\"of\" : [ 1, {} ] }"), Ok(Some(compact)));
    assert_eq!(info("{}"), Ok(Some("{}".to_owned())));
    let of = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes - 8));
    assert_eq!(info(&of(INFO_BYTES_MAX)).unwrap().unwrap().len(), INFO_BYTES_MAX);
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(300), "]".repeat(300));
    for wrong in [&*of(INFO_BYTES_MAX + 1), "null", "[]", "\"a\"", "1", &deep] {
        assert_eq!(info(wrong), Err("claims"), "{wrong}");
    }
}

proptest! {
    /// Goal: the id of a user is made of what the token says, and no two say the same. Method: random names.
    #[test]
    fn ids_are_the_names(name in "[^\\pC]{1,40}", other in "[^\\pC]{1,40}") {
        let id = |name: &str| user(&json!({ "sub": name }).to_string());
        if name.len() <= 126 && other.len() <= 126 {
            prop_assert_eq!(id(&name), Ok(format!("t:{name}")));
            prop_assert_eq!(id(&name) == id(&other), name == other);
        }
    }
}
