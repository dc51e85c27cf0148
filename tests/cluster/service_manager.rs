//! What an instance tells the service manager that started it, as systemd's `Type=notify` has it.

use std::{
    fs,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;

use headcount_testkit::{
    client::{Client, Transport},
    instance::{Instance, Shown},
    redis_server::RedisServer,
    waiting::{PATIENCE, eventually},
};

/// A service manager's side of the socket.
#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    /// All that was said, in order, one entry a message.
    heard: Vec<String>,
}

impl Manager {
    fn at(path: &Path) -> Self {
        Self::on(UnixDatagram::bind(path).expect("a free path"))
    }

    fn on(socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).expect("the socket is ours");
        Self { socket, heard: Vec::new() }
    }

    /// Waits until a message with this word has come, and returns it.
    async fn hears(&mut self, word: &str) -> String {
        let (message, _) = eventually(word, async || {
            self.listen();
            let found = self.heard.iter().find(|message| message.contains(word));
            found.cloned().ok_or_else(|| format!("{:?}", self.heard))
        })
        .await;
        message
    }

    fn listen(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            self.heard.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
    }

    fn place_of(&self, word: &str) -> Option<usize> {
        self.heard.iter().position(|message| message.contains(word))
    }
}

/// Goal: `systemctl start` returns when an instance is ready, no sooner, and a stop is given the time that the settings
/// say. Method: a socket in the place of systemd's, a Redis that comes late, a client, and SIGTERM.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_is_told_when_it_is_ready_and_how_long_its_end_may_take() {
    let mut redis = RedisServer::start(&[]);
    redis.kill_9();
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("notify");
    let mut manager = Manager::at(&path);
    let mut instance = Instance::start(&[
        ("HEADCOUNT_REDIS_URL", redis.url().as_str()),
        ("HEADCOUNT_DRAIN_DELAY", "1s"),
        ("HEADCOUNT_DRAIN", "2s"),
        ("NOTIFY_SOCKET", path.to_str().expect("it is text")),
        ("WATCHDOG_USEC", "600000"),
    ])
    .await;
    manager.hears("STATUS=waiting for the store's first answer; 0 connections here").await;
    assert_eq!(manager.place_of("READY=1"), None, "{:?}", manager.heard);
    assert_eq!(instance.readiness().await, Ok(503));

    redis.restart();
    manager.hears("READY=1").await;
    assert_eq!(instance.readiness().await, Ok(200), "ready is what /readyz calls ready");
    let client = Client::open(instance.public, Transport::Websocket);
    manager.hears("STATUS=1 connections here; 1 users in all (exact)").await;

    instance.process().signal(Signal::TERM);
    let extended = manager.hears("EXTEND_TIMEOUT_USEC=").await;
    assert_eq!(extended, "EXTEND_TIMEOUT_USEC=18000000\n", "1 s, 2 s, and 15 s to spare");
    let (stopping, extending) =
        (manager.place_of("STOPPING=1"), manager.place_of("EXTEND_TIMEOUT"));
    assert!(stopping < extending && stopping.is_some(), "{:?}", manager.heard);
    manager.hears("STATUS=stopping; 1 connections are still to be sent elsewhere").await;
    let (status, _) = instance.process().ended().await;
    assert_eq!(status.code(), Some(0));
    drop(client);
}

/// Goal: a watchdog hears of an instance as long as it works, in time, and no longer. Method: count the signs of life of a
/// few periods; stop the process, and wait for a period without any.
#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_hears_of_an_instance_that_works() {
    const PERIOD: Duration = Duration::from_secs(3);
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("notify");
    let mut manager = Manager::at(&path);
    let period = PERIOD.as_micros().to_string();
    let mut instance = Instance::start(&[
        ("NOTIFY_SOCKET", path.to_str().expect("it is text")),
        ("WATCHDOG_USEC", &period),
    ])
    .await;
    manager.hears("READY=1").await;
    let signs = |manager: &Manager| {
        manager.heard.iter().filter(|message| message.contains("WATCHDOG=1")).count()
    };
    let start = Instant::now();
    let (first, wanted) = (signs(&manager), 6);
    eventually("signs of life", async || {
        manager.listen();
        let since = signs(&manager) - first;
        if since >= wanted { Ok(()) } else { Err(format!("{since} signs")) }
    })
    .await;
    assert!(start.elapsed() >= PERIOD, "three in a period are enough: {:?}", start.elapsed());

    instance.process().signal(Signal::STOP);
    let mut quiet = (signs(&manager), Instant::now());
    eventually("a period of silence", async || {
        manager.listen();
        if signs(&manager) > quiet.0 {
            quiet = (signs(&manager), Instant::now());
        }
        if quiet.1.elapsed() > PERIOD { Ok(()) } else { Err(format!("{quiet:?}")) }
    })
    .await;
    instance.process().signal(Signal::CONT);
    manager.hears("READY=1").await;
}

/// Goal: a service manager that does not read, or is not there, keeps no visitor waiting and no instance from its end; a
/// watchdog that watches another process gets no signs. Method: a socket that is full, a path where nothing is, an
/// abstract socket, and each time a client and SIGTERM.
#[tokio::test(flavor = "multi_thread")]
async fn a_service_manager_that_does_not_read_holds_nothing_up() {
    let folder = tempfile::tempdir().expect("a directory");
    let full = folder.path().join("full");
    let reader = UnixDatagram::bind(&full).expect("a free path");
    fill(&full);
    let name = format!("headcount-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a short name");
    let mut manager = Manager::on(UnixDatagram::bind_addr(&address).expect("a free name"));
    let nowhere = folder.path().join("nowhere");
    for (place, watched) in [
        (full.display().to_string(), None),
        (nowhere.display().to_string(), None),
        (format!("@{name}"), Some("1")),
    ] {
        let mut settings = vec![
            ("NOTIFY_SOCKET", place.as_str()),
            ("WATCHDOG_USEC", "300000"),
            ("HEADCOUNT_DRAIN", "0s"),
        ];
        settings.extend(watched.map(|pid| ("WATCHDOG_PID", pid)));
        let mut instance = Instance::start(&settings).await;
        instance.ready().await;
        let client = Client::open(instance.public, Transport::Websocket);
        eventually(&place, async || match instance.shown().await? {
            Shown { count: 1, exact: true } => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        instance.process().signal(Signal::TERM);
        let (status, took) = instance.process().ended().await;
        assert_eq!(status.code(), Some(0), "{place}: {}", instance.process().stderr());
        assert!(took < PATIENCE / 2, "{place}: {took:?}");
        let warned = instance.process().stderr().contains("failed to reach the service manager");
        assert_eq!(warned, place.ends_with("nowhere"), "{}", instance.process().stderr());
        drop(client);
    }
    manager.hears("STOPPING=1").await;
    assert_eq!(manager.place_of("WATCHDOG=1"), None, "{:?}", manager.heard);
    drop(reader);
    fs::remove_file(&full).expect("it was there all the time");
}

/// Sends until nothing more is taken.
fn fill(path: &Path) {
    let socket = UnixDatagram::unbound().expect("a socket");
    socket.set_nonblocking(true).expect("it is ours");
    socket.connect(path).expect("somebody listens");
    while socket.send(b"STATUS=full").is_ok() {}
}
