//! The composition root: binds the addresses, spawns all long-lived tasks, and ends them in order. Nothing else spawns a
//! long-lived task.
//!
//! If a long-lived task ends by itself, the whole instance ends: half an instance would look alive and show old numbers.

mod limits;
mod listening;
mod lists;
mod outside;
mod tasks;

pub mod shared_store;

use std::{fmt, net::SocketAddr, sync::Arc, time::SystemTime};

use anyhow::Context;
use axum::Router;
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tokio_util::sync::CancellationToken;

use crate::{
    access::{origin::cors, permits::Permits},
    broadcast::{broadcaster::Broadcaster, rooms::RoomBroadcaster},
    cluster::{reporter::ReporterSettings, tasks::ClusterTasks},
    config::serve::Config,
    core::{
        about::About,
        peaks::ShownPeaks,
        rooms::{Rooms, RoomsSettings},
        tally::{Local, Tally},
        view::View,
    },
    engine::{
        admission::Admission,
        flusher::Flusher,
        lifecycle::Engine,
        ping_wheel,
        session::{Membership, RoomMembership},
        settings::SessionSettings,
    },
    http::{
        endpoint,
        serve::HttpService,
        timeouts::{HEAD_TIMEOUT, Timeouts},
    },
    identity::sign_in::SignIn,
    memory::heap_trim,
    net::listener::{self, Listener},
    ops::{
        admin::{self, Admin},
        console::{
            board::Board,
            lookout::{Lookout, Sources},
        },
        drain::drain,
        notify::{ServiceManager, Subject},
        sign_in::Door,
    },
    store::Store,
    telemetry::{
        labels::RefusedReason,
        metrics::{Metrics, signed},
    },
    web::{self, site::Site, site_rooms::SiteRooms, user_pages::UserPages},
};
use limits::Limits;
use listening::{ADMIN_CONNECTIONS_MAX, ADMIN_TIMEOUTS, ADMIN_UNACKNOWLEDGED, Listening};
use tasks::Tasks;

/// An instance whose addresses are bound and whose tasks have not started.
#[derive(Debug)]
pub struct Server {
    config: Config,
    store: Arc<dyn Store>,
    metrics: Metrics,
    public: TcpListener,
    admin: TcpListener,
    limits: Limits,
    /// Verifies the tokens of clients.
    sign_in: SignIn,
    /// The name and version of this instance.
    about: watch::Sender<Arc<About>>,
}

/// The addresses on which an instance listens. Displayed, it is the start-up line that scripts read.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Page, API and Socket.IO.
    pub public: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    store: &'static str,
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { public, admin, store } = self;
        write!(f, "listening public={public} admin={admin} store={store}")
    }
}

impl Server {
    /// Prepares the store and binds both addresses. It does not connect to Redis.
    ///
    /// # Errors
    /// If an address cannot be bound or the file limit cannot be read.
    pub fn bind(config: Config) -> anyhow::Result<Self> {
        let limits = Limits::raise(&config)?;
        let store = shared_store::of(&config)?;
        let mut metrics = Metrics::new(store.kind()).context("failed to set up metrics")?;
        metrics.build_info.set_host(&config.instance_name);
        metrics.memory_limit_bytes.set(signed(limits.memory_bytes().unwrap_or_default()));
        let about = About::new(config.instance_name.clone(), SystemTime::now());
        let about = watch::Sender::new(Arc::new(about));
        metrics.connections_max.set(i64::try_from(limits.sessions).unwrap_or(i64::MAX));
        let public = bind(config.listen)?;
        let admin = bind(config.admin_listen)?;
        let sign_in = SignIn::new(config.sign_in.clone());
        Ok(Self { config, store, metrics, public, admin, limits, sign_in, about })
    }

    /// The addresses on which the instance listens. A port that was set to 0 is the one that the system chose.
    ///
    /// # Errors
    /// If the system cannot name the address of a socket.
    pub fn addresses(&self) -> anyhow::Result<Addresses> {
        let store = self.store.kind();
        Ok(Addresses { public: self.public.local_addr()?, admin: self.admin.local_addr()?, store })
    }

    /// The metrics of the instance. The process may count in them too.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Serves until `stop`. Then it drains and sends the farewell.
    ///
    /// # Errors
    /// If a long-lived task ends by itself.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        self.tell();
        self.limits.tell(&self.config);
        let rooms = Rooms::with_settings(self.rooms_settings());
        let tally = Tally::with_users(Arc::<Rooms<_>>::clone(&rooms));
        let flusher = Flusher::default();
        let admission =
            Admission::new(self.limits.sessions, self.config.origins.clone(), self.metrics.clone());
        let engine = Engine::new(
            self.session_settings(),
            admission,
            Arc::clone(&tally),
            Arc::clone(&rooms),
            self.metrics.clone(),
            flusher.clone(),
        );
        let mut tasks = Tasks::default();
        let (serving, view, peaks) = self.spawn_ring(&mut tasks, &tally, &rooms, flusher.clone());
        self.spawn_lists(&mut tasks, &engine, &rooms, &view, flusher, &serving);
        tasks.spawn("pings", ping_wheel::run(Arc::clone(&engine), serving.clone()));
        self.spawn_sign_in(&mut tasks, &engine, &serving);
        tasks.spawn("checks", Arc::clone(&engine).run_checks(serving.clone()));
        let permits = Arc::clone(engine.admission().permits());
        tasks.spawn("memory", give_memory_back(permits, serving.clone()));
        let told = Arc::clone(&engine);
        let sessions = outside::tell(self.about.clone(), move || told.outside(), serving.clone());
        tasks.spawn("sessions", sessions);
        if let Some(manager) = ServiceManager::connect(&self.config.service_manager) {
            let drain = self.config.drain_delay + self.config.drain;
            let subject = Subject { view: view.clone(), tally: Arc::clone(&tally), drain };
            let told = manager.run(subject, stop.clone(), serving.clone());
            tasks.spawn("service manager", told);
        }
        let listening = CancellationToken::new();
        let rooms = SiteRooms::new(self.config.rooms.clone(), rooms);
        let site =
            self.site(view.clone(), tally.subscribe(), rooms, peaks.clone(), engine.admission());
        let public = web::router(site)
            .merge(endpoint::router(Arc::clone(&engine)))
            .layer(cors(self.config.origins.clone()));
        let admin = self.admin((view, peaks), &engine, &mut tasks, &serving);
        let about = self.about.clone();
        let (drain_delay, drain_window) = (self.config.drain_delay, self.config.drain);
        self.spawn_listeners(&mut tasks, public, Arc::clone(&engine), admin, &listening);

        tokio::select! {
            () = stop.cancelled() => {}
            ended = tasks.first_to_end() => return Err(ended),
        }
        about.send_modify(|about| Arc::make_mut(about).draining = true);
        tokio::select! {
            () = drain(&engine, &tally, drain_delay, drain_window) => {}
            ended = tasks.first_to_end() => return Err(ended),
        }
        serving.cancel();
        listening.cancel();
        tasks.all_to_end().await
    }

    /// Spawns the tasks that fetch keys of tokens, and the one behind clients that wait for them.
    fn spawn_sign_in(&self, tasks: &mut Tasks, engine: &Arc<Engine>, stop: &CancellationToken) {
        for keys in self.sign_in.tasks(&self.metrics.tokens, stop) {
            tasks.spawn("keys of an issuer", keys);
        }
        tasks.spawn("key waits", Arc::clone(engine).run_key_waits(stop.clone()));
    }

    /// Says in the log which instance this is, by the names that operators meet elsewhere.
    fn tell(&self) {
        let (config, about) = (&self.config, self.about.borrow());
        tracing::info!(
            host = about.host,
            incarnation = %config.incarnation,
            version = about.version,
            store = self.store.kind(),
            has_admin_token = self.config.admin_token.is_some(),
            "instance starts"
        );
        config.sign_in.tell();
    }

    fn spawn_listeners(
        self,
        tasks: &mut Tasks,
        public: Router,
        engine: Arc<Engine>,
        admin: Router,
        listening: &CancellationToken,
    ) {
        let timeouts = Timeouts { head: HEAD_TIMEOUT, keep_alive: self.config.keep_alive };
        let listeners = [
            Listening {
                name: "public listener",
                refused_as: RefusedReason::Descriptors,
                listener: self.public,
                service: HttpService { router: public, engine: Some(engine), timeouts },
                unacknowledged_for: self.config.ping_timeout,
                connections_max: self.limits.connections,
            },
            Listening {
                name: "admin listener",
                refused_as: RefusedReason::Admin,
                listener: self.admin,
                service: HttpService { router: admin, engine: None, timeouts: ADMIN_TIMEOUTS },
                unacknowledged_for: ADMIN_UNACKNOWLEDGED,
                connections_max: ADMIN_CONNECTIONS_MAX,
            },
        ];
        for listening_on in listeners {
            let Listening { name, refused_as, listener, service, .. } = listening_on;
            let permits = listening_on.connections_max.min(Semaphore::MAX_PERMITS);
            let listener = Listener {
                listener,
                serve: service,
                unacknowledged_for: listening_on.unacknowledged_for,
                permits: Arc::new(Semaphore::new(permits)),
                unserved: self.metrics.refused(refused_as),
            };
            tasks.spawn(name, listener.run(listening.clone()));
        }
    }

    /// Spawns the tasks of the ring: tally → reporter → store → subscriber → view → broadcaster; and tally → observer → view;
    /// and view → peaks.
    fn spawn_ring(
        &self,
        tasks: &mut Tasks,
        tally: &Arc<Tally<Membership>>,
        rooms: &Arc<Rooms<RoomMembership>>,
        flusher: Flusher,
    ) -> (CancellationToken, watch::Receiver<View>, watch::Receiver<ShownPeaks>) {
        let config = &self.config;
        let stop = CancellationToken::new();
        let settings = ReporterSettings {
            incarnation: config.incarnation,
            lease: config.lease,
            heartbeat: config.heartbeat,
            about: self.about.subscribe(),
        };
        let ledger = Arc::<Rooms<_>>::clone(rooms);
        let ClusterTasks { view, reporter, subscriber, observer, peaks } =
            ClusterTasks::new(&settings, &self.store, ledger, tally.subscribe(), &self.metrics);
        let shown_peaks = peaks.subscribe();
        let broadcaster = Broadcaster::new(
            Arc::clone(tally),
            view.subscribe(),
            flusher.clone(),
            self.metrics.clone(),
            config.emit_interval,
        );
        let room_broadcaster = RoomBroadcaster::new(
            Arc::clone(rooms),
            view.subscribe(),
            flusher.clone(),
            self.metrics.clone(),
            config.emit_interval,
        );
        tasks.spawn("observer", observer.run(stop.clone()));
        tasks.spawn("peaks", peaks.run(stop.clone()));
        tasks.spawn("flusher", flusher.run(stop.clone()));
        tasks.spawn("reporter", reporter.run(stop.clone()));
        tasks.spawn("announcements", subscriber.run(stop.clone()));
        tasks.spawn("broadcaster", broadcaster.run(stop.clone()));
        tasks.spawn("broadcaster of rooms", room_broadcaster.run(stop.clone()));
        (stop, view.subscribe(), shown_peaks)
    }

    fn site(
        &self,
        view: watch::Receiver<View>,
        local: watch::Receiver<Local>,
        rooms: SiteRooms,
        peaks: watch::Receiver<ShownPeaks>,
        admission: &Admission,
    ) -> Site {
        Site {
            view,
            local,
            rooms,
            users: UserPages::new(Arc::clone(&self.store)),
            peaks,
            sign_in: self.sign_in.clone(),
            origins: self.config.origins.clone(),
            refusal_log: admission.refusal_log(),
            metrics: self.metrics.clone(),
            permits: Arc::new(Semaphore::new(self.limits.streams)),
            pace: self.config.emit_interval,
            closing: admission.closing(),
            host: self.config.instance_name.as_str().into(),
        }
    }

    /// The routes of the admin listener, and the task behind its console.
    fn admin(
        &self,
        (view, peaks): (watch::Receiver<View>, watch::Receiver<ShownPeaks>),
        engine: &Arc<Engine>,
        tasks: &mut Tasks,
        stop: &CancellationToken,
    ) -> Router {
        let token = self.config.admin_token.clone();
        let board = Board::new(token.is_some());
        let sources = Sources {
            view: view.clone(),
            about: self.about.subscribe(),
            engine: Arc::clone(engine),
            metrics: self.metrics.clone(),
            peaks,
            sign_in: self.sign_in.clone(),
            store: Arc::clone(&self.store),
            memory_max: self.limits.memory_bytes(),
        };
        let lookout = Lookout::new(sources, Arc::clone(&board));
        tasks.spawn("console", lookout.run(stop.clone()));
        let searches = Arc::clone(&board).search_rooms(Arc::clone(&self.store), stop.clone());
        tasks.spawn("console's rooms", searches);
        let admin = Admin {
            view,
            engine: Arc::clone(engine),
            metrics: self.metrics.clone(),
            sign_in: self.sign_in.clone(),
            about: self.about.subscribe(),
        };
        let own = self.config.instance_name.clone();
        let door = Door::new(token, self.config.admin_hosts.clone(), own);
        admin::router(admin, Arc::new(door), &board)
    }

    fn rooms_settings(&self) -> RoomsSettings {
        RoomsSettings {
            rooms_max: self.limits.rooms,
            grace: self.config.grace,
            lingering_max: self.limits.sessions,
            ..RoomsSettings::default()
        }
    }

    fn session_settings(&self) -> SessionSettings {
        SessionSettings {
            ping_interval: self.config.ping_interval,
            ping_timeout: self.config.ping_timeout,
            payload_bytes_max: self.config.payload_bytes_max,
            transports: self.config.transports,
            rooms: self.config.rooms.clone(),
            sign_in: self.sign_in.clone(),
            visitors: self.config.visitors.clone(),
        }
    }
}

async fn give_memory_back(permits: Arc<Permits>, stop: CancellationToken) {
    heap_trim::give_back(permits.high_water(), || permits.taken(), stop).await;
}

fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    listener::bind(address).with_context(|| format!("failed to listen on {address}"))
}
