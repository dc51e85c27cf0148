//! The setting `HEADCOUNT_ADMIN_HOSTS`.

use clap::Args;

use super::setting::{ConfigError, Setting};
use crate::access::admin_hosts::AdminHosts;

/// The setting as given, not checked.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminHostsArgs {
    /// Names of the console besides addresses, localhost, names without a dot and private ones: console.example,
    /// *.shop.example, or * for all. Without a token it is shown under no other name.
    #[arg(long, env = "HEADCOUNT_ADMIN_HOSTS", value_name = "NAMES")]
    admin_hosts: Option<String>,
}

impl AdminHostsArgs {
    /// Checks the names.
    pub(super) fn check(&self) -> Result<AdminHosts, ConfigError> {
        let Some(text) = &self.admin_hosts else { return Ok(AdminHosts::default()) };
        AdminHosts::parse(text).ok_or_else(|| {
            let allowed =
                "* or a list of names without ports, such as console.example,*.shop.example";
            Setting("HEADCOUNT_ADMIN_HOSTS", text).refuse(allowed)
        })
    }
}
