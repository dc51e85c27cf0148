//! Settings of `headcount health`: which instance to ask, and what.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use clap::Args;

use super::{
    admin_token::AdminTokenArgs,
    setting::{ConfigError, Setting},
};
use crate::access::admin_token::AdminToken;

/// The admin address, unless set otherwise.
pub(super) const DEFAULT_ADMIN: &str = "127.0.0.1:9100";

/// The settings of `headcount health`.
#[derive(Args, Clone, Debug)]
pub struct HealthArgs {
    /// Admin address of the instance to ask.
    #[arg(long, env = "HEADCOUNT_ADMIN_LISTEN", value_name = "ADDRESS", default_value = DEFAULT_ADMIN)]
    admin_listen: String,
    #[command(flatten)]
    admin_token: AdminTokenArgs,
    /// Ask whether it is alive rather than whether it is ready.
    #[arg(long, conflicts_with = "metrics")]
    pub live: bool,
    /// Print its metrics rather than whether it is ready.
    #[arg(long)]
    pub metrics: bool,
}

impl HealthArgs {
    /// The address to ask. One that stands for all interfaces is asked on the loopback.
    ///
    /// # Errors
    /// If it is not an address.
    pub fn check(&self) -> Result<SocketAddr, ConfigError> {
        let mut address = Setting("HEADCOUNT_ADMIN_LISTEN", &self.admin_listen).address()?;
        match address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
            _ => {}
        }
        Ok(address)
    }

    /// The token that the instance asks for before it shows its metrics.
    ///
    /// # Errors
    /// If it cannot be a token.
    pub fn admin_token(&self) -> Result<Option<AdminToken>, ConfigError> {
        self.admin_token.check()
    }
}
