//! Tests of messages of the channels: read as they were meant, or refused, whatever they are.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::mutate::mutated;

/// Numbers on both sides of a limit, and all others.
fn around(limit: u64) -> impl Strategy<Value = u64> {
    prop_oneof![limit - 2..limit + 3, 0_u64..100, any::<u64>()]
}

fn any_count() -> impl Strategy<Value = Count> {
    (0..=WHOLE_MAX, 0..=REVISION_MAX, any::<bool>()).prop_map(|(users, revision, recovering)| {
        Count { users, revision: Revision(revision), recovering, ..Count::default() }
    })
}

fn own() -> Dataset {
    Dataset { key: "currentUsers".to_owned(), database: 1 }
}

/// The count of an announcement that says nothing of a dataset.
fn unsigned(payload: &[u8]) -> Result<Count, StoreError> {
    match announcement(payload, &own())? {
        Announcement::Unsigned(count) => Ok(count),
        other => panic!("it says whose it is: {other:?}"),
    }
}

fn written(count: Count) -> Vec<u8> {
    serde_json::to_vec(&count).unwrap()
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        ".{0,8}".prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
            proptest::collection::btree_map("[a-z]{0,4}", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Goal: no announcement causes a panic. Method: random bytes, and JSON of about the right form.
    #[test]
    fn no_announcement_panics(
        payload in any::<Vec<u8>>(),
        count in any::<i128>(),
        revision in any::<f64>(),
    ) {
        let _ = announcement(&payload, &own());
        let _ = unsigned(format!(r#"{{"count":{count},"revision":{revision}}}"#).as_bytes());
    }

    /// Goal: accepted announcements are in range. Method: announcements around both limits, and over the whole range of
    /// u64.
    #[test]
    fn announcements_are_in_range(users in around(WHOLE_MAX), revision in around(REVISION_MAX)) {
        let payload = format!(r#"{{"count":{users},"revision":{revision}}}"#);
        let in_range = users <= WHOLE_MAX && revision <= REVISION_MAX;
        prop_assert_eq!(unsigned(payload.as_bytes()).is_ok(), in_range);
    }

    /// Goal: fields that a later version may add are ignored. Method: announcements with further fields of any kind.
    #[test]
    fn announcements_are_read_as_written(
        count in any_count(),
        more in proptest::collection::btree_map("x[a-z]{0,8}", any_json(), 0..4),
    ) {
        let mut written = serde_json::to_value(count).unwrap();
        written.as_object_mut().unwrap().extend(more);
        let payload = written.to_string();
        if payload.len() <= ANNOUNCEMENT_BYTES_MAX {
            prop_assert_eq!(unsigned(payload.as_bytes()).unwrap(), count);
        }
    }

    /// Goal: a damaged announcement is refused, or means what it says. Method: announcements with bytes changed, removed,
    /// repeated and inserted; an accepted one is written and read again.
    #[test]
    fn mangled_announcements_are_read_or_refused(payload in mutated(any_count().prop_map(written))) {
        if let Ok(count) = unsigned(&payload) {
            prop_assert!(count.users <= WHOLE_MAX && count.revision.0 <= REVISION_MAX);
            prop_assert_eq!(unsigned(&written(count)).unwrap(), count);
            let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
            prop_assert_eq!(value["count"].as_u64(), Some(count.users));
            prop_assert_eq!(value["revision"].as_u64(), Some(count.revision.0));
        }
    }
}

/// Goal: invalid announcements are refused. Method: one of each kind.
#[rstest]
#[case::empty("")]
#[case::a_number("5")]
#[case::no_revision(r#"{"count":5}"#)]
#[case::negative(r#"{"count":-5,"revision":1}"#)]
#[case::a_fraction(r#"{"count":5.5,"revision":1}"#)]
#[case::two_messages(r#"{"count":5,"revision":1}{"count":5,"revision":1}"#)]
fn a_bad_announcement_is_refused(#[case] payload: &str) {
    assert!(matches!(unsigned(payload.as_bytes()), Err(StoreError::Protocol(_))));
}

/// Goal: a very long message costs little. Method: a valid message with padding.
#[test]
fn a_long_announcement_is_refused() {
    let padded = format!(r#"{{"count":5,"revision":1{}}}"#, " ".repeat(ANNOUNCEMENT_BYTES_MAX));
    assert!(unsigned(padded.as_bytes()).is_err());
}

/// Goal: an announcement is accepted only if it names the own dataset. Method: the own dataset, another key, another
/// database, half of a dataset, and a key written with escapes.
#[rstest]
#[case(r#""key":"currentUsers","database":1"#, Some(true))]
#[case(r#""key":"current\u0055sers","database":1"#, Some(true))]
#[case(r#""key":"currentUsers","database":0"#, Some(false))]
#[case(r#""key":"others","database":1"#, Some(false))]
#[case(r#""key":"currentUsers""#, None)]
#[case(r#""database":1"#, None)]
fn an_announcement_says_whose_it_is(#[case] dataset: &str, #[case] is_own: Option<bool>) {
    let payload = format!(r#"{{"count":5,"revision":12,{dataset}}}"#);
    let count = Count { users: 5, revision: Revision(12), recovering: false, ..Count::default() };
    let read = announcement(payload.as_bytes(), &own()).unwrap();
    match is_own {
        Some(true) => assert_eq!(read, Announcement::Own(count)),
        Some(false) => assert!(matches!(read, Announcement::Foreign(_)), "{read:?}"),
        None => assert_eq!(read, Announcement::Unsigned(count)),
    }
}
