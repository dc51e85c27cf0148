//! One stay of a visitor in the namespace: who is to be told, its place in the count, and at its end one
//! disconnect in the metrics for the one connect.

use std::sync::{Arc, OnceLock, Weak};

use prometheus::IntCounterVec;
use socketioxide::socket::Sid;
use tokio::time::Instant;

use crate::{
    connection::Control,
    metrics::Metrics,
    outlet::StayNumber,
    tally::{Presence, Tally},
};

/// Whom the broadcaster tells.
#[derive(Clone, Debug)]
pub enum Visitor {
    /// A session of the library's: polling, and websockets that began with it.
    Session(Sid),
    /// A websocket of our own, during one stay of its client.
    Websocket(Weak<Control>, StayNumber),
}

/// How a visitor came, as the metrics call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A websocket from the start.
    Websocket,
    /// Polling, at least at first.
    Polling,
}

/// See the module's documentation.
#[derive(Debug)]
pub struct Stay {
    _presence: Presence<Visitor>,
    disconnects: IntCounterVec,
    reason: OnceLock<&'static str>,
}

impl Stay {
    /// Counts a visitor in.
    pub fn begin(
        tally: &Arc<Tally<Visitor>>,
        metrics: &Metrics,
        visitor: Visitor,
        transport: Transport,
    ) -> Self {
        metrics.connects.with_label_values(&[transport.label()]).inc();
        Self {
            _presence: tally.join(visitor, Instant::now()),
            disconnects: metrics.disconnects.clone(),
            reason: OnceLock::new(),
        }
    }

    /// Why it ends; the first reason counts.
    pub fn end_for(&self, reason: &'static str) {
        self.reason.get_or_init(|| reason);
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let reason = self.reason.get().copied().unwrap_or("while_connecting");
        self.disconnects.with_label_values(&[reason]).inc();
    }
}

impl Transport {
    /// Its name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
        }
    }
}
