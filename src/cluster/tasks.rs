//! The tasks between a local count and the view: made together, since they share the view, and spawned by whoever owns the
//! local count.

use std::sync::Arc;

use tokio::sync::{Notify, watch};

use super::{
    observer::Observer,
    peaks::PeakKeeper,
    reporter::{Reporter, ReporterSettings},
    subscriber::Subscriber,
};
use crate::{
    core::{rooms::RoomLedger, tally::Local, view::View},
    store::Store,
    telemetry::metrics::Metrics,
};

/// The view, and the tasks that keep it up to date. They are not spawned yet.
#[derive(Debug)]
pub struct ClusterTasks {
    /// The view that the tasks keep up to date.
    pub view: Arc<watch::Sender<View>>,
    /// Reports the local count, and folds replies into the view.
    pub reporter: Reporter,
    /// Folds announcements into the view.
    pub subscriber: Subscriber,
    /// Puts the local count into the view.
    pub observer: Observer,
    /// Keeps the peaks.
    pub peaks: PeakKeeper,
}

impl ClusterTasks {
    /// The tasks for a local count and for rooms.
    pub fn new(
        settings: &ReporterSettings,
        store: &Arc<dyn Store>,
        rooms: Arc<dyn RoomLedger>,
        local: watch::Receiver<Local>,
        metrics: &Metrics,
    ) -> Self {
        let view = Arc::new(watch::Sender::new(View::default()));
        let resync = Arc::new(Notify::new());
        let (store, metrics) = (Arc::clone(store), metrics.clone());
        let observer = Observer::new(local.clone(), Arc::clone(&rooms), Arc::clone(&view));
        let peaks =
            PeakKeeper::new(settings, Arc::clone(&store), Arc::clone(&view), metrics.clone());
        let reporter = Reporter::new(
            settings,
            Arc::clone(&store),
            local,
            Arc::clone(&view),
            Arc::clone(&rooms),
            Arc::clone(&resync),
            metrics.clone(),
        );
        let subscriber = Subscriber::new(store, Arc::clone(&view), rooms, resync, metrics);
        Self { view, reporter, subscriber, observer, peaks }
    }
}
