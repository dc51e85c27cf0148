//! Settings of `headcount status`.

use clap::Args;

use super::{
    setting::{ConfigError, Setting},
    store::{RedisConfig, StoreArgs},
};
use crate::store::RoomsQuery;

/// The most rooms that are listed. Who wants more reads them from Redis.
const ROOMS_MAX: usize = 10_000;

/// The settings of `headcount status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON rather than a table.
    #[arg(long)]
    pub json: bool,
    /// List this many rooms too, the largest first: 1 to 10000.
    #[arg(long, value_name = "NUMBER")]
    rooms: Option<String>,
    /// Of the rooms, list only those whose names begin so, such as /blog/.
    #[arg(long, value_name = "PREFIX", requires = "rooms")]
    prefix: Option<String>,
}

impl StatusArgs {
    /// Checks where the count is shared.
    ///
    /// # Errors
    /// If a setting is not allowed, or no Redis is set: the embedded store is inside the instance.
    pub fn check(&self) -> Result<RedisConfig, ConfigError> {
        let missing = ConfigError {
            variable: "HEADCOUNT_REDIS_URL",
            value: String::new(),
            allowed: "set to the Redis that the cluster shares".to_owned(),
        };
        self.store.check()?.ok_or(missing)
    }

    /// Checks which rooms are to be listed; `None` if none are.
    ///
    /// # Errors
    /// If the number is out of range, or no name of a room could begin so.
    pub fn rooms(&self) -> Result<Option<RoomsQuery>, ConfigError> {
        let Some(most) = &self.rooms else { return Ok(None) };
        let most = Setting("--rooms", most).number(1, ROOMS_MAX)?;
        let prefix = self.prefix.clone().unwrap_or_default();
        if !prefix.is_empty() && !prefix.starts_with('/') {
            return Err(
                Setting("--prefix", &prefix).refuse("the beginning of a name, such as /blog/")
            );
        }
        Ok(Some(RoomsQuery { prefix, most }))
    }
}
