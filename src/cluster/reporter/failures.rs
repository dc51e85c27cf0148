//! What a reporter does when a report fails, and when the store answers again: it makes the view an estimate or an exact count,
//! and says so in the log, once.

use std::{mem, time::Duration};

use tokio::time::Instant;

use super::{
    Reporter,
    answer::{TROUBLES_MAX, trouble},
};
use crate::{
    core::{
        report::{Reply, ReportKind},
        rooms::SentRooms,
        view::{SentReport, View},
    },
    store::StoreError,
};

/// The least time between two log lines that say the store answers. A store that fails and recovers all the time must not fill
/// the log.
const LOG_GAP: Duration = Duration::from_secs(10);

impl Reporter {
    /// A report has failed. It may have run all the same.
    ///
    /// If it named rooms and something was denied, the next reports are about the site alone. If they are denied, too, it was
    /// not because of the rooms.
    pub(super) fn fail(
        &mut self,
        sent: SentReport,
        rooms: &SentRooms,
        error: &StoreError,
        now: Instant,
    ) {
        self.count(error.result());
        self.pace.failed(sent.at, now);
        // The next reply does not tell of a loss that this one did.
        self.introduction.renew();
        if error.may_be_half_done() {
            self.kind = ReportKind::Audit;
        }
        if matches!(error, StoreError::Denied(_)) && rooms.names_rooms() {
            self.leave_rooms_out(rooms, error, now);
            return;
        }
        self.rooms.abandon(rooms);
        if !self.pace.overtaken(sent.at) {
            self.mark_unreachable(&trouble(error), &error.to_string());
        }
    }

    fn leave_rooms_out(&mut self, rooms: &SentRooms, error: &StoreError, now: Instant) {
        self.rooms.deny(rooms, now);
        self.view.send_modify(|view| view.observe_users(self.rooms.site_users()));
        if !mem::replace(&mut self.are_rooms_denied, true) {
            tracing::warn!(
                %error,
                "rooms cannot be reported: showing for each room an estimate, the connections of this instance, until they \
                can; docs/redis.md names the keys"
            );
        }
    }

    /// The store has taken a report that names rooms.
    pub(super) fn note_rooms_taken(&mut self) {
        if mem::take(&mut self.are_rooms_denied) {
            tracing::info!("rooms can be reported again");
        }
    }

    /// Makes the view an estimate, and logs the trouble if it is a new kind.
    pub(super) fn mark_unreachable(&mut self, trouble: &str, details: &str) {
        self.view.send_if_modified(View::mark_unreachable);
        let is_told = self.troubles.iter().any(|told| told == trouble);
        if is_told || self.troubles.len() >= TROUBLES_MAX {
            tracing::debug!(%details, "store still does not answer");
            return;
        }
        self.troubles.push(trouble.to_owned());
        tracing::warn!(%details, "store does not answer: showing the estimate until it does");
    }

    /// Logs that the store answers, if that is news.
    pub(super) fn mark_reachable(&mut self, now: Instant, reply: &Reply) {
        let calm = self.reachable_since.is_none_or(|at| now.duration_since(at) >= LOG_GAP);
        let first = self.reachable_since.is_none();
        if calm && (first || !self.troubles.is_empty()) {
            self.troubles.clear();
            self.reachable_since = Some(now);
            tracing::info!(count = reply.count.users, revision = %reply.count.revision, "store answers");
        }
    }
}
