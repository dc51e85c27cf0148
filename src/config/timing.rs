//! Checks times that depend on each other, for instances and for members.

use std::time::Duration;

use super::setting::{ConfigError, Setting};
use crate::core::{
    pace::{ANSWER_OVERDUE, REPORT_GAP_MIN, whole_millis},
    report::{LEASE_MAX, LEASE_MIN},
};

/// The shortest heartbeat. It must not be shorter than the least gap between two reports.
const HEARTBEAT_MIN: Duration = Duration::from_millis(10);
const _: () = assert!(HEARTBEAT_MIN.as_nanos() >= REPORT_GAP_MIN.as_nanos());

/// Checks heartbeat and lease together. The lease must be longer than two unanswered reports and the heartbeat after them, and
/// three heartbeats must fit into it. Otherwise a single lost report would look like a crash.
pub(super) fn heartbeat_and_lease(
    heartbeat: &str,
    lease: &str,
) -> Result<(Duration, Duration), ConfigError> {
    let lease_setting = Setting("HEADCOUNT_LEASE", lease);
    let heartbeat_setting = Setting("HEADCOUNT_HEARTBEAT", heartbeat);
    let lease = lease_setting.duration(LEASE_MIN, LEASE_MAX)?;
    let heartbeat = heartbeat_setting.duration(HEARTBEAT_MIN, LEASE_MAX / 3)?;
    let shortest = 2 * ANSWER_OVERDUE + heartbeat;
    let hopeless = lease < 2 * ANSWER_OVERDUE + HEARTBEAT_MIN;
    if heartbeat > lease / 3 && !hopeless {
        let most = humantime::format_duration(Duration::from_millis(whole_millis(lease / 3)));
        return Err(heartbeat_setting.refuse(format!("at most {most}: a third of the lease")));
    }
    if lease < shortest {
        let shortest = humantime::format_duration(shortest);
        return Err(lease_setting.refuse(format!("at least {shortest}: 1.5s plus a heartbeat")));
    }
    Ok((heartbeat, lease))
}

/// The longest grace. Whoever has left for good is counted so long.
const GRACE_MAX: Duration = Duration::from_mins(1);

pub(super) fn grace(text: &str) -> Result<Duration, ConfigError> {
    Setting("HEADCOUNT_GRACE", text).duration(Duration::ZERO, GRACE_MAX)
}

pub(super) fn emit_interval(text: &str) -> Result<Duration, ConfigError> {
    let [least, most] = [Duration::from_millis(1), Duration::from_secs(10)];
    Setting("HEADCOUNT_EMIT_INTERVAL", text).duration(least, most)
}
