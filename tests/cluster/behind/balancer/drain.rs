//! Instances that leave: in good order, in a crash, or without a word.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use headcount_testkit::{
    client::Transport,
    cluster::{Cluster, nothing_is_wrong_in},
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::shipped::{Shipped, server};
use crate::behind::{
    entrance::OWN_HOST,
    lateness::{EVENT_LATE_MAX, lateness},
    poll::waiting_poll,
};

/// Visitors of each kind.
const EACH: usize = 20;
/// All of them.
const ALL: u32 = 60;
const _: () = assert!(EACH * 3 == ALL as usize);

/// A client notes a loss a little after the server has counted it out, and a number a little after others have seen it come
/// back.
const NOTICE: Duration = Duration::from_secs(1);

/// Coming back after a crash: a client's delay of up to 1.5 s, twice if its first attempt found the server that has crashed.
const BACK_WITHIN: Duration = Duration::from_secs(10);

/// Goal: while one of three instances drains, nobody is counted twice, nobody sees an error, and no more are missing than are on
/// the move. Method: 60 real clients of every kind behind the balancer, which come back as a browser's do; one instance is
/// asked to end; the greatest and the least of all numbers that anybody was told are looked at.
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
    assert!((15..=25).contains(&moving), "evenly spread: {rest:?}");

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

/// Goal: visitors of an instance that has crashed are served by others at once, although the balancer keeps sessions where they
/// began. Method: 60 real clients of every kind; one of two instances is killed.
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

/// Goal: a server that does not even refuse, as one that has lost its network, holds nobody up for long. Method: beside an
/// instance there is a server whose queue of connections is full, so that none is ever made; a few requests each find it.
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
    // What is connected and not accepted fills the queue; attempts beyond it get no answer.
    let mut queue = Vec::new();
    let within = Duration::from_millis(200);
    while let Ok(queued) = std::net::TcpStream::connect_timeout(&address, within) {
        queue.push(queued);
    }
    let balancer = Shipped::start(&[server(&instance), (address, instance.admin)], &[]).await;
    let mut slowest = Duration::ZERO;
    for _ in 0..4 {
        let start = Instant::now();
        let answer = balancer.entrance.get(OWN_HOST, "/api/count", "").await;
        assert_eq!(answer.status, 200, "{answer:?}");
        slowest = slowest.max(start.elapsed());
    }
    println!("the slowest of four requests took {slowest:?}");
    assert!(slowest > Duration::from_millis(400), "no request was sent to it: {slowest:?}");
    assert!(slowest < Duration::from_millis(1500), "{slowest:?}");
}

/// Goal: the event stream arrives at once through the balancer. Method: of a few visitors that come and go the one whose news
/// took the least time, beside a reader without it.
#[tokio::test(flavor = "multi_thread")]
async fn events_arrive_at_once() {
    let cluster = Cluster::start(1).await;
    let balancer = Shipped::start(&[server(&cluster.instances[0])], &[]).await;
    let instance = cluster.instances[0].public;
    let late = lateness(&balancer.entrance, OWN_HOST, "/api/count/stream", instance).await;
    println!("an event came {late:?} later than without the balancer");
    assert!(late < EVENT_LATE_MAX, "{late:?}");
}

/// Goal: a visitor by polling whose page is closed is out of the count at once. Method: a poll through the balancer is cut.
#[tokio::test(flavor = "multi_thread")]
async fn a_poll_that_is_cut_is_out_at_once() {
    let cluster = Cluster::start(1).await;
    let balancer = Shipped::start(&[server(&cluster.instances[0])], &[]).await;
    let connection = waiting_poll(&balancer.entrance, OWN_HOST).await;
    cluster.agrees_on(1, &[]).await;
    drop(connection);
    let took = cluster.agrees_on(0, &[]).await;
    println!("it was counted out after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
}

/// Opens clients of every kind that come back as those of a browser do.
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

/// The greatest number of clients that were away at the same time, as far as the clients themselves can tell.
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
