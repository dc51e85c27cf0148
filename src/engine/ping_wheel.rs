//! The task that pings clients, and ends the sessions of those that do not answer.
//!
//! It is a timing wheel. A ping interval is divided into slots, every session belongs to one slot, and every tick serves one
//! slot. So pings are spread evenly even if all clients came at once, and an idle session needs no timer. Time is counted in
//! ticks. The wheel catches up when ticks come late, so that intervals keep their length on a busy machine. It catches up by
//! a few ticks only: if the whole process was stopped, clients must not be ended before their answers are read.

use std::{sync::Arc, time::Duration};

use tokio::{
    task::yield_now,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{lifecycle::Engine, reason::EndReason, settings::SessionSettings};

/// The most slots of an interval. With the default interval of 25 s a slot lasts 100 ms.
const SLOTS_MAX: u32 = 250;
/// The shortest time of a slot.
const TICK_MIN: Duration = Duration::from_millis(20);

/// Pings the sessions of `engine` until `stop`.
pub async fn run(engine: Arc<Engine>, stop: CancellationToken) {
    let wheel = Wheel::new(engine.settings());
    let mut ticks = interval(wheel.tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut now = 0;
    loop {
        let due = tokio::select! {
            () = stop.cancelled() => return,
            due = ticks.tick() => due,
        };
        for _ in 0..wheel.made_up_for(due.elapsed()) {
            now += 1;
            wheel.turn(&engine, now);
            // Answers that have arrived are read before the next tick judges them.
            yield_now().await;
        }
    }
}

/// Says which slot has its turn at which tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wheel {
    tick: Duration,
    slots: u32,
    /// The ticks that a client has to answer a ping.
    patience: u32,
}

impl Wheel {
    fn new(settings: &SessionSettings) -> Self {
        let SessionSettings { ping_interval, ping_timeout, .. } = *settings;
        let fitting = u32::try_from(ping_interval.as_millis() / TICK_MIN.as_millis());
        let slots = fitting.unwrap_or(SLOTS_MAX).clamp(1, SLOTS_MAX);
        let tick = (ping_interval / slots).max(Duration::from_millis(1));
        let patience = ping_timeout.as_nanos().div_ceil(tick.as_nanos());
        Self { tick, slots, patience: u32::try_from(patience).unwrap_or(u32::MAX) }
    }

    /// Ends the sessions whose answer is overdue at this tick, and pings those whose turn it is.
    fn turn(&self, engine: &Engine, now: u64) {
        let patience = u64::from(self.patience);
        for session in engine.sessions().every(self.judged(now), self.slots) {
            if session.unanswered().is_some_and(|pinged| now - pinged >= patience) {
                engine.end(&session, EndReason::PingTimeout);
            }
        }
        for session in engine.sessions().every(self.pinged(now), self.slots) {
            engine.ping(&session, now);
        }
    }

    /// The number of ticks to make up for when a tick comes late by this much.
    fn made_up_for(&self, late: Duration) -> u32 {
        let missed = u32::try_from(late.as_nanos() / self.tick.as_nanos()).unwrap_or(u32::MAX);
        1 + missed.min(self.patience / 4)
    }

    /// The slot whose sessions are pinged at this tick.
    fn pinged(&self, now: u64) -> usize {
        to_index(now % u64::from(self.slots))
    }

    /// The slot whose sessions must have answered their pings by this tick.
    fn judged(&self, now: u64) -> usize {
        let (slots, patience) = (u64::from(self.slots), u64::from(self.patience));
        to_index((now + slots - patience % slots) % slots)
    }
}

/// Converts a slot number, which is below [`SLOTS_MAX`].
fn to_index(slot: u64) -> usize {
    usize::try_from(slot).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        access::rooms::RoomRules, identity::sign_in::SignIn, protocol::transport::Transports,
    };

    const SETTINGS: [(u64, u64); 6] =
        [(25_000, 20_000), (1000, 1000), (1000, 30_000), (3_600_000, 1000), (1, 1), (1234, 777)];

    fn wheels() -> impl Iterator<Item = (Wheel, Duration, Duration)> {
        SETTINGS.into_iter().map(|(interval, timeout)| {
            let (interval, timeout) =
                (Duration::from_millis(interval), Duration::from_millis(timeout));
            let settings = SessionSettings {
                ping_interval: interval,
                ping_timeout: timeout,
                payload_bytes_max: 0,
                transports: Transports::Both,
                rooms: RoomRules::default(),
                sign_in: SignIn::default(),
                visitors: None,
            };
            (Wheel::new(&settings), interval, timeout)
        })
    }

    /// Goal: every session is pinged once in an interval, and judged when its time to answer is over, not before. Method:
    /// several settings; two intervals tick by tick.
    #[test]
    fn each_slot_has_its_turn() {
        for (wheel, interval, timeout) in wheels() {
            let slots = wheel.slots as usize;
            let round = wheel.tick * wheel.slots;
            assert!(round <= interval && interval < round + wheel.tick, "{wheel:?}");
            let patience = wheel.tick * wheel.patience;
            assert!(timeout <= patience && patience < timeout + wheel.tick, "{wheel:?}");
            assert_eq!(wheel.made_up_for(wheel.tick / 2), 1, "it is in time");
            let stopped = wheel.tick * wheel.made_up_for(Duration::from_hours(1));
            assert!(stopped <= wheel.tick + patience / 4, "{wheel:?}");
            let mut turns = vec![0; slots];
            for now in 1..=2 * u64::from(wheel.slots) {
                turns[wheel.pinged(now)] += 1;
                let later = now + u64::from(wheel.patience);
                assert_eq!(wheel.judged(later), wheel.pinged(now), "{wheel:?}");
            }
            assert_eq!(turns, vec![2; slots], "{wheel:?}");
        }
    }
}
