//! Settings of `headcount serve`.

use std::{net::SocketAddr, time::Duration};

use clap::Args;
use uuid::Uuid;

use super::{
    admin_hosts::AdminHostsArgs,
    admin_token::AdminTokenArgs,
    health::DEFAULT_ADMIN,
    instance_name::instance_name,
    service_manager::ServiceManagerConfig,
    setting::{ConfigError, Setting},
    sign_in::SignInArgs,
    store::{RedisConfig, StoreArgs},
    timing::{emit_interval, grace, heartbeat_and_lease},
};
use crate::{
    access::{
        admin_hosts::AdminHosts,
        admin_token::AdminToken,
        origin::Origins,
        rooms::{RoomRules, WATCHED_PER_CONNECTION},
    },
    core::count::Incarnation,
    identity::{
        sign_in::{SignInMode, SignInSettings},
        visitor::VisitorKeys,
    },
    protocol::transport::Transports,
    telemetry::log::LogSettings,
};

/// The shortest ping interval and timeout. A polling client posts once for every ping, which must stay within its rate limit.
/// The timeout is also the `TCP_USER_TIMEOUT` of connections.
const PING_MIN: Duration = Duration::from_secs(1);
/// The longest ping interval and timeout. With it, a client that vanished is counted for half an hour.
const PING_MAX: Duration = Duration::from_mins(10);
/// The smallest payload limit: a handshake of Socket.IO with some authentication data must fit.
const PAYLOAD_BYTES_MIN: usize = 1024;
/// The largest payload limit: one message is held in memory for each connection.
const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The most sessions of an instance, if the file limit allows them.
pub const CONNECTIONS_MAX: usize = 100_000;
/// The most rooms that one connection may be allowed to be in. Every room that it joins or leaves is an emission to others.
const ROOMS_PER_CONNECTION_MAX: usize = 100;
/// The most rooms that an instance may be allowed to have.
const ROOMS_MAX: usize = 1_000_000;
/// Descriptors that are reserved for Redis, the admin listener, log files and HTTP requests.
pub const DESCRIPTORS_RESERVED: usize = 256;

/// The settings of `headcount serve` as given, not checked.
#[derive(Args, Clone, Debug)]
#[allow(clippy::struct_field_names, reason = "the names are those of the settings")]
pub struct ServeArgs {
    /// Public address: page, API and Socket.IO; port 0 takes a free one.
    #[arg(
        long,
        env = "HEADCOUNT_LISTEN",
        value_name = "ADDRESS",
        default_value = "127.0.0.1:3000"
    )]
    listen: String,
    /// Admin address: console, metrics and health. Never make it public.
    #[arg(
        long,
        env = "HEADCOUNT_ADMIN_LISTEN",
        value_name = "ADDRESS",
        default_value = DEFAULT_ADMIN
    )]
    admin_listen: String,
    #[command(flatten)]
    admin_token: AdminTokenArgs,
    #[command(flatten)]
    admin_hosts: AdminHostsArgs,
    #[command(flatten)]
    pub(super) store: StoreArgs,
    /// Longest time between two reports to the store: 10ms to a third of the lease.
    #[arg(long, env = "HEADCOUNT_HEARTBEAT", value_name = "DURATION", default_value = "500ms")]
    heartbeat: String,
    /// How long a report stands; a crashed instance is counted that long. At least 1.5s plus a heartbeat.
    #[arg(long, env = "HEADCOUNT_LEASE", value_name = "DURATION", default_value = "2s")]
    lease: String,
    /// Least time between two emissions of one instance: 1ms to 10s.
    #[arg(long, env = "HEADCOUNT_EMIT_INTERVAL", value_name = "DURATION", default_value = "50ms")]
    emit_interval: String,
    /// How long a user with an identity is counted after the last connection, so that a reload changes no count: 0s to 1min.
    #[arg(long, env = "HEADCOUNT_GRACE", value_name = "DURATION", default_value = "2s")]
    grace: String,
    /// Engine.IO: time between pings, 1s to 10min.
    #[arg(long, env = "HEADCOUNT_PING_INTERVAL", value_name = "DURATION", default_value = "25s")]
    ping_interval: String,
    /// Engine.IO: time to answer a ping, 1s to 10min.
    #[arg(long, env = "HEADCOUNT_PING_TIMEOUT", value_name = "DURATION", default_value = "20s")]
    ping_timeout: String,
    /// Bytes of one client message, on both transports: 1024 to 1048576.
    #[arg(long, env = "HEADCOUNT_MAX_PAYLOAD", value_name = "BYTES", default_value = "16384")]
    max_payload: String,
    /// Transports to serve: websocket, polling, or both with a comma between.
    #[arg(
        long,
        env = "HEADCOUNT_TRANSPORTS",
        value_name = "LIST",
        default_value = "websocket,polling"
    )]
    transports: String,
    /// Origins of web pages that may connect, besides pages of the same host: a list with commas between, in which
    /// `https://*.shop.example` stands for all subdomains, or *. Requests without an Origin header are let in.
    #[arg(long, env = "HEADCOUNT_ALLOWED_ORIGINS", value_name = "LIST")]
    allowed_origins: Option<String>,
    /// Sessions at a time, counted from the handshake on; beyond it handshakes get 503. Default: what the
    /// file limit and the memory limit allow less a reserve, at most 100000.
    #[arg(long, env = "HEADCOUNT_MAX_CONNECTIONS", value_name = "NUMBER")]
    max_connections: Option<String>,
    /// Rooms, each a Socket.IO namespace with a count of its own, that clients may join: a list with commas between, of names
    /// such as /blog, names with * at the end for all that begin so, or none.
    #[arg(long, env = "HEADCOUNT_ROOMS", value_name = "LIST", default_value = "/*")]
    rooms: String,
    /// Rooms that clients may join and watch, and programs ask for, only with a token: a list like that of all rooms.
    #[arg(long, env = "HEADCOUNT_PRIVATE_ROOMS", value_name = "LIST", default_value = "none")]
    private_rooms: String,
    /// Rooms whose users are listed: a client with a token may be told who is there, and a program may ask. A list
    /// like that of rooms. Users with a visitor key are never listed.
    #[arg(long, env = "HEADCOUNT_LISTS", value_name = "LIST", default_value = "none")]
    lists: String,
    /// Rooms that one connection may be in at a time, besides the site: 0 to 100. It may watch 100 more without being counted.
    #[arg(
        long,
        env = "HEADCOUNT_ROOMS_PER_CONNECTION",
        value_name = "NUMBER",
        default_value = "8"
    )]
    rooms_per_connection: String,
    /// Rooms of this instance at a time: 1 to 1000000. Each takes about 600 bytes. Default: what fits into a 32nd of the memory
    /// limit, at least 1000 and at most 100000.
    #[arg(long, env = "HEADCOUNT_ROOMS_MAX", value_name = "NUMBER")]
    rooms_max: Option<String>,
    #[command(flatten)]
    sign_in: SignInArgs,
    /// On SIGTERM: how long to go on serving while not ready, so that a balancer notices (4s behind one).
    #[arg(long, env = "HEADCOUNT_DRAIN_DELAY", value_name = "DURATION", default_value = "0s")]
    drain_delay: String,
    /// On SIGTERM: the time over which clients are then sent elsewhere.
    #[arg(long, env = "HEADCOUNT_DRAIN", value_name = "DURATION", default_value = "10s")]
    drain: String,
    /// How long an HTTP connection may stay idle between two requests: 1s to 1h. Longer than a balancer keeps its own.
    #[arg(long, env = "HEADCOUNT_KEEP_ALIVE", value_name = "DURATION", default_value = "75s")]
    keep_alive: String,
    /// The name by which people know this instance, in logs, metrics, the API and `headcount status`: 1 to 63 characters.
    /// Default: the name of the host.
    #[arg(long, env = "HEADCOUNT_INSTANCE_NAME", value_name = "NAME")]
    instance_name: Option<String>,
    /// What to log to stderr, as a tracing filter: error, warn, info, debug, trace, or per module.
    #[arg(long, env = "HEADCOUNT_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// How to log: text or json.
    #[arg(long, env = "HEADCOUNT_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: String,
    /// For tests: begin with this incarnation id.
    #[arg(long, env = "HEADCOUNT_TEST_INCARNATION", value_name = "UUID", hide = true)]
    test_incarnation: Option<String>,
}

/// The checked settings of `headcount serve`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is documented as a flag, above, with its unit and range")]
pub struct Config {
    pub listen: SocketAddr,
    pub admin_listen: SocketAddr,
    pub admin_token: Option<AdminToken>,
    pub admin_hosts: AdminHosts,
    pub redis: Option<RedisConfig>,
    pub heartbeat: Duration,
    pub lease: Duration,
    pub emit_interval: Duration,
    pub grace: Duration,
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    pub payload_bytes_max: usize,
    pub transports: Transports,
    pub origins: Origins,
    pub connections_max: Option<usize>,
    pub rooms: RoomRules,
    pub sign_in: SignInSettings,
    /// How visitor keys are hashed; `None` if they do not count.
    pub visitors: Option<VisitorKeys>,
    pub drain_delay: Duration,
    pub drain: Duration,
    pub keep_alive: Duration,
    pub instance_name: String,
    pub log: LogSettings,
    pub incarnation: Incarnation,
    /// Given by the service manager rather than by a flag.
    pub service_manager: ServiceManagerConfig,
}

impl ServeArgs {
    /// Checks all settings, and their relations to each other.
    ///
    /// # Errors
    /// The first setting that is not allowed.
    pub fn check(&self) -> Result<Config, ConfigError> {
        let transports = Setting("HEADCOUNT_TRANSPORTS", &self.transports);
        let sign_in = self.sign_in.check()?;
        let (heartbeat, lease) = heartbeat_and_lease(&self.heartbeat, &self.lease)?;
        let redis = self.store.check()?;
        Ok(Config {
            listen: Setting("HEADCOUNT_LISTEN", &self.listen).address()?,
            admin_listen: Setting("HEADCOUNT_ADMIN_LISTEN", &self.admin_listen).address()?,
            admin_token: self.admin_token.check()?,
            admin_hosts: self.admin_hosts.check()?,
            visitors: self.sign_in.visitors(redis.as_ref().map(|redis| redis.key.as_str()))?,
            redis,
            heartbeat,
            lease,
            emit_interval: emit_interval(&self.emit_interval)?,
            grace: grace(&self.grace)?,
            ping_interval: Setting("HEADCOUNT_PING_INTERVAL", &self.ping_interval)
                .duration(PING_MIN, PING_MAX)?,
            ping_timeout: Setting("HEADCOUNT_PING_TIMEOUT", &self.ping_timeout)
                .duration(PING_MIN, PING_MAX)?,
            payload_bytes_max: Setting("HEADCOUNT_MAX_PAYLOAD", &self.max_payload)
                .number(PAYLOAD_BYTES_MIN, PAYLOAD_BYTES_MAX)?,
            transports: transports.transports()?,
            origins: self.origins()?,
            connections_max: self.connections_max()?,
            rooms: self.rooms(sign_in.mode)?,
            sign_in,
            drain_delay: Setting("HEADCOUNT_DRAIN_DELAY", &self.drain_delay)
                .duration(Duration::ZERO, Duration::from_hours(1))?,
            drain: Setting("HEADCOUNT_DRAIN", &self.drain)
                .duration(Duration::ZERO, Duration::from_hours(1))?,
            keep_alive: Setting("HEADCOUNT_KEEP_ALIVE", &self.keep_alive)
                .duration(Duration::from_secs(1), Duration::from_hours(1))?,
            instance_name: instance_name(self.instance_name.as_deref())?,
            log: self.log()?,
            incarnation: self.incarnation()?,
            service_manager: ServiceManagerConfig::from_environment(),
        })
    }

    fn origins(&self) -> Result<Origins, ConfigError> {
        let Some(text) = &self.allowed_origins else { return Ok(Origins::Same) };
        Origins::parse(text).map_err(|error| {
            let allowed =
                "* or a list of origins such as https://blog.example,https://*.shop.example";
            let setting = Setting("HEADCOUNT_ALLOWED_ORIGINS", text);
            setting.refuse(format!("{allowed} ({error})"))
        })
    }

    fn connections_max(&self) -> Result<Option<usize>, ConfigError> {
        let Some(text) = &self.max_connections else { return Ok(None) };
        let hard = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(_, hard)| hard);
        let descriptors = usize::try_from(hard).unwrap_or(usize::MAX);
        let most = descriptors.saturating_sub(DESCRIPTORS_RESERVED).max(1);
        Setting("HEADCOUNT_MAX_CONNECTIONS", text).number(1, most).map(Some).map_err(|error| {
            let because =
                format!("{} (the hard file limit less {DESCRIPTORS_RESERVED})", error.allowed);
            ConfigError { allowed: because, ..error }
        })
    }

    fn rooms(&self, mode: SignInMode) -> Result<RoomRules, ConfigError> {
        let allowed = Setting("HEADCOUNT_ROOMS", &self.rooms).room_patterns()?;
        let with_token = |setting: Setting<'_>| {
            let patterns = setting.room_patterns()?;
            if !patterns.is_none() && !patterns.overlap(&allowed) {
                return Err(setting.refuse(format!(
                    "none, or a list with rooms that HEADCOUNT_ROOMS allows, which is {:?}",
                    self.rooms
                )));
            }
            if mode == SignInMode::Off && !patterns.is_none() {
                let allowed = "none while nobody can sign in, which needs HEADCOUNT_JWT_KEYS";
                return Err(setting.refuse(allowed));
            }
            Ok(patterns)
        };
        let private = with_token(Setting("HEADCOUNT_PRIVATE_ROOMS", &self.private_rooms))?;
        let listed = with_token(Setting("HEADCOUNT_LISTS", &self.lists))?;
        Ok(RoomRules {
            allowed,
            private,
            listed,
            per_connection: Setting("HEADCOUNT_ROOMS_PER_CONNECTION", &self.rooms_per_connection)
                .number(0, ROOMS_PER_CONNECTION_MAX)?,
            watched_per_connection: WATCHED_PER_CONNECTION,
            most: match &self.rooms_max {
                Some(text) => Some(Setting("HEADCOUNT_ROOMS_MAX", text).number(1, ROOMS_MAX)?),
                None => None,
            },
        })
    }

    fn log(&self) -> Result<LogSettings, ConfigError> {
        Setting("HEADCOUNT_LOG", &self.log).log_filter()?;
        let json = match self.log_format.as_str() {
            "json" => true,
            "text" => false,
            _ => {
                return Err(
                    Setting("HEADCOUNT_LOG_FORMAT", &self.log_format).refuse("text or json")
                );
            }
        };
        Ok(LogSettings { filter: self.log.clone(), json })
    }

    fn incarnation(&self) -> Result<Incarnation, ConfigError> {
        let Some(text) = &self.test_incarnation else { return Ok(Incarnation::random()) };
        Setting("HEADCOUNT_TEST_INCARNATION", text).parse::<Uuid>("a UUID").map(Incarnation::from)
    }
}
