//! The tasks that keep and tell lists of users.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Server, tasks::Tasks};
use crate::{
    broadcast::lists::ListBroadcaster,
    cluster::lists::ListKeeper,
    core::{rooms::Rooms, view::View},
    engine::{flusher::Flusher, lifecycle::Engine, session::RoomMembership},
};

impl Server {
    /// Spawns both tasks.
    pub(super) fn spawn_lists(
        &self,
        tasks: &mut Tasks,
        engine: &Engine,
        rooms: &Arc<Rooms<RoomMembership>>,
        view: &watch::Receiver<View>,
        flusher: Flusher,
        stop: &CancellationToken,
    ) {
        let users = Arc::<Rooms<_>>::clone(rooms);
        let lists = Arc::clone(engine.lists());
        let keeper = ListKeeper::new(Arc::clone(&self.store), users, lists, view.clone());
        let broadcaster = ListBroadcaster::new(
            Arc::clone(engine.lists()),
            flusher,
            self.metrics.clone(),
            self.config.emit_interval,
        );
        tasks.spawn("keeper of lists", keeper.run(stop.clone()));
        tasks.spawn("broadcaster of lists", broadcaster.run(stop.clone()));
    }
}
