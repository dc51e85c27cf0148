//! A whole cluster for one test: a Redis server, some instances, and the check that all of them agree.

use std::time::{Duration, Instant};

use crate::{
    client::Client,
    instance::{Instance, Setting, Shown},
    machine::Machine,
    record::{Event, Record},
    redis_client::RedisClient,
    redis_server::RedisServer,
    waiting::eventually,
};

/// A Redis server and the instances that report to it. A test may remove instances. The remaining ones must agree.
#[derive(Debug)]
pub struct Cluster {
    /// The instances, in order of their start.
    pub instances: Vec<Instance>,
    /// The Redis server that they report to.
    pub redis: RedisServer,
    /// A client of the same Redis, for what other programs do.
    pub redis_client: RedisClient,
    /// Kept until the test ends.
    _machine: Machine,
}

impl Cluster {
    /// Starts Redis without persistence, and this many instances with the default settings, and waits until all are ready.
    pub async fn start(instances: usize) -> Self {
        Self::start_with(instances, &[]).await
    }

    /// The same as [`Cluster::start`], with these settings for every instance.
    pub async fn start_with(instances: usize, settings: &[Setting<'_>]) -> Self {
        let redis = RedisServer::start(&[]);
        Self::start_on(redis, Machine::shared().await, instances, settings).await
    }

    /// The same as [`Cluster::start_with`], on a Redis that runs already.
    pub async fn start_on(
        redis: RedisServer,
        machine: Machine,
        instances: usize,
        settings: &[Setting<'_>],
    ) -> Self {
        let redis_client = RedisClient::new(&redis.url());
        let mut cluster = Self { instances: Vec::new(), redis, redis_client, _machine: machine };
        for _ in 0..instances {
            cluster.add(settings).await;
        }
        cluster
    }

    /// Starts another instance and waits until it is ready.
    pub async fn add(&mut self, settings: &[Setting<'_>]) {
        let url = self.redis.url();
        let instance =
            Instance::start(&[&[("HEADCOUNT_REDIS_URL", url.as_str())], settings].concat()).await;
        instance.ready().await;
        self.instances.push(instance);
    }

    /// Waits until these clients, every instance, the public key and the sum of its parts and people all show `users`. Returns how
    /// long that took.
    pub async fn agrees_on(&self, users: u64, records: &[Record]) -> Duration {
        let what = format!("everybody says {users}");
        let ((), took) = eventually(&what, async || self.all_say(users, records).await).await;
        took
    }

    /// Checks whether all show `users` at this moment. The error names one that does not, and its number.
    pub async fn all_say(&self, users: u64, records: &[Record]) -> Result<(), String> {
        clients_say(users, records)?;
        store_and_instances_say(users, &self.redis_client, &self.instances).await.map(drop)
    }
}

/// What the site's count in Redis is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredSite {
    /// The connections without an identity, of all instances.
    pub anonymous: u64,
    /// The users with an identity.
    pub people: u64,
}

/// Checks whether these instances show `users` as exact, and the public key and the sum of its parts and of the site's people are the
/// same. The error names one that is not, and its number.
pub async fn store_and_instances_say(
    users: u64,
    redis_client: &RedisClient,
    instances: impl IntoIterator<Item = &Instance>,
) -> Result<StoredSite, String> {
    for instance in instances {
        let shown = instance.shown().await?;
        if shown != (Shown { count: users, exact: true }) {
            return Err(format!("the instance at {}: {shown:?}", instance.public));
        }
    }
    let parts = redis_client.instances().await?;
    let people = redis_client.site_people().await?;
    let anonymous = parts.values().sum::<u64>();
    let public = redis_client.users().await?;
    if (anonymous + people, public) == (users, users) {
        return Ok(StoredSite { anonymous, people });
    }
    Err(format!("the public key: {public}, its parts: {parts:?}, people: {people}"))
}

/// Checks whether these clients all show `users`. The error says how many do not, and what the first of them saw last.
pub fn clients_say(users: u64, records: &[Record]) -> Result<(), String> {
    nothing_is_wrong_in(records);
    let odd: Vec<_> = records.iter().filter(|record| record.shows() != Some(users)).collect();
    let Some(first) = odd.first() else {
        return Ok(());
    };
    let entries = first.entries();
    let latest = &entries[entries.len().saturating_sub(5)..];
    Err(format!(
        "{} of {} clients differ, as {}: {latest:?}",
        odd.len(),
        records.len(),
        first.name()
    ))
}

/// How long after `since` the last of these clients was told what it shows now. Unlike the time that [`Cluster::agrees_on`] takes,
/// it does not include the time for asking all instances, which may be a second on a busy machine.
pub fn told_after(since: Instant, records: &[Record]) -> Duration {
    let last = records.iter().filter_map(Record::shows_since).max();
    last.map_or(Duration::ZERO, |at| at.saturating_duration_since(since))
}

/// Panics if one of these clients saw something outside the contract.
pub fn nothing_is_wrong_in(records: &[Record]) {
    for record in records {
        let entries = record.entries();
        let is_wrong = entries.iter().any(|entry| matches!(entry.event, Event::Violation(_)));
        let latest = &entries[entries.len().saturating_sub(12)..];
        assert!(!is_wrong, "{}: {latest:?}", record.name());
    }
}

/// The records of these clients.
pub fn records_of<'a>(clients: impl IntoIterator<Item = &'a Client>) -> Vec<Record> {
    clients.into_iter().map(|client| client.record().clone()).collect()
}
