//! Another program on the cluster's Redis: it reads the public key, the live instances and the channel, by
//! the documented names alone.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use deadpool_redis::redis::{
    AsyncCommands, AsyncConnectionConfig, Client, RedisError, Value, aio::MultiplexedConnection,
};
use futures_util::StreamExt;
use serde::Deserialize;
use tokio::task::JoinHandle;

/// The key that holds the count.
pub const KEY: &str = "currentUsers";
/// The hash of live instances and their counts.
pub const CONNECTIONS: &str = "{currentUsers}:connections";
/// The channel on which counts are published.
pub const CHANNEL: &str = "user count";

/// A program that knows where Redis is. It connects anew for each question, since Redis comes and goes.
#[derive(Clone, Debug)]
pub struct RedisClient(Client);

/// What one message on the channel says.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Announced {
    /// Users in the cluster.
    pub count: u64,
    /// The revision.
    pub revision: u64,
}

/// A subscriber, and all it has heard. Dropped, it hangs up.
#[derive(Debug)]
pub struct Listener {
    heard: Arc<Mutex<Vec<Announced>>>,
    task: JoinHandle<()>,
}

impl RedisClient {
    /// One for the Redis at this address.
    pub fn new(url: &str) -> Self {
        Self(Client::open(url).expect("the address of Redis is right"))
    }

    /// `GET currentUsers`; absent means 0.
    pub async fn users(&self) -> Result<u64, String> {
        let mut redis = self.connection().await?;
        let users: Result<Option<u64>, RedisError> = redis.get(KEY).await;
        users.map(Option::unwrap_or_default).map_err(|error| error.to_string())
    }

    /// The live instances and what each of them counts.
    pub async fn instances(&self) -> Result<HashMap<String, u64>, String> {
        let mut redis = self.connection().await?;
        redis.hgetall(CONNECTIONS).await.map_err(|error| error.to_string())
    }

    /// Sends any command, as an operator does by hand, and waits for as long as it takes.
    pub async fn send(&self, words: &[&str]) -> Result<Value, String> {
        let patient = AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = self.0.get_multiplexed_async_connection_with_config(&patient).await;
        let mut redis = connection.map_err(|error| error.to_string())?;
        let mut command = deadpool_redis::redis::cmd(words[0]);
        command.arg(&words[1..]).query_async(&mut redis).await.map_err(|error| error.to_string())
    }

    /// Sends some commands that nothing comes between.
    pub async fn transact(&self, commands: &[&[&str]]) -> Result<(), String> {
        let mut redis = self.connection().await?;
        let mut transaction = deadpool_redis::redis::pipe();
        transaction.atomic();
        for words in commands {
            transaction.cmd(words[0]).arg(&words[1..]).ignore();
        }
        transaction.query_async(&mut redis).await.map_err(|error| error.to_string())
    }

    /// Whether a key is there.
    pub async fn has(&self, key: &str) -> Result<bool, String> {
        let mut redis = self.connection().await?;
        redis.exists(key).await.map_err(|error| error.to_string())
    }

    /// How many listen on the channel.
    pub async fn subscribers(&self) -> Result<usize, String> {
        let mut redis = self.connection().await?;
        let mut command = deadpool_redis::redis::cmd("PUBSUB");
        let answer = command.arg("NUMSUB").arg(CHANNEL).query_async(&mut redis).await;
        let (_, subscribers): (String, usize) = answer.map_err(|error| error.to_string())?;
        Ok(subscribers)
    }

    /// Ends every subscriber's connection, as an operator or a failing network does. Says how many.
    pub async fn kill_subscribers(&self) -> u64 {
        let mut redis = self.connection().await.expect("Redis runs");
        let mut command = deadpool_redis::redis::cmd("CLIENT");
        command.arg("KILL").arg("TYPE").arg("pubsub");
        command.query_async(&mut redis).await.expect("Redis kills the connections")
    }

    /// Listens on the channel from now on.
    pub async fn listen(&self) -> Listener {
        let mut subscription = self.0.get_async_pubsub().await.expect("Redis runs");
        subscription.subscribe(CHANNEL).await.expect("the channel is free to all");
        let heard = Arc::<Mutex<Vec<Announced>>>::default();
        let task = tokio::spawn({
            let heard = Arc::clone(&heard);
            async move {
                let mut messages = subscription.into_on_message();
                while let Some(message) = messages.next().await {
                    let text: String = message.get_payload().expect("a message is text");
                    let announced = serde_json::from_str(&text).expect(&text);
                    heard.lock().expect("nothing panics while it holds this lock").push(announced);
                }
            }
        });
        Listener { heard, task }
    }

    async fn connection(&self) -> Result<MultiplexedConnection, String> {
        let connection = self.0.get_multiplexed_async_connection().await;
        connection.map_err(|error| error.to_string())
    }
}

impl Listener {
    /// All announcements so far, in order.
    pub fn heard(&self) -> Vec<Announced> {
        self.heard.lock().expect("nothing panics while it holds this lock").clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
