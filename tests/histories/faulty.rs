//! Instances with one broken rule each. The faults are in what passes between the parts of the product: its ledger of rooms, its
//! reporter and its store.

use std::sync::Arc;

use headcount::core::{
    count::{Count, Revision},
    report::{Outcome, Reply, Report, UserPresence},
    rooms::{Page, RoomLedger, Rooms, RoomsToReport, SentRooms, Standing},
    site_users::SiteUsers,
    view::View,
};
use tokio::{sync::Notify, time::Instant};

use super::{episode::Category, world::Backend};

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident: $category:ident,)+) => {
        /// A broken rule.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Fault {
            /// No rule is broken.
            Nothing,
            $($(#[$doc])* $name,)+
        }

        impl Fault {
            pub(crate) const ALL: &[Self] = &[$(Self::$name,)+];

            /// The category of histories that notices it.
            pub(crate) fn category(self) -> Category {
                match self {
                    Self::Nothing => Category::Net,
                    $(Self::$name => Category::$category,)+
                }
            }
        }
    };
}

faults! {
    /// What was sent counts as acknowledged, answered or not; and nothing is swept, which would make up for it.
    Forgetful: Net,
    /// What a lost report asked for is not asked for again, and nothing is swept.
    NeverAsksAgain: Net,
    /// A new incarnation reports nothing again.
    ResendsNothing: Flush,
    /// The end of a recovery is not noticed by the rooms.
    EndUnnoticed: Flush,
    /// Counts of a store that recovers are taken over.
    TakesRecovering: Flush,
    /// Neither a gap between two pages nor a page that does not arrive is noticed, and nothing is swept.
    LostPagesUnnoticed: Unheard,
    /// Older counts are taken over.
    TakesOlder: Net,
    /// Pages are not read.
    PagesUnread: Hop,
    /// A refused report does not begin a new incarnation.
    ResendIgnored: Flush,
    /// What was seen is not said.
    SeenUnsaid: Snapshot,
    /// The users of rooms are never reported as gone.
    UsersStay: Hop,
}

impl Fault {
    /// The store on which it is noticed soonest.
    pub(crate) fn backend(self) -> Backend {
        let is_simple = self.category().suits(Backend::Embedded);
        if is_simple { Backend::Embedded } else { Backend::Redis }
    }

    pub(crate) fn falsify_report(self, report: Report) -> Report {
        match self {
            Self::SeenUnsaid => Report { seen: Count::default(), ..report },
            Self::UsersStay => {
                let mut report = report;
                for room in &mut report.rooms {
                    for user in &mut room.users {
                        if user.presence == UserPresence::Gone {
                            user.presence = UserPresence::Here(None);
                        }
                    }
                }
                report
            }
            _ => report,
        }
    }

    pub(crate) fn falsify_reply(self, reply: Reply) -> Reply {
        match self {
            Self::ResendIgnored if reply.outcome == Outcome::Resend => {
                Reply { outcome: Outcome::Stale, ..reply }
            }
            _ => reply,
        }
    }
}

/// A table of rooms with one broken rule.
#[derive(Debug)]
pub(crate) struct FaultyLedger {
    pub(crate) inner: Arc<Rooms<bool>>,
    pub(crate) fault: Fault,
    /// When the instance started.
    pub(crate) started: Instant,
}

impl RoomLedger for FaultyLedger {
    fn report(&self, now: Instant) -> RoomsToReport {
        let is_swept = !matches!(
            self.fault,
            Fault::Forgetful | Fault::NeverAsksAgain | Fault::LostPagesUnnoticed
        );
        self.inner.report(if is_swept { now } else { self.started })
    }

    fn site_users(&self) -> SiteUsers {
        self.inner.site_users()
    }

    fn acknowledge(&self, sent: &SentRooms, reply: &Reply, is_reckoned: bool) -> SiteUsers {
        self.inner.acknowledge(sent, reply, is_reckoned)
    }

    fn expire(&self, now: Instant) -> Option<Instant> {
        self.inner.expire(now)
    }

    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing {
        let mut reply = reply.clone();
        match self.fault {
            Fault::TakesRecovering => reply.count.recovering = false,
            Fault::LostPagesUnnoticed => reply.paged = Revision::default(),
            Fault::EndUnnoticed if !reply.count.recovering => {
                reply.count.revision = reply.count.revision.min(Revision(1));
            }
            _ => {}
        }
        self.inner.fold_reply(sent, &reply, view, now)
    }

    fn abandon(&self, sent: &SentRooms) {
        match self.fault {
            Fault::NeverAsksAgain => {}
            Fault::Forgetful => {
                let reply = Reply::default();
                let _ = self.inner.fold_reply(sent, &reply, &View::default(), Instant::now());
            }
            _ => self.inner.abandon(sent),
        }
    }

    fn deny(&self, sent: &SentRooms, now: Instant) -> bool {
        self.inner.deny(sent, now)
    }

    fn begin_incarnation(&self) {
        if self.fault != Fault::ResendsNothing {
            self.inner.begin_incarnation();
        }
    }

    fn fold_count(&self, count: Count) {
        match self.fault {
            Fault::EndUnnoticed if !count.recovering => {}
            Fault::TakesRecovering => self.inner.fold_count(Count { recovering: false, ..count }),
            _ => self.inner.fold_count(count),
        }
    }

    fn fold_page(&self, page: Page<'_>, view: &View, now: Instant) {
        let page = match self.fault {
            Fault::LostPagesUnnoticed => Page { since: Revision::default(), ..page },
            Fault::TakesOlder => Page { revision: Revision(page.revision.0 + 50), ..page },
            Fault::PagesUnread => Page { counts: &[], ..page },
            _ => page,
        };
        self.inner.fold_page(page, view, now);
    }

    fn subscribed(&self) {
        self.inner.subscribed();
    }

    fn is_waiting(&self, now: Instant) -> bool {
        self.inner.is_waiting(now)
    }

    fn page_overdue(&self) -> Option<Instant> {
        self.inner.page_overdue()
    }

    fn reports(&self) -> &Notify {
        self.inner.reports()
    }
}
