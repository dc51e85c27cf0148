//! All metrics of an instance, in one struct. Nothing else registers metrics.
//!
//! Values that other parts hold already (the view, the connections) are set when the metrics page is requested.

mod help;
mod maker;
#[cfg(target_os = "linux")]
mod process;

use std::time::Duration;

use prometheus::{
    Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use super::{
    build_info::BuildInfo,
    labels::{
        JoinRefusal, JwksResult, MembershipKind, RefusedReason, ReportResult, TokenFault,
        UserIdentity,
    },
};
use maker::Maker;

/// Buckets for reports. On a local network a report takes well below a millisecond. After 0.75 s the store counts as
/// unreachable; 2 s is the default lease.
const REPORT_BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.75, 2.0];
/// Buckets for emissions to one connection up to a hundred thousand.
const EMISSION_BUCKETS: &[f64] = &[0.00005, 0.0002, 0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0];
/// Buckets for first values. After 0.25 s a newcomer is told the estimate.
const JOIN_BUCKETS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.3, 0.5, 1.0, 2.5];

/// The reason under which tokens that have expired are counted, beside every [`TokenFault`].
pub const EXPIRED: &str = "expired";

/// All metrics. A clone is cheap and shares the same values.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    /// The count, as this instance shows it.
    pub cluster_users: IntGauge,
    /// The peaks of the site, by period.
    pub peak_users: IntGaugeVec,
    /// Connections that are counted in the site, by transport.
    pub connections: IntGaugeVec,
    /// Sessions, in the site or not.
    pub sessions: SessionMetrics,
    /// Users of the site on this instance, by identity.
    pub users: IntGaugeVec,
    /// The limit of sessions.
    pub connections_max: IntGauge,
    /// Connections counted in, by the transport they began with.
    pub connects: IntCounterVec,
    /// Connections counted out, by reason.
    pub disconnects: IntCounterVec,
    /// Connections that watch the site.
    pub site_watchers: IntGauge,
    /// Rooms with connections.
    pub rooms: IntGauge,
    /// Rooms in the table.
    pub rooms_tracked: IntGauge,
    /// Rooms whose list of users is told.
    pub lists: IntGauge,
    /// The limit of rooms in the table.
    pub rooms_max: IntGauge,
    /// 1 while counts of rooms are exact.
    pub rooms_exact: IntGauge,
    /// Rooms whose counts are to be read again, at most.
    pub rooms_unread: IntGauge,
    /// Changes of rooms that are not in a report yet, at most.
    pub room_changes_waiting: IntGauge,
    /// Announcements of rooms that did not arrive.
    pub pages_missed: IntCounter,
    /// Connections in rooms, by kind.
    pub memberships: IntGaugeVec,
    /// Rooms joined, by kind.
    pub room_joins: IntCounterVec,
    /// Rooms left, by kind.
    pub room_leaves: IntCounterVec,
    /// Joins that were refused, by code.
    pub joins_refused: IntCounterVec,
    /// Tokens, and the keys that verify them.
    pub tokens: TokenMetrics,
    /// Emissions of rooms.
    pub room_emissions: IntCounter,
    /// Counts of rooms that were handed to connections, including first values.
    pub room_emitted_packets: IntCounter,
    /// Time from joining a room until the client is told its first count.
    pub room_join_to_emit_seconds: Histogram,
    /// Requests and connections turned away, by reason.
    pub(crate) refused: IntCounterVec,
    /// Open event streams of the API.
    pub streams: IntGauge,
    /// Reports by outcome.
    pub reports: IntCounterVec,
    /// Times that everything was reported again.
    pub resends: IntCounter,
    /// Ended incarnations whose rooms are still being taken away.
    pub dead_incarnations: IntGauge,
    /// Time from sending a report to its answer.
    pub report_seconds: Histogram,
    /// Announcements that were received.
    pub announcements: IntCounter,
    /// Messages on the channel that belong to another cluster, or to no cluster.
    pub foreign_announcements: IntCounter,
    /// Subscriptions after the first one.
    pub resubscribes: IntCounter,
    /// Emissions.
    pub emissions: IntCounter,
    /// Counts that were handed to connections, including first values.
    pub emitted_packets: IntCounter,
    /// Time that an emission took.
    pub emission_seconds: Histogram,
    /// Time from a join until the client is told a count that includes it.
    pub join_to_emit_seconds: Histogram,
    /// Revision of the count that is shown.
    pub view_revision: IntGauge,
    /// 1 while the shown count is exact, 0 while it is an estimate.
    pub view_exact: IntGauge,
    /// Time since the newest answered report was sent.
    pub view_age_seconds: Gauge,
    /// 1 while the store answers.
    pub store_up: IntGauge,
    /// Live instances, according to the store.
    pub instances: IntGauge,
    /// Expired leases that reports of this instance removed.
    pub leases_reaped: IntCounter,
    /// Values in the store that reports of this instance corrected.
    pub repairs: IntCounter,
    /// The local count in the store minus the connections.
    pub drift_users: IntGauge,
    /// The memberships in the store minus those here.
    pub drift_memberships: IntGauge,
    /// 1 from the first SIGTERM on.
    pub draining: IntGauge,
    /// Lines of the log that could not be written, or not in time.
    pub log_lines_dropped: IntCounter,
    /// The smallest limit on this process's memory; 0 if none is known.
    pub memory_limit_bytes: IntGauge,
    /// Who this instance is.
    pub build_info: BuildInfo,
}

/// Metrics of sessions, in the site or not.
#[derive(Clone, Debug)]
pub struct SessionMetrics {
    /// Those that are open.
    pub open: IntGauge,
    /// Those of them that polls carry.
    pub polling: IntGauge,
    /// Those that began, by their first transport.
    pub started: IntCounterVec,
    /// Those that ended, by reason.
    pub ended: IntCounterVec,
}

/// Metrics of tokens, and of the keys that verify them.
#[derive(Clone, Debug)]
pub struct TokenMetrics {
    /// Tokens that were refused, by what is wrong with them.
    pub refused: IntCounterVec,
    /// Requests for the keys of issuers, by outcome.
    pub jwks_fetches: IntCounterVec,
    /// Usable keys of all issuers.
    pub jwks_keys: IntGauge,
    /// Time since the oldest set of keys was fetched; 0 if no issuer is asked for keys.
    pub jwks_age_seconds: Gauge,
}

impl Metrics {
    /// Registers all metrics in a new registry. `store` is the kind of store in use.
    ///
    /// # Errors
    /// If two metrics have one name, or process metrics cannot be read on this system.
    pub fn new(store: &str) -> Result<Self, prometheus::Error> {
        let make = Maker::default();
        make.process()?;
        let refusals = RefusedReason::ALL.iter().map(|reason| reason.label());
        let kinds = || MembershipKind::ALL.iter().map(|kind| kind.label());
        Ok(Self {
            cluster_users: make.gauge("cluster_users")?,
            peak_users: make.gauges("peak_users", "period", [])?,
            connections: make.gauges("connections", "transport", [])?,
            sessions: SessionMetrics::new(&make)?,
            users: make.gauges("users", "identity", identities())?,
            connections_max: make.gauge("connections_max")?,
            connects: make.counters("connects_total", "transport", [])?,
            disconnects: make.counters("disconnects_total", "reason", [])?,
            site_watchers: make.gauge("site_watchers")?,
            rooms: make.gauge("rooms")?,
            rooms_tracked: make.gauge("rooms_tracked")?,
            lists: make.gauge("lists")?,
            rooms_max: make.gauge("rooms_max")?,
            rooms_exact: make.gauge("rooms_exact")?,
            rooms_unread: make.gauge("rooms_unread")?,
            room_changes_waiting: make.gauge("room_changes_waiting")?,
            pages_missed: make.counter("pages_missed_total")?,
            memberships: make.gauges("memberships", "kind", kinds())?,
            room_joins: make.counters("room_joins_total", "kind", kinds())?,
            room_leaves: make.counters("room_leaves_total", "kind", kinds())?,
            joins_refused: make.counters("joins_refused_total", "code", refusal_codes())?,
            tokens: TokenMetrics::new(&make)?,
            room_emissions: make.counter("room_emissions_total")?,
            room_emitted_packets: make.counter("room_emitted_packets_total")?,
            room_join_to_emit_seconds: make.histogram("room_join_to_emit_seconds", JOIN_BUCKETS)?,
            refused: make.counters("refused_total", "reason", refusals)?,
            streams: make.gauge("streams")?,
            reports: make.counters("reports_total", "outcome", report_outcomes())?,
            resends: make.counter("resends_total")?,
            dead_incarnations: make.gauge("dead_incarnations")?,
            report_seconds: make.histogram("report_seconds", REPORT_BUCKETS)?,
            announcements: make.counter("announcements_total")?,
            foreign_announcements: make.counter("foreign_announcements_total")?,
            resubscribes: make.counter("resubscribes_total")?,
            emissions: make.counter("emissions_total")?,
            emitted_packets: make.counter("emitted_packets_total")?,
            emission_seconds: make.histogram("emission_seconds", EMISSION_BUCKETS)?,
            join_to_emit_seconds: make.histogram("join_to_emit_seconds", JOIN_BUCKETS)?,
            view_revision: make.gauge("view_revision")?,
            view_exact: make.gauge("view_exact")?,
            view_age_seconds: make.float_gauge("view_age_seconds")?,
            store_up: make.gauge("store_up")?,
            instances: make.gauge("instances")?,
            leases_reaped: make.counter("leases_reaped_total")?,
            repairs: make.counter("repairs_total")?,
            drift_users: make.gauge("drift_users")?,
            drift_memberships: make.gauge("drift_memberships")?,
            draining: make.gauge("draining")?,
            log_lines_dropped: make.counter("log_lines_dropped_total")?,
            memory_limit_bytes: make.gauge("memory_limit_bytes")?,
            build_info: make.build_info(store)?,
            registry: make.registry,
        })
    }

    /// Counts a request or a connection that was refused.
    pub fn refuse(&self, reason: RefusedReason) {
        self.refused(reason).inc();
    }

    /// The counter of what is refused for this reason.
    pub fn refused(&self, reason: RefusedReason) -> IntCounter {
        self.refused.with_label_values(&[reason.label()])
    }

    /// Begins the series of sessions that start, and of connections counted in, by these transports, at 0.
    pub fn begin_connects(&self, transports: impl IntoIterator<Item = &'static str>) {
        for transport in transports {
            self.connects.with_label_values(&[transport]);
            self.sessions.started.with_label_values(&[transport]);
        }
    }

    /// Begins the series of these reasons for which sessions end, and connections are counted out, at 0.
    pub fn begin_disconnects(&self, reasons: impl IntoIterator<Item = &'static str>) {
        for reason in reasons {
            self.disconnects.with_label_values(&[reason]);
            self.sessions.ended.with_label_values(&[reason]);
        }
    }

    /// The metrics page, in the text format of Prometheus.
    ///
    /// # Errors
    /// If a metric cannot be encoded, which is a bug.
    pub fn render(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn report_outcomes() -> impl Iterator<Item = &'static str> {
    ReportResult::ALL.iter().map(|outcome| outcome.label())
}

impl SessionMetrics {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        Ok(Self {
            open: make.gauge("sessions")?,
            polling: make.gauge("sessions_polling")?,
            started: make.counters("sessions_started_total", "transport", [])?,
            ended: make.counters("sessions_ended_total", "reason", [])?,
        })
    }
}

impl TokenMetrics {
    fn new(make: &Maker) -> Result<Self, prometheus::Error> {
        let faults = TokenFault::ALL.iter().map(|fault| fault.label()).chain([EXPIRED]);
        let outcomes = JwksResult::ALL.iter().map(|outcome| outcome.label());
        Ok(Self {
            refused: make.counters("tokens_refused_total", "reason", faults)?,
            jwks_fetches: make.counters("jwks_fetches_total", "outcome", outcomes)?,
            jwks_keys: make.gauge("jwks_keys")?,
            jwks_age_seconds: make.float_gauge("jwks_age_seconds")?,
        })
    }
}

fn refusal_codes() -> impl Iterator<Item = &'static str> {
    JoinRefusal::ALL.iter().map(|code| code.label())
}

fn identities() -> impl Iterator<Item = &'static str> {
    UserIdentity::ALL.iter().map(|identity| identity.label())
}

/// Converts a number for a gauge; numbers that are too large become the largest.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Records a duration in a histogram of seconds.
pub fn observe(histogram: &Histogram, duration: Duration) {
    histogram.observe(duration.as_secs_f64());
}

#[cfg(test)]
mod tests {
    use super::{help::HELP, *};

    /// Goal: every metric has a help text. Method: the metrics page of a new instance.
    #[test]
    fn every_metric_is_described() {
        let metrics = Metrics::new("embedded").unwrap();
        let undescribed: Vec<_> =
            HELP.iter().filter(|(name, help)| name.is_empty() || help.is_empty()).collect();
        assert!(undescribed.is_empty(), "{undescribed:?}");
        let page = metrics.render().unwrap();
        for line in page.lines().filter(|line| line.starts_with("# HELP headcount_")) {
            assert!(line.split(' ').count() > 3, "{line}");
        }
    }
}
