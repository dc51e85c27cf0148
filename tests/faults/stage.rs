//! The stage for one fault: a Redis, instances that reach it through a proxy each, people who stay and people
//! who come and go.
//!
//! It knows no faults: rows act on it. What happens on it is written down for the checker.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use headcount_testkit::{
    balancer::Balancer,
    client::Transport,
    instance::{Instance, Setting, Shown},
    record::Record,
    redis_client::RedisClient,
    redis_server::RedisServer,
    sentinel_set::SentinelSet,
    waiting::eventually,
};
use rustix::process::Signal;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    canary::Canary,
    checker::Histories,
    history::{Guest, Place, Showing, Visits, Watcher},
    patched::{self, Patch},
    proxy::{Mode, Proxy},
};

/// What a stage is made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Further arguments of redis-server.
    pub(crate) redis: &'static [&'static str],
    /// Settings of all instances.
    pub(crate) settings: &'static [Setting<'static>],
    /// Whether Redis has replicas, and sentinels that choose the primary.
    pub(crate) sentinels: bool,
    /// What is changed in the program itself, if anything.
    pub(crate) patch: Option<Patch>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The instances, living and dead.
    pub(crate) seats: Vec<Seat>,
    /// People who stay, whatever happens.
    pub(crate) crowd: Vec<Guest>,
    /// Everybody who ever came.
    pub(crate) visits: Visits,
    /// Another program on the same Redis.
    pub(crate) redis_client: RedisClient,
    store: Store,
    setup: Setup,
    balancer: Option<Balancer>,
    canary: Canary,
    churn: Option<Churn>,
    /// Where the people who come and go may go to.
    open: Arc<Mutex<Vec<(Place, SocketAddr)>>>,
    began: Option<Instant>,
}

/// What the instances report to.
#[derive(Debug)]
enum Store {
    Alone(RedisServer),
    /// Instances find the primary themselves: there is no proxy between.
    Set(Box<SentinelSet>),
}

/// A place for an instance, and what it showed.
#[derive(Debug)]
pub(crate) struct Seat {
    /// What stands between it and Redis.
    pub(crate) proxy: Proxy,
    /// `None` when it is dead.
    pub(crate) instance: Option<Instance>,
    watcher: Watcher,
}

/// Instances at the beginning.
pub(crate) const INSTANCES: usize = 3;
/// People who stay, for each instance: two by each transport.
pub(crate) const CROWD: usize = 6;
/// People who come and go, at any time.
const CHURNERS: usize = 4;
/// Between two looks whether all are right: short against every bound.
const LOOK_GAP: Duration = Duration::from_millis(5);

impl Stage {
    /// Everything running, everybody there and all agreed.
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
        };
        for _ in 0..INSTANCES {
            let place = stage.add_instance().await;
            stage.fill(place);
        }
        stage
    }

    /// One more instance, ready.
    pub(crate) async fn add_instance(&mut self) -> Place {
        let redis = SocketAddr::from((Ipv4Addr::LOCALHOST, self.store.first_server().port()));
        let proxy = Proxy::start(redis).await;
        let url = match &self.store {
            Store::Alone(_) => proxy.url(),
            Store::Set(set) => set.url(),
        };
        let patch = self.setup.patch.as_ref().map(Patch::settings);
        let mut settings = vec![("HEADCOUNT_REDIS_URL", url.as_str())];
        settings.extend(self.setup.settings);
        settings.extend(patch.iter().flatten().map(|(name, value)| (*name, value.as_str())));
        let instance = match patch {
            Some(_) => Instance::start_program(&patched::program(), &settings).await,
            None => Instance::start(&settings).await,
        };
        instance.ready().await;
        let place = self.seats.len();
        self.open().push((place, instance.public));
        let watcher = Watcher::start(instance.public);
        self.seats.push(Seat { proxy, instance: Some(instance), watcher });
        place
    }

    /// The only Redis.
    pub(crate) fn redis(&mut self) -> &mut RedisServer {
        match &mut self.store {
            Store::Alone(redis) => redis,
            Store::Set(_) => panic!("there are several"),
        }
    }

    /// The Redis with replicas and sentinels.
    pub(crate) fn set(&mut self) -> &mut SentinelSet {
        match &mut self.store {
            Store::Set(set) => set,
            Store::Alone(_) => panic!("there is only one"),
        }
    }

    /// The people who stay come to this instance.
    pub(crate) fn fill(&mut self, place: Place) {
        let server = self.instance(place).public;
        for number in 0..CROWD {
            let transport = Transport::ALL[number % Transport::ALL.len()];
            let guest = self.visits.open(place, server, transport);
            self.crowd.push(guest);
        }
    }

    /// The living instance at this place.
    pub(crate) fn instance(&mut self, place: Place) -> &mut Instance {
        self.seats[place].instance.as_mut().expect("it lives")
    }

    /// kill -9.
    pub(crate) async fn kill(&mut self, place: Place) {
        self.close(place);
        self.instance(place).process().signal(Signal::KILL);
        self.instance(place).process().ended().await;
        self.seats[place].instance = None;
    }

    /// SIGTERM, and wait until it has ended.
    pub(crate) async fn end(&mut self, place: Place) {
        self.close(place);
        self.instance(place).process().signal(Signal::TERM);
        let (status, _) = self.instance(place).process().ended().await;
        assert!(status.success(), "{status}");
        self.seats[place].instance = None;
    }

    /// Nobody new comes to this instance.
    pub(crate) fn close(&self, place: Place) {
        self.open().retain(|&(open, _)| open != place);
    }

    /// The fault begins now.
    pub(crate) fn begin(&mut self) {
        self.began = Some(Instant::now());
    }

    /// Every proxy does this from now on.
    pub(crate) fn set_all(&self, mode: Mode) {
        for seat in &self.seats {
            seat.proxy.set(mode);
        }
    }

    /// Keeps a balancer until the end.
    pub(crate) fn keep(&mut self, balancer: Balancer) {
        self.balancer = Some(balancer);
    }

    /// When the fault began.
    pub(crate) fn began(&self) -> Instant {
        self.began.expect("a row says when its fault begins")
    }

    /// From now on people come and go.
    pub(crate) fn start_churn(&mut self) {
        let churn = Churn::start(&self.visits, &self.open);
        self.churn = Some(churn);
    }

    /// Waits until those who come and go have gone.
    pub(crate) async fn stop_churn(&mut self) {
        if let Some(churn) = self.churn.take() {
            churn.stop().await;
        }
    }

    /// Waits until people have come and gone so often.
    pub(crate) async fn visits_pass(&self, number: usize) {
        let before = self.visits.all().len();
        eventually("people come and go", async || match self.visits.all().len() - before {
            passed if passed >= number => Ok(()),
            passed => Err(format!("{passed} of {number}")),
        })
        .await;
    }

    /// How many people are there, once nobody comes and goes.
    pub(crate) fn present(&self) -> u64 {
        let visits = self.visits.all();
        let here =
            |visit: &&crate::history::Visit| visit.leaving.is_none() && visit.record.is_connected();
        visits.iter().filter(here).count() as u64
    }

    /// Waits until everybody says how many people are there, and says how long after `since` that was. The
    /// error says who is still wrong after `patience`.
    pub(crate) async fn right_after(
        &self,
        since: Instant,
        patience: Duration,
    ) -> Result<Duration, String> {
        loop {
            match self.all_say_the_truth().await {
                Ok(()) => return Ok(since.elapsed()),
                Err(wrong) if since.elapsed() > patience => return Err(wrong),
                Err(_) => sleep(LOOK_GAP).await,
            }
        }
    }

    /// Whether every client, instance, the public key and its parts are right at this moment.
    pub(crate) async fn all_say_the_truth(&self) -> Result<(), String> {
        let users = self.present();
        let records: Vec<Record> = self
            .visits
            .all()
            .into_iter()
            .filter(|visit| visit.leaving.is_none() && visit.record.is_connected())
            .map(|visit| visit.record)
            .collect();
        headcount_testkit::cluster::clients_say(users, &records)?;
        for instance in self.seats.iter().filter_map(|seat| seat.instance.as_ref()) {
            let shown = instance.shown().await?;
            if shown != (Shown { count: users, exact: true }) {
                return Err(format!("{users} are there, {} shows {shown:?}", instance.public));
            }
        }
        let parts = self.redis_client.instances().await?;
        let sum: u64 = parts.values().sum();
        let public = self.redis_client.users().await?;
        if (sum, public) == (users, users) {
            return Ok(());
        }
        Err(format!("{users} are there, the public key holds {public}, its parts are {parts:?}"))
    }

    /// What the machine may have added so far to any time that news take.
    pub(crate) fn lateness(&self) -> Duration {
        self.canary.allowance()
    }

    /// Everything that was written down so far.
    pub(crate) fn histories(&self) -> Histories {
        let streams: Vec<Vec<Showing>> =
            self.seats.iter().map(|seat| seat.watcher.showings()).collect();
        let (visits, lateness) = (self.visits.all(), self.lateness());
        Histories { visits, streams, lateness, end: Instant::now() }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<(Place, SocketAddr)>> {
        self.open.lock().expect("nothing panics while it holds this lock")
    }
}

impl Store {
    /// The primary, before anything happens.
    fn first_server(&self) -> &RedisServer {
        match self {
            Self::Alone(redis) => redis,
            Self::Set(set) => set.server(0),
        }
    }
}

/// People who come, stay for a moment and go.
#[derive(Debug)]
struct Churn {
    stop: watch::Sender<bool>,
    people: JoinSet<()>,
}

impl Churn {
    fn start(visits: &Visits, open: &Arc<Mutex<Vec<(Place, SocketAddr)>>>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut people = JoinSet::new();
        for number in 0..CHURNERS {
            let (visits, open, stopped) = (visits.clone(), Arc::clone(open), stopped.clone());
            people.spawn(async move {
                for visit in (number..).step_by(CHURNERS) {
                    if *stopped.borrow() {
                        return;
                    }
                    come_and_go(visit, &visits, &open, stopped.clone()).await;
                }
            });
        }
        Self { stop, people }
    }

    async fn stop(mut self) {
        self.stop.send_replace(true);
        while let Some(end) = self.people.join_next().await {
            end.expect("a visit does not panic");
        }
    }
}

/// The number decides where, how and how long: spread well enough, and the same in each run.
async fn come_and_go(
    number: usize,
    visits: &Visits,
    open: &Mutex<Vec<(Place, SocketAddr)>>,
    mut stopped: watch::Receiver<bool>,
) {
    let stay = Duration::from_millis(20 + (number * 37 % 280) as u64);
    let place = {
        let open = open.lock().expect("nothing panics while it holds this lock");
        (!open.is_empty()).then(|| open[number * 7 % open.len()])
    };
    let transport = Transport::ALL[number % Transport::ALL.len()];
    let guest = place.map(|(place, server)| visits.open(place, server, transport));
    // Fails when the churn is dropped, which is the end as well.
    drop(timeout(stay, stopped.wait_for(|stopped| *stopped)).await);
    if let Some(guest) = guest {
        guest.leave().await;
    }
}
