//! Rate limits: token buckets on instants that are passed in.

use std::time::Duration;

use tokio::time::Instant;

/// The bytes a second that a client may send on average. It only has to answer pings, a few bytes each.
pub const CLIENT_BYTES_PER_SECOND: u32 = 4096;
/// The least burst that a client may send: four messages of the default largest size.
const CLIENT_BYTES_BURST_MIN: u32 = 64 * 1024;

/// The bytes that a client may send in one burst: four messages of the largest size, but at least 64 KiB.
pub fn client_bytes_burst(payload_bytes_max: usize) -> u32 {
    let messages = u32::try_from(4 * payload_bytes_max).unwrap_or(u32::MAX);
    CLIENT_BYTES_BURST_MIN.max(messages)
}

/// A token bucket: allows a burst at once, and a number of tokens a second on average.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    burst: u32,
    per_second: u32,
    left: u32,
    refilled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(burst: u32, per_second: u32, now: Instant) -> Self {
        Self { burst, per_second, left: burst, refilled_at: now }
    }

    /// Whether there are so many tokens. It takes none.
    pub fn has(&mut self, tokens: u64, now: Instant) -> bool {
        self.refill(now);
        u64::from(self.left) >= tokens
    }

    /// Takes tokens. If there are not enough, it takes all that are left and returns false.
    pub fn spend(&mut self, tokens: u64, now: Instant) -> bool {
        self.refill(now);
        let tokens = u32::try_from(tokens).ok();
        let rest = tokens.and_then(|tokens| self.left.checked_sub(tokens));
        self.left = rest.unwrap_or(0);
        rest.is_some()
    }

    /// Gives tokens back that were taken for something that is allowed after all.
    pub fn give_back(&mut self, tokens: u64, now: Instant) {
        self.refill(now);
        let tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        self.left = self.left.saturating_add(tokens).min(self.burst);
    }

    /// Adds whole tokens, and uses up only the time in which they were earned, so that no fraction is lost.
    fn refill(&mut self, now: Instant) {
        let elapsed = now.saturating_duration_since(self.refilled_at);
        let nanos = u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX);
        let earned = u128::from(nanos) * u128::from(self.per_second) / 1_000_000_000;
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if self.left.saturating_add(earned) >= self.burst {
            self.left = self.burst;
            self.refilled_at = now;
        } else if earned > 0 {
            self.left += earned;
            let used_up = u64::from(earned) * 1_000_000_000 / u64::from(self.per_second);
            self.refilled_at += Duration::from_nanos(used_up);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Goal: a burst is allowed at once, then the rate holds, and idle time never saves up more than one burst. Method:
    /// fixed times.
    #[test]
    fn burst_then_rate() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 4, start);
        assert!(bucket.spend(10, start));
        assert!(!bucket.spend(1, start));
        let later = start + Duration::from_millis(500);
        assert!(bucket.spend(2, later));
        assert!(!bucket.spend(1, later));
        let much_later = start + Duration::from_hours(1);
        assert!(bucket.spend(10, much_later));
        assert!(!bucket.spend(1, much_later));
    }

    /// Goal: what was given back can be taken again, and never makes more than a burst. Method: give back less than was taken,
    /// and more.
    #[test]
    fn what_is_given_back_can_be_taken_again() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(10, 4, start);
        assert!(bucket.spend(8, start));
        bucket.give_back(5, start);
        assert!(bucket.has(7, start) && !bucket.has(8, start));
        bucket.give_back(u64::MAX, start);
        assert!(bucket.has(10, start) && !bucket.has(11, start));
    }

    proptest! {
        /// Goal: a bucket never grants more than burst + rate × time. Method: requests with random gaps.
        #[test]
        fn never_more_than_allowed(gaps in proptest::collection::vec(0u64..3000, 1..300)) {
            let start = Instant::now();
            let mut now = start;
            let mut bucket = TokenBucket::new(5, 2, start);
            let mut granted = 0u128;
            for gap in gaps {
                now += Duration::from_millis(gap);
                granted += u128::from(bucket.spend(1, now));
                let most = 5 + 2 * now.duration_since(start).as_millis() / 1000;
                prop_assert!(granted <= most, "{} > {}", granted, most);
            }
        }
    }
}
