//! People who come and go: with fresh tokens, over several instances, and when instances end. Somebody beside them sees nothing of it.

use std::time::{Duration, Instant};

use headcount_testkit::{
    balancer::Balancer,
    client::Transport,
    cluster::Cluster,
    foreign::{ForeignClients, Library},
    instance::Setting,
    record::{Event, Record},
    rooms::RoomsClient,
    tokens::Issuer,
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::show;
use crate::drains::late;

/// Longer than a client of a busy machine needs to come back: a delay of up to 1.5 s, and all that follows.
const GRACE: Setting<'static> = ("HEADCOUNT_GRACE", "10s");

/// Two tokens of a user: the first one expires soon.
fn tokens(issuer: &Issuer, user: &str) -> Value {
    let soon = Duration::from_secs(3);
    json!({ "tokens": [issuer.token_for(user, soon), issuer.token(user)] })
}

/// Waits until each of these clients has connected so often, at least.
async fn have_connected(records: &[Record], times: usize) {
    eventually("all have connected again", async || {
        for record in records {
            let connected = record.times(Event::is_connected);
            if connected < times || !record.is_connected() {
                return Err(format!("{}: {:?}", record.name(), record.entries()));
            }
        }
        Ok(())
    })
    .await;
}

/// Goal: when a token expires, the client gets a fresh one from its application and comes back by itself, and nobody's number
/// moves. Method: clients of every library on every transport, socket.io-client with the default delays of reconnecting, whose first
/// token expires after some seconds; each is another user, in the site and in a room. A connection beside them counts what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_expires_and_its_client_returns() {
    let issuer = Issuer::new("blog");
    let cluster = Cluster::start_with(1, &[&issuer.settings()[..], &[GRACE]].concat()).await;
    let server = cluster.instances[0].public;
    let stranger = RoomsClient::open(server, Transport::Websocket, &["/", "/page"]);
    let (site, page) = (stranger.record("/"), stranger.record("/page"));
    let (mut foreign, mut seen) = (Vec::new(), Vec::new());
    for library in [Library::Newest, Library::Oldest, Library::Python] {
        for transport in Transport::ALL {
            let auth = tokens(&issuer, &format!("{library:?} {transport:?}"));
            let mut clients = ForeignClients::start(library);
            let more = json!({
                "rooms": [["/", auth], ["/page", auth]],
                "options": { "reconnectionDelay": 1000, "reconnectionDelayMax": 5000 },
            });
            let url = format!("http://{server}");
            seen.extend(clients.open_with(2, &url, transport, &more).await);
            foreign.push(clients);
        }
    }
    show(&[(&site, 10), (&page, 10)]).await;
    let marks = [site.mark(), page.mark()];
    have_connected(&seen, 2).await;
    let other = RoomsClient::open(server, Transport::Websocket, &["/", "/page"]);
    show(&[(&site, 11), (&page, 11), (&other.record("/"), 11)]).await;
    for (record, mark) in [&site, &page].into_iter().zip(marks) {
        assert_eq!(record.changes_since(mark), [11], "{}", record.name());
    }
    for record in &seen {
        assert_eq!(record.times(Event::is_connected), 2, "{}: once is enough", record.name());
    }
    let ended =
        cluster.instances[0].metric("headcount_disconnects_total{reason=\"token_expired\"}");
    assert_eq!(ended.await, Ok(9.0));
}

/// Goal: a token that has expired for good ends the client's stay: it is told so, and counted out after the grace. Method: a client
/// with one token, which expires soon.
#[rstest]
#[tokio::test(flavor = "multi_thread")]
async fn without_a_fresh_token_nobody_stays(
    #[values(Transport::Websocket, Transport::Polling)] transport: Transport,
) {
    let issuer = Issuer::new("blog");
    let settings = [&issuer.settings()[..], &[("HEADCOUNT_SIGN_IN", "required")]].concat();
    let cluster = Cluster::start_with(1, &settings).await;
    let server = cluster.instances[0].public;
    let mut foreign = ForeignClients::start(Library::Newest);
    // Within the leeway for clocks the same token would be accepted once more.
    let long_ago = issuer.sign(&json!({ "sub": "ada", "exp": 1_000_000_000 }));
    let first = issuer.token_for("ada", Duration::from_secs(2));
    let auth = json!({ "tokens": [first, long_ago] });
    let seen = foreign.open_rooms(server, transport, &[("/page", auth)]).await;
    let watcher = RoomsClient::open(server, Transport::Websocket, &[]);
    watcher.join_with("/page", &json!({ "token": issuer.token("margaret"), "watch": true }));
    show(&[(&watcher.record("/page"), 1)]).await;
    show(&[(&watcher.record("/page"), 0)]).await;
    eventually("it is told", async || {
        let entries = seen[0].entries();
        match entries.last().map(|entry| &entry.event) {
            Some(Event::Refused(code)) if code == "token_expired" => Ok(()),
            _ => Err(format!("{entries:?}")),
        }
    })
    .await;
}

/// Goal: the same people on three instances are counted once each, in the site and in a room, and as long as one tab is open nobody
/// is told anything, also when an instance is killed. Method: users and visitors with a tab on each instance; tabs are closed on two
/// of them, in turn, and one instance is killed.
#[tokio::test(flavor = "multi_thread")]
async fn people_on_three_instances_are_counted_once() {
    const USERS: u64 = 4;
    let issuer = Issuer::new("blog");
    let mut cluster = Cluster::start_with(3, &issuer.settings()).await;
    let servers: Vec<_> = cluster.instances.iter().map(|instance| instance.public).collect();
    let says = |user: u64| match user % 2 {
        0 => json!({ "token": issuer.token(&format!("user {user}")) }),
        _ => json!({ "visitor": format!("a-visitor-key-{user:02}") }),
    };
    let mut tabs: Vec<Vec<RoomsClient>> = servers
        .iter()
        .map(|server| {
            let tab = |user: u64| {
                let transport = Transport::ALL[usize::try_from(user).expect("few") % 3];
                let tab = RoomsClient::open(*server, transport, &[]);
                for room in ["/", "/page"] {
                    tab.join_with(room, &says(user));
                }
                tab
            };
            (0..USERS).map(tab).collect()
        })
        .collect();
    let strangers: Vec<RoomsClient> = servers
        .iter()
        .map(|server| RoomsClient::open(*server, Transport::Websocket, &["/", "/page"]))
        .collect();
    let everybody = USERS + 3;
    let records: Vec<Record> = tabs
        .iter()
        .flatten()
        .chain(&strangers)
        .flat_map(|client| ["/", "/page"].map(|room| client.record(room)))
        .collect();
    show(&records.iter().map(|record| (record, everybody)).collect::<Vec<_>>()).await;
    assert_eq!(cluster.redis_client.users().await, Ok(everybody), "the public key");

    let beside = &strangers[2];
    let seen = ["/", "/page"].map(|room| beside.record(room));
    let marks = [seen[0].mark(), seen[1].mark()];
    // Every user keeps a tab on the last instance.
    tabs[0].truncate(1);
    tabs[1].drain(..2);
    let moved = RoomsClient::open(servers[0], Transport::Websocket, &[]);
    for room in ["/", "/page"] {
        moved.join_with(room, &says(3));
    }
    show(&[(&moved.record("/"), everybody), (&moved.record("/page"), everybody)]).await;
    cluster.instances[1].process().signal(Signal::KILL);
    // Of the killed instance only the connection without an identity is missed.
    show(&[(&seen[0], everybody - 1), (&seen[1], everybody - 1)]).await;
    for (record, mark) in seen.iter().zip(marks) {
        assert_eq!(record.changes_since(mark), [everybody - 1], "{}", record.name());
    }
    drop(tabs);
    drop(moved);
    show(&[(&seen[0], 2), (&seen[1], 2)]).await;
}

/// Goal: people whose instance ends in order move to another one, and nobody is told anything. Method: real clients, those of
/// socket.io-client with default delays, users and visitors, on one of two instances behind a balancer; it is asked to end. A
/// connection on the other one counts what it is told.
#[tokio::test(flavor = "multi_thread")]
async fn people_move_when_an_instance_ends() {
    const EACH: usize = 4;
    let issuer = Issuer::new("blog");
    let pace = [("HEADCOUNT_DRAIN", "1s"), ("HEADCOUNT_DRAIN_DELAY", "500ms"), GRACE];
    let mut cluster = Cluster::start_with(2, &[&issuer.settings()[..], &pace].concat()).await;
    let balancer = Balancer::start(&cluster.instances).await;
    let url = format!("http://{}", balancer.address);
    let mut node = ForeignClients::start(Library::Newest);
    let mut people = Vec::new();
    for transport in Transport::ALL {
        for number in 0..EACH {
            let auth = match number % 2 {
                0 => json!({ "token": issuer.token(&format!("{transport:?} {number}")) }),
                _ => json!({ "visitor": format!("{transport:?}-key-of-{number:010}") }),
            };
            let options =
                json!({ "auth": auth, "reconnectionDelay": 1000, "reconnectionDelayMax": 5000 });
            let more = json!({ "options": options });
            people.extend(node.open_with(1, &url, transport, &more).await);
        }
    }
    let mut python = ForeignClients::start(Library::Python);
    for transport in Transport::ALL {
        let visitor = format!("{transport:?}-key-of-a-python");
        let more = json!({ "options": { "auth": { "visitor": visitor } } });
        people.extend(python.open_with(1, &url, transport, &more).await);
    }
    let stranger = RoomsClient::open(cluster.instances[1].public, Transport::Websocket, &["/"]);
    let seen = stranger.record("/");
    let everybody = people.len() as u64 + 1;
    show(&people.iter().chain([&seen]).map(|record| (record, everybody)).collect::<Vec<_>>()).await;
    let mark = seen.mark();
    let mut leaving = cluster.instances.remove(0);
    leaving.process().signal(Signal::TERM);
    let (status, _) = leaving.process().ended().await;
    let ended = Instant::now();
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    have_connected(&people, 2).await;
    let other = RoomsClient::open(cluster.instances[0].public, Transport::Websocket, &["/"]);
    show(&[(&seen, everybody + 1), (&other.record("/"), everybody + 1)]).await;
    let (changes, late) = (seen.changes_since(mark), late(&people, ended));
    println!("{late} of {everybody} came back late");
    let right = everybody - late..=everybody + 1;
    assert!(
        changes.iter().all(|users| right.contains(users)),
        "missed or counted twice: {changes:?}"
    );
    let most_changes = 1 + 2 * usize::try_from(late).expect("few");
    assert!(changes.len() <= most_changes, "{changes:?} while {late} were late");
}
