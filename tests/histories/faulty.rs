//! Instances with one broken rule each. The faults are in what passes between the parts of the product: its ledger of rooms, its
//! reporter and its store.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
    time::Duration,
};

use headcount::core::{
    count::{Count, Revision},
    report::{Outcome, Reply, Report, UserPresence},
    room::{Person, RoomName, UserId},
    rooms::{Page, RoomLedger, RoomUsers, Rooms, RoomsToReport, SentRooms, Standing, Stirred},
    site_users::{SiteUsers, UsersHere},
    tally::{Local, SiteLedger},
    user_list::Info,
    view::View,
};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use super::{audience::Member, episode::Category, world::Backend};

/// How long an instance reads all counts that it should, whatever is broken: until all instances have settled.
const YOUNG_FOR: Duration = Duration::from_secs(7);

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
    /// An instance that is some seconds old does not read the counts of replies. So a room that is new on it stays unknown.
    NewRoomsUnread: Hop,
    /// Users are never reported as gone.
    UsersStay: Hop,
    /// A new incarnation does not report the users who are counted for the grace.
    GraceForgotten: Flush,
    /// Users of the site who are here are also counted as elsewhere.
    CountedTwice: Outage,
    /// A report that leaves out users of the site counts as one that names all.
    CoveredTooEarly: Hop,
    /// A user of the site counts as gone when one of his two connections ends.
    DroppedWithFirst: Burst,
    /// Lists are not read when the users of a room have changed elsewhere.
    ListsUnread: Burst,
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
    pub(crate) inner: Arc<Rooms<Member>>,
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
        let report = self.inner.report(if is_swept { now } else { self.started });
        let is_site_told = report.is_site_told || self.fault == Fault::CoveredTooEarly;
        RoomsToReport { is_site_told, ..report }
    }

    fn site_users(&self) -> SiteUsers {
        self.inner.site_users()
    }

    fn site_users_here(&self) -> UsersHere {
        SiteLedger::site_users_here(&*self.inner)
    }

    fn acknowledge(&self, sent: &SentRooms, reply: &Reply, is_reckoned: bool) -> SiteUsers {
        let users = self.inner.acknowledge(sent, reply, is_reckoned);
        match self.fault {
            Fault::CountedTwice => SiteUsers { stored_alone: 0, ..users },
            _ => users,
        }
    }

    fn is_resending(&self) -> bool {
        self.inner.is_resending()
    }

    fn expire(&self, now: Instant) -> Option<Instant> {
        self.inner.expire(now)
    }

    fn wake_for_overdue(&self, now: Instant) -> Option<Instant> {
        self.inner.wake_for_overdue(now)
    }

    fn fold_reply(&self, sent: &SentRooms, reply: &Reply, view: &View, now: Instant) -> Standing {
        let mut reply = reply.clone();
        match self.fault {
            Fault::TakesRecovering => reply.count.recovering = false,
            Fault::LostPagesUnnoticed => reply.paged = Revision::default(),
            Fault::NewRoomsUnread if self.started.elapsed() > YOUNG_FOR => {
                reply.rooms.iter_mut().for_each(|rooms| rooms.counts.clear());
            }
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

    fn deny(&self, sent: &SentRooms, now: Instant) {
        self.inner.deny(sent, now);
    }

    fn begin_incarnation(&self) {
        if self.fault == Fault::GraceForgotten {
            self.inner.expire(Instant::now() + Duration::from_hours(1));
        }
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

/// The users of the site with one broken rule.
#[derive(Debug)]
pub(crate) struct FaultyUsers {
    inner: Arc<Rooms<Member>>,
    fault: Fault,
    /// Who is there, if it does not matter how often.
    once: Mutex<BTreeSet<UserId>>,
}

impl FaultyUsers {
    pub(crate) fn new(inner: Arc<Rooms<Member>>, fault: Fault) -> Self {
        Self { inner, fault, once: Mutex::default() }
    }
}

impl SiteLedger for FaultyUsers {
    fn local(&self) -> &watch::Sender<Local> {
        self.inner.local()
    }

    fn enter_site(&self, person: &Person, now: Instant) {
        let is_new = self.once.lock().unwrap().insert(person.user.clone());
        if is_new || self.fault != Fault::DroppedWithFirst {
            self.inner.enter_site(person, now);
        }
    }

    fn leave_site(&self, user: &UserId) {
        let was_there = self.once.lock().unwrap().remove(user);
        if was_there || self.fault != Fault::DroppedWithFirst {
            self.inner.leave_site(user);
        }
    }

    fn site_users_here(&self) -> UsersHere {
        SiteLedger::site_users_here(&*self.inner)
    }

    fn lingering(&self, now: Instant) -> usize {
        self.inner.lingering(now)
    }
}

/// The users of rooms, as lists read them, with one broken rule.
#[derive(Debug)]
pub(crate) struct FaultyRoomUsers {
    pub(crate) inner: Arc<Rooms<Member>>,
    pub(crate) fault: Fault,
}

impl RoomUsers for FaultyRoomUsers {
    fn take_stirred(&self) -> Stirred {
        let mut stirred = self.inner.take_stirred();
        if self.fault == Fault::ListsUnread {
            stirred.rooms.iter_mut().for_each(|(_, is_elsewhere)| *is_elsewhere = false);
        }
        stirred
    }

    fn stirs(&self) -> &Notify {
        self.inner.stirs()
    }

    fn users_here(&self, room: &RoomName, most: usize) -> Vec<(UserId, Info)> {
        RoomUsers::users_here(&*self.inner, room, most)
    }
}
