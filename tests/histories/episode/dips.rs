//! While nobody comes or goes, no number may dip.

use std::{collections::BTreeMap, time::Duration};

use headcount::core::room::SITE;
use tokio::time::Instant;

use super::{Episode, PLACES, lock};

/// How long a program waits for the count of a room. After that it is shown the users on the instance.
const PROGRAMS_WAIT: Duration = Duration::from_millis(300);

impl Episode {
    /// From now on nobody comes or goes, and no number may dip on the instances of now.
    pub(super) fn watch_for_dips(&mut self) {
        self.floor = Some(PLACES.map(|room| (room, self.truth(room))).into());
        self.unknown.clear();
        self.there = Some(self.true_users());
        for instance in &mut self.instances {
            instance.knows = true;
        }
    }

    pub(super) fn look_for_dips(&mut self) {
        let Some(floor) = self.floor.take() else { return };
        let low = self.low_number(&floor);
        let short = self.there.as_ref().and_then(|there| self.short_list(there));
        if let Some(dip) = low.or(short) {
            return lock(&self.world).note(&format!("a dip: {dip}, the truth is {floor:?}"));
        }
        self.floor = Some(floor);
    }

    /// A number that is too low, or one that is unknown for so long that programs are shown who is on the instance.
    fn low_number(&mut self, floor: &BTreeMap<&'static str, u64>) -> Option<String> {
        let mut low = None;
        let mut unknown = BTreeMap::new();
        for it in self.instances.iter().filter(|it| it.knows) {
            for room in PLACES.into_iter().filter(|room| *room == SITE || it.cares_for(room)) {
                let shown = if room == SITE { Some(it.shown_site()) } else { it.shown(room) };
                let Some((users, _)) = shown else {
                    let key = (it.who, room);
                    let since = self.unknown.get(&key).copied().unwrap_or_else(Instant::now);
                    unknown.insert(key, since);
                    if since.elapsed() > PROGRAMS_WAIT {
                        low = Some(format!("{} has no number for {room}", it.who));
                    }
                    continue;
                };
                if users < floor[room] {
                    low = Some(format!("{} shows {shown:?} for {room}", it.who));
                }
            }
        }
        self.unknown = unknown;
        low
    }
}
