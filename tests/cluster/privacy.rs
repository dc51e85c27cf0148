//! What docs/privacy.md promises: nothing of a visitor is in logs and metrics, and Redis gets a hash of a visitor's key.

use std::time::Duration;

use headcount_testkit::{
    client::Transport, http, instance::Instance, machine::Machine, redis_server::RedisServer,
    rooms::RoomsClient, tokens::Issuer, waiting::eventually,
};
use serde_json::json;
use tokio::{io::AsyncWriteExt, net::TcpStream};

/// The key of a visitor.
const KEY: &str = "2718281828-4590452353-6028747135-2662497757";
/// A user with a token.
const USER: &str = "somebody-with-a-token";
/// The room of both.
const ROOM: &str = "/a-room-with-a-name";

/// Goal: no log line and no metric names a visitor, a user, a room, a token or an address, and Redis has a hash of a visitor's key.
/// Method: an instance that logs all it can, a visitor with a key, a user with a token, one with a wrong token, and a connection
/// that is no request. All leave before the log is read.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_visitor_is_logged_or_measured() {
    let _machine = Machine::shared().await;
    let redis = RedisServer::start(&[]);
    let url = redis.url();
    let issuer = Issuer::new("blog");
    let mut settings = issuer.settings().to_vec();
    settings.extend([
        ("HEADCOUNT_REDIS_URL", url.as_str()),
        ("HEADCOUNT_LOG", "debug,headcount=trace"),
        ("HEADCOUNT_GRACE", "0s"),
    ]);
    let mut instance = Instance::start(&settings).await;
    instance.ready().await;
    let token = issuer.token(USER);
    let wrong = Issuer::new("another").token_for(USER, Duration::from_hours(2));
    let clients = [json!({ "visitor": KEY }), json!({ "token": token }), json!({ "token": wrong })];
    let clients = clients.map(|auth| {
        let client = RoomsClient::open(instance.public, Transport::Websocket, &[]);
        client.join_with(ROOM, &auth);
        client
    });
    let mut stranger = TcpStream::connect(instance.public).await.expect("it accepts");
    let port = stranger.local_addr().expect("it is connected").port();
    stranger.write_all(b"no request\r\n\r\n").await.expect("it is open");
    eventually("both are counted, and the third is refused", async || {
        let [shown, refused] = [0, 2].map(|number| clients[number].record(ROOM).entries());
        if clients[0].record(ROOM).shows() == Some(2) && !refused.is_empty() {
            return Ok(());
        }
        Err(format!("{shown:?} {refused:?}"))
    })
    .await;

    let users = stored_users(&redis).await;
    assert_eq!(users[0], format!("t:{USER}"));
    assert!(users[1].len() == 18 && users[1].starts_with("v:"), "{users:?}");
    assert_eq!(users.len(), 2);
    let metrics = http::get(instance.admin, "/metrics").await.expect("it answers").body;
    let sessions = clients.len();
    drop((clients, stranger));
    let process = instance.process();
    let mut log = String::new();
    eventually("it logs all it can, until all have left", async || {
        log = process.stdout() + &process.stderr();
        let ended = log.matches("a session ended").count();
        let is_whole = log.contains("refused a token") && ended == sessions;
        is_whole.then_some(()).ok_or_else(|| log.clone())
    })
    .await;
    let address = format!(":{port}");
    for secret in [KEY, USER, ROOM, &token, &wrong, &users[1][2..], &address] {
        for text in [&log, &metrics] {
            let line = text.lines().find(|line| line.contains(secret));
            assert_eq!(line, None, "{secret}");
        }
    }
}

/// The users of the room in Redis, in order, once it has both. A newcomer that has waited for a slow store is told before the store
/// has it.
async fn stored_users(redis: &RedisServer) -> Vec<String> {
    let mut users = deadpool_redis::redis::cmd("HKEYS");
    users.arg(format!("{{currentUsers}}:people:{ROOM}"));
    let (mut users, _) = eventually("the store has both", async || {
        let stored: Vec<String> = users.query(&mut redis.connection()).expect("Redis runs");
        if stored.len() >= 2 { Ok(stored) } else { Err(format!("{stored:?}")) }
    })
    .await;
    users.sort();
    users
}
