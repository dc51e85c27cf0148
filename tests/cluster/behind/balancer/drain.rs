//! Instances that end in order, crash, or become unreachable behind the balancer.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use headcount_testkit::{
    client::Transport,
    cluster::{Cluster, nothing_is_wrong_in, told_after},
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    rooms::RoomsClient,
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::shipped::{Shipped, server};
use crate::behind::{
    entrance::OWN_HOST,
    lateness::{EVENT_LATE_MAX, lateness},
    poll::PollingVisitor,
};

/// Visitors of each kind.
const EACH: usize = 20;
/// Number of all visitors.
const ALL: u32 = 60;
const _: () = assert!(EACH * 3 == ALL as usize);

/// A client notices a loss a little after the server has counted it out. It shows a number a little after others have
/// seen its return.
const NOTICE: Duration = Duration::from_secs(1);

/// Time to return after a crash: a client's delay of up to 1.5 s, twice if its first attempt reached the crashed
/// server.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Goal: while one of three instances drains, no client is counted twice or sees an error, and the count misses only
/// the clients that are moving. Method: 60 real clients of every kind behind the balancer, which reconnect like those
/// of a browser. One instance is asked to end. The largest and the smallest displayed numbers are checked.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_counts_nobody_twice() {
    let settings = [("HEADCOUNT_DRAIN_DELAY", "3s"), ("HEADCOUNT_DRAIN", "4s")];
    let mut cluster = Cluster::start_with(3, &settings).await;
    let servers: Vec<_> = cluster.instances.iter().map(server).collect();
    let balancer = Shipped::start(&servers, &[]).await;
    let mut clients = ForeignClients::start(Library::Newest);
    let records = visitors(&mut clients, &balancer).await;
    cluster.agrees_on(u64::from(ALL), &records).await;
    let mut leaving = cluster.instances.remove(0);
    let rest = cluster.redis_client.instances().await.expect("Redis answers");
    let moving = *rest.values().max().expect("it has some");
    // The balancer chooses by open connections, so an instance that answers sooner on a busy machine gets more of those who come
    // at the same moment.
    assert!(moving <= u64::from(ALL) * 2 / 3, "nearly all are on one: {rest:?}");

    let marks: Vec<_> = records.iter().map(Record::mark).collect();
    leaving.process().signal(Signal::TERM);
    let (status, _) = leaving.process().ended().await;
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    cluster.agrees_on(u64::from(ALL), &records).await;
    let seen = records.iter().zip(&marks).flat_map(|(record, mark)| record.counts_since(*mark));
    let seen: Vec<u64> = seen.collect();
    let (least, most) = (seen.iter().min(), seen.iter().max());
    println!("{moving} moved; visitors were told {least:?} to {most:?}");
    assert_eq!(most, Some(&u64::from(ALL)), "somebody was counted twice: {seen:?}");
    let away = away_at_a_time(&records);
    println!("{away} were on the move at a time");
    assert!(away <= moving, "only those of one instance move");
    assert!(
        least.is_some_and(|least| least + away >= u64::from(ALL)),
        "{least:?} with {away} on the move"
    );
    nothing_is_wrong_in(&records);
}

/// Goal: visitors of a crashed instance are served by others at once, although the balancer keeps sessions on their
/// instance. Method: 60 real clients of every kind. One of two instances is killed.
#[tokio::test(flavor = "multi_thread")]
async fn visitors_of_a_crashed_instance_come_back() {
    let mut cluster = Cluster::start(2).await;
    let servers: Vec<_> = cluster.instances.iter().map(server).collect();
    let balancer = Shipped::start(&servers, &[]).await;
    let mut clients = ForeignClients::start(Library::Newest);
    let records = visitors(&mut clients, &balancer).await;
    cluster.agrees_on(u64::from(ALL), &records).await;
    let mut crashed = cluster.instances.remove(0);
    crashed.process().signal(Signal::KILL);
    crashed.process().ended().await;
    let rest = &cluster.instances[0];
    let ((), took) = eventually("all are at the other", async || {
        let missing = f64::from(ALL) - rest.metric("headcount_connections").await?;
        if missing < 0.5 { Ok(()) } else { Err(format!("{missing} are missing")) }
    })
    .await;
    cluster.agrees_on(u64::from(ALL), &records).await;
    println!("all were back after {took:?}");
    assert!(took < BACK_WITHIN, "{took:?}");
}

/// Goal: a server that does not even refuse connections, for example without a network, delays no visitor for long.
/// Method: beside an instance there is a server whose queue of connections is full, so that no connection is ever made.
/// Some of a few requests meet it.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_holds_nobody_up() {
    let instance = Instance::start(&[]).await;
    let hangs = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    hangs
        .bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("it is one").into())
        .expect("a port");
    hangs.listen(0).expect("it listens");
    let listener = TcpListener::from(hangs);
    let address = listener.local_addr().expect("it is bound");
    // Connections that are not accepted fill the queue. Further attempts get no answer.
    let mut queue = Vec::new();
    let within = Duration::from_millis(200);
    while let Ok(queued) = std::net::TcpStream::connect_timeout(&address, within) {
        queue.push(queued);
    }
    let balancer = Shipped::start(&[server(&instance), (address, instance.admin)], &[]).await;
    let mut took = Vec::new();
    for _ in 0..8 {
        let start = Instant::now();
        let answer = balancer.entrance.get(OWN_HOST, "/api/count", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        took.push(start.elapsed());
    }
    println!("requests took {took:?}");
    // A busy machine delays some of them further.
    let least = took.iter().filter(|took| **took > Duration::from_millis(400)).min();
    let least = least.unwrap_or_else(|| panic!("no request was sent to it: {took:?}"));
    assert!(*least < Duration::from_millis(1500), "{took:?}");
}

/// Goal: the event stream arrives at once through the balancer. Method: a few visitors join and leave. The smallest
/// delay is measured against a reader without the balancer.
#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_at_once() {
    let cluster = Cluster::start(1).await;
    let balancer = Shipped::start(&[server(&cluster.instances[0])], &[]).await;
    let instance = cluster.instances[0].public;
    let late = lateness(&balancer.entrance, OWN_HOST, "/api/count/stream", instance).await;
    println!("an event came {late:?} later than without the balancer");
    assert!(late < EVENT_LATE_MAX, "{late:?}");
}

/// Goal: a polling visitor whose page is closed leaves the count at once. Method: cut a poll through the balancer.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_cut_is_out_at_once() {
    let cluster = Cluster::start(1).await;
    let balancer = Shipped::start(&[server(&cluster.instances[0])], &[]).await;
    let watcher = RoomsClient::open(cluster.instances[0].public, Transport::Websocket, &[]);
    watcher.watch("/");
    let watching = [watcher.record("/")];
    let visitor = PollingVisitor::counted(&balancer.entrance, OWN_HOST).await;
    cluster.agrees_on(1, &watching).await;
    let cut = visitor.cut().await;
    cluster.agrees_on(0, &watching).await;
    let took = told_after(cut, &watching);
    println!("it was counted out after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Opens clients of every kind that reconnect like those of a browser.
async fn visitors(clients: &mut ForeignClients, balancer: &Shipped) -> Vec<Record> {
    let mut records = Vec::new();
    let url = format!("http://{}", balancer.entrance.address);
    let options = json!({
        "withCredentials": true,
        "reconnectionDelay": 1000,
        "reconnectionDelayMax": 5000,
    });
    for transport in Transport::ALL {
        let more = json!({ "strict": true, "options": options });
        records.extend(clients.open_with(EACH, &url, transport, &more).await);
    }
    records
}

/// The largest number of clients that were disconnected at the same time, according to the clients.
fn away_at_a_time(records: &[Record]) -> u64 {
    let mut moves = Vec::new();
    for record in records {
        let mut lost = None;
        for entry in record.entries() {
            match (&entry.event, lost) {
                (Event::Disconnected(_), None) => lost = Some(entry.at),
                (Event::Count(_), Some(at)) => {
                    moves.push((at, entry.at + NOTICE));
                    lost = None;
                }
                _ => {}
            }
        }
    }
    let away_at =
        |time| moves.iter().filter(|(lost, back)| (*lost..=*back).contains(&time)).count();
    moves.iter().map(|(lost, _)| away_at(*lost) as u64).max().unwrap_or_default()
}
