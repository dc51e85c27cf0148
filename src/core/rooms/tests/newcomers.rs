//! What newcomers and others are told.

use super::*;

/// What the due rooms tell: the name, the count if it is news, and the counts of the newcomers.
fn tidings(due: &[DueRoom<&'static str>]) -> Vec<(String, Option<u64>, Vec<u64>)> {
    let tell = |due: &DueRoom<&'static str>| {
        let newcomers = due.newcomers.iter().map(|newcomer| newcomer.shown.users).collect();
        (due.name.to_string(), due.changed.then_some(due.shown.users), newcomers)
    };
    due.iter().map(tell).collect()
}

/// Goal: a newcomer is told a count that includes it, once the store has acknowledged it. Method: a join, a page that does not
/// include it, the reply.
#[test]
fn newcomers_wait_until_they_are_counted() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(3), vec![3])]);
    let _second = story.join("/a");
    assert_eq!(tidings(&story.take_due()), []);
    let sent = story.send();
    story.page(0, 6, &[("/a", 4)]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(4), vec![])]);
    let _ = story.answer(&sent, 7, &[5]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(5), vec![5])]);
    assert_eq!(story.rooms.patience_ends(), None);
}

/// Goal: a newcomer is not told a count from which the others have taken its instance, as an exact one. Method: the store acknowledges
/// it; the instance gets no CPU for longer than a lease, and is counted out. The task that tells counts has read the clock before that.
#[test]
fn a_clock_that_was_read_too_early_makes_nothing_exact() {
    let mut story = Story::new();
    let _newcomer = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[1]);
    let early = story.now;
    story.now += LEASE + Duration::from_millis(1);
    story.page(5, 6, &[("/a", 0)]);
    story.now = early;
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(1), vec![1])]);
    assert_eq!(story.told("/a"), "~1");
}

/// Goal: no newcomer is told the count before its own, whenever the broadcaster looks. Method: it looks between the two steps in which
/// a reply is taken over. The room was watched before, so that an older count is known.
#[test]
fn newcomers_wait_for_the_whole_reply() {
    let mut story = Story::new();
    let _watcher = story.watch("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[0]);
    story.take_due();
    let (_member, _user) = (story.join("/a"), story.join_as("v:1", "/a"));
    let sent = story.send();
    let rooms = RoomsReply { counts: vec![2], ..held_after(&sent.said) };
    let count = Count { revision: Revision(6), ..Count::default() };
    let reply = Reply { count, rooms: Some(rooms), ..Reply::default() };
    let is_reckoned = story.view.reckons(sent.report, &reply);
    let users = story.rooms.acknowledge(&sent.rooms, &reply, is_reckoned);
    story.view.fold_reply(sent.report, &reply, users, story.now);
    assert_eq!(tidings(&story.take_due()), []);
    let _ = story.rooms.fold_reply(&sent.rooms, &reply, &story.view, story.now);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(2), vec![2, 2])]);
}

/// Goal: a newcomer whom the store is slow to count is told an estimate that includes it, and the others are told the count again
/// afterwards. Method: a report without an answer, the end of the patience, the answer.
#[test]
fn patience_ends_with_the_estimate() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    story.take_due();
    story.now += Duration::from_millis(100);
    let _second = story.join("/a");
    let sent = story.send();
    let ends = story.now + NEWCOMER_PATIENCE;
    assert_eq!(story.rooms.patience_ends(), Some(ends));
    story.now = ends;
    let due = story.take_due();
    assert_eq!(tidings(&due), [("/a".to_owned(), None, vec![4])]);
    assert!(!due[0].newcomers[0].shown.exact && due[0].shown.exact);
    assert_eq!(story.rooms.patience_ends(), None);
    let _ = story.answer(&sent, 6, &[4]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(4), vec![])]);
}

/// Goal: it is known which exact counts leave a newcomer out that was told an estimate, and the first one that does not is told, even if
/// it is the same number. Method: the patience ends, others leave elsewhere, and somebody leaves elsewhere as the newcomer is counted.
#[test]
fn the_count_is_told_again_once_it_includes_all() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    story.take_due();
    let _second = story.join("/a");
    let sent = story.send();
    story.now += NEWCOMER_PATIENCE;
    let due = story.take_due();
    assert_eq!(tidings(&due), [("/a".to_owned(), None, vec![4])]);
    assert_eq!((due[0].included.counted, due[0].newcomers[0].uncounted), (1, Some(2)));
    story.page(0, 6, &[("/a", 2)]);
    let due = story.take_due();
    assert_eq!(
        (tidings(&due), due[0].included.counted),
        (vec![("/a".to_owned(), Some(2), vec![])], 1)
    );
    let _ = story.answer(&sent, 7, &[2]);
    let due = story.take_due();
    assert_eq!(
        (tidings(&due), due[0].included.counted),
        (vec![("/a".to_owned(), Some(2), vec![])], 2)
    );
    assert_eq!(tidings(&story.take_due()), []);
}

/// Goal: a newcomer who leaves before it was told anything is told nothing, and nobody waits for it. Method: a member who leaves
/// while its report is under way, beside one who stays, and a watcher who leaves at once.
#[test]
fn who_has_left_is_told_nothing() {
    let mut story = Story::new();
    let first = story.join("/a");
    let _second = story.join("/a");
    drop(story.watch("/a"));
    let sent = story.send();
    drop(first);
    let _ = story.answer(&sent, 5, &[2]);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1");
    let _ = story.answer(&sent, 6, &[1]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(1), vec![1])]);
    let alone = story.join("/b");
    let sent = story.send();
    drop(alone);
    let _ = story.answer_with(
        &sent,
        7,
        RoomsReply { rooms_held: 2, counts: vec![1], ..RoomsReply::default() },
    );
    assert_eq!(story.rooms.patience_ends(), None);
    assert_eq!(tidings(&story.take_due()), [("/b".to_owned(), Some(1), vec![])]);
}

/// Goal: a watcher is told the count as soon as it is known, and is not counted. Method: watchers of an unknown and of a known
/// room.
#[test]
fn watchers_are_told_and_not_counted() {
    let mut story = Story::new();
    let _first = story.watch("/a");
    assert_eq!(tidings(&story.take_due()), []);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=?");
    let _ = story.answer(&sent, 5, &[3]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(3), vec![3])]);
    let _second = story.watch("/a");
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), None, vec![3])]);
    assert_eq!(story.rooms.connections(&room("/a")), 0);
}

/// Goal: when counts become estimates or exact again, all rooms that show another number are told, and no others. Method: an
/// outage in which one of two rooms changes.
#[test]
fn an_outage_is_told_where_it_changes_numbers() {
    let mut story = Story::new();
    let _here = (story.join("/a"), story.join("/b"));
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3, 4]);
    story.take_due();
    let _third = story.join("/b");
    story.view.mark_unreachable();
    assert_eq!(tidings(&story.take_due()), [("/b".to_owned(), Some(5), vec![])]);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/b=2");
    let _ = story.answer_with(
        &sent,
        6,
        RoomsReply { rooms_held: 2, counts: vec![6], ..RoomsReply::default() },
    );
    assert_eq!(tidings(&story.take_due()), [("/b".to_owned(), Some(6), vec![6])]);
}

/// Goal: a second connection of a user who is counted is told at once; one of a user whose report is under way waits for it.
/// Method: connections of one user before and after the answer.
#[test]
fn a_user_who_is_counted_need_not_wait() {
    let mut story = Story::new();
    let _first = story.join_as("ada", "/a");
    let sent = story.send();
    let _second = story.join_as("ada", "/a");
    assert!(story.take_due().iter().all(|due| due.newcomers.is_empty()));
    let _ = story.answer(&sent, 5, &[3]);
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), Some(3), vec![3, 3])]);
    let _third = story.join_as("ada", "/a");
    assert_eq!(tidings(&story.take_due()), [("/a".to_owned(), None, vec![3])]);
}

/// Goal: all who are in a room share the text of its name. Method: members who say the same name.
#[test]
fn a_name_is_shared() {
    let story = Story::new();
    let names = [story.join("/a"), story.join("/a"), story.watch("/a")].map(|it| it.name());
    let texts = names.each_ref().map(|name| name.as_str().as_ptr());
    assert!(names[0].as_str() == "/a" && texts[1..].iter().all(|text| *text == texts[0]));
}
