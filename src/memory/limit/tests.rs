//! Tests of what the system says of memory: trees of control groups as there are on real machines, in a folder.

use rstest::rstest;
use tempfile::TempDir;

use super::*;

const MIB: u64 = 1 << 20;

/// A system of files.
fn system(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

fn least(files: &[(&str, &str)]) -> Option<(u64, String)> {
    let root = system(files);
    let limit = memory_limit(root.path(), ProcessLimits::default())?;
    Some((limit.bytes, limit.source.to_string()))
}

const MOUNT_V2: (&str, &str) = (
    "proc/self/mountinfo",
    "22 1 8:1 / / rw - ext4 /dev/sda rw\n31 22 0:28 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n",
);
const MOUNTS_V1: (&str, &str) = (
    "proc/self/mountinfo",
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
    35 31 0:32 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
);

/// Goal: with version 2 of control groups the smallest limit from the process's group up to the top is found. Method:
/// limits on every level, with and without `max`.
#[rstest]
#[case("536870912", "max", "max", Some((512, "/sys/fs/cgroup/a/b/memory.max")))]
#[case("max", "134217728", "max", Some((128, "/sys/fs/cgroup/a/memory.max")))]
#[case("536870912", "134217728", "1073741824", Some((128, "/sys/fs/cgroup/a/memory.max")))]
#[case("536870912", "max", "67108864", Some((64, "/sys/fs/cgroup/memory.max")))]
#[case("max", "max", "max", None)]
fn nested_groups_of_version_2(
    #[case] own: &str,
    #[case] above: &str,
    #[case] top: &str,
    #[case] expected: Option<(u64, &str)>,
) {
    let found = least(&[
        MOUNT_V2,
        ("proc/self/cgroup", "0::/a/b\n"),
        ("sys/fs/cgroup/a/b/memory.max", own),
        ("sys/fs/cgroup/a/memory.max", above),
        ("sys/fs/cgroup/memory.max", top),
    ]);
    assert_eq!(found, expected.map(|(mib, file)| (mib * MIB, file.to_owned())));
}

/// Goal: `memory.high`, above which a process is slowed down, counts as a limit. Method: `memory.high` below `memory.max`.
#[test]
fn the_high_mark_is_a_limit() {
    let found = least(&[
        MOUNT_V2,
        ("proc/self/cgroup", "0::/a\n"),
        ("sys/fs/cgroup/a/memory.max", "536870912\n"),
        ("sys/fs/cgroup/a/memory.high", "268435456\n"),
    ]);
    assert_eq!(found, Some((256 * MIB, "/sys/fs/cgroup/a/memory.high".to_owned())));
}

/// Goal: in containers, the group that is mounted at the top is found, whatever its name outside. Method: a namespace of
/// groups, a mount of one group, and a path that leads outside of the mount.
#[rstest]
#[case("0::/", "/")]
#[case("0::/docker/abc", "/docker/abc")]
#[case("0::/../other", "/")]
#[case("0::/docker/abc", "/elsewhere")]
fn containers_see_their_group_at_the_top(#[case] group: &str, #[case] mount_root: &str) {
    let mounts =
        format!("31 22 0:28 {mount_root} /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n");
    let found = least(&[
        ("proc/self/mountinfo", &mounts),
        ("proc/self/cgroup", group),
        ("sys/fs/cgroup/memory.max", "134217728\n"),
    ]);
    assert_eq!(found, Some((128 * MIB, "/sys/fs/cgroup/memory.max".to_owned())));
}

/// Goal: with version 1 of control groups the smallest limit is found, beside an empty tree of version 2; a number near 2⁶³
/// means no limit. Method: limits on both levels.
#[rstest]
#[case("134217728", "9223372036854771712", Some((128, "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes")))]
#[case("9223372036854771712", "268435456", Some((256, "/sys/fs/cgroup/memory/a/memory.limit_in_bytes")))]
#[case("9223372036854771712", "9223372036854771712", None)]
fn nested_groups_of_version_1(
    #[case] own: &str,
    #[case] above: &str,
    #[case] expected: Option<(u64, &str)>,
) {
    let found = least(&[
        MOUNTS_V1,
        ("proc/self/cgroup", "9:name=systemd:/\n4:memory:/a/b\n1:cpu:/\n0::/\n"),
        ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", own),
        ("sys/fs/cgroup/memory/a/memory.limit_in_bytes", above),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712"),
    ]);
    assert_eq!(found, expected.map(|(mib, file)| (mib * MIB, file.to_owned())));
}

/// Goal: limits of the machine and of the process count too, less what the process has reserved without using it. Method: a
/// machine of 1 GiB, and processes with limits on address space and data.
#[test]
fn limits_of_the_machine_and_of_the_process() {
    let root = system(&[
        ("proc/meminfo", "MemTotal:        1048576 kB\nMemFree:  5 kB\n"),
        (
            "proc/self/status",
            "Name:\theadcount\nVmSize:\t  307200 kB\nVmRSS:\t   10240 kB\nVmData:\t 20480 kB\n",
        ),
    ]);
    let least = |address_space: Option<u64>, data: Option<u64>| {
        let [address_space, data] = [address_space, data].map(|mib| mib.map(|mib| mib * MIB));
        let limit = memory_limit(root.path(), ProcessLimits { address_space, data }).unwrap();
        (limit.bytes / MIB, limit.source)
    };
    assert_eq!(least(None, None), (1024, Source::Machine));
    assert_eq!(least(Some(512), None), (222, Source::AddressSpace));
    assert_eq!(least(None, Some(128)), (118, Source::Data));
    assert_eq!(least(Some(100), Some(128)), (0, Source::AddressSpace));
}

/// Goal: missing or absurd files of the system set no limit and cause no panic. Method: no files, and strange ones.
#[test]
fn nonsense_is_no_limit() {
    assert_eq!(least(&[]), None);
    let strange = [
        ("proc/meminfo", "MemTotal: many kB"),
        ("proc/self/mountinfo", "- cgroup2\n1 2 3 - cgroup2 x y\n\n - "),
        ("proc/self/cgroup", "0:\n0::\n::\n4:memory"),
    ];
    assert_eq!(least(&strange), None);
}

/// A session without anything that a setting allows.
const LEAST: SessionExtent =
    SessionExtent { payload_bytes_max: 16 << 10, rooms: 0, has_lists: false, fetches_keys: false };

/// Goal: the default number of sessions fits into the memory. Method: limits as in the manifests, and one that is too small
/// for a single session; with rooms and without.
#[rstest]
#[case(0, 1, 1)]
#[case(64 * MIB, 1, 1)]
#[case(128 * MIB, 481, 682)]
#[case(512 * MIB, 3373, 4778)]
#[case(2048 * MIB, 14_938, 21_162)]
fn sessions_fit_into_memory(#[case] bytes: u64, #[case] with_rooms: usize, #[case] without: usize) {
    let extent = |rooms| SessionExtent { rooms, ..LEAST };
    for (rooms, sessions) in [(108, with_rooms), (0, without)] {
        assert_eq!(sessions_within(bytes, extent(rooms)), sessions);
        let taken = BASE_BYTES + extent(rooms).bytes() * sessions as u64;
        assert!(sessions == 1 || taken <= bytes);
    }
}

/// Goal: every setting that lets a session take more memory counts. Method: each of them alone.
#[test]
fn settings_count() {
    let kib = |extent: SessionExtent| extent.bytes() / 1024;
    assert_eq!(kib(LEAST), 96);
    assert_eq!(kib(SessionExtent { payload_bytes_max: 32 << 10, ..LEAST }), 112);
    assert_eq!(kib(SessionExtent { rooms: 108, ..LEAST }), 136);
    assert_eq!(kib(SessionExtent { rooms: 200, ..LEAST }), 150);
    assert_eq!(kib(SessionExtent { has_lists: true, ..LEAST }), 132);
    assert_eq!(kib(SessionExtent { fetches_keys: true, ..LEAST }), 136);
}

/// Goal: strangers cannot fill the memory with rooms, whatever they are called. Method: limits from the smallest to a large one, and
/// the memory that the rooms take at their worst.
#[rstest]
#[case(0, 1000)]
#[case(128 * MIB, 4096)]
#[case(512 * MIB, 16_384)]
#[case(1536 * MIB, 49_152)]
#[case(4096 * MIB, 131_072)]
fn rooms_fit_into_memory(#[case] bytes: u64, #[case] rooms: usize) {
    assert_eq!(rooms_within(bytes), rooms);
    assert!(rooms == 1000 || ROOM_BYTES * rooms as u64 <= bytes / 32);
}
