//! What a Redis holds, and whether its counts are the sums of their parts.

use std::collections::{BTreeMap, BTreeSet};

use headcount::core::room::SITE;

use super::database::Held;

/// The beginning of all keys but the public one.
pub(crate) const PREFIX: &str = "{currentUsers}:";

/// The keys about rooms.
fn below<'a>(held: &'a BTreeMap<String, Held>, kind: &str) -> BTreeMap<&'a str, &'a Held> {
    let prefix = format!("{PREFIX}{kind}:");
    let named = held.iter().filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?, value)));
    named.collect()
}

fn number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

/// The counts of all rooms, as stored.
pub(crate) fn stored_counts(
    held: &BTreeMap<String, Held>,
) -> Result<BTreeMap<String, i64>, String> {
    let rooms = held.get(&format!("{PREFIX}rooms")).map(Held::fields).unwrap_or_default();
    rooms.into_iter().map(|(room, count)| Ok((room, number(&count)?))).collect()
}

/// The count of the site, as others read it.
pub(crate) fn public_count(held: &BTreeMap<String, Held>) -> Result<i64, String> {
    match held.get("currentUsers") {
        Some(Held::Text(text)) => number(text),
        _ => Ok(0),
    }
}

/// Checks all sums. Returns what is wrong.
pub(crate) fn check(held: &BTreeMap<String, Held>) -> Result<(), String> {
    let at = below(held, "at");
    let people = below(held, "people");
    let fields =
        |kind: &str| held.get(&format!("{PREFIX}{kind}")).map(Held::fields).unwrap_or_default();
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for parts in at.values() {
        for (room, count) in parts.fields() {
            let count = number(&count)?;
            if count <= 0 {
                return Err(format!("{room} has a part of {count}"));
            }
            *sums.entry(room).or_default() += count;
        }
    }
    let mut site = 0;
    for (room, users) in &people {
        let users = i64::try_from(users.fields().len()).unwrap();
        if *room == SITE {
            site += users;
        } else {
            *sums.entry((*room).to_owned()).or_default() += users;
        }
    }
    let counts = stored_counts(held)?;
    if counts != sums {
        return Err(format!("the counts are {counts:?}, and the sums of the parts {sums:?}"));
    }
    for (_, count) in fields("connections") {
        site += number(&count)?;
    }
    let public = public_count(held)?;
    if public != site {
        return Err(format!("the public key is {public}, and the sum of the parts {site}"));
    }
    check_pairs(&below(held, "of"), &people)?;
    check_owners(held, at.keys().chain(below(held, "of").keys()))
}

/// The sets of pairs and the tags beside the users say the same.
fn check_pairs(of: &BTreeMap<&str, &Held>, people: &BTreeMap<&str, &Held>) -> Result<(), String> {
    let mut holds = BTreeSet::new();
    for (owner, pairs) in of {
        let tag = &owner[owner.len() - 12..];
        holds.extend(pairs.members().into_iter().map(|pair| (tag.to_owned(), pair)));
    }
    let mut told = BTreeSet::new();
    for (room, users) in people {
        for (user, value) in users.fields() {
            let tags = value.split('{').next().unwrap_or_default().to_owned();
            for tag in tags.as_bytes().chunks(12) {
                told.insert((String::from_utf8_lossy(tag).into_owned(), format!("{room}\n{user}")));
            }
        }
    }
    if holds == told {
        return Ok(());
    }
    Err(format!("pairs {holds:?}, but users {told:?}"))
}

/// Whoever has something in rooms lives or is listed as dead.
fn check_owners<'a>(
    held: &BTreeMap<String, Held>,
    owners: impl Iterator<Item = &'a &'a str>,
) -> Result<(), String> {
    let list = |kind: &str| held.get(&format!("{PREFIX}{kind}"));
    let leases = list("leases").map(Held::members).unwrap_or_default();
    let dead = list("dead").map(Held::fields).unwrap_or_default();
    for owner in owners {
        if !leases.contains(*owner) && !dead.contains_key(*owner) {
            return Err(format!("{owner} is neither alive nor dead"));
        }
    }
    Ok(())
}

/// The keys that are about rooms.
pub(crate) fn about_rooms(held: &BTreeMap<String, Held>) -> Vec<String> {
    let site = ["connections", "sequence", "leases", "meta", "about"];
    let keys = held.keys().filter_map(|key| key.strip_prefix(PREFIX));
    keys.filter(|key| !site.contains(key)).map(str::to_owned).collect()
}
