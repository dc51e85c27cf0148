//! What is known of the store and of its announcements, beside the counts of rooms.

use tokio::time::Instant;

use super::entry::ExactFrom;
use crate::core::{count::Revision, fold_clock::FoldClock, room::RoomName, view::View};

/// What is known of the store and of its announcements, beside the counts.
#[derive(Debug, Default)]
pub(super) struct Tidings {
    /// The revision at which the store last said whether it is recovering.
    pub(super) marked: Revision,
    pub(super) is_recovering: bool,
    /// The revision at which the last recovery ended. Older counts of rooms are not exact.
    pub(super) trusted: Revision,
    /// When counts of rooms were last folded in.
    pub(super) folded: FoldClock,
    /// The last page that was heard; `None` from a subscription until the first reply after it.
    pub(super) heard: Option<Revision>,
    /// The newest report at the time when the last page was heard.
    pub(super) heard_at_report: u64,
    /// A page that a reply mentioned and that was not heard yet, and when it is missed.
    pub(super) awaited: Option<(Revision, Instant)>,
    /// Pages that were missed since the last report.
    pub(super) pages_missed: u64,
    /// Until when another mismatch does not begin a new incarnation.
    pub(super) calm_until: Option<Instant>,
    /// Until when nothing is said of rooms, since the store denies them. After that, one report tries again.
    pub(super) denied_until: Option<Instant>,
}

/// Whether the store still holds what it has acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Standing {
    /// It does, as far as is known.
    Kept,
    /// It does not: this instance must take a new incarnation, and report everything again.
    Lost,
}

/// An announcement of rooms, as `RoomLedger::fold_page` takes it.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// The revision of the counts.
    pub revision: Revision,
    /// The revision of the page before. A page was lost if that was not heard.
    pub since: Revision,
    /// The counts of rooms that have changed; 0 for a room that is empty.
    pub counts: &'a [(RoomName, u64)],
}

impl Tidings {
    pub(super) fn is_recovering(&self) -> bool {
        self.is_recovering
    }

    /// When a page that was mentioned and not heard is missed.
    pub(super) fn page_overdue(&self) -> Option<Instant> {
        self.awaited.filter(|_| !self.is_denied()).map(|(_, at)| at)
    }

    /// Whether the store denied rooms when it was last asked.
    pub(super) fn is_denied(&self) -> bool {
        self.denied_until.is_some()
    }

    /// The revision from which on counts of rooms are exact at `now`.
    pub(super) fn exact_from(&self, view: &View, now: Instant) -> ExactFrom {
        let now = self.folded.judged_at(now);
        let is_exact =
            view.is_reachable(now) && view.is_counted() && !self.is_recovering && !self.is_denied();
        is_exact.then_some(self.trusted)
    }

    /// Whether a count that is not known is about to come: the store answers, or this instance has just started and has not had an
    /// answer yet.
    pub(super) fn expects_counts(&self, view: &View) -> bool {
        let may_answer = view.answers() || view.answered().is_none();
        may_answer && !self.is_recovering && !self.is_denied()
    }
}
