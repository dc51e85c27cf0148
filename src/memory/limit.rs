//! How much memory this process may use, and how many sessions fit into it at their worst. It reads what the system
//! says of control groups, of limits of the process and of the machine; it changes nothing.
//!
//! Whoever holds a process to less memory than it takes ends it without a word, and all its visitors with it. So the
//! default number of sessions is one that fits, even if each of them is as large as a hostile client can make it.

use std::{
    fmt, fs,
    path::{Component, Path, PathBuf},
};

/// What an instance takes without sessions: its code, its tasks, pages being served, and the connections that are over
/// before a session begins ([`CONNECTIONS_SPARE`] of them, each with [`CONNECTION_BYTES`]). Idle it is 7 MiB.
const BASE_BYTES: u64 = 64 << 20;
/// A session's state and its place in all tables; measured: 2.2 kB if it never joined, 2.8 kB if it began with polling.
const SESSION_BYTES: u64 = 4 << 10;
/// What waits for a client that does not read.
const OUTBOX_BYTES: u64 = 4 << 10;
/// What the kernel holds for a connection whose client does not read, and charges to the control group; measured: 1.5 kB
/// for the connection, and up to about 38 kB of unread data.
const KERNEL_BYTES: u64 = 40 << 10;
/// A connection that is no session's yet, or a polling client's second: a head of 16 KiB, and the HTTP server's own;
/// measured: 25 kB.
const CONNECTION_BYTES: u64 = 32 << 10;

/// Connections beside those of sessions: pages, the API, and handshakes that are refused.
pub const CONNECTIONS_SPARE: usize = 1024;
/// Connections that a session may have: a polling client posts on one while it polls on another.
pub const CONNECTIONS_PER_SESSION: usize = 2;

/// What a session takes at its worst: it never reads, has a message of the largest size half sent, and one more
/// connection with half a head.
pub fn session_bytes(payload_bytes_max: usize) -> u64 {
    SESSION_BYTES + OUTBOX_BYTES + payload_bytes_max as u64 + KERNEL_BYTES + CONNECTION_BYTES
}

/// The sessions that fit into so much memory; at least one.
pub fn sessions_within(bytes: u64, payload_bytes_max: usize) -> usize {
    let sessions = bytes.saturating_sub(BASE_BYTES) / session_bytes(payload_bytes_max);
    usize::try_from(sessions).unwrap_or(usize::MAX).max(1)
}

/// The least of the limits on this process's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryLimit {
    /// Resident memory that the process can come to under it.
    pub bytes: u64,
    /// Which limit it is, for operators.
    pub source: Source,
}

/// Where a limit comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// This file of a control group.
    ControlGroup(PathBuf),
    /// `ulimit -v`.
    AddressSpace,
    /// `ulimit -d`.
    Data,
    /// What the machine has.
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

/// Limits of the process that files do not tell; `None` if there is none.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessLimits {
    /// Bytes of address space.
    pub address_space: Option<u64>,
    /// Bytes of private memory.
    pub data: Option<u64>,
}

impl ProcessLimits {
    /// Those of this process.
    pub fn of_this_process() -> Self {
        use rlimit::{INFINITY, Resource};
        let soft = |resource| {
            let (soft, _) = rlimit::getrlimit(resource).ok()?;
            (soft != INFINITY).then_some(soft)
        };
        Self { address_space: soft(Resource::AS), data: soft(Resource::DATA) }
    }
}

/// The least limit on the memory of this process; `None` where the system tells of none. `root` is where the system's
/// files are: `/`.
pub fn memory_limit(root: &Path, process: ProcessLimits) -> Option<MemoryLimit> {
    let mut limits = control_group_limits(root);
    limits.extend(process_limits(root, process));
    limits.extend(machine_memory(root));
    limits.into_iter().min_by_key(|limit| limit.bytes)
}

fn machine_memory(root: &Path) -> Option<MemoryLimit> {
    let bytes = kilobytes(&read(&root.join("proc/meminfo"))?, "MemTotal")?;
    Some(MemoryLimit { bytes, source: Source::Machine })
}

/// Address space and data are more than what is resident: stacks and heaps are reserved before they are used. What is
/// reserved by now and not resident is not there for sessions.
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

/// The limits of the control group that the process is in and of all above it, in both versions.
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

/// A number of bytes; `None` for `max`, and for the number near 2⁶³ that stands for it in version 1.
fn limit_in(text: &str) -> Option<u64> {
    const NONE_V1: u64 = 1 << 60;
    text.trim().parse().ok().filter(|&bytes| bytes < NONE_V1)
}

/// Where control groups of one kind are to be seen.
struct Mount<'a> {
    version: Version,
    /// The group that is seen at `point`: not the topmost one in some containers.
    root: &'a str,
    point: &'a str,
}

#[derive(Clone, Copy)]
enum Version {
    One,
    Two,
}

impl Version {
    /// In version 2 a process above `memory.high` is slowed down until it is as good as ended.
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

    /// The process's group in a line of `/proc/self/cgroup`, `4:memory:/group` or `0::/group`, if it is of this kind.
    fn group_in(&self, line: &'a str) -> Option<&'a str> {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, group) = (parts.next()?, parts.next()?, parts.next()?);
        let is_ours = match self.version {
            Version::One => controllers.split(',').any(|controller| controller == "memory"),
            Version::Two => number == "0" && controllers.is_empty(),
        };
        is_ours.then_some(group)
    }

    /// The folders of a group and of all above it, as far as they are to be seen.
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
