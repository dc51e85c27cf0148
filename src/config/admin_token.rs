//! The setting `HEADCOUNT_ADMIN_TOKEN`, which is never shown.

use std::{convert::Infallible, fmt, str::FromStr};

use clap::Args;

use super::setting::ConfigError;
use crate::access::admin_token::{AdminToken, TOKEN_CHARS_MAX, TOKEN_CHARS_MIN};

/// The setting as given, not checked.
#[derive(Args, Clone, Debug)]
pub(super) struct AdminTokenArgs {
    /// What the console, its data and /metrics ask for: `Authorization: Bearer TOKEN`, or a login in a browser. 16 to 512
    /// letters, digits and -._~+/=. Without it they are open to whoever reaches the admin address.
    #[arg(long, env = "HEADCOUNT_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    admin_token: Option<Hidden>,
}

/// Text that its `Debug` output does not show.
#[derive(Clone)]
struct Hidden(String);

impl FromStr for Hidden {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

impl AdminTokenArgs {
    /// Checks the token. `None` if none is set.
    pub(super) fn check(&self) -> Result<Option<AdminToken>, ConfigError> {
        let Some(Hidden(text)) = &self.admin_token else { return Ok(None) };
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
