//! When a collection is rid of what has ended: once it has doubled. So each insert pays for one sweep at most, and memory
//! depends on what goes on, not on what went on. Pure.

/// The smallest number at which sweeping is worth the look.
const FLOOR: usize = 64;

/// Remembers at which size the next sweep is due.
#[derive(Debug, Default)]
pub struct Sweep {
    due_at: usize,
}

impl Sweep {
    /// Before an insert into a collection of this size: calls `sweep`, which returns how many are left, if it is due.
    pub fn if_due(&mut self, size: usize, sweep: impl FnOnce() -> usize) {
        if size >= self.due_at {
            self.due_at = 2 * sweep() + FLOOR;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what has ended takes at most as much room as what has not, and some, and sweeping looks at each a few times
    /// at most. Method: ten that stay and ten thousand that have ended when the next one comes.
    #[test]
    fn size_and_work_are_bounded() {
        let (mut sweep, mut looks) = (Sweep::default(), 0);
        let mut collection: Vec<bool> = Vec::new();
        for number in 0..10_000 {
            sweep.if_due(collection.len(), || {
                looks += collection.len();
                collection.retain(|&stays| stays);
                collection.len()
            });
            collection.push(number < 10);
            assert!(collection.len() <= 2 * 10 + FLOOR, "{}", collection.len());
        }
        assert!(looks <= 3 * 10_000, "{looks}");
    }
}
