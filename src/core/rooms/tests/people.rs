//! Users with an identity: their grace, what is known of them, and how many there are.

use super::*;
use crate::core::site_users::UsersHere;

const GRACE: Duration = Duration::from_secs(2);
const ALMOST: Duration = Duration::from_millis(1999);

fn with_grace(lingering_max: usize) -> Story {
    let settings =
        RoomsSettings { rooms_max: 100, grace: GRACE, lingering_max, ..RoomsSettings::default() };
    Story::with_settings(settings)
}

/// The store has applied what this report said, and holds so many pairs of a room and a user.
fn held(users_held: u64) -> RoomsReply {
    RoomsReply { users_held, counts: vec![users_held], ..RoomsReply::default() }
}

impl Story {
    fn lingering(&self) -> usize {
        SiteLedger::lingering(&*self.rooms, self.now)
    }

    fn say(&mut self, expected: &str, users_held: u64, revision: u64) {
        let sent = self.send();
        assert_eq!(words(&sent.said), expected);
        let standing = self.answer_with(&sent, revision, held(users_held));
        assert_eq!(standing, Standing::Kept);
    }
}

/// Goal: a user who is back within the grace has never left, and one who is not is reported as gone at its end. Method: a reload in
/// time, with a report in between, and a leave for good; the estimates and numbers of users during both.
#[test]
fn a_reload_changes_nothing() {
    let mut story = with_grace(10);
    let first = story.join_as("ada", "/a");
    story.say("/a=?+ada", 1, 1);
    drop(first);
    assert!(!story.rooms.is_waiting(story.now), "nothing is to be reported");
    assert_eq!(story.rooms.expire(story.now), Some(story.now + GRACE));
    story.now += ALMOST;
    story.say("/a=?+ada", 1, 2);
    assert_eq!((story.lingering(), story.rooms.users_here(&room("/a")).total()), (1, 1));
    let again = story.join_as("ada", "/a");
    assert_eq!((story.lingering(), story.rooms.expire(story.now)), (0, None));
    story.now += GRACE;
    story.say("/a=?+ada", 1, 3);
    story.view.mark_unreachable();
    drop(again);
    story.rooms.expire(story.now);
    assert_eq!(story.told("/a"), "~1");
    story.now += GRACE;
    assert_eq!(story.rooms.expire(story.now), None);
    assert!(story.rooms.is_waiting(story.now));
    assert_eq!((story.told("/a").as_str(), story.lingering()), ("~0", 0));
    story.say("/a=?-ada", 0, 4);
    assert!(story.take_due()[0].is_over);
    assert!(story.rooms.is_empty());
}

/// Goal: the grace begins when the time is known, and each stay has its own, also if the user was back meanwhile. Method: the same
/// user leaves, is back, and leaves again before the end of the first grace.
#[test]
fn every_stay_has_its_own_grace() {
    let story = &mut with_grace(10);
    drop(story.join_as("ada", "/a"));
    assert_eq!(story.rooms.expire(story.now), Some(story.now + GRACE));
    story.now += GRACE / 2;
    drop(story.join_as("ada", "/a"));
    let ends = story.now + GRACE;
    assert_eq!(story.rooms.expire(story.now), Some(ends));
    story.now += ALMOST;
    assert_eq!((story.rooms.expire(story.now), story.lingering()), (Some(ends), 1));
    story.now = ends;
    assert_eq!((story.rooms.expire(story.now), story.lingering()), (None, 0));
}

/// Goal: no more users linger than may, and users who come and go all the time take no more memory than others. Method: three users
/// where two may linger; one user with very many visits.
#[test]
fn lingering_is_bounded() {
    let mut story = with_grace(2);
    let users = ["ada", "bob", "eve"].map(|id| story.join_as(id, "/a"));
    story.say("/a=?+ada+bob+eve", 3, 1);
    drop(users);
    assert_eq!(story.lingering(), 2);
    story.say("/a=?-ada", 2, 2);
    for _ in 0..10_000 {
        drop(story.join_as("bob", "/a"));
    }
    assert_eq!(story.lingering(), 2);
    let queued = story.rooms.table().lingering.queued();
    assert!(queued < 200, "{queued}");
}

/// Goal: a new incarnation reports those who linger, and they leave at the end of their grace as if nothing had happened. Method: one
/// user who lingers and one who is here when the store is found to have lost both.
#[test]
fn a_resend_does_not_forget_the_grace() {
    let mut story = with_grace(10);
    let _here = story.join_as("bob", "/a");
    drop(story.join_as("ada", "/a"));
    story.say("/a=?+bob+ada", 2, 1);
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.rooms.begin_incarnation();
    story.say("/a=?+ada+bob", 2, 2);
    story.now += GRACE;
    story.say("/a=?-ada+bob", 1, 3);
}

/// Goal: without a grace, users are gone at once. Method: the default settings.
#[test]
fn without_grace_users_leave_at_once() {
    let mut story = Story::new();
    drop(story.join_as("ada", "/a"));
    assert_eq!((story.lingering(), story.rooms.expire(story.now)), (0, None));
    assert_eq!(words(&story.send().said), "");
}

/// What is said of the only user of a report; `-` if nothing is. `~` is before what must not replace anything.
fn info_of(said: &[RoomReport]) -> String {
    match &said[0].users[0].presence {
        UserPresence::Gone => panic!("he is here"),
        UserPresence::Here(info) => info.as_deref().unwrap_or("-").to_owned(),
        UserPresence::Still(info) => format!("~{info}"),
    }
}

/// A tab of one user, who is known by this.
fn tab(story: &Story, info: Option<&str>) -> RoomPresence<&'static str> {
    let person = Person { info: info.map(Arc::from), ..person("ada") };
    let attendance = Attendance::Member;
    story.rooms.join_as(Some(person), &room("/a"), attendance, "tab", story.now).unwrap()
}

fn answer(story: &mut Story, sent: &Sent, revision: u64, is_elsewhere: bool) {
    let rooms = RoomsReply { elsewhere: vec![is_elsewhere], ..held(1) };
    assert_eq!(story.answer_with(sent, revision, rooms), Standing::Kept);
}

/// Goal: what is known of a user is sent with him, and again when it changes and after a loss; a sweep never replaces what another
/// instance may have said since. Method: joins with information, without, with other, and with one that no store takes; sweeps of
/// a user who is here alone, and of one who is elsewhere, too; a new incarnation.
#[test]
fn what_is_known_of_users_is_sent() {
    let mut story = Story::new();
    let mut guests = Vec::new();
    let mut join = |story: &Story, info| guests.push(tab(story, info));
    join(&story, Some(r#"{"name":"Ada"}"#));
    let lost = story.send();
    assert_eq!(info_of(&lost.said), r#"{"name":"Ada"}"#);
    story.lose(&lost);
    let sent = story.send();
    assert_eq!(info_of(&sent.said), r#"{"name":"Ada"}"#);
    join(&story, Some(r#"{"name":"A."}"#));
    answer(&mut story, &sent, 1, false);
    let sent = story.send();
    assert_eq!(info_of(&sent.said), r#"{"name":"A."}"#, "it changed on the way");
    answer(&mut story, &sent, 2, false);
    let long = format!("{{{}}}", " ".repeat(600));
    for unchanged in [None, Some(r#"{"name":"A."}"#), Some("no object"), Some(&*long)] {
        join(&story, unchanged);
        assert!(!story.rooms.is_waiting(story.now), "{unchanged:?}");
    }
    for (revision, is_elsewhere) in [(3, true), (4, false), (5, false)] {
        story.now += Duration::from_secs(1);
        let swept = story.send();
        assert_eq!(info_of(&swept.said), r#"~{"name":"A."}"#, "{revision}");
        answer(&mut story, &swept, revision, is_elsewhere);
    }
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.rooms.begin_incarnation();
    assert_eq!(info_of(&story.send().said), r#"{"name":"A."}"#, "the store has lost it");
}

/// Goal: what is known of a user goes with the last tab that has said it. Method: two tabs of which one says something, which is closed;
/// a page that is loaded again within the grace with it, and then without.
#[test]
fn what_nobody_says_is_forgotten() {
    let mut story = with_grace(10);
    let (known, info) = (r#"{"name":"Ada"}"#, Some(r#"{"name":"Ada"}"#));
    let said = |story: &mut Story, expected: &str, revision| {
        assert!(story.rooms.is_waiting(story.now), "at {revision}");
        let sent = story.send();
        assert_eq!(info_of(&sent.said), expected, "at {revision}");
        answer(story, &sent, revision, false);
        assert!(!story.rooms.is_waiting(story.now), "at {revision}");
    };
    let first = tab(&story, info);
    said(&mut story, known, 1);
    let second = tab(&story, None);
    assert!(!story.rooms.is_waiting(story.now), "the other tab says it");
    drop(first);
    said(&mut story, "-", 2);
    let third = tab(&story, info);
    said(&mut story, known, 3);
    drop((second, third));
    let loaded_again = tab(&story, info);
    assert!(!story.rooms.is_waiting(story.now), "it stays for the grace");
    drop(loaded_again);
    let _bare = tab(&story, None);
    said(&mut story, "-", 4);
}

/// Goal: users are counted by how they are known. Method: users of both kinds with several connections, and one without an identity.
#[test]
fn users_are_counted_by_kind() {
    let story = with_grace(10);
    let token = || Person { kind: IdentityKind::Token, ..person("t:ada") };
    let join = |person| {
        story.rooms.join_as(person, &room("/a"), Attendance::Member, "tab", story.now).unwrap()
    };
    let tabs = [join(Some(token())), join(Some(token())), join(Some(person("v:1"))), join(None)];
    let here = story.rooms.users_here(&room("/a"));
    assert_eq!(here, UsersHere { token: 1, visitor: 1, none: 1 });
    assert_eq!((here.total(), story.rooms.connections(&room("/a"))), (3, 4));
    drop(tabs);
    let here = story.rooms.users_here(&room("/a"));
    assert_eq!(here, UsersHere { token: 1, visitor: 1, none: 0 }, "they linger");
    assert_eq!(story.rooms.users_here(&room("/b")), UsersHere::default());
}

/// Goal: a grace can be ended, and whoever is there or was never there stays as he is. Method: two users who linger in a room and in
/// the site, one of whom is back in the room.
#[test]
fn a_grace_can_be_ended() {
    let story = with_grace(10);
    let (ada, site) = (UserId::parse("ada").unwrap(), Room::Site);
    let everywhere = [site.clone(), Room::Named(room("/a")), Room::Named(room("/nowhere"))];
    let here = [story.join_as("ada", "/a"), story.join_as("bob", "/a")];
    story.rooms.enter_site(&person("ada"), story.now);
    story.rooms.leave_site(&ada);
    drop(here);
    let _back = story.join_as("bob", "/a");
    assert_eq!(story.lingering(), 2);
    for room in &everywhere {
        story.rooms.end_grace(room, &UserId::parse("bob").unwrap());
        story.rooms.end_grace(room, &UserId::parse("eve").unwrap());
    }
    assert_eq!((story.lingering(), story.rooms.users_here(&room("/a")).total()), (2, 2));
    story.rooms.end_grace(&site, &ada);
    assert_eq!((story.lingering(), SiteLedger::site_users_here(&*story.rooms).total()), (1, 0));
    for room in &everywhere {
        story.rooms.end_grace(room, &ada);
    }
    assert_eq!((story.lingering(), story.rooms.users_here(&room("/a")).total()), (0, 1));
    assert_eq!(story.rooms.expire(story.now), None, "nobody's grace is to end");
}

/// Goal: who leaves here and is also elsewhere stays on lists while the store is away, although his count was never news. Method: two
/// users of a room with a list; the store says after the leave of one that the count is the same, so it announces nothing.
#[test]
fn a_leave_has_the_list_read_again() {
    let mut story = Story::new();
    let (ada, _bob) = (story.join_as("ada", "/a"), story.join_as("bob", "/a"));
    story.rooms.keep_list(ada.room());
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[2]);
    story.rooms.take_stirred();
    drop(ada);
    let stirred = |is_elsewhere| Stirred { all: false, rooms: vec![(room("/a"), is_elsewhere)] };
    assert_eq!(story.rooms.take_stirred(), stirred(false), "he is not here");
    let sent = story.send();
    let _ = story.answer(&sent, 6, &[2]);
    assert_eq!(
        story.rooms.take_stirred(),
        stirred(true),
        "the store knows whether he is elsewhere"
    );
}
