//! Reads one raw setting: returns its value, or an error that says what is allowed.

use std::{convert::Infallible, fmt, net::SocketAddr, str::FromStr, time::Duration};

use tracing::level_filters::LevelFilter;

use crate::{
    access::rooms::RoomPatterns,
    protocol::transport::Transports,
    store::redis::{check_url, database_of, shown_url},
    telemetry::escaped::is_plain,
};

/// A setting that is not allowed: its variable, its value, and what is allowed.
#[derive(Debug, thiserror::Error)]
#[error("{variable} is {value:?}, but must be {allowed}")]
pub struct ConfigError {
    pub(super) variable: &'static str,
    pub(super) value: String,
    pub(super) allowed: String,
}

/// The raw value of a setting that may be a secret. Its `Debug` output does not show it.
#[derive(Clone)]
pub(super) struct Hidden(String);

impl Hidden {
    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

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

/// A setting as given: the name of its variable, and its raw value.
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

    pub(super) fn room_patterns(&self) -> Result<RoomPatterns, ConfigError> {
        RoomPatterns::parse(self.1).map_err(|error| {
            let allowed = "none, or a list of rooms such as /blog/*,/shop";
            self.refuse(format!("{allowed} ({error})"))
        })
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

    /// Checks the name of a key or channel. Braces would move the hash tag that keeps all keys in one slot. Invisible
    /// characters would make two names that look alike, and so two clusters by mistake.
    pub(super) fn name(&self) -> Result<(), ConfigError> {
        let fits = (1..=200).contains(&self.1.len());
        let odd = self.1.contains(['{', '}']) || !is_plain(self.1) || self.1.trim() != self.1;
        if fits && !odd {
            return Ok(());
        }
        Err(self.refuse(
            "1 to 200 bytes without braces, control characters, invisible ones, or spaces at either end",
        ))
    }

    /// Checks a log filter. The parser of tracing panics at some filters that are not ASCII, and takes unknown words for names
    /// of modules: `warning` would silence everything else.
    pub(super) fn log_filter(&self) -> Result<(), ConfigError> {
        let allowed = "a tracing filter such as info, or headcount=debug,warn";
        let directives = || self.1.split(',').map(str::trim);
        let is_word = |word: &str| {
            word.parse::<LevelFilter>().is_ok()
                || word.starts_with("headcount")
                || word.contains(['=', '['])
        };
        if !self.1.is_ascii() || self.1.trim().is_empty() {
            return Err(self.refuse(allowed));
        }
        if let Some(odd) = directives().find(|word| !is_word(word)) {
            let levels = "levels are error, warn, info, debug, trace and off";
            return Err(self.refuse(format!("{allowed} ({odd:?} is no level: {levels})")));
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

/// Checks an address of Redis. The error shows the address without its credentials, or not at all.
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

/// The default channel. Channels are common to all databases of a Redis, so every database but 0 has its own channel.
pub(super) fn default_channel(in_database_0: &str, url: &str) -> String {
    match database_of(url) {
        None | Some(0) => in_database_0.to_owned(),
        Some(database) => format!("{in_database_0}@{database}"),
    }
}

/// Refuses the names of a key or channel if no Redis is set: such an instance would count for itself, which is not what the
/// names ask for.
pub(super) fn without_redis(key: Option<&str>, channel: Option<&str>) -> Result<(), ConfigError> {
    let alone =
        "left out, or HEADCOUNT_REDIS_URL be set: without it one instance counts for itself";
    let named = [("HEADCOUNT_KEY", key), ("HEADCOUNT_CHANNEL", channel)];
    match named.into_iter().find_map(|(variable, name)| Some(Setting(variable, name?))) {
        Some(setting) => Err(setting.refuse(alone)),
        None => Ok(()),
    }
}
