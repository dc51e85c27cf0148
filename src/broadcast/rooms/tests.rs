//! Tests of when rooms are told their counts, with a paused clock. Sessions poll, so that what each was told is read without
//! sockets.

use super::*;
use crate::{
    core::{
        count::Revision,
        room::{Person, RoomName},
        rooms::{Attendance, Page, RoomLedger, RoomPresence},
        tally::NEWCOMER_PATIENCE,
    },
    engine::session::{
        Session,
        tests::{enter_room, leave_room, poll, polled},
    },
    fixtures::LonelyStore,
};

#[path = "tests/memory.rs"]
mod memory;

const INTERVAL: Duration = Duration::from_millis(50);

struct Stage {
    broadcaster: RoomBroadcaster,
    table: Arc<Rooms<RoomMembership>>,
    metrics: Metrics,
    view: watch::Sender<View>,
    store: LonelyStore,
}

/// A client in a room.
struct Guest {
    session: Arc<Session>,
    place: crate::engine::place::Place,
    _presence: RoomPresence<RoomMembership>,
}

impl Guest {
    /// What it was told since it was asked last: counts of rooms.
    fn hears(&self) -> Vec<u64> {
        counts(&self.session)
    }

    /// It leaves. Its session goes on.
    fn leaves(self) {
        leave_room(&self.session, self.place);
    }
}

fn counts(session: &Session) -> Vec<u64> {
    let payload = poll(session).unwrap_or_default();
    let packets = payload.split('\u{1e}').filter(|packet| packet.starts_with("42/"));
    let counts = packets.map(|packet| packet.rsplit_once(',').expect("a count").1);
    counts.map(|count| count.trim_end_matches(']').parse().expect("a number")).collect()
}

/// They take what they were told.
fn forget(guests: &[Guest]) {
    for guest in guests {
        guest.hears();
    }
}

fn name(name: &str) -> RoomName {
    RoomName::parse(name).unwrap()
}

impl Stage {
    fn new() -> Self {
        let (table, view) = (Rooms::new(20_000), watch::Sender::new(LonelyStore::view()));
        let (metrics, flusher) = (Metrics::new("none").unwrap(), Flusher::default());
        let told = Arc::clone(&table);
        let broadcaster =
            RoomBroadcaster::new(told, view.subscribe(), flusher, metrics.clone(), INTERVAL);
        Self { broadcaster, table, metrics, view, store: LonelyStore::default() }
    }

    fn joins(&self, room: &str) -> Guest {
        self.enters(&polled(), room, Attendance::Member)
    }

    fn enters(&self, session: &Arc<Session>, room: &str, attendance: Attendance) -> Guest {
        self.enters_as(None, session, room, attendance)
    }

    fn enters_as(
        &self,
        person: Option<Person>,
        session: &Arc<Session>,
        room: &str,
        attendance: Attendance,
    ) -> Guest {
        let room = name(room);
        let member = enter_room(session, &room);
        let place = member.place;
        let presence = self.table.join_as(person, &room, attendance, member, Instant::now());
        let presence = presence.expect("there is space");
        Guest { session: Arc::clone(session), place, _presence: presence }
    }

    /// The store answers all reports that are due.
    fn counted(&mut self) {
        let (table, store) = (&self.table, &mut self.store);
        self.view.send_modify(|view| store.answer(table, view, Instant::now()));
    }

    /// Has everything counted, and acts until nothing is due before `millis` have passed.
    async fn pass(&mut self, millis: u64) {
        self.counted();
        let end = Instant::now() + Duration::from_millis(millis);
        while let Some(wake) = self.broadcaster.act().await.filter(|&wake| wake <= end) {
            sleep_until(wake).await;
        }
        sleep_until(end).await;
    }

    /// Members of other instances come or go: an announcement says how many are in the room.
    fn others_make_it(&mut self, room: &str, users: u64) {
        let (revision, counts) = (self.store.hears_others(), [(name(room), users)]);
        let page = Page { revision, since: Revision::default(), counts: &counts };
        self.table.fold_page(page, &self.view.borrow(), Instant::now());
    }

    fn emissions(&self) -> u64 {
        self.metrics.room_emissions.get()
    }
}

/// Goal: a client that was told an estimate is not told an exact count that leaves it out; all others are. Once the store has counted
/// it, it is told what they are. Method: a client joins while the store is slow, and members come and go elsewhere.
#[tokio::test(start_paused = true)]
async fn exact_counts_leave_nobody_out() {
    let mut stage = Stage::new();
    let first = stage.joins("/a");
    stage.pass(0).await;
    let late = stage.joins("/a");
    sleep_until(Instant::now() + NEWCOMER_PATIENCE).await;
    stage.broadcaster.act().await;
    assert_eq!((first.hears(), late.hears()), (vec![1], vec![2]));
    for users in [3, 1] {
        stage.others_make_it("/a", users);
        sleep_until(Instant::now() + INTERVAL).await;
        stage.broadcaster.act().await;
        assert_eq!((first.hears(), late.hears()), (vec![users], vec![]));
    }
    stage.pass(100).await;
    assert_eq!((first.hears(), late.hears()), (vec![2], vec![]), "the other one knows it");
    assert!(stage.broadcaster.provisional.is_empty());
    stage.others_make_it("/a", 5);
    stage.pass(100).await;
    assert_eq!((first.hears(), late.hears()), (vec![5], vec![5]));
}

/// Goal: a newcomer is told a count that includes it, once; the others are told the new count at once, and later ones
/// after an interval. Method: members that join one after the other.
#[tokio::test(start_paused = true)]
async fn the_first_change_is_told_at_once() {
    let mut stage = Stage::new();
    let first = stage.joins("/a");
    stage.pass(0).await;
    assert_eq!(first.hears(), [1]);
    assert_eq!(stage.emissions(), 0, "nobody else is there");
    let second = stage.joins("/a");
    stage.pass(0).await;
    assert_eq!((first.hears(), second.hears()), (vec![2], vec![2]));
    let others = [stage.joins("/a"), stage.joins("/a")];
    stage.pass(10).await;
    assert_eq!(others.each_ref().map(Guest::hears), [[4], [4]], "newcomers do not wait");
    assert_eq!(first.hears(), [0; 0], "its interval is not over");
    second.leaves();
    stage.pass(100).await;
    assert_eq!(first.hears(), [3]);
    assert_eq!(stage.emissions(), 2);
    let [third, fourth] = others;
    assert_eq!((third.hears(), fourth.hears()), (vec![3], vec![3]));
    let heard = stage.metrics.room_join_to_emit_seconds.get_sample_count();
    assert_eq!(heard, 4, "each was told a first value");
}

/// Goal: rooms that change shortly after each other are told in one round, half an interval after the round before at the earliest; a
/// room that changes later is told at once, whatever the interval of another. Method: three rooms, and the moments at which each is
/// told.
#[tokio::test(start_paused = true)]
async fn rooms_are_told_in_rounds() {
    let mut stage = Stage::new();
    let rooms = ["/a", "/b", "/c"];
    let guests = rooms.map(|room| stage.joins(room));
    stage.pass(100).await;
    forget(&guests);
    let heard = || guests.each_ref().map(Guest::hears);
    let _a = stage.joins("/a");
    stage.pass(10).await;
    assert_eq!(heard(), [vec![2], vec![], vec![]], "the first change is told at once");
    let _b = stage.joins("/b");
    stage.pass(10).await;
    let c = stage.joins("/c");
    stage.pass(4).await;
    assert_eq!(
        (heard(), c.hears()),
        ([vec![], vec![], vec![]], vec![2]),
        "only newcomers do not wait"
    );
    stage.pass(1).await;
    assert_eq!(heard(), [vec![], vec![2], vec![2]]);
    c.leaves();
    let _a = stage.joins("/a");
    stage.pass(25).await;
    assert_eq!(heard(), [vec![3], vec![], vec![]], "the interval of the third room is not over");
    stage.pass(25).await;
    assert_eq!(heard(), [vec![], vec![], vec![1]]);
}

/// Goal: a watcher is told the counts and changes none; a session in several rooms is told the counts of each. Method: one
/// session that watches one room and is in another.
#[tokio::test(start_paused = true)]
async fn watchers_are_told() {
    let mut stage = Stage::new();
    let session = polled();
    let _watches = stage.enters(&session, "/a", Attendance::Watcher);
    let _is_in = stage.enters(&session, "/b", Attendance::Member);
    stage.pass(0).await;
    assert_eq!(counts(&session), [0, 1]);
    let member = stage.joins("/a");
    stage.pass(100).await;
    assert_eq!((counts(&session), member.hears()), (vec![1], vec![1]));
    drop(member);
    stage.pass(100).await;
    assert_eq!(counts(&session), [0]);
}

/// Goal: a client that joins again is told a first value again, and nothing that was meant for its former place. Method: it
/// leaves and joins again while an emission waits for its interval.
#[tokio::test(start_paused = true)]
async fn who_joins_again_is_told_again() {
    let mut stage = Stage::new();
    let [other, guest] = [(); 2].map(|()| stage.joins("/a"));
    stage.pass(0).await;
    assert_eq!((other.hears(), guest.hears()), (vec![2], vec![2]));
    let session = Arc::clone(&guest.session);
    guest.leaves();
    stage.pass(1).await;
    let guest = stage.enters(&session, "/a", Attendance::Member);
    stage.pass(100).await;
    assert_eq!(guest.hears(), [2]);
    let _third = stage.joins("/a");
    stage.pass(100).await;
    assert_eq!((other.hears().last(), guest.hears()), (Some(&3), vec![3]));
}

/// Goal: nothing remains of rooms that are empty, nor of watchers that are gone. Method: many rooms that come and go; many
/// watchers that pass through one room.
#[tokio::test(start_paused = true)]
async fn nothing_remains() {
    let mut stage = Stage::new();
    let guests: Vec<Guest> = (0..1000).map(|number| stage.joins(&format!("/{number}"))).collect();
    stage.pass(100).await;
    assert_eq!((stage.broadcaster.rooms.len(), stage.metrics.rooms.get()), (1000, 1000));
    drop(guests);
    stage.pass(100).await;
    assert_eq!((stage.broadcaster.rooms.len(), stage.metrics.rooms.get()), (0, 0));
    assert_eq!(stage.broadcaster.rooms.slots(), 0);
    let _stays = stage.joins("/a");
    for _ in 0..100 {
        let watcher = stage.enters(&polled(), "/a", Attendance::Watcher);
        stage.pass(1).await;
        watcher.leaves();
    }
    let room = stage.broadcaster.rooms.first().expect("it is there");
    assert!(room.audience.len() <= 2 * PRUNED_ABOVE, "{}", room.audience.len());
}

/// Goal: a large room and many small ones do not hold each other up. Method: a room of several parts and many rooms of two
/// change at the same time; after each turn, it is looked at what each side was told.
#[tokio::test(start_paused = true)]
async fn large_and_small_rooms_take_turns() {
    const PARTS: usize = 8;
    const SMALL: usize = PARTS * WRITES_AT_ONCE / 2;
    let mut stage = Stage::new();
    let large: Vec<Guest> = (0..PARTS * WRITES_AT_ONCE).map(|_| stage.joins("/large")).collect();
    let small: Vec<Guest> = (0..SMALL).map(|number| stage.joins(&format!("/{number}"))).collect();
    stage.pass(1000).await;
    forget(&large);
    forget(&small);
    let _newcomers: Vec<Guest> =
        (0..SMALL).map(|number| stage.joins(&format!("/{number}"))).collect();
    let _newcomer = stage.joins("/large");
    stage.counted();
    stage.broadcaster.take_in(Instant::now());
    let told = |guests: &[Guest]| guests.iter().filter(|guest| !guest.hears().is_empty()).count();
    let (mut large_told, mut small_told, mut turns) = (0, 0, 0);
    while large_told < large.len() || small_told < small.len() {
        stage.broadcaster.take_turns(Instant::now());
        turns += 1;
        let (now_large, now_small) = (told(&large), told(&small));
        assert!(now_large <= WRITES_AT_ONCE && now_small <= WRITES_AT_ONCE, "a turn is short");
        (large_told, small_told) = (large_told + now_large, small_told + now_small);
        let is_large_behind =
            large_told < large.len() && large_told + 2 * WRITES_AT_ONCE < small_told;
        assert!(!is_large_behind, "{large_told} of the large room, {small_told} of small ones");
        assert!(turns <= 4 * PARTS, "{large_told} {small_told}");
    }
}

/// Goal: a newcomer amid the emission of a large room is told the newest count at once and no older one afterwards, and all
/// are told the newest in the end. Method: a member that joins after the first part.
#[tokio::test(start_paused = true)]
async fn a_newcomer_amid_an_emission_hears_nothing_older() {
    let mut stage = Stage::new();
    let crowd: Vec<Guest> = (0..3 * WRITES_AT_ONCE).map(|_| stage.joins("/a")).collect();
    stage.pass(1000).await;
    forget(&crowd);
    let size = crowd.len() as u64;
    let first = stage.joins("/a");
    stage.counted();
    stage.broadcaster.take_in(Instant::now());
    stage.broadcaster.take_turns(Instant::now());
    let second = stage.joins("/a");
    let session = Arc::clone(&crowd[0].session);
    let again = stage.enters(&session, "/a", Attendance::Watcher);
    stage.counted();
    stage.broadcaster.take_in(Instant::now());
    assert_eq!((first.hears(), second.hears()), (vec![size + 1], vec![size + 2]));
    let mut told = again.hears();
    stage.pass(1000).await;
    told.extend(again.hears());
    assert!(told.is_sorted(), "{told:?}");
    assert_eq!((first.hears(), second.hears()), (vec![size + 2], vec![]), "known or new");
    for guest in &crowd[1..] {
        assert_eq!(guest.hears().last(), Some(&(size + 2)));
    }
}
