//! The peaks of the site: the highest count of each recent day, and the highest ever. Plain data, and how two parties that each
//! know some peaks come to know the same.
//!
//! Days are days of UTC by the store's clock. A clock that jumps to another day and comes back finds its day as it left it.

use std::collections::{BTreeMap, HashMap};

use tokio::time::Instant;

use super::count::{Revision, Sequence};

/// A day in milliseconds.
pub const DAY_MS: u64 = 24 * 60 * 60 * 1000;
/// The most days that are remembered. Only the current one is shown. The others are there for a clock that is wrong for some
/// days and then right again.
pub const DAYS_MAX: usize = 8;
/// The most users of a peak: a thousand instances with as many connections as a report may claim. More is a forged number.
pub const PEAK_USERS_MAX: u64 = 1_000_000_000_000;
/// The latest time of a peak, the end of the year 9999. A later one is a forged number.
pub const PEAK_TIME_MAX: u64 = 253_402_300_799_999;

/// The highest count of some time, and when it was reached first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peak {
    /// Users in the whole cluster; 1 to [`PEAK_USERS_MAX`].
    pub users: u64,
    /// When, in milliseconds since 1970 by the store's clock; at most [`PEAK_TIME_MAX`].
    pub at: u64,
}

impl Peak {
    /// The day of the peak, in days since 1970.
    pub fn day(&self) -> u64 {
        self.at / DAY_MS
    }

    /// Whether both numbers are in their ranges.
    pub fn is_possible(&self) -> bool {
        (1..=PEAK_USERS_MAX).contains(&self.users) && self.at <= PEAK_TIME_MAX
    }

    /// Whether this peak replaces one that is known. Of equals the one that was told first stands, so that nothing moves when
    /// two instances have seen the same peak some milliseconds apart.
    fn replaces(&self, known: &Self) -> bool {
        self.users > known.users
    }
}

/// The peaks that an instance or a store knows. The peak ever is at least as high as that of every day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peaks {
    ever: Option<Peak>,
    /// The peaks of days, by days since 1970.
    days: BTreeMap<u64, Peak>,
}

impl Peaks {
    /// The peak ever.
    pub fn ever(&self) -> Option<Peak> {
        self.ever
    }

    /// The peak of a day, which is given in days since 1970.
    pub fn on(&self, day: u64) -> Option<Peak> {
        self.days.get(&day).copied()
    }

    /// The peaks of all remembered days, the oldest first.
    pub fn days(&self) -> impl Iterator<Item = Peak> {
        self.days.values().copied()
    }

    /// Adds a peak of its day. One that is not possible is ignored.
    pub fn add(&mut self, peak: Peak) {
        if !peak.is_possible() {
            return;
        }
        let of_day = self.days.entry(peak.day()).or_insert(peak);
        if peak.replaces(of_day) {
            *of_day = peak;
        }
        self.add_ever(peak);
    }

    /// Adds a peak whose day may be forgotten. One that is not possible is ignored.
    pub fn add_ever(&mut self, peak: Peak) {
        if peak.is_possible() && self.ever.is_none_or(|ever| peak.replaces(&ever)) {
            self.ever = Some(peak);
        }
    }

    /// Adds all that somebody else knows.
    pub fn merge(&mut self, other: &Self) {
        other.ever.into_iter().for_each(|peak| self.add_ever(peak));
        other.days().for_each(|peak| self.add(peak));
    }

    /// Forgets the oldest days if there are more than [`DAYS_MAX`], but never `today`, which may be among the oldest after a
    /// clock was wrong.
    pub fn prune(&mut self, today: u64) {
        while self.days.len() > DAYS_MAX {
            let oldest = self.days.keys().copied().find(|&day| day != today);
            self.days.remove(&oldest.expect("there are several days"));
        }
    }
}

/// The peaks as they are shown to people and programs; `None` is not known, or nobody was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShownPeaks {
    /// The peak of the current day of UTC.
    pub today: Option<Peak>,
    /// The peak ever.
    pub ever: Option<Peak>,
}

/// What a store answers to an instance that tells it what peaks it knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeaksAnswer {
    /// The store's time, in milliseconds since 1970.
    pub now: u64,
    /// All that the store knows now.
    pub peaks: Peaks,
    /// Who was alive at that moment.
    pub attendance: Attendance,
}

/// The instances that the store counts or has counted, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attendance {
    /// The revision of the count at that moment.
    pub revision: Revision,
    /// Whether users of incarnations that have ended are still being taken out of the count.
    pub has_dead: bool,
    /// By incarnation: every live instance, and those whose farewell is remembered. An instance that crashed is in it until its
    /// lease ends, and then no longer.
    pub instances: HashMap<String, Attendee>,
}

impl Attendance {
    /// The instances that are counted.
    pub fn counted(&self) -> impl Iterator<Item = (&String, &Attendee)> {
        self.instances.iter().filter(|(_, attendee)| attendee.is_counted)
    }
}

/// An instance in an [`Attendance`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attendee {
    /// The number of its last report that was applied.
    pub sequence: Sequence,
    /// Whether it is counted. False after its farewell.
    pub is_counted: bool,
}

/// An exact count that this instance's view held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Users in the whole cluster.
    pub users: u64,
    /// The revision of this number.
    pub revision: Revision,
    /// Live instances, as far as the view knew.
    pub instances: u32,
    /// When the view held it first.
    pub at: Instant,
}

#[cfg(test)]
#[path = "peaks/tests.rs"]
mod tests;
