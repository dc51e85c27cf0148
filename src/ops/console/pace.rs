//! The pace of the console.

use std::time::Duration;

/// The time between two looks.
pub(super) const PACE: Duration = Duration::from_secs(1);
