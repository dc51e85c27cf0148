//! Settings of `headcount status`.

use clap::Args;

use super::{
    setting::ConfigError,
    store::{RedisConfig, StoreArgs},
};

/// The settings of `headcount status`.
#[derive(Args, Clone, Debug)]
pub struct StatusArgs {
    #[command(flatten)]
    store: StoreArgs,
    /// Print JSON rather than a table.
    #[arg(long)]
    pub json: bool,
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
}
