//! What reports say of rooms.

use super::*;

/// Goal: a report says what has changed, once it is acknowledged nothing more, and a room that has emptied is dropped. Method: a
/// join, an answer, a leave, an answer.
#[test]
fn changes_are_reported_until_they_are_acknowledged() {
    let mut story = Story::new();
    let here = story.join("/a");
    assert!(story.rooms.is_waiting(story.now));
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1");
    assert_eq!(story.answer(&sent, 1, &[1]), Standing::Kept);
    assert!(!story.rooms.is_waiting(story.now));
    assert_eq!(words(&story.send().said), "", "the sweep has its own time");
    drop(here);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=0");
    story.take_due();
    assert_eq!(story.rooms.len(), 1, "the store may still hold it");
    let _ = story.answer(&sent, 2, &[0]);
    let due = story.take_due();
    assert!(due[0].is_over);
    assert!(story.rooms.is_empty());
}

/// Goal: what a lost report said is said again, before anything else, with the value of now. Method: lost reports with two
/// entries at most, and changes between them.
#[test]
fn what_is_in_doubt_comes_first() {
    let mut story = Story::in_portions(2);
    let a = story.join("/a");
    let _b = story.join("/b");
    let _c = story.join("/c");
    let lost = story.send();
    assert_eq!(words(&lost.said), "/a=1 /b=1");
    story.lose(&lost);
    drop(a);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=0 /b=1");
    let _ = story.answer(&sent, 2, &[0, 1]);
    assert!(story.rooms.is_waiting(story.now), "the third is left");
    let sent = story.send();
    assert_eq!(words(&sent.said), "/c=1");
}

/// Goal: a value that changes while its report is under way is reported again. Method: a second join before the answer.
#[test]
fn a_change_during_a_report_is_reported() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    let _second = story.join("/a");
    let _ = story.answer(&sent, 1, &[1]);
    assert!(story.rooms.is_waiting(story.now));
    assert_eq!(words(&story.send().said), "/a=2");
}

/// Goal: the answer to an older report does not settle what a later one carries. Method: two reports under way, answered late.
#[test]
fn an_older_answer_settles_nothing() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let older = story.send();
    let _second = story.join("/a");
    let later = story.send();
    assert_eq!(words(&later.said), "/a=2");
    let _ = story.answer(&older, 1, &[1]);
    let again = story.send();
    assert_eq!(words(&again.said), "/a=2", "it may not have arrived");
    let _ = story.answer(&again, 3, &[2]);
    let _ = story.answer(&later, 2, &[2]);
    assert_eq!(words(&story.send().said), "");
}

/// Goal: connections that come and go between two reports cost no entry, however many they are. Method: many visits while the
/// store is away.
#[test]
fn a_visit_between_two_reports_is_not_reported() {
    let mut story = Story::new();
    for number in 0..10_000 {
        drop(story.join(&format!("/{}", number % 50)));
        story.take_due();
    }
    assert!(story.rooms.is_empty());
    let table = story.rooms.table();
    assert!(table.ledger.news.keys.len() < 1000, "{}", table.ledger.news.keys.len());
    drop(table);
    assert_eq!(words(&story.send().said), "");
    assert!(!story.rooms.is_waiting(story.now));
}

/// Goal: a user is reported once, however many connections he has, and gone after the last. Method: two tabs, and one that
/// leaves and comes back before the report.
#[test]
fn a_user_is_one_entry() {
    let mut story = Story::new();
    let tabs = [story.join_as("ada", "/a"), story.join_as("ada", "/a")];
    let _guest = story.join("/a");
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1+ada");
    assert_eq!(story.answer(&sent, 1, &[2]), Standing::Kept);
    let [one, other] = tabs;
    drop(one);
    assert_eq!(words(&story.send().said), "");
    drop(other);
    let back = story.join_as("ada", "/a");
    assert_eq!(words(&story.send().said), "");
    drop(back);
    assert_eq!(words(&story.send().said), "/a=?-ada");
}

/// Goal: a new incarnation reports everything again, in portions of which all but the last say that more follow. Method: five
/// rooms, two entries a report.
#[test]
fn a_new_incarnation_reports_everything() {
    let mut story = Story::in_portions(2);
    let _here = ["/a", "/b", "/c", "/d", "/e"].map(|name| story.join(name));
    for revision in 1..4 {
        let sent = story.send();
        let counts = vec![1; sent.said.len()];
        let held =
            RoomsReply { rooms_held: (2 * revision).min(5), counts, ..RoomsReply::default() };
        assert_eq!(story.answer_with(&sent, revision, held), Standing::Kept);
    }
    assert!(!story.rooms.is_waiting(story.now));
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.rooms.begin_incarnation();
    assert_eq!(story.told("/a"), "~1", "the store does not hold the one who is here");
    let portions: Vec<_> = (0..3)
        .map(|portion| {
            let sent = story.send();
            let held = RoomsReply {
                rooms_held: (2 * (portion + 1)).min(5),
                counts: vec![1; sent.said.len()],
                ..RoomsReply::default()
            };
            assert_eq!(story.answer_with(&sent, 10 + portion, held), Standing::Kept);
            (words(&sent.said), sent.resending)
        })
        .collect();
    let expected = [("/a=1 /b=1", true), ("/c=1 /d=1", true), ("/e=1", false)];
    assert_eq!(portions, expected.map(|(said, more)| (said.to_owned(), more)));
    assert_eq!(story.told("/a"), "1");
}

/// Goal: a store that holds another number of rooms or users than it acknowledged is noticed, once in a lease. Method: replies
/// with one room too few, or one user too many.
#[test]
fn a_mismatch_begins_a_new_incarnation() {
    for (rooms_held, users_held) in [(0, 1), (1, 2)] {
        let mut story = Story::new();
        let _here = (story.join("/a"), story.join_as("ada", "/a"));
        let wrong =
            || RoomsReply { rooms_held, users_held, counts: vec![2], elsewhere: vec![false] };
        let sent = story.send();
        assert_eq!(story.answer_with(&sent, 1, wrong()), Standing::Lost);
        let _more = story.join("/a");
        let sent = story.send();
        assert_eq!(story.answer_with(&sent, 2, wrong()), Standing::Kept, "it was just told");
        story.now += LEASE;
        let sent = story.send();
        assert!(words(&sent.said).contains("/a=2"), "the sweep says so: {:?}", sent.said);
        assert_eq!(story.answer_with(&sent, 3, wrong()), Standing::Lost);
    }
}

/// Goal: every entry is said again in time without a change, a few at a time. Method: many rooms and users, and heartbeats whose
/// reports are collected.
#[test]
fn unchanged_entries_are_swept() {
    let mut story = Story::new();
    let mut here: Vec<_> = (0..40).map(|number| story.join(&format!("/{number}"))).collect();
    here.extend((0..40).map(|number| story.join_as(&format!("u{number}"), "/0")));
    let sent = story.send();
    let counts = vec![1; sent.said.len()];
    let elsewhere = vec![false; 40];
    let held = RoomsReply { rooms_held: 40, users_held: 40, counts, elsewhere };
    assert_eq!(story.answer_with(&sent, 1, held.clone()), Standing::Kept);
    let mut said = std::collections::BTreeSet::new();
    for revision in 2..9 {
        story.now += Duration::from_millis(500);
        let sent = story.send();
        let entries: Vec<String> = sent
            .said
            .iter()
            .flat_map(|room| {
                let name = room.room.as_str();
                let own = room.connections.map(|_| name.to_owned());
                own.into_iter().chain(
                    room.users.iter().map(move |user| format!("{name} {}", user.user.as_str())),
                )
            })
            .collect();
        assert!((1..=16).contains(&entries.len()), "{entries:?}");
        said.extend(entries);
        let held = RoomsReply { counts: vec![1; sent.said.len()], ..held.clone() };
        assert_eq!(story.answer_with(&sent, revision, held), Standing::Kept);
    }
    assert_eq!(said.len(), 80, "{said:?}");
}

/// Goal: a stale reply, or one of a former incarnation, settles nothing. Method: a stale reply, and an answer that arrives after
/// the change of the incarnation.
#[test]
fn only_applied_reports_settle() {
    let mut story = Story::new();
    let _here = story.join("/a");
    let stale = story.send();
    let late = story.send();
    let reply = Reply { outcome: Outcome::Stale, ..Reply::default() };
    let _ = story.receive(&stale, &reply);
    story.rooms.begin_incarnation();
    let _ = story.answer(&late, 1, &[1]);
    assert_eq!(words(&story.send().said), "/a=1");
}

/// Goal: while the store denies rooms, nothing is reported of them, a reply about the site acknowledges nothing of them, and
/// members are told estimates of every change. Once the store takes them, everything is reported. Method: two joins before and
/// after a denial, an answered report without rooms, and a report after the pause.
#[test]
fn denied_rooms_are_kept_for_later() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    story.view.report_ended();
    story.rooms.deny(&sent.rooms, story.now);
    let _second = story.join("/a");
    assert!(!story.rooms.is_waiting(story.now));
    story.now += NEWCOMER_PATIENCE;
    let due = story.take_due();
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].newcomers.len(), due[0].shown.users), (2, 2));
    let third = story.join("/a");
    drop(third);
    let _third = story.join("/a");
    let due = story.take_due();
    assert!(due[0].changed, "those who are in the room hear of it");
    assert_eq!(story.told("/a"), "~3");

    let sent = story.send();
    assert_eq!(sent.said, []);
    let count = Count { revision: Revision(5), ..Count::default() };
    let reply = Reply { count, ..Reply::default() };
    assert_eq!(story.receive(&sent, &reply), Standing::Kept);
    assert_eq!(story.told("/a"), "~3");

    story.now += Duration::from_secs(10);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=3");
    assert_eq!(story.answer(&sent, 6, &[4]), Standing::Kept);
    assert_eq!(story.told("/a"), "4");
    assert!(story.rooms.is_waiting(story.now), "counts that changed meanwhile are asked for");
}
