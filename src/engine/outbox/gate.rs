//! Whether a client may be told counts of the site: it joins, and may leave and join again.

use std::mem;

/// Whether counts may be sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Gate {
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
    /// A membership begins or ends.
    pub(super) fn silence(&mut self) {
        if *self != Self::Closed {
            *self = Self::Silent;
        }
    }

    /// Keeps counts from the client, or does so no more. Returns whether that is a change, or `None` if none are sent anyway.
    pub(super) fn hold(&mut self, is_held: bool) -> Option<bool> {
        if !matches!(self, Self::Open | Self::Held) {
            return None;
        }
        let held = if is_held { Self::Held } else { Self::Open };
        Some(mem::replace(self, held) != held)
    }
}

impl Generation {
    pub(super) fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}
