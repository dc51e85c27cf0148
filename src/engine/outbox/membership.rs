//! Whether a client may be told counts of the site: it joins, and may leave and join again.

use std::mem;

use super::{Outbox, Sink};

/// Whether counts may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CountGate {
    Silent,
    Open,
    /// The client was told an estimate, and an exact count would leave it out.
    Held,
    Closed,
}

/// Numbers the memberships of one session, whose client may leave the namespace and join again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl<S: Sink, P> Outbox<S, P> {
    /// Begins a membership. A count that an earlier membership was to be told is dropped.
    pub fn join(&mut self) -> Generation {
        self.newest = None;
        if self.counts != CountGate::Closed {
            self.counts = CountGate::Silent;
        }
        self.generation.0 = self.generation.0.wrapping_add(1);
        self.generation
    }

    /// Whether there was a membership before.
    pub fn has_joined_before(&self) -> bool {
        self.generation != Generation::default()
    }

    /// Ends the membership. A first count that comes too late finds another generation.
    pub fn leave(&mut self) {
        self.join();
    }

    /// Allows counts to be sent, now that the join has been acknowledged. Returns whether the session must be added to the
    /// broadcaster's list, or `None` if this membership is over.
    pub fn open(&mut self, generation: Generation) -> Option<bool> {
        if self.counts == CountGate::Closed || generation != self.generation {
            return None;
        }
        self.counts = CountGate::Open;
        Some(!mem::replace(&mut self.listed, true))
    }

    /// Keeps counts from the client, or tells it the next ones again. Returns whether that is a change, or `None` if this membership
    /// is over or has not been opened.
    pub fn hold(&mut self, generation: Generation, is_held: bool) -> Option<bool> {
        if generation != self.generation
            || !matches!(self.counts, CountGate::Open | CountGate::Held)
        {
            return None;
        }
        let gate = if is_held { CountGate::Held } else { CountGate::Open };
        Some(mem::replace(&mut self.counts, gate) != gate)
    }

    /// Whether the session is on the broadcaster's list.
    pub fn is_listed(&self) -> bool {
        self.listed
    }

    /// Records that the broadcaster removed the session from its list.
    pub fn unlist(&mut self) {
        self.listed = false;
    }
}
