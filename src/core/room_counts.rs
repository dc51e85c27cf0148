//! The counts of rooms, for readers that do not know what a connection is.

use std::fmt;

use tokio::{sync::watch, time::Instant};

use super::{
    room::RoomName,
    rooms::{Rooms, TooManyRooms},
    site_users::UsersHere,
    tally::SiteLedger,
    view::{Shown, View},
};

/// The table of rooms, as programs read it: [`Rooms`] without the type of its connections.
pub trait RoomCounts: fmt::Debug + Send + Sync + 'static {
    /// See [`Rooms::ask`].
    ///
    /// # Errors
    /// As for [`Rooms::ask`].
    fn ask(&self, room: &RoomName, now: Instant, until: Instant) -> Result<(), TooManyRooms>;

    /// See [`Rooms::shown`].
    fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Option<Shown>;

    /// See [`Rooms::connections`].
    fn connections(&self, room: &RoomName) -> u64;

    /// See [`Rooms::users_here`].
    fn users_here(&self, room: &RoomName) -> UsersHere;

    /// The users of the site with an identity whom this instance has.
    fn site_users_here(&self) -> UsersHere;

    /// See [`Rooms::subscribe`].
    fn subscribe(&self) -> watch::Receiver<u64>;
}

impl<V: fmt::Debug + Send + 'static> RoomCounts for Rooms<V> {
    fn ask(&self, room: &RoomName, now: Instant, until: Instant) -> Result<(), TooManyRooms> {
        self.ask(room, now, until)
    }

    fn shown(&self, room: &RoomName, view: &View, now: Instant) -> Option<Shown> {
        self.shown(room, view, now)
    }

    fn connections(&self, room: &RoomName) -> u64 {
        self.connections(room)
    }

    fn users_here(&self, room: &RoomName) -> UsersHere {
        self.users_here(room)
    }

    fn site_users_here(&self) -> UsersHere {
        SiteLedger::site_users_here(self)
    }

    fn subscribe(&self) -> watch::Receiver<u64> {
        self.subscribe()
    }
}
