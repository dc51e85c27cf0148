//! Applications built on axum and socketioxide, with the lesson's application as the example, in one cluster with
//! instances.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of, told_after},
    foreign::{ForeignClients, Library},
    http,
    instance::Setting,
    record::{Event, Record},
    waiting::eventually,
};
use regex::RegexBuilder;
use rustix::process::Signal;
use tokio::time::sleep;

use crate::{application::Application, counting::Dice};

/// Lease + heartbeat, and a second for a busy machine.
const GONE_WITHIN: Duration = Duration::from_millis(2500 + 1000);

/// Two instances and two applications. Each has three clients in Node and three in Rust, one for each transport.
struct Mixed {
    cluster: Cluster,
    applications: Vec<Application>,
    /// The clients of each server, instances first.
    clients: Vec<Vec<Client>>,
    records: Vec<Vec<Record>>,
    _node: ForeignClients,
}

impl Mixed {
    async fn start(settings: &[Setting<'_>]) -> Self {
        let cluster = Cluster::start_with(2, settings).await;
        let url = cluster.redis.url();
        let settings = [&[("HEADCOUNT_REDIS_URL", url.as_str())], settings].concat();
        let mut applications = Vec::new();
        for _ in 0..2 {
            applications.push(Application::start(&settings).await);
        }
        let mut node = ForeignClients::start(Library::Newest);
        let (mut clients, mut records) = (Vec::new(), Vec::new());
        let instances = cluster.instances.iter().map(|instance| instance.public);
        let servers = instances.chain(applications.iter().map(|application| application.public));
        for server in servers.collect::<Vec<_>>() {
            let rust = Transport::ALL.map(|transport| Client::open(server, transport));
            let mut of_server = records_of(&rust);
            for transport in Transport::ALL {
                of_server.extend(node.open(1, server, transport).await);
            }
            clients.push(Vec::from(rust));
            records.push(of_server);
        }
        let mixed = Self { cluster, applications, clients, records, _node: node };
        mixed.cluster.agrees_on(24, &mixed.everybody()).await;
        mixed
    }

    fn everybody(&self) -> Vec<Record> {
        self.records.concat()
    }

    /// Ignores the clients of this server from now on, because the server has ended.
    fn forget(&mut self, server: usize) {
        drop(self.clients.remove(server));
        drop(self.records.remove(server));
    }
}

/// Goal: users of applications and visitors of instances are counted together. A server of either kind that is killed
/// loses its own users, and no others. Method: 24 clients on two servers of each kind. kill -9 of an application, then
/// of an instance. The times until all others agree are measured, and no client may get a number that is too small.
#[tokio::test(flavor = "multi_thread")]
async fn applications_and_instances_count_together() {
    let mut mixed = Mixed::start(&[]).await;
    for application in &mixed.applications {
        let page = application.page_of("Ada").await;
        assert!(
            page.contains("Welcome, Ada") && page.contains("/socket.io/socket.io.js"),
            "{page}"
        );
        let stranger = http::get(application.public, "/chat").await.expect("it serves");
        assert_eq!((stranger.status, stranger.header("location")), (303, "/"));
    }
    for records in &mixed.records {
        let upgraded = async || {
            let upgrades = records.iter().map(|record| record.times(Event::is_upgraded));
            let upgrades: Vec<_> = upgrades.filter(|times| *times > 0).collect();
            if upgrades == [1, 1] { Ok(()) } else { Err(format!("{upgrades:?}")) }
        };
        eventually("one client of each kind goes on to a websocket", upgraded).await;
    }

    let before = mixed.everybody();
    let marks: Vec<_> = before.iter().map(Record::mark).collect();
    let killed = Instant::now();
    mixed.applications[1].process().signal(Signal::KILL);
    mixed.applications[1].process().ended().await;
    mixed.forget(3);
    mixed.cluster.agrees_on(18, &mixed.everybody()).await;
    let took = told_after(killed, &mixed.everybody());
    println!("after kill -9 of an application the others said the truth after {took:?}");
    assert!(took < GONE_WITHIN, "it took {took:?}");

    let killed = Instant::now();
    mixed.cluster.instances[0].process().signal(Signal::KILL);
    mixed.cluster.instances[0].process().ended().await;
    drop(mixed.cluster.instances.remove(0));
    mixed.forget(0);
    mixed.cluster.agrees_on(12, &mixed.everybody()).await;
    let took = told_after(killed, &mixed.everybody());
    println!("after kill -9 of an instance the others said the truth after {took:?}");
    assert!(took < GONE_WITHIN, "it took {took:?}");
    for (record, mark) in before.iter().zip(&marks) {
        let seen = record.counts_since(*mark);
        assert!(seen.iter().all(|&users| users >= 12), "{}: {seen:?}", record.name());
    }
}

/// Goal: an application that is asked to end sends a farewell, so its users leave without waiting for the lease. Its
/// clients see a lost transport, not a disconnect of the namespace. Method: with a lease of a minute, SIGTERM to one of
/// two applications.
#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_ends_leaves_at_once() {
    let mut mixed = Mixed::start(&[("HEADCOUNT_LEASE", "1min")]).await;
    let mut ending = mixed.applications.pop().expect("there are two");
    let leaving = mixed.records.pop().expect("there are four");
    ending.process().signal(Signal::TERM);
    let took = mixed.cluster.agrees_on(18, &mixed.everybody()).await;
    println!("after SIGTERM of an application the others said the truth after {took:?}");
    assert!(took < Duration::from_secs(20), "it took {took:?}: the lease is a minute");
    let (status, _) = ending.process().ended().await;
    assert_eq!(status.code(), Some(0), "{}", ending.process().stderr());
    for record in &leaving {
        let lost = async || match record.times(Event::is_disconnected) {
            0 => Err(format!("{}: {:?}", record.name(), record.entries())),
            _ => Ok(()),
        };
        eventually("its clients lose their connection", lost).await;
        assert_eq!(record.times(|event| matches!(event, Event::Violation(_))), 0);
    }
}

/// Goal: when Redis loses its data, by a restart or a command, an application's clients keep their connections and see
/// no drop of the count. Method: both, one after the other.
#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_loses_its_data_shows_no_dip() {
    let mut mixed = Mixed::start(&[]).await;
    let everybody = mixed.everybody();
    let marks: Vec<_> = everybody.iter().map(Record::mark).collect();
    mixed.cluster.redis.restart();
    mixed.cluster.agrees_on(24, &everybody).await;
    let redis_client = &mixed.cluster.redis_client;
    redis_client.send(&["FLUSHALL"]).await.expect("Redis runs");
    mixed.cluster.agrees_on(24, &everybody).await;
    let newcomer = Client::open(mixed.applications[0].public, Transport::Upgrade);
    let with_newcomer = [everybody.clone(), records_of([&newcomer])].concat();
    mixed.cluster.agrees_on(25, &with_newcomer).await;
    for (record, mark) in everybody.iter().zip(&marks) {
        let seen = record.counts_since(*mark);
        assert!(seen.iter().all(|&users| users >= 24), "{}: {seen:?}", record.name());
        assert!(record.is_connected(), "{}: {:?}", record.name(), record.entries());
    }
}

/// Clients that disconnect without a goodbye: enough for every order in which a join and a disconnect can be processed.
const VANISHING: usize = 300;

/// Goal: a client that disconnects while it joins does not stay in the count. Method: many websockets are cut at random
/// moments of their first milliseconds. The two clients that stay must get the count 2 in the end.
#[tokio::test(flavor = "multi_thread")]
async fn who_vanishes_while_joining_is_not_counted() {
    let cluster = Cluster::start(1).await;
    let url = cluster.redis.url();
    let application = Application::start(&[("HEADCOUNT_REDIS_URL", &url)]).await;
    let staying = [application.public, cluster.instances[0].public]
        .map(|server| Client::open(server, Transport::Websocket));
    cluster.agrees_on(2, &records_of(&staying)).await;
    let mut dice = Dice::new(0x5EED);
    for _ in 0..VANISHING {
        let client = Client::open(application.public, Transport::Websocket);
        sleep(Duration::from_micros(dice.roll(8000) as u64)).await;
        drop(client);
    }
    cluster.agrees_on(2, &records_of(&staying)).await;
}

/// Goal: both editions of the lesson's checks accept the application. Method: fetch its two files and match them as the
/// lesson does, in the newer edition with `.` matching line ends.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_the_lesson_pass() {
    let application = Application::start(&[]).await;
    let text = async |path| {
        let answer = http::get(application.public, path).await.expect("it serves");
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    };
    let (server, client) = (text("/_api/server.js").await, text("/public/client.js").await);
    let matches = |pattern: &str, text: &str, spanning: bool| {
        let mut pattern = RegexBuilder::new(pattern);
        let pattern = pattern.dot_matches_new_line(spanning).case_insensitive(!spanning);
        pattern.build().expect("it is valid").is_match(text)
    };
    assert!(server.contains("currentUsers"), "{server}");
    for spanning in [true, false] {
        assert!(matches(r#"io.emit.*('|")user count('|").*currentUsers"#, &server, spanning));
        assert!(matches(r#"socket.on.*('|")user count('|")"#, &client, spanning));
    }
}
