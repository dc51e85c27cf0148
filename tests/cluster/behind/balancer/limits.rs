//! The balancer's limits for one address, and for all addresses together.

use std::{net::Ipv4Addr, time::Duration};

use headcount_testkit::{instance::Instance, waiting::eventually};

use super::shipped::{Shipped, server};
use crate::behind::entrance::{Connection, OWN_HOST, USUAL};

/// Connections and sessions that the file allows one address to begin in 10 s.
const ALLOWED: usize = 1000;
/// With this change, addresses of this machine are treated as visitors' own.
const NO_PROXIES: (&str, &str) = ("acl from_proxy src 127.0.0.0/8 ", "acl from_proxy src ");

const GREEDY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 31);
const HANDSHAKE: &str = "http://count.example/socket.io/?EIO=4&transport=polling";
const COUNT: &str = "http://count.example/api/count";

/// Goal: an address that keeps opening connections first gets a clear refusal, then no service, and no other address is
/// affected. Method: one address opens idle connections up to the limit and beyond. It and another address request the
/// count.
#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_bounded() {
    let instance = Instance::start(&[]).await;
    let balancer = Shipped::start(&[server(&instance)], &[NO_PROXIES]).await;
    let open = async |from| balancer.entrance.connect(OWN_HOST, from).await.expect("it accepts");
    let mut held = Vec::new();
    while held.len() < ALLOWED - 1 {
        held.push(open(GREEDY).await);
    }
    // A connection that is idle for 10 s is closed, so a slow machine needs more of them.
    let refused = loop {
        let mut connection = open(GREEDY).await;
        let answer = connection.ask(COUNT, "").await.expect("an answer");
        if answer.status != 200 {
            break answer;
        }
        held.push(connection);
        assert!(held.len() < 3 * ALLOWED, "nobody says no");
    };
    assert!(held.len() >= ALLOWED, "refused after {}", held.len());
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(refused.body.starts_with("too many requests from your address"), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("10"));
    assert_eq!(refused.header("connection"), Some("close"));
    while held.len() < 2 * ALLOWED - 100 {
        held.push(open(GREEDY).await);
    }
    // An unserved connection ends without an answer.
    while let Ok(mut connection) = balancer.entrance.connect(OWN_HOST, GREEDY).await {
        if status(&mut connection, COUNT, "").await.is_none() {
            break;
        }
        // The refusal has closed that connection.
        held.extend(balancer.entrance.connect(OWN_HOST, GREEDY).await);
        assert!(held.len() < 4 * ALLOWED, "all are answered");
    }
    assert_eq!(status(&mut open(USUAL).await, COUNT, "").await, Some(200));
    for denied in ["requests_denied_total", "denied_connections_total"] {
        assert!(balancer.metric(denied).await >= 1.0, "{denied}");
    }
}

/// Goal: an address that keeps beginning sessions is refused new ones but keeps those it has, and no other address is
/// affected. Behind another proxy, the address is the last one that the proxy names. Method: send as many handshakes as
/// allowed and a few more, with a header, and then others.
#[tokio::test(flavor = "multi_thread")]
async fn sessions_of_one_visitor_behind_a_proxy_are_bounded() {
    let instance = Instance::start(&[]).await;
    let balancer = Shipped::start(&[server(&instance)], &[]).await;
    let mut connection = balancer.entrance.connect(OWN_HOST, USUAL).await.expect("it accepts");
    let greedy = "x-forwarded-for: 192.0.2.7, 203.0.113.9\r\n";
    let mut session = String::new();
    let mut begun = 0;
    // On a slow machine the first sessions leave the time window before the last ones begin.
    let refused = loop {
        let answer = connection.ask(HANDSHAKE, greedy).await.expect("an answer");
        if answer.status != 200 {
            break answer;
        }
        session = headcount_testkit::raw::session_in(&answer.body);
        begun += 1;
        assert!(begun < 10 * ALLOWED, "nobody says no");
    };
    assert!(refused.status == 429 && begun >= ALLOWED, "{begun}: {refused:?}");
    let mut connection = balancer.entrance.connect(OWN_HOST, USUAL).await.expect("it accepts");
    connection.say(&format!("{HANDSHAKE}&sid={session}"), greedy, Some("40")).await;
    assert_eq!(connection.answered().await.status, 200);
    let others = [
        "x-forwarded-for: 203.0.113.9, 192.0.2.7\r\n",
        "x-forwarded-for: 2001:db8:1:2::3\r\n",
        // A proxy that names no address is not limited, because it carries all visitors.
        "",
    ];
    for other in others {
        assert_eq!(status(&mut connection, HANDSHAKE, other).await, Some(200), "{other}");
    }
}

/// Goal: an IPv6 visitor gains nothing from using other addresses of its network. Method: smaller limits. Addresses of
/// one /64 begin one session each, then an address of another network does.
#[tokio::test(flavor = "multi_thread")]
async fn a_network_of_ipv6_is_one_visitor() {
    let instance = Instance::start(&[]).await;
    let fewer = ("gpc0_rate(visitors) gt 1000", "gpc0_rate(visitors) gt 10");
    let balancer = Shipped::start(&[server(&instance)], &[fewer]).await;
    let from = async |address: String| {
        let mut connection = balancer.entrance.connect(OWN_HOST, USUAL).await.expect("it accepts");
        let header = format!("x-forwarded-for: {address}\r\n");
        status(&mut connection, HANDSHAKE, &header).await
    };
    for host in 1..=10 {
        assert_eq!(from(format!("2001:db8:1:2::{host}")).await, Some(200));
    }
    assert_eq!(from(String::from("2001:db8:1:2:ffff::11")).await, Some(429));
    assert_eq!(from(String::from("2001:db8:1:3::11")).await, Some(200));
}

/// Goal: a full balancer says so, and continues to serve metrics to Prometheus. Method: smaller limits, and as many
/// connections.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_balancer_says_so() {
    let instance = Instance::start(&[]).await;
    let fewer = [("maxconn 20000", "maxconn 60"), ("fe_conn gt 19800", "fe_conn gt 40")];
    let balancer = Shipped::start(&[server(&instance)], &fewer).await;
    let open = async || balancer.entrance.connect(OWN_HOST, USUAL).await.expect("it accepts");
    let mut held = Vec::new();
    while held.len() < 40 {
        held.push(open().await);
    }
    has_accepted(&balancer, 40.0).await;
    let refused = open().await.ask(COUNT, "").await.expect("an answer");
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.body.starts_with("full: "), "{refused:?}");
    assert_eq!(refused.header("retry-after"), Some("5"));
    while held.len() < 70 {
        held.push(open().await);
    }
    let mut beyond = open().await;
    beyond.say(COUNT, "", None).await;
    assert!(beyond.is_silent(Duration::from_millis(300)).await, "it waits");
    has_accepted(&balancer, 60.0).await;
    assert_eq!(balancer.metric("limit_sessions").await.to_string(), "60");
    held.clear();
    drop(beyond);
    eventually("it serves again", async || match status(&mut open().await, COUNT, "").await {
        Some(200) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}

/// Waits until the balancer has so many connections. The kernel makes connections before the balancer accepts them.
async fn has_accepted(balancer: &Shipped, connections: f64) {
    eventually("connections are accepted", async || {
        let now = balancer.metric("current_sessions").await;
        if (now - connections).abs() < 0.5 { Ok(()) } else { Err(now.to_string()) }
    })
    .await;
}

/// The status of an answer, if there is one.
async fn status(connection: &mut Connection, url: &str, headers: &str) -> Option<u16> {
    connection.ask(url, headers).await.ok().map(|answer| answer.status)
}
