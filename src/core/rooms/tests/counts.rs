//! What is known of the counts of rooms.

use super::*;

fn recovering(revision: u64) -> Count {
    Count { revision: Revision(revision), recovering: true, ..Count::default() }
}

fn calm(revision: u64) -> Count {
    Count { recovering: false, ..recovering(revision) }
}

/// Goal: only newer counts are taken over. Method: pages with older and newer revisions, and a late reply.
#[test]
fn counts_never_go_back() {
    let mut story = Story::new();
    let _here = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    assert_eq!(story.told("/a"), "3");
    let late = story.send();
    story.page(0, 9, &[("/a", 7), ("/elsewhere", 2)]);
    assert_eq!(story.told("/a"), "7");
    story.page(9, 8, &[("/a", 6)]);
    let _ = story.answer(&late, 7, &[]);
    assert_eq!(story.told("/a"), "7");
    assert_eq!(story.told("/elsewhere"), "unknown");
}

/// Goal: in an outage the count is what was last known of the others, and who is here. Method: an answer, an outage, joins and
/// leaves, and a room that is new in the outage.
#[test]
fn an_outage_shows_the_estimate() {
    let mut story = Story::new();
    let here = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    story.page(0, 6, &[("/a", 4)]);
    story.view.mark_unreachable();
    assert_eq!(story.told("/a"), "~4");
    let _second = story.join("/a");
    assert_eq!(story.told("/a"), "~5");
    drop(here);
    assert_eq!(story.told("/a"), "~4");
    let _new = story.join("/b");
    assert_eq!(story.told("/b"), "~1");
}

/// Goal: while the store answers, a room that is new here shows no number before its count, which is more than who is here; so
/// programs wait for it. Without a store that answers, it shows who is here at once. Method: a user who is elsewhere, too, joins before
/// the first answer, after it, and in a new incarnation, with a watcher in another room; then in a recovery, a denial and an outage.
#[test]
fn a_room_that_is_new_here_shows_no_number_before_its_count() {
    let mut story = Story::new();
    let _first = story.join_as("ada", "/first");
    assert_eq!(story.told("/first"), "unknown");
    let sent = story.send();
    let _ = story.answer_with(&sent, 5, of_one(3));
    assert_eq!(story.told("/first"), "3");

    let second = (story.join_as("ada", "/second"), story.watch("/watched"));
    let unknown = ("unknown".to_owned(), "unknown".to_owned());
    assert_eq!((story.told("/second"), story.told("/watched")), unknown);
    let sent = story.send();
    assert_eq!((story.told("/second"), story.told("/watched")), unknown, "it is under way");
    let reply = RoomsReply { users_held: 2, counts: vec![7, 9], ..of_one(7) };
    let _ = story.answer_with(&sent, 6, reply);
    assert_eq!((story.told("/second"), story.told("/watched")), ("7".to_owned(), "9".to_owned()));
    drop(second);

    let sent = story.send();
    let refused = Reply { outcome: Outcome::Resend, ..Reply::default() };
    let _ = story.receive(&sent, &refused);
    story.view.begin_incarnation(Incarnation::random(), LEASE);
    story.rooms.begin_incarnation();
    let _third = story.join_as("ada", "/third");
    assert_eq!(
        (story.told("/first"), story.told("/third")),
        ("~3".to_owned(), "unknown".to_owned())
    );

    story.rooms.fold_count(recovering(8));
    assert_eq!(story.told("/third"), "~1", "no counts come before the end of the recovery");
    story.rooms.fold_count(calm(9));
    assert_eq!(story.told("/third"), "unknown");
    let sent = story.send();
    story.rooms.deny(&sent.rooms, story.now);
    assert_eq!(story.told("/third"), "~1");
    let mut story = Story::new();
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[]);
    let _fourth = story.join_as("ada", "/fourth");
    let sent = story.send();
    assert_eq!(story.told("/fourth"), "unknown");
    story.lose(&sent);
    assert_eq!(story.told("/fourth"), "~1");
}

/// What the store says of a room in which it holds one user, who is on another instance, too.
fn of_one(count: u64) -> RoomsReply {
    RoomsReply {
        users_held: 1,
        counts: vec![count],
        elsewhere: vec![true],
        ..RoomsReply::default()
    }
}

/// Goal: while it was never certain how many of a count are here, the estimate is that count, or who is here if they are more: a page
/// may be about the very report that is lost. Method: a page about rooms whose first report is under way and then lost, with a member,
/// with a user and with a watcher in one each; then further members.
#[test]
fn an_estimate_is_what_was_heard_until_it_is_certain() {
    let mut story = Story::new();
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[]);
    let _here = (story.join("/a"), story.join_as("ada", "/b"), story.watch("/c"));
    let lost = story.send();
    story.page(0, 6, &[("/a", 3), ("/b", 4), ("/c", 5)]);
    let told = |story: &Story| ["/a", "/b", "/c"].map(|room| story.told(room)).join(" ");
    assert_eq!(told(&story), "3 4 5");
    story.lose(&lost);
    assert_eq!(told(&story), "~3 ~4 ~5");
    let _more: Vec<_> = (0..3).map(|_| story.join("/a")).collect();
    assert_eq!(told(&story), "~4 ~4 ~5", "all who are here");
}

/// Goal: a count that may or may not include a report under way does not change what is known of the others. Method: a page
/// while a report is unanswered, then an outage.
#[test]
fn a_page_during_a_report_says_nothing_of_the_others() {
    let mut story = Story::new();
    let _first = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    let _second = story.join("/a");
    let lost = story.send();
    story.page(0, 6, &[("/a", 4)]);
    story.lose(&lost);
    assert_eq!(story.told("/a"), "~4", "two are here, and two elsewhere");
}

/// Goal: who is elsewhere in a room does not depend on reports that say nothing new of this room. Method: a room that is only
/// watched changes elsewhere while a report is unanswered, then a late reply tells of another change, then an outage.
#[test]
fn a_report_of_other_rooms_makes_no_room_doubtful() {
    let mut story = Story::new();
    let _here = (story.join("/a"), story.watch("/b"));
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[1, 0]);
    let _second = story.join("/a");
    let lost = story.send();
    story.page(0, 6, &[("/b", 2)]);
    assert_eq!(story.told("/b"), "2");
    story.lose(&lost);
    assert_eq!(story.told("/b"), "~2");
}

/// Goal: while the store recovers, no count is taken over, and nothing is exact. At the end, every room is asked for, and is
/// exact once its count is from after the end. Method: a recovery told by announcements, with a page in it and one too old after
/// it.
#[test]
fn a_recovery_makes_estimates() {
    let mut story = Story::new();
    let _here = (story.join("/a"), story.watch("/b"));
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1 /b=?");
    let _ = story.answer(&sent, 5, &[3, 2]);
    story.rooms.fold_count(recovering(8));
    story.page(0, 9, &[("/a", 1)]);
    assert_eq!((story.told("/a"), story.told("/b")), ("~3".to_owned(), "~2".to_owned()));
    story.rooms.fold_count(calm(10));
    assert_eq!(story.told("/a"), "~3");
    assert!(story.rooms.is_waiting(story.now));
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=? /b=?");
    let held = RoomsReply { rooms_held: 1, counts: vec![4, 2], ..RoomsReply::default() };
    let _ = story.answer_with(&sent, 10, held);
    assert_eq!((story.told("/a"), story.told("/b")), ("4".to_owned(), "2".to_owned()));
}

/// Goal: a lost page is noticed, and all counts are asked for. Method: a page that names an unheard one before it, and a reply
/// that mentions a page that does not arrive; a page that arrives in time.
#[test]
fn a_lost_page_is_noticed() {
    let mut story = Story::new();
    let _here = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    story.page(0, 6, &[]);
    assert!(!story.rooms.is_waiting(story.now));
    story.page(8, 9, &[]);
    assert!(story.rooms.is_waiting(story.now));
    assert_eq!(story.rooms.state(&story.view, story.now).unread, 1);
    let sent = story.send();
    assert_eq!((words(&sent.said).as_str(), sent.pages_missed), ("/a=?", 1));
    assert_eq!(story.rooms.state(&story.view, story.now).unread, 0);
    let mention = |paged| Reply {
        count: calm(9),
        paged: Revision(paged),
        rooms: Some(RoomsReply { rooms_held: 1, counts: vec![5], ..RoomsReply::default() }),
        ..Reply::default()
    };
    let _ = story.receive(&sent, &mention(12));
    assert_eq!(story.told("/a"), "5");
    assert!(!story.rooms.is_waiting(story.now));
    let overdue = story.rooms.page_overdue().unwrap();
    assert_eq!(overdue, story.now + Duration::from_secs(1));
    assert!(story.rooms.is_waiting(overdue));
    story.page(9, 12, &[]);
    assert_eq!(story.rooms.page_overdue(), None);
    let sent = story.send();
    assert_eq!(sent.pages_missed, 0, "it came in time");
    let _ = story.receive(&sent, &mention(15));
    story.now += Duration::from_secs(1);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1", "the sweep names it, which asks, too");
    assert_eq!(sent.pages_missed, 1);
    let _ = story.receive(&sent, &mention(15));
    assert!(!story.rooms.is_waiting(story.now), "it is asked for once");
}

/// Goal: a new subscription asks for all counts, since pages may have been missed before it, and what was heard on the former one
/// is forgotten. Method: a subscription after an answer; a reply that mentions a page that the former one did not hear.
#[test]
fn a_new_subscription_asks_for_all_counts() {
    let mut story = Story::new();
    let _here = story.join("/a");
    let sent = story.send();
    let _ = story.answer(&sent, 5, &[3]);
    assert!(!story.rooms.is_waiting(story.now));
    story.rooms.subscribed();
    assert!(story.rooms.is_waiting(story.now));
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=?");
    let told = RoomsReply { rooms_held: 1, counts: vec![4], ..RoomsReply::default() };
    let reply = Reply { count: calm(9), paged: Revision(9), rooms: Some(told), ..Reply::default() };
    let _ = story.receive(&sent, &reply);
    assert_eq!(story.told("/a"), "4");
    assert_eq!(story.rooms.page_overdue(), None, "it was published before the subscription");
    story.page(9, 10, &[("/a", 5)]);
    assert!(!story.rooms.is_waiting(story.now), "nothing was missed");
}

/// Goal: a lost report asks again for the counts that it asked for, and a revision out of any range does not make an instance ask
/// for ever. Method: a lost report; a mentioned page with a revision that no count will ever have.
#[test]
fn asking_ends() {
    let mut story = Story::new();
    let _here = story.watch("/a");
    let lost = story.send();
    assert_eq!(words(&lost.said), "/a=?");
    story.lose(&lost);
    assert!(story.rooms.is_waiting(story.now));
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=?");
    let told = Some(RoomsReply { counts: vec![5], ..RoomsReply::default() });
    let absurd =
        Reply { paged: Revision(1 << 50), count: calm(5), rooms: told, ..Reply::default() };
    let first = Reply { paged: Revision(1), ..absurd.clone() };
    let _ = story.receive(&sent, &first);
    let sent = story.send();
    let _ = story.receive(&sent, &Reply { rooms: None, ..absurd.clone() });
    story.now += Duration::from_secs(1);
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=?");
    let _ = story.receive(&sent, &absurd);
    assert!(!story.rooms.is_waiting(story.now));
    let sent = story.send();
    let _ = story.receive(&sent, &Reply { rooms: None, ..first });
    assert!(story.rooms.is_waiting(story.now), "what was heard is not there any more");
}

/// Goal: a user whom another instance holds, too, is not counted twice in an estimate. Method: the bits of a reply, an outage, and
/// the user's leave here.
#[test]
fn a_user_on_two_instances_is_one() {
    let mut story = Story::new();
    let _guest = story.join("/a");
    let ada = story.join_as("ada", "/a");
    let _bob = story.join_as("bob", "/a");
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=1+ada+bob");
    let elsewhere = vec![true, false];
    let held = RoomsReply { rooms_held: 1, users_held: 2, counts: vec![10], elsewhere };
    let _ = story.answer_with(&sent, 5, held);
    story.view.mark_unreachable();
    assert_eq!(story.told("/a"), "~10");
    drop(ada);
    assert_eq!(story.told("/a"), "~10", "the other instance still has him");
}

/// Goal: programs can ask for rooms, a bounded number, and for a bounded time. Method: a million rooms, one that is asked for longer,
/// one that takes the place of another, the end of their time, and one room that the store answers.
#[test]
fn programs_ask_for_a_time() {
    let mut story = Story::new();
    let (start, minute) = (story.now, Duration::from_mins(1));
    let rooms = Rooms::<()>::new(20_000);
    let ask = |name: &str, now| rooms.ask(&room(name), now, now + minute);
    let most = asked::asked_max(20_000);
    let answered = (0..1_000_000).filter(|number| ask(&format!("/{number}"), start).is_ok());
    assert_eq!((answered.count(), rooms.len(), most), (2000, 2000, 2000));
    let soon = start + PLACE_HELD_FOR;
    let just_before = soon.checked_sub(Duration::from_millis(1)).unwrap();
    assert_eq!(ask("/1", just_before), Ok(()), "it is known");
    assert_eq!(ask("/more", just_before), Err(TooManyRooms), "nobody has had a place for long");
    assert_eq!(ask("/other", soon), Ok(()), "another one makes way");
    assert_eq!(
        (0..most).filter(|number| ask(&format!("/more/{number}"), soon).is_ok()).count(),
        most - 2
    );
    let due = rooms.take_due(&story.view, soon);
    assert_eq!(due.iter().filter(|due| due.is_over).count(), most - 1, "all but /1 made way");
    assert_eq!((ask("/1", soon), rooms.len()), (Ok(()), most));
    let presence = rooms.join(&room("/more"), Attendance::Member, (), start);
    presence.expect("clients have places of their own");
    let end = soon + minute;
    assert_eq!(ask("/more", end), Ok(()), "nobody has looked at the table meanwhile");
    let due = rooms.take_due(&story.view, end);
    assert_eq!(due.iter().filter(|due| due.is_over).count(), most);
    assert_eq!(rooms.len(), 1, "/more");

    let until = story.now + minute;
    story.rooms.ask(&room("/a"), story.now, until).unwrap();
    assert_eq!(story.told("/a"), "unknown");
    let sent = story.send();
    assert_eq!(words(&sent.said), "/a=?");
    let _ = story.answer(&sent, 3, &[7]);
    assert_eq!(story.told("/a"), "7");
    story.page(0, 4, &[("/a", 8)]);
    assert_eq!(story.told("/a"), "8");
    story.now = until;
    assert!(story.take_due()[0].is_over);
    assert_eq!(story.told("/a"), "unknown");
}

/// Goal: nobody loses a place to a room that is refused, and a room that is in the table for its clients needs none. Method: a table
/// that clients have filled, with places of programs that may be taken over; then one whose places are held.
#[test]
fn a_refusal_takes_no_place() {
    let (minute, start) = (Duration::from_mins(1), Instant::now());
    let rooms = Rooms::<()>::new(4);
    let ask = |name: &str, now| rooms.ask(&room(name), now, now + minute);
    let join = |name: &str| rooms.join(&room(name), Attendance::Member, (), start).unwrap();
    assert_eq!((ask("/1", start), ask("/2", start)), (Ok(()), Ok(())));
    let _presences = [join("/a"), join("/b")];
    let later = start + PLACE_HELD_FOR;
    assert_eq!(ask("/3", later), Err(TooManyRooms), "the table is full");
    assert_eq!(rooms.take_due(&View::default(), later).iter().filter(|due| due.is_over).count(), 0);
    assert_eq!((ask("/1", later), ask("/2", later)), (Ok(()), Ok(())));
    assert_eq!(ask("/a", later), Ok(()), "somebody is there");
    assert_eq!(rooms.len(), 4);

    let mut story =
        Story::with_settings(RoomsSettings { rooms_max: 2, ..RoomsSettings::default() });
    let _watcher = story.watch("/a");
    let end = story.now + minute;
    assert_eq!(story.rooms.ask(&room("/b"), story.now, end), Ok(()));
    assert_eq!(story.rooms.ask(&room("/a"), story.now, end), Err(TooManyRooms), "it is unknown");
    let sent = story.send();
    let counts: Vec<u64> = sent.said.iter().map(|_| 3).collect();
    let _ = story.answer(&sent, 5, &counts);
    assert_eq!(story.rooms.ask(&room("/a"), story.now, end), Ok(()), "it is known");
}

/// Goal: the share of programs leaves most of the table to clients, and in a small table is still of use. Method: tables of all
/// sizes.
#[test]
fn programs_have_a_share() {
    let shares = [0, 1, 100, 1000, 100_000].map(asked::asked_max);
    assert_eq!(shares, [0, 1, 50, 100, 10_000]);
}

/// Goal: an instance whose last room is over asks for nothing any more, and reports at its heartbeat again. Method: all counts are
/// asked for because of a new subscription, or one because somebody watches; then everybody leaves before the next report.
#[test]
fn nobody_asks_for_rooms_that_are_over() {
    for is_subscription in [true, false] {
        let mut story = Story::new();
        let here = if is_subscription { story.join("/a") } else { story.watch("/a") };
        if is_subscription {
            let sent = story.send();
            let _ = story.answer(&sent, 1, &[1]);
            drop(here);
            let sent = story.send();
            story.rooms.subscribed();
            let _ = story.answer(&sent, 2, &[0]);
        } else {
            drop(here);
        }
        story.take_due();
        assert!(story.rooms.is_empty());
        let sent = story.send();
        assert_eq!(sent.said, []);
        assert!(!story.rooms.is_waiting(story.now), "by a subscription: {is_subscription}");
    }
}
