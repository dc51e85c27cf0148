//! The promises of the files in deploy/proxies, each tested with the real program.

use std::{net::SocketAddr, time::Duration};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{nothing_is_wrong_in, told_after},
    foreign::{ForeignClients, Library},
    http,
    raw::session_in,
    record::{Event, Record},
    rooms::RoomsClient,
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::json;

use super::{
    HERE, Pair,
    entrance::{CERTIFICATE, OWN_HOST, STRANGE, USUAL, YOUR_SITE},
    lateness::{EVENT_LATE_MAX, lateness},
    poll::PollingVisitor,
    program::{Changes, Program, Proxy},
};

/// Clients of each kind at each site.
pub(super) const EACH: usize = 3;
/// Number of all clients: three kinds at two sites.
const ALL: usize = EACH * 3 * 2;

/// The request that begins a polling session.
pub(super) const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// Where the proxy passes it on, a closed page is noticed within this time. That is far sooner than a poll ends by
/// itself.
const GONE_AT_ONCE: Duration = Duration::from_millis(2500);
/// How long a poll waits if nothing happens.
const PING_INTERVAL: Duration = Duration::from_secs(4);

/// Goal: behind every proxy visitors are counted right and stay on their instance, at a dedicated host and below a
/// path. An orderly restart of an instance moves all its visitors without an error and counts none twice. Method: real
/// clients of every kind connect over TLS, like pages of the site, and record each failed attempt. One of two instances
/// is asked to end, and is started again. Meanwhile another client joins and leaves elsewhere, so that polls end and
/// begin. All displayed numbers are checked.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_restarts_behind_a_proxy(
    #[values(Program::Nginx, Program::Caddy, Program::Traefik, Program::Apache, Program::HaProxy)]
    program: Program,
) {
    // Only a proxy that checks readiness needs time for it.
    let delay = if program.asks_for_readiness() { "4s" } else { "0s" };
    let settings = [("HEADCOUNT_DRAIN_DELAY", delay), ("HEADCOUNT_DRAIN", "2s")];
    let mut pair = Pair::start(&settings).await;
    // The file suspends an instance for longer than a drain of 10 s takes. This drain takes 2 s.
    let sooner: Changes<'_> = &[("retry=15", "retry=4")];
    let changes = if program == Program::Apache { sooner } else { &[] };
    let proxy = Proxy::start_with(program, &pair, changes).await;
    // While no visitor is connected, newcomers go to both instances in turn or at random.
    let cookies = cookies(&proxy).await;
    let mut clients = ForeignClients::start(Library::Newest);
    let records = visitors(&mut clients, &proxy, &pair).await;
    for instance in &pair.cluster.instances {
        assert!(instance.metric("headcount_connections").await.is_ok_and(|share| share > 1.0));
    }

    let marks: Vec<_> = records.iter().map(Record::mark).collect();
    let mut leaving = pair.cluster.instances.remove(0);
    leaving.process().signal(Signal::TERM);
    let staying = pair.cluster.instances[0].public;
    let (status, took) = tokio::select! {
        ended = leaving.process().ended() => ended,
        () = come_and_go(&proxy, &cookies, staying) => unreachable!("it has no end"),
    };
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    pair.cluster.agrees_on(ALL as u64, &records).await;
    let seen = records.iter().zip(&marks).flat_map(|(record, mark)| record.counts_since(*mark));
    let seen: Vec<u64> = seen.collect();
    let (least, most) = (seen.iter().min(), seen.iter().max());
    println!("{program:?}: it ended after {took:?}; visitors were told {least:?} to {most:?}");
    let with_the_one = ALL as u64 + 1;
    assert!(most.is_none_or(|&most| most <= with_the_one), "somebody was counted twice: {seen:?}");
    nothing_is_wrong_in(&records);

    pair.add(HERE[0], &settings).await;
    let back = pair.cluster.instances[1].public;
    let back = http::get(back, "/api/count").await.expect("it is ready");
    eventually("it is used again", async || {
        let answer = proxy.entrance.get(OWN_HOST, "/api/count", "").await;
        match (instance_in(&answer.body), instance_in(&back.body)) {
            (answered, wanted) if answered == wanted => Ok(()),
            (answered, _) => Err(format!("{answered:?} has answered")),
        }
    })
    .await;
    nothing_is_wrong_in(&records);
}

/// Opens clients of every kind at both sites. All are counted, and those that begin with polling have moved to websockets.
async fn visitors(clients: &mut ForeignClients, proxy: &Proxy, pair: &Pair) -> Vec<Record> {
    let (mut records, mut upgrading) = (Vec::new(), Vec::new());
    for (host, path) in [(OWN_HOST, "/socket.io/"), (YOUR_SITE, "/count/socket.io/")] {
        for transport in Transport::ALL {
            let opened = open(clients, proxy, host, path, transport).await;
            if transport == Transport::Upgrade {
                upgrading.extend(opened.clone());
            }
            records.extend(opened);
        }
    }
    let settled = pair.cluster.agrees_on(ALL as u64, &records).await;
    println!("all were counted after {settled:?}");
    eventually("all that can are on websockets", async || {
        let missing = upgrading.iter().find(|record| record.times(Event::is_upgraded) == 0);
        missing.map_or(Ok(()), |record| Err(format!("{}: {:?}", record.name(), record.entries())))
    })
    .await;
    records
}

/// The instance that returned the count.
fn instance_in(answer: &str) -> Option<String> {
    let answer: serde_json::Value = serde_json::from_str(answer).ok()?;
    Some(answer["instance"].as_str()?.to_owned())
}

/// Goal: every proxy passes on what pages need. Pages of the site are allowed and others are not, and unknown host
/// names are not served. The path redirects to its slash, and the event stream arrives at once. A polling visitor whose
/// page is closed leaves the count at once. If the proxy does not pass that on, it leaves when its poll would have
/// ended. Method: requests over TLS. Visitors join and leave, and two readers compare the delay with and without the
/// proxy. A poll is cut.
#[rstest]
#[case(Program::Nginx, GONE_AT_ONCE)]
#[case(Program::Caddy, GONE_AT_ONCE)]
#[case(Program::Traefik, GONE_AT_ONCE)]
#[case(Program::HaProxy, GONE_AT_ONCE)]
#[case(Program::Apache, 2 * PING_INTERVAL + GONE_AT_ONCE)]
#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_passes_on_what_pages_need(#[case] program: Program, #[case] gone: Duration) {
    let interval = format!("{}s", PING_INTERVAL.as_secs());
    let settings =
        [("HEADCOUNT_PING_INTERVAL", interval.as_str()), ("HEADCOUNT_PING_TIMEOUT", "2s")];
    let pair = Pair::start(&settings).await;
    let proxy = Proxy::start(program, &pair).await;
    lets_in_pages_of_its_sites(&proxy).await;

    let instance = pair.cluster.instances[0].public;
    let late = lateness(&proxy.entrance, YOUR_SITE, "/count/api/count/stream", instance).await;
    println!("{program:?}: an event came {late:?} later than without the proxy");
    assert!(late < EVENT_LATE_MAX, "{late:?}");

    let watcher = RoomsClient::open(instance, Transport::Websocket, &[]);
    watcher.watch("/");
    let watching = [watcher.record("/")];
    let visitor = PollingVisitor::counted(&proxy.entrance, OWN_HOST).await;
    pair.cluster.agrees_on(1, &watching).await;
    let cut = visitor.cut().await;
    pair.cluster.agrees_on(0, &watching).await;
    let took = told_after(cut, &watching);
    println!("{program:?}: a poll that was cut was counted out after {took:?}");
    assert!(took < gone, "{took:?}");
}

async fn lets_in_pages_of_its_sites(proxy: &Proxy) {
    for (host, path) in [(OWN_HOST, ""), (YOUR_SITE, "/count")] {
        let ask = async |origin: &str| {
            let origin = format!("origin: https://{origin}\r\n");
            proxy.entrance.get(host, &format!("{path}{HANDSHAKE}"), &origin).await
        };
        let let_in = ask(host).await;
        assert_eq!(let_in.status, 200, "{let_in:?}");
        let cookie = let_in.cookie().expect("it sticks");
        assert!(cookie.starts_with("headcount="), "{cookie}");
        assert_eq!(ask(STRANGE).await.status, 403);
        let page = proxy.entrance.get(host, &format!("{path}/"), "").await;
        assert!(page.status == 200 && page.body.contains("client.js"), "{page:?}");
    }
    let slash = proxy.entrance.get(YOUR_SITE, "/count", "").await;
    let location = slash.header("location").unwrap_or_default();
    assert!((300..400).contains(&slash.status) && location.ends_with("/count/"), "{slash:?}");
    // A proxy may refuse the name during the TLS handshake.
    if let Ok(mut stranger) = proxy.entrance.connect(STRANGE, USUAL).await {
        let answer = stranger.ask(&format!("https://{STRANGE}/api/count"), "").await;
        let serves = answer.as_ref().map(|answer| answer.body.contains("count\":"));
        assert_eq!(serves, Ok(false), "{answer:?}");
    }
}

/// Goal: one address cannot use up everything, and others are not affected by it. Method: smaller limits in the files.
/// One address begins sessions and holds streams open until it gets a clear refusal. Another address continues to be
/// served.
#[rstest]
#[case(Program::Nginx, &[("burst=900", "burst=9"), ("rate=100r/s", "rate=1r/m"), ("open 1000", "open 10")])]
#[case(Program::Traefik, &[("average: 100\n        burst: 1000", "average: 1\n        period: 1m\n        burst: 10"), ("amount: 1000", "amount: 10")])]
#[case(Program::HaProxy, &[("gpc0_rate(visitors) gt 1000", "gpc0_rate(visitors) gt 10"), ("conn_cur(visitors) gt 1000", "conn_cur(visitors) gt 10")])]
#[tokio::test(flavor = "multi_thread")]
async fn limits_are_for_each_address(#[case] program: Program, #[case] changes: Changes<'_>) {
    let pair = Pair::start(&[]).await;
    let proxy = Proxy::start_with(program, &pair, changes).await;
    let handshake = format!("https://{OWN_HOST}{HANDSHAKE}");
    let (greedy, holding) = ([127, 0, 0, 21].into(), [127, 0, 0, 22].into());
    let statuses = async |from, times: usize| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            let mut connection = proxy.entrance.connect(OWN_HOST, from).await.expect("it accepts");
            let answer = connection.ask(&handshake, "connection: close\r\n").await.expect("it");
            let says_why = answer.status == 200 || answer.body.to_lowercase().contains("too many");
            assert!(says_why, "{answer:?}");
            statuses.push(answer.status);
        }
        statuses
    };
    assert_eq!(statuses(greedy, 12).await, [[200].repeat(10), [429].repeat(2)].concat());
    assert_eq!(statuses(USUAL, 2).await, [200; 2]);

    let stream = format!("https://{OWN_HOST}/api/count/stream");
    let mut held = Vec::new();
    let refused = loop {
        let mut connection = proxy.entrance.connect(OWN_HOST, holding).await.expect("it accepts");
        connection.say(&stream, "", None).await;
        let status = connection.line().await.expect("an answer");
        held.push(connection);
        if !status.contains(" 200") {
            break status;
        }
        assert!(held.len() < 20, "nobody says no");
    };
    assert!(refused.contains(" 429") && held.len() == 11, "{refused} for {}", held.len());
    assert_eq!(statuses(USUAL, 2).await, [200; 2]);
}

/// Goal: a request for counts that an instance refuses keeps nobody else out: the proxy does not take the instance for one
/// that shuts down. Method: a program asks for more rooms than instances with small tables keep, until all refuse. After
/// each refusal a visitor begins a session, and another program asks for the count, at both sites.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_request_sets_no_instance_aside(
    #[values(Program::Nginx, Program::Caddy, Program::Traefik, Program::Apache, Program::HaProxy)]
    program: Program,
) {
    let pair = Pair::start(&[("HEADCOUNT_ROOMS_MAX", "10")]).await;
    let proxy = Proxy::start(program, &pair).await;
    let rooms = (0..20).map(|number| format!("room=/page/{number}")).collect::<Vec<_>>().join("&");
    for (host, path) in [(OWN_HOST, ""), (YOUR_SITE, "/count")] {
        let ask = async |rest: &str| proxy.entrance.get(host, &format!("{path}{rest}"), "").await;
        for _ in 0..5 {
            let refused = ask(&format!("/api/counts?{rooms}")).await;
            let is_told_why = refused.status == 503 && refused.body.contains("rooms_full");
            assert!(is_told_why, "{refused:?}");
            for served in [HANDSHAKE, "/api/count"] {
                let answer = ask(served).await;
                assert_eq!(answer.status, 200, "{program:?}, {served}: {answer:?}");
            }
        }
    }
}

/// The cookies of both instances, from sessions that are ended again.
pub(super) async fn cookies(proxy: &Proxy) -> Vec<String> {
    let mut cookies = Vec::new();
    while cookies.len() < 2 {
        let answer = proxy.entrance.get(OWN_HOST, HANDSHAKE, "").await;
        let cookie = answer.cookie().expect("it sticks").to_owned();
        let session = session_in(&answer.body);
        let url = format!("https://{OWN_HOST}{HANDSHAKE}&sid={session}");
        let mut connection = proxy.entrance.connect(OWN_HOST, USUAL).await.expect("it accepts");
        connection.say(&url, &format!("cookie: {cookie}\r\n"), Some("1")).await;
        assert_eq!(connection.answered().await.status, 200);
        if !cookies.contains(&cookie) {
            cookies.push(cookie);
        }
    }
    cookies
}

/// One visitor joins and leaves, and earlier visitors begin new sessions, all of which succeed.
async fn come_and_go(proxy: &Proxy, cookies: &[String], elsewhere: SocketAddr) {
    loop {
        let visitor = Client::open(elsewhere, Transport::Websocket);
        for cookie in cookies {
            let header = format!("cookie: {cookie}\r\n");
            let answer = proxy.entrance.get(OWN_HOST, HANDSHAKE, &header).await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
        eventually("it is counted", async || {
            visitor.record().shows().map(drop).ok_or_else(|| String::from("it is not"))
        })
        .await;
        visitor.leave().await;
    }
}

/// Opens clients at a site like its pages would, and returns their records.
pub(super) async fn open(
    clients: &mut ForeignClients,
    proxy: &Proxy,
    host: &str,
    path: &str,
    transport: Transport,
) -> Vec<Record> {
    let url = format!("https://{host}:{}", proxy.entrance.address.port());
    let options = json!({
        "path": path,
        "ca": CERTIFICATE.chain,
        "withCredentials": true,
        "extraHeaders": { "Origin": url },
    });
    let more = json!({ "strict": true, "options": options });
    clients.open_with(EACH, &url, transport, &more).await
}
