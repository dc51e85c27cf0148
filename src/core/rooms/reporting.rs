//! The table of rooms as reports and announcements need it.

use std::fmt;

use tokio::{sync::Notify, time::Instant};

use super::{
    ledger::{RoomsToReport, SentRooms},
    tidings::{Page, Standing},
};
use crate::core::{
    count::Count,
    report::Reply,
    site_users::{SiteUsers, UsersHere},
    view::View,
};

/// The rooms of this instance, as reports and announcements need them: [`super::Rooms`] without the type of its connections.
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
    /// and all their counts are estimates.
    fn deny(&self, sent: &SentRooms, now: Instant);

    /// Begins a new incarnation: the store holds nothing of it.
    fn begin_incarnation(&self);

    /// Whether not everything has been said again since the present incarnation began.
    fn is_resending(&self) -> bool;

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

    /// Wakes the readers of the counts if a newcomer has waited too long for the store: joins do not wake them. Returns when it must
    /// be called again.
    fn wake_for_overdue(&self, now: Instant) -> Option<Instant>;

    /// When an announcement that has not arrived is missed.
    fn page_overdue(&self) -> Option<Instant>;

    /// Notified when something is to be reported.
    fn reports(&self) -> &Notify;
}
