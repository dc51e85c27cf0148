//! What the two listeners of an instance differ in.

use std::time::Duration;

use tokio::net::TcpListener;

use crate::{
    http::{
        serve::HttpService,
        timeouts::{HEAD_TIMEOUT, Timeouts},
    },
    ops::console::board::OPERATORS_MAX,
    telemetry::labels::RefusedReason,
};

/// The `TCP_USER_TIMEOUT` of connections to the admin listener.
pub(super) const ADMIN_UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// The most connections of the admin listener at a time: all pages of the console with their sockets, and twice as many requests
/// besides.
pub(super) const ADMIN_CONNECTIONS_MAX: usize = 128;
/// How long those connections may wait. An open page of the console asks for the rooms every five seconds. Its connection must not
/// wait for that, or the pages of some operators keep probes out.
pub(super) const ADMIN_TIMEOUTS: Timeouts =
    Timeouts { head: HEAD_TIMEOUT, keep_alive: Duration::from_secs(2) };

const _: () = assert!(
    ADMIN_CONNECTIONS_MAX >= 3 * OPERATORS_MAX,
    "probes and scrapes must get through, however many operators look"
);

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
