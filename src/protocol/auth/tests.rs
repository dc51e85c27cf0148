//! Tests of what clients say about themselves.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{fixtures::mutate::mutated_text, protocol::packet::Packet};

fn text(text: &str) -> Proof<'_> {
    Proof::Text(text.into())
}

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
#[case("{\"watch\":null}", Some(false))]
#[case("{\"watch\":{}}", None)]
#[case("{\"watch\":true,\"watch\":true}", None)]
#[case("{\"watch\":false,\"watch\":true}", None)]
#[case("{\"list\":1}", None)]
#[case("{\"list\":null}", Some(false))]
#[case("{\"token\":\"a\",\"token\":\"b\"}", None)]
#[case("{\"token\":null,\"t\\u006fken\":null}", None)]
#[case("{\"visitor\":\"a\",\"visitor\":\"a\"}", None)]
#[case("{\"Token\":\"a\",\"token\":\"b\"}", Some(false))]
fn what_is_meant(#[case] payload: &str, #[case] watch: Option<bool>) {
    assert_eq!(Auth::parse(payload).map(|auth| auth.watch), watch, "{payload}");
    let message = format!("40/a,{payload}");
    let expected = Packet::Connect { namespace: "/a", auth: payload };
    assert_eq!(Packet::parse(&message), Some(expected), "{payload}");
}

/// Goal: a proof is the text that the client wrote, whatever its escapes; anything else is known to be no text, and `null` is
/// nothing. Method: values of every type, for both proofs.
#[rstest]
#[case("\"a.b-c_d\"", text("a.b-c_d"))]
#[case("\"\"", text(""))]
#[case("\"\\u0061\\n\\\"\\ud83d\\ude42\"", text("a\n\"\u{1f642}"))]
#[case("null", Proof::Absent)]
#[case("true", Proof::NoText)]
#[case("0", Proof::NoText)]
#[case("-1", Proof::NoText)]
#[case("1.5e300", Proof::NoText)]
#[case("[\"a\",[{}]]", Proof::NoText)]
#[case("{\"a\":{\"token\":\"b\"}}", Proof::NoText)]
fn proofs(#[case] value: &str, #[case] meant: Proof<'_>) {
    let payload = format!("{{\"list\":true,\"token\":{value},\"visitor\":{value}}}");
    let auth = Auth::parse(&payload).unwrap();
    assert_eq!((&auth.token, &auth.visitor, auth.list), (&meant, &meant, true), "{value}");
    let is_copied = |proof: &Proof<'_>| matches!(proof, Proof::Text(Cow::Owned(_)));
    assert_eq!(is_copied(&auth.token), value.contains('\\'), "only texts with escapes are copied");
}

/// Goal: a proof is in no debug output. Method: print one.
#[test]
fn proofs_are_not_shown() {
    let auth =
        Auth::parse("{\"token\":\"open-sesame\",\"visitor\":\"open\\u002dsesame\"}").unwrap();
    let shown = format!("{auth:?} {auth:#?}");
    assert!(shown.contains("Text(…)") && !shown.contains("sesame"), "{shown}");
}

/// Goal: deep and long objects are read without harm. Method: an unknown member and a proof as deep as a large message
/// allows, and an object with very many members of one name.
#[test]
fn deep_and_long_objects() {
    let deep = |member: &str| {
        let [open, close] = ["[", "]"].map(|bracket| bracket.repeat(400_000));
        format!("{{\"{member}\":{open}{close},\"watch\":true}}")
    };
    for (member, token) in [("x", Proof::Absent), ("token", Proof::NoText)] {
        let expected = Auth { watch: true, token, ..Auth::default() };
        assert_eq!(Auth::parse(&deep(member)), Some(expected), "{member}");
    }
    let long = format!("{{{}\"watch\":true}}", "\"x\":1,".repeat(100_000));
    assert_eq!(Auth::parse(&long).map(|auth| auth.watch), Some(true));
}

const OBJECTS: &[&str] = &[
    "{\"token\":\"eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln\",\"list\":true}",
    "{\"visitor\":\"k3J-xYz_0123456789\",\"watch\":true}",
    "{\"token\":\"\\u0061\\ud83d\\ude42\",\"visitor\":null,\"x\":[1,{\"token\":2}]}",
    "{\"token\":{\"a\":[]},\"visitor\":1e9}",
];

proptest! {
    /// Goal: no object of a client causes a panic, and a proof that is understood is what a reader of JSON makes of it. Method:
    /// damaged objects, compared with a reader that keeps everything.
    #[test]
    fn any_object_may_come(
        payload in mutated_text(proptest::sample::select(OBJECTS).prop_map(str::to_owned)),
    ) {
        let Some(auth) = Auth::parse(&payload) else { return Ok(()) };
        // The other reader refuses numbers that are too large.
        let Ok(read) = serde_json::from_str::<serde_json::Value>(&payload) else { return Ok(()) };
        for (proof, member) in [(&auth.token, "token"), (&auth.visitor, "visitor")] {
            if let Proof::Text(text) = proof {
                prop_assert_eq!(Some(&**text), read[member].as_str(), "{}", payload);
            }
        }
    }
}
