//! Tests of replies of Redis: read as they were meant, or refused, whatever they are.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::{core::about::IdentifiedUsers, fixtures::mutate::mutated};

fn good_reply() -> Vec<Value> {
    let mut fields = vec![Value::Okay];
    fields.extend([5, 12, 11, 3, 40, 1, 128, 2, 7].map(Value::Int));
    fields.extend([text("0123abcd.77"), Value::Int(1), Value::Int(4), Value::Int(10)]);
    fields
}

/// What a reply says of the rooms of a report that names these.
const ASKED: Asked = Asked { rooms: 2, users: 3 };

fn about_rooms() -> [Value; 4] {
    let list = |numbers: &[i64]| Value::Array(numbers.iter().copied().map(Value::Int).collect());
    [Value::Int(20), Value::Int(30), list(&[5, 0]), list(&[1, 0, 1])]
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

/// As an instance is called, and as nobody is.
fn any_name() -> impl Strategy<Value = Vec<u8>> {
    let name = Just(b"01a2011c-f814-765a-8ed8-cd16f884d799".to_vec());
    prop_oneof![mutated(name), any::<Vec<u8>>()]
}

/// What an instance says of itself, and what nobody says.
fn any_about() -> impl Strategy<Value = Vec<u8>> {
    let host = "\\PC{0,9}|[\\x00-\\x1f\\x7f-\\u{9f}\\u{2000}-\\u{206f}]{0,9}";
    let about = (host, any::<u64>(), any::<bool>()).prop_map(|(host, started_at, draining)| {
        let identified = IdentifiedUsers { users: started_at, connections: started_at };
        let (version, outside) = (host.clone(), started_at);
        let about = About { host, version, started_at, draining, identified, outside };
        about.to_json().into_bytes()
    });
    prop_oneof![about.clone(), mutated(about), any::<Vec<u8>>()]
}

proptest! {
    /// Goal: no reply causes a panic. Method: random values, and good replies with one field replaced.
    #[test]
    fn no_value_panics(value in any_value(), place in 0_usize..18) {
        let _ = reply(&value, None);
        let _ = reply(&value, Some(ASKED));
        let _ = roster(&value);
        let mut fields = good_reply();
        fields.extend(about_rooms());
        fields[place] = value.clone();
        let _ = reply(&Value::Array(fields), Some(ASKED));
        let mut parts = vec![Value::Nil];
        parts.resize(5, Value::Array(vec![]));
        parts[3] = Value::Array(vec![Value::Nil; 4]);
        parts[place % 5] = value;
        let _ = roster(&Value::Array(parts));
    }

    /// Goal: replies are parsed correctly. Method: random replies in range, with numbers as integers or digits.
    #[test]
    fn replies_are_read_as_written(
        applied: bool,
        numbers in proptest::array::uniform4(0..=WHOLE_MAX),
        small in proptest::array::uniform4(any::<u32>()),
        recovering: bool,
        as_digits in any::<[bool; 9]>(),
        unannounced: bool,
        (sequence_of_stamp, dead, paged) in (1..=WHOLE_MAX, any::<u32>(), 0..=WHOLE_MAX),
    ) {
        let stamp = format!("0123abcd.{sequence_of_stamp}");
        let [users, revision, announced, sequence] = numbers;
        let expected = Reply {
            outcome: if applied { Outcome::Applied } else { Outcome::Stale },
            count: Count { users, revision: Revision(revision), recovering, stamp: Stamp::parse(&stamp).unwrap() },
            announced: Revision(announced),
            instances: small[0],
            stored_sequence: Sequence(sequence),
            reaped: small[1],
            repaired: small[2],
            crashed: small[3],
            unannounced,
            dead,
            paged: Revision(paged),
            rooms: None,
        };
        let fields = [
            users, revision, announced, small[0].into(), sequence, recovering.into(), small[1].into(),
            small[2].into(), small[3].into(),
        ];
        let mut values = vec![if applied { Value::Okay } else { text("STALE") }];
        values.extend(fields.iter().zip(as_digits).map(|(field, as_digits)| {
            if as_digits { text(&field.to_string()) } else { Value::Int(field.cast_signed()) }
        }));
        let last = [unannounced.into(), dead.into(), paged];
        values.push(text(&stamp));
        values.extend(last.map(|number| text(&number.to_string())));
        prop_assert_eq!(reply(&Value::Array(values), None).unwrap(), expected);
    }

    /// Goal: a number out of range is refused in every field. Method: a good reply with one number replaced.
    #[test]
    fn absurd_replies_are_refused(
        place in prop_oneof![1_usize..10, 11_usize..14],
        absurd in prop_oneof![i64::MIN..0, (WHOLE_MAX.cast_signed() + 1)..=i64::MAX],
        as_digits: bool,
    ) {
        let mut fields = good_reply();
        fields[place] = if as_digits { text(&absurd.to_string()) } else { Value::Int(absurd) };
        prop_assert!(matches!(reply(&Value::Array(fields), None), Err(StoreError::Protocol(_))));
    }

    /// Goal: the status of any store is readable: one line for each instance, and nothing that controls the terminal.
    /// Method: rosters with names of random bytes.
    #[test]
    fn any_roster_is_a_table(
        parts in proptest::collection::btree_map(any_name(), 0..=WHOLE_MAX, 0..6),
        leases in proptest::collection::btree_map(any_name(), 0..=WHOLE_MAX, 0..6),
        abouts in proptest::collection::btree_map(any_name(), any_about(), 0..6),
        numbers in proptest::array::uniform6(0..=WHOLE_MAX),
    ) {
        let flat = |map: &std::collections::BTreeMap<Vec<u8>, u64>| {
            let entry = |(name, number): (&Vec<u8>, &u64)| {
                [Value::BulkString(name.clone()), text(&number.to_string())]
            };
            Value::Array(map.iter().flat_map(entry).collect())
        };
        let [public, people, meta @ ..] = numbers.map(|number| text(&number.to_string()));
        let said = |(name, about): (&Vec<u8>, &Vec<u8>)| [name, about].map(|it| Value::BulkString(it.clone()));
        let abouts = Value::Array(abouts.iter().flat_map(said).collect());
        let meta = Value::Array(meta.to_vec());
        let value = Value::Array(vec![public, flat(&parts), flat(&leases), meta, abouts, people]);
        let read = roster(&value).unwrap();
        prop_assert_eq!([read.users, read.identified], [numbers[0], numbers[1]]);
        prop_assert_eq!(read.instances.len(), parts.len());
        let table = crate::cli::status::Status::of(&read).to_string();
        prop_assert_eq!(table.lines().count(), parts.len() + 2);
        prop_assert!(!table.chars().any(|character| character.is_control() && character != '\n'));
    }
}

/// Goal: every field of a reply is parsed into its place. Method: a different number in each.
#[test]
fn a_reply_is_read() {
    let read = reply(&Value::Array(good_reply()), None).unwrap();
    let expected = Reply {
        outcome: Outcome::Applied,
        count: Count {
            users: 5,
            revision: Revision(12),
            recovering: true,
            stamp: Stamp::parse("0123abcd.77").unwrap(),
        },
        announced: Revision(11),
        instances: 3,
        stored_sequence: Sequence(40),
        reaped: 128,
        crashed: 7,
        repaired: 2,
        unannounced: true,
        dead: 4,
        paged: Revision(10),
        rooms: None,
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
#[case::no_stamp(10, text("0123abcd"))]
#[case::stamp_is_a_number(10, Value::Int(77))]
#[case::second_flag_out_of_range(11, Value::Int(2))]
#[case::negative_dead(12, Value::Int(-1))]
fn a_bad_field_is_refused(#[case] place: usize, #[case] value: Value) {
    let mut fields = good_reply();
    fields[place] = value;
    assert!(matches!(reply(&Value::Array(fields), None), Err(StoreError::Protocol(_))));
}

/// Goal: what is said of rooms is parsed into its place, if rooms were named and the report was applied. Method: a different
/// number in each; then a reply to a report that was not applied.
#[test]
fn a_reply_about_rooms_is_read() {
    let mut fields = good_reply();
    fields.extend(about_rooms());
    let read = reply(&Value::Array(fields), Some(ASKED)).unwrap();
    let expected = RoomsReply {
        rooms_held: 20,
        users_held: 30,
        counts: vec![5, 0],
        elsewhere: vec![true, false, true],
    };
    assert_eq!(read.rooms, Some(expected));
    for outcome in ["STALE", "RESEND"] {
        let mut fields = good_reply();
        fields[0] = text(outcome);
        assert_eq!(reply(&Value::Array(fields), Some(ASKED)).unwrap().rooms, None, "{outcome}");
    }
}

/// Goal: a reply that speaks of other rooms than the report is refused. Method: too few and too many of each, none at all, and
/// some without a question.
#[rstest]
#[case::too_few_rooms(Some(Asked { rooms: 3, users: 3 }), 18)]
#[case::too_many_rooms(Some(Asked { rooms: 1, users: 3 }), 18)]
#[case::too_few_users(Some(Asked { rooms: 2, users: 4 }), 18)]
#[case::too_many_users(Some(Asked { rooms: 2, users: 2 }), 18)]
#[case::nothing(Some(ASKED), 14)]
#[case::half(Some(ASKED), 17)]
#[case::unasked(None, 18)]
#[case::too_short(None, 13)]
fn a_reply_about_other_rooms_is_refused(#[case] asked: Option<Asked>, #[case] length: usize) {
    let mut fields = good_reply();
    fields.extend(about_rooms());
    fields.truncate(length);
    assert!(matches!(reply(&Value::Array(fields), asked), Err(StoreError::Protocol(_))));
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
    let parts = [text("3")].into_iter().chain(parts).chain([Value::Int(4)]).collect();
    let read = roster(&Value::Array(parts)).unwrap();
    let entry = |incarnation: &str, users, left: Option<u64>| RosterEntry {
        incarnation: incarnation.to_owned(),
        users,
        lease_left: left.map(Duration::from_millis),
        about: (incarnation == "b").then(|| Arc::new(web.clone())),
    };
    assert_eq!((read.users, read.identified), (3, 4));
    assert_eq!(
        read.count,
        Count { users: 3, revision: Revision(9), recovering: false, ..Count::default() }
    );
    let expected = [entry("a", 1, Some(700)), entry("b", 2, None), entry("c", 0, Some(0))];
    assert_eq!(read.instances, expected);
}
