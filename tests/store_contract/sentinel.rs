//! The Redis store with sentinels, each of which runs alone and is made to name a certain server. The tests check which
//! sentinel the store believes, and what it does when a sentinel names another server.

use std::time::{Duration, Instant};

use headcount::store::{Store, StoreError, redis::RedisStore};
use headcount_testkit::{
    redis_server::{RedisServer, connect, free_port},
    sentinel::Sentinel,
    sentinel_set::{NAME, Passwords, SentinelSet},
};
use rstest::rstest;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::setup::{Instance, SOON, next, redis_store, within};

/// A lease so short that the store looks for another primary several times a second.
const LEASE: Duration = Duration::from_secs(2);

/// A lease long enough for connections that take a second.
const PATIENT_LEASE: Duration = Duration::from_secs(20);

fn store_by(sentinels: &[&Sentinel]) -> RedisStore {
    redis_store(&store_url(sentinels), "currentUsers", LEASE)
}

fn store_url(sentinels: &[&Sentinel]) -> String {
    let hosts: Vec<String> =
        sentinels.iter().map(|each| format!("127.0.0.1:{}", each.port())).collect();
    format!("redis+sentinel://{}/{NAME}", hosts.join(","))
}

fn users_on(server: &RedisServer) -> Option<u64> {
    let count =
        deadpool_redis::redis::cmd("GET").arg("currentUsers").query(&mut server.connection());
    count.unwrap()
}

fn cut_connections(server: &RedisServer) {
    let mut kill = deadpool_redis::redis::cmd("CLIENT");
    kill.arg(&["KILL", "TYPE", "normal"]).exec(&mut server.connection()).unwrap();
}

fn pause_writes(server: &RedisServer) {
    let mut pause = deadpool_redis::redis::cmd("CLIENT");
    pause.arg(&["PAUSE", "60000", "WRITE"]).exec(&mut server.connection()).unwrap();
}

/// Waits until a pause holds a command back.
async fn until_one_is_held(server: &RedisServer) {
    let deadline = Instant::now() + SOON;
    let mut clients = deadpool_redis::redis::cmd("INFO");
    clients.arg("clients");
    while clients.query::<String>(&mut server.connection()).unwrap().contains("blocked_clients:0") {
        assert!(Instant::now() < deadline, "nothing is held back");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reports until the sentinels have started to answer.
async fn report(store: &RedisStore, instance: &mut Instance) {
    instance.report_until_answered(store).await;
}

/// Goal: a sentinel that missed a failover does not lead an instance back. Method: two servers are both primaries. The
/// sentinel with the older configuration, listed first, names one, and the newer sentinel names the other. Once the
/// instance uses the newer primary, all connections are cut repeatedly, at last with only the stale sentinel left.
#[tokio::test]
async fn the_newer_configuration_wins() {
    let [old, new] = [RedisServer::start(&[]), RedisServer::start(&[])];
    let stale = Sentinel::naming(NAME, old.port(), 3);
    let mut current = Sentinel::naming(NAME, new.port(), 4);
    let store = store_by(&[&stale, &current]);
    let mut a = Instance::new(3);
    let deadline = Instant::now() + SOON;
    // While one sentinel is still starting, only the other one answers.
    while users_on(&new) != Some(3) {
        assert!(Instant::now() < deadline, "the newer configuration is not believed");
        a.report_until_answered(&store).await;
        cut_connections(&old);
    }
    let before = users_on(&old);
    for users in 4..9 {
        if users == 6 {
            current.kill_9();
        }
        cut_connections(&new);
        a.users = users;
        a.report_until_answered(&store).await;
        assert_eq!((users_on(&old), users_on(&new)), (before, Some(users)));
    }
}

/// Goal: a new primary that is slow to answer is not given up for the former one, which is alive and fast. Method: two
/// servers are both primaries. The newer one is behind a proxy that accepts no connection before the other one was
/// asked for its role.
#[tokio::test]
async fn a_new_primary_that_is_slow_is_waited_for() {
    let [old, new] = [RedisServer::start(&[]), RedisServer::start(&[])];
    let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stale = Sentinel::naming(NAME, old.port(), 3);
    let current = Sentinel::naming(NAME, proxy.local_addr().unwrap().port(), 4);
    for sentinel in [&stale, &current] {
        until_it_answers(sentinel.port()).await;
    }
    let connect_through = async {
        let mut connections = JoinSet::new();
        while let Ok((mut client, _)) = proxy.accept().await {
            let (mut asked, port) = (old.connection(), new.port());
            connections.spawn(async move {
                let mut stats = deadpool_redis::redis::cmd("INFO");
                stats.arg("commandstats");
                while !stats.query::<String>(&mut asked).unwrap().contains("cmdstat_role:") {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                // It ends with an error when either side is cut.
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    };
    let store = redis_store(&store_url(&[&stale, &current]), "currentUsers", PATIENT_LEASE);
    let mut a = Instance::new(5);
    tokio::select! {
        _ = a.report(&store) => {}
        () = connect_through => unreachable!("the proxy goes on"),
    }
    assert_eq!((users_on(&old), users_on(&new)), (None, Some(5)));
}

async fn until_it_answers(port: u16) {
    let deadline = Instant::now() + SOON;
    let url = format!("redis://127.0.0.1:{port}");
    let ping = deadpool_redis::redis::cmd("PING");
    while connect(&url, SOON).and_then(|mut to| ping.exec(&mut to)).is_err() {
        assert!(Instant::now() < deadline, "nothing answers at {port}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Goal: when another primary is named, a waiting call to the old one is given up, a subscription to it ends, and the
/// new one is used. Method: the old primary holds a report back. Then its sentinel names another server.
#[tokio::test]
async fn calls_and_subscriptions_leave_a_primary_that_is_replaced() {
    let [old, new] = [RedisServer::start(&[]), RedisServer::start(&[])];
    let mut sentinel = Sentinel::naming(NAME, old.port(), 3);
    let store = store_by(&[&sentinel]);
    let mut a = Instance::new(5);
    report(&store, &mut a).await;
    let mut announcements = store.subscribe().await.unwrap();

    // A pause that does not affect PING: the report reaches the server and is held there.
    pause_writes(&old);
    let rename_meanwhile = async {
        until_one_is_held(&old).await;
        sentinel.rename(NAME, new.port(), 4);
        Instant::now()
    };
    let (outcome, renamed) = tokio::join!(a.try_report(&store), rename_meanwhile);
    let took = renamed.elapsed();
    println!("a report to the former primary was given up {took:?} after another was named");
    let given_up =
        matches!(&outcome, Err(StoreError::Unreachable(text)) if text.as_str().contains("another"));
    assert!(given_up && took < LEASE * 3 / 4, "{outcome:?} after {took:?}");
    assert!(within(next(&mut announcements)).await.is_none(), "the subscription ends");
    report(&store, &mut a).await;
    assert_eq!(users_on(&new), Some(5));
    let mut announcements = store.subscribe().await.unwrap();
    a.users = 6;
    let count = a.report(&store).await.count;
    assert_eq!(next(&mut announcements).await.unwrap().unwrap(), count);
}

/// Goal: a former primary is left with its idle connections, although it lives and accepts writes; also if the sentinels were
/// installed again, and so count their configurations from the start. Method: the sentinel names another server, and a
/// subscription notices that. Then a report must go to the new server.
#[rstest]
#[case::with_a_newer_epoch(4)]
#[case::with_epochs_from_the_start(0)]
#[tokio::test]
async fn a_former_primary_is_left(#[case] epoch: u64) {
    let [old, new] = [RedisServer::start(&[]), RedisServer::start(&[])];
    let mut sentinel = Sentinel::naming(NAME, old.port(), 3);
    let store = store_by(&[&sentinel]);
    let mut a = Instance::new(5);
    report(&store, &mut a).await;
    let mut announcements = store.subscribe().await.unwrap();
    sentinel.rename(NAME, new.port(), epoch);
    assert!(within(next(&mut announcements)).await.is_none(), "the subscription ends");
    let _announcements = within(store.subscribe()).await.unwrap();
    a.users = 6;
    report(&store, &mut a).await;
    assert_eq!((users_on(&old), users_on(&new)), (Some(5), Some(6)));
}

/// Goal: nothing is written to a replica, and the error names the server. Method: a sentinel that names a replica.
#[tokio::test]
async fn a_replica_is_no_primary() {
    let primary = RedisServer::start(&[]);
    let replica = RedisServer::start(&["--replicaof", "127.0.0.1", &primary.port().to_string()]);
    let sentinel = Sentinel::naming(NAME, replica.port(), 3);
    let store = store_by(&[&sentinel]);
    let port = replica.port().to_string();
    let deadline = Instant::now() + SOON;
    loop {
        let error = Instance::new(1).try_report(&store).await.unwrap_err();
        if let StoreError::Refused(text) = &error {
            assert!(
                text.as_str().contains(&port) && text.as_str().contains("is a replica"),
                "{text}"
            );
            break;
        }
        assert!(Instant::now() < deadline, "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let refused = store.subscribe().await.err().unwrap();
    assert!(matches!(refused, StoreError::Refused(_)), "{refused}");
}

/// Goal: each problem of the sentinels has its own error, within the time limit. Method: no sentinel; an ordinary
/// server instead; a sentinel that hangs.
#[tokio::test]
async fn sentinels_that_do_not_answer_are_told_apart() {
    let by = |port: u16| {
        redis_store(&format!("redis+sentinel://127.0.0.1:{port}/{NAME}"), "currentUsers", LEASE)
    };
    let nobody = Instance::new(1).try_report(&by(free_port())).await.unwrap_err();
    assert!(
        matches!(&nobody, StoreError::Unreachable(text) if text.as_str().contains("the sentinel at"))
    );
    let server = RedisServer::start(&[]);
    let no_sentinel = Instance::new(1).try_report(&by(server.port())).await.unwrap_err();
    let said = matches!(&no_sentinel, StoreError::Protocol(text) if text.as_str().contains("unknown command"));
    assert!(said, "{no_sentinel}");
    server.stop();
    let asked = Instant::now();
    let hangs = Instance::new(1).try_report(&by(server.port())).await.unwrap_err();
    assert!(matches!(hangs, StoreError::Unreachable(_)), "{hangs}");
    assert!(asked.elapsed() < LEASE, "{:?}", asked.elapsed());
    server.cont();
}

/// Goal: sentinels and servers have separate passwords, and no error shows one. Method: a set that requires both; then
/// one wrong password at a time.
#[tokio::test]
async fn sentinels_and_servers_have_passwords_of_their_own() {
    let passwords = Passwords { servers: "open-sesame", sentinels: "open-barley" };
    let set = tokio::task::spawn_blocking(move || SentinelSet::protected(passwords)).await.unwrap();
    let url = set.url();
    let store = redis_store(&url, "currentUsers", PATIENT_LEASE);
    Instance::new(3).report(&store).await;
    assert_eq!(store.roster().await.unwrap().users, 3);
    let _announcements = within(store.subscribe()).await.unwrap();
    for wrong in [url.replace("sesame", "rice"), url.replace("barley", "rice")] {
        let store = redis_store(&wrong, "currentUsers", PATIENT_LEASE);
        for error in [
            Instance::new(3).try_report(&store).await.unwrap_err(),
            store.subscribe().await.err().unwrap(),
        ] {
            assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
            let text = format!("{error} {error:?} {store:?}");
            assert!(!text.contains("open-"), "{text}");
        }
    }
}

/// Goal: the permissions in the README are enough. Method: a user of the servers and a user of the sentinels have only
/// these, and use every function of a store.
#[tokio::test]
async fn the_documented_permissions_are_enough() {
    let set = tokio::task::spawn_blocking(SentinelSet::start).await.unwrap();
    let server = "ACL SETUSER ann on >pw -@all +@read +@write +@pubsub +@connection +@scripting +time +role \
        ~currentUsers ~{currentUsers}:* &currentUsers?changed &currentUsers?changed:rooms";
    let sentinel = "ACL SETUSER sentry on >pw -@all +@connection +sentinel|get-master-addr-by-name \
        +sentinel|master";
    let words = |line: &'static str| line.split_whitespace().collect::<Vec<_>>();
    set.ask::<()>(0, &words(server)).unwrap();
    set.tell_sentinels(&words(sentinel));
    set.tell_sentinels(&["ACL", "SETUSER", "default", "off"]);
    let url = set.url().replace("//", "//ann:pw@");
    let url = format!("{url}?sentinel_username=sentry&sentinel_password=pw");
    let store = redis_store(&url, "currentUsers", PATIENT_LEASE);
    let mut announcements = store.subscribe().await.unwrap();
    let count = Instance::new(3).report(&store).await.count;
    assert_eq!(next(&mut announcements).await.unwrap().unwrap(), count);
    assert_eq!(store.roster().await.unwrap().users, 3);
}
