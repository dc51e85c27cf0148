//! The rooms of a run: their names, and which visitor is in which. Pure.

use std::collections::BTreeSet;

/// The beginning of the names of all rooms, unless another one is set.
pub(crate) const PREFIX: &str = "/load/";
/// The most rooms. Their names have at most six digits.
pub(crate) const ROOMS_MAX: u32 = 100_000;
/// The fractional part of the golden ratio: its multiples are spread evenly between 0 and 1, and so is any part of them.
const GOLDEN: f64 = 0.618_033_988_749_894_9;

/// Which rooms there are, and who is in them.
#[derive(Clone, Debug, PartialEq)]
pub struct RoomPlan {
    /// The beginning of all names. A number follows.
    pub(crate) prefix: String,
    /// How many rooms there are.
    pub(crate) rooms: u32,
    /// In how many of them every visitor is.
    pub(crate) per_connection: u32,
    /// How uneven they are: 0 for rooms of the same size.
    pub(crate) skew: f64,
}

impl RoomPlan {
    /// The name of a room.
    pub(crate) fn name(&self, room: u32) -> String {
        format!("{}{room}", self.prefix)
    }

    /// The room of this name. `None` if there is none.
    pub(crate) fn find(&self, name: &str) -> Option<u32> {
        let digits = name.strip_prefix(&self.prefix)?;
        let room: u32 = digits.parse().ok().filter(|room| *room < self.rooms)?;
        // Neither a plus sign nor leading zeros.
        (digits.len() == room.to_string().len()).then_some(room)
    }

    /// The rooms of a visitor, each once. The visitors are numbered from 0.
    pub(crate) fn rooms_of(&self, visitor: u64) -> Vec<u32> {
        let mut taken = BTreeSet::new();
        let first = visitor.wrapping_mul(u64::from(self.per_connection));
        for place in 0..self.per_connection {
            let mut room = self.room_at(first.wrapping_add(u64::from(place)));
            while !taken.insert(room) {
                room = (room + 1) % self.rooms;
            }
        }
        taken.into_iter().collect()
    }

    /// The room at this place in the order of all memberships.
    fn room_at(&self, place: u64) -> u32 {
        if self.skew == 0.0 {
            let room = place % u64::from(self.rooms);
            return u32::try_from(room).expect("it is less than the number of rooms");
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a number of rooms is one; places beyond 2^53 do not occur"
        )]
        let room = {
            let spread = (place as f64 * GOLDEN).fract();
            (f64::from(self.rooms) * spread.powf(1.0 + self.skew)) as u32
        };
        room.min(self.rooms - 1)
    }

    /// At most `most` rooms, spread over all.
    pub(crate) fn sample(&self, most: u32) -> Vec<u32> {
        let step = self.rooms.div_ceil(most).max(1);
        (0..self.rooms).step_by(step as usize).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plan(rooms: u32, per_connection: u32, skew: f64) -> RoomPlan {
        RoomPlan { prefix: PREFIX.to_owned(), rooms, per_connection, skew }
    }

    /// How many of the first visitors are in each room.
    fn sizes(plan: &RoomPlan, visitors: u64) -> Vec<u32> {
        let mut sizes = vec![0; plan.rooms as usize];
        for room in (0..visitors).flat_map(|visitor| plan.rooms_of(visitor)) {
            sizes[room as usize] += 1;
        }
        sizes
    }

    /// Goal: without skew all rooms have the same size, give or take one. Method: numbers of visitors that fill them evenly, and
    /// one that does not.
    #[test]
    fn rooms_are_even() {
        assert!(sizes(&plan(10, 2, 0.0), 50).iter().all(|&size| size == 10));
        assert!(sizes(&plan(7, 3, 0.0), 10).iter().all(|&size| (4..=5).contains(&size)));
        assert_eq!(sizes(&plan(3, 3, 0.0), 4), [4, 4, 4]);
    }

    /// Goal: with skew the first rooms are much larger than the last ones. Method: compare the first tenth with the last.
    #[test]
    fn rooms_can_be_uneven() {
        let sizes = sizes(&plan(100, 1, 2.0), 10_000);
        let (first, last) = (sizes[..10].iter().sum::<u32>(), sizes[90..].iter().sum::<u32>());
        assert!(first > 10 * last && last > 0, "{first} and {last}");
    }

    proptest! {
        /// Goal: every visitor is in as many different rooms as set. Method: random plans and visitors.
        #[test]
        fn rooms_are_different(rooms in 1_u32..50, per in 1_u32..50, skew in 0.0..5.0, visitor: u64) {
            let plan = plan(rooms, per.min(rooms), skew);
            let mine = plan.rooms_of(visitor);
            let different: BTreeSet<_> = mine.iter().collect();
            prop_assert_eq!((different.len(), mine.len()), (mine.len(), per.min(rooms) as usize));
            prop_assert!(mine.iter().all(|room| *room < rooms));
        }

        /// Goal: rooms are found by their exact names, and no others. Method: names of all rooms, and nearly right ones.
        #[test]
        fn rooms_are_found(rooms in 1_u32..2000, room: u32, odd in "/load/[+0]?[0-9]{0,5} ?") {
            let plan = plan(rooms, 1, 0.0);
            prop_assert_eq!(plan.find(&plan.name(room)), (room < rooms).then_some(room));
            if let Some(room) = plan.find(&odd) {
                prop_assert_eq!(plan.name(room), odd);
            }
            let sample = plan.sample(100);
            prop_assert!(sample.len() <= 100 && sample.contains(&0));
            prop_assert!(sample.len() >= 50.min(rooms as usize));
        }
    }
}
