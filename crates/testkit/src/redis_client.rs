//! A client of the cluster's Redis that knows only the documented names, as other programs do. It reads the public key,
//! the live instances and the channel.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use deadpool_redis::redis::{
    AsyncCommands, AsyncConnectionConfig, Client, RedisError, Value, aio::MultiplexedConnection,
};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::task::JoinHandle;

/// The key with the count.
pub const KEY: &str = "currentUsers";
/// The hash of live instances and their counts.
pub const CONNECTIONS: &str = "{currentUsers}:connections";
/// The hash of rooms and their counts.
pub const ROOMS: &str = "{currentUsers}:rooms";
/// The hash of the site's users with an identity.
pub const SITE_PEOPLE: &str = "{currentUsers}:people:/";
/// The channel on which counts are published.
pub const CHANNEL: &str = "user count";

/// How long Redis may take to answer on a busy machine. The library would wait for half a second.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// A client that knows the address of Redis. It opens a new connection for every question, because Redis may have been
/// restarted.
#[derive(Clone, Debug)]
pub struct RedisClient(Client);

/// The content of one message on the channel.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Announced {
    /// Users in the cluster.
    pub count: u64,
    /// The revision.
    pub revision: u64,
}

/// A subscription to the channel, with all messages so far. It ends when this value is dropped.
#[derive(Debug)]
pub struct Subscriber {
    announcements: Arc<Mutex<Vec<Announced>>>,
    task: JoinHandle<()>,
}

impl RedisClient {
    /// A client of the Redis at this address.
    pub fn new(url: &str) -> Self {
        Self(Client::open(url).expect("the address of Redis is right"))
    }

    /// The value of `currentUsers`. A missing key means 0.
    pub async fn users(&self) -> Result<u64, String> {
        let mut redis = self.connection().await?;
        let users: Result<Option<u64>, RedisError> = redis.get(KEY).await;
        users.map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    /// The live instances, with the number of connections without an identity that each of them counts.
    pub async fn instances(&self) -> Result<HashMap<String, u64>, String> {
        let mut redis = self.connection().await?;
        redis.hgetall(CONNECTIONS).await.map_err(|error| error.to_string())
    }

    /// The number of the site's users with an identity.
    pub async fn site_people(&self) -> Result<u64, String> {
        let mut redis = self.connection().await?;
        redis.hlen(SITE_PEOPLE).await.map_err(|error| error.to_string())
    }

    /// The rooms in which somebody is, with their counts.
    pub async fn rooms(&self) -> Result<HashMap<String, u64>, String> {
        let mut redis = self.patient_connection().await?;
        redis.hgetall(ROOMS).await.map_err(|error| error.to_string())
    }

    /// Sends any command, as an operator does by hand, and waits for the answer without a time limit.
    pub async fn send(&self, words: &[&str]) -> Result<Value, String> {
        let mut redis = self.patient_connection().await?;
        let mut command = deadpool_redis::redis::cmd(words[0]);
        command.arg(&words[1..]).query_async(&mut redis).await.map_err(|error| error.to_string())
    }

    /// Runs a script on a key, and returns its number.
    pub async fn evaluate(&self, script: &str, key: &str) -> Result<i64, String> {
        let mut redis = self.connection().await?;
        let mut command = deadpool_redis::redis::cmd("EVAL");
        let answer = command.arg(script).arg(1).arg(key).query_async(&mut redis).await;
        answer.map_err(|error| error.to_string())
    }

    /// Sends these commands as one transaction.
    pub async fn transact(&self, commands: &[&[&str]]) -> Result<(), String> {
        let mut redis = self.connection().await?;
        let mut transaction = deadpool_redis::redis::pipe();
        transaction.atomic();
        for words in commands {
            transaction.cmd(words[0]).arg(&words[1..]).ignore();
        }
        transaction.query_async(&mut redis).await.map_err(|error| error.to_string())
    }

    /// The names of all keys that match a pattern.
    pub async fn keys(&self, pattern: &str) -> Result<Vec<String>, String> {
        let mut redis = self.connection().await?;
        redis.keys(pattern).await.map_err(|error| error.to_string())
    }

    /// Whether a key exists.
    pub async fn has(&self, key: &str) -> Result<bool, String> {
        let mut redis = self.connection().await?;
        redis.exists(key).await.map_err(|error| error.to_string())
    }

    /// The number of subscribers to the channel.
    pub async fn subscribers(&self) -> Result<usize, String> {
        let mut redis = self.connection().await?;
        let mut command = deadpool_redis::redis::cmd("PUBSUB");
        let answer = command.arg("NUMSUB").arg(CHANNEL).query_async(&mut redis).await;
        let (_, subscribers): (String, usize) = answer.map_err(|error| error.to_string())?;
        Ok(subscribers)
    }

    /// Ends the connection of every subscriber, as an operator or a failing network does. Returns how many there were.
    pub async fn kill_subscribers(&self) -> u64 {
        let mut redis = self.connection().await.expect("Redis runs");
        let mut command = deadpool_redis::redis::cmd("CLIENT");
        command.arg("KILL").arg("TYPE").arg("pubsub");
        command.query_async(&mut redis).await.expect("Redis kills the connections")
    }

    /// Subscribes to the channel.
    pub async fn subscribe(&self) -> Subscriber {
        let mut subscription = self.0.get_async_pubsub().await.expect("Redis runs");
        subscription.subscribe(CHANNEL).await.expect("the channel is free to all");
        let announcements = Arc::<Mutex<Vec<Announced>>>::default();
        let task = tokio::spawn({
            let announcements = Arc::clone(&announcements);
            async move {
                let mut messages = subscription.into_on_message();
                while let Some(message) = messages.next().await {
                    let text: String = message.get_payload().expect("a message is text");
                    let announced = serde_json::from_str(&text).expect(&text);
                    let mut announcements = announcements.lock().expect("no holder panics");
                    announcements.push(announced);
                }
            }
        });
        Subscriber { announcements, task }
    }

    /// A connection that waits for answers without a time limit.
    async fn patient_connection(&self) -> Result<MultiplexedConnection, String> {
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = self.0.get_multiplexed_async_connection_with_config(&patient).await;
        connection.map_err(|error| error.to_string())
    }

    async fn connection(&self) -> Result<MultiplexedConnection, String> {
        let busy = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_WITHIN))
            .set_response_timeout(Some(ANSWER_WITHIN));
        let connection = self.0.get_multiplexed_async_connection_with_config(&busy).await;
        connection.map_err(|error| error.to_string())
    }
}

impl Subscriber {
    /// All announcements so far, in order.
    pub fn announcements(&self) -> Vec<Announced> {
        self.announcements.lock().expect("nothing panics while it holds this lock").clone()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        self.task.abort();
    }
}
