//! Clients that use as much memory as they can, on a machine that kills large processes. The instance accepts as many
//! as fit, refuses the others, and is small again after they have left.

use std::{
    fmt::Debug,
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use headcount_testkit::{
    client::{Client, Transport},
    instance::{Instance, Setting},
    machine::Machine,
    open_files,
    raw::{POLLING, Raw, frames::text, post, session_in, upgrade},
    waiting::{eventually, eventually_within},
};

/// The memory that the instance may use. It is small, so that few clients are enough.
const MIB: u64 = 1 << 20;
const RESIDENT_MAX: u64 = 128 * MIB;
/// The limit where only address space can be limited. A process reserves much address space that it does not use.
const ADDRESS_SPACE_MAX: u64 = 512 * MIB;

/// How many connections are opened at a time; more only wait in the kernel's queue.
const AT_A_TIME: usize = 100;
/// Number of connections that send half of a head.
const HALF_HEADS: usize = 800;
/// Bytes of half a message and of half a head: as many as the server reads.
const HALF: usize = 15_000;
/// The rooms that a client may be in and watch, by default.
const ROOMS: usize = 108;
/// How long the instance may take to answer all joins on a busy machine.
const ALL_JOIN_WITHIN: Duration = Duration::from_mins(1);
/// How long it may take to read what has arrived. Unfinished requests end after ten seconds.
const READ_WITHIN: Duration = Duration::from_secs(1);
/// The instance checks the number of sessions every five seconds, and the heap needs a moment.
const SMALL_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// Goal: an instance that may use 128 MiB survives many expensive clients: those that do not fit get 503. Its memory
/// returns to the system when they leave, although none of them has joined. Method: open three times as many
/// websockets as fit. Each sends half of the largest message and reads nothing. Other connections send half a head.
/// Then all leave, and a visitor connects.
#[tokio::test(flavor = "multi_thread")]
async fn as_many_are_taken_as_fit_into_memory() {
    let mut small = Small::start(&[]).await;
    let most = small.most;
    let idle = resident(&small.instance).await;
    let public = small.instance.public;
    let heads = (0..HALF_HEADS).map(|_| half_a_head(public));
    let heads: Vec<_> = stream::iter(heads).buffer_unordered(AT_A_TIME).collect().await;
    let attempts = (0..3 * most).map(|_| half_a_message(public));
    let outcomes: Vec<_> = stream::iter(attempts).buffer_unordered(AT_A_TIME).collect().await;
    let held: Vec<Raw> = outcomes.into_iter().flatten().collect();
    let large = resident(&small.instance).await;
    println!("{} were let in; resident {} MiB, then {} MiB", held.len(), idle / MIB, large / MIB);
    assert!(held.len() >= most, "{} of {most} were let in", held.len());
    let refused: usize = number(&small.instance, "headcount_refused_total").await;
    assert!(refused >= most, "{refused} were refused");
    assert!(large > idle + 8 * MIB, "they made it large");
    small.is_within_its_limit();
    drop((held, heads));

    let goal = idle + (large - idle) / 2;
    let ((), took) = eventually_within(SMALL_AGAIN_WITHIN, "memory goes back", async || {
        match resident(&small.instance).await {
            bytes if bytes <= goal => Ok(()),
            bytes => Err(format!("{} MiB", bytes / MIB)),
        }
    })
    .await;
    println!("memory was back after {took:?}");
    small.serves_a_visitor().await;
}

/// Goal: as many sessions as are let in fit into 128 MiB also if each is as large as its client can make it with rooms. Method: on
/// as many sessions as fit, the client is in eight rooms and watches a hundred more, all with the longest names, reads nothing, and
/// then leaves half a message and half a head unfinished. Half of them poll. Each session takes less than what is reckoned for it.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_with_rooms_fit_into_memory() {
    /// What is reckoned for a session without what the kernel holds, which is not resident.
    const EACH_MAX: u64 = (136 - 40) << 10;
    // These clients answer no pings, leave unread what they are sent, and poll only once.
    let patient = [
        ("HEADCOUNT_PING_INTERVAL", "10min"),
        ("HEADCOUNT_PING_TIMEOUT", "10min"),
        ("HEADCOUNT_KEEP_ALIVE", "10min"),
    ];
    let mut small = Small::start(&patient).await;
    let most = small.most;
    let public = small.instance.public;
    let idle = resident(&small.instance).await;
    let attackers = (0..most).map(async |number| match number % 2 {
        0 => in_rooms_by_websocket(public).await,
        _ => in_rooms_by_polling(public).await,
    });
    let held: Vec<_> = stream::iter(attackers).buffer_unordered(AT_A_TIME).collect().await;
    eventually_within(ALL_JOIN_WITHIN, "all are in all rooms", async || {
        match memberships(&small.instance).await {
            all if all == most * ROOMS => Ok(()),
            some => Err(some.to_string()),
        }
    })
    .await;
    // The time of what is unfinished is limited, so that comes last.
    let halves = held.into_iter().map(|attacker| attacker.says_half(public));
    let halves: Vec<_> = stream::iter(halves).buffer_unordered(AT_A_TIME).collect().await;
    let heads = (0..most).map(|_| half_a_head(public));
    let heads: Vec<_> = stream::iter(heads).buffer_unordered(AT_A_TIME).collect().await;
    // The instance may not have read all of it yet.
    let (start, mut large) = (Instant::now(), 0);
    while start.elapsed() < READ_WITHIN {
        large = large.max(resident(&small.instance).await);
    }
    let left = memberships(&small.instance).await;
    let each = (large - idle) / most as u64;
    println!("{most} sessions in all rooms: resident {} MiB, {each} bytes each", large / MIB);
    println!("{left} of {} memberships are left", most * ROOMS);
    assert!(each <= EACH_MAX, "{each} bytes for a session");
    small.is_within_its_limit();
    drop((halves, heads));
    small.serves_a_visitor().await;
}

/// The memberships of all clients.
async fn memberships(instance: &Instance) -> usize {
    number(instance, "headcount_memberships").await
}

/// An instance that may use little memory.
struct Small {
    group: Option<Group>,
    instance: Instance,
    /// The most sessions.
    most: usize,
    _machine: Machine,
}

impl Small {
    async fn start(settings: &[Setting<'_>]) -> Self {
        open_files::raise_limit();
        let machine = Machine::shared().await;
        let group = Group::new();
        let preparation = match &group {
            Some(group) => format!("echo $$ > {}", group.folder.join("cgroup.procs").display()),
            None => format!("ulimit -v {}", ADDRESS_SPACE_MAX / 1024),
        };
        let mut instance = Instance::start_after(&preparation, settings).await;
        let most: usize = number(&instance, "headcount_connections_max").await;
        let place = group.as_ref().map_or("an address space", |_| "a control group");
        println!("in {place}: {most} sessions");
        assert!((100..5_000).contains(&most), "{most} follows from the limit");
        let decides = if group.is_some() { "memory." } else { "ulimit -v" };
        instance.process().logged(&[decides]).await;
        Self { group, instance, most, _machine: machine }
    }

    fn is_within_its_limit(&self) {
        if let Some(group) = &self.group {
            assert_eq!(group.failures(), 0, "the limit was never met");
        }
    }

    /// The visitor may come before the instance has noticed that others left, be refused for want of room, and come again.
    async fn serves_a_visitor(&mut self) {
        let visitor = Client::open_reconnecting(self.instance.public, Transport::Websocket);
        eventually("a visitor is served", async || match visitor.record().shows() {
            Some(1) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        assert!(self.instance.process().runs());
    }
}

/// Packets that join eight rooms and watch a hundred more. The names are the longest, and the same for all clients.
fn joins() -> Vec<String> {
    let packet = |room: usize| {
        let auth = if room < 8 { "" } else { "{\"watch\":true}" };
        format!("40/{room:0>127},{auth}")
    };
    (0..ROOMS).map(packet).collect()
}

/// A client that is in many rooms, and reads nothing.
struct Attacker {
    raw: Raw,
    /// The path of its requests, if it polls.
    path: Option<String>,
}

async fn in_rooms_by_websocket(server: SocketAddr) -> Attacker {
    let mut raw = Raw::websocket(server, None).await;
    raw.shrink_window();
    let joins: Vec<u8> = joins().iter().flat_map(|join| text(join)).collect();
    raw.send(&joins).await.expect("it is read");
    Attacker { raw, path: None }
}

/// The answers to the joins are taken by a poll whose client does not read, those to further packets wait for the next one. All
/// requests are on one connection, since a client whose connection ends must poll soon.
async fn in_rooms_by_polling(server: SocketAddr) -> Attacker {
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n\r\n");
    let mut raw = Raw::saying(server, get(POLLING)).await;
    let opening = raw.answer().await.expect("an answer");
    let path = format!("{POLLING}&sid={}", session_in(&opening.body));
    for half in joins().chunks(ROOMS / 2) {
        raw.send(post(server, &path, &half.join("\x1e")).as_bytes()).await.expect("it is read");
        assert_eq!(raw.answer().await.expect("an answer").status, 200);
    }
    raw.shrink_window();
    raw.send(get(&path).as_bytes()).await.expect("it is read");
    Attacker { raw, path: Some(path) }
}

impl Attacker {
    /// Says half of a message. Returns what must stay open.
    async fn says_half(mut self, server: SocketAddr) -> (Raw, Option<Raw>) {
        let Some(path) = self.path else {
            self.raw.send(&half_a_frame()).await.expect("it is read");
            return (self.raw, None);
        };
        let mut half_a_post = post(server, &path, &"4".repeat(16_000));
        half_a_post.truncate(half_a_post.len() - 1000);
        (self.raw, Some(Raw::saying(server, half_a_post).await))
    }
}

/// Opens a websocket that never joins and stops in the middle of a message. `None` if the server says that there is
/// no room.
async fn half_a_message(server: SocketAddr) -> Option<Raw> {
    let mut raw = Raw::saying(server, upgrade(server, None)).await;
    let answer = raw.answer().await.expect("an answer");
    if answer.status == 503 {
        return None;
    }
    assert_eq!(answer.status, 101, "{answer:?}");
    raw.send(&half_a_frame()).await.expect("it is read");
    Some(raw)
}

/// The beginning of a text frame of 16,000 bytes, masked with zeros.
fn half_a_frame() -> Vec<u8> {
    let mut frame = vec![0x81, 0xfe, 0x3e, 0x80, 0, 0, 0, 0];
    frame.resize(frame.len() + HALF, b'4');
    frame
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

/// A control group with a memory limit. It is removed when this value is dropped, so the value must outlive the
/// processes in it.
struct Group {
    folder: PathBuf,
    /// The file that counts how often the limit was reached.
    failures: &'static str,
}

impl Group {
    /// `None` where this process may not create a control group.
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
        static GROUPS: AtomicUsize = AtomicUsize::new(0);
        let number = GROUPS.fetch_add(1, Ordering::Relaxed);
        let folder = above.join(format!("headcount-test-{}-{number}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        let group = Self { folder, failures };
        fs::write(group.folder.join(limit), RESIDENT_MAX.to_string()).ok()?;
        Some(group)
    }

    /// How often the limit was reached. In version 2: how often that killed a process.
    fn failures(&self) -> u64 {
        let text = fs::read_to_string(self.folder.join(self.failures)).unwrap_or_default();
        let of_version_2 = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        of_version_2.unwrap_or(text.trim()).parse().expect("a number")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The process may take a moment to end. If it takes longer, an empty folder is left behind, which does no
        // harm.
        for _ in 0..100 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
