//! The users of the site: what reports say of them, and what the view makes of that.

use super::*;
use crate::core::tally::{Change, Newcomer, Presence, Tally};

/// An instance whose site has a tally.
struct Site {
    story: Story,
    tally: Arc<Tally<&'static str>>,
    present: Vec<Presence<&'static str>>,
}

impl Site {
    fn new(settings: RoomsSettings) -> Self {
        let story = Story::with_settings(settings);
        let tally = Tally::with_users(Arc::<Rooms<_>>::clone(&story.rooms));
        Self { story, tally, present: Vec::new() }
    }

    /// One connection without an identity, and one of each of these users.
    fn with(users: &[&'static str]) -> Self {
        let mut site = Self::new(RoomsSettings::default());
        site.present.push(site.tally.join("guest", site.story.now));
        for user in users {
            site.join(user);
        }
        site
    }

    fn join(&mut self, user: &'static str) {
        let presence = self.tally.join_as(Some(person(user)), user, self.story.now);
        self.present.push(presence);
    }

    /// The store answers with this count of the site, and says which of the users that the report named are elsewhere.
    fn answer(&mut self, sent: &Sent, revision: u64, users: u64, elsewhere: &[bool]) {
        let count = Count { users, revision: Revision(revision), ..Count::default() };
        let rooms = (!sent.said.is_empty()).then(|| RoomsReply {
            users_held: self.story.rooms.table().ledger.users_held,
            counts: vec![users],
            elsewhere: elsewhere.to_vec(),
            ..RoomsReply::default()
        });
        let _ = self.story.receive(sent, &Reply { count, rooms, ..Reply::default() });
    }

    fn observe(&mut self) {
        self.story.view.observe(*self.tally.subscribe().borrow());
        self.story.view.observe_users(self.story.rooms.site_users());
    }

    /// The number that is shown, marked with `~` if it is an estimate.
    fn told(&self) -> String {
        let shown = self.story.view.shown(self.story.now);
        format!("{}{}", if shown.exact { "" } else { "~" }, shown.users)
    }

    /// The newcomers whose changes the store has acknowledged.
    fn welcome(&self) -> Vec<&'static str> {
        let covered = self.story.view.covered();
        let newcomers = self.tally.take_newcomers(covered, Change::default(), self.story.now);
        newcomers.iter().map(|Newcomer { member, .. }| *member).collect()
    }

    fn change(&self) -> Change {
        self.tally.subscribe().borrow().change
    }
}

/// Goal: the report names the users of the site once each and before all other news; connections without an identity are numbers as
/// before. Method: a room that changed before the users came, two tabs of one of them; then all leave.
#[test]
fn users_of_the_site_go_first() {
    let mut site =
        Site::new(RoomsSettings { rooms_max: 9, entries_max: 3, ..RoomsSettings::default() });
    let _room = site.story.join("/a");
    site.present.push(site.tally.join("guest", site.story.now));
    for user in ["ada", "ada", "bob"] {
        site.join(user);
    }
    let sent = site.story.send();
    assert_eq!((words(&sent.said).as_str(), sent.report.local.anonymous), ("/=?+ada+bob", 1));
    assert!(sent.report.is_site_told);
    assert_eq!((site.tally.connections(), site.tally.users_here().total()), (4, 3));
    site.answer(&sent, 1, 3, &[false, false]);
    assert_eq!(words(&site.story.send().said), "/a=1");
    site.present.clear();
    let sent = site.story.send();
    assert_eq!(words(&sent.said), "/a=1 /=?-ada", "the room is in doubt");
    assert!(!sent.report.is_site_told, "there was no place for the other user");
    assert_eq!((site.tally.connections(), site.tally.users_here().total()), (0, 0));
}

/// Goal: a site without identities costs nothing more: no report names the site. Method: connections without an identity, also of a
/// person who joins a tally that knows none, and watchers.
#[test]
fn without_identities_nothing_is_said_of_users() {
    let mut site = Site::with(&[]);
    let _watcher = site.tally.watch("watcher", site.story.now);
    assert_eq!(site.present[0].user(), None);
    let sent = site.story.send();
    assert_eq!((sent.said.len(), sent.report.is_site_told), (0, true));
    assert_eq!(site.story.rooms.site_users(), SiteUsers::default());
    assert!(site.story.rooms.table().site.is_none());
    let plain = Tally::new();
    let presence = plain.join_as(Some(person("ada")), "ada", site.story.now);
    assert_eq!((plain.users_here().none, presence.user()), (1, None));
}

/// Goal: a newcomer with an identity is covered once the store has acknowledged him; another connection of a user who is counted
/// changes nothing, and is told at once. Method: joins before and after a report, an answer, and one more tab.
#[test]
fn newcomers_wait_until_their_user_is_counted() {
    let mut site = Site::with(&["ada"]);
    let sent = site.story.send();
    site.join("bob");
    site.answer(&sent, 1, 2, &[false]);
    assert_eq!(site.welcome(), ["guest", "ada"]);
    let sent = site.story.send();
    assert_eq!(words(&sent.said), "/=?+bob");
    site.answer(&sent, 2, 3, &[false]);
    assert_eq!((site.welcome(), site.told()), (vec!["bob"], "3".to_owned()));
    let before = site.change();
    site.join("ada");
    assert_eq!((site.welcome(), site.change()), (vec!["ada"], before));
    assert!(!site.story.rooms.is_waiting(site.story.now));
    assert_eq!(site.present.last().and_then(Presence::user), Some(&person("ada").user));
}

/// Goal: while a report leaves out users for whom there was no place, nobody counts as covered by it, and what is shown stays right.
/// Method: three users with two entries a report.
#[test]
fn a_report_in_portions_covers_nobody_too_early() {
    let mut site = Site::new(RoomsSettings { entries_max: 2, ..RoomsSettings::default() });
    let sent = site.story.send();
    site.answer(&sent, 1, 5, &[]);
    for user in ["ada", "bob", "eve"] {
        site.join(user);
    }
    for (revision, told) in [(2, vec![]), (3, vec![]), (4, vec!["ada", "bob", "eve"])] {
        let sent = site.story.send();
        assert_eq!(sent.report.is_site_told, revision == 4);
        site.answer(&sent, revision, 4 + revision, &[false]);
        assert_eq!((site.welcome(), site.told()), (told, format!("{}", 4 + revision)));
        assert_eq!(site.story.view.estimate(), 8, "all three are here");
    }
}

/// Goal: an estimate counts each user once, whoever has him. Method: of two users one is elsewhere, too; an outage, in which both
/// leave and a new one comes; then a report that knows better.
#[test]
fn an_estimate_counts_nobody_twice() {
    let mut site = Site::with(&["ada", "bob"]);
    let sent = site.story.send();
    site.answer(&sent, 1, 10, &[true, false]);
    site.story.view.mark_unreachable();
    assert_eq!(site.told(), "~10");
    site.present.truncate(1);
    site.observe();
    assert_eq!(site.told(), "~9", "ada is elsewhere");
    site.join("eve");
    site.observe();
    assert_eq!(site.told(), "~10");
    let sent = site.story.send();
    assert_eq!(words(&sent.said), "/=?-ada-bob+eve");
    site.answer(&sent, 2, 9, &[true, false, true]);
    site.story.view.mark_unreachable();
    assert_eq!(site.told(), "~9", "eve was counted elsewhere");
}

/// Goal: an announcement tells how many users are elsewhere, unless a report under way makes that doubtful. Method: announcements
/// before, during and after a report, each followed by the estimate.
#[test]
fn announcements_tell_of_others() {
    let mut site = Site::with(&["ada"]);
    let count = |users, revision| Count { users, revision: Revision(revision), ..Count::default() };
    let sent = site.story.send();
    site.answer(&sent, 1, 10, &[true]);
    let now = site.story.now;
    site.story.view.fold(count(12, 2), now);
    assert_eq!(site.story.view.estimate(), 12, "two more elsewhere");
    site.join("bob");
    let sent = site.story.send();
    site.story.view.fold(count(13, 3), now);
    assert_eq!(site.story.view.estimate(), 13, "the announcement may include bob or not");
    site.answer(&sent, 3, 13, &[false]);
    assert_eq!(site.story.view.estimate(), 13);
}

/// Goal: after a loss, nothing is exact and nothing dips until the store knows all users again, and a user who came meanwhile is in.
/// Method: a new incarnation with two entries a report, whose counts grow with each portion.
#[test]
fn a_resend_causes_no_dip() {
    let mut site = Site::new(RoomsSettings { entries_max: 2, ..RoomsSettings::default() });
    for user in ["ada", "bob", "eve"] {
        site.join(user);
    }
    for (revision, users) in [(1, 8), (2, 9), (3, 10)] {
        let sent = site.story.send();
        site.answer(&sent, revision, users, &[false]);
    }
    assert_eq!(site.told(), "10");
    site.story.view.begin_incarnation(Incarnation::random(), LEASE);
    site.story.rooms.begin_incarnation();
    site.observe();
    assert_eq!(site.told(), "~10");
    site.join("max");
    site.observe();
    for (revision, users) in [(4, 8), (5, 9), (6, 10)] {
        let sent = site.story.send();
        assert!(sent.resending);
        site.answer(&sent, revision, users, &[false]);
        assert_eq!(site.told(), "~11", "at revision {revision}");
    }
    let sent = site.story.send();
    assert!(!sent.resending && sent.report.is_site_told);
    site.answer(&sent, 7, 11, &[false]);
    assert_eq!(site.told(), "11");
}

/// Goal: a store that denies to be told of users makes the count an estimate which follows the others, and the count is exact once
/// the store has taken all users. Method: a denied report, reports without users, and one that is allowed.
#[test]
fn denied_users_are_in_the_estimate() {
    let mut site = Site::with(&["ada"]);
    let denied = site.story.send();
    site.story.view.report_ended();
    site.story.rooms.deny(&denied.rooms, site.story.now);
    site.observe();
    for (revision, users) in [(1, 5), (2, 7)] {
        let sent = site.story.send();
        assert_eq!((words(&sent.said).as_str(), sent.report.is_site_told), ("", false));
        site.answer(&sent, revision, users, &[]);
        assert_eq!(site.told(), format!("~{}", users + 1));
    }
    site.story.now += Duration::from_secs(10);
    let sent = site.story.send();
    assert_eq!(words(&sent.said), "/=?+ada");
    site.answer(&sent, 3, 8, &[false]);
    assert_eq!((site.told(), site.welcome()), ("8".to_owned(), vec!["guest", "ada"]));
}

/// Goal: a user is counted for the grace on the site, too: a reload is no change, and the end of the grace is one. Method: the local
/// count and the report after each step.
#[test]
fn the_site_has_a_grace() {
    let grace = Duration::from_secs(2);
    let settings = RoomsSettings { grace, lingering_max: 9, ..RoomsSettings::default() };
    let mut site = Site::new(settings);
    site.join("ada");
    let joined = site.change();
    let sent = site.story.send();
    site.answer(&sent, 1, 1, &[false]);
    site.present.clear();
    assert_eq!((site.tally.connections(), site.tally.users_here().visitor), (0, 1));
    assert_eq!(site.tally.lingering(site.story.now), 1);
    site.join("ada");
    assert_eq!((site.tally.lingering(site.story.now), site.change()), (0, joined));
    site.present.clear();
    assert_eq!(site.story.rooms.expire(site.story.now), Some(site.story.now + grace));
    site.story.now += grace;
    assert_eq!((site.tally.lingering(site.story.now), site.change()), (0, Change(joined.0 + 1)));
    assert_eq!(words(&site.story.send().said), "/=?-ada");
}

/// Goal: unchanged users of the site are sent again now and then, which heals what was edited in the store. Method: a user who has
/// been acknowledged, and the time of the sweep.
#[test]
fn users_of_the_site_are_swept() {
    let mut site = Site::with(&["ada"]);
    let sent = site.story.send();
    site.answer(&sent, 1, 2, &[false]);
    assert_eq!(words(&site.story.send().said), "");
    site.story.now += Duration::from_secs(1);
    assert_eq!(words(&site.story.send().said), "/=?+ada");
}

/// Goal: whoever has come to another instance, too, is known to be there two seconds later, so an estimate keeps him when he leaves
/// here; in a large table it takes longer, and a report still has a limited size. Method: 600 users who are all elsewhere from
/// some moment on, the reports of two seconds, an outage, in which all leave; the size of a sweep of 2,000 users.
#[test]
fn who_came_to_others_is_known_soon() {
    for (users, swept) in [(600_u64, 120), (2000, 128)] {
        let mut site = Site::with(&[]);
        for number in 0..users {
            site.join(format!("user-{number:04}").leak());
        }
        let mut revision = 0;
        let mut report = |site: &mut Site, are_elsewhere: bool| {
            let sent = site.story.send();
            let named: usize = sent.said.iter().map(|room| room.users.len()).sum();
            revision += 1;
            site.answer(&sent, revision, 1 + users, &vec![are_elsewhere; named]);
            named
        };
        while site.story.rooms.is_waiting(site.story.now) {
            report(&mut site, false);
        }
        for _ in 0..5 {
            site.story.now += Duration::from_millis(400);
            assert_eq!(report(&mut site, true), swept);
        }
        site.story.view.mark_unreachable();
        site.present.clear();
        site.observe();
        let known = users.min(5 * 128);
        assert!(site.story.view.estimate() >= known, "{}", site.told());
        assert!(users > known || site.told() == format!("~{users}"), "{}", site.told());
    }
}
