//! Tells the service manager the state of the instance: systemd with `Type=notify`, or any other one that sets
//! `NOTIFY_SOCKET`. It reads the view and the tally, and changes neither.
//!
//! The messages are those of `sd_notify(3)`. They are sent here, rather than by a library, because the libraries wait
//! when the service manager does not read, and nothing in an instance may wait for that.

use std::{
    io,
    os::{
        linux::net::SocketAddrExt,
        unix::{
            ffi::OsStrExt,
            net::{SocketAddr, UnixDatagram},
        },
    },
    path::Path,
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    config::service_manager::ServiceManagerConfig,
    core::{tally::Tally, view::View},
    engine::session::Membership,
};

/// Time between two updates of the line in `systemctl status`. Every update wakes the service manager.
const STATUS_EVERY: Duration = Duration::from_secs(5);
/// Signs of life in each period of the watchdog. systemd advises two; a third lets one be late.
const SIGNS_OF_LIFE: u32 = 3;
/// What a shutdown may take beyond its delay and its window: the last clients, the farewell to the store and the log
/// take five seconds at most; the rest is for a busy machine.
const SHUTDOWN_SPARE: Duration = Duration::from_secs(15);

/// The connection to the service manager.
#[derive(Debug)]
pub struct ServiceManager {
    socket: UnixDatagram,
    tell_every: Duration,
    watches: bool,
}

/// What the service manager is told about.
#[derive(Debug)]
pub struct Subject {
    /// The count, and whether the store has answered.
    pub view: watch::Receiver<View>,
    /// The connections of this instance.
    pub tally: Arc<Tally<Membership>>,
    /// The longest time that this instance takes to send its clients elsewhere.
    pub drain: Duration,
}

impl ServiceManager {
    /// Connects to the service manager; `None` if there is none. If it cannot be reached, this is logged, and the instance
    /// serves visitors nevertheless.
    pub fn connect(settings: &ServiceManagerConfig) -> Option<Self> {
        let path = settings.socket.as_ref()?;
        let socket = open(path)
            .inspect_err(|error| {
                let path = path.display();
                tracing::warn!(%path, %error, "failed to reach the service manager at NOTIFY_SOCKET");
            })
            .ok()?;
        let watchdog = settings.watchdog.filter(|period| !period.is_zero());
        let tell_every =
            watchdog.map_or(STATUS_EVERY, |period| STATUS_EVERY.min(period / SIGNS_OF_LIFE));
        Some(Self { socket, tell_every, watches: watchdog.is_some() })
    }

    /// Task: reports the state of the instance until `stop`. It is ready when the store has answered, like `/readyz`, and
    /// stops from `stopping` on.
    pub async fn run(self, subject: Subject, stopping: CancellationToken, stop: CancellationToken) {
        let mut view = subject.view.clone();
        let mut ticks = interval(self.tell_every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut is_ready, mut is_stopping) = (false, false);
        loop {
            tokio::select! {
                Ok(_) = view.wait_for(|view| view.answered().is_some()), if !is_ready => {
                    is_ready = true;
                    self.send("READY=1\n");
                }
                () = stopping.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    // Apart, because systemd prolongs the time of the state that it is in already.
                    self.send("STOPPING=1\n");
                    let within = subject.drain + SHUTDOWN_SPARE;
                    self.send(&format!("EXTEND_TIMEOUT_USEC={}\n", within.as_micros()));
                }
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            self.send(&self.sign_of_life(&subject, is_stopping));
        }
    }

    fn sign_of_life(&self, subject: &Subject, is_stopping: bool) -> String {
        let mut message = format!("STATUS={}\n", status(subject, is_stopping));
        if self.watches {
            message.push_str("WATCHDOG=1\n");
        }
        message
    }

    /// Sends a message without waiting. If the service manager has no room for it, it is lost; the next one comes soon.
    fn send(&self, message: &str) {
        if let Err(error) = self.socket.send(message.as_bytes()) {
            tracing::debug!(%error, "failed to tell the service manager");
        }
    }
}

/// What a person reads in `systemctl status`.
fn status(subject: &Subject, is_stopping: bool) -> String {
    let view = *subject.view.borrow();
    let connections = subject.tally.connections();
    if is_stopping {
        return format!("stopping; {connections} connections are still to be sent elsewhere");
    }
    if view.answered().is_none() {
        return format!("waiting for the store's first answer; {connections} connections here");
    }
    let shown = view.shown(Instant::now());
    let sure = if shown.exact { "exact" } else { "an estimate: the store does not answer" };
    format!("{connections} connections here; {} users in all ({sure})", shown.users)
}

fn open(path: &Path) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    match path.as_os_str().as_bytes().strip_prefix(b"@") {
        Some(name) => socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?,
        None => socket.connect(path)?,
    }
    Ok(socket)
}
