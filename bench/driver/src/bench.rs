//! What every section needs: the plan, the places of programs, and the results. This module never measures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    results::{Results, Sample},
    server::{Contender, Folders, Program},
};

/// The shortest time between two emissions unless a section sets another: the product's own default.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// The only figure of a peer that failed, in place of its measurements.
pub const FAILED: &str = "failed";

/// The sizes and times of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The number of rounds.
    pub rounds: u32,
    /// Clients of one server.
    pub clients: Vec<u64>,
    /// Emissions to all of them.
    pub emissions: u64,
    /// Joins at once.
    pub storms: Vec<u64>,
    /// The storms for peers that emit at every join: their work grows with the square.
    pub storms_each_max: u64,
    /// Visitors of three instances.
    pub visitors: u64,
    /// Joins a second there.
    pub churns: Vec<u64>,
    /// The joins a second that Node can still handle when it emits at every join.
    pub churn_each_max: u64,
    /// Seconds of churn.
    pub churn_seconds: u64,
    /// Joins a second in the section `redis`.
    pub joins: Vec<u64>,
    /// Instances on one Redis.
    pub instances: Vec<u64>,
    /// Idle clients of one server.
    pub idle_clients: u64,
    /// Seconds of idleness.
    pub idle_seconds: u64,
    /// Instances without sockets on one Redis.
    pub scale: Vec<u64>,
    /// Joins a second on each of them.
    pub scale_joins: Vec<u64>,
    /// Seconds for each of these sizes.
    pub scale_seconds: u64,
    /// Rooms of one instance.
    pub rooms: u64,
    /// Clients in each of them.
    pub room_members: u64,
    /// Joins and leaves a second in these rooms.
    pub room_changes: u64,
    /// The same where all are in one room, or in the site.
    pub site_changes: u64,
    /// Joins of rooms a second on three instances, and as many leaves.
    pub room_joins: u64,
    /// Rooms whose memory is measured.
    pub rooms_kept: u64,
    /// Rooms, and users of a room, in a small and in a large Redis.
    pub stored: [u64; 2],
    /// Rooms of an instance that dies.
    pub reaped: u64,
    /// Users in one room.
    pub crowd: u64,
    /// Portions of calls in which reports are measured.
    pub portions: u64,
    /// The seconds after which memory should be given back.
    pub rest_seconds: u64,
}

impl Plan {
    /// The plan of the published results. It takes hours on two cores; every section can be run alone.
    pub fn full() -> Self {
        Self {
            rounds: 5,
            clients: vec![1000, 3000, 10_000],
            emissions: 200,
            storms: vec![500, 2000, 5000],
            storms_each_max: 2000,
            visitors: 3000,
            churns: vec![5, 50],
            churn_each_max: 5,
            churn_seconds: 20,
            joins: vec![10, 100, 1000],
            instances: vec![1, 3, 10],
            idle_clients: 10_000,
            idle_seconds: 60,
            scale: vec![1, 3, 10, 30, 100, 200, 300, 1000],
            scale_joins: vec![1, 50],
            scale_seconds: 12,
            rooms: 1000,
            room_members: 10,
            room_changes: 500,
            site_changes: 20,
            room_joins: 100,
            rooms_kept: 100_000,
            stored: [10_000, 200_000],
            reaped: 50_000,
            crowd: 1_000_000,
            portions: 40,
            rest_seconds: 10,
        }
    }

    /// A plan that takes a few minutes on any machine.
    pub fn quick() -> Self {
        Self {
            rounds: 1,
            clients: vec![300, 1000],
            emissions: 50,
            storms: vec![300, 1000],
            storms_each_max: 300,
            visitors: 300,
            churns: vec![10],
            churn_each_max: 10,
            churn_seconds: 4,
            joins: vec![10, 100],
            instances: vec![1, 3],
            idle_clients: 1000,
            idle_seconds: 26,
            scale: vec![1, 10, 100],
            scale_joins: vec![5],
            scale_seconds: 5,
            rooms: 100,
            room_members: 10,
            room_changes: 200,
            site_changes: 20,
            room_joins: 100,
            rooms_kept: 10_000,
            stored: [1000, 20_000],
            reaped: 5000,
            crowd: 20_000,
            portions: 8,
            rest_seconds: 2,
        }
    }
}

/// A run.
#[derive(Debug)]
pub struct Bench {
    /// Sizes and times.
    pub plan: Plan,
    /// The places of the programs.
    pub places: Folders,
    /// Other builds of the product that take part.
    pub variants: Vec<Contender>,
    /// If any is named, only these contenders take part.
    pub only: Vec<String>,
    /// The results so far.
    pub results: Results,
    /// The number of the current round.
    pub round: u32,
    /// When the run began.
    pub started: Instant,
}

impl Bench {
    /// The contenders, the product and its variants first. Every round begins with another one, so that no
    /// contender always follows the same one.
    pub fn contenders(&self, peers: Vec<Contender>) -> Vec<Contender> {
        let mut all = vec![Contender::merged(Program::Headcount)];
        all.extend(self.variants.iter().cloned());
        all.extend(peers);
        if !self.only.is_empty() {
            all.retain(|contender| self.only.contains(&contender.name()));
        }
        if !all.is_empty() {
            let first = self.round as usize % all.len();
            all.rotate_left(first);
        }
        all
    }

    /// Prints what is being measured.
    pub fn say(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        let (round, rounds) = (self.round + 1, self.plan.rounds);
        eprintln!("[{:02}:{:02}] round {round} of {rounds}: {what}", seconds / 60, seconds % 60);
    }

    /// Records the figures of a contender, or that it failed. The failure of a peer is a finding like others:
    /// for example that it was still sending at the time limit.
    ///
    /// # Errors
    /// If it was the product that failed.
    pub fn keep(
        &mut self,
        section: &str,
        contender: &Contender,
        size: &[(&str, u64)],
        measured: Result<Vec<(&'static str, f64)>>,
    ) -> Result<()> {
        match measured {
            Ok(figures) => self.record(section, contender, size, &figures),
            Err(error) if contender.is_product() => return Err(error),
            Err(error) => {
                eprintln!("{} failed: {error:#}", contender.name());
                self.record(section, contender, size, &[(FAILED, 1.0)]);
            }
        }
        Ok(())
    }

    /// Records figures.
    pub fn record(
        &mut self,
        section: &str,
        contender: &Contender,
        size: &[(&str, u64)],
        figures: &[(&str, f64)],
    ) {
        self.record_of(section, contender.name(), size, figures);
    }

    /// Records figures of something that is no program.
    pub fn record_of(
        &mut self,
        section: &str,
        server: String,
        size: &[(&str, u64)],
        figures: &[(&str, f64)],
    ) {
        let owned = |name: &&str| (*name).to_owned();
        self.results.samples.push(Sample {
            section: section.to_owned(),
            server,
            size: size.iter().map(|(name, value)| (owned(name), *value)).collect(),
            round: self.round,
            figures: figures
                .iter()
                .map(|(name, value)| (owned(name), *value))
                .collect::<BTreeMap<_, _>>(),
        });
    }
}
