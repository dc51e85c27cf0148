//! What the public routes look at.

use std::{sync::Arc, time::Duration};

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    access::origin::{Origins, RefusalLog},
    core::{peaks::ShownPeaks, view::View},
    telemetry::metrics::Metrics,
};

/// What the public routes look at.
#[derive(Debug)]
pub struct Site {
    /// The count of the cluster, as this instance knows it.
    pub view: watch::Receiver<View>,
    /// The peaks of the site.
    pub peaks: watch::Receiver<ShownPeaks>,
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
