//! Rooms, as clients of several libraries see them: joined and left at any time on one connection, watched, refused, and
//! restored after a crash.

use std::time::Duration;

use headcount_testkit::{
    client::Transport,
    cluster::{Cluster, nothing_is_wrong_in},
    foreign::{ForeignClients, Library},
    instance::Instance,
    record::{Event, Record},
    rooms::RoomsClient,
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::json;

/// Waits until each of these records shows its number, and nothing outside the contract was seen.
async fn show(expected: &[(&Record, u64)]) {
    eventually("all show their counts", async || {
        for (record, users) in expected {
            nothing_is_wrong_in(std::slice::from_ref(*record));
            if record.shows() != Some(*users) {
                return Err(format!("{} is not at {users}: {:?}", record.name(), record.entries()));
            }
        }
        Ok(())
    })
    .await;
}

/// Goal: rooms of one connection have counts of their own, and a client may leave one and come back, in every library and on
/// every transport. Method: one connection in two rooms, another in one of them and a third in both.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn rooms_share_a_connection(
    #[values(Library::Newest, Library::Oldest)] library: Library,
    #[values(Transport::Websocket, Transport::Polling, Transport::Upgrade)] transport: Transport,
) {
    let instance = Instance::start(&[]).await;
    let mut foreign = ForeignClients::start(library);
    let rooms = [("/blog/post-1", json!({})), ("/größe/\"{", json!({ "token": "x" }))];
    let seen = foreign.open_rooms(instance.public, transport, &rooms).await;
    show(&[(&seen[0], 1), (&seen[1], 1)]).await;
    let ours = RoomsClient::open(instance.public, transport, &["/blog/post-1"]);
    let post = ours.record("/blog/post-1");
    show(&[(&seen[0], 2), (&seen[1], 1), (&post, 2)]).await;
    foreign.close(0).await;
    show(&[(&seen[1], 1), (&post, 1)]).await;
    ours.join("/größe/\"{");
    show(&[(&seen[1], 2), (&ours.record("/größe/\"{"), 2)]).await;
    foreign.join(0).await;
    show(&[(&seen[0], 2), (&seen[1], 2), (&post, 2)]).await;
    ours.leave("/größe/\"{");
    show(&[(&seen[0], 2), (&seen[1], 1)]).await;
    assert_eq!(instance.shown().await.expect("it answers").count, 0, "nobody is in the site");
    if transport == Transport::Upgrade {
        let moved = async || match post.times(Event::is_upgraded) {
            1 => Ok(()),
            times => Err(format!("{times} upgrades")),
        };
        eventually("the session moves to a websocket", moved).await;
    }
    drop((foreign, ours));
    nobody_is_left(&instance).await;
}

/// Goal: python-socketio may join several rooms too. Method: one connection with two rooms, beside another client.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn rooms_of_python(#[values(Transport::Websocket, Transport::Polling)] transport: Transport) {
    let instance = Instance::start(&[]).await;
    let ours = RoomsClient::open(instance.public, Transport::Websocket, &["/a", "/b"]);
    let mut foreign = ForeignClients::start(Library::Python);
    let rooms = [("/a", json!({})), ("/b", json!({}))];
    let seen = foreign.open_rooms(instance.public, transport, &rooms).await;
    show(&[(&seen[0], 2), (&seen[1], 2), (&ours.record("/a"), 2)]).await;
    ours.leave("/a");
    show(&[(&seen[0], 1), (&seen[1], 2)]).await;
    drop(foreign);
    show(&[(&ours.record("/b"), 1)]).await;
}

/// Goal: the first value of a room includes the newcomer and comes by itself, counts of joins only rise, and the last arrives,
/// also for a client that upgrades amid joins. Method: clients on all transports join one after the other; each record is
/// checked.
#[tokio::test(flavor = "multi_thread")]
async fn counts_rise_while_clients_join() {
    const CLIENTS: u64 = 30;
    let instance = Instance::start(&[]).await;
    let transports = Transport::ALL.into_iter().cycle().take(30);
    let clients: Vec<RoomsClient> = transports
        .map(|transport| RoomsClient::open(instance.public, transport, &["/a", "/b"]))
        .collect();
    let records: Vec<Record> =
        clients.iter().flat_map(|client| ["/a", "/b"].map(|room| client.record(room))).collect();
    show(&records.iter().map(|record| (record, CLIENTS)).collect::<Vec<_>>()).await;
    for record in &records {
        let counts = record.counts();
        assert!(counts.is_sorted() && counts[0] >= 1, "{}: {counts:?}", record.name());
        assert_eq!(record.times(Event::is_connected), 1, "{}", record.name());
    }
    let leaving = clients.iter().take(10);
    leaving.for_each(|client| client.leave("/a"));
    let rest: Vec<Record> = clients[10..].iter().map(|client| client.record("/a")).collect();
    let others: Vec<Record> = clients.iter().map(|client| client.record("/b")).collect();
    show(&rest.iter().map(|record| (record, CLIENTS - 10)).collect::<Vec<_>>()).await;
    show(&others.iter().map(|record| (record, CLIENTS)).collect::<Vec<_>>()).await;
}

/// Goal: a refusal names its code, and the connection and its other rooms go on. Method: names outside the patterns, too many
/// rooms, a wrong `auth`, and names that are too long (addresses with Thai words are), beside a room that is allowed.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn refusals_leave_the_rest_alone(
    #[values(Library::Newest, Library::Oldest)] library: Library,
    #[values(Transport::Websocket, Transport::Polling)] transport: Transport,
) {
    let settings = [("HEADCOUNT_ROOMS", "/blog/*"), ("HEADCOUNT_ROOMS_PER_CONNECTION", "1")];
    let instance = Instance::start(&settings).await;
    let mut foreign = ForeignClients::start(library);
    let long = ["x".repeat(300), "ก".repeat(500)].map(|slug| format!("/blog/{slug}"));
    let rooms = [
        ("/blog/1", json!({})),
        ("/shop", json!({})),
        ("/blog/2", json!({})),
        ("/blog/3", json!({ "watch": "yes" })),
        (&long[0], json!({})),
        (&long[1], json!({ "watch": true })),
        ("/blog/4", json!({ "watch": true })),
    ];
    let seen = foreign.open_rooms(instance.public, transport, &rooms).await;
    show(&[(&seen[0], 1), (&seen[6], 0)]).await;
    let refused = async || {
        let too_long = "room_not_allowed";
        let codes = ["room_not_allowed", "too_many_rooms", "bad_auth", too_long, too_long];
        for (record, code) in seen[1..6].iter().zip(codes) {
            let entries = record.entries();
            let told: Vec<_> = entries.iter().map(|entry| &entry.event).collect();
            if told != [&Event::Refused(code.into())] {
                return Err(format!("{}: {told:?}", record.name()));
            }
        }
        Ok(())
    };
    eventually("each is refused once", refused).await;
    let other = RoomsClient::open(instance.public, transport, &["/blog/1"]);
    show(&[(&seen[0], 2), (&other.record("/blog/1"), 2)]).await;
    assert_eq!(seen[0].times(Event::is_connected), 1, "its connection went on");
    let refusals = instance.metric("headcount_joins_refused_total").await;
    assert_eq!(refusals, Ok(5.0));
}

/// Goal: a watcher is told the counts of a page and of the site, and is in none of them. Method: one connection that watches
/// both, and others that come and go.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn watchers_are_not_counted(
    #[values(Library::Newest, Library::Oldest)] library: Library,
    #[values(Transport::Websocket, Transport::Polling)] transport: Transport,
) {
    let instance = Instance::start(&[]).await;
    let mut foreign = ForeignClients::start(library);
    let watch = || json!({ "watch": true });
    let rooms = [("/", watch()), ("/page", watch())];
    let seen = foreign.open_rooms(instance.public, transport, &rooms).await;
    show(&[(&seen[0], 0), (&seen[1], 0)]).await;
    let mut members = ForeignClients::start(Library::Newest);
    let rooms = [("/", json!({})), ("/page", json!({}))];
    let counted = members.open_rooms(instance.public, Transport::Websocket, &rooms).await;
    show(&[(&seen[0], 1), (&seen[1], 1), (&counted[0], 1), (&counted[1], 1)]).await;
    assert_eq!(instance.metric("headcount_site_watchers").await, Ok(1.0));
    assert_eq!(instance.metric("headcount_connections").await, Ok(1.0));
    assert_eq!(instance.metric("headcount_sessions").await, Ok(2.0), "the watcher's, too");
    drop(members);
    show(&[(&seen[0], 0), (&seen[1], 0)]).await;
    foreign.close(0).await;
    foreign.close(1).await;
    nobody_is_left(&instance).await;
    assert_eq!(instance.metric("headcount_site_watchers").await, Ok(0.0));
}

/// Goal: after a crash clients are in all their rooms again. Method: kill the instance, start another one at its address, and
/// compare all counts.
#[tokio::test(flavor = "multi_thread")]
async fn all_rooms_are_restored_after_a_crash() {
    let mut instance = Instance::start(&[]).await;
    let server = instance.public;
    let mut foreign = Vec::new();
    let mut seen = Vec::new();
    let rooms: Vec<_> =
        ["/", "/1", "/2", "/3", "/4", "/5"].map(|room| (room, json!({}))).into_iter().collect();
    for library in [Library::Newest, Library::Oldest] {
        for transport in Transport::ALL {
            let mut clients = ForeignClients::start(library);
            seen.extend(clients.open_rooms(server, transport, &rooms).await);
            foreign.push(clients);
        }
    }
    let expected: Vec<_> = seen.iter().map(|record| (record, 6)).collect();
    show(&expected).await;
    instance.process().signal(Signal::KILL);
    instance.process().ended().await;
    let is_gone = async || match seen.iter().find(|record| record.is_connected()) {
        None => Ok(()),
        Some(record) => Err(format!("{} is connected", record.name())),
    };
    eventually("all have lost their connections", is_gone).await;
    let address = server.to_string();
    let _again = Instance::start(&[("HEADCOUNT_LISTEN", &address)]).await;
    show(&expected).await;
    for record in &seen {
        assert_eq!(record.times(Event::is_connected), 2, "{}", record.name());
    }
}

/// Goal: a page that watches a hundred rooms, and is in eight, may connect at once, also when its connection takes its time.
/// Method: all joins in one write or one post, again after a crash of the connection.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_with_many_rooms_is_let_in(
    #[values(Transport::Websocket, Transport::Polling, Transport::Upgrade)] transport: Transport,
) {
    let instance = Instance::start(&[]).await;
    let mut foreign = ForeignClients::start(Library::Newest);
    let name = |number: usize| format!("/{number:0>127}");
    let names: Vec<String> = (0..108).map(name).collect();
    let rooms: Vec<_> = names
        .iter()
        .enumerate()
        .map(|(number, name)| (name.as_str(), json!({ "watch": number >= 8 })))
        .collect();
    let seen = foreign.open_rooms(instance.public, transport, &rooms).await;
    let expected: Vec<_> =
        seen.iter().enumerate().map(|(number, record)| (record, u64::from(number < 8))).collect();
    show(&expected).await;
    assert_eq!(instance.metric("headcount_rooms").await, Ok(108.0));
    drop(foreign);
    nobody_is_left(&instance).await;
}

/// Goal: clients in rooms alone are drained like others: their transports end evenly, so that they return by themselves. Method:
/// SIGTERM with a window of a second; the records tell when each was cut.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_drained_evenly() {
    const WINDOW: Duration = Duration::from_secs(1);
    let mut instance = Instance::start(&[("HEADCOUNT_DRAIN", "1s")]).await;
    let clients: Vec<RoomsClient> = (0..20)
        .map(|_| RoomsClient::open(instance.public, Transport::Websocket, &["/a"]))
        .collect();
    let records: Vec<Record> = clients.iter().map(|client| client.record("/a")).collect();
    show(&records.iter().map(|record| (record, 20)).collect::<Vec<_>>()).await;
    instance.process().signal(Signal::TERM);
    let all_cut = async || match records.iter().find(|record| record.is_connected()) {
        None => Ok(()),
        Some(record) => Err(format!("{} is connected", record.name())),
    };
    eventually("all are sent away", all_cut).await;
    let mut cut: Vec<_> = records
        .iter()
        .filter_map(|record| {
            record
                .entries()
                .iter()
                .find(|entry| matches!(entry.event, Event::Disconnected(_)))
                .map(|entry| entry.at)
        })
        .collect();
    cut.sort();
    let took = cut[cut.len() - 1] - cut[0];
    assert!(took >= WINDOW / 2, "they were sent away within {took:?}");
}

/// Waits until the instance has no rooms and no memberships.
async fn nobody_is_left(instance: &Instance) {
    eventually("nobody is in a room", async || {
        for metric in ["headcount_rooms", "headcount_memberships"] {
            let value = instance.metric(metric).await?;
            if value > 0.0 {
                return Err(format!("{metric} is {value}"));
            }
        }
        Ok(())
    })
    .await;
}

/// Goal: a room has one count on all instances, and a crash takes its members out within a lease. Method: members and a watcher on
/// two instances of one Redis; the public count of the room; one instance is killed.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_counted_over_all_instances() {
    let mut cluster = Cluster::start(2).await;
    let [one, two] = [0, 1].map(|number| cluster.instances[number].public);
    let members: Vec<RoomsClient> = (0..12)
        .map(|number| {
            let transport = Transport::ALL[number % 3];
            RoomsClient::open(if number < 5 { one } else { two }, transport, &["/page", "/other"])
        })
        .collect();
    let watcher = RoomsClient::open(one, Transport::Websocket, &[]);
    watcher.watch("/page");
    let seen = watcher.record("/page");
    let records = |range: std::ops::Range<usize>| -> Vec<Record> {
        members[range].iter().map(|member| member.record("/page")).collect()
    };
    let all = records(0..12);
    show(&all.iter().chain([&seen]).map(|record| (record, 12)).collect::<Vec<_>>()).await;
    for record in all.iter().chain([&seen]) {
        assert!(record.counts().is_sorted(), "{}: {:?}", record.name(), record.counts());
    }
    for member in &members[..2] {
        member.leave("/page");
    }
    let rest = records(2..12);
    show(&rest.iter().chain([&seen]).map(|record| (record, 10)).collect::<Vec<_>>()).await;
    show(&[(&members[0].record("/other"), 12)]).await;
    cluster.instances[1].process().signal(Signal::KILL);
    let here = records(2..5);
    show(&here.iter().chain([&seen]).map(|record| (record, 3)).collect::<Vec<_>>()).await;
}
