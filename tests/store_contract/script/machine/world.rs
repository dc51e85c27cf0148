//! The real side of the machine: instances, messages, and the script on a real server. It does what the
//! reference model requests, and compares the results with the truth.

use std::{collections::BTreeMap, time::Duration};

use headcount::core::count::{Count, Incarnation, Revision, Stamp, WHOLE_MAX};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    super::stage::{ABOUT, Answer, Left, Looks, NO_ARGUMENTS, Outcome, Snapshot, ensure, same},
    deed::Deed,
    ground::{END, Ground},
    life::Who,
    member::{Made, Member, introduction},
    transition::{Ear, Fate},
    truth::{Trust, Truth},
};

pub(super) struct World<'a, 'b> {
    ground: &'a mut Ground<'b>,
    members: BTreeMap<Who, Member>,
    held: Vec<Held>,
    saved: Snapshot,
    /// The count of every revision, and the newest one, while the store keeps everything.
    counts: BTreeMap<u64, Count>,
    base: Instant,
    /// The last name of each instance, and how many names were given.
    names: BTreeMap<Who, Incarnation>,
    named: u128,
}

/// A report that is under way.
#[derive(Clone)]
struct Held {
    who: Who,
    made: Made,
    /// Whether its sender waits for the reply.
    waits: bool,
}

impl<'a, 'b> World<'a, 'b> {
    pub(super) fn new(ground: &'a mut Ground<'b>) -> Result<Self, String> {
        ground.clear()?;
        Ok(Self {
            ground,
            members: BTreeMap::new(),
            held: Vec::new(),
            saved: Snapshot::default(),
            counts: BTreeMap::new(),
            base: Instant::now(),
            names: BTreeMap::new(),
            named: 0,
        })
    }

    fn now(&self, truth: &Truth) -> Instant {
        self.base + Duration::from_millis(truth.now())
    }

    pub(super) fn carry_out(&mut self, truth: &Truth, deed: Deed) -> Outcome {
        if truth.trust != Trust::Kept {
            self.counts.clear();
        }
        let now = self.now(truth);
        self.members.values_mut().for_each(|member| member.now = now);
        let outcome = self.act(truth, deed).and_then(|()| self.check_views(truth));
        outcome.map_err(|why| format!("{why}, after {deed:?} at {} ms", truth.now()))
    }

    fn act(&mut self, truth: &Truth, deed: Deed) -> Outcome {
        let stage = &mut self.ground.stage;
        match deed {
            Deed::Born { who } => {
                let mut member = Member::new(self.new_name(who), self.now(truth));
                member.observe(truth.lives[who].users);
                self.members.insert(who, member);
            }
            Deed::Dies { who } => drop(self.members.remove(&who)),
            Deed::Observes { who } => self.member(who).observe(truth.lives[who].users),
            Deed::Sends { who, farewell, fate, applied } => {
                return self.send(truth, who, farewell, fate, applied);
            }
            Deed::Arrives { which, keep, applied } => {
                return self.arrive(truth, which, keep, applied);
            }
            Deed::HeldAreLost => {
                for Held { who, made, waits } in std::mem::take(&mut self.held) {
                    if let Some(member) = self.members.get_mut(&who).filter(|_| waits) {
                        member.give_up(&made);
                    }
                }
            }
            Deed::Listens { who } => {
                if truth.lives[who].ear.hears_all() {
                    self.member(who).hear_all();
                }
            }
            Deed::StoreIsAway => {
                for member in self.members.values_mut() {
                    member.view.mark_unreachable();
                }
            }
            Deed::TimePasses { ms } => stage.wait(ms),
            Deed::ClockJumps { ms } => stage.now = stage.now.saturating_add_signed(ms),
            Deed::Flush => return stage.redis("FLUSHALL", NO_ARGUMENTS),
            Deed::Save => self.saved = stage.snapshot()?,
            Deed::RollBack => return stage.restore(&self.saved),
            Deed::Tamper(tampering) => {
                let name = tampering.owner().and_then(|who| self.names.get(&who));
                let name = name.map_or_else(|| "nobody".to_owned(), Incarnation::to_string);
                return tampering.happen(&name, stage);
            }
        }
        Ok(())
    }

    fn member(&mut self, who: Who) -> &mut Member {
        self.members.get_mut(&who).expect("it lives")
    }

    fn new_name(&mut self, who: Who) -> Incarnation {
        self.named += 1;
        let name = Incarnation::from(Uuid::from_u128(self.named));
        self.names.insert(who, name);
        name
    }

    fn send(
        &mut self,
        truth: &Truth,
        who: Who,
        farewell: bool,
        fate: Fate,
        applied: Option<bool>,
    ) -> Outcome {
        let base = self.base;
        let made = self.member(who).make_report(farewell, truth.now(), base);
        match fate {
            Fate::Lost => self.member(who).give_up(&made),
            Fate::Held { waits } => {
                if !waits {
                    self.member(who).give_up(&made);
                }
                self.held.push(Held { who, made, waits });
            }
            Fate::ReplyLost => {
                let (_, news) = self.run(truth, &made, applied)?;
                self.spread(truth, &news, None);
                self.member(who).give_up(&made);
            }
            Fate::Answered | Fate::Repeated => {
                let (answer, news) = self.run(truth, &made, applied)?;
                if fate == Fate::Repeated && answer.applied {
                    self.run_stale(truth, &made)?;
                }
                self.answer(truth, who, &made, &answer, &news)?;
                let member = &self.members[&who];
                if truth.trust == Trust::Kept && !farewell {
                    let shown = member.shown();
                    same("who was just answered shows", shown.users, answer.count)?;
                    ensure("it is exact", shown.exact)?;
                }
            }
        }
        Ok(())
    }

    fn arrive(
        &mut self,
        truth: &Truth,
        which: usize,
        keep: bool,
        applied: Option<bool>,
    ) -> Outcome {
        let held = self.held[which].clone();
        self.held[which].waits = false;
        if !keep {
            self.held.remove(which);
        }
        let before = self.ground.stage.snapshot()?;
        let (answer, news) = self.run(truth, &held.made, applied)?;
        if !answer.applied {
            self.must_be_unchanged(&before, &news)?;
        }
        if held.waits && self.members.contains_key(&held.who) {
            return self.answer(truth, held.who, &held.made, &answer, &news);
        }
        self.spread(truth, &news, None);
        Ok(())
    }

    /// Runs again a report that was applied a moment ago.
    fn run_stale(&mut self, truth: &Truth, made: &Made) -> Outcome {
        let before = self.ground.stage.snapshot()?;
        let (_, news) = self.run(truth, made, Some(false))?;
        self.must_be_unchanged(&before, &news)
    }

    fn must_be_unchanged(&mut self, before: &Snapshot, news: &[Count]) -> Outcome {
        let after = self.ground.stage.snapshot()?;
        ensure("a stale report changes nothing", *before == after)?;
        ensure("a stale report is not announced", news.is_empty())
    }

    /// Delivers announcements and the reply, in the order in which this instance receives them.
    fn answer(
        &mut self,
        truth: &Truth,
        who: Who,
        made: &Made,
        answer: &Answer,
        news: &[Count],
    ) -> Outcome {
        let is_behind = truth.lives[who].ear == Ear::Behind;
        self.spread(truth, news, is_behind.then_some(who));
        let is_taken = self.member(who).hear_reply(made, answer);
        if is_behind {
            for &count in news {
                self.member(who).hear(count);
            }
        }
        if !is_taken {
            return Ok(());
        }
        ensure("nobody else has this name", truth.trust == Trust::Edited)?;
        self.ground.seen.renamed += 1;
        let name = self.new_name(who);
        self.member(who).rename(name);
        self.send(truth, who, false, Fate::Answered, None)
    }

    fn spread(&mut self, truth: &Truth, news: &[Count], except: Option<Who>) {
        for (&who, member) in &mut self.members {
            let life = &truth.lives[who];
            match life.ear {
                _ if life.is_cut || Some(who) == except => {}
                Ear::Prompt | Ear::Behind => news.iter().for_each(|&count| member.hear(count)),
                Ear::Late => member.unheard.extend(news),
                Ear::Deaf => {}
            }
        }
    }

    /// Runs the script, and checks its reply, the keys and the announcements.
    fn run(
        &mut self,
        truth: &Truth,
        made: &Made,
        applied: Option<bool>,
    ) -> Result<(Answer, Vec<Count>), String> {
        let stage = &mut self.ground.stage;
        let looks = if truth.trust < Trust::Edited { Looks::AtWhatIsLeft } else { Looks::Away };
        let (answer, left) = stage.evaluate(&made.arguments, looks, Some(END))?;
        let greatest = answer.revision.max(answer.count).max(answer.stored_sequence);
        ensure("the reply is in range", greatest.max(answer.announced) <= WHOLE_MAX)?;
        if let Some(applied) = applied {
            same("applied", answer.applied, applied)?;
        }
        if answer.applied {
            let seen = made.seen;
            ensure("no revision below one that was seen", answer.revision >= seen.revision.0)?;
            // Whoever edits the total without the revision is noticed by the next audit only.
            if answer.revision == seen.revision.0 && truth.trust != Trust::Edited {
                same("one revision stands for one count", answer.count, seen.users)?;
            }
        }
        let news = self.listen()?;
        self.ground.seen.count(&answer, &news);
        if let Some(left) = left {
            self.check_store(truth, &answer, left)?;
        }
        if truth.is_right() {
            self.check_introductions()?;
            same("announced", answer.announced, answer.revision)?;
        }
        if truth.trust == Trust::Kept {
            ensure("nothing was lost", !answer.recovering)?;
            self.remember(Count {
                users: answer.count,
                revision: Revision(answer.revision),
                recovering: answer.recovering,
                stamp: Stamp::parse(&answer.stamp).expect("a stamp"),
            })?;
            news.iter().try_for_each(|&count| self.remember(count))?;
        }
        Ok((answer, news))
    }

    /// Operators see who each of the living is, and nobody else.
    fn check_introductions(&mut self) -> Outcome {
        let found: BTreeMap<String, String> = self.ground.stage.redis("HGETALL", ABOUT)?;
        let said = self.members.values().map(|one| (one.name.to_string(), introduction(one.name)));
        same("what is said of the living", found, said.collect())
    }

    fn listen(&mut self) -> Result<Vec<Count>, String> {
        let read = |news: Vec<u8>| {
            let text = String::from_utf8_lossy(&news).into_owned();
            serde_json::from_slice(&news).map_err(|error| format!("{error}: {text}"))
        };
        self.ground.hear_up_to(END)?.into_iter().map(read).collect()
    }

    /// Checks the keys: the public count is the sum of the parts, and each part is true.
    fn check_store(&self, truth: &Truth, answer: &Answer, left: Left) -> Outcome {
        let sum = left.sum()?;
        if answer.applied {
            same("the public key is the sum", left.public, Some(sum.to_string()))?;
            same("the reply is the sum", answer.count, sum)?;
        }
        if truth.trust != Trust::Kept {
            return Ok(());
        }
        let mut parts = left.parts;
        for (who, life) in truth.lives.iter().enumerate() {
            let part = parts.remove(&self.names[&who].to_string());
            let part = part.map(|part| part.parse().expect("it was summed"));
            let may_be = &life.parts;
            ensure(&format!("{part:?} of {who} is one of {may_be:?}"), may_be.contains(&part))?;
        }
        ensure(&format!("no strangers: {parts:?}"), parts.is_empty())
    }

    /// Checks that a revision has only one count for all instances.
    fn remember(&mut self, count: Count) -> Outcome {
        let revision = count.revision.0;
        let newest = self.counts.keys().next_back().copied().unwrap_or(0);
        ensure(&format!("{revision} is not below {newest}"), revision >= newest)?;
        same("count of this revision", *self.counts.entry(revision).or_insert(count), count)
    }

    fn check_views(&mut self, truth: &Truth) -> Outcome {
        let (least, most) = truth.range();
        let newest = self.members.values().map(|member| member.view.seen().revision).max();
        for (&who, member) in &mut self.members {
            member.check()?;
            let shown = member.shown();
            if truth.is_right() {
                self.ground.seen.right += 1;
                same(&format!("{who} shows"), shown.users, truth.users())?;
                ensure(&format!("{who} is exact"), shown.exact)?;
                same(&format!("{who} has revision"), Some(shown.revision), newest)?;
            } else if truth.bounded && truth.lives[who].knows {
                self.ground.seen.bounded += u64::from(!shown.exact);
                let is_bounded = (least..=most).contains(&shown.users);
                ensure(&format!("{who} shows {shown:?} within {least} and {most}"), is_bounded)?;
            }
        }
        Ok(())
    }
}
