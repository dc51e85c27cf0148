//! The count as a member shows it, once or as it changes. It reads the view and changes nothing.

use std::fmt;

use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::core::view::View;

/// How many users there are, as a member holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UserCount {
    /// Users in the whole cluster.
    pub users: u64,
    /// False for an estimate: the store has not answered yet or is away, or the member has left or failed.
    pub exact: bool,
}

impl UserCount {
    /// What a view shows; never exact if the member does not work any more.
    pub(super) fn of(view: &View, is_working: bool) -> Self {
        let shown = view.shown(Instant::now());
        Self { users: shown.users, exact: shown.exact && is_working }
    }
}

/// The number alone, as it is shown to people.
impl fmt::Display for UserCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.users.fmt(f)
    }
}

/// The count as it changes, from [`Member::subscribe`](crate::Member::subscribe). Whoever is slow skips to the newest.
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

    /// The count as soon as it is another than what this returned last; at once for the first time. `None` when the member
    /// has left, was dropped or failed: nothing will change any more. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<UserCount> {
        loop {
            if self.is_over.is_cancelled() || self.failed.borrow().is_some() {
                return None;
            }
            let count = UserCount::of(&self.view.borrow_and_update(), true);
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
