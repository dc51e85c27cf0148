//! A map of which there are very many, most of them with one entry or none.

use std::{collections::BTreeMap, ops::Bound};

/// A map in the order of its keys. One entry takes little more memory than itself; a tree would begin with space for eleven.
#[derive(Clone, Debug)]
pub struct SmallMap<K, V> {
    /// The only entry. With more entries, all of them are in `many`.
    only: Option<(K, V)>,
    many: BTreeMap<K, V>,
}

impl<K, V> Default for SmallMap<K, V> {
    fn default() -> Self {
        Self { only: None, many: BTreeMap::new() }
    }
}

impl<K: Clone + Ord, V: Default> SmallMap<K, V> {
    /// The number of entries.
    pub fn len(&self) -> usize {
        usize::from(self.only.is_some()) + self.many.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        match &self.only {
            Some((only, value)) => (only == key).then_some(value),
            None => self.many.get(key),
        }
    }

    /// The value of a key, to be changed.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        match &mut self.only {
            Some((only, value)) => (only == key).then_some(value),
            None => self.many.get_mut(key),
        }
    }

    /// The value of a key, which is added if it is missing.
    pub fn get_or_default(&mut self, key: &K) -> &mut V {
        if self.many.is_empty() && self.only.as_ref().is_none_or(|(only, _)| only == key) {
            return &mut self.only.get_or_insert_with(|| (key.clone(), V::default())).1;
        }
        self.many.extend(self.only.take());
        self.many.entry(key.clone()).or_default()
    }

    /// Removes a key.
    pub fn remove(&mut self, key: &K) {
        self.only.take_if(|(only, _)| only == key);
        self.many.remove(key);
        if self.many.len() == 1 {
            self.only = self.many.pop_first();
        }
    }

    /// All entries.
    pub fn entries(&self) -> impl Iterator<Item = (&K, &V)> {
        self.after(None)
    }

    /// The entries behind a key, which need not be in the map; all of them if there is none.
    pub fn after(&self, key: Option<&K>) -> impl Iterator<Item = (&K, &V)> {
        let only = self.only.iter().filter(move |(only, _)| key.is_none_or(|key| only > key));
        let from = key.map_or(Bound::Unbounded, Bound::Excluded);
        let many = self.many.range((from, Bound::Unbounded));
        only.map(|(only, value)| (only, value)).chain(many)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: the map does what a tree does. Method: random changes of few keys; all that can be asked, after each of them.
        #[test]
        fn it_is_a_map(changes in proptest::collection::vec((0..5u8, any::<Option<u8>>()), 0..40)) {
            let (mut map, mut tree) = (SmallMap::default(), BTreeMap::new());
            for (key, value) in changes {
                if let Some(value) = value {
                    *map.get_or_default(&key) = value;
                    tree.insert(key, value);
                } else {
                    map.remove(&key);
                    tree.remove(&key);
                }
                prop_assert_eq!((map.len(), map.is_empty()), (tree.len(), tree.is_empty()));
                prop_assert!(map.entries().eq(&tree));
                prop_assert!(map.many.len() != 1, "one entry is not in a tree");
                for key in 0..6 {
                    prop_assert_eq!(map.get(&key), tree.get(&key));
                    prop_assert_eq!(map.get_mut(&key), tree.get_mut(&key));
                    prop_assert!(map.after(Some(&key)).eq(tree.range(key + 1..)));
                }
            }
        }
    }
}
