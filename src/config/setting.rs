//! One raw setting and how it is read: the value, or a refusal that says what is allowed.

use std::{net::SocketAddr, str::FromStr, time::Duration};

use crate::{
    engine::settings::Transports,
    store::redis::{check_url, shown_url},
};

/// A setting that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is {value:?}, but must be {allowed}")]
pub struct ConfigError {
    pub(super) variable: &'static str,
    pub(super) value: String,
    pub(super) allowed: String,
}

/// A variable's name and its raw value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a>(pub(super) &'static str, pub(super) &'a str);

impl Setting<'_> {
    pub(super) fn refuse(&self, allowed: impl Into<String>) -> ConfigError {
        ConfigError { variable: self.0, value: self.1.to_owned(), allowed: allowed.into() }
    }

    pub(super) fn parse<T: FromStr>(&self, allowed: &str) -> Result<T, ConfigError> {
        self.1.parse().map_err(|_| self.refuse(allowed))
    }

    pub(super) fn address(&self) -> Result<SocketAddr, ConfigError> {
        self.parse("an IP address and a port such as 127.0.0.1:3000 or [::]:3000")
    }

    pub(super) fn duration(
        &self,
        least: Duration,
        most: Duration,
    ) -> Result<Duration, ConfigError> {
        let [from, to] = [least, most].map(humantime::format_duration);
        let allowed = format!("a duration from {from} to {to}, such as 500ms, 2s or 1min");
        let value = humantime::parse_duration(self.1).map_err(|_| self.refuse(&allowed))?;
        if value < least || value > most { Err(self.refuse(allowed)) } else { Ok(value) }
    }

    pub(super) fn number(&self, least: usize, most: usize) -> Result<usize, ConfigError> {
        let allowed = format!("a whole number from {least} to {most}");
        let value = self.parse(&allowed)?;
        if value < least || value > most { Err(self.refuse(allowed)) } else { Ok(value) }
    }

    /// Braces would move the hash tag that keeps all keys in one slot.
    pub(super) fn name(&self) -> Result<(), ConfigError> {
        let fits = (1..=200).contains(&self.1.len());
        let odd = self.1.chars().any(|c| c.is_control() || c == '{' || c == '}');
        if fits && !odd {
            return Ok(());
        }
        Err(self.refuse("1 to 200 bytes without braces or control characters"))
    }

    /// The parser of filters panics at some that are not ASCII.
    pub(super) fn log_filter(&self) -> Result<(), ConfigError> {
        let allowed = "a tracing filter such as info, or headcount=debug,warn";
        if !self.1.is_ascii() {
            return Err(self.refuse(allowed));
        }
        self.parse::<tracing_subscriber::EnvFilter>(allowed).map(drop)
    }

    pub(super) fn transports(&self) -> Result<Transports, ConfigError> {
        let mut names: Vec<&str> = self.1.split(',').map(str::trim).collect();
        names.sort_unstable();
        match names[..] {
            ["polling", "websocket"] => Ok(Transports::Both),
            ["websocket"] => Ok(Transports::Websocket),
            ["polling"] => Ok(Transports::Polling),
            _ => Err(self.refuse("websocket, polling, or websocket,polling")),
        }
    }
}

/// An address of Redis. The value of a refused one is shown without its credentials, or not at all.
pub(super) fn redis_url(text: &str) -> Result<String, ConfigError> {
    let Err(error) = check_url(text) else {
        return Ok(text.to_owned());
    };
    let hidden =
        || if text.is_empty() { "" } else { "(not shown: it may hold a password)" }.to_owned();
    Err(ConfigError {
        variable: "HEADCOUNT_REDIS_URL",
        value: shown_url(text).unwrap_or_else(hidden),
        allowed: format!(
            "an address such as redis://127.0.0.1:6379, rediss://user:password@host:6379/0 or \
            redis+sentinel://user:password@host1:26379,host2:26379/mymaster ({}); unset it to count without Redis",
            error.reason
        ),
    })
}
