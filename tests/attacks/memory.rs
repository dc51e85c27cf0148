//! Clients that make an instance as large as they can, on a machine that ends what grows too large: it takes as many
//! as fit, says no to the others, and is small again when they have gone.

use std::{
    fmt::Debug,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use futures_util::{StreamExt, stream};
use headcount_testkit::{
    client::{Client, Transport},
    instance::Instance,
    machine::Machine,
    open_files,
    raw::{Raw, upgrade},
    waiting::{eventually, eventually_within},
};

/// What the instance may use: little, so that few clients are enough.
const MIB: u64 = 1 << 20;
const RESIDENT_MAX: u64 = 128 * MIB;
/// The same where only address space can be limited, of which a process reserves much that it does not use.
const ADDRESS_SPACE_MAX: u64 = 512 * MIB;

/// How many connections are opened at a time; more only wait in the kernel's queue.
const AT_A_TIME: usize = 100;
/// Connections that send half of a head.
const HALF_HEADS: usize = 800;
/// What half a message, and half a head, have: as much as is taken.
const HALF: usize = 15_000;
/// Looks at the number of sessions are five seconds apart, and the heap needs a moment.
const SMALL_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// Goal: an instance that may use 128 MiB lives through clients at their worst: beyond what fits they get 503. Memory
/// goes back to the system when they leave, though none of them has joined. Method: three times as many websockets as
/// it takes, each with half of the largest message sent and nothing read, beside connections with half a head; then
/// all leave, and a visitor comes.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_are_taken_as_fit_into_memory() {
    open_files::raise_limit();
    let _machine = Machine::shared().await;
    let group = Group::new();
    let preparation = match &group {
        Some(group) => format!("echo $$ > {}", group.folder.join("cgroup.procs").display()),
        None => format!("ulimit -v {}", ADDRESS_SPACE_MAX / 1024),
    };
    let mut instance = Instance::start_after(&preparation, &[]).await;
    let most: usize = number(&instance, "headcount_connections_max").await;
    println!(
        "in {}: {most} sessions",
        group.as_ref().map_or("an address space", |_| "a control group")
    );
    assert!((100..5_000).contains(&most), "{most} follows from the limit");
    let log = instance.process().stderr();
    let decides = if group.is_some() { "memory." } else { "ulimit -v" };
    assert!(log.contains(decides), "the log says which limit decides: {log}");

    let idle = resident(&instance).await;
    let heads = (0..HALF_HEADS).map(|_| half_a_head(instance.public));
    let heads: Vec<_> = stream::iter(heads).buffer_unordered(AT_A_TIME).collect().await;
    let attempts = (0..3 * most).map(|_| half_a_message(instance.public));
    let outcomes: Vec<_> = stream::iter(attempts).buffer_unordered(AT_A_TIME).collect().await;
    let held: Vec<Raw> = outcomes.into_iter().flatten().collect();
    let large = resident(&instance).await;
    println!("{} were let in; resident {} MiB, then {} MiB", held.len(), idle / MIB, large / MIB);
    assert!(held.len() >= most, "{} of {most} were let in", held.len());
    let refused: usize = number(&instance, "headcount_refused_total").await;
    assert!(refused >= most, "{refused} were refused");
    assert!(large > idle + 8 * MIB, "they made it large");
    if let Some(group) = &group {
        assert_eq!(group.failures(), 0, "the limit was never met");
    }
    drop((held, heads));

    let goal = idle + (large - idle) / 2;
    let ((), took) = eventually_within(SMALL_AGAIN_WITHIN, "memory goes back", async || {
        match resident(&instance).await {
            bytes if bytes <= goal => Ok(()),
            bytes => Err(format!("{} MiB", bytes / MIB)),
        }
    })
    .await;
    println!("memory was back after {took:?}");
    let visitor = Client::open(instance.public, Transport::Websocket);
    eventually("a visitor is served", async || match visitor.record().shows() {
        Some(1) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    assert!(instance.process().runs());
}

/// A websocket that never joins and stops in the midst of a message; `None` if it is told that there is no room.
async fn half_a_message(server: SocketAddr) -> Option<Raw> {
    let mut raw = Raw::saying(server, upgrade(server, None)).await;
    let answer = raw.answer().await.expect("an answer");
    if answer.status == 503 {
        return None;
    }
    assert_eq!(answer.status, 101, "{answer:?}");
    // A text frame of 16,000 bytes, masked with zeros.
    let mut frame = vec![0x81, 0xfe, 0x3e, 0x80, 0, 0, 0, 0];
    frame.resize(frame.len() + HALF, b'4');
    raw.send(&frame).await.expect("it is read");
    Some(raw)
}

async fn half_a_head(server: SocketAddr) -> Raw {
    let head = format!("GET / HTTP/1.1\r\nHost: {server}\r\nX-Long: {}", "a".repeat(HALF));
    Raw::saying(server, head).await
}

async fn resident(instance: &Instance) -> u64 {
    number(instance, "process_resident_memory_bytes").await
}

async fn number<T: FromStr<Err: Debug>>(instance: &Instance, name: &str) -> T {
    let value = instance.metric(name).await.expect("it is alive");
    format!("{value:.0}").parse().expect("a whole number")
}

/// A control group with a limit on memory. It ends with this value, which must outlive what runs in it.
struct Group {
    folder: PathBuf,
    /// The file that counts how often the limit was met.
    failures: &'static str,
}

impl Group {
    /// `None` where this process may not make one.
    fn new() -> Option<Self> {
        Self::of_version_1().or_else(Self::of_version_2)
    }

    fn of_version_1() -> Option<Self> {
        let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = groups.lines().find_map(|line| line.split_once(":memory:"))?.1;
        let above = Path::new("/sys/fs/cgroup/memory").join(own.trim_start_matches('/'));
        Self::below(&above, "memory.limit_in_bytes", "memory.failcnt")
    }

    fn of_version_2() -> Option<Self> {
        Self::below(Path::new("/sys/fs/cgroup"), "memory.max", "memory.events")
    }

    fn below(above: &Path, limit: &str, failures: &'static str) -> Option<Self> {
        let folder = above.join(format!("headcount-test-{}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, failures };
        fs::write(group.folder.join(limit), RESIDENT_MAX.to_string()).ok()?;
        Some(group)
    }

    /// How often the limit was met: in version 2 how often that ended a process.
    fn failures(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.failures)).unwrap_or_default();
        let of_version_2 = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        of_version_2.unwrap_or(text.trim()).parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its process may take a moment to end; then the folder is left, empty, and in nobody's way.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
