//! How the Redis store handles faults of real servers.

use std::{
    thread,
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, Connection};
use futures_util::StreamExt;
use headcount::{
    core::report::{Report, ReportKind},
    store::{
        Announcement, Store, StoreError,
        redis::{RedisSettings, RedisStore},
    },
};
use headcount_testkit::redis_server::{RedisServer, free_port};
use rstest::rstest;

use crate::setup::{Instance, LONG, SOON, next, redis_store, within};

const KEY: &str = "currentUsers";

fn run(connection: &mut Connection, command: &str) {
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().unwrap());
    command.arg(words.collect::<Vec<_>>()).exec(connection).unwrap();
}

/// The ids of all clients except this one.
fn clients(connection: &mut Connection) -> Vec<u64> {
    let own: u64 = redis::cmd("CLIENT").arg("ID").query(connection).unwrap();
    let list: String = redis::cmd("CLIENT").arg("LIST").query(connection).unwrap();
    let id = |line: &str| line.strip_prefix("id=")?.split(' ').next()?.parse().ok();
    list.lines().filter_map(id).filter(|&id| id != own).collect()
}

/// Goal: a server that lost its scripts gets them again, without an error. Method: flush them between reports.
#[tokio::test]
async fn lost_scripts_are_loaded_again() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(1);
    a.report(&store).await;
    run(&mut server.connection(), "SCRIPT FLUSH");
    assert_eq!(a.report(&store).await.count.users, 1);
}

/// Goal: a key of another type does not stop reports. Method: a list replaces each key in turn. A reader, which does
/// not repair, is tried too.
#[rstest]
#[case::public("currentUsers", true)]
#[case::connections("{currentUsers}:connections", true)]
#[case::sequence("{currentUsers}:sequence", false)]
#[case::leases("{currentUsers}:leases", true)]
#[case::meta("{currentUsers}:meta", true)]
#[tokio::test]
async fn wrong_types_are_put_right(#[case] key: &str, #[case] read_by_roster: bool) {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut connection = server.connection();
    run(&mut connection, &format!("DEL {key}"));
    run(&mut connection, &format!("LPUSH {key} x"));
    let looked = store.roster().await;
    assert_eq!(matches!(looked, Err(StoreError::WrongType(_))), read_by_roster, "{looked:?}");
    assert_eq!(a.report(&store).await.count.users, 3);
    let roster = store.roster().await.unwrap();
    assert_eq!((roster.users, roster.instances.len()), (3, 1));
}

/// Goal: after a failover the address is resolved again. Method: make the server a replica. The connection that
/// reported this must be closed, and a new one must work when the server is a primary again.
#[tokio::test]
async fn a_replica_is_left() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut connection = server.connection();
    let before = clients(&mut connection);
    assert_eq!(before.len(), 1);
    run(&mut connection, &format!("REPLICAOF 127.0.0.1 {}", free_port()));
    let refused = a.try_report(&store).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(text)) if text.as_str().contains("ReadOnly")),
        "{refused:?}"
    );
    until(|| !clients(&mut connection).contains(&before[0])).await;
    run(&mut connection, "REPLICAOF NO ONE");
    assert_eq!(a.report(&store).await.count.users, 3);
}

/// Goal: the error for a server that temporarily accepts no writes differs from that for an unreachable one. Method:
/// settings that make it refuse, which are then reset.
#[rstest]
#[case::too_few_replicas(
    "CONFIG SET min-replicas-to-write 1",
    "CONFIG SET min-replicas-to-write 0"
)]
#[case::no_primary("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE")]
#[tokio::test]
async fn refusals_pass(#[case] begin: &str, #[case] end: &str) {
    let server = RedisServer::start(&["--replica-serve-stale-data", "no"]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut connection = server.connection();
    run(&mut connection, begin);
    let refused = a.try_report(&store).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    run(&mut connection, end);
    assert_eq!(a.report(&store).await.count.users, 3);
}

/// Goal: a server that is out of memory still accepts reports. Method: a limit of one byte, before the first report.
#[tokio::test]
async fn reports_need_no_memory() {
    let server = RedisServer::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]);
    let store = redis_store(&server.url(), KEY, LONG);
    assert_eq!(Instance::new(3).report(&store).await.count.users, 3);
}

/// Goal: an endless script of another program is reported as a refusal. Method: run one, and kill it afterwards.
#[tokio::test]
async fn a_busy_server_refuses() {
    let server = RedisServer::start(&["--lua-time-limit", "20"]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut other = server.connection();
    let endless =
        thread::spawn(move || redis::cmd("EVAL").arg("while true do end").arg(0).exec(&mut other));
    let mut connection = server.connection();
    until(|| redis::cmd("PING").exec(&mut connection).is_err_and(|e| e.code() == Some("BUSY")))
        .await;
    let refused = a.try_report(&store).await;
    assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    run(&mut connection, "SCRIPT KILL");
    assert!(endless.join().unwrap().is_err());
    assert_eq!(a.report_until_answered(&store).await.count.users, 3);
}

/// Goal: a stopped server costs one lease of waiting and no more, and the commands that it runs late do no harm.
/// Method: stop its process for two reports, and continue it.
#[tokio::test]
async fn a_stopped_server_is_a_timeout() {
    let server = RedisServer::start(&[]);
    let lease = Duration::from_secs(2);
    let store = redis_store(&server.url(), KEY, lease);
    let mut a = Instance::new(3);
    a.report(&store).await;
    server.stop();
    a.users = 9;
    let begin = Instant::now();
    let warm = a.try_report(&store).await;
    assert!(matches!(warm, Err(StoreError::Timeout(_))), "{warm:?}");
    assert!(begin.elapsed() < lease + lease / 2, "took {:?}", begin.elapsed());
    let cold = a.try_report(&store).await;
    assert!(matches!(cold, Err(StoreError::Timeout(_) | StoreError::Unreachable(_))), "{cold:?}");
    assert!(begin.elapsed() < 3 * lease, "took {:?}", begin.elapsed());
    server.cont();
    a.users = 4;
    assert_eq!(a.report_until_answered(&store).await.count.users, 4);
}

/// Goal: a reply that is late costs one lease of waiting and the connection. Method: pause all commands while a report
/// is under way. An earlier pause would be noticed by the check of the connection.
#[tokio::test]
async fn a_pause_is_a_timeout() {
    let server = RedisServer::start(&[]);
    let lease = Duration::from_millis(1500);
    let store = redis_store(&server.url(), KEY, lease);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut connection = server.connection();
    let before = clients(&mut connection);
    run(&mut connection, "CLIENT PAUSE 60000 WRITE");
    let begin = Instant::now();
    let paused = a.try_report(&store).await;
    assert!(matches!(paused, Err(StoreError::Timeout(_))), "{paused:?}");
    assert!(begin.elapsed() < 2 * lease, "took {:?}", begin.elapsed());
    run(&mut connection, "CLIENT UNPAUSE");
    until(|| !clients(&mut connection).contains(&before[0])).await;
    assert_eq!(a.report(&store).await.count.users, 3);
}

/// Goal: a dead server is reported as unreachable at once, and is used again when it is back. Method: kill it, then
/// start it on the same port.
#[tokio::test]
async fn a_killed_server_is_unreachable() {
    let mut server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    a.report(&store).await;
    let mut announcements = store.subscribe().await.unwrap();
    server.kill_9();
    for _ in 0..2 {
        let away = within(a.try_report(&store)).await;
        assert!(matches!(away, Err(StoreError::Unreachable(_))), "{away:?}");
    }
    assert!(next(&mut announcements).await.is_none(), "the subscription ends");
    assert!(matches!(store.subscribe().await, Err(StoreError::Unreachable(_))));
    assert!(matches!(store.roster().await, Err(StoreError::Unreachable(_))));
    server.restart();
    let reply = a.report(&store).await;
    assert!(reply.count.recovering && reply.count.users == 3, "{reply:?}");
}

/// Goal: the stream of a subscription that is cut ends. Method: the server kills its connection.
#[tokio::test]
async fn a_killed_subscription_ends() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut announcements = store.subscribe().await.unwrap();
    run(&mut server.connection(), "CLIENT KILL TYPE pubsub");
    assert!(next(&mut announcements).await.is_none());
}

/// Goal: an invalid message of another program does not end the subscription. Method: publish nonsense between two
/// counts.
#[tokio::test]
async fn nonsense_on_the_channel_is_skipped() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), KEY, LONG);
    let mut announcements = store.subscribe().await.unwrap();
    let mut publish = redis::cmd("PUBLISH");
    publish.arg(format!("{KEY} changed")).arg(&[0xff_u8, 0]);
    publish.exec(&mut server.connection()).unwrap();
    let count = Instance::new(3).report(&store).await.count;
    let nonsense = next(&mut announcements).await.unwrap();
    assert!(matches!(nonsense, Err(StoreError::Protocol(_))), "{nonsense:?}");
    assert_eq!(next(&mut announcements).await.unwrap().unwrap(), count);
}

/// Goal: every kind of denial has its own message, and no message contains the credentials. Method: no password, a
/// wrong one, a user that may not run scripts, and one that may not read the channel.
#[rstest]
#[case::no_password("")]
#[case::wrong_password("margaret:hunter3@")]
#[case::unknown_user("marvin:hunter2@")]
#[case::no_scripts("reader:hunter2@")]
#[tokio::test]
async fn denials_are_told_apart_and_quote_nothing(#[case] credentials: &str) {
    let server = RedisServer::start(&[]);
    let mut connection = server.connection();
    run(&mut connection, "ACL SETUSER margaret on >hunter2 ~* &* +@all");
    run(&mut connection, "ACL SETUSER reader on >hunter2 ~* resetchannels -@all +get +ping");
    run(&mut connection, "ACL SETUSER default off");
    let with = |credentials: &str| {
        redis_store(&server.url().replace("//", &format!("//{credentials}")), KEY, LONG)
    };
    let store = with(credentials);
    let errors = [
        Instance::new(3).try_report(&store).await.unwrap_err(),
        store.roster().await.unwrap_err(),
        store.subscribe().await.err().unwrap(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
        let text = format!("{error} {error:?} {store:?}");
        for secret in ["hunter", "margaret", "marvin", "reader"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert_eq!(Instance::new(3).report(&with("margaret:hunter2@")).await.count.users, 3);
}

/// Goal: a missing permission of any kind is reported as a denial, costs no key, and has no effect once the permission
/// is there. Method: users that lack one command after the other, on a server that has lost the script. Then an audit,
/// which an instance requests after a denial.
#[tokio::test]
async fn missing_permissions_cost_nothing() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connection();
    let url = server.url().replace("//", "//limited:any@");
    let commands =
        ["evalsha", "script", "hget", "hincrby", "zadd", "hset", "get", "publish", "time"];
    for command in commands {
        run(&mut connection, "FLUSHALL");
        run(&mut connection, "ACL SETUSER limited reset on nopass ~* &* +@all");
        let store = redis_store(&url, KEY, LONG);
        let mut a = Instance::new(3);
        let first = a.report(&store).await;
        assert_eq!(first.count.users, 3);
        run(&mut connection, "SCRIPT FLUSH");
        run(&mut connection, &format!("ACL SETUSER limited -{command}"));
        a.users = 4;
        let denied = a.try_report(&store).await;
        assert!(matches!(denied, Err(StoreError::Denied(_))), "without {command}: {denied:?}");
        let keys: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        assert_eq!(keys, 5, "without {command}");
        run(&mut connection, &format!("ACL SETUSER limited +{command}"));
        let report = Report { kind: ReportKind::Audit, ..a.prepare() };
        let count = store.report(report).await.unwrap().count;
        assert_eq!((count.users, count.recovering), (4, false), "with {command}");
    }
    run(&mut connection, "ACL SETUSER limited -subscribe");
    let denied = redis_store(&url, KEY, LONG).subscribe().await.err();
    assert!(matches!(denied, Some(StoreError::Denied(_))), "{denied:?}");
}

/// Goal: a slot of a Redis Cluster that is migrating, or that no node serves, is reported as a refusal and costs no
/// key. Method: two nodes. The slot begins to migrate while one of the keys is missing, then has no node, then stays.
#[tokio::test]
async fn a_slot_on_the_move_costs_nothing() {
    let node = || {
        let bus = free_port().to_string();
        let cluster = ["--cluster-enabled", "yes", "--cluster-port", &bus];
        (RedisServer::start(&cluster), bus)
    };
    let ((server, _), (other, bus)) = (node(), node());
    let mut connection = server.connection();
    run(&mut connection, "CLUSTER ADDSLOTSRANGE 0 16383");
    run(&mut connection, &format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port()));
    let id: String = redis::cmd("CLUSTER").arg("MYID").query(&mut other.connection()).unwrap();
    let slot: u16 = redis::cmd("CLUSTER").arg(&["KEYSLOT", KEY]).query(&mut connection).unwrap();
    let store = redis_store(&server.url(), KEY, LONG);
    let mut a = Instance::new(3);
    assert_eq!(a.report_until_answered(&store).await.count.users, 3);

    let migrating = ["SETSLOT", &slot.to_string(), "MIGRATING", &id];
    until(|| redis::cmd("CLUSTER").arg(&migrating).exec(&mut connection).is_ok()).await;
    assert_eq!(a.report(&store).await.count.users, 3, "all keys are here still");
    run(&mut connection, "DEL {currentUsers}:leases");
    let moving = a.try_report(&store).await;
    assert!(matches!(moving, Err(StoreError::Refused(_))), "{moving:?}");
    let left = ["EXISTS", KEY, "{currentUsers}:connections", "{currentUsers}:sequence"];
    run(&mut connection, &format!("CLUSTER SETSLOT {slot} STABLE"));
    let left: u8 = redis::cmd(left[0]).arg(&left[1..]).query(&mut connection).unwrap();
    assert_eq!(left, 3);
    assert_eq!(a.report(&store).await.count.users, 3);

    run(&mut connection, &format!("CLUSTER DELSLOTS {slot}"));
    let unserved = a.try_report(&store).await;
    assert!(matches!(unserved, Err(StoreError::Refused(_))), "{unserved:?}");
    run(&mut connection, &format!("CLUSTER ADDSLOTS {slot}"));
    assert_eq!(a.report_until_answered(&store).await.count.users, 3);
}

/// Goal: clusters that share a channel, by a database number or by mistake, ignore each other's announcements, whatever
/// their keys contain. Method: three stores on one channel, in two databases and under two keys. Each receives all that
/// is published.
#[tokio::test]
async fn announcements_of_others_are_told_apart() {
    let server = RedisServer::start(&[]);
    let odd_key = "a\"b\\c d\u{e9}/";
    let store = |database: &str, key: &str| {
        let url = format!("{}/{database}", server.url());
        RedisStore::new(RedisSettings {
            url,
            key: key.to_owned(),
            channel: "shared".to_owned(),
            lease: LONG,
        })
        .unwrap()
    };
    let stores = [store("0", KEY), store("1", KEY), store("1", odd_key)];
    for (own, listening) in stores.iter().enumerate() {
        for (other, reporting) in stores.iter().enumerate() {
            let mut announcements = listening.subscribe().await.unwrap();
            let answer = Instance::new(3).report(reporting).await;
            let heard = within(announcements.next()).await.unwrap().unwrap();
            match heard {
                Announcement::Own(count) => {
                    assert_eq!((own, count), (other, answer.count));
                }
                Announcement::Foreign(dataset) => {
                    assert_ne!(own, other);
                    assert_eq!(dataset.database, u64::from(other > 0));
                }
                other => panic!("{other:?} is no count of a dataset"),
            }
        }
    }
}

/// Polls until the condition holds.
async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "it does not come to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
