//! What this instance has counted since its start, as far as the console shows it or judges it.

use prometheus::{
    Histogram, IntCounterVec,
    core::Collector,
    proto::{Metric, MetricFamily},
};

use crate::telemetry::{
    labels::{JoinRefusal, RefusedReason, ReportResult},
    metrics::Metrics,
};

/// First counts that came later than this, in seconds, are slow. It is a bound of a bucket of the metric.
pub(super) const SLOW_JOIN_SECONDS: f64 = 0.25;
/// Outcomes of reports that the store has answered with an error.
const FAILED: [ReportResult; 4] =
    [ReportResult::Refused, ReportResult::Denied, ReportResult::WrongType, ReportResult::Protocol];

/// Something that is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counter {
    /// Connections counted in the site.
    Joins,
    /// Connections counted out of the site.
    Leaves,
    /// Sessions that began, in the site or not.
    SessionStarts,
    /// Sessions that ended.
    SessionEnds,
    /// Clients that were refused because the instance was full.
    TurnedAway,
    /// Requests of pages that may not connect.
    ForeignPages,
    /// Joins of rooms that were refused because there were too many.
    RoomsRefused,
    /// Reports that the store has answered with an error.
    FailedReports,
    /// Times that everything was reported again.
    Resends,
    /// Values in the store that were corrected.
    Repairs,
    /// Leases of others that had run out with users in the count.
    Reaped,
    /// Subscriptions after the first one.
    Resubscribes,
    /// Announcements of rooms that did not arrive.
    PagesMissed,
    /// Announcements that arrived.
    Announcements,
    /// First counts of the site that clients were told.
    FirstCounts,
    /// Those that were told late.
    SlowFirstCounts,
    /// First counts of rooms that clients were told.
    FirstRoomCounts,
    /// Those that were told late.
    SlowFirstRoomCounts,
    /// Rooms that connections have joined or left.
    RoomChanges,
}

const COUNTERS: usize = 19;

/// The values of all counters at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counters([u64; COUNTERS]);

impl Counters {
    /// What `metrics` say now.
    pub(super) fn of(metrics: &Metrics) -> Self {
        let refused = |reason| metrics.refused(reason).get();
        let reports =
            FAILED.iter().map(|result| metrics.reports.with_label_values(&[result.label()]).get());
        let too_many_rooms = [JoinRefusal::TooManyRooms.label()];
        let [first, slow] = first_counts(&metrics.join_to_emit_seconds);
        let [first_of_rooms, slow_of_rooms] = first_counts(&metrics.room_join_to_emit_seconds);
        Self::default()
            .with(Counter::Joins, sum(&by_label(&metrics.connects)))
            .with(Counter::Leaves, sum(&by_label(&metrics.disconnects)))
            .with(Counter::SessionStarts, sum(&by_label(&metrics.sessions.started)))
            .with(Counter::SessionEnds, sum(&by_label(&metrics.sessions.ended)))
            .with(
                Counter::TurnedAway,
                refused(RefusedReason::Full) + refused(RefusedReason::Descriptors),
            )
            .with(Counter::ForeignPages, refused(RefusedReason::Origin))
            .with(
                Counter::RoomsRefused,
                metrics.joins_refused.with_label_values(&too_many_rooms).get(),
            )
            .with(Counter::FailedReports, reports.sum())
            .with(Counter::Resends, metrics.resends.get())
            .with(Counter::Repairs, metrics.repairs.get())
            .with(Counter::Reaped, metrics.leases_reaped.get())
            .with(Counter::Resubscribes, metrics.resubscribes.get())
            .with(Counter::PagesMissed, metrics.pages_missed.get())
            .with(Counter::Announcements, metrics.announcements.get())
            .with(Counter::FirstCounts, first)
            .with(Counter::SlowFirstCounts, slow)
            .with(Counter::FirstRoomCounts, first_of_rooms)
            .with(Counter::SlowFirstRoomCounts, slow_of_rooms)
            .with(
                Counter::RoomChanges,
                sum(&by_label(&metrics.room_joins)) + sum(&by_label(&metrics.room_leaves)),
            )
    }

    /// The same with another value of one counter.
    pub(super) fn with(mut self, counter: Counter, value: u64) -> Self {
        self.0[counter as usize] = value;
        self
    }

    pub(super) fn get(&self, counter: Counter) -> u64 {
        self.0[counter as usize]
    }
}

const _: () = assert!(Counter::RoomChanges as usize + 1 == COUNTERS, "each counter has a place");

/// First counts: all, and those that came late.
fn first_counts(times: &Histogram) -> [u64; 2] {
    let families = times.collect();
    let Some(sample) = families.first().and_then(|family| family.get_metric().first()) else {
        return [0, 0];
    };
    let histogram = sample.get_histogram();
    let all = histogram.get_sample_count();
    let in_time =
        histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound() <= SLOW_JOIN_SECONDS);
    let in_time = in_time.map(prometheus::proto::Bucket::cumulative_count).max();
    [all, all.saturating_sub(in_time.unwrap_or(all))]
}

/// The values of a counter by its only label.
pub(super) fn by_label(counter: &IntCounterVec) -> Vec<(String, u64)> {
    let families = counter.collect();
    let samples = families.iter().flat_map(MetricFamily::get_metric);
    let count = |sample: &Metric| {
        let label = sample.get_label().first()?.value().to_owned();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a counter of whole numbers"
        )]
        Some((label, sample.get_counter().get_value() as u64))
    };
    samples.filter_map(count).collect()
}

fn sum(counts: &[(String, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: every counter is read from its own metric. Method: each metric moved once, by another number.
    #[test]
    fn counters_are_read() {
        let metrics = Metrics::new("embedded").unwrap();
        metrics.connects.with_label_values(&["websocket"]).inc_by(1);
        metrics.disconnects.with_label_values(&["flood"]).inc_by(2);
        metrics.refused(RefusedReason::Full).inc_by(3);
        metrics.refused(RefusedReason::Origin).inc_by(4);
        metrics.joins_refused.with_label_values(&["too_many_rooms"]).inc_by(5);
        metrics.reports.with_label_values(&["denied"]).inc_by(6);
        metrics.resends.inc_by(7);
        metrics.repairs.inc_by(8);
        metrics.leases_reaped.inc_by(9);
        metrics.resubscribes.inc_by(10);
        metrics.pages_missed.inc_by(11);
        metrics.announcements.inc_by(12);
        for seconds in [0.001, 0.25, 0.26, 9.0] {
            metrics.join_to_emit_seconds.observe(seconds);
        }
        metrics.sessions.started.with_label_values(&["polling"]).inc_by(13);
        metrics.sessions.ended.with_label_values(&["flood"]).inc_by(14);
        for seconds in [0.001, 0.01, 0.25, 0.26, 0.3, 9.0] {
            metrics.room_join_to_emit_seconds.observe(seconds);
        }
        metrics.room_joins.with_label_values(&["member"]).inc_by(15);
        metrics.room_leaves.with_label_values(&["watcher"]).inc_by(20);
        let read = Counters::of(&metrics).0;
        assert_eq!(read, [1, 2, 13, 14, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 4, 2, 6, 3, 35]);
    }
}
