//! Reads the largest rooms for operators, in small portions, so that Redis is not blocked however many rooms there are.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, HashSet},
};

use deadpool_redis::redis::{self, Value};

use super::{
    call::{Call, Caller},
    reply::{array, bytes, decimal, pairs, unexpected, whole},
};
use crate::{
    core::room::RoomName,
    store::{RoomsQuery, StoreError},
};

/// How many rooms one command reads. A thousand take Redis less than a millisecond.
const PORTION: usize = 1000;

/// The largest rooms so far.
struct Largest {
    most: usize,
    /// The largest comes first.
    rooms: BTreeSet<(Reverse<u64>, RoomName)>,
    /// A scan may show a room twice, with another count.
    names: HashSet<RoomName>,
}

impl Largest {
    fn new(most: usize) -> Self {
        Self { most, rooms: BTreeSet::new(), names: HashSet::new() }
    }

    fn add(&mut self, name: RoomName, users: u64) {
        if self.most == 0 || !self.names.insert(name.clone()) {
            return;
        }
        self.rooms.insert((Reverse(users), name));
        if self.rooms.len() > self.most
            && let Some((_, smallest)) = self.rooms.pop_last()
        {
            self.names.remove(&smallest);
        }
    }
}

/// Scans the hash of rooms. The whole scan may take longer than one call may.
pub(super) async fn largest(
    caller: &Caller,
    key: &str,
    query: RoomsQuery,
) -> Result<Vec<(RoomName, u64)>, StoreError> {
    let mut largest = Largest::new(query.most);
    let pattern = pattern(&query.prefix);
    let mut cursor = 0;
    loop {
        let mut scan = redis::cmd("HSCAN");
        scan.arg(key).arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(PORTION);
        let scanned = caller.run(&Call::Command(scan)).await?;
        let (next, rooms) = portion(&scanned.value)?;
        for (name, users) in rooms {
            largest.add(name, users);
        }
        if next == 0 {
            break;
        }
        cursor = next;
    }
    Ok(largest.rooms.into_iter().map(|(Reverse(users), name)| (name, users)).collect())
}

/// Parses one answer to `HSCAN`: where to go on, and rooms with their counts. A field that is no room is left out, since anybody
/// may have put it there.
fn portion(value: &Value) -> Result<(u64, Vec<(RoomName, u64)>), StoreError> {
    let [cursor, fields] = array(value)? else {
        return Err(unexpected("scan of another length"));
    };
    let cursor = decimal(bytes(cursor)?).ok_or_else(|| unexpected("cursor that is no number"))?;
    let mut rooms = Vec::new();
    for [name, users] in pairs(fields)? {
        let name = std::str::from_utf8(bytes(name)?).ok().map(RoomName::parse);
        if let (Some(Ok(name)), Ok(users)) = (name, whole(users)) {
            rooms.push((name, users));
        }
    }
    Ok((cursor, rooms))
}

/// The glob pattern of all names with this beginning.
fn pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}
