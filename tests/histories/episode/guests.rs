//! People who come and go while no number may dip: guests, and users who reload their pages.

use std::time::Duration;

use headcount::core::room::SITE;

use super::{Episode, Instance, PLACES, ROOMS, USERS, lock};

/// Users who come as guests, and whom no instance has before.
const GUESTS: [&str; 6] = ["t:g1", "t:g2", "t:g3", "t:g4", "t:g5", "t:g6"];
/// The patience of newcomers is over by then, and reports of few entries have named all guests.
const STAY_MS: u64 = 700;

/// Users of an instance who have left for a moment: the room, the user, and how many connections he had there.
pub(super) struct Reload {
    instance: usize,
    users: Vec<(&'static str, &'static str, usize)>,
}

impl Episode {
    /// Some guests come to an instance at once. The first value of each must include those before it, since all of them stay
    /// until the last one is told.
    pub(super) async fn greet(&mut self) {
        let room = self.chance.pick(&PLACES);
        let Some(floor) = self.floor.as_ref().map(|floor| floor[room]) else { return };
        let knowing = (0..self.instances.len()).filter(|&index| self.instances[index].knows);
        let knowing: Vec<usize> = knowing.collect();
        if knowing.is_empty() {
            return;
        }
        let index = self.chance.pick(&knowing);
        if room != SITE && !self.instances[index].cares_for(room) {
            // The room is not known here, so its estimate is who is here.
            return;
        }
        let guests = self.chance.between(1, GUESTS.len() as u64);
        let with_one_more = self.chance.one_in(2);
        for (guest, at_least) in GUESTS.iter().zip(floor + 1..=floor + guests) {
            self.instances[index].set_telling(room, Some(guest), 1, at_least);
        }
        let before = self.instances[index].anonymous(room);
        if with_one_more {
            let at_least = floor + guests + 1;
            self.instances[index].set_telling(room, None, before + 1, at_least);
        }
        self.pass(STAY_MS).await;
        self.instances[index].set(room, None, before);
        for guest in GUESTS {
            self.instances[index].set(room, Some(guest), 0);
        }
    }

    /// All users of an instance leave the site and its rooms, and will be back within the grace.
    pub(super) fn begin_reload(&mut self) {
        let knowing = (0..self.instances.len()).filter(|&index| self.instances[index].knows);
        let knowing: Vec<usize> = knowing.collect();
        if lock(&self.world).grace.is_zero() || knowing.is_empty() {
            return;
        }
        let index = self.chance.pick(&knowing);
        let instance = &mut self.instances[index];
        let mut users = Vec::new();
        for (room, user) in PLACES.iter().flat_map(|room| USERS.map(|user| (*room, user))) {
            let connections = instance.connections(room, user);
            if connections > 0 {
                instance.set(room, Some(user), 0);
                users.push((room, user, connections));
            }
        }
        self.reload = Some(Reload { instance: index, users });
    }

    /// They are back, soon enough.
    pub(super) async fn end_reload(&mut self) {
        let Some(Reload { instance, users }) = self.reload.take() else { return };
        let grace = u64::try_from(lock(&self.world).grace.as_millis()).unwrap();
        let ms = self.chance.between(grace / 2, grace * 3 / 4);
        self.pass(ms).await;
        for (room, user, connections) in users {
            self.instances[instance].set(room, Some(user), connections);
        }
    }

    /// A user moves from one instance to another: without a gap, or, if there is a grace, with one that is shorter.
    pub(super) async fn move_within_the_grace(
        &mut self,
        from: usize,
        to: usize,
        room: &'static str,
        user: &'static str,
    ) {
        let grace = lock(&self.world).grace;
        if grace > Duration::ZERO {
            self.instances[from].set(room, Some(user), 0);
            self.pass(u64::try_from(grace.as_millis()).unwrap() / 2).await;
            self.instances[to].set(room, Some(user), 1);
        } else {
            self.instances[to].set(room, Some(user), 1);
            self.pass(100).await;
            self.instances[from].set(room, Some(user), 0);
        }
    }

    /// While the store is away, and nobody comes or goes, the estimates must be the truth.
    pub(super) async fn check_estimates(&mut self) {
        lock(&self.world).go_away();
        self.pass(2500).await;
        for instance in &self.instances {
            let wrong = |room: &&str| {
                let shown = shown_in(instance, room);
                shown.is_some() && shown != Some((self.truth(room), false))
            };
            let rooms = ROOMS.iter().filter(|room| instance.cares_for(room));
            if let Some(room) = rooms.chain([&SITE]).copied().find(|room| wrong(room)) {
                let (shown, truth) = (shown_in(instance, room), self.truth(room));
                let who = instance.who;
                lock(&self.world)
                    .note(&format!("{who} estimates {shown:?} in {room}, not {truth}"));
            }
        }
        lock(&self.world).is_away = false;
        self.pass(2500).await;
    }
}

fn shown_in(instance: &Instance, room: &str) -> Option<(u64, bool)> {
    if room == SITE { Some(instance.shown_site()) } else { instance.shown(room) }
}
