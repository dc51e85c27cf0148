//! A round through the slots of the table, some at a time.

/// A round through the slots of the table. A round that begins while another is under way replaces it: every slot is visited
/// after that moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    next: usize,
    left: usize,
}

impl Round {
    /// Begins a round through this many slots.
    pub(super) fn begin(&mut self, slots: usize) {
        self.left = slots;
    }

    /// Whether slots are left to visit.
    pub(super) fn is_under_way(&self) -> bool {
        self.left > 0
    }

    /// How many slots are left to visit.
    pub(super) fn left(&self) -> usize {
        self.left
    }

    /// The next slot to visit, of this many.
    pub(super) fn step(&mut self, slots: usize) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        if slots == 0 {
            return None;
        }
        let slot = self.next % slots;
        self.next = slot + 1;
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: a round visits every slot once, and all of them again if another begins meanwhile. Method: a round that is
    /// interrupted, and one over a table that shrinks.
    #[test]
    fn a_round_visits_every_slot() {
        let mut round = Round::default();
        assert_eq!(round.step(5), None);
        round.begin(5);
        let first: Vec<_> = (0..3).filter_map(|_| round.step(5)).collect();
        assert_eq!(first, [0, 1, 2]);
        round.begin(5);
        let rest: Vec<_> = std::iter::from_fn(|| round.step(5)).collect();
        assert_eq!(rest, [3, 4, 0, 1, 2]);
        assert!(!round.is_under_way());
        round.begin(5);
        assert_eq!(std::iter::from_fn(|| round.step(2)).count(), 5, "some twice, none beyond");
    }
}
