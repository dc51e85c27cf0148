//! What the service manager that started this process has put into the environment, by systemd's names. These are no
//! settings, and have no flags.

use std::{env, path::PathBuf, process, time::Duration};

/// How to reach the service manager, and how often it wants a sign of life.
#[derive(Clone, Debug, Default)]
pub struct ServiceManagerConfig {
    /// Where it listens: a path, or `@` and the name of an abstract socket. `None` if nothing wants to be told.
    pub socket: Option<PathBuf>,
    /// It restarts an instance that gave no sign of life for this long. `None` if it does not watch.
    pub watchdog: Option<Duration>,
}

impl ServiceManagerConfig {
    /// Reads the environment. What cannot be understood there is as good as absent.
    pub fn from_environment() -> Self {
        let value = |name| env::var_os(name).filter(|value| !value.is_empty());
        let number = |name| value(name)?.to_str()?.parse::<u64>().ok();
        // A process inherits the watchdog's variables also if it is not the one that is watched.
        let is_watched =
            number("WATCHDOG_PID").is_none_or(|watched| watched == u64::from(process::id()));
        Self {
            socket: value("NOTIFY_SOCKET").map(Into::into),
            watchdog: number("WATCHDOG_USEC").filter(|_| is_watched).map(Duration::from_micros),
        }
    }
}
