//! Whether a client may be told counts of the site: it joins, and may leave and join again.

use std::mem;

/// The gate of one session. It is silent at first.
#[derive(Debug, Default)]
pub(super) struct Gate {
    pub(super) state: GateState,
    generation: Generation,
    /// Whether the session is on the broadcaster's list.
    pub(super) is_listed: bool,
}

/// Whether counts may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum GateState {
    #[default]
    Silent,
    Open,
    /// The client was told an estimate, and an exact count would leave it out.
    Held,
    Closed,
}

/// Numbers the memberships of one session, whose client may leave the namespace and join again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Generation(u32);

impl Gate {
    /// Begins a membership, or ends one: a first count that comes too late finds another generation.
    pub(super) fn begin(&mut self) -> Generation {
        if self.state != GateState::Closed {
            self.state = GateState::Silent;
        }
        self.generation.0 = self.generation.0.wrapping_add(1);
        self.generation
    }

    /// Whether there was a membership before.
    pub(super) fn has_begun(&self) -> bool {
        self.generation != Generation::default()
    }

    pub(super) fn open(&mut self, generation: Generation) -> Option<bool> {
        if self.state == GateState::Closed || generation != self.generation {
            return None;
        }
        self.state = GateState::Open;
        Some(!mem::replace(&mut self.is_listed, true))
    }

    pub(super) fn hold(&mut self, generation: Generation, is_held: bool) -> Option<bool> {
        let is_open = matches!(self.state, GateState::Open | GateState::Held);
        if generation != self.generation || !is_open {
            return None;
        }
        let state = if is_held { GateState::Held } else { GateState::Open };
        Some(mem::replace(&mut self.state, state) != state)
    }
}
