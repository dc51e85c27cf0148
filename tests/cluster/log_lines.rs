//! What Redis says is shown escaped, wherever it is shown: a Redis that answers with line ends and escape sequences
//! forges no line and moves no cursor.

use std::net::SocketAddr;

use headcount_testkit::{
    instance::{FREE_PORTS, Process, Setting},
    machine::Machine,
    redis_server::RedisServer,
    waiting::eventually,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// A line end, what would be a line of its own, a sequence that clears the screen in both ways to write it, and a
/// mark that turns text round.
const HOSTILE: &str = "evil\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{9b}2J\u{202e}";
/// How it must be shown.
const SHOWN: &str = r"evil\n2026-01-01T00:00:00Z  INFO forged\u{1b}[2J\u{9b}2J\u{202e}";

/// Goal: errors of Redis and answers of sentinels reach the log escaped, as text and as JSON. Method: a server that
/// answers everything with a hostile error, and one that names a hostile host as the primary.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_says_is_logged_escaped() {
    let _machine = Machine::shared().await;
    let hostile = hostile_redis().await;
    let urls = [format!("redis://{hostile}"), format!("redis+sentinel://{hostile}/main")];
    for url in &urls {
        for format in ["text", "json"] {
            let settings =
                [("HEADCOUNT_REDIS_URL", url.as_str()), ("HEADCOUNT_LOG_FORMAT", format)];
            let log = log_that_tells(&settings).await;
            assert_harmless(&log);
            if format == "json" {
                let is_json = |line: &str| serde_json::from_str::<serde_json::Value>(line).is_ok();
                assert_eq!(log.lines().find(|line| !is_json(line)), None);
            }
        }
    }
}

/// Goal: operators' commands show nothing hostile either. Method: `status` of a hostile server, and of a real one where
/// somebody stored a hostile name, as a table and as JSON, which keeps the name for programs.
#[tokio::test(flavor = "multi_thread")]
async fn what_redis_holds_is_shown_escaped() {
    let _machine = Machine::shared().await;
    let hostile = format!("redis://{}", hostile_redis().await);
    let failed = status(&["status"], &hostile).await;
    assert!(failed.contains(SHOWN), "{failed:?}");

    let redis = RedisServer::start(&[]);
    let mut store = deadpool_redis::redis::cmd("HSET");
    store.arg("{currentUsers}:connections").arg(HOSTILE).arg(3);
    store.exec(&mut redis.connection()).expect("Redis runs");
    assert!(status(&["status"], &redis.url()).await.contains(SHOWN));
    let json = status(&["status", "--json"], &redis.url()).await;
    let read: serde_json::Value = serde_json::from_str(&json).expect(&json);
    assert_eq!(read["instances"][0]["incarnation"], HOSTILE);
}

/// What `headcount status` shows, on both streams.
async fn status(arguments: &[&str], url: &str) -> String {
    let mut process = Process::spawn(arguments, &[("HEADCOUNT_REDIS_URL", url)]);
    process.ended().await;
    let shown = process.stdout() + &process.stderr();
    assert_harmless(&shown);
    shown
}

/// The log of an instance once it has told of the hostile text twice: once by each task that talks to the store.
async fn log_that_tells(settings: &[Setting<'_>]) -> String {
    let process = Process::spawn(&[], &[&FREE_PORTS, settings].concat());
    let (log, _) = eventually("the log tells of it", async || {
        let log = process.stderr();
        let told = log.replace(r"\\", r"\").matches(SHOWN).count();
        if told >= 2 { Ok(log) } else { Err(log) }
    })
    .await;
    log
}

fn assert_harmless(shown: &str) {
    let moves = |c: char| (c.is_control() && c != '\n') || ('\u{200b}'..='\u{206f}').contains(&c);
    assert!(!shown.contains(moves), "{shown:?}");
    let is_forged = |line: &str| line.starts_with("2026-01-01") || line.starts_with("forged");
    assert_eq!(shown.lines().find(|line| is_forged(line)), None);
}

/// A server that speaks the language of Redis and means harm.
async fn hostile_redis() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(answer_all(client));
        }
    });
    address
}

async fn answer_all(mut client: TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(1..) = client.read(&mut bytes).await {
        let asked = String::from_utf8_lossy(&bytes).into_owned();
        // As many answers as there are commands in what came.
        let answers = asked.split('*').skip(1).map(answer).collect::<String>();
        bytes.fill(0);
        if client.write_all(answers.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// What a sentinel would answer, and otherwise an error.
fn answer(command: &str) -> String {
    let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
    if command.contains("GET-MASTER-ADDR-BY-NAME") {
        return format!("*2\r\n{}{}", bulk(HOSTILE), bulk("6379"));
    }
    if command.contains("SENTINEL") {
        return format!("*2\r\n{}{}", bulk("config-epoch"), bulk("1"));
    }
    format!("-ERR {HOSTILE}\r\n")
}
