//! How many visitors should join or leave now. Pure: the time is passed in.

use std::{f64::consts::TAU, time::Duration};

use crate::flags::LoadConfig;

/// The most time whose joins and leaves may be caught up with at once, after the generator was held up.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Decides from the time, the rates and the wave how many visitors should join or leave now.
#[derive(Debug)]
pub(crate) struct Schedule {
    connections: usize,
    wave: Option<Duration>,
    joins: Credit,
    /// Leaves while a wave falls. Their rate is that of joins, so that a wave falls as it rises.
    ebb: Credit,
    /// Leaves by `--leave-rate`.
    churn: Credit,
    asked_at: Duration,
}

/// How things are when the schedule is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    /// Visitors that are connected or on the way, and those that will not come.
    pub(crate) taken: usize,
    /// Whether all visitors have joined once: the time of churn.
    pub(crate) is_full: bool,
}

/// The number of visitors to start and to ask to leave now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) joins: usize,
    pub(crate) leaves: usize,
}

impl Schedule {
    pub(crate) fn new(config: &LoadConfig) -> Self {
        Self {
            connections: config.connections,
            wave: config.vary,
            joins: Credit::new(config.rate),
            ebb: Credit::new(config.rate),
            churn: Credit::new(config.leave_rate),
            asked_at: Duration::ZERO,
        }
    }

    /// How many visitors there should be at this time after the start. A wave starts at its lowest.
    pub(crate) fn goal(&self, at: Duration) -> usize {
        let Some(wave) = self.wave else {
            return self.connections;
        };
        let phase = at.as_secs_f64() / wave.as_secs_f64() * TAU;
        let share = 0.75 - 0.25 * phase.cos();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a share of a number of connections is one"
        )]
        let goal = (self.connections as f64 * share).round() as usize;
        goal.clamp(1, self.connections)
    }

    /// Joins alone, at most as many as are wanted, at this time after the start: for the end, when nobody leaves any more.
    pub(crate) fn joins(&mut self, at: Duration, wanted: usize) -> usize {
        self.joins.earn(at.saturating_sub(self.asked_at));
        self.asked_at = at;
        self.joins.spend(wanted)
    }

    /// The joins and leaves that are due at this time after the start.
    pub(crate) fn due(&mut self, at: Duration, situation: Situation) -> Due {
        let passed = at.saturating_sub(self.asked_at);
        self.asked_at = at;
        for credit in [&mut self.joins, &mut self.ebb, &mut self.churn] {
            credit.earn(passed);
        }
        let goal = self.goal(at);
        let joins = self.joins.spend(goal.saturating_sub(situation.taken));
        let ebb = self.ebb.spend(situation.taken.saturating_sub(goal));
        let churn = self.churn.spend(if situation.is_full { situation.taken } else { 0 });
        Due { joins, leaves: ebb + churn }
    }
}

/// A rate limit: what it has earned over time may be spent at once, up to a bound.
#[derive(Debug)]
struct Credit {
    per_second: f64,
    saved: f64,
    saved_max: f64,
}

impl Credit {
    fn new(per_second: f64) -> Self {
        let saved_max = (per_second * CATCH_UP.as_secs_f64()).max(1.0);
        Self { per_second, saved: 0.0, saved_max }
    }

    fn earn(&mut self, passed: Duration) {
        let earned = self.saved + self.per_second * passed.as_secs_f64();
        self.saved = earned.min(self.saved_max);
    }

    /// Spends as many of the wanted ones as the rate allows now; returns how many.
    fn spend(&mut self, wanted: usize) -> usize {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "what is saved lies between nothing and a tenth of the highest rate"
        )]
        let (spent, cost) = {
            let spent = (self.saved.floor() as usize).min(wanted);
            (spent, spent as f64)
        };
        self.saved -= cost;
        spent
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flags::tests::check;

    fn schedule(flags: &[&str]) -> Schedule {
        Schedule::new(&check(flags).unwrap())
    }

    /// Visitors who follow a schedule at once, asked every 10 ms; the joins and leaves of the whole time.
    fn follow(schedule: &mut Schedule, from: Duration, time: Duration, taken: &mut usize) -> Due {
        let mut sum = Due::default();
        for step in 1..=time.as_millis() / 10 {
            let at = from + Duration::from_millis(10) * u32::try_from(step).unwrap();
            let is_full = *taken >= schedule.goal(at);
            let due = schedule.due(at, Situation { taken: *taken, is_full });
            sum = Due { joins: sum.joins + due.joins, leaves: sum.leaves + due.leaves };
            *taken = *taken + due.joins - due.leaves;
        }
        sum
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Goal: visitors join at the set rate, up to the set number. Method: 30 a second up to 100.
    #[test]
    fn joins_keep_to_their_rate() {
        let mut schedule = schedule(&["--connections=100", "--rate=30"]);
        let mut taken = 0;
        let first = follow(&mut schedule, Duration::ZERO, 2 * SECOND, &mut taken);
        assert!((58..=60).contains(&first.joins), "{first:?}");
        follow(&mut schedule, 2 * SECOND, 10 * SECOND, &mut taken);
        assert_eq!(taken, 100);
    }

    /// Goal: churn begins when all visitors have joined, keeps its rate, and leavers are replaced. Method: 5 leaves a
    /// second among 20 visitors.
    #[test]
    fn leaves_are_replaced() {
        let mut schedule = schedule(&["--connections=20", "--rate=50", "--leave-rate=5"]);
        let mut taken = 0;
        let joining = follow(&mut schedule, Duration::ZERO, SECOND / 5, &mut taken);
        assert_eq!(joining.leaves, 0);
        let after = follow(&mut schedule, SECOND / 5, 10 * SECOND, &mut taken);
        assert!((47..=51).contains(&after.leaves), "{after:?}");
        assert!((19..=20).contains(&taken), "{taken}");
    }

    /// Goal: a generator that was held up does not catch up with a storm of joins. Method: ten minutes without a call.
    #[test]
    fn lost_time_is_not_caught_up_with() {
        let mut schedule = schedule(&["--connections=10000", "--rate=100"]);
        let due = schedule.due(600 * SECOND, Situation { taken: 0, is_full: false });
        assert_eq!(due, Due { joins: 10, leaves: 0 });
    }

    /// Goal: a slow rate is not rounded to zero. Method: one visitor in ten seconds.
    #[test]
    fn slow_rates_add_up() {
        let mut schedule = schedule(&["--rate=0.1"]);
        let mut taken = 0;
        assert_eq!(follow(&mut schedule, Duration::ZERO, 9 * SECOND, &mut taken).joins, 0);
        assert_eq!(follow(&mut schedule, 9 * SECOND, 2 * SECOND, &mut taken).joins, 1);
    }

    /// Goal: with waves the number of visitors moves between half and all. Method: the target at both turning points, and
    /// the visitors at that time.
    #[test]
    fn waves_swing_between_half_and_all() {
        let mut schedule = schedule(&["--connections=80", "--rate=50", "--vary=1min"]);
        for (at, goal) in [(0, 40), (15, 60), (30, 80), (45, 60), (60, 40)] {
            assert_eq!(schedule.goal(at * SECOND), goal);
        }
        let mut taken = 0;
        follow(&mut schedule, Duration::ZERO, 30 * SECOND, &mut taken);
        assert_eq!(taken, 80);
        let ebb = follow(&mut schedule, 30 * SECOND, 30 * SECOND, &mut taken);
        assert_eq!((taken, ebb), (40, Due { joins: 0, leaves: 40 }));
    }

    proptest! {
        /// Goal: there are never more visitors than set, and never more leaves than visitors. Method: random flags, and
        /// random times of the calls.
        #[test]
        fn bounds_hold(rate in 1_u32..5000, leaves in 0_u32..5000, gaps in prop::collection::vec(0_u64..3000, 1..50)) {
            let flags = ["--connections=300".into(), format!("--rate={rate}"), format!("--leave-rate={}", leaves.min(rate)), "--vary=10s".into()];
            let mut schedule = schedule(&flags.each_ref().map(|flag: &String| flag.as_str()));
            let (mut at, mut taken) = (Duration::ZERO, 0);
            for gap in gaps {
                at += Duration::from_millis(gap);
                let due = schedule.due(at, Situation { taken, is_full: true });
                prop_assert!(taken + due.joins <= 300);
                taken = (taken + due.joins).saturating_sub(due.leaves);
            }
        }
    }
}
