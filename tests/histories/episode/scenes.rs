//! What happens in each category of histories.

use std::time::Duration;

use super::{Category, Episode, HEARTBEAT, LEASE, PLACES, USERS, lock};
use crate::{database::Database, tampering::tamper};

/// How long stores are away, in ms.
const LONG: [u64; 12] =
    [300, 700, 950, 1100, 1500, 1800, 2200, 3000, 5000, 40_000, 60_000, 400_000];

/// How far clocks are set, in ms.
const JUMPS: [i64; 6] = [-3_600_000, -20_000, -1500, 1500, 20_000, 3_600_000];

type Saved = Vec<(String, Vec<u8>)>;

impl Episode {
    /// Plays a whole history.
    pub(super) async fn play(&mut self, category: Category) {
        for _ in 0..self.chance.between(2, 5) {
            self.start(true);
            let ms = self.chance.between(0, 200);
            self.pass(ms).await;
        }
        match category {
            Category::Outage | Category::Flush | Category::Snapshot | Category::Clock => {
                self.play_store_fault(category).await;
            }
            Category::Death => self.play_deaths().await,
            Category::DeathOut => self.play_deaths_in_an_outage().await,
            Category::Crash => self.play_crashes().await,
            Category::Burst => self.play_burst().await,
            Category::Hop => self.play_hops().await,
            Category::Same => self.play_the_same().await,
            Category::Unheard => self.play_unheard().await,
            Category::EveryKey => self.play_every_key().await,
            Category::Net | Category::Loss | Category::Tamper => self.play_all(category).await,
        }
        self.floor = None;
        self.check_that_it_is_quiet().await;
        self.check("at rest");
        self.end().await;
    }

    fn save(&mut self) -> Saved {
        lock(&self.world).database().map(Database::save).unwrap_or_default()
    }

    fn restore(&mut self, saved: &Saved) {
        lock(&self.world).database().expect("only Redis goes back").restore(saved);
    }

    fn flush(&mut self) {
        lock(&self.world).database().expect("only Redis is flushed").flush();
    }

    async fn outage(&mut self, ms: u64) {
        lock(&self.world).go_away();
        self.pass(ms).await;
        lock(&self.world).is_away = false;
    }

    /// All connections to the store were lost, so a subscription takes up to a second.
    async fn settle(&mut self) {
        let portions = self.portions();
        self.pass_all(&[LEASE, HEARTBEAT * 3, portions, Duration::from_secs(1)]).await;
    }

    async fn play_store_fault(&mut self, category: Category) {
        self.changes(6, 400).await;
        let old = self.save();
        self.changes(6, 400).await;
        if self.chance.one_in(2) {
            self.start(true);
        }
        if self.chance.percent(40) && self.instances.len() > 2 {
            self.crash();
        }
        self.settle().await;
        self.check("before");
        self.watch_for_dips();
        if category == Category::Outage {
            self.check_estimates().await;
        }
        for _ in 0..self.chance.pick(&[1, 1, 2, 3]) {
            if category == Category::Clock {
                let jump = self.chance.pick(&JUMPS);
                lock(&self.world).skew += jump;
            } else {
                if category == Category::Outage || self.chance.percent(70) {
                    let ms = self.chance.pick(&LONG);
                    self.outage(ms).await;
                }
                self.begin_reload();
                match category {
                    Category::Flush => self.flush(),
                    Category::Snapshot => self.restore(&old),
                    _ => {}
                }
            }
            for _ in 0..self.chance.pick(&[0, 0, 1]) {
                self.start(false);
            }
            self.end_reload().await;
            self.greet().await;
            let ms = self.chance.pick(&[600, 1500, 4000]);
            self.pass(ms).await;
        }
        self.settle().await;
        self.check("after it");
    }

    async fn play_deaths(&mut self) {
        self.settle().await;
        for _ in 0..self.chance.between(1, 3) {
            if self.instances.len() < 2 {
                break;
            }
            self.crash();
            if self.chance.one_in(2) {
                for _ in 0..self.chance.between(1, 6) {
                    self.start(true);
                    let ms = self.chance.between(1, 250);
                    self.pass(ms).await;
                    if self.chance.percent(60) {
                        self.instances.pop().unwrap().leave().await;
                    }
                }
            }
            if self.chance.percent(40) && self.instances.len() > 1 {
                let ms = self.chance.pick(&[600, 2100, 2600]);
                self.cut_off(ms).await;
            }
        }
        self.settle().await;
        self.check("after the deaths");
    }

    /// An instance is cut off for a time.
    async fn cut_off(&mut self, ms: u64) {
        let index = self.chance.index(self.instances.len());
        let who = self.instances[index].who;
        lock(&self.world).cut.insert(who);
        self.pass(ms).await;
        lock(&self.world).cut.remove(&who);
    }

    async fn play_deaths_in_an_outage(&mut self) {
        self.settle().await;
        lock(&self.world).go_away();
        for _ in 0..self.chance.between(1, self.instances.len() as u64) {
            self.crash();
        }
        let ms = self.chance.pick(&LONG);
        self.pass(ms).await;
        lock(&self.world).is_away = false;
        if self.instances.is_empty() || self.chance.one_in(2) {
            for _ in 0..3 {
                self.start(true);
                let ms = self.chance.between(0, 40);
                self.pass(ms).await;
            }
        }
        self.settle().await;
        self.check("after the outage");
    }

    async fn play_crashes(&mut self) {
        self.settle().await;
        self.check("before");
        let old = self.save();
        self.changes(4, 200).await;
        for _ in 0..self.chance.between(1, 3) {
            match self.chance.between(0, 99) {
                0..=34 => self.flush(),
                35..=59 => self.restore(&old),
                60..=79 if self.instances.len() > 1 => {
                    self.crash();
                    let ms = self.chance.between(1900, 2500);
                    self.pass(ms).await;
                }
                _ => {
                    let ms = self.chance.between(2500, 3400);
                    self.cut_off(ms).await;
                }
            }
            let ms = self.chance.pick(&[1, 5, 12, 30, 60, 150, 400]);
            self.pass(ms).await;
            if self.instances.len() > 1 && self.chance.percent(80) {
                self.crash();
            }
            if self.chance.percent(30) {
                self.start(true);
            }
        }
        self.settle().await;
        self.settle().await;
        self.check("after the crashes");
    }

    async fn play_burst(&mut self) {
        for _ in 0..self.chance.pick(&[0, 0, 5]) {
            self.start(true);
        }
        self.settle().await;
        let is_strict = lock(&self.world).is_strict;
        lock(&self.world).is_strict &= self.chance.one_in(5);
        for _ in 0..self.chance.between(50, 200) {
            self.change();
            let ms = self.chance.pick(&[0, 0, 1, 3]);
            self.pass(ms).await;
        }
        lock(&self.world).is_strict = is_strict;
        let (portions, grace) = (self.portions(), lock(&self.world).grace);
        self.pass_all(&[HEARTBEAT * 2, portions, grace]).await;
        self.check("after the burst");
    }

    /// Few users come and go very often, everywhere at once.
    async fn play_the_same(&mut self) {
        while self.instances.len() < 3 {
            self.start(true);
        }
        self.settle().await;
        let is_strict = lock(&self.world).is_strict;
        lock(&self.world).is_strict &= self.chance.one_in(5);
        for _ in 0..self.chance.between(500, 2000) {
            let index = self.chance.index(self.instances.len());
            let (room, user) = (self.chance.pick(&PLACES[..2]), self.chance.pick(&USERS[..2]));
            let connections = self.chance.pick(&[0, 0, 1, 2]);
            self.instances[index].set(room, Some(user), connections);
            let ms = self.chance.pick(&[0, 0, 0, 1, 3]);
            self.pass(ms).await;
        }
        lock(&self.world).is_strict = is_strict;
        let (portions, grace) = (self.portions(), lock(&self.world).grace);
        self.pass_all(&[HEARTBEAT * 2, portions, grace]).await;
        self.check("after the same users");
    }

    /// The counts never change.
    async fn play_hops(&mut self) {
        self.settle().await;
        self.check("before");
        self.watch_for_dips();
        for _ in 0..self.chance.between(5, 15) {
            let (from, to) =
                (self.chance.index(self.instances.len()), self.chance.index(self.instances.len()));
            if self.chance.one_in(3) {
                self.greet().await;
            }
            let (room, user) = (self.chance.pick(&PLACES), self.chance.pick(&USERS));
            if from == to || !self.instances[from].has(room, user) {
                continue;
            }
            if self.chance.one_in(2) {
                self.move_within_the_grace(from, to, room, user).await;
            } else {
                self.instances[to].set(room, Some(user), 1);
                let ms = self.chance.pick(&[100, 600, 2000]);
                self.pass(ms).await;
                self.instances[from].set(room, Some(user), 0);
            }
            let ms = self.chance.pick(&[1, 100, 2100]);
            self.pass(ms).await;
        }
        self.settle().await;
        self.check("after the hops");
    }

    async fn play_unheard(&mut self) {
        self.settle().await;
        lock(&self.world).unheard = self.chance.pick(&[30, 60, 100]);
        self.changes(12, 100).await;
        lock(&self.world).unheard = 0;
        self.settle().await;
        self.check("after the silence");
    }

    /// Deletes every key once, one after the other.
    async fn play_every_key(&mut self) {
        self.settle().await;
        let keys = self.save();
        for (key, _) in keys {
            {
                let mut world = lock(&self.world);
                world.database().unwrap().command::<u64>("DEL", &key).unwrap();
                world.deed = format!(" ({key} was deleted at {} ms)", world.elapsed_ms());
            }
            if self.chance.one_in(3) {
                self.change();
            }
            let ms = self.chance.pick(&[5, 300, 2500]);
            self.pass(ms).await;
        }
        self.pass(25_000).await;
        self.check("after all keys were deleted");
    }

    async fn play_all(&mut self, category: Category) {
        {
            let mut world = lock(&self.world);
            (world.lost, world.late, world.unheard) = (20, 20, 30);
        }
        let mut saved = Saved::new();
        for _ in 0..self.chance.between(15, 45) {
            match self.chance.between(0, 99) {
                0..=39 => self.change(),
                40..=46 if self.instances.len() > 2 => self.crash(),
                47..=52 => self.start(true),
                53..=56 if self.instances.len() > 2 => self.instances.pop().unwrap().leave().await,
                57..=61 => {
                    let ms = self.chance.pick(&[300, 1000, 2500, 9000]);
                    self.cut_off(ms).await;
                }
                62..=67 => {
                    let ms = self.chance.pick(&LONG);
                    self.outage(ms).await;
                }
                68..=73 if category != Category::Net => match self.chance.between(0, 2) {
                    0 => self.flush(),
                    1 => saved = self.save(),
                    _ => self.restore(&saved),
                },
                74..=85 if category == Category::Tamper => self.tamper(),
                86..=88 if category == Category::Tamper => {
                    let jump = self.chance.pick(&JUMPS);
                    lock(&self.world).skew += jump;
                }
                _ => {}
            }
            let ms = self.chance.pick(&[1, 5, 50, 500, 1500]);
            self.pass(ms).await;
        }
        self.pass(1600).await;
        {
            let mut world = lock(&self.world);
            (world.lost, world.late, world.unheard) = (0, 0, 0);
        }
        self.pass(1600).await;
        if category == Category::Tamper {
            self.pass(30_000).await;
        }
        self.settle().await;
        self.settle().await;
        self.check("after all");
    }

    fn tamper(&mut self) {
        let index = self.chance.index(self.instances.len());
        let owner = self.instances[index].view.borrow().incarnation().unwrap().to_string();
        let mut world = lock(&self.world);
        tamper(world.database().expect("only Redis is edited"), &owner, &mut self.chance);
    }
}
