//! What the Redis store makes of a connection that breaks while a report is under way, so that the report is sent again.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use headcount::{
    core::report::{Outcome, Report},
    store::{Store, StoreError},
};
use headcount_testkit::redis_server::RedisServer;

use crate::setup::{Instance, LONG, redis_store};

/// When the connection of the next report breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Never,
    /// The report does not reach Redis.
    BeforeIt,
    /// Redis carries it out, and the reply is lost.
    AfterIt,
}

/// A proxy in front of Redis that breaks connections.
struct Proxy {
    url: String,
    next: Arc<Mutex<Break>>,
    /// Reports that reached Redis.
    reports: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let next = Arc::new(Mutex::new(Break::Never));
        let reports = Arc::new(AtomicUsize::new(0));
        let (to_break, arrived) = (Arc::clone(&next), Arc::clone(&reports));
        thread::spawn(move || {
            for client in listener.incoming() {
                let redis = TcpStream::connect(("127.0.0.1", port)).unwrap();
                let (next, reports) = (Arc::clone(&to_break), Arc::clone(&arrived));
                thread::spawn(move || forward(&client.unwrap(), &redis, &next, &reports));
            }
        });
        Self { url, next, reports }
    }

    /// Sends a report whose connection breaks. Returns what became of it, and how often it reached Redis.
    async fn send(
        &self,
        store: &dyn Store,
        report: Report,
        breaks: Break,
    ) -> (Result<Outcome, StoreError>, usize) {
        *self.next.lock().unwrap() = breaks;
        let before = self.reports.load(Ordering::SeqCst);
        let outcome = store.report(report).await.map(|reply| reply.outcome);
        assert_eq!(*self.next.lock().unwrap(), Break::Never, "no connection broke");
        (outcome, self.reports.load(Ordering::SeqCst) - before)
    }
}

/// Forwards one connection until it ends or is to break.
fn forward(client: &TcpStream, redis: &TcpStream, next: &Mutex<Break>, reports: &AtomicUsize) {
    let is_doomed = Mutex::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            copy(redis, client, |_| !*is_doomed.lock().unwrap());
        });
        copy(client, redis, |bytes| {
            if !bytes.windows(7).any(|word| word == b"EVALSHA") {
                return true;
            }
            let breaks = std::mem::replace(&mut *next.lock().unwrap(), Break::Never);
            *is_doomed.lock().unwrap() = breaks == Break::AfterIt;
            reports.fetch_add(usize::from(breaks != Break::BeforeIt), Ordering::SeqCst);
            breaks != Break::BeforeIt
        });
    });
}

/// Copies bytes while they may pass, then ends both connections.
fn copy(mut from: &TcpStream, mut to: &TcpStream, mut may_pass: impl FnMut(&[u8]) -> bool) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut bytes) {
        if !may_pass(&bytes[..length]) || to.write_all(&bytes[..length]).is_err() {
            break;
        }
    }
    // An error means that they have ended already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// Goal: a report whose connection broke is sent again. If the first one was carried out, the refusal of the second one says so,
/// and must not be taken for one of another process with the same id: it counts as a lost reply. A report that is refused for
/// another reason stays refused. Method: connections that break before and after a report, and after a late one.
#[tokio::test]
async fn a_report_that_was_carried_out_twice_is_a_lost_reply() {
    let server = RedisServer::start(&[]);
    let proxy = Proxy::start(server.port());
    let store = redis_store(&proxy.url, "currentUsers", LONG);
    let mut a = Instance::new(1);
    let late = a.prepare();
    a.report(&store).await;

    a.users = 2;
    let (outcome, times) = proxy.send(&store, a.prepare(), Break::BeforeIt).await;
    assert!(matches!(outcome, Ok(Outcome::Applied)), "{outcome:?}");
    assert_eq!(times, 1);

    a.users = 3;
    let (outcome, times) = proxy.send(&store, a.prepare(), Break::AfterIt).await;
    assert!(matches!(outcome, Err(StoreError::Unreachable(_))), "{outcome:?}");
    assert_eq!(times, 2);
    assert_eq!(store.roster().await.unwrap().users, 3, "it was carried out");

    let (outcome, times) = proxy.send(&store, late, Break::AfterIt).await;
    assert!(matches!(outcome, Ok(Outcome::Stale)), "{outcome:?}");
    assert_eq!(times, 2);

    a.users = 4;
    let reply = a.report(&store).await;
    assert_eq!((reply.outcome, reply.count.users), (Outcome::Applied, 4));
}
