//! The stage for one fault: a Redis, instances with one proxy each, clients that stay, and clients that join
//! and leave. The clients are also in rooms.
//!
//! It contains no faults: the rows act on it. Everything that happens is recorded for the checker.

mod agreement;
mod churn;
pub(crate) mod people;
mod rooms;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use headcount_testkit::{
    balancer::Balancer,
    client::Transport,
    instance::{Instance, Setting},
    redis_client::RedisClient,
    redis_server::RedisServer,
    sentinel_set::SentinelSet,
    waiting::{PATIENCE, eventually},
};
use rustix::process::Signal;
use tokio::task::block_in_place;

use crate::{
    canary::Canary,
    checker::Histories,
    history::{Guest, Membership, PersonKey, Place, Showing, Visits, Watcher, Way},
    patched::{self, Patch},
    proxy::{Mode, Proxy},
};
use churn::Churn;
pub(crate) use rooms::{ALONE, EVERYWHERE, PASSING};

/// The parts of a stage.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Further arguments of redis-server.
    pub(crate) redis: &'static [&'static str],
    /// Settings of all instances.
    pub(crate) settings: &'static [Setting<'static>],
    /// How long a person stays on an instance that he has left, if it is another time than [`GRACE`].
    pub(crate) grace: Option<Duration>,
    /// Whether Redis has replicas, and sentinels that choose the primary.
    pub(crate) sentinels: bool,
    /// What is changed in the program, if anything.
    pub(crate) patch: Option<Patch>,
}

/// A running cluster on which a row makes its fault.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The places of all instances, living and dead.
    pub(crate) seats: Vec<Seat>,
    /// Clients that stay during the whole run.
    pub(crate) crowd: Vec<Guest>,
    /// All visits so far.
    pub(crate) visits: Visits,
    /// A client of the same Redis, for what other programs do.
    pub(crate) redis_client: RedisClient,
    store: Store,
    setup: Setup,
    balancer: Option<Balancer>,
    canary: Canary,
    churn: Option<Churn>,
    /// The instances to which new clients may connect.
    open: Arc<Mutex<Vec<(Place, SocketAddr)>>>,
    began: Option<Instant>,
    /// When the last of its parts was ready. What was told before is not judged.
    ready: Option<Instant>,
}

/// The store of the instances.
#[derive(Debug)]
enum Store {
    Alone(RedisServer),
    /// Instances find the primary themselves, so no proxy is between.
    Set(Box<SentinelSet>),
}

/// The place of an instance, and what it showed.
#[derive(Debug)]
pub(crate) struct Seat {
    /// The proxy between the instance and Redis.
    pub(crate) proxy: Proxy,
    /// The instance, or `None` when it is dead.
    pub(crate) instance: Option<Instance>,
    watcher: Watcher,
    rooms_watcher: Watcher,
}

/// Instances at the start.
pub(crate) const INSTANCES: usize = 3;
/// Clients that stay, for each instance: two of each transport.
pub(crate) const CROWD: usize = 6;
/// How long a person stays on an instance that he has left. It is short, since every bound becomes longer by it.
pub(crate) const GRACE: Duration = Duration::from_millis(300);

impl Stage {
    /// Starts everything, and waits until all clients are counted and all agree.
    pub(crate) async fn start(setup: Setup) -> Self {
        let store = if setup.sentinels {
            Store::Set(Box::new(SentinelSet::start()))
        } else {
            Store::Alone(RedisServer::start(setup.redis))
        };
        let mut stage = Self {
            seats: Vec::new(),
            crowd: Vec::new(),
            visits: Visits::default(),
            redis_client: RedisClient::new(&store.first_server().url()),
            store,
            setup,
            balancer: None,
            canary: Canary::start(),
            churn: None,
            open: Arc::default(),
            began: None,
            ready: None,
        };
        for _ in 0..INSTANCES {
            let place = stage.add_instance().await;
            stage.fill(place);
        }
        stage
    }

    /// Adds one instance, and waits until it is ready.
    pub(crate) async fn add_instance(&mut self) -> Place {
        let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, self.store.first_server().port()));
        let proxy = Proxy::start(redis).await;
        let url = match &self.store {
            Store::Alone(_) => proxy.url(),
            Store::Set(set) => set.url(),
        };
        let patch = self.setup.patch.as_ref().map(Patch::settings);
        let grace = format!("{}ms", self.setup.grace().as_millis());
        let mut settings =
            vec![("HEADCOUNT_REDIS_URL", url.as_str()), ("HEADCOUNT_GRACE", grace.as_str())];
        settings.extend(self.setup.settings);
        settings.extend(patch.iter().flatten().map(|(name, value)| (*name, value.as_str())));
        let instance = match patch {
            Some(_) => Instance::start_program(&patched::program(), &settings).await,
            None => Instance::start(&settings).await,
        };
        instance.ready().await;
        let place = self.seats.len();
        self.entrances().push((place, instance.public));
        let watcher = Watcher::start(instance.public, &[]);
        let rooms_watcher = Watcher::start(instance.public, &rooms::shown());
        self.seats.push(Seat { proxy, instance: Some(instance), watcher, rooms_watcher });
        place
    }

    /// The single Redis of a stage without sentinels.
    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        match &mut self.store {
            Store::Alone(redis) => redis,
            Store::Set(_) => panic!("there are several"),
        }
    }

    /// A client of the Redis that the instances report to now. Sentinels may change their choice: two of them can promote a
    /// replica each, one after the other.
    fn present_store(&self) -> Result<RedisClient, String> {
        match &self.store {
            Store::Alone(_) => Ok(self.redis_client.clone()),
            Store::Set(set) => {
                let place = block_in_place(|| set.primary())?;
                Ok(RedisClient::new(&set.server(place).url()))
            }
        }
    }

    /// The servers and sentinels of a stage that has replicas.
    pub(crate) fn set(&mut self) -> &mut SentinelSet {
        match &mut self.store {
            Store::Set(set) => set,
            Store::Alone(_) => panic!("there is only one"),
        }
    }

    /// Connects the clients that stay to this instance.
    pub(crate) fn fill(&mut self, place: Place) {
        for number in 0..CROWD {
            let transport = Transport::ALL[number % Transport::ALL.len()];
            let (person, rooms) = (people::of_crowd(place, number), rooms::of_crowd(place, number));
            let guest = self.open_as(person.as_ref(), place, transport, &rooms);
            self.crowd.push(guest);
        }
    }

    /// Connects a client to this instance, and to these rooms.
    pub(crate) fn open(
        &mut self,
        place: Place,
        transport: Transport,
        rooms: &[Membership],
    ) -> Guest {
        self.open_as(None, place, transport, rooms)
    }

    /// The same for a client of this person.
    pub(crate) fn open_as(
        &mut self,
        person: Option<&PersonKey>,
        place: Place,
        transport: Transport,
        rooms: &[Membership],
    ) -> Guest {
        let server = self.instance(place).public;
        self.visits.open(Way::To(place), server, transport, person, rooms)
    }

    /// Connects clients of all transports that reconnect through this balancer whenever they lose the connection.
    pub(crate) fn fill_through(&mut self, balancer: &Balancer, clients: usize) {
        for number in 0..clients {
            let transport = Transport::ALL[number % Transport::ALL.len()];
            let (person, rooms) = (people::of_faithful(number), rooms::of_faithful());
            let (way, server) = (Way::Balanced, balancer.address);
            let guest = self.visits.open(way, server, transport, person.as_ref(), &rooms);
            self.crowd.push(guest);
        }
    }

    /// The living instance at this place.
    pub(crate) fn instance(&mut self, place: Place) -> &mut Instance {
        self.seats[place].instance.as_mut().expect("it lives")
    }

    /// Kills the instance with kill -9, and waits until its clients have noticed. Before, they would be taken for users who are
    /// there, and all counts for right until its lease ends.
    pub(crate) async fn kill(&mut self, place: Place) {
        self.close(place);
        self.instance(place).process().signal(Signal::KILL);
        self.instance(place).process().ended().await;
        self.seats[place].instance = None;
        self.nobody_is_at(place).await;
    }

    /// Ends the instance with SIGTERM, and waits until it has ended.
    pub(crate) async fn end(&mut self, place: Place) {
        self.close(place);
        self.instance(place).process().signal(Signal::TERM);
        let (status, _) = self.instance(place).process().ended().await;
        assert!(status.success(), "{status}");
        self.seats[place].instance = None;
        self.nobody_is_at(place).await;
    }

    /// Waits until no client is connected to the instance at this place, as far as the clients know.
    async fn nobody_is_at(&self, place: Place) {
        eventually("its clients notice its end", async || {
            let visits = self.visits.all();
            let mut left = visits.iter().filter(|it| it.place == Some(place) && it.is_here());
            left.next().map_or(Ok(()), |visit| Err(visit.record.name().to_owned()))
        })
        .await;
    }

    /// From now on no new client connects to this instance.
    pub(crate) fn close(&self, place: Place) {
        self.entrances().retain(|&(open, _)| open != place);
    }

    /// Waits until all counts are right, while nobody joins or leaves. Counts that were told before are not judged: a
    /// thousand clients at once make a machine slow.
    pub(crate) async fn ready(&mut self) {
        eventually("all are connected", async || {
            let away = self.crowd.iter().find(|guest| !guest.record().is_connected());
            away.map_or(Ok(()), |guest| Err(format!("{:?}", guest.record().entries())))
        })
        .await;
        self.right_after(Instant::now(), PATIENCE).await.expect("all agree");
        self.ready = Some(Instant::now());
    }

    /// Records that the fault begins now.
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Sets the mode of every proxy.
    pub(crate) fn set_all(&self, mode: Mode) {
        for seat in &self.seats {
            seat.proxy.set(mode);
        }
    }

    /// Keeps a balancer until the end of the stage.
    pub(crate) fn keep(&mut self, balancer: Balancer) {
        self.balancer = Some(balancer);
    }

    /// When the fault began.
    pub(crate) fn began(&self) -> Instant {
        self.began.expect("a row says when its fault begins")
    }

    /// From now on clients join and leave.
    pub(crate) fn start_churn(&mut self) {
        let churn = Churn::start(&self.visits, &self.open);
        self.churn = Some(churn);
    }

    /// Stops the joining and leaving, and waits until those clients have left.
    pub(crate) async fn stop_churn(&mut self) {
        if let Some(churn) = self.churn.take() {
            churn.stop().await;
        }
    }

    /// Waits until this number of visits has begun and ended.
    pub(crate) async fn visits_pass(&self, number: usize) {
        let before = self.visits.all().len();
        eventually("people come and go", async || match self.visits.all().len() - before {
            passed if passed >= number => Ok(()),
            passed => Err(format!("{passed} of {number}")),
        })
        .await;
    }

    /// What the machine may have added so far to the time in which a change reaches all.
    pub(crate) fn lateness(&self) -> Duration {
        self.canary.allowance()
    }

    /// Everything that was recorded so far.
    pub(crate) fn histories(&self) -> Histories {
        let all = |watcher: fn(&Seat) -> &Watcher| -> Vec<Vec<Showing>> {
            self.seats.iter().map(|seat| watcher(seat).showings()).collect()
        };
        let streams = all(|seat| &seat.watcher);
        let room_streams = all(|seat| &seat.rooms_watcher);
        let (visits, lateness) = (self.visits.all(), self.lateness());
        let (ready, grace, end) = (self.ready, self.setup.grace(), Instant::now());
        Histories { visits, streams, room_streams, ready, lateness, grace, end }
    }

    fn entrances(&self) -> std::sync::MutexGuard<'_, Vec<(Place, SocketAddr)>> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }
}

impl Setup {
    /// How long a person stays on an instance that he has left.
    pub(crate) fn grace(&self) -> Duration {
        self.grace.unwrap_or(GRACE)
    }
}

impl Store {
    /// The primary at the start.
    fn first_server(&self) -> &RedisServer {
        match self {
            Self::Alone(redis) => redis,
            Self::Set(set) => set.server(0),
        }
    }
}
