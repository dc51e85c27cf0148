//! Settings of [`crate::Member`]: the settings of an instance that concern the cluster, with the same names and rules.

use std::{env, ffi::OsString, fmt, time::Duration};

use super::{
    instance_name::instance_name,
    setting::{ConfigError, Setting},
    store::{DEFAULT_KEY, RedisConfig, StoreArgs},
    timing::{emit_interval, grace, heartbeat_and_lease},
};
use crate::store::redis::shown_url;

/// The settings of an application that joins a cluster. All members and instances of a cluster need the same key, channel and
/// lease.
///
/// [`Member::join`](crate::Member::join) checks the settings, by the rules of `headcount serve`. Fields may have any value
/// before:
///
/// ```
/// let settings = headcount::MemberSettings {
///     redis_url: Some("redis://127.0.0.1:6379".to_owned()),
///     ..headcount::MemberSettings::default()
/// };
/// assert_eq!(settings.key, "currentUsers");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct MemberSettings {
    /// The Redis that the cluster shares: `redis://`, `rediss://` (TLS), or `redis+sentinel://` with a list of sentinels.
    /// Without one the member counts for itself. Default: none.
    pub redis_url: Option<String>,
    /// Redis key of the count. Default: `currentUsers`.
    pub key: String,
    /// Redis channel of announcements. It must be changed together with the key. Default: `user count`, and `user count@5` in
    /// database 5, since channels ignore database numbers.
    pub channel: Option<String>,
    /// How long a report stands. The users of a crashed member are counted for this time. At least 1.5 s plus a heartbeat, at
    /// most 5 min. Default: 2 s.
    pub lease: Duration,
    /// Longest time between two reports: 10 ms to a third of the lease. Default: 500 ms.
    pub heartbeat: Duration,
    /// Least time between two emissions to the sockets: 1 ms to 10 s. Default: 50 ms.
    pub emit_interval: Duration,
    /// How long a user with an identity is counted after the last connection, so that a reload changes no count: 0 to 1 min.
    /// Default: 2 s.
    pub grace: Duration,
    /// The name by which people know this member, in metrics and `headcount status`: 1 to 63 characters. Default: the name
    /// of the host.
    pub instance_name: Option<String>,
}

/// The checked settings of a member.
#[derive(Clone, Debug)]
pub(crate) struct CheckedMember {
    pub(crate) redis: Option<RedisConfig>,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) emit_interval: Duration,
    pub(crate) grace: Duration,
    pub(crate) instance_name: String,
}

impl Default for MemberSettings {
    fn default() -> Self {
        Self {
            redis_url: None,
            key: DEFAULT_KEY.to_owned(),
            channel: None,
            lease: Duration::from_secs(2),
            heartbeat: Duration::from_millis(500),
            emit_interval: Duration::from_millis(50),
            grace: Duration::from_secs(2),
            instance_name: None,
        }
    }
}

impl fmt::Debug for MemberSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.redis_url.as_deref().map(|url| shown_url(url).unwrap_or_default());
        f.debug_struct("MemberSettings")
            .field("redis_url", &shown)
            .field("key", &self.key)
            .field("channel", &self.channel)
            .field("lease", &self.lease)
            .field("heartbeat", &self.heartbeat)
            .field("emit_interval", &self.emit_interval)
            .field("grace", &self.grace)
            .field("instance_name", &self.instance_name)
            .finish()
    }
}

impl MemberSettings {
    /// Reads the variables that instances read: `HEADCOUNT_REDIS_URL`, `HEADCOUNT_KEY`, `HEADCOUNT_CHANNEL`,
    /// `HEADCOUNT_LEASE`, `HEADCOUNT_HEARTBEAT`, `HEADCOUNT_EMIT_INTERVAL`, `HEADCOUNT_GRACE` and `HEADCOUNT_INSTANCE_NAME`. If a
    /// variable is empty or not set, its default is taken.
    ///
    /// # Errors
    /// If a variable is not Unicode, or a duration cannot be read.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::read(|variable| env::var_os(variable))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, ConfigError> {
        let text = |name| match variable(name).filter(|value| !value.is_empty()) {
            None => Ok(None),
            Some(value) => value
                .into_string()
                .map(Some)
                .map_err(|value| Setting(name, &value.to_string_lossy()).refuse("Unicode")),
        };
        let duration = |name, default| match text(name)? {
            None => Ok(default),
            Some(value) => Setting(name, &value).duration(Duration::ZERO, Duration::MAX),
        };
        let default = Self::default();
        Ok(Self {
            redis_url: text("HEADCOUNT_REDIS_URL")?,
            key: text("HEADCOUNT_KEY")?.unwrap_or(default.key),
            channel: text("HEADCOUNT_CHANNEL")?,
            lease: duration("HEADCOUNT_LEASE", default.lease)?,
            heartbeat: duration("HEADCOUNT_HEARTBEAT", default.heartbeat)?,
            emit_interval: duration("HEADCOUNT_EMIT_INTERVAL", default.emit_interval)?,
            grace: duration("HEADCOUNT_GRACE", default.grace)?,
            instance_name: text("HEADCOUNT_INSTANCE_NAME")?,
        })
    }

    /// Checks all settings, by the rules for an instance.
    pub(crate) fn check(&self) -> Result<CheckedMember, ConfigError> {
        let text = |duration| humantime::format_duration(duration).to_string();
        let (heartbeat, lease) = heartbeat_and_lease(&text(self.heartbeat), &text(self.lease))?;
        let store = StoreArgs {
            redis_url: self.redis_url.clone(),
            key: self.key.clone(),
            channel: self.channel.clone(),
        };
        let emit_interval = emit_interval(&text(self.emit_interval))?;
        let grace = grace(&text(self.grace))?;
        let instance_name = instance_name(self.instance_name.as_deref())?;
        let redis = store.check()?;
        Ok(CheckedMember { redis, lease, heartbeat, emit_interval, grace, instance_name })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::{super::command_line::Cli, *};

    fn read(variables: &[(&str, &str)]) -> Result<MemberSettings, ConfigError> {
        MemberSettings::read(|name| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| value.into())
        })
    }

    /// Goal: members and instances have the same defaults, so that they are in the same cluster. Method: compare both.
    #[test]
    fn the_defaults_are_those_of_an_instance() {
        let instance = Cli::try_parse_from(["headcount"]).unwrap().serve;
        let member = MemberSettings::default();
        assert_eq!((&member.key, &member.channel), (&instance.store.key, &instance.store.channel));
        let (instance, member) = (instance.check().unwrap(), member.check().unwrap());
        assert!(member.redis.is_none());
        assert_eq!(member.lease, instance.lease);
        assert_eq!(member.heartbeat, instance.heartbeat);
        assert_eq!(member.emit_interval, instance.emit_interval);
        assert_eq!(member.grace, instance.grace);
        assert_eq!(member.instance_name, instance.instance_name);
    }

    /// Goal: a member reads the variables of an instance, and an empty variable counts as not set. Method: all variables
    /// set, then all of them empty.
    #[test]
    fn the_environment_is_read() {
        let set = [
            ("HEADCOUNT_REDIS_URL", "redis://127.0.0.1"),
            ("HEADCOUNT_KEY", "blog"),
            ("HEADCOUNT_CHANNEL", "blog count"),
            ("HEADCOUNT_LEASE", "3s"),
            ("HEADCOUNT_HEARTBEAT", "1s"),
            ("HEADCOUNT_EMIT_INTERVAL", "7ms"),
            ("HEADCOUNT_GRACE", "9s"),
            ("HEADCOUNT_INSTANCE_NAME", "kitchen-2"),
        ];
        let settings = read(&set).unwrap();
        let checked = settings.check().unwrap();
        assert_eq!(checked.redis.unwrap().key, "blog");
        assert_eq!([checked.lease, checked.heartbeat], [3, 1].map(Duration::from_secs));
        assert_eq!(checked.emit_interval, Duration::from_millis(7));
        assert_eq!(checked.grace, Duration::from_secs(9));
        assert_eq!(checked.instance_name, "kitchen-2");
        let empty = set.map(|(name, _)| (name, ""));
        assert_eq!(read(&empty).unwrap(), MemberSettings::default());
    }

    /// Goal: a member refuses the settings that an instance refuses, with the same message. Method: one wrong value each.
    #[rstest]
    #[case("HEADCOUNT_REDIS_URL", "http://127.0.0.1/", "redis://")]
    #[case("HEADCOUNT_KEY", "a{b}", "braces")]
    #[case("HEADCOUNT_HEARTBEAT", "soon", "such as 500ms")]
    #[case("HEADCOUNT_HEARTBEAT", "1s", "a third of the lease")]
    #[case("HEADCOUNT_LEASE", "1999ms", "at least 2s")]
    #[case("HEADCOUNT_EMIT_INTERVAL", "0s", "from 1ms to 10s")]
    #[case("HEADCOUNT_GRACE", "61s", "from 0s to 1m")]
    #[case("HEADCOUNT_INSTANCE_NAME", " web", "1 to 63 characters")]
    fn wrong_settings_are_refused(#[case] variable: &str, #[case] value: &str, #[case] hint: &str) {
        let refused = read(&[(variable, value)]).and_then(|settings| settings.check());
        let message = refused.unwrap_err().to_string();
        assert!(message.starts_with(&format!("{variable} is ")), "{message}");
        assert!(message.contains(hint), "{message}");
    }

    /// Goal: errors and debug output contain no password. Method: an allowed and a refused address with one.
    #[rstest]
    #[case("redis://alice:open-sesame@127.0.0.1")]
    #[case("http://alice:open-sesame@127.0.0.1")]
    #[case("redis:alice:open-sesame@127.0.0.1")]
    fn secrets_are_not_shown(#[case] url: &str) {
        let settings = read(&[("HEADCOUNT_REDIS_URL", url)]).unwrap();
        let shown = format!("{settings:?} {:?}", settings.check());
        assert!(!shown.contains("sesame") && !shown.contains("alice"), "{shown}");
    }
}
