//! Decides when to prune ended entries from a collection: each time it has doubled. So pruning costs amortised O(1) for each
//! insert, and memory depends on the live entries.

/// The smallest size at which a collection is pruned, unless there are very many collections.
pub const FLOOR: usize = 64;

/// Remembers the size at which a collection is to be pruned next.
#[derive(Debug)]
pub struct Prune {
    due_at: u32,
    floor: u32,
}

impl Default for Prune {
    fn default() -> Self {
        Self::above(FLOOR)
    }
}

impl Prune {
    /// For a collection that is not pruned while it has this size or less.
    pub fn above(floor: usize) -> Self {
        Self { due_at: 0, floor: u32::try_from(floor).unwrap_or(u32::MAX) }
    }

    /// Must be called before an insert into a collection of this size. If pruning is due, calls `prune`, which returns the
    /// number of entries that are left.
    pub fn if_due(&mut self, size: usize, prune: impl FnOnce() -> usize) {
        if size >= self.due_at as usize {
            let due_at = u32::try_from(2 * prune()).unwrap_or(u32::MAX);
            self.due_at = due_at.saturating_add(self.floor);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: ended entries take little more memory than live ones, and every entry is looked at only a few times. Method:
    /// ten live entries, and ten thousand that have ended when the next one is inserted.
    #[test]
    fn size_and_work_are_bounded() {
        let (mut prune, mut looks) = (Prune::default(), 0);
        let mut collection: Vec<bool> = Vec::new();
        for number in 0..10_000 {
            prune.if_due(collection.len(), || {
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
