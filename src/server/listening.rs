//! What the two listeners of an instance differ in.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::{http::serve::HttpService, telemetry::labels::RefusedReason};

/// One of the two listeners.
pub(super) struct Listening {
    pub(super) name: &'static str,
    /// The reason under which connections beyond the limit are counted.
    pub(super) refused_as: RefusedReason,
    pub(super) listener: TcpListener,
    pub(super) service: HttpService,
    pub(super) unacknowledged_for: Duration,
    pub(super) connections_max: usize,
}
