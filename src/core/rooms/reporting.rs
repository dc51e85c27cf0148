//! The table of rooms as reports and announcements need it.

use std::fmt;

use tokio::{sync::Notify, time::Instant};

use super::{
    Rooms,
    ledger::{RoomsToReport, SentRooms},
    tidings::{Page, Standing},
};
use crate::core::{
    count::Count,
    report::Reply,
    site_users::{SiteUsers, UsersHere},
    tally::SiteLedger,
    view::View,
};

/// The rooms of this instance, as reports and announcements need them: [`Rooms`] without the type of its connections.
pub trait RoomLedger: fmt::Debug + Send + Sync + 'static {
    /// What the next report says of rooms. [`RoomLedger::fold_reply`] or [`RoomLedger::abandon`] must follow once it has ended.
    fn report(&self, now: Instant) -> RoomsToReport;

    /// What estimates of the site need to know of its users. It must be read while the view that takes it is locked, so that
    /// newer numbers are not replaced by older ones.
    fn site_users(&self) -> SiteUsers;

    /// The users of the site with an identity on this instance.
    fn site_users_here(&self) -> UsersHere;

    /// Records what the store has acknowledged by the reply to a report of the present incarnation, and returns what the view needs
    /// to fold it in. The view must be locked, as for [`RoomLedger::site_users`]. `is_reckoned` is what the view says of the
    /// reply: see [`View::reckons`].
    fn acknowledge(&self, sent: &SentRooms, reply: &Reply, is_reckoned: bool) -> SiteUsers;

    /// Folds in the same reply, after the view has done so.
    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing;

    /// Records that a report was not answered, or was one of a former incarnation.
    fn abandon(&self, sent: &SentRooms);

    /// Records that the store denied a report because of what it said of rooms. For some seconds, reports say nothing of them,
    /// and all their counts are estimates. Returns whether that is news.
    fn deny(&self, sent: &SentRooms, now: Instant) -> bool;

    /// Begins a new incarnation: the store holds nothing of it.
    fn begin_incarnation(&self);

    /// Takes over from an announcement of the site whether the store is recovering.
    fn fold_count(&self, count: Count);

    /// Folds in an announcement of rooms.
    fn fold_page(&self, page: Page<'_>, view: &View, now: Instant);

    /// Records that a subscription has begun. Announcements before it may have been missed.
    fn subscribed(&self);

    /// Whether something is to be reported as soon as the gap between reports allows.
    fn is_waiting(&self, now: Instant) -> bool;

    /// Ends the grace of users for whom it is over. Returns when the next one ends; it must be called again then.
    fn expire(&self, now: Instant) -> Option<Instant>;

    /// When an announcement that has not arrived is missed.
    fn page_overdue(&self) -> Option<Instant>;

    /// Notified when something is to be reported.
    fn reports(&self) -> &Notify;
}

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

    fn deny(&self, sent: &SentRooms, now: Instant) -> bool {
        let mut table = self.table();
        let is_news = !table.tidings.is_denied();
        table.deny(sent, now);
        drop(table);
        // All counts are estimates now.
        self.tell();
        is_news
    }

    fn begin_incarnation(&self) {
        let mut table = self.table();
        table.begin_incarnation();
        self.changed(table);
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

    fn page_overdue(&self) -> Option<Instant> {
        self.table().tidings.page_overdue()
    }

    fn reports(&self) -> &Notify {
        &self.reports
    }
}
