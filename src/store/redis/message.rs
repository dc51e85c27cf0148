//! Parses the messages of the channels strictly: everything unexpected is an error. Nothing panics, whatever anybody publishes.

use std::collections::HashMap;

use serde::Deserialize;

use super::reply::unexpected;
use crate::{
    core::{
        count::{Count, Revision, Stamp, WHOLE_MAX},
        room::{ROOM_BYTES_MAX, RoomName},
    },
    store::{Announcement, Dataset, RoomsPage, StoreError},
};

/// The longest announcement that is read. Announcements of this version have at most 150 bytes and the key's name, which has
/// at most 200 bytes, or 400 escaped. The rest is room for fields that a later version may add.
const ANNOUNCEMENT_BYTES_MAX: usize = 1024;

/// The most rooms of a page: `PAGE_ROOMS` of the script.
const PAGE_ROOMS_MAX: usize = 100;
/// The longest page of rooms that is read. A name may double when it is escaped, and its count and the punctuation take up to 20
/// bytes.
const PAGE_BYTES_MAX: usize = PAGE_ROOMS_MAX * (2 * ROOM_BYTES_MAX + 20) + ANNOUNCEMENT_BYTES_MAX;

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
    stamp: Stamp,
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
    let Message { count: users, revision, stamp, recovering, key, database } = message;
    let count = Count { users, revision, recovering, stamp };
    if count.users > WHOLE_MAX || count.revision.0 > REVISION_MAX {
        return Err(unexpected("announcement out of range"));
    }
    Ok(match whose(key, database, own) {
        Whose::Own => Announcement::Own(count),
        Whose::Nobodys => Announcement::Unsigned(count),
        Whose::Others(dataset) => Announcement::Foreign(dataset),
    })
}

/// A page of rooms as JSON.
#[derive(Deserialize)]
struct Page {
    revision: Revision,
    since: Revision,
    #[serde(default)]
    stamp: Stamp,
    rooms: HashMap<String, u64>,
    key: Option<String>,
    database: Option<u64>,
}

/// Parses a message of the rooms' channel. Rooms whose names are not allowed are left out: nobody can be in them here.
pub(super) fn page(payload: &[u8], own: &Dataset) -> Result<Announcement, StoreError> {
    if payload.len() > PAGE_BYTES_MAX {
        return Err(unexpected("page of rooms that is too long"));
    }
    let page: Page =
        serde_json::from_slice(payload).map_err(|_| unexpected("page that lists no rooms"))?;
    let Page { revision, since, stamp, rooms, key, database } = page;
    if revision.0 > REVISION_MAX || since > revision || rooms.values().any(|&n| n > WHOLE_MAX) {
        return Err(unexpected("page out of range"));
    }
    Ok(match whose(key, database, own) {
        Whose::Own => {
            let named = |(name, users): (String, u64)| Some((RoomName::parse(&name).ok()?, users));
            let counts = rooms.into_iter().filter_map(named).collect();
            Announcement::Rooms(RoomsPage { revision, since, stamp, counts })
        }
        Whose::Nobodys => Announcement::Unsigned(Count { revision, stamp, ..Count::default() }),
        Whose::Others(dataset) => Announcement::Foreign(dataset),
    })
}

/// Whose count a message is.
enum Whose {
    Own,
    Nobodys,
    Others(Dataset),
}

fn whose(key: Option<String>, database: Option<u64>, own: &Dataset) -> Whose {
    match (key, database) {
        (Some(key), Some(database)) => {
            let dataset = Dataset { key, database };
            if dataset == *own { Whose::Own } else { Whose::Others(dataset) }
        }
        _ => Whose::Nobodys,
    }
}

/// The channel of pages of rooms that belongs to a channel of counts.
pub(super) fn rooms_channel(channel: &str) -> String {
    format!("{channel}:rooms")
}

#[cfg(test)]
#[path = "message/tests.rs"]
mod tests;
