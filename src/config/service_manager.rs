//! The variables that a service manager sets for this process, with the names that systemd uses. They are not settings, and have
//! no flags.

use std::{env, path::PathBuf, process, time::Duration};

/// How to reach the service manager, and how often it wants a sign of life.
#[derive(Clone, Debug, Default)]
pub struct ServiceManagerConfig {
    /// Its socket: a path, or `@` and the name of an abstract socket. `None` if there is no service manager.
    pub socket: Option<PathBuf>,
    /// It restarts an instance that sends no sign of life for this time. `None` if it does not watch.
    pub watchdog: Option<Duration>,
}

impl ServiceManagerConfig {
    /// Reads the environment. Values that cannot be parsed count as not set.
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
