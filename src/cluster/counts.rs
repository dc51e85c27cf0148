//! The count as a member shows it to its application.

use std::fmt;

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::core::view::View;

/// The count of the cluster, as a member shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserCount {
    /// Users in the whole cluster.
    pub users: u64,
    /// False for an estimate: the store has not answered yet or is away, or the member has left or failed.
    pub exact: bool,
}

impl UserCount {
    /// The count that the view of a working member shows.
    pub(super) fn of(view: &View) -> Self {
        let shown = view.shown(Instant::now());
        Self { users: shown.users, exact: shown.exact }
    }
}

/// Displays the number alone.
impl fmt::Display for UserCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.users.fmt(f)
    }
}

/// The changes of the count, from [`Member::subscribe`](crate::Member::subscribe). A slow reader skips to the newest.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), headcount::JoinError> {
/// # let member = headcount::Member::join(headcount::MemberSettings::default()).await?;
/// let mut counts = member.subscribe();
/// assert_eq!(counts.next().await, Some(member.count()));
/// member.leave().await;
/// assert_eq!(counts.next().await, None);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Counts {
    view: watch::Receiver<View>,
    is_over: CancellationToken,
    failed: watch::Receiver<Option<&'static str>>,
    last: Option<UserCount>,
}

impl Counts {
    pub(super) fn new(
        view: watch::Receiver<View>,
        is_over: CancellationToken,
        failed: watch::Receiver<Option<&'static str>>,
    ) -> Self {
        Self { view, is_over, failed, last: None }
    }

    /// Waits until the count differs from the one that this returned last. The first call returns at once. `None` if the member
    /// has left, was dropped, or has failed. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<UserCount> {
        loop {
            if self.is_over.is_cancelled() || self.failed.borrow().is_some() {
                return None;
            }
            let count = UserCount::of(&self.view.borrow_and_update());
            if self.last != Some(count) {
                self.last = Some(count);
                return self.last;
            }
            tokio::select! {
                () = self.is_over.cancelled() => {}
                _ = self.failed.changed() => {}
                changed = self.view.changed() => changed.ok()?,
            }
        }
    }
}
