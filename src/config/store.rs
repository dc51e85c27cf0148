//! Settings of the store that a cluster shares.

use std::fmt;

use clap::Args;

use super::setting::{ConfigError, Setting, default_channel, redis_url, without_redis};
use crate::store::redis::shown_url;

/// The default of `HEADCOUNT_KEY`.
pub const DEFAULT_KEY: &str = "currentUsers";
/// The default of `HEADCOUNT_CHANNEL` in database 0. In other databases `@` and the number follow.
pub const DEFAULT_CHANNEL: &str = "user count";

/// The settings of the store as given, not checked.
#[derive(Args, Clone, Debug)]
pub struct StoreArgs {
    /// Redis that the cluster shares: redis:// or rediss://, or redis+sentinel:// with a list of sentinels,
    /// with user and password if needed. Without it one instance counts for itself (the embedded store).
    #[arg(long, env = "HEADCOUNT_REDIS_URL", value_name = "URL", hide_env_values = true)]
    pub(super) redis_url: Option<String>,
    /// Redis key of the count; a cluster of its own needs a key and a channel of its own.
    #[arg(long, env = "HEADCOUNT_KEY", value_name = "NAME", default_value = DEFAULT_KEY)]
    pub(super) key: String,
    /// Redis channel of announcements. Default: user count, and user count@5 in database 5, since channels ignore
    /// database numbers.
    #[arg(long, env = "HEADCOUNT_CHANNEL", value_name = "NAME")]
    pub(super) channel: Option<String>,
}

/// The checked settings of the Redis that a cluster shares.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is documented as a flag, above")]
pub struct RedisConfig {
    pub url: String,
    pub key: String,
    pub channel: String,
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig")
            .field("url", &shown_url(&self.url).unwrap_or_default())
            .field("key", &self.key)
            .field("channel", &self.channel)
            .finish()
    }
}

impl StoreArgs {
    /// Checks the settings. `None` means the embedded store.
    pub(super) fn check(&self) -> Result<Option<RedisConfig>, ConfigError> {
        Setting("HEADCOUNT_KEY", &self.key).name()?;
        if let Some(channel) = &self.channel {
            Setting("HEADCOUNT_CHANNEL", channel).name()?;
        }
        let Some(url) = &self.redis_url else {
            let key = Some(self.key.as_str()).filter(|&key| key != DEFAULT_KEY);
            return without_redis(key, self.channel.as_deref()).map(|()| None);
        };
        let url = redis_url(url)?;
        let channel =
            self.channel.clone().unwrap_or_else(|| default_channel(DEFAULT_CHANNEL, &url));
        let is_default = self.channel.is_none() || channel == DEFAULT_CHANNEL;
        if self.key != DEFAULT_KEY && is_default {
            let why = "changed together with HEADCOUNT_KEY: channels ignore keys, so two clusters on one Redis \
                would hear each other";
            return Err(Setting("HEADCOUNT_CHANNEL", &channel).refuse(why));
        }
        Ok(Some(RedisConfig { url, key: self.key.clone(), channel }))
    }
}
