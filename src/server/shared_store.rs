//! Makes the store that an instance or a command uses, from its settings.

use std::{sync::Arc, time::Duration};

use anyhow::Context;

use crate::{
    config::{serve::Config, store::RedisConfig},
    store::{
        Store,
        embedded::EmbeddedStore,
        redis::{RedisSettings, RedisStore},
    },
};

/// The store of an instance: embedded, or in Redis. It does not connect yet.
pub(super) fn of(config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match &config.redis {
        None => Ok(Arc::new(EmbeddedStore::new())),
        Some(redis) => Ok(Arc::new(redis_store(redis, config.lease)?)),
    }
}

/// The Redis store of a cluster. It does not connect yet.
///
/// # Errors
/// If the address cannot be used.
pub fn redis_store(redis: &RedisConfig, lease: Duration) -> anyhow::Result<RedisStore> {
    let settings = RedisSettings {
        url: redis.url.clone(),
        key: redis.key.clone(),
        channel: redis.channel.clone(),
        lease,
    };
    RedisStore::new(settings).context("failed to set up the connection to Redis")
}
