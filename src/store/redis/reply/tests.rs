//! Tests of what comes back from Redis: read as it was meant, or refused, whatever it is.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::mutate::mutated;

fn good_reply() -> Vec<Value> {
    let mut fields = vec![Value::Okay];
    fields.extend([5, 12, 11, 3, 40, 1, 128, 2, 7].map(Value::Int));
    fields
}

fn text(text: &str) -> Value {
    Value::BulkString(text.as_bytes().to_vec())
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Nil),
        Just(Value::Okay),
        any::<i64>().prop_map(Value::Int),
        (0_i64..200).prop_map(Value::Int),
        any::<Vec<u8>>().prop_map(Value::BulkString),
        "[0-9]{0,20}".prop_map(|digits| text(&digits)),
        "(OK|STALE|[a-z]*)".prop_map(Value::SimpleString),
        any::<f64>().prop_map(Value::Double),
        any::<bool>().prop_map(Value::Boolean),
    ];
    leaf.prop_recursive(3, 64, 10, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..10).prop_map(Value::Array),
            proptest::collection::vec(inner.clone(), 0..10).prop_map(Value::Set),
            proptest::collection::vec((inner.clone(), inner), 0..4).prop_map(Value::Map),
        ]
    })
}

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

/// As an instance is called, and as nobody is.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let name = Just(b"01a2011c-f814-765a-8ed8-cd16f884d799".to_vec());
    prop_oneof![mutated(name), any::<Vec<u8>>()]
}

/// What an instance says of itself, and what nobody says.
fn any_about() -> impl Strategy<Value = Vec<u8>> {
    let host = "\\PC{0,9}|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2000}-\\u{206f}]{0,9}";
    let about = (host, any::<u64>(), any::<bool>()).prop_map(|(host, started_at, draining)| {
        About { version: host.clone(), host, started_at, draining }.to_json().into_bytes()
    });
    prop_oneof![about.clone(), mutated(about), any::<Vec<u8>>()]
}

proptest! {
    /// Goal: no reply causes a panic. Method: random values, and good replies with one field replaced.
    #[test]
    fn no_value_panics(value in any_value(), place in 0_usize..10) {
        let _ = reply(&value);
        let _ = roster(&value);
        let mut fields = good_reply();
        fields[place] = value.clone();
        let _ = reply(&Value::Array(fields));
        let mut parts = vec![Value::Nil];
        parts.resize(5, Value::Array(vec![]));
        parts[3] = Value::Array(vec![Value::Nil; 4]);
        parts[place % 5] = value;
        let _ = roster(&Value::Array(parts));
    }

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

    /// Goal: replies are parsed correctly. Method: random replies in range, with numbers as integers or digits.
    #[test]
    fn replies_are_read_as_written(
        applied: bool,
        numbers in proptest::array::uniform4(0..=WHOLE_MAX),
        small in proptest::array::uniform4(any::<u32>()),
        recovering: bool,
        as_digits in any::<[bool; 9]>(),
    ) {
        let [users, revision, announced, sequence] = numbers;
        let expected = Reply {
            outcome: if applied { Outcome::Applied } else { Outcome::Stale },
            count: Count { users, revision: Revision(revision), recovering, ..Count::default() },
            announced: Revision(announced),
            instances: small[0],
            stored_sequence: Sequence(sequence),
            reaped: small[1],
            repaired: small[2],
            crashed: small[3],
            unannounced: revision > announced,
            ..Reply::default()
        };
        let fields = [
            users, revision, announced, small[0].into(), sequence, recovering.into(), small[1].into(),
            small[2].into(), small[3].into(),
        ];
        let mut values = vec![if applied { Value::Okay } else { text("STALE") }];
        values.extend(fields.iter().zip(as_digits).map(|(field, as_digits)| {
            if as_digits { text(&field.to_string()) } else { Value::Int(field.cast_signed()) }
        }));
        prop_assert_eq!(reply(&Value::Array(values)).unwrap(), expected);
    }

    /// Goal: a number out of range is refused in every field. Method: a good reply with one number replaced.
    #[test]
    fn absurd_replies_are_refused(
        place in 1_usize..9,
        absurd in prop_oneof![i64::MIN..0, (WHOLE_MAX.cast_signed() + 1)..=i64::MAX],
        as_digits: bool,
    ) {
        let mut fields = good_reply();
        fields[place] = if as_digits { text(&absurd.to_string()) } else { Value::Int(absurd) };
        prop_assert!(matches!(reply(&Value::Array(fields)), Err(StoreError::Protocol(_))));
    }

    /// Goal: the status of any store is readable: one line for each instance, and nothing that controls the terminal.
    /// Method: rosters with names of random bytes.
    #[test]
    fn any_roster_is_a_table(
        parts in proptest::collection::btree_map(any_name(), 0..=WHOLE_MAX, 0..6),
        leases in proptest::collection::btree_map(any_name(), 0..=WHOLE_MAX, 0..6),
        abouts in proptest::collection::btree_map(any_name(), any_about(), 0..6),
        numbers in proptest::array::uniform5(0..=WHOLE_MAX),
    ) {
        let flat = |map: &std::collections::BTreeMap<Vec<u8>, u64>| {
            let entry = |(name, number): (&Vec<u8>, &u64)| {
                [Value::BulkString(name.clone()), text(&number.to_string())]
            };
            Value::Array(map.iter().flat_map(entry).collect())
        };
        let [public, meta @ ..] = numbers.map(|number| text(&number.to_string()));
        let said = |(name, about): (&Vec<u8>, &Vec<u8>)| [name, about].map(|it| Value::BulkString(it.clone()));
        let abouts = Value::Array(abouts.iter().flat_map(said).collect());
        let meta = Value::Array(meta.to_vec());
        let value = Value::Array(vec![public, flat(&parts), flat(&leases), meta, abouts]);
        let read = roster(&value).unwrap();
        prop_assert_eq!(read.users, numbers[0]);
        prop_assert_eq!(read.instances.len(), parts.len());
        let table = crate::cli::status::Status::of(&read).to_string();
        prop_assert_eq!(table.lines().count(), parts.len() + 2);
        prop_assert!(!table.chars().any(|character| character.is_control() && character != '\n'));
    }
}

/// Goal: every field of a reply is parsed into its place. Method: a different number in each.
#[test]
fn a_reply_is_read() {
    let read = reply(&Value::Array(good_reply())).unwrap();
    let expected = Reply {
        outcome: Outcome::Applied,
        count: Count { users: 5, revision: Revision(12), recovering: true, ..Count::default() },
        announced: Revision(11),
        instances: 3,
        stored_sequence: Sequence(40),
        reaped: 128,
        crashed: 7,
        repaired: 2,
        unannounced: true,
        ..Reply::default()
    };
    assert_eq!(read, expected);
}

/// Goal: every field of a reply is checked. Method: replace one field by an invalid value.
#[rstest]
#[case::unknown_outcome(0, text("MAYBE"))]
#[case::outcome_is_a_number(0, Value::Int(1))]
#[case::negative_count(1, Value::Int(-1))]
#[case::count_too_large(1, Value::Int(1 << 53))]
#[case::signed_revision(2, text("+1"))]
#[case::missing_revision(2, Value::Nil)]
#[case::too_many_instances(4, Value::Int(1 << 32))]
#[case::flag_out_of_range(6, Value::Int(2))]
fn a_bad_field_is_refused(#[case] place: usize, #[case] value: Value) {
    let mut fields = good_reply();
    fields[place] = value;
    assert!(matches!(reply(&Value::Array(fields)), Err(StoreError::Protocol(_))));
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

/// Goal: a roster combines counts, leases and what each instance says of itself. Method: an instance with a lease, one
/// without, and one whose lease has expired; one says its name, one says what nobody understands, one says nothing.
#[test]
fn a_roster_is_read() {
    let connections = ["b", "2", "a", "1", "c", "0"].map(text).to_vec();
    let leases = ["a", "1700", "c", "900", "gone", "5000"].map(text).to_vec();
    let meta = ["3", "9", "0", "1000"].map(text).to_vec();
    let web = About::new("web-1".to_owned(), std::time::SystemTime::UNIX_EPOCH);
    let abouts = ["b", &web.to_json(), "c", "{}", "gone", &web.to_json()].map(text).to_vec();
    let parts = [connections, leases, meta, abouts].map(Value::Array);
    let parts = [text("3")].into_iter().chain(parts).collect();
    let read = roster(&Value::Array(parts)).unwrap();
    let entry = |incarnation: &str, users, left: Option<u64>| RosterEntry {
        incarnation: incarnation.to_owned(),
        users,
        lease_left: left.map(Duration::from_millis),
        about: (incarnation == "b").then(|| Arc::new(web.clone())),
    };
    assert_eq!(read.users, 3);
    assert_eq!(
        read.count,
        Count { users: 3, revision: Revision(9), recovering: false, ..Count::default() }
    );
    let expected = [entry("a", 1, Some(700)), entry("b", 2, None), entry("c", 0, Some(0))];
    assert_eq!(read.instances, expected);
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
