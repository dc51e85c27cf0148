//! One emission to a thousand sockets, for counting instructions: `scripts/test instructions` runs it under
//! callgrind, which counts those in [`measured`] alone.
//!
//! The sockets are real ones on the loopback, because the writing of frames is what is counted; the kernel's
//! part is not. Everything runs in one thread. During the count no client reads, and the clock is paused
//! until nothing is left to do, so that two runs count the same.

use std::{
    io::{ErrorKind, Read},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use headcount::{
    access::{origin::Origins, rooms::RoomRules},
    broadcast::broadcaster::Broadcaster,
    core::{
        count::{Count, Incarnation, Revision, Sequence},
        report::{LEASE_MAX, Reply},
        rooms::Rooms,
        site_users::SiteUsers,
        tally::Tally,
        view::{SentReport, View},
    },
    engine::{
        admission::Admission, flusher::Flusher, lifecycle::Engine, session::Membership,
        settings::SessionSettings,
    },
    http::{endpoint, serve::HttpService, timeouts::Timeouts},
    identity::sign_in::SignIn,
    net::listener::{self, Listener},
    protocol::transport::Transports,
    telemetry::{labels::RefusedReason, metrics::Metrics},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::{Builder, Runtime},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

const SOCKETS: u64 = 1000;
const EMISSIONS: u64 = 10;
const PAYLOAD_BYTES_MAX: usize = 16 * 1024;
/// Longer than the whole run, so that no ping is counted by chance.
const PING: Duration = Duration::from_mins(10);
/// The time between two emissions.
const INTERVAL: Duration = Duration::from_millis(50);
const HANDSHAKE: &[u8] =
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\n\
Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
Sec-WebSocket-Key: aGVhZGNvdW50LWJlbmNoIQ==\r\n\r\n";
/// `40`, masked with zeros.
const JOIN: &[u8] = b"\x81\x82\0\0\0\x0040";

fn main() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut tasks = JoinSet::new();
    let (stage, mut clients) = runtime.block_on(async {
        let stage = Stage::set_up(&mut tasks);
        let clients = stage.let_in().await;
        tokio::time::pause();
        (stage, clients)
    });
    measured(&runtime, &stage);
    for client in &mut clients {
        assert_eq!(told(client), (1..=EMISSIONS).collect::<Vec<_>>(), "each emission arrived once");
    }
}

/// The part that is counted: from the change of the view to the last frame handed to the kernel.
#[inline(never)]
fn measured(runtime: &Runtime, stage: &Stage) {
    runtime.block_on(async {
        for number in 1..=EMISSIONS {
            stage.show(number);
            // The clock is paused: this ends when no task has anything left to do.
            sleep(INTERVAL * 2).await;
        }
    });
}

/// A server without reporter and store. The view is set by this program.
struct Stage {
    tally: Arc<Tally<Membership>>,
    view: watch::Sender<View>,
    address: SocketAddr,
}

impl Stage {
    fn set_up(tasks: &mut JoinSet<()>) -> Self {
        let tally = Tally::new();
        let view = watch::Sender::new(View::default());
        let metrics = Metrics::new("none").expect("metrics");
        let permits = usize::try_from(SOCKETS).expect("a small number") + 1;
        let settings = SessionSettings {
            ping_interval: PING,
            ping_timeout: PING,
            payload_bytes_max: PAYLOAD_BYTES_MAX,
            transports: Transports::Both,
            rooms: RoomRules::default(),
            sign_in: SignIn::default(),
            visitors: None,
        };
        let admission = Admission::new(permits, Origins::default(), metrics.clone());
        let (tallied, flusher) = (Arc::clone(&tally), Flusher::default());
        let rooms = Rooms::new(1);
        let engine =
            Engine::new(settings, admission, tallied, rooms, metrics.clone(), flusher.clone());
        let bound = listener::bind(([127, 0, 0, 1], 0).into()).expect("a free port");
        let address = bound.local_addr().expect("it is bound");
        let router = endpoint::router(Arc::clone(&engine));
        let timeouts = Timeouts { head: PING, keep_alive: PING };
        let listener = Listener {
            listener: bound,
            serve: HttpService { router, engine: Some(engine), timeouts },
            unacknowledged_for: PING,
            permits: Arc::new(Semaphore::new(permits)),
            unserved: metrics.refused(RefusedReason::Descriptors),
        };
        let broadcaster = Broadcaster::new(
            Arc::clone(&tally),
            view.subscribe(),
            flusher.clone(),
            metrics,
            INTERVAL,
        );
        tasks.spawn(flusher.run(CancellationToken::new()));
        tasks.spawn(listener.run(CancellationToken::new()));
        tasks.spawn(broadcaster.run(CancellationToken::new()));
        Self { tally, view, address }
    }

    /// Connects all clients and waits until each was told its first value.
    async fn let_in(&self) -> Vec<std::net::TcpStream> {
        let mut clients = Vec::new();
        for _ in 0..SOCKETS {
            let mut client = TcpStream::connect(self.address).await.expect("it listens");
            client.write_all(HANDSHAKE).await.expect("it reads");
            until(&mut client, b"\"sid\"").await;
            client.write_all(JOIN).await.expect("it reads");
            until(&mut client, b"40{").await;
            clients.push(client);
        }
        let local = *self.tally.subscribe().borrow();
        assert_eq!(local.connections, SOCKETS, "all are counted");
        self.view.send_modify(|view| {
            view.observe(local);
            let sent =
                SentReport { sequence: Sequence(1), local, is_site_told: true, at: Instant::now() };
            view.begin_incarnation(Incarnation::random(), LEASE_MAX);
            view.fold_reply(sent, &reply(count(0)), SiteUsers::default(), sent.at);
        });
        for client in &mut clients {
            until(client, b"user count").await;
        }
        clients.into_iter().map(|client| client.into_std().expect("it is a socket")).collect()
    }

    /// Makes the store's count exceed the number of sockets by this many.
    fn show(&self, more: u64) {
        self.view.send_modify(|view| view.fold(count(more), Instant::now()));
    }
}

fn count(more: u64) -> Count {
    Count {
        users: SOCKETS + more,
        revision: Revision(more + 1),
        recovering: false,
        ..Count::default()
    }
}

fn reply(count: Count) -> Reply {
    Reply {
        outcome: headcount::core::report::Outcome::Applied,
        count,
        announced: count.revision,
        instances: 1,
        stored_sequence: Sequence::default(),
        ..Reply::default()
    }
}

/// Reads until these bytes have arrived.
async fn until(client: &mut TcpStream, wanted: &[u8]) {
    let mut heard = Vec::new();
    while !heard.windows(wanted.len()).any(|bytes| bytes == wanted) {
        let read = client.read_buf(&mut heard).await.expect("the connection lasts");
        assert!(read > 0, "the server closed instead of saying {:?}", wanted.escape_ascii());
    }
}

/// How far each count that has arrived exceeds the number of sockets.
fn told(client: &mut std::net::TcpStream) -> Vec<u64> {
    let mut heard = Vec::new();
    match client.read_to_end(&mut heard) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        other => panic!("the connection should be open and quiet: {other:?}"),
    }
    let text = String::from_utf8_lossy(&heard).into_owned();
    let numbers = text.split("user count\",").skip(1);
    let numbers = numbers.filter_map(|rest| rest.split(']').next()?.parse::<u64>().ok());
    numbers.map(|users| users - SOCKETS).collect()
}
