//! Tests on a real Redis that takes no port.

use std::{
    env, fs,
    path::PathBuf,
    process::{self, Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use ::redis::Pipeline;

use crate::{Settings, layouts::Layout, measure, redis::Redis};

/// How long the server may take to start.
const PATIENCE: Duration = Duration::from_secs(30);

/// A redis-server on a socket in a folder of its own. Both are gone when this value is dropped.
struct Server {
    child: Child,
    folder: PathBuf,
}

impl Server {
    fn start() -> (Self, Redis) {
        static STARTED: AtomicU32 = AtomicU32::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("bench-script-{}-{number}", process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("redis-server");
        command.current_dir(&folder).args(["--port", "0", "--unixsocket", "redis.sock"]);
        command.args(["--save", "", "--appendonly", "no", "--loglevel", "warning"]);
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        let server = Self { child, folder };
        let url = format!("redis+unix://{}/redis.sock", server.folder.display());
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Redis::connect(&url) {
                Ok(redis) => return (server, redis),
                Err(error) => assert!(Instant::now() < deadline, "{error:#}"),
            }
            // Nothing tells of a socket that is not there yet.
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// Goal: a run ends and has every figure, for the product and beside it for every layout. Method: a run of very small sizes.
#[test]
fn everything_is_measured() {
    let (_server, mut redis) = Server::start();
    let settings = Settings {
        redis_url: String::new(),
        sizes: vec![300, 600],
        reaped: 300,
        crowd: 2000,
        portions: 4,
    };
    let (figures, presence) = measure(&mut redis, &settings).unwrap();
    let all = presence.values().chain([&figures]);
    for (name, value) in all.clone().flatten() {
        assert!(value.is_finite(), "{name} is {value}");
    }
    for (name, value) in all.flatten().filter(|(name, _)| name.ends_with("_us")) {
        assert!(*value > 0.0, "{name} is {value}");
    }
    let names = |layout: &str| presence[layout].keys().collect::<Vec<_>>();
    let layouts: Vec<&String> = presence.keys().collect();
    assert_eq!(layouts.len(), 4, "{layouts:?}");
    for layout in layouts {
        assert_eq!(names(layout), names("headcount"), "{layout}");
    }
    assert!(figures["crowd_gone_calls"] >= 1.0);
}

/// Goal: every layout keeps a client once, however often it refreshes; finds those who fell silent; and forgets who leaves.
/// Method: five join, all but one refresh for long, and one of these leaves.
#[test]
fn layouts_know_who_is_there() {
    const START: u64 = 1_800_000_000;
    let (_server, mut redis) = Server::start();
    for layout in Layout::all(&mut redis).unwrap() {
        redis.clear().unwrap();
        let mut commands = Pipeline::new();
        (0..5).for_each(|user| layout.join(&mut commands, user, START));
        for moment in 1..=30 {
            (1..5).for_each(|user| layout.refresh(&mut commands, user, START + 10 * moment));
        }
        layout.leave(&mut commands, 4);
        redis.send(&commands).unwrap();
        assert_eq!(redis.fields(&layout.kept_in()).unwrap(), 4, "{}", layout.name);
        let mut commands = Pipeline::new();
        layout.find_expired(&mut commands, START + 300);
        if layout.leaves_one_by_one() {
            layout.leave(&mut commands, 0);
        }
        redis.send(&commands).unwrap();
        assert_eq!(redis.fields(&layout.kept_in()).unwrap(), 3, "{}", layout.name);
        let mut commands = Pipeline::new();
        (1..4).for_each(|user| layout.leave(&mut commands, user));
        redis.send(&commands).unwrap();
        assert_eq!(redis.fields(&layout.kept_in()).unwrap(), 0, "{}", layout.name);
    }
}
