//! Whether everybody shows the right counts, while no client joins or leaves.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use headcount_testkit::{
    cluster::{StoredSite, clients_say, store_and_instances_say},
    instance::Shown,
    record::Record,
};
use tokio::{task::JoinSet, time::sleep};

use super::Stage;
use crate::{
    history::{PersonKey, RoomName, Visit},
    row::SiteAndRooms,
};

/// Time between two checks whether all are right. It is short compared with every bound.
const LOOK_GAP: Duration = Duration::from_millis(5);

/// What the names of keys contain that must not be there while nobody is in a room.
const OF_ROOMS: [&str; 7] =
    [":rooms", ":at:", ":of:", ":people:", ":holders", ":dead", ":unannounced"];

impl Stage {
    /// Waits until all show the number of connected clients in the site, and in each room. Returns how long after
    /// `since` each of both was. The error names what is still wrong after `patience`.
    pub(crate) async fn right_after(
        &self,
        since: Instant,
        patience: Duration,
    ) -> Result<SiteAndRooms<Duration>, String> {
        let (site, rooms) = tokio::join!(
            waited(since, patience, async || self.site_is_right().await),
            waited(since, patience, async || self.rooms_are_right().await),
        );
        Ok(SiteAndRooms {
            site: site.map_err(|wrong| format!("site: {wrong}"))?,
            rooms: rooms.map_err(|wrong| format!("rooms: {wrong}"))?,
        })
    }

    /// Checks whether every client, every instance, the public key and its parts are right at this moment.
    pub(crate) async fn site_is_right(&self) -> Result<(), String> {
        let mut site = Present::default();
        self.here(|visit| visit.room.is_none()).for_each(|visit| site.add(visit));
        let users = site.users();
        clients_say(users, &site.records)?;
        let instances = self.seats.iter().filter_map(|seat| seat.instance.as_ref());
        let stored = store_and_instances_say(users, &self.present_store()?, instances).await?;
        let people = site.people.len() as u64;
        if stored == (StoredSite { anonymous: site.unknown, people }) {
            return Ok(());
        }
        Err(format!("{} and {people} people are there, Redis has {stored:?}", site.unknown))
    }

    /// Checks whether every client in a room and every instance is right at this moment, and whether Redis holds exactly the rooms in
    /// which somebody is, with their counts.
    pub(crate) async fn rooms_are_right(&self) -> Result<(), String> {
        if let Some(visit) = self.visits.all().iter().find(|visit| visit.is_joining()) {
            return Err(format!("not joined yet: {}", visit.record.name()));
        }
        let mut present = BTreeMap::<RoomName, Present>::new();
        for mut visit in self.here(|visit| visit.room.is_some()) {
            let room = visit.room.take().expect("it is of a room");
            present.entry(room).or_default().add(visit);
        }
        let rooms: BTreeMap<RoomName, (u64, Vec<Record>)> = present
            .into_iter()
            .map(|(room, present)| (room, (present.users(), present.records)))
            .collect();
        for (room, (users, records)) in &rooms {
            clients_say(*users, records)
                .map_err(|wrong| format!("{users} are in {room}: {wrong}"))?;
        }
        let asked = super::rooms::shown();
        let users_in = |room: &String| rooms.get(room.as_str()).map_or(0, |(users, _)| *users);
        let right: Vec<_> =
            asked.iter().map(|room| Shown { count: users_in(room), exact: true }).collect();
        for instance in self.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
            let shown = instance.shown_in(&asked).await?;
            if shown != right {
                return Err(format!("{} shows {shown:?} of {asked:?}", instance.public));
            }
        }
        let taken = rooms.iter().filter(|(_, (users, _))| *users > 0);
        let expected: HashMap<String, u64> =
            taken.map(|(room, (users, _))| (room.to_string(), *users)).collect();
        let stored = self.present_store()?.rooms().await?;
        if stored == expected {
            return Ok(());
        }
        let odd = stored.iter().filter(|(room, users)| expected.get(*room) != Some(*users));
        let missing = expected.keys().filter(|room| !stored.contains_key(*room));
        Err(format!(
            "Redis holds {:?} and lacks {:?}",
            odd.take(5).collect::<Vec<_>>(),
            missing.take(5).collect::<Vec<_>>()
        ))
    }

    /// Lets all clients leave, and waits until Redis holds nothing about rooms. The error names a key that is left.
    pub(crate) async fn nothing_is_left(&mut self, patience: Duration) -> Result<(), String> {
        let mut leaving = JoinSet::new();
        for guest in self.crowd.drain(..) {
            leaving.spawn(guest.leave());
        }
        leaving.join_all().await;
        waited(Instant::now(), patience, async || {
            let keys = self.present_store()?.keys("{currentUsers}:*").await?;
            let left = keys.iter().find(|key| OF_ROOMS.iter().any(|of| key.contains(of)));
            left.map_or(Ok(()), |key| Err(format!("all have left, and {key} is there")))
        })
        .await
        .map(drop)
    }

    /// The visits of clients that are there now.
    fn here(&self, wanted: impl Fn(&Visit) -> bool) -> impl Iterator<Item = Visit> {
        self.visits.all().into_iter().filter(move |visit| visit.is_here() && wanted(visit))
    }
}

/// Who is in the site or in a room.
#[derive(Debug, Default)]
struct Present {
    /// Counted clients of nobody in particular.
    unknown: u64,
    /// People with a counted client.
    people: HashSet<PersonKey>,
    /// What all clients saw, also those that only watch.
    records: Vec<Record>,
}

impl Present {
    fn add(&mut self, visit: Visit) {
        let Visit { is_counted, person, record, .. } = visit;
        match person.filter(|_| is_counted) {
            Some(person) => drop(self.people.insert(person)),
            None => self.unknown += u64::from(is_counted),
        }
        self.records.push(record);
    }

    fn users(&self) -> u64 {
        self.unknown + self.people.len() as u64
    }
}

/// Waits until this is right. Returns how long after `since` that was.
async fn waited(
    since: Instant,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Result<(), String>,
) -> Result<Duration, String> {
    loop {
        let looked = Instant::now();
        match look().await {
            Ok(()) => return Ok(since.elapsed()),
            Err(wrong) if since.elapsed() > patience => return Err(wrong),
            // With very many rooms a look takes long, and must not take the time of those who are looked at.
            Err(_) => sleep(looked.elapsed().max(LOOK_GAP)).await,
        }
    }
}
