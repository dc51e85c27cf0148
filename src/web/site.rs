//! What the public routes look at.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Semaphore, watch},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{room_query::Refusal, site_rooms::SiteRooms, user_pages::UserPages};
use crate::{
    access::origin::{Origins, RefusalLog},
    core::{
        peaks::ShownPeaks,
        report::Room,
        site_users::UsersHere,
        tally::Local,
        view::{Shown, View},
    },
    identity::sign_in::SignIn,
    telemetry::{labels::RefusedReason, metrics::Metrics},
};

/// What the public routes look at.
#[derive(Debug)]
pub struct Site {
    /// The count of the cluster, as this instance knows it.
    pub view: watch::Receiver<View>,
    /// The connections of this instance.
    pub local: watch::Receiver<Local>,
    /// The counts of rooms, and which rooms may be asked for.
    pub rooms: SiteRooms,
    /// The users of rooms.
    pub users: UserPages,
    /// The peaks of the site.
    pub peaks: watch::Receiver<ShownPeaks>,
    /// Knows the bearers of tokens.
    pub sign_in: SignIn,
    /// Which pages may read event streams.
    pub origins: Origins,
    /// Logs pages that may not.
    pub refusal_log: RefusalLog,
    /// Counts open and refused streams.
    pub metrics: Metrics,
    /// One permit for each event stream.
    pub permits: Arc<Semaphore>,
    /// Least time between two events of a stream.
    pub pace: Duration,
    /// Ends all streams when clients are sent elsewhere.
    pub closing: CancellationToken,
    /// The name by which people know this instance.
    pub host: Arc<str>,
}

impl Site {
    /// Has these rooms watched for a minute, and waits a short time for the counts that are not known yet.
    ///
    /// # Errors
    /// If there is no place for one of them.
    pub(super) async fn ask(&self, rooms: &[Room]) -> Result<(), Refusal> {
        self.watch(rooms)?;
        self.rooms.wait_for(rooms, &self.view).await;
        Ok(())
    }

    /// Has these rooms watched for a minute.
    ///
    /// # Errors
    /// If there is no place for one of them.
    pub(super) fn watch(&self, rooms: &[Room]) -> Result<(), Refusal> {
        let watched = self.rooms.ask(rooms, Instant::now());
        watched.inspect_err(|_| self.metrics.refuse(RefusedReason::Rooms))
    }

    /// The count of the site or of a room, as far as it is known.
    pub(super) fn shown(&self, room: &Room, view: &View, now: Instant) -> Shown {
        match room {
            Room::Site => view.shown(now),
            Room::Named(name) => self.rooms.shown(name, view, now),
        }
    }

    /// The counted connections of the site or of a room on this instance.
    pub(super) fn connections(&self, room: &Room) -> u64 {
        match room {
            Room::Site => self.local.borrow().connections,
            Room::Named(name) => self.rooms.connections(name),
        }
    }

    /// The users of the site on this instance, by what is known of them.
    pub(super) fn users_here(&self) -> UsersHere {
        // The count is not borrowed while the table is asked, which tells others of its changes under its lock.
        let none = self.local.borrow().anonymous;
        UsersHere { none, ..self.rooms.site_users_here() }
    }
}
