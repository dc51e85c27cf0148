//! Who may use the machine: most tests share it, and a test that loads it fully has it alone.
//!
//! Without this, a bound on time would measure the tests that run at the same moment.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// A test's right to use the machine, until this value is dropped.
#[derive(Debug)]
pub enum Machine {
    /// Other tests run at the same time.
    Shared {
        /// Held until the test ends.
        _guard: RwLockReadGuard<'static, ()>,
    },
    /// No other test of this program runs.
    Alone {
        /// Held until the test ends.
        _guard: RwLockWriteGuard<'static, ()>,
    },
}

static MACHINE: RwLock<()> = RwLock::const_new(());

impl Machine {
    /// Waits until no test has the machine alone.
    pub async fn shared() -> Self {
        Self::Shared { _guard: MACHINE.read().await }
    }

    /// Waits until all other tests have ended.
    pub async fn alone() -> Self {
        Self::Alone { _guard: MACHINE.write().await }
    }
}
