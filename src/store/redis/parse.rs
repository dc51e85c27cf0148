//! Reads what comes back from Redis. Strictly: anything unexpected is an error, and nothing panics, whatever
//! a server, a proxy or another publisher on the channel sends.

use std::{collections::HashMap, time::Duration};

use deadpool_redis::redis::Value;

use crate::{
    count::{Count, Revision, Sequence, WHOLE_MAX},
    store::{Reply, Roster, RosterEntry, StoreError},
};

/// The longest announcement that is read. The script's own have at most 71 bytes; the rest is room for
/// fields that a later version may add.
const ANNOUNCEMENT_BYTES_MAX: usize = 512;

/// Reads the reply of `report.lua`.
pub(super) fn reply(value: &Value) -> Result<Reply, StoreError> {
    let fields = array(value)?;
    let [
        outcome,
        users,
        revision,
        announced,
        instances,
        stored_sequence,
        recovering,
        reaped,
        repaired,
    ] = fields
    else {
        return Err(unexpected("reply of another length"));
    };
    let applied = match bytes(outcome)? {
        b"OK" => true,
        b"STALE" => false,
        _ => return Err(unexpected("reply with an unknown outcome")),
    };
    let count = Count {
        users: whole(users)?,
        revision: Revision(whole(revision)?),
        recovering: flag(whole(recovering)?)?,
    };
    Ok(Reply {
        applied,
        count,
        announced: Revision(whole(announced)?),
        instances: small(instances)?,
        stored_sequence: Sequence(whole(stored_sequence)?),
        reaped: small(reaped)?,
        repaired: small(repaired)?,
    })
}

/// Reads the reply of `roster.lua`.
pub(super) fn roster(value: &Value) -> Result<Roster, StoreError> {
    let [public, connections, leases, meta] = array(value)? else {
        return Err(unexpected("roster of another length"));
    };
    let [total, revision, recovering, clock] = array(meta)? else {
        return Err(unexpected("roster with other meta fields"));
    };
    let clock = whole_or_zero(clock)?;
    let expiries: HashMap<&[u8], u64> = pairs(leases)?.into_iter().collect();
    let mut instances = Vec::new();
    for (incarnation, users) in pairs(connections)? {
        let expiry = expiries.get(incarnation);
        instances.push(RosterEntry {
            incarnation: String::from_utf8_lossy(incarnation).into_owned(),
            users,
            lease_left: expiry.map(|at| Duration::from_millis(at.saturating_sub(clock))),
        });
    }
    instances.sort_by(|one, other| one.incarnation.cmp(&other.incarnation));
    let count = Count {
        users: whole_or_zero(total)?,
        revision: Revision(whole_or_zero(revision)?),
        recovering: whole_or_zero(recovering)? > 0,
    };
    Ok(Roster { users: whole_or_zero(public)?, count, instances })
}

/// The highest revision believed of a message. The store goes on from the highest revision that anybody has
/// seen, so one message near the end of the range would leave it no room; a thousand changes a second take
/// longer than a hundred thousand years to get here.
const REVISION_MAX: u64 = 1 << 52;

/// Reads one message of the channel. Others may publish there too.
pub(super) fn announcement(payload: &[u8]) -> Result<Count, StoreError> {
    if payload.len() > ANNOUNCEMENT_BYTES_MAX {
        return Err(unexpected("announcement that is too long"));
    }
    let count: Count =
        serde_json::from_slice(payload).map_err(|_| unexpected("announcement that is no count"))?;
    if count.users > WHOLE_MAX || count.revision.0 > REVISION_MAX {
        return Err(unexpected("announcement out of range"));
    }
    Ok(count)
}

fn unexpected(what: &str) -> StoreError {
    StoreError::Protocol(format!("got a {what}"))
}

fn array(value: &Value) -> Result<&[Value], StoreError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(unexpected("value where an array should be")),
    }
}

fn bytes(value: &Value) -> Result<&[u8], StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.as_bytes()),
        Value::Okay => Ok(b"OK"),
        _ => Err(unexpected("value where a string should be")),
    }
}

/// A whole number within the range that Lua holds exactly, as an integer or as decimal digits.
fn whole(value: &Value) -> Result<u64, StoreError> {
    let number = match value {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(digits) => decimal(digits),
        _ => None,
    };
    number
        .filter(|&number| number <= WHOLE_MAX)
        .ok_or_else(|| unexpected("value that is no whole number"))
}

fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` takes a leading plus sign.
    if !digits.first()?.is_ascii_digit() {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn whole_or_zero(value: &Value) -> Result<u64, StoreError> {
    match value {
        Value::Nil => Ok(0),
        present => whole(present),
    }
}

fn small(value: &Value) -> Result<u32, StoreError> {
    u32::try_from(whole(value)?).map_err(|_| unexpected("number that is too large"))
}

fn flag(number: u64) -> Result<bool, StoreError> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(unexpected("flag that is neither 0 nor 1")),
    }
}

/// A flat list of names and whole numbers.
fn pairs(value: &Value) -> Result<Vec<(&[u8], u64)>, StoreError> {
    let (pairs, rest) = array(value)?.as_chunks();
    if !rest.is_empty() {
        return Err(unexpected("list of pairs with an odd length"));
    }
    pairs.iter().map(|[name, number]| Ok((bytes(name)?, whole(number)?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    fn good_reply() -> Vec<Value> {
        let mut fields = vec![Value::Okay];
        fields.extend([5, 12, 11, 3, 40, 1, 128, 2].map(Value::Int));
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

    proptest! {
        /// Goal: no reply panics. Method: arbitrary values, and good replies with one field replaced.
        #[test]
        fn no_value_panics(value in any_value(), place in 0_usize..9) {
            let _ = reply(&value);
            let _ = roster(&value);
            let mut fields = good_reply();
            fields[place] = value.clone();
            let _ = reply(&Value::Array(fields));
            let mut parts = vec![Value::Nil, Value::Array(vec![]), Value::Array(vec![]), Value::Array(vec![])];
            parts[place % 4] = value;
            let _ = roster(&Value::Array(parts));
        }

        /// Goal: no announcement panics. Method: arbitrary bytes, and JSON of about the right shape.
        #[test]
        fn no_announcement_panics(
            payload in any::<Vec<u8>>(),
            count in any::<i128>(),
            revision in any::<f64>(),
        ) {
            let _ = announcement(&payload);
            let _ = announcement(format!(r#"{{"count":{count},"revision":{revision}}}"#).as_bytes());
        }

        /// Goal: what is read is in range. Method: announcements over the whole range of u64.
        #[test]
        fn announcements_are_in_range(users in any::<u64>(), revision in any::<u64>()) {
            let payload = format!(r#"{{"count":{users},"revision":{revision}}}"#);
            let in_range = users <= WHOLE_MAX && revision <= WHOLE_MAX;
            prop_assert_eq!(announcement(payload.as_bytes()).is_ok(), in_range);
        }
    }

    /// Goal: a good reply is read field by field. Method: a different number in each.
    #[test]
    fn a_reply_is_read() {
        let read = reply(&Value::Array(good_reply())).unwrap();
        let expected = Reply {
            applied: true,
            count: Count { users: 5, revision: Revision(12), recovering: true },
            announced: Revision(11),
            instances: 3,
            stored_sequence: Sequence(40),
            reaped: 128,
            repaired: 2,
        };
        assert_eq!(read, expected);
    }

    /// Goal: each field of a reply is checked. Method: replace one by what it must not be.
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

    /// Goal: bad announcements are refused. Method: one of each kind.
    #[rstest]
    #[case::empty("")]
    #[case::a_number("5")]
    #[case::no_revision(r#"{"count":5}"#)]
    #[case::negative(r#"{"count":-5,"revision":1}"#)]
    #[case::a_fraction(r#"{"count":5.5,"revision":1}"#)]
    #[case::two_messages(r#"{"count":5,"revision":1}{"count":5,"revision":1}"#)]
    fn a_bad_announcement_is_refused(#[case] payload: &str) {
        assert!(matches!(announcement(payload.as_bytes()), Err(StoreError::Protocol(_))));
    }

    /// Goal: a message of any length costs little. Method: a valid one, padded.
    #[test]
    fn a_long_announcement_is_refused() {
        let padded = format!(r#"{{"count":5,"revision":1{}}}"#, " ".repeat(ANNOUNCEMENT_BYTES_MAX));
        assert!(announcement(padded.as_bytes()).is_err());
    }

    /// Goal: a roster joins counts and leases. Method: one leased, one without, one expired.
    #[test]
    fn a_roster_is_read() {
        let connections = ["b", "2", "a", "1", "c", "0"].map(text).to_vec();
        let leases = ["a", "1700", "c", "900", "gone", "5000"].map(text).to_vec();
        let meta = ["3", "9", "0", "1000"].map(text).to_vec();
        let parts =
            vec![text("3"), Value::Array(connections), Value::Array(leases), Value::Array(meta)];
        let read = roster(&Value::Array(parts)).unwrap();
        let entry = |incarnation: &str, users, left: Option<u64>| RosterEntry {
            incarnation: incarnation.to_owned(),
            users,
            lease_left: left.map(Duration::from_millis),
        };
        assert_eq!(read.users, 3);
        assert_eq!(read.count, Count { users: 3, revision: Revision(9), recovering: false });
        let expected = [entry("a", 1, Some(700)), entry("b", 2, None), entry("c", 0, Some(0))];
        assert_eq!(read.instances, expected);
    }
}
