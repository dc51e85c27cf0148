//! `/api/count/stream`: events, the bound on readers, and their end at shutdown.

use std::net::SocketAddr;

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    event_stream::{self, EventStream},
    instance::Instance,
    open_files,
    waiting::{PATIENCE, eventually},
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;

/// What the program allows at a time, or fewer where files are few.
const STREAMS_MAX: usize = 1000;

/// One reader of the stream, at its first event or beyond.
pub(super) struct Reader(EventStream);

impl Reader {
    /// Asks for the stream and reads the head of the answer.
    async fn open(server: SocketAddr) -> Self {
        Self::open_at(server, event_stream::PATH, "").await
    }

    /// Asks for the stream at this path, with these headers; each of them ends with a line break.
    pub(super) async fn open_at(server: SocketAddr, path: &str, headers: &str) -> Self {
        let opening = timeout(PATIENCE, EventStream::open_at(server, path, headers)).await;
        Self(opening.expect("an answer in time").expect("it answers"))
    }

    /// The next event; `None` at the end.
    async fn event(&mut self) -> Option<Value> {
        let json = timeout(PATIENCE, self.0.next()).await.expect("an event in time")?;
        Some(serde_json::from_str(&json).expect("JSON"))
    }

    /// Reads on until the count is this one.
    pub(super) async fn event_with(&mut self, users: u64) -> Value {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event["count"] == users && event["exact"] == true {
                return event;
            }
        }
    }
}

/// Goal: readers hear of every change on any instance, and are nobody's users. Method: two readers on two
/// instances; clients join one of them and leave; the count never includes the readers.
#[tokio::test(flavor = "multi_thread")]
async fn readers_hear_changes_and_do_not_count() {
    let cluster = Cluster::start(2).await;
    let mut here = Reader::open(cluster.instances[0].public).await;
    let mut there = Reader::open(cluster.instances[1].public).await;
    here.event_with(0).await;
    let client = Client::open(cluster.instances[0].public, Transport::Websocket);
    let first = here.event_with(1).await;
    let second = there.event_with(1).await;
    assert_eq!(first["revision"], second["revision"]);
    assert_ne!(first["instance"], second["instance"]);
    cluster.agrees_on(1, &records_of([&client])).await;
    client.leave().await;
    assert!(there.event_with(0).await["revision"].as_u64() > first["revision"].as_u64());
    let streams = cluster.instances[0].metric("headcount_streams").await;
    assert_eq!(streams, Ok(1.0));
}

/// Goal: pages of foreign origins take no place. Method: ask as such a page.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_may_not_read() {
    let instance = Instance::start(&[]).await;
    let origin = "origin: https://evil.example\r\n";
    assert_eq!(Reader::open_at(instance.public, event_stream::PATH, origin).await.0.status, 403);
}

/// Goal: readers are bounded, and a place that is given up is free again. Method: take all, ask once more,
/// give one up.
#[tokio::test(flavor = "multi_thread")]
async fn readers_are_bounded() {
    open_files::raise_limit();
    let instance = Instance::start(&[]).await;
    let mut readers = Vec::new();
    let refused = loop {
        let reader = Reader::open(instance.public).await;
        if reader.0.status != 200 {
            break reader.0.status;
        }
        readers.push(reader);
        assert!(readers.len() <= STREAMS_MAX, "{} streams are open", readers.len());
    };
    println!("{} streams, then {refused}", readers.len());
    assert_eq!(refused, 503);
    readers.pop();
    eventually("a place is free again", async || {
        match Reader::open(instance.public).await.0.status {
            200 => Ok(()),
            status => Err(format!("status {status}")),
        }
    })
    .await;
    assert!(instance.metric("headcount_refused_total").await.is_ok_and(|refused| refused >= 1.0));
}

/// Goal: readers do not hold up a shutdown, and are sent elsewhere at once. Method: SIGTERM with an open
/// stream: it ends, and so does the process, in good order.
#[tokio::test(flavor = "multi_thread")]
async fn streams_end_at_shutdown() {
    let mut instance = Instance::start(&[("HEADCOUNT_DRAIN", "0s")]).await;
    let mut reader = Reader::open(instance.public).await;
    assert!(reader.event().await.is_some());
    instance.process().signal(Signal::TERM);
    while reader.event().await.is_some() {}
    let (status, _) = instance.process().ended().await;
    assert!(status.success(), "{status}");
}
