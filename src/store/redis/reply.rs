//! Parses replies and messages of Redis strictly: everything unexpected is an error. Nothing panics, whatever a server, a proxy
//! or another publisher sends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use deadpool_redis::redis::Value;
use serde::Deserialize;

use crate::{
    core::{
        about::About,
        count::{Count, Revision, Sequence, WHOLE_MAX},
        report::{Outcome, Reply, Roster, RosterEntry},
    },
    store::{Announcement, Dataset, StoreError},
};

/// The longest announcement that is read. Announcements of this version have at most 110 bytes and the key's name, which has
/// at most 200 bytes, or 400 escaped. The rest is room for fields that a later version may add.
const ANNOUNCEMENT_BYTES_MAX: usize = 1024;

/// Parses the reply of `report.lua`.
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
        crashed,
    ] = fields
    else {
        return Err(unexpected("reply of another length"));
    };
    let outcome = match bytes(outcome)? {
        b"OK" => Outcome::Applied,
        b"STALE" => Outcome::Stale,
        _ => return Err(unexpected("reply with an unknown outcome")),
    };
    let count = Count {
        users: whole(users)?,
        revision: Revision(whole(revision)?),
        recovering: flag(whole(recovering)?)?,
        ..Count::default()
    };
    Ok(Reply {
        outcome,
        count,
        announced: Revision(whole(announced)?),
        instances: small(instances)?,
        stored_sequence: Sequence(whole(stored_sequence)?),
        reaped: small(reaped)?,
        crashed: small(crashed)?,
        repaired: small(repaired)?,
        unannounced: count.revision > Revision(whole(announced)?),
        ..Reply::default()
    })
}

/// Parses the reply of `roster.lua`.
pub(super) fn roster(value: &Value) -> Result<Roster, StoreError> {
    let [public, connections, leases, meta, abouts] = array(value)? else {
        return Err(unexpected("roster of another length"));
    };
    let [total, revision, recovering, clock] = array(meta)? else {
        return Err(unexpected("roster with other meta fields"));
    };
    let clock = whole_or_zero(clock)?;
    let expiries: HashMap<&[u8], u64> = numbers(leases)?.into_iter().collect();
    let mut abouts: HashMap<&[u8], Arc<About>> = introductions(abouts)?;
    let mut instances = Vec::new();
    for (incarnation, users) in numbers(connections)? {
        let expiry = expiries.get(incarnation);
        instances.push(RosterEntry {
            incarnation: String::from_utf8_lossy(incarnation).into_owned(),
            users,
            lease_left: expiry.map(|at| Duration::from_millis(at.saturating_sub(clock))),
            about: abouts.remove(incarnation),
        });
    }
    instances.sort_by(|one, other| one.incarnation.cmp(&other.incarnation));
    let count = Count {
        users: whole_or_zero(total)?,
        revision: Revision(whole_or_zero(revision)?),
        recovering: whole_or_zero(recovering)? > 0,
        ..Count::default()
    };
    Ok(Roster { users: whole_or_zero(public)?, count, instances })
}

/// The highest revision that is accepted from a message. The store continues from the highest revision that any instance has
/// seen, so a forged message near the end of the range would leave it no room. This is half of what the script accepts from
/// its own keys. With a thousand changes a second it takes seventy thousand years to get here.
const REVISION_MAX: u64 = 1 << 51;

/// A message of the channel as JSON.
#[derive(Deserialize)]
struct Message {
    count: u64,
    revision: Revision,
    #[serde(default)]
    recovering: bool,
    key: Option<String>,
    database: Option<u64>,
}

/// Parses a message of the channel. `own` is the dataset of this cluster.
pub(super) fn announcement(payload: &[u8], own: &Dataset) -> Result<Announcement, StoreError> {
    if payload.len() > ANNOUNCEMENT_BYTES_MAX {
        return Err(unexpected("announcement that is too long"));
    }
    let message: Message =
        serde_json::from_slice(payload).map_err(|_| unexpected("announcement that is no count"))?;
    let Message { count: users, revision, recovering, key, database } = message;
    let count = Count { users, revision, recovering, ..Count::default() };
    if count.users > WHOLE_MAX || count.revision.0 > REVISION_MAX {
        return Err(unexpected("announcement out of range"));
    }
    let (Some(key), Some(database)) = (key, database) else {
        return Ok(Announcement::Unsigned(count));
    };
    let dataset = Dataset { key, database };
    Ok(if dataset == *own { Announcement::Own(count) } else { Announcement::Foreign(dataset) })
}

pub(super) fn unexpected(what: &str) -> StoreError {
    StoreError::Protocol(format!("got a {what}").into())
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

/// Parses a whole number in the range that Lua holds exactly, as an integer or as decimal digits.
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

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    // `parse` would accept a leading plus sign.
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

/// Parses a flat list of names and whole numbers.
fn numbers(value: &Value) -> Result<Vec<(&[u8], u64)>, StoreError> {
    pairs(value)?.iter().map(|[name, number]| Ok((bytes(name)?, whole(number)?))).collect()
}

/// Parses a flat list of names and what each instance says of itself. What cannot be understood is left out: nothing is
/// counted by it.
fn introductions(value: &Value) -> Result<HashMap<&[u8], Arc<About>>, StoreError> {
    let mut abouts = HashMap::new();
    for [name, text] in pairs(value)? {
        if let Some(about) = About::from_json(bytes(text)?) {
            abouts.insert(bytes(name)?, Arc::new(about));
        }
    }
    Ok(abouts)
}

fn pairs(value: &Value) -> Result<&[[Value; 2]], StoreError> {
    let (pairs, rest) = array(value)?.as_chunks();
    if !rest.is_empty() {
        return Err(unexpected("list of pairs with an odd length"));
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "reply/tests.rs"]
mod tests;
