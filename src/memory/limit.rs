//! How much memory this process may use, and how many sessions fit into it. It reads the limits of control groups, of the
//! process and of the machine, and changes nothing.
//!
//! A process that exceeds its memory limit is killed, and all its visitors lose their connections. So the default number of
//! sessions fits into the memory even if hostile clients make every session as large as they can.

use std::{
    fmt, fs,
    path::{Component, Path, PathBuf},
};

/// The memory of an instance without sessions: code, tasks, pages that are served, and [`CONNECTIONS_SPARE`] connections of
/// [`CONNECTION_BYTES`] each. An idle instance takes 7 MiB.
const BASE_BYTES: u64 = 64 << 20;
/// A session's state and its entries in all tables. Measured: 2.2 kB if it never joined, 2.8 kB if it began with polling.
const SESSION_BYTES: u64 = 4 << 10;
/// What waits in the outbox for a client that does not read and has named no room.
const OUTBOX_BYTES: u64 = 4 << 10;
/// The same for a client that has named rooms.
pub const OUTBOX_BYTES_WITH_ROOMS: u64 = 28 << 10;
/// The place of a session in a room: in the session, and in the list of those who are told the count.
const PLACE_BYTES: u64 = 150;
/// What waits of lists of users: an answer to a poll, or a list of which the kernel has taken a part.
const LISTS_BYTES: u64 = 36 << 10;
/// CONNECTs that wait for the keys of their tokens to be fetched, with these tokens.
const WAITING_BYTES: u64 = 40 << 10;
/// The kernel's memory for a connection whose client does not read, which counts against the control group's limit.
/// Measured: 1.5 kB for the connection, and up to about 38 kB of unread data.
const KERNEL_BYTES: u64 = 40 << 10;
/// A connection without a session, or the second one of a polling client: a head of 16 KiB, and the HTTP server's buffers.
/// Measured: 25 kB.
const CONNECTION_BYTES: u64 = 32 << 10;

/// A room with one connection in it, and its entries in all tables. Measured: 500 bytes, 630 with the embedded store; the longest name
/// takes 112 more, and an identity up to 224 more in the tables of the instance.
const ROOM_BYTES: u64 = 1 << 10;
/// Rooms may use one in this many bytes of the memory. Up to 768 MiB, that fits into what [`BASE_BYTES`] leaves.
const ROOMS_SHARE: u64 = 32;
/// However little memory there is, a site may count its most important pages.
const ROOMS_AT_LEAST: u64 = 1000;

/// Connections allowed beside those of sessions: for pages, the API, and handshakes that are refused.
pub const CONNECTIONS_SPARE: usize = 1024;
/// The most connections of a session: a polling client posts on one while it polls on another.
pub const CONNECTIONS_PER_SESSION: usize = 2;

/// The settings that decide how much memory a session may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionExtent {
    /// The most bytes of a message.
    pub payload_bytes_max: usize,
    /// The most rooms that a client may be in, or watch; 0 if there are no rooms.
    pub rooms: usize,
    /// Whether there are lists of users.
    pub has_lists: bool,
    /// Whether keys of tokens are fetched from issuers.
    pub fetches_keys: bool,
}

impl SessionExtent {
    /// The most memory of a session: its client is in all the rooms it may be in, never reads, has sent half of a message of the
    /// largest size, and half of a head on a second connection.
    pub fn bytes(self) -> u64 {
        let outbox = if self.rooms > 0 { OUTBOX_BYTES_WITH_ROOMS } else { OUTBOX_BYTES };
        let places = (self.rooms as u64 * PLACE_BYTES).next_multiple_of(1 << 10);
        let lists = if self.has_lists { LISTS_BYTES } else { 0 };
        let waiting = if self.fetches_keys { WAITING_BYTES } else { 0 };
        let message = self.payload_bytes_max as u64;
        let held = SESSION_BYTES + outbox + places + lists + waiting;
        held + message + KERNEL_BYTES + CONNECTION_BYTES
    }
}

/// The number of sessions that fit into this much memory; at least one.
pub fn sessions_within(bytes: u64, extent: SessionExtent) -> usize {
    let sessions = bytes.saturating_sub(BASE_BYTES) / extent.bytes();
    usize::try_from(sessions).unwrap_or(usize::MAX).max(1)
}

/// The number of rooms that fit into the rooms' share of this much memory.
pub fn rooms_within(bytes: u64) -> usize {
    let rooms = (bytes / ROOMS_SHARE / ROOM_BYTES).max(ROOMS_AT_LEAST);
    usize::try_from(rooms).unwrap_or(usize::MAX)
}

/// A limit on the memory of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The resident memory that the limit allows.
    pub bytes: u64,
    /// Where the limit comes from, for operators.
    pub source: Source,
}

/// Where a limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file of a control group.
    ControlGroup(PathBuf),
    /// `ulimit -v`.
    AddressSpace,
    /// `ulimit -d`.
    Data,
    /// The memory of the machine.
    Machine,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ControlGroup(file) => write!(f, "{}", file.display()),
            Self::AddressSpace => f.write_str("the limit on address space (ulimit -v)"),
            Self::Data => f.write_str("the limit on data (ulimit -d)"),
            Self::Machine => f.write_str("the machine's memory"),
        }
    }
}

/// Limits of the process that are not in files; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessLimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of private memory.
    pub data: Option<u64>,
}

impl ProcessLimits {
    /// Reads the limits of this process.
    pub fn of_this_process() -> Self {
        use rlimit::{INFINITY, Resource};
        let soft = |resource| {
            let (soft, _) = rlimit::getrlimit(resource).ok()?;
            (soft != INFINITY).then_some(soft)
        };
        Self { address_space: soft(Resource::AS), data: soft(Resource::DATA) }
    }
}

/// The smallest limit on the memory of this process; `None` if the system names none. `root` is the root folder, `/`.
pub fn memory_limit(root: &Path, process: ProcessLimits) -> Option<MemoryLimit> {
    let mut limits = control_group_limits(root);
    limits.extend(process_limits(root, process));
    limits.extend(machine_memory(root));
    limits.into_iter().min_by_key(|limit| limit.bytes)
}

/// The resident memory of this process, in bytes; `None` if the system does not say.
pub fn resident_bytes(root: &Path) -> Option<u64> {
    kilobytes(&read(&root.join("proc/self/status"))?, "VmRSS")
}

fn machine_memory(root: &Path) -> Option<MemoryLimit> {
    let bytes = kilobytes(&read(&root.join("proc/meminfo"))?, "MemTotal")?;
    Some(MemoryLimit { bytes, source: Source::Machine })
}

/// The limits on address space and data, as resident memory. Both also count memory that is reserved and not used, such as
/// stacks. What is reserved now and not resident is subtracted.
fn process_limits(root: &Path, limits: ProcessLimits) -> Vec<MemoryLimit> {
    let status = read(&root.join("proc/self/status")).unwrap_or_default();
    let resident = kilobytes(&status, "VmRSS").unwrap_or_default();
    let limit = |bytes: Option<u64>, reserved, source| {
        let reserved = kilobytes(&status, reserved).unwrap_or_default();
        let bytes = bytes?.saturating_sub(reserved.saturating_sub(resident));
        Some(MemoryLimit { bytes, source })
    };
    let address_space = limit(limits.address_space, "VmSize", Source::AddressSpace);
    let data = limit(limits.data, "VmData", Source::Data);
    address_space.into_iter().chain(data).collect()
}

/// The limits of the process's control group and of all groups above it, of both versions of control groups.
fn control_group_limits(root: &Path) -> Vec<MemoryLimit> {
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut limits = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let Some(group) = groups.lines().find_map(|line| mount.group_in(line)) else { continue };
        for folder in mount.folders(group) {
            for name in mount.version.files() {
                let file = folder.join(name);
                let inside = file.strip_prefix("/").unwrap_or(&file);
                if let Some(bytes) = read(&root.join(inside)).and_then(|text| limit_in(&text)) {
                    limits.push(MemoryLimit { bytes, source: Source::ControlGroup(file) });
                }
            }
        }
    }
    limits
}

/// A number of bytes; `None` for `max`, and for the number near 2⁶³ that means the same in version 1.
fn limit_in(text: &str) -> Option<u64> {
    const NONE_V1: u64 = 1 << 60;
    text.trim().parse().ok().filter(|&bytes| bytes < NONE_V1)
}

/// A mount point of control groups.
struct Mount<'a> {
    version: Version,
    /// The group that is mounted at `point`. In some containers it is not the topmost one.
    root: &'a str,
    point: &'a str,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Version {
    /// The files with limits. In version 2, a process above `memory.high` is slowed down so much that it counts as a limit.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::One => &["memory.limit_in_bytes"],
            Self::Two => &["memory.max", "memory.high"],
        }
    }
}

impl<'a> Mount<'a> {
    /// Reads a line of `mountinfo`: `31 23 0:32 /root /point options … - type source options`.
    fn parse(line: &'a str) -> Option<Self> {
        let (mount, system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(3);
        let (root, point) = (mount.next()?, mount.next()?);
        let mut system = system.split(' ');
        let version = match system.next()? {
            "cgroup2" => Version::Two,
            "cgroup" if system.next_back()?.split(',').any(|option| option == "memory") => {
                Version::One
            }
            _ => return None,
        };
        Some(Self { version, root, point })
    }

    /// The process's group, from a line of `/proc/self/cgroup` (`4:memory:/group` or `0::/group`), if the line is about this
    /// mount's kind of groups.
    fn group_in(&self, line: &'a str) -> Option<&'a str> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = match self.version {
            Version::One => controllers.split(',').any(|controller| controller == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_ours.then_some(group)
    }

    /// The folders of a group and of all groups above it that are mounted.
    fn folders(&self, group: &str) -> Vec<PathBuf> {
        let point = Path::new(self.point);
        let below = Path::new(group).strip_prefix(self.root).unwrap_or_else(|_| Path::new(""));
        let is_plain = below.components().all(|part| matches!(part, Component::Normal(_)));
        let below = if is_plain { below } else { Path::new("") };
        below.ancestors().map(|above| point.join(above)).collect()
    }
}

/// The value of a line such as `VmRSS:     1234 kB`, in bytes.
fn kilobytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let number: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

fn read(file: &Path) -> Option<String> {
    fs::read_to_string(file).ok()
}

#[cfg(test)]
#[path = "limit/tests.rs"]
mod tests;
