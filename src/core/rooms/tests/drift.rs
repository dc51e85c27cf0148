//! What the store holds of this instance beyond what is here.

use super::*;
use crate::core::tally::Tally;

impl Story {
    /// The counted connections in rooms, and the drift.
    fn balance(&self) -> (u64, i64) {
        let state = self.rooms.state(&self.view, self.now);
        (state.members, state.drift)
    }

    /// The store applies a report.
    fn tell(&mut self, revision: u64) {
        let sent = self.send();
        let counts = vec![9; sent.said.len()];
        let _ = self.answer(&sent, revision, &counts);
    }
}

/// Goal: the drift is what the store has not acknowledged yet, on either side, and is 0 at rest. Method: connections, a user with two
/// tabs, and a watcher; they come, a report of it is lost, they leave, and the instance takes a new incarnation.
#[test]
fn drift_is_what_was_not_acknowledged() {
    let mut story = Story::new();
    let guests = [story.join("/a"), story.join("/a"), story.join("/b")];
    let tabs = [story.join_as("ada", "/a"), story.join_as("ada", "/a")];
    let _watcher = story.watch("/a");
    assert_eq!(story.balance(), (5, -4), "three connections and a user");
    let lost = story.send();
    story.lose(&lost);
    assert_eq!(story.balance(), (5, -4));
    story.tell(1);
    assert_eq!(story.balance(), (5, 0));

    let [first, second] = tabs;
    drop(first);
    assert_eq!(story.balance(), (4, 0), "the user is still there");
    drop(second);
    assert_eq!(story.balance(), (3, 1));
    drop(guests);
    assert_eq!(story.balance(), (0, 4));
    let _late = story.join("/c");
    assert_eq!(story.balance(), (1, 3));
    story.tell(2);
    assert_eq!(story.balance(), (1, 0));

    story.rooms.begin_incarnation();
    assert_eq!(story.balance(), (1, -1), "the store holds nothing of it");
    story.tell(3);
    assert_eq!(story.balance(), (1, 0));
}

/// Goal: users of the site with an identity drift as those of rooms do, and one within the grace is still here. Method: the same user
/// in the site and in a room, who leaves both.
#[test]
fn users_of_the_site_and_the_grace() {
    let (grace, lingering_max) = (Duration::from_secs(2), 10);
    let settings =
        RoomsSettings { rooms_max: 100, grace, lingering_max, ..RoomsSettings::default() };
    let mut story = Story::with_settings(settings);
    let tally = Tally::with_users(Arc::<Rooms<_>>::clone(&story.rooms));
    let in_site = tally.join_as(Some(person("ada")), "ada", story.now);
    let in_room = story.join_as("ada", "/a");
    assert_eq!(story.balance(), (1, -2));
    story.tell(1);
    assert_eq!(story.balance(), (1, 0));
    drop((in_site, in_room));
    story.rooms.expire(story.now);
    assert_eq!(story.balance(), (0, 0), "the grace");
    story.now += grace;
    story.rooms.expire(story.now);
    assert_eq!(story.balance(), (0, 2));
    story.tell(2);
    assert_eq!(story.balance(), (0, 0));
}
