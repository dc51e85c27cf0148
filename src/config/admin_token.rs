//! The setting `HEADCOUNT_ADMIN_TOKEN`, which is never shown.

use clap::Args;

use super::setting::{ConfigError, Hidden};
use crate::access::admin_token::{AdminToken, TOKEN_CHARS_MAX, TOKEN_CHARS_MIN};

/// The setting as given, not checked.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminTokenArgs {
    /// What the console, its data and /metrics ask for: `Authorization: Bearer TOKEN`, or a login in a browser. 16 to 512
    /// letters, digits and -._~+/=. Without it they are open to whoever reaches the admin address.
    #[arg(long, env = "HEADCOUNT_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<Hidden>,
}

impl AdminTokenArgs {
    /// Checks the token. `None` if none is set.
    pub(super) fn check(&self) -> Result<Option<AdminToken>, ConfigError> {
        let Some(text) = self.admin_token.as_ref().map(Hidden::text) else { return Ok(None) };
        let refused = || ConfigError {
            variable: "HEADCOUNT_ADMIN_TOKEN",
            value: "(not shown)".to_owned(),
            allowed: format!(
                "{TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} letters, digits and -._~+/=, as `openssl rand -base64 24` gives"
            ),
        };
        AdminToken::parse(text).map(Some).ok_or_else(refused)
    }
}
