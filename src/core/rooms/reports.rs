//! What the table of rooms does for the reporter and the subscriber, under its lock.

use std::fmt;

use tokio::{sync::Notify, time::Instant};

use super::{
    Rooms,
    ledger::{RoomsToReport, SentRooms},
    reporting::RoomLedger,
    tidings::{Page, Standing},
};
use crate::core::{
    count::Count,
    report::Reply,
    site_users::{SiteUsers, UsersHere},
    tally::SiteLedger,
    view::View,
};

impl<V: fmt::Debug + Send + 'static> RoomLedger for Rooms<V> {
    fn report(&self, now: Instant) -> RoomsToReport {
        self.table().report(now)
    }

    fn site_users(&self) -> SiteUsers {
        self.table().site_users()
    }

    fn site_users_here(&self) -> UsersHere {
        SiteLedger::site_users_here(self)
    }

    fn acknowledge(&self, sent: &SentRooms, reply: &Reply, is_reckoned: bool) -> SiteUsers {
        self.table().acknowledge_reply(sent, reply, is_reckoned)
    }

    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing {
        let mut table = self.table();
        let standing = table.fold_reply(sent, reply, view, now);
        self.changed(table);
        standing
    }

    fn abandon(&self, sent: &SentRooms) {
        self.table().abandon(sent);
    }

    fn deny(&self, sent: &SentRooms, now: Instant) {
        self.table().deny(sent, now);
        // All counts are estimates now.
        self.tell();
    }

    fn begin_incarnation(&self) {
        let mut table = self.table();
        table.begin_incarnation();
        self.changed(table);
    }

    fn is_resending(&self) -> bool {
        self.table().ledger.is_resending
    }

    fn fold_count(&self, count: Count) {
        let mut table = self.table();
        table.fold_mark(count);
        self.changed(table);
    }

    fn fold_page(&self, page: Page<'_>, view: &View, now: Instant) {
        let mut table = self.table();
        table.fold_page(page, view, now);
        self.changed(table);
    }

    fn subscribed(&self) {
        let mut table = self.table();
        table.subscribed();
        self.changed(table);
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.table().is_waiting(now)
    }

    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut table = self.table();
        table.expire(now);
        let next = table.grace_ends();
        self.changed(table);
        next
    }

    fn wake_for_overdue(&self, now: Instant) -> Option<Instant> {
        let ends = self.table().patience_ends()?;
        if ends > now {
            return Some(ends);
        }
        self.tell();
        None
    }

    fn page_overdue(&self) -> Option<Instant> {
        self.table().tidings.page_overdue()
    }

    fn reports(&self) -> &Notify {
        &self.reports
    }
}
