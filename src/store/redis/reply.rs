//! Parses replies of Redis strictly: everything unexpected is an error. Nothing panics, whatever a server or a proxy sends.

use std::{collections::HashMap, sync::Arc, time::Duration};

use crate::{
    core::{
        about::About,
        count::{Count, Revision, Sequence, Stamp, WHOLE_MAX},
        report::{Outcome, Reply, RoomsReply, Roster, RosterEntry},
    },
    store::StoreError,
};
use deadpool_redis::redis::Value;

/// How many rooms and users a report named, if it named any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) rooms: usize,
    pub(super) users: usize,
}

/// How many fields a reply has that says nothing of rooms.
const PLAIN_FIELDS: usize = 14;

/// Parses the reply to a report.
pub(super) fn reply(value: &Value, asked: Option<Asked>) -> Result<Reply, StoreError> {
    let fields = array(value)?;
    let (plain, of_rooms) = fields
        .split_at_checked(PLAIN_FIELDS)
        .ok_or_else(|| unexpected("reply that is too short"))?;
    let reply = plain_reply(plain)?;
    let asked = asked.filter(|_| reply.is_applied());
    Ok(Reply { rooms: rooms_reply(of_rooms, asked)?, ..reply })
}

fn plain_reply(fields: &[Value]) -> Result<Reply, StoreError> {
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
        stamp,
        unannounced,
        dead,
        paged,
    ] = fields
    else {
        return Err(unexpected("reply of another length"));
    };
    let outcome = match bytes(outcome)? {
        b"OK" => Outcome::Applied,
        b"STALE" => Outcome::Stale,
        b"RESEND" => Outcome::Resend,
        _ => return Err(unexpected("reply with an unknown outcome")),
    };
    let count = Count {
        users: whole(users)?,
        revision: Revision(whole(revision)?),
        recovering: flag(recovering)?,
        stamp: stamp_of(stamp)?,
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
        unannounced: flag(unannounced)?,
        dead: small(dead)?,
        paged: Revision(whole(paged)?),
        rooms: None,
    })
}

/// Parses what a reply says of rooms. It must speak of exactly those that were named.
fn rooms_reply(fields: &[Value], asked: Option<Asked>) -> Result<Option<RoomsReply>, StoreError> {
    let (Some(asked), [rooms_held, users_held, counts, elsewhere]) = (asked, fields) else {
        return match (asked, fields) {
            (None, []) => Ok(None),
            _ => Err(unexpected("reply about rooms that were not asked for, or without them")),
        };
    };
    let counts: Vec<u64> = array(counts)?.iter().map(whole).collect::<Result<_, _>>()?;
    let elsewhere: Vec<bool> = array(elsewhere)?.iter().map(flag).collect::<Result<_, _>>()?;
    if (counts.len(), elsewhere.len()) != (asked.rooms, asked.users) {
        return Err(unexpected("reply about other rooms"));
    }
    let (rooms_held, users_held) = (whole(rooms_held)?, whole(users_held)?);
    Ok(Some(RoomsReply { rooms_held, users_held, counts, elsewhere }))
}

/// Parses the reply of `roster.lua`.
pub(super) fn roster(value: &Value) -> Result<Roster, StoreError> {
    let [public, connections, leases, meta, abouts, people] = array(value)? else {
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
    let (users, identified) = (whole_or_zero(public)?, whole(people)?);
    Ok(Roster { users, identified, count, instances })
}

pub(super) fn unexpected(what: &str) -> StoreError {
    StoreError::Protocol(format!("got a {what}").into())
}

pub(super) fn array(value: &Value) -> Result<&[Value], StoreError> {
    match value {
        Value::Array(items) => Ok(items),
        _ => Err(unexpected("value where an array should be")),
    }
}

pub(super) fn bytes(value: &Value) -> Result<&[u8], StoreError> {
    match value {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.as_bytes()),
        Value::Okay => Ok(b"OK"),
        _ => Err(unexpected("value where a string should be")),
    }
}

/// Parses a whole number in the range that Lua holds exactly, as an integer or as decimal digits.
pub(super) fn whole(value: &Value) -> Result<u64, StoreError> {
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

fn stamp_of(value: &Value) -> Result<Stamp, StoreError> {
    let text = std::str::from_utf8(bytes(value)?).ok();
    text.and_then(Stamp::parse).ok_or_else(|| unexpected("stamp that is none"))
}

pub(super) fn flag(value: &Value) -> Result<bool, StoreError> {
    match whole(value)? {
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

pub(super) fn pairs(value: &Value) -> Result<&[[Value; 2]], StoreError> {
    let (pairs, rest) = array(value)?.as_chunks();
    if !rest.is_empty() {
        return Err(unexpected("list of pairs with an odd length"));
    }
    Ok(pairs)
}

#[cfg(test)]
#[path = "reply/tests.rs"]
mod tests;
