//! What a report costs Redis, in commands, and what becomes of connections between reports.

use std::time::Duration;

use deadpool_redis::redis::{self, Connection};
use headcount::{
    core::{
        count::{Incarnation, Sequence},
        report::{Reply, Report, ReportKind, RoomReport},
    },
    store::{Store, redis::RedisStore},
};
use headcount_testkit::redis_server::RedisServer;

use crate::{
    entries::members,
    setup::{LONG, redis_store},
};

/// The most commands of a heartbeat without news, with those of the script and the call itself.
const QUIET_COMMANDS_MAX: u64 = 8;
/// The same if the report repeats an unchanged room, as about every heartbeat does, and if it is an audit as well.
const ROOM_COMMANDS_MAX: u64 = 14;
const ROOM_AUDIT_COMMANDS_MAX: u64 = 42;

/// An instance that acknowledges, as real ones do.
struct Reporter {
    incarnation: Incarnation,
    sequence: Sequence,
    reply: Reply,
}

impl Reporter {
    fn new() -> Self {
        let incarnation = Incarnation::random();
        Self { incarnation, sequence: Sequence::default(), reply: Reply::default() }
    }

    async fn report(&mut self, store: &RedisStore, users: u64) -> Reply {
        self.say(store, users, ReportKind::Plain, Vec::new()).await
    }

    async fn say(
        &mut self,
        store: &RedisStore,
        users: u64,
        kind: ReportKind,
        rooms: Vec<RoomReport>,
    ) -> Reply {
        let acknowledged = self.sequence;
        self.sequence = self.sequence.next();
        let report = Report::new(self.incarnation, self.sequence, LONG);
        let seen = self.reply.count;
        let report = Report { users, acknowledged, seen, kind, rooms, ..report };
        self.reply = store.report(report).await.unwrap();
        self.reply.clone()
    }
}

/// The calls of all commands since the last reset, but those that count.
fn calls(connection: &mut Connection) -> Vec<(String, u64)> {
    let info: String = redis::cmd("INFO").arg("commandstats").query(connection).unwrap();
    let call = |line: &str| {
        let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        let calls = rest.split(',').next()?.parse().ok()?;
        (!matches!(name, "info" | "config|resetstat")).then(|| (name.to_owned(), calls))
    };
    info.lines().filter_map(call).collect()
}

/// Goal: a heartbeat without news costs few commands. Method: count the commands of one, with those inside the script and the
/// check of the connection.
#[tokio::test]
async fn a_quiet_heartbeat_is_cheap() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), "currentUsers", LONG);
    let mut a = Reporter::new();
    let mut connection = server.connection();
    for _ in 0..3 {
        a.report(&store, 5).await;
    }
    redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).unwrap();
    assert!(a.report(&store, 5).await.is_applied());
    let calls = calls(&mut connection);
    let sum: u64 = calls.iter().map(|(_, calls)| calls).sum();
    assert!((1..=QUIET_COMMANDS_MAX).contains(&sum), "{sum} commands: {calls:?}");
}

/// Goal: a room in which nothing happens costs few commands. Method: count the commands of a report that repeats what is stored, and
/// of an audit that does.
#[tokio::test]
async fn a_quiet_room_is_cheap() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), "currentUsers", LONG);
    let mut a = Reporter::new();
    let mut connection = server.connection();
    let room = || vec![members("/x", 1)];
    while a.say(&store, 1, ReportKind::Plain, room()).await.unannounced {}
    for (kind, most) in
        [(ReportKind::Plain, ROOM_COMMANDS_MAX), (ReportKind::Audit, ROOM_AUDIT_COMMANDS_MAX)]
    {
        for _ in 0..3 {
            a.say(&store, 1, kind, room()).await;
        }
        redis::cmd("CONFIG").arg("RESETSTAT").exec(&mut connection).unwrap();
        assert!(a.say(&store, 1, kind, room()).await.is_applied());
        let calls = calls(&mut connection);
        let sum: u64 = calls.iter().map(|(_, calls)| calls).sum();
        eprintln!("{kind:?}: {sum} commands: {calls:?}");
        assert!((1..=most).contains(&sum), "{sum} commands: {calls:?}");
    }
}

/// Goal: a connection that the server has closed between two reports costs no report, and does not look like another process.
/// Method: the server closes all connections while none is in use.
#[tokio::test]
async fn closed_connections_cost_no_report() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), "currentUsers", LONG);
    let mut a = Reporter::new();
    let mut connection = server.connection();
    for users in 1..6 {
        let reply = a.report(&store, users).await;
        assert!(reply.is_applied() && reply.count.users == users, "{reply:?}");
        let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
        let killed: u64 = redis::cmd("CLIENT").arg(&kill).query(&mut connection).unwrap();
        assert_eq!(killed, 1);
    }
}

/// Goal: a report whose connection breaks while it is under way is sent again at once, and counts once. Method: a server that holds it
/// back, and then closes its connection.
#[tokio::test]
async fn a_report_is_sent_again_when_its_connection_breaks() {
    let server = RedisServer::start(&[]);
    let store = redis_store(&server.url(), "currentUsers", LONG);
    let mut a = Reporter::new();
    a.report(&store, 1).await;
    let mut connection = server.connection();
    redis::cmd("CLIENT").arg(&["PAUSE", "60000", "WRITE"]).exec(&mut connection).unwrap();
    let cut = async {
        let held = || {
            let info: String =
                redis::cmd("INFO").arg("clients").query(&mut server.connection()).unwrap();
            info.contains("blocked_clients:1")
        };
        while !held() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let kill = ["KILL", "TYPE", "normal", "SKIPME", "yes"];
        redis::cmd("CLIENT").arg(&kill).exec(&mut connection).unwrap();
        redis::cmd("CLIENT").arg("UNPAUSE").exec(&mut connection).unwrap();
    };
    let (reply, ()) = tokio::join!(a.report(&store, 2), cut);
    assert!(reply.is_applied() && reply.count.users == 2, "{reply:?}");
}
