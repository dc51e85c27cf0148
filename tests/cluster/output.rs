//! stdout and stderr that are gone, full, or not read: nothing ends or waits for them.

use std::{
    fs::OpenOptions,
    io::{PipeReader, PipeWriter, Write, pipe},
    net::SocketAddr,
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    process::Stdio,
    thread,
};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Instance, Output, Process, Setting},
    machine::Machine,
    redis_client::{CHANNEL, RedisClient},
    redis_server::{RedisServer, free_port},
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;

/// What becomes of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// A pipe without a reader.
    Gone,
    /// A disk without space.
    Full,
    /// A pipe that is full, whose reader is there and does not read.
    Stuck,
}

impl Reader {
    /// A descriptor to write to, and what has to be kept for it to stay as it is.
    fn descriptor(self) -> (Stdio, Option<PipeReader>) {
        if self == Self::Full {
            let full = OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
            return (full.into(), None);
        }
        let (reader, writer) = pipe().expect("a pipe");
        if self == Self::Gone {
            return (writer.into(), None);
        }
        fill(&writer);
        (writer.into(), Some(reader))
    }
}

/// Writes until there is no room, by another description of the pipe: how it waits belongs to that.
fn fill(pipe: &PipeWriter) {
    let mut options = OpenOptions::new();
    options.write(true).custom_flags(libc::O_NONBLOCK);
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let mut filler = options.open(path).expect("Linux opens a pipe again");
    for size in [4096, 1] {
        while filler.write(&vec![b'.'; size]).is_ok() {}
    }
}

fn free_addresses() -> [SocketAddr; 2] {
    [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())))
}

/// An instance on this Redis whose log goes to such a reader, at this level.
async fn instance_logging_to(
    reader: Reader,
    level: &str,
    redis: &RedisServer,
) -> (Instance, Option<PipeReader>) {
    let (stderr, kept) = reader.descriptor();
    let output = Output { stderr: Some(stderr), ..Output::default() };
    let url = redis.url();
    let settings = [
        ("HEADCOUNT_REDIS_URL", url.as_str()),
        ("HEADCOUNT_LOG", level),
        ("HEADCOUNT_DRAIN", "100ms"),
    ];
    (Instance::start_writing_to(output, free_addresses(), &settings).await, kept)
}

/// Waits until the instance has dropped lines of its log, in which it complains of nonsense on the channel.
async fn drops_lines(instance: &Instance, redis: &RedisServer) {
    let redis_client = RedisClient::new(&redis.url());
    eventually("lines of the log are dropped", async || {
        let nonsense: &[&str] = &["PUBLISH", CHANNEL, "nonsense"];
        redis_client.transact(&vec![nonsense; 2000]).await?;
        let dropped = instance.metric("headcount_log_lines_dropped_total").await?;
        if dropped > 0.0 { Ok(()) } else { Err(format!("{dropped} are")) }
    })
    .await;
}

async fn ends_in_order(mut instance: Instance) {
    instance.process().signal(Signal::TERM);
    let (status, took) = instance.process().ended().await;
    assert!(status.success(), "{status} after {took:?}");
}

/// Goal: whatever becomes of the log, the instance goes on, its count stays exact on all instances, and it ends in order.
/// Method: two instances on one Redis, one of which logs much to a reader that is gone, full or stuck; once it has
/// dropped lines, clients come to both, and Redis goes and returns, which is told in the log.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_cannot_be_written_changes_nothing(
    #[values(Reader::Gone, Reader::Full, Reader::Stuck)] reader: Reader,
) {
    let redis = RedisServer::start(&[]);
    let (instance, kept) = instance_logging_to(reader, "debug", &redis).await;
    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 1, &[]).await;
    drops_lines(&instance, &cluster.redis).await;
    cluster.instances.push(instance);
    let clients: Vec<_> = cluster
        .instances
        .iter()
        .flat_map(|instance| Transport::ALL.map(|kind| Client::open(instance.public, kind)))
        .collect();
    let records = records_of(&clients);
    cluster.agrees_on(6, &records).await;
    cluster.redis.kill_9();
    let instance = cluster.instances.pop().expect("there are two");
    eventually("it notices the outage", async || match instance.shown().await? {
        shown if shown.exact => Err(format!("{shown:?}")),
        _ => Ok(()),
    })
    .await;
    cluster.redis.restart();
    cluster.instances.push(instance);
    cluster.agrees_on(6, &records).await;
    let instance = cluster.instances.pop().expect("there are two");
    ends_in_order(instance).await;
    drop(kept);
}

/// Goal: a log that is read again goes on, and tells of its gap. Method: a reader that is stuck until lines were dropped,
/// and then reads until it finds the line that tells of them.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_read_again_tells_of_its_gap() {
    let redis = RedisServer::start(&[]);
    let (instance, kept) = instance_logging_to(Reader::Stuck, "debug", &redis).await;
    drops_lines(&instance, &redis).await;
    let reader = kept.expect("it is there and does not read");
    let found = thread::spawn(move || {
        let lines = std::io::BufRead::lines(std::io::BufReader::new(reader));
        lines.map_while(Result::ok).any(|line| line.contains("log lines were dropped"))
    });
    eventually("the log tells of its gap", async || {
        if found.is_finished() { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    assert!(found.join().expect("the reader does not panic"), "the log ended without it");
}

/// Goal: an instance whose start-up line cannot be printed serves, and ends in order. Method: each kind of reader as its
/// stdout.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_start_up_line_that_nobody_takes_changes_nothing(
    #[values(Reader::Gone, Reader::Full, Reader::Stuck)] reader: Reader,
) {
    let (stdout, kept) = reader.descriptor();
    let output = Output { stdout: Some(stdout), ..Output::default() };
    let instance = Instance::start_writing_to(output, free_addresses(), &[]).await;
    let client = Client::open(instance.public, Transport::Websocket);
    let record = client.record();
    eventually("the client is told 1", async || {
        record.shows().filter(|&users| users == 1).ok_or_else(|| format!("{:?}", record.entries()))
    })
    .await;
    ends_in_order(instance).await;
    drop(kept);
}

/// What a command says by its exit code, and on stderr if that can be read.
async fn ends(output: Output, arguments: &[&str], settings: &[Setting<'_>]) -> (i32, String) {
    let mut process = Process::spawn_writing_to(output, arguments, settings);
    let (status, _) = process.ended().await;
    (status.code().unwrap_or(-1), process.stderr())
}

/// Goal: a reader of a command's answer may leave early, and the exit code is that of the answer; an answer that is lost
/// to a full disk is a failure that is told. Method: each command that prints an answer, with both as its stdout.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_cannot_be_printed() {
    let cluster = Cluster::start(1).await;
    let (redis, instance) = (cluster.redis.url(), &cluster.instances[0]);
    let (admin, target) = (instance.admin.to_string(), format!("http://{}", instance.public));
    let settings =
        [("HEADCOUNT_REDIS_URL", redis.as_str()), ("HEADCOUNT_ADMIN_LISTEN", admin.as_str())];
    let load = ["load", "--url", &target, "--connections", "3", "--hold", "10ms"];
    let commands: [&[&str]; 6] =
        [&["--help"], &["--version"], &["status"], &["status", "--json"], &["health"], &load];
    for arguments in commands {
        let settings = if arguments[0].starts_with('-') { &[] } else { &settings[..] };
        for (reader, code) in [(Reader::Gone, 0), (Reader::Full, 1)] {
            let output = Output { stdout: Some(reader.descriptor().0), ..Output::default() };
            let (ended, said) = ends(output, arguments, settings).await;
            assert_eq!(ended, code, "{arguments:?} to {reader:?}: {said}");
            let is_told = said.contains("failed to write to stdout");
            assert_eq!(is_told, reader == Reader::Full, "{arguments:?} to {reader:?}: {said}");
        }
    }
}

/// Goal: what is wrong is said by the exit code, whether or not the words can be read. Method: an unknown flag, a wrong
/// setting and a Redis that is not there, with each kind of reader as stderr.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_error_that_cannot_be_printed(
    #[values(Reader::Gone, Reader::Full, Reader::Stuck)] reader: Reader,
) {
    let nowhere = format!("redis://127.0.0.1:{}", free_port());
    let errors: [(&[&str], Setting<'_>, i32); 3] = [
        (&["--nosuch"], ("HEADCOUNT_LOG", "info"), 2),
        (&["serve"], ("HEADCOUNT_LISTEN", "nowhere"), 2),
        (&["status"], ("HEADCOUNT_REDIS_URL", &nowhere), 1),
    ];
    for (arguments, setting, code) in errors {
        let (stderr, _kept) = reader.descriptor();
        let output = Output { stderr: Some(stderr), ..Output::default() };
        assert_eq!(ends(output, arguments, &[setting]).await.0, code, "{arguments:?}");
    }
}
