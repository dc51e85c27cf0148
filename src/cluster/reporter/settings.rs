//! Settings of a reporter.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::core::{about::About, count::Incarnation};

/// Settings of a reporter.
#[derive(Debug)]
pub struct ReporterSettings {
    /// The incarnation to begin with.
    pub incarnation: Incarnation,
    /// How long a report stands.
    pub lease: Duration,
    /// The longest time between two reports.
    pub heartbeat: Duration,
    /// The name and version of this instance.
    pub about: watch::Receiver<Arc<About>>,
}
