//! The rules by which reports become the site's count: the fence, leases, revisions, recoveries and the pace of announcements.
//! No clock and no I/O.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::rooms::RoomTable;
use crate::{
    core::{
        about::About,
        count::{Count, Incarnation, Revision, Sequence, Stamp, WHOLE_MAX},
        pace::ANNOUNCEMENT_GAP_PER_INSTANCE,
        peaks::{Attendance, Attendee},
        people::People,
        report::{
            Outcome, REAPED_MAX, Reply, Report, ReportKind, Room, RoomsReply, Roster, RosterEntry,
        },
        room::RoomName,
    },
    store::{
        Announcement, RoomsPage, RoomsQuery,
        people::{PeoplePage, PeoplePageQuery, PeopleQuery},
    },
};

/// The store announces at most one page of rooms in this time × the number of live instances, since every page goes to each of
/// them. The script of the Redis store holds the same number.
const PAGE_GAP_PER_INSTANCE: Duration = Duration::from_micros(500);
/// The most entries of the dead that one report takes away. It takes about a millisecond, during which the lock is held.
const TAKEN_AWAY_MAX: usize = 512;
/// The stored sequence of an incarnation that can say nothing more: no sequence is greater.
const CLOSED: Sequence = Sequence(WHOLE_MAX);

/// The state of the store. All times but `heard` are times of the lease clock.
#[derive(Debug, Default)]
pub(super) struct State {
    /// All incarnations with a lease, including those that have sent a farewell.
    leases: BTreeMap<Incarnation, Lease>,
    rooms: RoomTable,
    /// The count of the site: the sum of the counts in `leases`, and the site's users; `None` before the first report.
    total: Option<u64>,
    revision: Revision,
    /// Which report made `revision`.
    stamp: Stamp,
    /// The revision at which the site's count or the mark of a recovery changed last.
    counted: Revision,
    /// The revision at which the site's count was announced last.
    announced: Revision,
    announced_at: Option<Duration>,
    /// The revision of the last page of rooms. The end of a recovery counts as one.
    paged: Revision,
    paged_at: Option<Duration>,
    /// The end of the recovery, if the store is recovering.
    recovering: Option<Duration>,
    /// The lease clock, which advances with reports.
    clock: Duration,
    /// The time of the last report, on the clock of the caller.
    heard: Duration,
}

/// The last report of an incarnation.
#[derive(Debug)]
struct Lease {
    /// `None` for a tombstone that keeps late reports fenced: after a farewell, or if the instance goes on as another incarnation.
    users: Option<u64>,
    sequence: Sequence,
    expiry: Duration,
    /// The name and version that it told last.
    about: Option<Arc<About>>,
}

impl State {
    /// Applies a report that arrives at `now`. Returns the reply, and what must be announced, in this order.
    pub(super) fn apply(&mut self, report: &Report, now: Duration) -> (Reply, Vec<Announcement>) {
        let stored = self.leases.get(&report.incarnation).map(|lease| lease.sequence);
        let fence = stored.or_else(|| self.is_first_of_dead(report).then_some(CLOSED));
        if fence.is_some_and(|fence| report.sequence <= fence) {
            return (self.reply(Outcome::Stale, fence), Vec::new());
        }
        self.run_lease_clock(report.lease, now);
        if report.acknowledged > stored.unwrap_or_default() {
            let is_behind = stored.is_some();
            let end = self.revise(report, is_behind, Vec::new());
            let announcements = self.announce(report, end);
            return (self.reply(Outcome::Resend, stored), announcements);
        }
        self.store(report);
        let (reaped, crashed) = self.reap();
        let rooms = self.apply_rooms(report);
        let changed = self.rooms.take_changed();
        let end = self.revise(report, false, changed);
        let announcements = self.announce(report, end);
        let rooms = rooms.map(|rooms| RoomsReply { counts: self.counts(report), ..rooms });
        let reply = self.reply(Outcome::Applied, stored);
        (Reply { reaped, crashed, rooms, ..reply }, announcements)
    }

    /// Whether this is the late first report of an incarnation that is dead by now. It would give it a new life while its rooms are
    /// being taken away.
    fn is_first_of_dead(&self, report: &Report) -> bool {
        report.acknowledged == Sequence(0) && self.rooms.is_dead(report.incarnation)
    }

    /// Advances the lease clock. A silence of more than half a lease counts as an eighth of one: it means that this process
    /// stood still, not that instances died.
    fn run_lease_clock(&mut self, lease: Duration, now: Duration) {
        let gap =
            if self.total.is_some() { now.saturating_sub(self.heard) } else { Duration::ZERO };
        self.clock += if gap > lease / 2 { lease / 8 } else { gap };
        self.heard = now;
    }

    fn store(&mut self, report: &Report) {
        let is_live = report.kind != ReportKind::Farewell;
        let before = self.leases.remove(&report.incarnation);
        let about = report.about.clone().or(before.and_then(|lease| lease.about));
        let lease = Lease {
            users: is_live.then_some(report.users),
            sequence: report.sequence,
            expiry: self.clock + report.lease,
            about: about.filter(|_| is_live),
        };
        self.leases.insert(report.incarnation, lease);
        if !is_live {
            self.rooms.bury(report.incarnation);
        }
        if let Some(former) = report.former {
            self.close(former, report.lease);
        }
    }

    /// Counts out the former incarnation of an instance, and refuses all that it may still say.
    fn close(&mut self, former: Incarnation, lease: Duration) {
        if self.leases.get(&former).is_some_and(|lease| lease.sequence == CLOSED) {
            return;
        }
        let expiry = self.clock + lease;
        self.leases.insert(former, Lease { users: None, sequence: CLOSED, expiry, about: None });
        self.rooms.bury(former);
    }

    /// Removes expired leases, the earliest first. Returns their number, and how many of them were still counted.
    fn reap(&mut self) -> (u32, u32) {
        let mut expired: Vec<_> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.expiry < self.clock)
            .map(|(incarnation, lease)| (lease.expiry, *incarnation))
            .collect();
        expired.sort_unstable();
        let (mut reaped, mut crashed) = (0, 0);
        for (_, incarnation) in expired.into_iter().take(REAPED_MAX as usize) {
            let lease = self.leases.remove(&incarnation);
            self.rooms.bury(incarnation);
            reaped += 1;
            crashed += u32::from(lease.is_some_and(|lease| lease.users.is_some()));
        }
        (reaped, crashed)
    }

    /// Takes away rooms of the dead, and applies what the report says of rooms. A farewell says nothing of rooms.
    fn apply_rooms(&mut self, report: &Report) -> Option<RoomsReply> {
        self.rooms.take_away(TAKEN_AWAY_MAX);
        let is_said = !report.rooms.is_empty() && report.kind != ReportKind::Farewell;
        is_said.then(|| self.rooms.apply(report))
    }

    /// The count of each room of the report.
    fn counts(&self, report: &Report) -> Vec<u64> {
        let count = |room: &Room| match room {
            Room::Site => self.total.unwrap_or_default(),
            Room::Named(name) => self.rooms.count(name),
        };
        report.rooms.iter().map(|entry| count(&entry.room)).collect()
    }

    /// Sets the revision, which grows with every change of a count. If the reporter has seen a higher one, this store has
    /// lost data, and is recovering until every instance has had time to report. It has lost data, too, if it is behind the
    /// reporter: if it has an older sequence than it acknowledged. Returns what tells the end of a recovery to those who hear of
    /// rooms: a page without rooms that says that one is missing.
    fn revise(
        &mut self,
        report: &Report,
        is_behind: bool,
        changed: Vec<RoomName>,
    ) -> Option<RoomsPage> {
        let parts: u64 = self.leases.values().filter_map(|lease| lease.users).sum();
        let total = parts + self.rooms.site_users();
        let forgot = self.forgot(&report.seen) || (is_behind && self.recovering.is_none());
        let is_over = self.recovering.is_some_and(|end| self.clock > end) && !self.rooms.any_dead();
        let recovered = is_over && !forgot && !report.resending;
        if forgot || (report.resending && self.recovering.is_some()) {
            self.recovering = self.recovering.max(Some(self.clock + report.lease));
        } else if recovered {
            self.recovering = None;
        }
        let is_counted = forgot || recovered || self.total != Some(total);
        if is_counted || !changed.is_empty() {
            self.advance(self.revision.max(report.seen.revision), report);
        }
        if is_counted {
            self.counted = self.revision;
        }
        if recovered {
            // All instances read their rooms again: whoever misses the end of the recovery misses a page.
            self.rooms.forget_changes();
            self.paged = self.revision;
        } else if self.recovering.is_none() {
            self.rooms.remember_changes(changed);
        }
        self.total = Some(total);
        let (revision, stamp) = (self.revision, self.stamp);
        recovered.then(|| RoomsPage { revision, since: revision, stamp, counts: Vec::new() })
    }

    /// Whether a reporter that has seen this count knows more than this store, or something else of the same revision.
    fn forgot(&self, seen: &Count) -> bool {
        let is_stamped = !seen.stamp.is_empty() && !self.stamp.is_empty();
        let is_other =
            if is_stamped { seen.stamp != self.stamp } else { Some(seen.users) != self.total };
        let is_reused = seen.revision == self.revision && is_other;
        seen.revision > Revision(0) && (seen.revision > self.revision || is_reused)
    }

    fn advance(&mut self, from: Revision, report: &Report) {
        self.revision = Revision(from.0 + 1);
        self.stamp = Stamp::new(report.incarnation, self.heard);
    }

    fn announce(&mut self, report: &Report, end: Option<RoomsPage>) -> Vec<Announcement> {
        let page = self.announce_page(report).map(Announcement::Rooms);
        let count = self.announce_count().map(Announcement::Own);
        page.into_iter().chain(count).chain(end.map(Announcement::Rooms)).collect()
    }

    /// The next page of rooms, if it is due. While the store recovers, counts of rooms are not announced.
    fn announce_page(&mut self, report: &Report) -> Option<RoomsPage> {
        let gap = PAGE_GAP_PER_INSTANCE * self.instances();
        let is_early = self.paged_at.is_some_and(|at| self.clock.saturating_sub(at) < gap);
        if self.recovering.is_some() || !self.rooms.any_unannounced() || is_early {
            return None;
        }
        if self.paged == self.revision {
            // Every page has a revision of its own, so that a subscriber notices a missing one.
            self.advance(self.revision, report);
        }
        let since = self.paged;
        self.paged = self.revision;
        self.paged_at = Some(self.clock);
        let counts = self.rooms.take_page();
        Some(RoomsPage { revision: self.revision, since, stamp: self.stamp, counts })
    }

    fn announce_count(&mut self) -> Option<Count> {
        let gap = ANNOUNCEMENT_GAP_PER_INSTANCE * self.instances();
        let is_early = self.announced_at.is_some_and(|at| self.clock.saturating_sub(at) < gap);
        if !self.is_count_unannounced() || is_early {
            return None;
        }
        self.announced = self.revision;
        self.announced_at = Some(self.clock);
        Some(self.count())
    }

    fn is_count_unannounced(&self) -> bool {
        self.announced < self.counted
    }

    fn reply(&self, outcome: Outcome, stored: Option<Sequence>) -> Reply {
        let are_rooms_unannounced = self.recovering.is_none() && self.rooms.any_unannounced();
        Reply {
            outcome,
            count: self.count(),
            announced: self.announced,
            instances: self.instances(),
            stored_sequence: stored.unwrap_or_default(),
            unannounced: self.is_count_unannounced() || are_rooms_unannounced,
            dead: self.rooms.dead(),
            paged: self.paged,
            ..Reply::default()
        }
    }

    fn count(&self) -> Count {
        Count {
            users: self.total.unwrap_or_default(),
            revision: self.revision,
            recovering: self.recovering.is_some(),
            stamp: self.stamp,
        }
    }

    fn instances(&self) -> u32 {
        let live = self.leases.values().filter(|lease| lease.users.is_some()).count();
        u32::try_from(live).unwrap_or(u32::MAX)
    }

    /// Who is counted, and whose farewell is remembered.
    pub(super) fn attendance(&self) -> Attendance {
        let instances = self.leases.iter().map(|(incarnation, lease)| {
            let is_counted = lease.users.is_some();
            (incarnation.to_string(), Attendee { sequence: lease.sequence, is_counted })
        });
        let has_dead = self.rooms.any_dead();
        Attendance { revision: self.revision, has_dead, instances: instances.collect() }
    }

    pub(super) fn roster(&self) -> Roster {
        let entry = |(incarnation, lease): (&Incarnation, &Lease)| {
            Some(RosterEntry {
                incarnation: incarnation.to_string(),
                users: lease.users?,
                lease_left: Some(lease.expiry.saturating_sub(self.clock)),
                about: lease.about.clone(),
            })
        };
        let count = self.count();
        Roster {
            users: count.users,
            identified: self.rooms.site_users(),
            count,
            instances: self.leases.iter().filter_map(entry).collect(),
        }
    }

    pub(super) fn people(&self, query: &PeopleQuery) -> People {
        let people = self.rooms.people(query);
        let Count { revision, recovering, .. } = self.count();
        People { revision, recovering, ..people }
    }

    pub(super) fn people_page(&self, query: &PeoplePageQuery) -> PeoplePage {
        self.rooms.people_page(query)
    }

    pub(super) fn largest_rooms(&self, query: &RoomsQuery) -> Vec<(RoomName, u64)> {
        self.rooms.largest(query)
    }
}

#[cfg(test)]
mod tests;
