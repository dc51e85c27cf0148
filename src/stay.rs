//! One stay of a visitor in the namespace: who is to be told, its place in the count, and at its end one
//! disconnect in the metrics for the one connect.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicBool, Ordering},
};

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
    /// A session of the library's.
    Session(Sid, FirstValue),
    /// A websocket of our own, during one stay of its client.
    Websocket(Weak<Control>, StayNumber, FirstValue),
}

/// Whether a visitor has been told its first value, which who moves may be told in two places; for nobody else it needs
/// remembering.
#[derive(Clone, Debug, Default)]
pub struct FirstValue(Option<Arc<AtomicBool>>);

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
    presence: Presence<Visitor>,
    first: FirstValue,
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
            first: visitor.first().clone(),
            presence: tally.join(visitor, Instant::now()),
            disconnects: metrics.disconnects.clone(),
            reason: OnceLock::new(),
        }
    }

    /// The visitor is on this websocket of our own from now on, and is told the newest count there.
    pub fn move_to(&self, websocket: &Arc<Control>, number: StayNumber) {
        let visitor = Visitor::Websocket(Arc::downgrade(websocket), number, self.first.clone());
        self.presence.move_to(visitor);
    }

    /// Why it ends; the first reason counts.
    pub fn end_for(&self, reason: &'static str) {
        self.reason.get_or_init(|| reason);
    }
}

impl Visitor {
    /// Whether it has been told its first value.
    pub fn first(&self) -> &FirstValue {
        match self {
            Self::Session(_, first) | Self::Websocket(_, _, first) => first,
        }
    }
}

impl FirstValue {
    /// Of somebody who may move.
    pub fn remembered() -> Self {
        Self(Some(Arc::default()))
    }

    /// The visitor is told a value. Returns whether that is its first.
    pub fn tell(&self) -> bool {
        self.0.as_ref().is_none_or(|told| !told.swap(true, Ordering::Relaxed))
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
