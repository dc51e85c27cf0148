//! The number of sessions outside of the site, which an instance tells operators beside its name. No count depends on it.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::core::about::About;

/// How often the number is looked at. An instance says what it says of itself every two leases, 4 s by default.
const EVERY: Duration = Duration::from_secs(1);

/// Task: keeps the number in `about` until `stop`. Nobody is woken for it: it goes with the next report that names the instance.
pub(super) async fn tell(
    about: watch::Sender<Arc<About>>,
    outside: impl Fn() -> u64,
    stop: CancellationToken,
) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let number = outside();
        about.send_if_modified(|about| {
            if about.outside != number {
                Arc::make_mut(about).outside = number;
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicU64, Ordering},
        time::SystemTime,
    };

    use tokio::task::JoinSet;

    use super::*;

    /// Goal: the number follows the sessions, and wakes nobody. Method: sessions that come and go.
    #[tokio::test(start_paused = true)]
    async fn it_follows_the_sessions() {
        let about = About::new("web-1".to_owned(), SystemTime::UNIX_EPOCH);
        let about = watch::Sender::new(Arc::new(about));
        let heard = about.subscribe();
        let (sessions, stop) = (Arc::new(AtomicU64::new(0)), CancellationToken::new());
        let (seen, mut tasks) = (Arc::clone(&sessions), JoinSet::new());
        tasks.spawn(tell(about.clone(), move || seen.load(Ordering::Relaxed), stop.clone()));
        for number in [1, 0] {
            sessions.store(number, Ordering::Relaxed);
            tokio::time::sleep(2 * EVERY).await;
            assert_eq!(about.borrow().outside, number);
        }
        assert!(!heard.has_changed().unwrap());
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap();
    }
}
