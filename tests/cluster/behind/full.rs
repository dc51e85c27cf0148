//! A cluster without a free place for a session, behind every proxy of deploy/proxies.

use std::time::Duration;

use headcount_testkit::{
    client::{Client, Transport},
    cluster::nothing_is_wrong_in,
    foreign::{ForeignClients, Library},
    record::Event,
    waiting::eventually_within,
};
use rstest::rstest;
use rustix::process::Signal;

use super::{
    Pair,
    entrance::{Answer, OWN_HOST, USUAL, YOUR_SITE},
    program::{Program, Proxy},
    proxies::{EACH, HANDSHAKE, cookies, open},
};

/// Sessions of each instance: all clients behind the proxy fit into one.
const PLACES: u32 = 12;
/// Clients behind the proxy, of three kinds.
const VISITORS: u64 = EACH as u64 * 3;
/// A client asks again after 1 s or so, and must not have to wait for the proxy as well.
const SOON: Duration = Duration::from_secs(2);
/// More than a proxy needs to set all instances aside.
const ROUNDS: usize = 4;

/// A proxy that asks each second for readiness has noticed a crash after a third of this, and a busy machine may need the rest to ask
/// once.
const NOTICED: Duration = Duration::from_secs(15);

const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
    sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Goal: if no instance has a free place, new sessions are refused with 503 and are told when to try again, whichever way they
/// come; everybody who is in stays in, and a place that becomes free is taken at once. Method: real clients of every kind behind
/// the proxy, and clients of the instances themselves until both are full. Others ask for sessions, with each cookie and without.
/// Then one client of each instance leaves.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_cluster_says_so(
    #[values(Program::Nginx, Program::Caddy, Program::Traefik, Program::Apache, Program::HaProxy)]
    program: Program,
) {
    let places = PLACES.to_string();
    let pair = Pair::start(&[("HEADCOUNT_MAX_CONNECTIONS", &places)]).await;
    let proxy = Proxy::start(program, &pair).await;
    let cookies = cookies(&proxy).await;
    let mut clients = ForeignClients::start(Library::Newest);
    let mut records = Vec::new();
    for transport in Transport::ALL {
        records.extend(open(&mut clients, &proxy, OWN_HOST, "/socket.io/", transport).await);
    }
    pair.cluster.agrees_on(VISITORS, &records).await;
    let mut others = fill(&pair).await;
    records.extend(others.iter().map(|client| client.record().clone()));
    let all = 2 * u64::from(PLACES);
    pair.cluster.agrees_on(all, &records).await;

    for _ in 0..ROUNDS {
        for answer in newcomers(&proxy, &cookies).await {
            assert_eq!(answer.status, 503, "{program:?}: {answer:?}");
            assert_eq!(answer.header("retry-after"), Some("5"), "{program:?}: {answer:?}");
        }
    }
    pair.cluster.agrees_on(all, &records).await;
    for record in &records {
        assert_eq!(record.times(Event::is_disconnected), 0, "{} was put out", record.name());
    }

    for leaving in [others.remove(0), others.pop().expect("several")] {
        leaving.leave().await;
    }
    let staying = records.split_off(records.len() - others.len() - 2);
    records.extend(staying.into_iter().skip(1).take(others.len()));
    let what = "a newcomer takes a free place";
    let ((), took) = eventually_within(SOON, what, async || {
        match proxy.entrance.get(OWN_HOST, HANDSHAKE, "").await.status {
            200 => Ok(()),
            status => Err(status.to_string()),
        }
    })
    .await;
    println!("{program:?}: a free place was taken after {took:?}");
    pair.cluster.agrees_on(all - 2, &records).await;
    nothing_is_wrong_in(&records);
}

/// Goal: also if the instances that are left are full, because another one has crashed, who comes is refused with 503. Method: two
/// full instances, one of which is killed. A proxy may need a while until it knows.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_full_instance_beside_a_dead_one_says_so(
    #[values(Program::Nginx, Program::Caddy, Program::Traefik, Program::Apache, Program::HaProxy)]
    program: Program,
) {
    let places = PLACES.to_string();
    let mut pair = Pair::start(&[("HEADCOUNT_MAX_CONNECTIONS", &places)]).await;
    let proxy = Proxy::start(program, &pair).await;
    let cookies = cookies(&proxy).await;
    let _others = fill(&pair).await;
    pair.cluster.agrees_on(2 * u64::from(PLACES), &[]).await;
    pair.cluster.instances.pop().expect("two of them").process().signal(Signal::KILL);
    let what = "all newcomers are told that it is full";
    let ((), took) = eventually_within(NOTICED, what, async || {
        let answers = newcomers(&proxy, &cookies).await;
        let other = answers.into_iter().find(|answer| answer.status != 503);
        other.map_or(Ok(()), |answer| Err(format!("{answer:?}")))
    })
    .await;
    println!("{program:?}: newcomers were told after {took:?}");
    for _ in 0..ROUNDS {
        for answer in newcomers(&proxy, &cookies).await {
            assert_eq!(answer.status, 503, "{program:?}: {answer:?}");
        }
    }
}

/// Opens clients of each instance, first of the first, until it has no place left.
async fn fill(pair: &Pair) -> Vec<Client> {
    let mut clients = Vec::new();
    for instance in &pair.cluster.instances {
        let taken = instance.metric("headcount_sessions").await.expect("it answers");
        let mut free = f64::from(PLACES) - taken;
        assert!(free >= 1.0, "{free} of its places are left for clients of its own");
        while free >= 1.0 {
            free -= 1.0;
            clients.push(Client::open(instance.public, Transport::Websocket));
        }
    }
    clients
}

/// The answers to those who ask for a session, at each site by each transport, with the cookies of both instances and without.
async fn newcomers(proxy: &Proxy, cookies: &[String]) -> Vec<Answer> {
    let mut answers = Vec::new();
    let with = cookies.iter().map(|cookie| format!("cookie: {cookie}\r\n"));
    let headers: Vec<_> = with.chain([String::new()]).collect();
    for (host, path) in [(OWN_HOST, ""), (YOUR_SITE, "/count")] {
        for cookie in &headers {
            for (transport, more) in [(HANDSHAKE, ""), (WEBSOCKET, UPGRADE)] {
                let mut connection = proxy.entrance.connect(host, USUAL).await.expect("it accepts");
                let url = format!("https://{host}{path}{transport}");
                let answer = connection.ask(&url, &format!("{cookie}{more}")).await;
                answers.push(answer.expect("an answer"));
            }
        }
    }
    answers
}
