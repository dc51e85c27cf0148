//! The reference model: which instances live, how many users each has, what may have arrived at the store, and by
//! when all must be right. It knows the rules that are promised (`ARCHITECTURE.md`), not how the script keeps
//! them.

mod precondition;

use std::collections::BTreeSet;

use super::{
    super::stage::{LEASE, Outcome},
    deed::{Audience, Deed},
    life::{Life, Who},
    tampering::Tampering,
    transition::{Fate, Seed, Transition},
};

pub(super) const HEARTBEAT: u64 = 500;

/// The bounds of the design: while the store has kept everything, after it lost data or an instance died, and
/// after parts of it were edited by hand, which the next audit finds out.
const RIGHT_WHEN_KEPT: u64 = 2 * HEARTBEAT;
const RIGHT_AFTER_A_LOSS: u64 = LEASE + 2 * HEARTBEAT;
const RIGHT_AFTER_AN_EDIT: u64 = 2 * LEASE + 2 * HEARTBEAT;

/// A silence longer than half a lease counts as an eighth of one.
const SILENCE_MIN: u64 = LEASE / 2;
const SILENCE_COUNTS_AS: u64 = LEASE / 8;

/// What can be said of the store since all was last right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trust {
    /// It kept everything: each part and each number is known.
    Kept,
    /// It lost something: only its sums are sure.
    Lost,
    /// A person edited it by hand: nothing is sure.
    Edited,
}

/// A report on its way.
#[derive(Clone, Debug)]
struct Held {
    who: Who,
    number: u64,
    users: Option<u64>,
    /// Whether its sender may have known of data that the store has lost, and which perhaps no other instance
    /// knows.
    may_reveal_a_loss: bool,
}

#[derive(Clone)]
pub(super) struct Truth {
    pub(super) seed: Seed,
    pub(super) lives: Vec<Life>,
    pub(super) trust: Trust,
    /// Whether no view may show less than the smallest truth, nor more than the greatest, since all was right.
    pub(super) bounded: bool,
    /// How much the lease clock has run, at most.
    aged: u64,
    /// The time that passes for the instances; the server's may be set.
    now: u64,
    right_by: u64,
    held: Vec<Held>,
    /// For whom there may be announcements, unheard yet, of something that the store has lost since.
    unheard_losses: BTreeSet<Who>,
    /// What could be said of the store when it was saved.
    saved: Option<Trust>,
}

/// The beginning is all that a minimal history has to tell; the rest follows from its transitions.
impl std::fmt::Debug for Truth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.seed.fmt(f)
    }
}

impl Truth {
    /// The first instances are born one after the other.
    pub(super) fn start(seed: Seed, audience: Audience<'_>) -> Result<Self, String> {
        let mut truth = Self {
            seed: seed.clone(),
            lives: Vec::new(),
            trust: Trust::Kept,
            bounded: false,
            aged: 0,
            now: 0,
            right_by: 0,
            held: Vec::new(),
            unheard_losses: BTreeSet::new(),
            saved: None,
        };
        for (users, wait) in seed.first {
            truth.give_birth(users, Fate::Answered, audience)?;
            truth.pass(wait, audience)?;
        }
        Ok(truth)
    }

    /// Whether store and views must be right now.
    pub(super) fn is_right(&self) -> bool {
        self.now > self.right_by
    }

    pub(super) fn now(&self) -> u64 {
        self.now
    }

    pub(super) fn users(&self) -> u64 {
        self.living().map(|who| self.lives[who].users).sum()
    }

    pub(super) fn living(&self) -> impl Iterator<Item = Who> {
        (0..self.lives.len()).filter(|&who| self.lives[who].is_living)
    }

    /// The smallest and the greatest truth since all was right.
    pub(super) fn range(&self) -> (u64, u64) {
        let sum = |one: fn(&Life) -> u64| self.lives.iter().map(one).sum();
        (sum(|life| life.least), sum(|life| life.most))
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }

    pub(super) fn is_saved(&self) -> bool {
        self.saved.is_some()
    }

    pub(super) fn happen(&mut self, transition: &Transition, audience: Audience<'_>) -> Outcome {
        match *transition {
            Transition::Pass { ms } => self.pass(ms, audience),
            Transition::Rest => self.rest(audience),
            Transition::Report { who, users, fate } => {
                if users != self.lives[who].users {
                    self.lives[who].observe(users);
                    self.disturb();
                }
                audience(self, Deed::Observes { who })?;
                self.send(who, fate, audience)
            }
            Transition::Arrive { which, keep } => self.arrive(which, keep, audience),
            Transition::Listen { who, ear } => {
                let was_deaf = self.lives[who].ear.is_deaf();
                self.lives[who].ear = ear;
                if ear.hears_all() && self.unheard_losses.remove(&who) {
                    // It shows what nobody else remembers, until its next report reveals the loss.
                    self.distrust(Trust::Lost);
                    self.bounded = false;
                }
                audience(self, Deed::Listens { who })?;
                // An instance that subscribes again asks for a reply, which closes the gap.
                let asks = was_deaf && !ear.is_deaf() && !self.lives[who].is_cut;
                if asks { self.send(who, Fate::Answered, audience) } else { Ok(()) }
            }
            Transition::Birth { users, fate } => self.give_birth(users, fate, audience),
            Transition::Farewell { who, fate } => self.leave(who, fate, audience),
            Transition::Die { who } => {
                self.lives[who].die();
                self.disturb();
                audience(self, Deed::Dies { who })
            }
            Transition::Cut { who } => {
                self.lives[who].is_cut = true;
                self.disturb();
                Ok(())
            }
            Transition::Mend { who } => {
                self.lives[who].is_cut = false;
                self.disturb();
                Ok(())
            }
            Transition::Outage { ms } => self.be_away(ms, audience),
            Transition::Jump { ms } => self.jump(ms, audience),
            Transition::Flush => {
                self.lose(Trust::Lost);
                audience(self, Deed::Flush)
            }
            Transition::Save => {
                self.saved = Some(self.trust);
                audience(self, Deed::Save)
            }
            Transition::RollBack => self.roll_back(audience),
            Transition::Tamper(tampering) => self.be_edited(tampering, audience),
        }
    }

    /// No faults any more, until all must be right.
    pub(super) fn finish(&mut self, audience: Audience<'_>) -> Outcome {
        for who in self.living().collect::<Vec<_>>() {
            self.lives[who].is_cut = false;
        }
        self.rest(audience)
    }

    /// Passes the time until all must be right, and a heartbeat in which it must stay so.
    fn rest(&mut self, audience: Audience<'_>) -> Outcome {
        let deadline = self.now + 2 * RIGHT_AFTER_AN_EDIT;
        while !self.is_right() {
            if self.now >= deadline {
                return Err("the model itself does not come to rest".to_owned());
            }
            self.pass(HEARTBEAT / 2, audience)?;
        }
        self.pass(HEARTBEAT, audience)
    }

    /// Lets time pass, and lets every instance report when it is time.
    fn pass(&mut self, ms: u64, audience: Audience<'_>) -> Outcome {
        let end = self.now + ms;
        loop {
            let due = self.living().min_by_key(|&who| self.lives[who].next_report);
            let who = due.expect("somebody lives");
            let at = self.lives[who].next_report.max(self.now);
            if at > end {
                return self.go_on(end - self.now, audience);
            }
            self.go_on(at - self.now, audience)?;
            let fate = if self.lives[who].is_cut { Fate::Lost } else { Fate::Answered };
            self.send(who, fate, audience)?;
        }
    }

    fn go_on(&mut self, ms: u64, audience: Audience<'_>) -> Outcome {
        self.now += ms;
        self.age(ms);
        audience(self, Deed::TimePasses { ms })
    }

    /// The lease of an instance that was silent for so long may have expired.
    fn age(&mut self, ms: u64) {
        self.aged += ms;
        for who in 0..self.lives.len() {
            let is_fresh = self.lives[who].grow_old(self.aged);
            let life = &self.lives[who];
            if life.is_living && !is_fresh {
                self.bounded = false;
            }
            if life.is_living && (life.is_cut || !life.is_known()) {
                self.disturb();
            }
        }
        if self.is_right() {
            self.trust = Trust::Kept;
            self.bounded = true;
            self.lives.iter_mut().for_each(Life::settle);
        }
    }

    /// From here on it may take as long as is promised until all is right.
    fn disturb(&mut self) {
        let has_ghosts = self.lives.iter().any(Life::may_be_miscounted);
        let bound = match self.trust {
            Trust::Edited => RIGHT_AFTER_AN_EDIT,
            Trust::Kept if !has_ghosts => RIGHT_WHEN_KEPT,
            _ => RIGHT_AFTER_A_LOSS,
        };
        self.right_by = self.right_by.max(self.now + bound);
    }

    /// The store loses something. What is on its way to it or from it may still tell of that.
    fn lose(&mut self, trust: Trust) {
        self.held.iter_mut().for_each(|held| held.may_reveal_a_loss = true);
        let behind = self.living().filter(|&who| !self.lives[who].ear.hears_all());
        self.unheard_losses = behind.collect();
        self.distrust(trust);
    }

    /// Something was lost, or only now is it known.
    fn distrust(&mut self, trust: Trust) {
        self.trust = self.trust.max(trust);
        // A newcomer cannot know better than a store that is empty.
        let all_know = self.living().all(|who| self.lives[who].knows);
        self.bounded &= all_know && self.trust < Trust::Edited;
        self.disturb();
    }

    fn send(&mut self, who: Who, fate: Fate, audience: Audience<'_>) -> Outcome {
        let (now, is_living) = (self.now, self.lives[who].is_living);
        let life = &mut self.lives[who];
        let is_news = !life.is_known() || !is_living;
        let number = life.make_report(now + HEARTBEAT);
        let users = is_living.then_some(life.users);
        let mut applied = None;
        match fate {
            Fate::Answered | Fate::Repeated | Fate::ReplyLost => {
                applied = self.land(who, number, users);
            }
            Fate::Held { .. } => {
                let may_reveal_a_loss = self.trust > Trust::Kept;
                self.held.push(Held { who, number, users, may_reveal_a_loss });
            }
            Fate::Lost => {}
        }
        if is_news || fate != Fate::Answered {
            self.disturb();
        }
        audience(self, Deed::Sends { who, farewell: !is_living, fate, applied })
    }

    /// A report arrives at the store. Says whether it is applied, if that is certain.
    fn land(&mut self, who: Who, number: u64, users: Option<u64>) -> Option<bool> {
        let (aged, trust) = (self.aged, self.trust);
        let life = &mut self.lives[who];
        if number > life.fence {
            life.apply(number, users, aged);
            return (trust < Trust::Edited).then_some(true);
        }
        if trust == Trust::Kept && life.is_fenced(aged) {
            return Some(false);
        }
        life.may_apply(users, aged);
        None
    }

    fn arrive(&mut self, which: usize, keep: bool, audience: Audience<'_>) -> Outcome {
        let Held { who, number, users, may_reveal_a_loss } = self.held[which].clone();
        let applied = self.land(who, number, users);
        match applied {
            Some(false) => {}
            // Everybody else who knew of the loss may be dead by now. Once the report is applied, the store knows.
            _ if may_reveal_a_loss => {
                self.held[which].may_reveal_a_loss = applied != Some(true);
                self.distrust(Trust::Lost);
            }
            _ => self.disturb(),
        }
        if !keep {
            self.held.remove(which);
        }
        audience(self, Deed::Arrives { which, keep, applied })
    }

    fn give_birth(&mut self, users: u64, fate: Fate, audience: Audience<'_>) -> Outcome {
        let who = self.lives.len();
        self.lives.push(Life::new(users, self.now));
        // Revisions are what a loss is found out by, and a newcomer has seen none.
        self.bounded &= self.trust == Trust::Kept;
        self.disturb();
        audience(self, Deed::Born { who })?;
        self.send(who, fate, audience)
    }

    fn leave(&mut self, who: Who, fate: Fate, audience: Audience<'_>) -> Outcome {
        self.lives[who].die();
        self.send(who, fate, audience)?;
        self.disturb();
        audience(self, Deed::Dies { who })
    }

    /// The store is away for all, and all report within a heartbeat of its return.
    fn be_away(&mut self, ms: u64, audience: Audience<'_>) -> Outcome {
        self.now += ms;
        self.disturb();
        audience(self, Deed::StoreIsAway)?;
        self.age(if ms > SILENCE_MIN { SILENCE_COUNTS_AS } else { ms });
        let now = self.now;
        for life in &mut self.lives {
            life.next_report = life.next_report.max(now + life.next_report % HEARTBEAT);
        }
        audience(self, Deed::TimePasses { ms })?;
        self.pass(HEARTBEAT, audience)?;
        self.disturb();
        Ok(())
    }

    fn jump(&mut self, ms: i64, audience: Audience<'_>) -> Outcome {
        self.disturb();
        // A small jump forward cannot be told from time that passes.
        let forward = u64::try_from(ms).unwrap_or(0);
        self.age(if forward > SILENCE_MIN { SILENCE_COUNTS_AS } else { forward });
        audience(self, Deed::ClockJumps { ms })
    }

    fn roll_back(&mut self, audience: Audience<'_>) -> Outcome {
        // An instance that does not know the lost data cannot find out that it is lost, and may write over it.
        self.bounded &= self.is_right() && self.held.is_empty();
        self.lose(self.saved.unwrap_or(Trust::Kept).max(Trust::Lost));
        self.drop_held_if_edited(audience)?;
        audience(self, Deed::RollBack)
    }

    /// The public key is only shown to others: nothing is read from it.
    fn be_edited(&mut self, tampering: Tampering, audience: Audience<'_>) -> Outcome {
        if !tampering.is_of_public_key() {
            self.lose(Trust::Edited);
            self.drop_held_if_edited(audience)?;
        }
        audience(self, Deed::Tamper(tampering))
    }

    fn drop_held_if_edited(&mut self, audience: Audience<'_>) -> Outcome {
        if self.trust < Trust::Edited || self.held.is_empty() {
            return Ok(());
        }
        self.held.clear();
        audience(self, Deed::HeldAreLost)
    }
}
