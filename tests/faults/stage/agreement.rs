//! Whether everybody shows the right counts, while no client joins or leaves.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use headcount_testkit::{cluster::clients_say, instance::Shown, record::Record};
use tokio::{task::JoinSet, time::sleep};

use super::Stage;
use crate::{
    history::{RoomName, Visit},
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
        let records: Vec<Record> =
            self.here(|visit| visit.room.is_none()).map(|it| it.record).collect();
        let users = records.len() as u64;
        clients_say(users, &records)?;
        for instance in self.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
            let shown = instance.shown().await?;
            if shown != (Shown { count: users, exact: true }) {
                return Err(format!("{users} are there, {} shows {shown:?}", instance.public));
            }
        }
        let parts = self.redis_client.instances().await?;
        let sum: u64 = parts.values().sum();
        let public = self.redis_client.users().await?;
        if (sum, public) == (users, users) {
            return Ok(());
        }
        Err(format!("{users} are there, the public key holds {public}, its parts are {parts:?}"))
    }

    /// Checks whether every client in a room and every instance is right at this moment, and whether Redis holds exactly the rooms in
    /// which somebody is, with their counts.
    pub(crate) async fn rooms_are_right(&self) -> Result<(), String> {
        if let Some(visit) = self.visits.all().iter().find(|visit| visit.is_joining()) {
            return Err(format!("not joined yet: {}", visit.record.name()));
        }
        let mut rooms = BTreeMap::<RoomName, (u64, Vec<Record>)>::new();
        for visit in self.here(|visit| visit.room.is_some()) {
            let Visit { room, is_counted, record, .. } = visit;
            let (users, records) = rooms.entry(room.expect("it is of a room")).or_default();
            *users += u64::from(is_counted);
            records.push(record);
        }
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
        let stored = self.redis_client.rooms().await?;
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
            let keys = self.redis_client.keys("{currentUsers}:*").await?;
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
