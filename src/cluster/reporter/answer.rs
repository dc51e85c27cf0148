//! What an answered or failed report means for the pace, the log and the metrics.

use std::time::Duration;

use crate::{
    core::{
        count::Revision,
        pace::Feedback,
        report::{Outcome, REAPED_MAX, Reply},
    },
    store::StoreError,
    telemetry::labels::ReportResult,
};

/// The most kinds of trouble that are logged before the store answers again. There are nine, and one for each command that may
/// be denied. A store that invents others must not fill the log.
pub(super) const TROUBLES_MAX: usize = 32;

/// How long a farewell is repeated while something about rooms is left in the store that it can remove. In this time, an instance
/// takes away more than 10,000 entries.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(1);

/// The kind of trouble, each of which is logged once. Every denied command is a kind, since an operator who corrects
/// permissions needs to know the next one.
pub(super) fn trouble(error: &StoreError) -> String {
    match error {
        StoreError::Denied(_) => error.to_string(),
        _ => error.result().label().to_owned(),
    }
}

/// What the pace has to know of a reply.
pub(super) fn feedback(reply: &Reply) -> Feedback {
    Feedback {
        instances: reply.instances,
        unannounced: reply.unannounced,
        more_to_reap: reply.reaped >= REAPED_MAX || reply.dead > 0,
    }
}

/// Whether something about rooms is left in the store after a farewell, for which no other instance cares: rooms of the dead, or
/// announcements that wait although nobody is left to hear them.
pub(super) fn leaves_rooms(reply: &Reply) -> bool {
    let is_last = reply.instances == 0 && reply.paged > Revision::default();
    reply.dead > 0 || (is_last && reply.unannounced)
}

/// How the metrics count a report that was answered so.
pub(super) fn result(outcome: Outcome) -> ReportResult {
    match outcome {
        Outcome::Applied => ReportResult::Applied,
        Outcome::Stale => ReportResult::Stale,
        Outcome::Resend => ReportResult::Resend,
    }
}

impl StoreError {
    /// Whether a report may have been applied in part, which an audit corrects: the script ended with an error.
    pub(super) fn may_be_half_done(&self) -> bool {
        matches!(self, Self::WrongType(_) | Self::Denied(_) | Self::Protocol(_) | Self::Refused(_))
    }

    /// How the metrics count a report that failed so.
    pub(super) fn result(&self) -> ReportResult {
        match self {
            Self::Unreachable(_) => ReportResult::Unreachable,
            Self::Timeout(_) => ReportResult::Timeout,
            Self::Refused(_) => ReportResult::Refused,
            Self::WrongType(_) => ReportResult::WrongType,
            Self::Denied(_) => ReportResult::Denied,
            Self::Protocol(_) => ReportResult::Protocol,
        }
    }
}
