//! An instance under attack with 200 well-behaved clients, and the checks that the attack harmed none of
//! them.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    http,
    instance::Setting,
    open_files,
    record::{Event, Record},
    waiting::eventually,
};

/// Number of well-behaved clients.
pub(crate) const CROWD: usize = 200;

/// How many of the crowd join at a time. A rush is not what these tests examine, and tests run side by
/// side.
const AT_A_TIME: usize = 50;

/// The transports of the crowd, taken in turn.
const MIX: [Transport; 5] = [
    Transport::Websocket,
    Transport::Polling,
    Transport::Websocket,
    Transport::Upgrade,
    Transport::Websocket,
];

/// Bytes that an instance may log after an attack: a few lines, not one for every message of a flood.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// Bytes by which the resident memory may grow during an attack. An allocator does not return
/// everything; an attack that stays in memory would take far more.
const MEMORY_GROWTH_MAX: u64 = 64 * 1024 * 1024;

/// Descriptors that may be open in addition to those before the attack, because requests of polling
/// clients come and go.
const DESCRIPTORS_SLACK: usize = 24;

/// One instance with a Redis, and its crowd.
#[derive(Debug)]
pub(crate) struct Besieged {
    /// The cluster. The instance under attack is its first.
    pub(crate) cluster: Cluster,
    /// The well-behaved clients.
    crowd: Vec<Client>,
    memory_before: u64,
    descriptors_before: usize,
}

impl Besieged {
    /// Starts an instance with these settings, and waits until the whole crowd is counted.
    pub(crate) async fn start(settings: &[Setting<'_>]) -> Self {
        open_files::raise_limit();
        let cluster = Cluster::start_with(1, settings).await;
        Self::crowded(cluster, &MIX).await
    }

    /// Connects the crowd to an instance that runs already, with these transports in turn.
    pub(crate) async fn crowded(cluster: Cluster, mix: &[Transport]) -> Self {
        let address = cluster.instances[0].public;
        let mut transports = mix.iter().copied().cycle();
        let crowd = Vec::with_capacity(CROWD);
        let mut besieged = Self { cluster, crowd, memory_before: 0, descriptors_before: 0 };
        while besieged.crowd.len() < CROWD {
            let some = transports.by_ref().take(AT_A_TIME);
            besieged.crowd.extend(some.map(|transport| Client::open(address, transport)));
            besieged.agrees_on(besieged.crowd.len()).await;
        }
        besieged.memory_before = besieged.sample("process_resident_memory_bytes").await;
        besieged.descriptors_before = besieged.sample("process_open_fds").await;
        besieged
    }

    /// The address to attack.
    pub(crate) fn address(&self) -> SocketAddr {
        self.cluster.instances[0].public
    }

    /// Waits until the crowd, the instance and Redis all show this number. Returns how long that took.
    pub(crate) async fn agrees_on(&self, users: usize) -> Duration {
        let records = self.records();
        let what = format!("everybody says {users}");
        let ((), took) = eventually(&what, async || {
            nobody_is_cut(&records);
            self.cluster.all_say(users as u64, &records).await
        })
        .await;
        took
    }

    /// The records of the crowd.
    pub(crate) fn records(&self) -> Vec<Record> {
        records_of(&self.crowd)
    }

    /// One sample of the metrics, or zero if it is missing. The name is written as on the page, with its
    /// labels.
    pub(crate) async fn sample<T: FromStr + Default>(&self, name: &str) -> T {
        let page = self.metrics().await;
        let mut lines = page.lines().filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = lines.next().map(str::parse::<T>);
        value.map_or_else(T::default, |value| value.ok().expect("it is a whole number"))
    }

    async fn metrics(&self) -> String {
        let page = http::get(self.cluster.instances[0].admin, "/metrics").await;
        page.expect("the metrics are served").body
    }

    /// Waits until this number of sessions has ended for this reason since the start.
    pub(crate) async fn until_disconnected(&self, reason: &str, wanted: usize) {
        let name = format!("headcount_sessions_ended_total{{reason=\"{reason}\"}}");
        self.until(&name, wanted.try_into().expect("they are few")).await;
    }

    /// Waits until a sample has this value.
    pub(crate) async fn until(&self, name: &str, wanted: i64) {
        eventually(&format!("{name} is {wanted}"), async || {
            let value: i64 = self.sample(name).await;
            if value == wanted { Ok(()) } else { Err(value.to_string()) }
        })
        .await;
    }

    /// How many requests and connections were refused for this reason.
    pub(crate) async fn refused(&self, reason: &str) -> usize {
        self.sample(&format!("headcount_refused_total{{reason=\"{reason}\"}}")).await
    }

    /// How many sessions ended for this reason.
    pub(crate) async fn disconnected(&self, reason: &str) -> usize {
        self.sample(&format!("headcount_sessions_ended_total{{reason=\"{reason}\"}}")).await
    }

    /// How many connections were counted out of the site for this reason.
    pub(crate) async fn left(&self, reason: &str) -> usize {
        self.sample(&format!("headcount_disconnects_total{{reason=\"{reason}\"}}")).await
    }

    /// All reasons for which connections were counted out, as printed by the metrics.
    pub(crate) async fn all_disconnects(&self) -> String {
        let page = self.metrics().await;
        let lines = page.lines().filter(|line| line.starts_with("headcount_disconnects_total"));
        lines.collect::<Vec<_>>().join(", ")
    }

    /// How many connections were counted in since the start.
    pub(crate) async fn joined(&self) -> usize {
        let by_websocket = "headcount_connects_total{transport=\"websocket\"}";
        let by_polling = "headcount_connects_total{transport=\"polling\"}";
        self.sample::<usize>(by_websocket).await + self.sample::<usize>(by_polling).await
    }

    /// Asserts that the attack left no trace: the count is right everywhere, no well-behaved client was
    /// cut, and a newcomer is served. Descriptors and memory were released, and the log is short and
    /// contains no panic.
    pub(crate) async fn is_unharmed(&mut self) {
        self.agrees_on(CROWD).await;
        let newcomer = Client::open(self.address(), Transport::Websocket);
        let took = self.agrees_on(CROWD + 1).await;
        newcomer.leave().await;
        self.agrees_on(CROWD).await;
        self.until("headcount_drift_users", 0).await;
        self.until("headcount_drift_memberships", 0).await;

        let descriptors_max = self.descriptors_before + DESCRIPTORS_SLACK;
        eventually("descriptors come back", async || {
            let open: usize = self.sample("process_open_fds").await;
            if open <= descriptors_max { Ok(()) } else { Err(format!("{open} are open")) }
        })
        .await;
        let memory: u64 = self.sample("process_resident_memory_bytes").await;
        let grown = memory.saturating_sub(self.memory_before);
        assert!(grown <= MEMORY_GROWTH_MAX, "memory grew by {grown} bytes");
        let log = self.cluster.instances[0].process().stderr();
        assert!(!log.contains("panicked"), "{log}");
        assert!(log.len() <= LOG_BYTES_MAX, "{} bytes of log: {}...", log.len(), &log[..2000]);
        let kilobytes = grown / 1024;
        println!(
            "unharmed: a newcomer was seen by all after {took:?}; memory grew by {kilobytes} KiB; \
             {} bytes of log",
            log.len()
        );
    }
}

/// Panics if a client has lost its connection.
fn nobody_is_cut(records: &[Record]) {
    for record in records {
        let cut = record.times(Event::is_disconnected);
        assert_eq!(cut, 0, "{}: {:?}", record.name(), record.entries());
    }
}
