//! Instances on a Redis with replicas and sentinels, the check that all agree, and clients that join and leave.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{clients_say, store_and_instances_say},
    instance::{Instance, Shown},
    machine::Machine,
    record::Record,
    redis_client::{CHANNEL, RedisClient},
    sentinel_set::{SentinelSet, Switches},
    waiting::eventually,
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

use super::onlookers::Onlooker;

/// The key in which the store records that it is recovering.
const META: &str = "{currentUsers}:meta";

/// Time between two checks whether a visitor got a count.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// A set of servers and the instances on it.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) instances: Vec<Instance>,
    pub(super) set: SentinelSet,
    switches: Switches,
    /// One observer for each instance, in the same order.
    onlookers: Vec<Onlooker>,
    _machine: Machine,
}

impl Deployment {
    /// Starts a set and this number of instances, and waits until all are ready.
    pub(super) async fn start(instances: usize, machine: Machine) -> Self {
        let set = SentinelSet::start();
        let url = set.url();
        Self::start_on(set, &url, instances, machine).await
    }

    /// Starts instances on a set that runs already, at this address.
    pub(super) async fn start_on(
        set: SentinelSet,
        url: &str,
        instances: usize,
        machine: Machine,
    ) -> Self {
        let mut deployment = Self {
            instances: Vec::new(),
            switches: set.switches(),
            set,
            onlookers: Vec::new(),
            _machine: machine,
        };
        for _ in 0..instances {
            deployment.add(url).await;
        }
        deployment
    }

    /// Starts one more instance and waits until it is ready.
    pub(super) async fn add(&mut self, url: &str) {
        let instance = Instance::start(&[("HEADCOUNT_REDIS_URL", url)]).await;
        instance.ready().await;
        self.join(instance);
    }

    /// Adds an instance that runs already.
    pub(super) fn join(&mut self, instance: Instance) {
        self.onlookers.push(Onlooker::of(&instance));
        self.instances.push(instance);
    }

    /// Kills the last instance.
    pub(super) fn kill_last(&mut self) {
        drop((self.instances.pop(), self.onlookers.pop()));
    }

    /// Opens clients of all kinds on each instance. Those of one instance follow each other in the list.
    pub(super) fn clients_on_each(&self, clients: usize) -> Vec<Client> {
        let makes = || Transport::ALL.into_iter().cycle().take(clients);
        let of = |instance: &Instance| {
            let server = instance.public;
            makes().map(move |make| Client::open(server, make))
        };
        self.instances.iter().flat_map(of).collect()
    }

    pub(super) fn four_clients_each(&self) -> Vec<Client> {
        self.clients_on_each(4)
    }

    /// Waits until these clients, every instance and the current primary all show `users`.
    pub(super) async fn agrees_on(&self, users: u64, records: &[Record]) -> Duration {
        let agree = async || {
            clients_say(users, records)?;
            let primary = RedisClient::new(&self.set.server(self.set.primary()?).url());
            store_and_instances_say(users, &primary, &self.instances).await.map(drop)
        };
        eventually(&format!("everybody says {users}"), agree).await.1
    }

    /// Waits for the same, and returns two times: how long after `since` the sentinels named the final primary, and how
    /// long after that the last instance or client showed this number. All times come from events of the sentinels,
    /// instances and clients, so the time for asking them does not count.
    pub(super) async fn right_after(
        &self,
        since: Instant,
        users: u64,
        records: &[Record],
    ) -> (Duration, Duration) {
        self.agrees_on(users, records).await;
        let wanted = Shown { count: users, exact: true };
        let last_to_show = async || {
            let shown = self.onlookers.iter().map(|onlooker| onlooker.since(wanted));
            shown.collect::<Result<Vec<_>, _>>().map(|since| since.into_iter().max())
        };
        let (shown, _) = eventually("all streams say the same", last_to_show).await;
        let told = records.iter().filter_map(Record::shows_since).max();
        let after = |at: Option<Instant>| {
            at.map_or(Duration::ZERO, |at| at.saturating_duration_since(since))
        };
        let named = async || {
            let port = self.set.server(self.set.primary()?).port();
            self.switches.named_at(port).ok_or_else(|| format!("no sentinel named {port}"))
        };
        let (named, _) = eventually("a sentinel named the primary", named).await;
        (after(Some(named)), after(shown.max(told)))
    }

    /// Waits until a server other than `former` is the primary.
    pub(super) async fn successor_takes_over(&self, former: usize) {
        let takes_over = async || self.set.successor_of(former);
        eventually("another server is the primary", takes_over).await;
    }

    /// Waits until the current primary is marked as recovering.
    pub(super) async fn is_recovering(&self) {
        eventually("the primary is marked as recovering", async || {
            let until: Option<u64> =
                self.set.ask(self.set.primary()?, &["HGET", META, "recovering"])?;
            if until > Some(0) { Ok(()) } else { Err(format!("until {until:?}")) }
        })
        .await;
    }

    /// Waits until the primary has this many subscribers and no other server has any.
    pub(super) async fn all_listen_to_the_primary(&self, listeners: u64) {
        eventually("all listen to the primary alone", async || {
            let primary = self.set.primary()?;
            for place in 0..3 {
                let numbers = self.set.ask(place, &["PUBSUB", "NUMSUB", CHANNEL]);
                let Ok((_, found)): Result<(String, u64), String> = numbers else {
                    // This server is down, so it has no subscribers.
                    continue;
                };
                let expected = if place == primary { listeners } else { 0 };
                if found != expected {
                    return Err(format!("{found} listen to {place}, the primary is {primary}"));
                }
            }
            Ok(())
        })
        .await;
    }
}

/// Clients that join an instance and leave it, repeatedly.
#[derive(Debug)]
pub(super) struct Churn {
    stop: CancellationToken,
    visits: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<()>>,
}

impl Churn {
    /// How many are connected at a time.
    pub(super) const CLIENTS: u64 = 3;

    pub(super) fn start(server: SocketAddr) -> Self {
        let (stop, visits) = (CancellationToken::new(), Arc::<AtomicUsize>::default());
        let come_and_go = |make| {
            let (stop, visits) = (stop.clone(), Arc::clone(&visits));
            tokio::spawn(async move {
                while !stop.is_cancelled() {
                    let client = Client::open(server, make);
                    while client.record().shows().is_none() {
                        sleep(LOOK_GAP).await;
                    }
                    client.leave().await;
                    visits.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let tasks = Transport::ALL.map(come_and_go).into();
        Self { stop, visits, tasks }
    }

    /// Checks that some clients have joined and left on every instance.
    pub(super) fn all_are_busy(churns: &[Self]) -> Result<(), String> {
        let visits: Vec<_> =
            churns.iter().map(|churn| churn.visits.load(Ordering::Relaxed)).collect();
        let busy = visits.iter().all(|&visits| visits >= 10);
        if busy { Ok(()) } else { Err(format!("visits: {visits:?}")) }
    }

    /// Waits until the last clients have left.
    pub(super) async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            task.await.expect("a visitor does not panic");
        }
    }
}
