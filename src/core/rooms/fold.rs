//! Folds in what replies and announcements say of rooms.
//!
//! A count of a room replaces another one only if its revision is greater. While the store is recovering, no counts of rooms are
//! taken over. At the end of the recovery all of them are asked for.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    due::RoomId,
    entry::Want,
    ledger::{SentRoom, SentRooms},
    table::Table,
    tidings::{Page, Standing},
};
use crate::core::{
    count::{Count, Revision},
    report::{Outcome, Reply, RoomsReply},
    view::View,
};

/// How long an announcement of rooms that a reply mentions may take to arrive. After that, all counts are asked for.
const PAGE_PATIENCE: Duration = Duration::from_secs(1);

impl<V> Table<V> {
    /// Takes over whether the store is recovering.
    pub(super) fn fold_mark(&mut self, count: Count) {
        let tidings = &mut self.tidings;
        if count.revision <= tidings.marked {
            return;
        }
        tidings.marked = count.revision;
        let was_recovering = mem::replace(&mut tidings.is_recovering, count.recovering);
        if was_recovering && !count.recovering {
            tidings.trusted = count.revision;
            // The end of a recovery counts as a page that nobody gets.
            tidings.heard = tidings.heard.max(Some(count.revision));
            self.reread_all();
        }
    }

    /// Folds in the reply to a report.
    pub(super) fn fold_reply(
        &mut self,
        sent: &SentRooms,
        reply: &Reply,
        view: &View,
        now: Instant,
    ) -> Standing {
        self.tidings.folded.fold(now);
        self.fold_mark(reply.count);
        if reply.outcome != Outcome::Applied {
            self.abandon(sent);
            return Standing::Kept;
        }
        self.expect_page(sent.number, reply.paged, now);
        self.acknowledge(sent);
        let is_newest = sent.number == self.ledger.acknowledged && sent.number > self.ledger.folded;
        self.ledger.folded = self.ledger.folded.max(sent.number);
        let Some(told) = &reply.rooms else { return Standing::Kept };
        self.admit();
        self.fold_counts(sent, reply, told, view, is_newest, now);
        let held = (self.ledger.rooms_held, self.ledger.users_held);
        let differs = is_newest && (told.rooms_held, told.users_held) != held;
        if !differs || self.tidings.calm_until.is_some_and(|until| now < until) {
            return Standing::Kept;
        }
        self.tidings.calm_until = Some(now + view.lease());
        Standing::Lost
    }

    fn fold_counts(
        &mut self,
        sent: &SentRooms,
        reply: &Reply,
        told: &RoomsReply,
        view: &View,
        is_newest: bool,
        now: Instant,
    ) {
        let Count { revision, recovering, .. } = reply.count;
        let mut elsewhere = told.elsewhere.iter().copied();
        for (room, &count) in sent.rooms.iter().zip(&told.counts) {
            let bits: Vec<bool> = elsewhere.by_ref().take(room.users.len()).collect();
            if room.id == RoomId::SITE {
                continue;
            }
            let Some(entry) = self.entry(room.id) else { continue };
            if entry.want == Want::asked_by(sent.number) {
                entry.want = Want::Nothing;
            }
            let is_taken = !recovering && self.learn(room.id, count, revision);
            if is_newest {
                self.reckon(room, count, &bits, recovering);
            }
            if is_taken != is_newest {
                self.reckon_from_view(room.id, view, now);
            }
        }
    }

    /// Takes over a count if it is newer.
    fn learn(&mut self, id: RoomId, count: u64, revision: Revision) -> bool {
        let entry = self.entry(id).expect("it was found");
        if revision <= entry.revision {
            return false;
        }
        (entry.count, entry.revision) = (count, revision);
        self.make_due(id);
        true
    }

    /// Computes who is elsewhere from the reply to a report. The store holds then exactly what the report said. Which users are
    /// elsewhere, too, is taken over at the same time or not at all: otherwise a user would be missing on both sides.
    fn reckon(&mut self, room: &SentRoom, count: u64, bits: &[bool], recovering: bool) {
        let entry = self.entry(room.id).expect("it was found");
        if entry.lost > 0 || (recovering && entry.elsewhere.get().is_some()) {
            return;
        }
        for ((user, _), &is_elsewhere) in room.users.iter().zip(bits) {
            entry.users.is_elsewhere(user, is_elsewhere);
        }
        entry.elsewhere = count.saturating_sub(entry.stored_alone()).into();
    }

    /// Computes who is elsewhere from the newest count, if it is certain what that includes of this instance. A report under way
    /// makes only those rooms doubtful that have changed in it.
    fn reckon_from_view(&mut self, id: RoomId, view: &View, now: Instant) {
        let is_certain = !self.tidings.is_recovering && view.is_ours_kept(now);
        let entry = self.entry(id).expect("it was found");
        if is_certain && entry.is_known() && entry.lost == 0 && entry.doubtful == 0 {
            entry.elsewhere = entry.count.saturating_sub(entry.stored_alone()).into();
        }
    }

    /// Folds in an announcement of rooms.
    pub(super) fn fold_page(&mut self, page: Page<'_>, view: &View, now: Instant) {
        let newest_report = self.ledger.newest;
        let tidings = &mut self.tidings;
        tidings.folded.fold(now);
        if let Some(heard) = tidings.heard {
            tidings.heard = Some(heard.max(page.revision));
            tidings.heard_at_report = newest_report;
            tidings.awaited = tidings.awaited.filter(|(awaited, _)| *awaited > page.revision);
            if page.since > heard {
                tidings.pages_missed += 1;
                self.reread_all();
            }
        }
        if self.tidings.is_recovering {
            return;
        }
        for (room, count) in page.counts {
            let Some(id) = self.named(room.as_str()).map(|entry| entry.id) else { continue };
            self.stir(id, true);
            if self.learn(id, *count, page.revision) {
                self.reckon_from_view(id, view, now);
            }
        }
    }

    /// Compares the last page that the store published with the last one that was heard.
    fn expect_page(&mut self, number: u64, paged: Revision, now: Instant) {
        let tidings = &mut self.tidings;
        let Some(heard) = tidings.heard else {
            tidings.heard = Some(paged);
            return;
        };
        if paged > heard {
            tidings.awaited.get_or_insert((paged, now + PAGE_PATIENCE));
        } else if paged < heard && number > tidings.heard_at_report {
            // The store has published less than what was heard: it has gone back, or somebody has edited it.
            tidings.heard = Some(paged);
            tidings.heard_at_report = self.ledger.newest;
            self.reread_all();
        }
    }

    /// Gives up a page that did not arrive in time.
    pub(super) fn miss_page(&mut self, now: Instant) {
        if self.tidings.page_overdue().is_none_or(|at| now < at) {
            return;
        }
        let (revision, _) = self.tidings.awaited.take().expect("it is overdue");
        self.tidings.heard = self.tidings.heard.max(Some(revision));
        self.tidings.pages_missed += 1;
        self.reread_all();
    }

    /// A subscription begins. Announcements before it may have been missed.
    pub(super) fn subscribed(&mut self) {
        (self.tidings.heard, self.tidings.awaited) = (None, None);
        self.reread_all();
    }
}
