//! Tests of the lists: when they are read, and who is told what.

use super::{due::FIRST_LIST_WITHIN, *};
use crate::core::{
    count::Revision,
    people::{LISTED_MAX, Listed},
    user_list::UserList,
};

fn room(number: usize) -> RoomName {
    RoomName::parse(&format!("/team/{number}")).unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(&format!("t:{id}")).unwrap()
}

fn people(ids: &[&str]) -> People {
    let listed = |id: &&str| Listed { user: user(id), info: None, is_elsewhere: true };
    People { users: ids.iter().map(listed).collect(), revision: Revision(1), ..People::default() }
}

fn here(ids: &[&str]) -> Vec<(UserId, Info)> {
    ids.iter().map(|id| (user(id), None)).collect()
}

/// Lists, and a time that only the test moves. Clients are numbers.
struct World {
    lists: Arc<Lists<u32>>,
    now: Instant,
    here: Vec<(UserId, Info)>,
    is_kept: bool,
}

impl World {
    fn new(ids: &[&str]) -> Self {
        Self { lists: Lists::new(LISTS_MAX), now: Instant::now(), here: here(ids), is_kept: true }
    }

    fn want(&self, client: u32) -> ListWish {
        self.lists.want(&room(7), client, self.now).unwrap()
    }

    fn update(&self) {
        for room in self.lists.take_updates() {
            self.lists.update(&room, &self.here, self.is_kept);
        }
    }

    /// What is told now: the numbers of newcomers, and the list.
    fn told(&self) -> Vec<(Vec<u32>, String)> {
        self.update();
        let text = |list: &UserList| {
            list.users().map(|(user, _)| &user.as_str()[2..]).collect::<Vec<_>>().join(" ")
        };
        let due = self.lists.take_due(self.now).into_iter();
        due.map(|due| (due.newcomers, due.list.map_or("-".into(), |(_, list)| text(&list))))
            .collect()
    }

    fn reads(&self) -> Vec<DueRead> {
        self.lists.take_reads(self.now, usize::MAX)
    }

    fn read(&self, ids: &[&str]) {
        let reads = self.reads();
        assert_eq!(reads.len(), 1, "one reading is due");
        self.lists.fold(&reads[0], Some(people(ids)), self.now);
    }
}

fn told(newcomers: &[u32], list: &str) -> Vec<(Vec<u32>, String)> {
    vec![(newcomers.to_vec(), list.to_owned())]
}

/// Goal: the first list comes with the first reading, includes those who are here, and later clients are told at once. Method: a
/// client, a reading, and a second client who is another user.
#[test]
fn the_first_list_is_read() {
    let mut world = World::new(&["ada"]);
    let _one = world.want(1);
    assert_eq!(world.told(), told(&[], "ada"), "nobody is told, since it was not read");
    world.read(&["bob"]);
    assert_eq!(world.told(), told(&[1], "ada bob"));
    assert_eq!(world.told(), []);
    world.here = here(&["ada", "eve"]);
    let _two = world.want(2);
    assert_eq!(world.told(), told(&[2], "ada bob eve"));
}

/// Goal: a room in which somebody comes and goes all the time lets no newcomer wait, and nobody is told a list without himself. Method:
/// a change right after the list was computed with a newcomer, and a newcomer right after a change was computed.
#[test]
fn churn_delays_nobody() {
    let mut world = World::new(&["ada"]);
    let _one = world.want(1);
    world.read(&["bob"]);
    world.told();
    world.here = here(&["ada", "eve"]);
    let _two = world.want(2);
    world.update();
    world.lists.stir(&room(7), false);
    let due = world.lists.take_due(world.now);
    assert_eq!((due.len(), &due[0].newcomers[..]), (1, &[2][..]));
    world.here = here(&["ada"]);
    world.update();
    let _three = world.want(3);
    let due = world.lists.take_due(world.now);
    assert_eq!((due.len(), &due[0].newcomers[..]), (1, &[][..]), "it is not computed with him");
    assert_eq!(world.told(), told(&[3], "ada bob"));
}

/// Goal: without an answer of the store, a client is told who is here, after a short time. Method: a store that is away, and its
/// first answer later.
#[test]
fn patience_ends() {
    let mut world = World::new(&["ada"]);
    world.is_kept = false;
    let _one = world.want(1);
    world.told();
    let ends = world.lists.patience_ends().unwrap();
    assert_eq!(ends, world.now + FIRST_LIST_WITHIN);
    world.now = ends;
    assert_eq!(world.told(), told(&[1], "ada"));
    assert_eq!(world.lists.patience_ends(), None);
    world.is_kept = true;
    world.read(&["bob"]);
    assert_eq!(world.told(), told(&[], "ada bob"));
}

/// Goal: every change leads to a reading that begins after it, at most one at a time and one in every gap. Method: changes before,
/// during and after readings.
#[test]
fn readings_follow_changes() {
    let mut world = World::new(&[]);
    let _wish = world.want(1);
    world.lists.stir(&room(7), true);
    let first = world.reads();
    assert_eq!(first.len(), 1);
    world.lists.stir(&room(7), true);
    assert_eq!(world.reads(), [], "one at a time");
    world.lists.fold(&first[0], Some(people(&["a"])), world.now);
    assert_eq!(world.reads(), [], "not before the gap is over");
    assert_eq!(world.lists.next_read(), Some(world.now + READ_GAP));
    world.now += READ_GAP;
    world.read(&["a", "b"]);
    assert_eq!(world.lists.next_read(), Some(world.now + SWEEP_GAP), "nothing has changed");
    world.now += SWEEP_GAP / 2;
    world.lists.stir(&room(8), true);
    world.lists.stir(&room(7), false);
    assert_eq!(world.reads(), [], "changes here need no reading, and nobody wants the other room");
    world.lists.stir(&room(7), true);
    world.read(&["b"]);
    assert_eq!(world.told(), told(&[1], "b"));
    world.now += READ_GAP / 2;
    world.lists.stir_all();
    assert_eq!(world.lists.next_read(), Some(world.now + READ_GAP / 2));
}

/// Goal: a list that is read in parts, since many are in the room, costs no more than another one in the same time. Method: readings in
/// one part and in twenty, and changes after each; then a quiet room that takes longer than the time between two sweeps.
#[test]
fn large_rooms_are_read_less_often() {
    let mut world = World::new(&[]);
    let _wish = world.want(1);
    for further_parts in [0, 19, 0] {
        let reads = world.reads();
        let stored = People { further_parts, ..people(&["a"]) };
        world.lists.fold(&reads[0], Some(stored), world.now);
        world.lists.stir(&room(7), true);
        let gap = READ_GAP * (1 + further_parts);
        assert_eq!(world.lists.next_read(), Some(world.now + gap));
        world.now += gap;
    }
    let reads = world.reads();
    let stored = People { further_parts: 399, ..people(&["a"]) };
    world.lists.fold(&reads[0], Some(stored), world.now);
    assert_eq!(world.lists.next_read(), Some(world.now + READ_GAP * 400));
}

/// Goal: a reading that failed is made again, and what was known stands. Method: an answer that is worth nothing.
#[test]
fn failed_readings_are_made_again() {
    let mut world = World::new(&[]);
    let _wish = world.want(1);
    world.read(&["a"]);
    assert_eq!(world.told(), told(&[1], "a"));
    world.lists.stir(&room(7), true);
    world.now += READ_GAP;
    let reads = world.reads();
    assert_eq!(reads[0].listed, [user("a")]);
    world.lists.fold(&reads[0], None, world.now);
    assert_eq!(world.told(), []);
    assert_eq!(world.lists.next_read(), Some(world.now + READ_GAP));
}

/// Goal: while the store is away, those who were elsewhere stay, and those here come and go. Method: a user of each kind, and one
/// who is here alone.
#[test]
fn the_last_known_list_stands() {
    let mut world = World::new(&["ada"]);
    let _wish = world.want(1);
    let mut stored = people(&["ada", "bob"]);
    stored.users[0].is_elsewhere = false;
    let reads = world.reads();
    world.lists.fold(&reads[0], Some(stored), world.now);
    assert_eq!(world.told(), told(&[1], "ada bob"));
    world.is_kept = false;
    world.here = here(&["eve"]);
    world.lists.stir_all();
    assert_eq!(world.told(), told(&[], "bob eve"));
}

/// Goal: a list that nobody wants takes no memory, and what was meant for it does not reach a later one. Method: the last wish ends
/// while a reading is under way, and another client wants the list.
#[test]
fn lists_end() {
    let mut world = World::new(&[]);
    let (one, two) = (world.want(1), world.want(2));
    let late = world.reads();
    drop(one);
    assert_eq!(world.lists.len(), 1);
    drop(two);
    assert!(world.lists.is_empty() && world.lists.next_read().is_none());
    assert_eq!(world.told(), told(&[], "-"));
    let _three = world.want(3);
    let newest = world.reads();
    world.lists.fold(&late[0], Some(people(&["a"])), world.now);
    assert_eq!(world.told(), told(&[], ""), "it is not known yet");
    world.lists.fold(&newest[0], Some(people(&["b"])), world.now);
    assert_eq!(world.told(), told(&[3], "b"));
    world.now += READ_GAP;
}

/// Goal: the number of lists is limited. Method: one too many, and one again after another has ended.
#[test]
fn lists_are_limited() {
    let lists = Lists::new(2);
    let now = Instant::now();
    let wishes = [1, 2].map(|number| lists.want(&room(number), 0, now).unwrap());
    assert_eq!(lists.want(&room(3), 0, now).unwrap_err(), TooManyLists);
    let _again = lists.want(&room(2), 0, now).unwrap();
    drop(wishes);
    assert!(lists.want(&room(3), 0, now).is_ok());
    const { assert!(LISTED_MAX > 0) };
}
