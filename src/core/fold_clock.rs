//! The time by which something is judged that was folded in from the store: the later of two clocks.

use tokio::time::Instant;

/// When something was last folded in.
///
/// Whoever asks may have read the clock before that, and got no processor since: then the time of the fold counts. By the older
/// time, a lease that has ended would still hold beside counts that were made after its end.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct FoldClock(Option<Instant>);

impl FoldClock {
    /// Records that something is folded in at `now`.
    pub fn fold(&mut self, now: Instant) {
        self.0 = self.0.max(Some(now));
    }

    /// The time by which someone judges who read `now` from the clock.
    pub fn judged_at(self, now: Instant) -> Instant {
        self.0.map_or(now, |folded| now.max(folded))
    }
}
