//! The count, its revision, and the ids of instances and reports: plain data, and the rule by which a count replaces another.

use std::{fmt, num::NonZeroU64, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};
use uuid::Uuid;

/// The largest revision, sequence or count that is exact in a Lua number (an IEEE double): 2⁵³ − 2, so that
/// "one more" is exact as well.
pub const WHOLE_MAX: u64 = (1 << 53) - 2;

/// What the store says about the whole cluster: how many users, at which revision.
///
/// This is also what is published on the channel, as JSON: `{"count":5,"revision":12}`, with
/// `"recovering":true` while the store is recovering.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Users in the whole cluster.
    #[serde(rename = "count")]
    pub users: u64,
    /// The revision of this number.
    pub revision: Revision,
    /// True while a store that lost its data waits for all instances to report again. The number is then the sum of what has
    /// been reported so far, and may be too small.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recovering: bool,
    /// Which report made this revision; empty if that is not known.
    #[serde(default, skip_serializing_if = "Stamp::is_empty")]
    pub stamp: Stamp,
}

impl Count {
    /// The fold rule: a count replaces another only if its revision is greater. Replies and announcements
    /// cross each other on the way; by this rule any order of arrival ends in the same place.
    pub fn supersedes(&self, other: &Self) -> bool {
        self.revision > other.revision
    }
}

/// The estimate of an instance: who is here and nowhere else, and those of the other instances as they were last known. As long as they
/// were never known, a count that was heard may include all who are here: they are not counted twice.
pub fn estimate(elsewhere: Option<u64>, heard: u64, here: u64) -> u64 {
    elsewhere.map_or_else(|| heard.max(here), |elsewhere| elsewhere + here)
}

/// A count, or none, in the space of one number: very many of them are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MaybeCount(Option<NonZeroU64>);

impl MaybeCount {
    /// No count.
    pub const NONE: Self = Self(None);

    /// The count, if there is one.
    pub fn get(self) -> Option<u64> {
        self.0.map(|more| more.get() - 1)
    }
}

impl From<u64> for MaybeCount {
    /// A count above [`WHOLE_MAX`], which no store can make, becomes [`WHOLE_MAX`].
    fn from(count: u64) -> Self {
        Self(NonZeroU64::new(count.min(WHOLE_MAX) + 1))
    }
}

/// Says whose report made a revision, and when. A store that loses data may make the same revision again, perhaps with the same
/// report, if that arrives twice; the stamp is another one then. As text: the last 8 characters of the incarnation, a dot, and the
/// time in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Stamp {
    /// The last 32 bits of the incarnation.
    incarnation: u32,
    at_micros: u64,
}

impl Stamp {
    /// The stamp of a revision that a report of this incarnation makes at this time of the store's own clock.
    pub fn new(incarnation: Incarnation, at: Duration) -> Self {
        let [.., a, b, c, d] = *incarnation.0.as_bytes();
        let at_micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
        Self { incarnation: u32::from_be_bytes([a, b, c, d]), at_micros }
    }

    /// Parses the text of a stamp; the empty text is the empty stamp. `None` if it is no stamp.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::default());
        }
        let (incarnation, at) = text.split_once('.')?;
        let is_hex = incarnation.len() == 8 && incarnation.bytes().all(|b| b.is_ascii_hexdigit());
        let is_decimal = !at.is_empty() && at.bytes().all(|b| b.is_ascii_digit());
        if !is_hex || !is_decimal {
            return None;
        }
        let incarnation = u32::from_str_radix(incarnation, 16).ok()?;
        Some(Self { incarnation, at_micros: at.parse().ok()? })
    }

    /// Whether it is not known which report made the revision.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return Ok(());
        }
        write!(f, "{:08x}.{}", self.incarnation, self.at_micros)
    }
}

impl Serialize for Stamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Stamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("no stamp"))
    }
}

/// A number that grows with every change of the count. Zero stands for "none yet".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(pub u64);

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The random id of one life of an instance. A restarted instance has a new one, so reports of its former life cannot be
/// mistaken for its own. Version 7 UUIDs sort by the time at which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(Uuid);

impl Incarnation {
    /// A new id, different from all others.
    pub fn random() -> Self {
        Self(Uuid::now_v7())
    }
}

impl From<Uuid> for Incarnation {
    fn from(id: Uuid) -> Self {
        Self(id)
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Numbers the reports of one incarnation. Every send takes a new number, also a retry, so that the store can refuse
/// reports that arrive late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The next number.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::count;

    /// Goal: the JSON of a count is the documented one. Method: write and read it, with and without the mark `recovering`.
    #[test]
    fn json_is_the_documented_interface() {
        let quiet = count(5, 12);
        let marked = Count { recovering: true, ..quiet };
        assert_eq!(serde_json::to_string(&quiet).unwrap(), r#"{"count":5,"revision":12}"#);
        let text = r#"{"count":5,"revision":12,"recovering":true}"#;
        assert_eq!(serde_json::to_string(&marked).unwrap(), text);
        assert_eq!(serde_json::from_str::<Count>(text).unwrap(), marked);
        assert_eq!(serde_json::from_str::<Count>(r#"{"count":5,"revision":12}"#).unwrap(), quiet);
    }

    /// Goal: a stamp survives the way through the store. Method: write and parse stamps, and parse what is none.
    #[test]
    fn stamps_are_text() {
        let incarnation =
            Incarnation::from(Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_00c0_ffee));
        let stamp = Stamp::new(incarnation, Duration::from_micros(77));
        assert_eq!(stamp.to_string(), "00c0ffee.77");
        assert!(incarnation.to_string().ends_with("00c0ffee"));
        assert_eq!(Stamp::parse("00c0ffee.77"), Some(stamp));
        assert_eq!(Stamp::parse(""), Some(Stamp::default()));
        for odd in
            ["x", "00c0ffee", "00c0ffee.", "00c0ffee.+7", "c0ffee.7", "00c0ffeg.7", "+0c0ffee.7"]
        {
            assert_eq!(Stamp::parse(odd), None, "{odd}");
        }
        let stamped = Count { stamp, ..count(5, 12) };
        let text = r#"{"count":5,"revision":12,"stamp":"00c0ffee.77"}"#;
        assert_eq!(serde_json::to_string(&stamped).unwrap(), text);
        assert_eq!(serde_json::from_str::<Count>(text).unwrap(), stamped);
    }

    /// Goal: a count that may be missing takes no more space than a count, and is the same afterwards. Method: no count, the
    /// smallest and the greatest, and one that is too great.
    #[test]
    fn a_count_may_be_missing() {
        assert_eq!(size_of::<MaybeCount>(), size_of::<u64>());
        assert_eq!(MaybeCount::default().get(), None);
        for count in [0, 1, WHOLE_MAX] {
            assert_eq!(MaybeCount::from(count).get(), Some(count));
        }
        assert_eq!(MaybeCount::from(u64::MAX).get(), Some(WHOLE_MAX));
    }

    proptest! {
        /// Goal: counts lead to the same result in any order of arrival. Method: fold them in random order, and expect the
        /// greatest revision.
        #[test]
        fn folding_ends_at_the_greatest_revision(
            shuffled in Just((1..40).map(|n| count(n * 7 % 13, n)).collect::<Vec<_>>()).prop_shuffle(),
            repeats in proptest::collection::vec(0usize..39, 0..40),
        ) {
            let mut held = Count::default();
            let arrivals = shuffled.iter().chain(repeats.iter().map(|&index| &shuffled[index]));
            for arrival in arrivals {
                if arrival.supersedes(&held) {
                    held = *arrival;
                }
            }
            prop_assert_eq!(held, count(39 * 7 % 13, 39));
        }
    }
}
