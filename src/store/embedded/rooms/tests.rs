//! The table of rooms after any history, against counts that are summed up again from what each incarnation holds.

use std::{collections::HashMap, time::Duration};

use proptest::{
    collection::{btree_map, vec},
    option::weighted,
    prelude::*,
};
use uuid::Uuid;

use super::*;
use crate::core::{
    count::Sequence,
    report::{RoomReport, UserPresence},
};

const ROOMS: [&str; 4] = ["/", "/a", "/a/b", "/c"];

/// What a report says of a room: connections, and for each user whether he is here.
type Said = (Option<u64>, BTreeMap<u8, bool>);

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    /// An incarnation reports; its former incarnation may be named.
    Report {
        who: u8,
        former: Option<u8>,
        rooms: BTreeMap<usize, Said>,
    },
    Bury(u8),
    TakeAway(usize),
    Page,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let said = (weighted(0.7, 0_u64..3), btree_map(0_u8..4, prop::bool::weighted(0.7), 0..4));
    let rooms = btree_map(0..ROOMS.len(), said, 0..5);
    let report = (0_u8..4, weighted(0.2, 4_u8..6), rooms)
        .prop_map(|(who, former, rooms)| Step::Report { who, former, rooms });
    let step = prop_oneof![
        6 => report,
        2 => (0_u8..6).prop_map(Step::Bury),
        4 => (0_usize..6).prop_map(Step::TakeAway),
        1 => Just(Step::Page),
    ];
    vec(step, 1..60)
}

fn incarnation(number: u8) -> Incarnation {
    Incarnation::from(Uuid::from_u128(number.into()))
}

fn room(name: &str) -> Room {
    RoomName::parse(name).map_or(Room::Site, Room::Named)
}

fn report(who: u8, former: Option<u8>, rooms: &BTreeMap<usize, Said>) -> Report {
    let user = |(user, is_here): (&u8, &bool)| UserReport {
        user: UserId::parse(&format!("user-{user}")).unwrap(),
        presence: if *is_here { UserPresence::Here(None) } else { UserPresence::Gone },
    };
    let rooms = rooms.iter().map(|(place, (connections, users))| RoomReport {
        room: room(ROOMS[*place]),
        connections: connections.filter(|_| *place > 0),
        users: users.iter().map(user).collect(),
    });
    Report {
        former: former.map(incarnation),
        rooms: rooms.collect(),
        ..Report::new(incarnation(who), Sequence(1), Duration::from_secs(2))
    }
}

/// Everything that is held: connections of a room, or a user in it.
type Entries = BTreeSet<(Incarnation, Room, Option<UserId>)>;

impl RoomTable {
    fn entries(&self) -> Entries {
        let mut entries = BTreeSet::new();
        for (owner, held) in &self.held {
            let rooms = held.connections.keys();
            entries.extend(rooms.map(|name| (*owner, Room::Named(name.clone()), None)));
            let pairs = held.users.iter().cloned();
            entries.extend(pairs.map(|(room, user)| (*owner, room, Some(user))));
        }
        entries
    }

    /// The count of every room with somebody in it, from what is held. That of the site has no connections.
    fn summed_up(&self) -> HashMap<Room, u64> {
        let mut counts = HashMap::new();
        for (name, connections) in self.held.values().flat_map(|held| &held.connections) {
            assert!(*connections > 0, "nobody is held in {name}");
            *counts.entry(Room::Named(name.clone())).or_insert(0) += connections;
        }
        let pairs: BTreeSet<_> = self.held.values().flat_map(|held| &held.users).collect();
        for (room, _) in pairs {
            *counts.entry(room.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// The users of each room.
    fn people_by_room(&self) -> BTreeMap<RoomName, BTreeSet<UserId>> {
        let mut people: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for (room, user) in self.held.values().flat_map(|held| &held.users) {
            if let Room::Named(name) = room {
                people.entry(name.clone()).or_default().insert(user.clone());
            }
        }
        people
    }

    fn shown(&self) -> HashMap<Room, u64> {
        let rooms = self.rooms.iter().map(|(name, members)| (name, members.count()));
        let mut counts: HashMap<_, _> =
            rooms.map(|(name, count)| (Room::Named(name.clone()), count)).collect();
        if self.site_users() > 0 {
            counts.insert(Room::Site, self.site_users());
        }
        counts
    }
}

/// Applies a step, and checks what it says and does beside changing counts.
fn apply(table: &mut RoomTable, step: &Step) -> Result<(), TestCaseError> {
    let before = table.entries();
    match step {
        Step::Report { who, former, rooms } => {
            let report = report(*who, *former, rooms);
            let reply = table.apply(&report);
            let own = |entry: &&(Incarnation, Room, _)| entry.0 == report.incarnation;
            let after = table.entries();
            prop_assert!(before.iter().filter(|entry| !own(entry)).all(|one| after.contains(one)));
            let users: u64 =
                after.iter().filter(own).map(|entry| u64::from(entry.2.is_some())).sum();
            let held = after.iter().filter(own).count() as u64;
            prop_assert_eq!((reply.rooms_held, reply.users_held), (held - users, users));
            let said = report
                .rooms
                .iter()
                .flat_map(|said| said.users.iter().map(|user| (said.room.clone(), user.clone())));
            let said: Vec<_> = said.collect();
            prop_assert_eq!(said.len(), reply.elsewhere.len());
            for ((room, user), elsewhere) in said.into_iter().zip(reply.elsewhere) {
                let holds = |number: u8| {
                    after.contains(&(incarnation(number), room.clone(), Some(user.user.clone())))
                };
                let mut others = (0..6).filter(|number| number != who && Some(*number) != *former);
                prop_assert_eq!(others.any(holds), elsewhere);
                prop_assert_eq!(holds(*who), user.presence != UserPresence::Gone);
            }
        }
        Step::Bury(who) => table.bury(incarnation(*who)),
        Step::TakeAway(most) => {
            let dead = table.dead.clone();
            let of_dead = before.iter().filter(|entry| dead.contains(&entry.0)).count();
            table.take_away(*most);
            let after = table.entries();
            let gone: Vec<_> = before.difference(&after).collect();
            prop_assert_eq!(gone.len(), of_dead.min(*most));
            prop_assert!(gone.iter().all(|entry| dead.contains(&entry.0)));
        }
        Step::Page => {}
    }
    Ok(())
}

proptest! {
    /// Goal: all counts are right after any history, every change of a count or of the users is announced, and nothing is stored of a room without
    /// members or of an incarnation that holds nothing. Method: random reports, deaths, and portions of what is taken away, of a
    /// few incarnations; after every step, the counts are summed up again.
    #[test]
    fn counts_are_right_after_any_history(history in steps()) {
        let mut table = RoomTable::default();
        let mut told: BTreeMap<RoomName, u64> = BTreeMap::new();
        for step in history {
            let (before, people_before) = (table.shown(), table.people_by_room());
            apply(&mut table, &step)?;
            let after = table.summed_up();
            prop_assert_eq!(&table.shown(), &after);
            let people = table.people_by_room();
            let changed: BTreeSet<_> = table.take_changed().into_iter().collect();
            for name in &ROOMS[1..] {
                let is_changed = before.get(&room(name)) != after.get(&room(name))
                    || people_before.get(*name) != people.get(*name);
                prop_assert_eq!(changed.contains(*name), is_changed, "{}", name);
            }
            table.remember_changes(changed.into_iter().collect());
            if matches!(step, Step::Page) {
                told.extend(table.take_page());
                told.retain(|_, count| *count > 0);
                let named = after.into_iter().filter_map(|(room, count)| match room {
                    Room::Named(name) => Some((name, count)),
                    Room::Site => None,
                });
                prop_assert_eq!(&told, &named.collect::<BTreeMap<_, _>>());
                prop_assert!(!table.any_unannounced());
            }
            prop_assert!(table.dead.iter().all(|owner| table.held.contains_key(owner)));
            let mut held = table.held.values();
            prop_assert!(held.all(|held| held.connections.len() + held.users.len() > 0));
            for holders in table.rooms.values().flat_map(|members| members.users.all_holders()) {
                let once: BTreeSet<_> = holders.iter().collect();
                prop_assert!(!holders.is_empty() && once.len() == holders.len());
            }
        }
    }
}

/// Goal: every room has its turn in the pages, whichever rooms change all the time. Method: more rooms than fit into two pages are
/// unannounced; before every page the first hundred change again.
#[test]
fn every_room_has_its_turn() {
    let name = |number| RoomName::parse(&format!("/{number:03}")).unwrap();
    let mut table = RoomTable::default();
    table.remember_changes((0..250).map(name).collect());
    let mut told = BTreeSet::new();
    for _ in 0..3 {
        table.remember_changes((0..100).map(name).collect());
        let page = table.take_page();
        assert_eq!(page.len(), PAGE_ROOMS_MAX);
        told.extend(page.into_iter().map(|(room, _)| room));
    }
    assert_eq!(told.len(), 250);
}

/// Goal: very many rooms fit into little memory. Method: count the live bytes of many rooms with a connection each, whose names
/// belong to whoever reports them.
#[test]
fn a_room_is_small() {
    const ROOMS: usize = 14_000;
    const BYTES_MAX: usize = 120;
    let said = |number: usize| RoomReport {
        room: room(&format!("/blog/post-{number}")),
        connections: Some(1),
        users: Vec::new(),
    };
    let all: Vec<RoomReport> = (0..ROOMS).map(said).collect();
    let reports: Vec<Report> = all
        .chunks(200)
        .map(|rooms| Report { rooms: rooms.to_vec(), ..report(0, None, &BTreeMap::new()) })
        .collect();
    let mut table = RoomTable::default();
    let taken = allocation_counter::measure(|| {
        for report in &reports {
            table.apply(report);
            let changed = table.take_changed();
            table.remember_changes(changed);
            while table.any_unannounced() {
                table.take_page();
            }
        }
    });
    assert_eq!(table.rooms.len(), ROOMS);
    let bytes = usize::try_from(taken.bytes_current).expect("rooms take memory") / ROOMS;
    assert!(bytes <= BYTES_MAX, "{bytes} bytes for a room");
}
