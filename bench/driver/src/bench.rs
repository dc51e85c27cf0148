//! What every section needs: the plan, the places, and where figures go. It never measures.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    results::{Results, Sample},
    server::{Contender, Folders, Program},
};

/// The least time between two emissions wherever nothing else is said: the product's own default.
pub const INTERVAL: Duration = Duration::from_millis(50);

/// The only figure of a peer that failed.
pub const FAILED: &str = "failed";

/// Sizes and times of a run.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often everything is measured.
    pub rounds: u32,
    /// Clients of one server.
    pub clients: Vec<u64>,
    /// Emissions to all of them.
    pub emissions: u64,
    /// Joins at once.
    pub storms: Vec<u64>,
    /// The storms that peers which emit at each join are put through: the work grows with the square.
    pub storms_each_max: u64,
    /// Visitors of three instances.
    pub visitors: u64,
    /// Joins a second there.
    pub churns: Vec<u64>,
    /// The churn that Node can still carry when it emits at each join.
    pub churn_each_max: u64,
    /// Seconds of churn.
    pub churn_seconds: u64,
    /// Joins a second seen by Redis.
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
    /// Seconds for each.
    pub scale_seconds: u64,
    /// Seconds after which memory should be given back.
    pub rest_seconds: u64,
}

impl Plan {
    /// What is published: hours on two cores, of which each section can be run alone.
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
            rest_seconds: 10,
        }
    }

    /// A few minutes on any machine.
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
            rest_seconds: 2,
        }
    }
}

/// A run.
#[derive(Debug)]
pub struct Bench {
    /// Sizes and times.
    pub plan: Plan,
    /// Where programs are.
    pub places: Folders,
    /// Other builds of the product that take part.
    pub variants: Vec<Contender>,
    /// Only these contenders take part, if any is named.
    pub only: Vec<String>,
    /// The figures.
    pub results: Results,
    /// The round that is on.
    pub round: u32,
    /// When the run began.
    pub started: Instant,
}

impl Bench {
    /// Those who take part, the product and its variants first. Each round begins with another one, so that
    /// nobody always comes after the same neighbour.
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

    /// Says what is being done.
    pub fn say(&self, what: &str) {
        let seconds = self.started.elapsed().as_secs();
        let (round, rounds) = (self.round + 1, self.plan.rounds);
        eprintln!("[{:02}:{:02}] round {round} of {rounds}: {what}", seconds / 60, seconds % 60);
    }

    /// Keeps the figures of a contender, or that it failed: for a peer that is a finding like others, such as
    /// that it still sends when patience has ended.
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

    /// Keeps figures.
    pub fn record(
        &mut self,
        section: &str,
        contender: &Contender,
        size: &[(&str, u64)],
        figures: &[(&str, f64)],
    ) {
        let owned = |name: &&str| (*name).to_owned();
        self.results.samples.push(Sample {
            section: section.to_owned(),
            server: contender.name(),
            size: size.iter().map(|(name, value)| (owned(name), *value)).collect(),
            round: self.round,
            figures: figures
                .iter()
                .map(|(name, value)| (owned(name), *value))
                .collect::<BTreeMap<_, _>>(),
        });
    }
}
