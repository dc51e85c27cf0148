//! `/api/count/stream`: events, the bound on readers, and their end at shutdown.

use std::net::SocketAddr;

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::Instance,
    open_files,
    waiting::{PATIENCE, eventually},
};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::TcpStream,
    time::timeout,
};

/// What the program allows at a time, or fewer where files are few.
const STREAMS_MAX: usize = 1000;

/// One reader of the stream, at its first event or beyond.
pub(super) struct Reader {
    status: u16,
    lines: Lines<BufReader<TcpStream>>,
}

impl Reader {
    /// Asks for the stream and reads the head of the answer.
    async fn open(server: SocketAddr) -> Self {
        Self::open_as(server, "").await
    }

    /// The same with more header lines.
    async fn open_as(server: SocketAddr, headers: &str) -> Self {
        Self::open_at(server, "/api/count/stream", headers).await
    }

    /// The same where a proxy has it.
    pub(super) async fn open_at(server: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(server).await.expect("it accepts");
        let request = format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.expect("it reads");
        let mut lines = BufReader::new(stream).lines();
        let mut head = Vec::new();
        while let Some(line) = next(&mut lines).await.filter(|line| !line.is_empty()) {
            head.push(line);
        }
        let status = head.first().and_then(|line| line.split(' ').nth(1)?.parse().ok());
        Self { status: status.expect("a status"), lines }
    }

    /// The next event; `None` at the end.
    async fn event(&mut self) -> Option<Value> {
        loop {
            let line = next(&mut self.lines).await?;
            if let Some(data) = line.strip_prefix("data: ") {
                return Some(serde_json::from_str(data).expect("JSON"));
            }
        }
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

async fn next(lines: &mut Lines<BufReader<TcpStream>>) -> Option<String> {
    // A connection that is reset has ended too.
    timeout(PATIENCE, lines.next_line()).await.expect("a line in time").unwrap_or_default()
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
    assert_eq!(Reader::open_as(instance.public, origin).await.status, 403);
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
        if reader.status != 200 {
            break reader.status;
        }
        readers.push(reader);
        assert!(readers.len() <= STREAMS_MAX, "{} streams are open", readers.len());
    };
    println!("{} streams, then {refused}", readers.len());
    assert_eq!(refused, 503);
    readers.pop();
    eventually("a place is free again", async || {
        match Reader::open(instance.public).await.status {
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
