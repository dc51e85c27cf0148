//! The peaks of a single instance, in its own memory. They are lost when it ends.

use std::{
    sync::{Mutex, PoisonError},
    time::SystemTime,
};

use crate::core::{
    pace::whole_millis,
    peaks::{Attendance, DAY_MS, Peaks, PeaksAnswer},
};

/// The peaks that are known. The lock is held during one step.
#[derive(Debug, Default)]
pub(super) struct EmbeddedPeaks {
    peaks: Mutex<Peaks>,
}

impl EmbeddedPeaks {
    /// The peaks that are known at `now`.
    pub(super) fn read(&self, now: SystemTime) -> PeaksAnswer {
        let peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        PeaksAnswer { now: millis(now), peaks, attendance: Attendance::default() }
    }

    /// Adds what an instance knows.
    pub(super) fn tell(
        &self,
        known: &Peaks,
        attendance: Attendance,
        now: SystemTime,
    ) -> PeaksAnswer {
        let now = millis(now);
        let mut peaks = self.peaks.lock().unwrap_or_else(PoisonError::into_inner);
        peaks.merge(known);
        peaks.prune(now / DAY_MS);
        PeaksAnswer { now, peaks: peaks.clone(), attendance }
    }
}

fn millis(now: SystemTime) -> u64 {
    whole_millis(now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}
