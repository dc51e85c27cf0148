//! Settings of `headcount load`. They are flags only, and nothing is read from the environment. So the settings of a
//! serving container do not affect a load generator beside it.

use std::{fmt, time::Duration};

use clap::Args;
use headcount_client::Transport;
use url::Url;

use crate::{
    flag::{Flag, FlagError},
    identities::IdentityPlan,
    identity_flags::IdentityArgs,
    rooms::{PREFIX, ROOMS_MAX, RoomPlan},
};

/// Descriptors reserved for everything except the visitors: standard streams, the runtime, requests to servers.
const DESCRIPTORS_RESERVED: usize = 64;
/// How many visitors there are unless it is said.
const CONNECTIONS_DEFAULT: usize = 100;
/// The number of polling visitors that may leave at a time. Each needs a second descriptor for a moment.
pub(crate) const POLLING_LEAVES_AT_ONCE: usize = 128;
/// The highest rate of joins and of leaves, in visitors per second. One core cannot open more connections.
const RATE_MAX: f64 = 10_000.0;
/// The lowest rate of joins: one visitor in a hundred seconds. No demonstration needs a slower one.
const RATE_MIN: f64 = 0.01;
/// The most rooms of one visitor. Servers allow 8 unless set otherwise.
const PER_CONNECTION_MAX: u32 = 100;
/// The greatest skew: nearly all visitors are in the first room then.
const SKEW_MAX: f64 = 10.0;
/// The longest beginning of a room's name in bytes: a name has at most 128, and up to six digits follow.
const PREFIX_BYTES_MAX: usize = 120;
const DAY: Duration = Duration::from_hours(24);

/// The end of `--help`.
const TRUTH: &str = "How the count is checked: when the time is over nobody joins or leaves any more, and \
for up to --settle the program looks for a moment at which all its visitors were last told the same number, \
/api/count of every --url says that number too, and it is not less than the visitors of this program. Other \
visitors may be present: they are the difference. With --alone there must be none: the program waits at the start until \
nobody is counted, since users of an earlier run may be for a moment; for the time of --settle, 5s at least. Every \
room of --rooms is checked in the same way; the servers are asked about 100 rooms at most. On a site whose count \
changes several times a second such a moment may not exist; check it while it is quiet.

With --identities the connections of one identity must be counted once. Then each count on the way is checked, too: none may \
be lower than the users that have been there for the time of --settle (5s at least), and with --alone none may be higher than \
all those that were there within it.

Exit code: 0 if everybody connected, stayed and was told the right count; 1 if not; 2 if a flag is refused.

Ctrl-C ends early, with the check and the report; a second one at once. Visitors always say good-bye.

Ports: one address is good for about 28,000 connections of one machine; give several --url beyond.";

/// The flags of `headcount load` as given, unchecked.
#[derive(Args, Clone, Debug)]
#[command(after_help = TRUTH)]
pub struct LoadArgs {
    /// Address of a server. Repeat it, or put commas between, to spread visitors over several.
    #[arg(
        long,
        value_name = "URL",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:3000"
    )]
    url: Vec<String>,
    /// Visitors to bring up: 1 to what the file limit allows. 100 unless set, or those of --identities.
    #[arg(long, value_name = "NUMBER")]
    connections: Option<String>,
    /// Visitors that join per second: 0.01 to 10000.
    #[arg(long, value_name = "NUMBER", default_value = "100")]
    rate: String,
    /// How long to stay once everybody has joined; 0s stays until stopped.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    hold: String,
    /// How visitors connect: websocket or polling.
    #[arg(long, value_name = "TRANSPORT", default_value = "websocket")]
    transport: String,
    /// Visitors that leave per second once everybody has joined, each replaced by a new one: 0 to --rate.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    leave_rate: String,
    /// Let the number of visitors swing between half and all of --connections, in waves of this length: 1s
    /// to 1day. For demonstrations.
    #[arg(long, value_name = "DURATION")]
    vary: Option<String>,
    /// Come back 2s after a refusal or a loss, as browsers do. Without it each visitor tries once.
    #[arg(long)]
    reconnect: bool,
    /// How long the count may take to be right at the end, 0s to 10min.
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    settle: String,
    /// Nobody else visits: the count must be the number of visitors of this program, not just agreed on.
    #[arg(long)]
    alone: bool,
    /// Rooms that the visitors join besides the site: 0 to 100000.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    rooms: String,
    /// In how many of the rooms every visitor is: 1 to 100, at most --rooms. The server may allow fewer.
    #[arg(long, value_name = "NUMBER", default_value = "1")]
    per_connection: String,
    /// How the names of the rooms begin; a number follows.
    #[arg(long, value_name = "PREFIX", default_value = PREFIX)]
    prefix: String,
    /// How uneven the rooms are: 0 to 10. With 0 all have the same size, with 1 half of the visitors are in a quarter of the
    /// rooms.
    #[arg(long, value_name = "NUMBER", default_value = "0")]
    skew: String,
    #[command(flatten)]
    identities: IdentityArgs,
    /// Print the report as JSON rather than a table.
    #[arg(long)]
    json: bool,
}

/// The settings of `headcount load`, checked.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is documented as a flag, above, with its unit and range")]
pub struct LoadConfig {
    pub targets: Vec<Target>,
    pub connections: usize,
    /// Joins per second.
    pub rate: f64,
    /// How long the visitors stay. `None` means until the program is stopped.
    pub hold: Option<Duration>,
    pub transport: Transport,
    /// Leaves per second.
    pub leave_rate: f64,
    /// The length of a wave.
    pub vary: Option<Duration>,
    pub reconnect: bool,
    pub settle: Duration,
    pub alone: bool,
    pub rooms: Option<RoomPlan>,
    pub identities: Option<IdentityPlan>,
    pub json: bool,
}

/// A server for visitors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port, in the form of a `Host` header and of the system's resolver.
    authority: String,
}

impl LoadArgs {
    /// Checks all flags.
    ///
    /// # Errors
    /// The first flag that is not allowed, with its name.
    pub fn check(&self) -> Result<LoadConfig, FlagError> {
        let transport = Flag("--transport", &self.transport);
        let transport = match transport.1 {
            "websocket" => Transport::Websocket,
            "polling" => Transport::Polling,
            _ => return Err(transport.refuse("websocket or polling")),
        };
        let rate = rate(&Flag("--rate", &self.rate), RATE_MIN, RATE_MAX)?;
        let leave_rate = rate_of_leaves(&Flag("--leave-rate", &self.leave_rate), rate)?;
        let vary = self
            .vary
            .as_deref()
            .map(|wave| Flag("--vary", wave).duration(Duration::from_secs(1), DAY));
        let hold = Flag("--hold", &self.hold).duration(Duration::ZERO, 365 * DAY)?;
        let identities = self.identities.check()?;
        Ok(LoadConfig {
            targets: self.targets()?,
            connections: self.connections(transport, identities.as_ref())?,
            rate,
            hold: (!hold.is_zero()).then_some(hold),
            transport,
            leave_rate,
            vary: vary.transpose()?,
            reconnect: self.reconnect,
            settle: Flag("--settle", &self.settle)
                .duration(Duration::ZERO, Duration::from_mins(10))?,
            alone: self.alone,
            rooms: self.rooms()?,
            identities,
            json: self.json,
        })
    }

    /// The number of connections: at least those of the identities.
    fn connections(
        &self,
        transport: Transport,
        identities: Option<&IdentityPlan>,
    ) -> Result<usize, FlagError> {
        let (most, reserved) = connections_max(transport);
        let limit = format!("(the hard file limit less {reserved})");
        let least = identities.map_or(1, |plan| plan.identities as usize * plan.tabs as usize);
        if let Some(plan) = identities.filter(|_| least > most) {
            let allowed =
                format!("{} at most, times --tabs {most} {limit}", most / plan.tabs as usize);
            return Err(Flag("--identities", &plan.identities.to_string()).refuse(allowed));
        }
        let Some(given) = &self.connections else {
            return Ok(if identities.is_some() { least } else { CONNECTIONS_DEFAULT.min(most) });
        };
        let flag = Flag("--connections", given);
        flag.number("a whole number", least, most).map_err(|error| {
            let because =
                if identities.is_some() { ", at least --identities times --tabs" } else { "" };
            FlagError { allowed: format!("{} {limit}{because}", error.allowed), ..error }
        })
    }

    /// The rooms; `None` if there are none.
    fn rooms(&self) -> Result<Option<RoomPlan>, FlagError> {
        let rooms = Flag("--rooms", &self.rooms).number("a whole number", 0, ROOMS_MAX)?;
        let most = PER_CONNECTION_MAX.min(rooms.max(1));
        let per_connection = Flag("--per-connection", &self.per_connection)
            .number("a whole number", 1, most)
            .map_err(|error| {
                let allowed = format!("{} (--rooms, at most {PER_CONNECTION_MAX})", error.allowed);
                FlagError { allowed, ..error }
            })?;
        let skew = Flag("--skew", &self.skew).number("a number", 0.0, SKEW_MAX)?;
        let prefix = Flag("--prefix", &self.prefix);
        let is_odd = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ',' | '?' | '#');
        if !prefix.1.starts_with('/')
            || prefix.1.contains(is_odd)
            || prefix.1.len() > PREFIX_BYTES_MAX
        {
            return Err(prefix.refuse(format!(
                "the beginning of a room's name, such as /load/, with at most {PREFIX_BYTES_MAX} bytes"
            )));
        }
        let plan = RoomPlan { prefix: self.prefix.clone(), rooms, per_connection, skew };
        Ok((rooms > 0).then_some(plan))
    }

    fn targets(&self) -> Result<Vec<Target>, FlagError> {
        let parse = |text: &String| {
            let allowed =
                "an address such as http://127.0.0.1:3000, without a path; TLS is the balancer's";
            Target::parse(text).ok_or_else(|| Flag("--url", text).refuse(allowed))
        };
        self.url.iter().map(parse).collect()
    }
}

impl Target {
    /// Reads an address of HTTP without credentials, path or query.
    ///
    /// ```
    /// use headcount_load::Target;
    ///
    /// let target = Target::parse("ws://count.example").expect("the address of a server");
    /// assert_eq!(target.authority(), "count.example:80");
    /// // TLS is the balancer's.
    /// assert!(Target::parse("https://count.example").is_none());
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text.trim()).ok()?;
        let host = url.host_str().filter(|host| !host.is_empty())?;
        let port = url.port_or_known_default()?;
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        let plain = matches!(url.scheme(), "http" | "ws");
        (plain && bare).then(|| Self { authority: format!("{host}:{port}") })
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.authority)
    }
}

fn rate(flag: &Flag<'_>, least: f64, most: f64) -> Result<f64, FlagError> {
    flag.number("a number", least, most)
}

/// The rate of leaves may not exceed the rate of joins, because the number of visitors would fall.
fn rate_of_leaves(flag: &Flag<'_>, joins: f64) -> Result<f64, FlagError> {
    rate(flag, 0.0, joins)
        .map_err(|error| FlagError { allowed: format!("{} (--rate)", error.allowed), ..error })
}

/// The most connections that the file limit allows, and how many descriptors are kept for other things.
fn connections_max(transport: Transport) -> (usize, usize) {
    let hard = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(u64::MAX, |(_, hard)| hard);
    let descriptors = usize::try_from(hard).unwrap_or(usize::MAX);
    let reserved = match transport {
        Transport::Websocket => DESCRIPTORS_RESERVED,
        Transport::Polling | Transport::Upgrade => DESCRIPTORS_RESERVED + POLLING_LEAVES_AT_ONCE,
    };
    (descriptors.saturating_sub(reserved).max(1), reserved)
}

#[cfg(test)]
#[path = "flags/tests.rs"]
pub(crate) mod tests;
