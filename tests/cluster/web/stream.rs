//! `/api/count/stream`: events, the limit of readers, and their end at shutdown.

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

/// Readers that the program allows at a time. It allows fewer where few files may be open.
const STREAMS_MAX: usize = 1000;

/// One reader of the stream.
pub(super) struct Reader(EventStream);

impl Reader {
    /// Requests the stream, and reads the head of the answer.
    async fn open(server: SocketAddr) -> Self {
        Self::open_at(server, event_stream::PATH, "").await
    }

    /// Requests the stream at this path, with these headers, each of which ends with a line break.
    pub(super) async fn open_at(server: SocketAddr, path: &str, headers: &str) -> Self {
        let opening = timeout(PATIENCE, EventStream::open_at(server, path, headers)).await;
        Self(opening.expect("an answer in time").expect("it answers"))
    }

    /// The status of the answer.
    pub(super) fn status(&self) -> u16 {
        self.0.status
    }

    /// The next event, or `None` at the end.
    pub(super) async fn event(&mut self) -> Option<Value> {
        let json = timeout(PATIENCE, self.0.next()).await.expect("an event in time")?;
        Some(serde_json::from_str(&json).expect("JSON"))
    }

    /// Reads until the count is this one.
    pub(super) async fn event_with(&mut self, users: u64) -> Value {
        loop {
            let event = self.event().await.expect("the stream goes on");
            if event["count"] == users && event["exact"] == true {
                return event;
            }
        }
    }
}

/// Goal: readers get every change on any instance, and are not counted. Method: two readers on two
/// instances. Clients join one of them and leave. The count never includes the readers.
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

/// Goal: pages of foreign origins cannot occupy a place. Method: ask as such a page.
#[tokio::test(flavor = "multi_thread")]
async fn foreign_pages_may_not_read() {
    let instance = Instance::start(&[]).await;
    let origin = "origin: https://evil.example\r\n";
    assert_eq!(Reader::open_at(instance.public, event_stream::PATH, origin).await.0.status, 403);
}

/// Goal: the number of readers is limited, and a place is free again after its reader leaves. Method: take
/// all places, ask once more, then close one.
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

/// Goal: readers do not delay a shutdown, and are disconnected at once. Method: SIGTERM with an open
/// stream. The stream ends, and so does the process, in order.
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
