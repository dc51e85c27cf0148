//! The addresses that `HEADCOUNT_REDIS_URL` takes: of a server, or of the sentinels that know which server is the
//! primary. They are read and checked here, without connecting.
//!
//! No error quotes an address, and what [`shown_url`] makes of one holds no credential.

use std::{fmt, time::Duration};

use deadpool_redis::redis::{
    ConnectionInfo, IntoConnectionInfo,
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use url::Url;

/// Where a sentinel listens unless its address says otherwise.
const SENTINEL_PORT: u16 = 26379;

/// The most sentinels that are asked. Deployments have three or five; each costs every instance a connection.
const SENTINELS_MAX: usize = 16;

/// Keepalive: a peer that vanished is noticed after 2 s + 3 × 1 s of silence. It ends a subscription that would
/// otherwise stay open and receive nothing, since a subscriber never sends anything.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_PROBES: u32 = 3;

/// Settings that no store can be made of. It never quotes the URL, which holds the password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to read the redis url: {reason}; allowed is {ALLOWED_URLS}")]
pub struct InvalidRedisUrl {
    /// What is wrong with it.
    pub reason: String,
}

const ALLOWED_URLS: &str = "redis[s]://[user:password@]host[:port][/database] or redis[s]+sentinel://\
    [user:password@]sentinel[:port],…/name[/database][?sentinel_username=…&sentinel_password=…]";

/// An address that was read.
#[derive(Clone)]
pub(super) enum Address {
    /// The address of a single server.
    Server(ConnectionInfo),
    /// The addresses of sentinels, which name the server.
    Sentinels(SentinelAddress),
}

/// Which sentinels to ask, and how to speak to the primary that they name.
#[derive(Clone)]
pub(super) struct SentinelAddress {
    /// In the order given; never empty.
    pub(super) sentinels: Vec<ConnectionInfo>,
    /// The name that the sentinels know the primary by.
    pub(super) name: String,
    /// Credentials, database and TLS of the primary, with an address that stands for none.
    pub(super) primary: ConnectionInfo,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, InvalidRedisUrl> {
        if let Some(parts) = SentinelParts::of(text) {
            return parts?.address().map(Self::Sentinels);
        }
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("redis" | "rediss")) {
            return Err(invalid(
                "the scheme is none of redis, rediss, redis+sentinel and rediss+sentinel",
            ));
        }
        let url = Url::parse(text).map_err(|error| invalid(error.to_string()))?;
        if !url.has_host() {
            return Err(invalid("it has no host"));
        }
        check_query(&url)?;
        connection_info(url).map(Self::Server)
    }

    /// The number of the database that holds the keys.
    pub(super) fn database(&self) -> u32 {
        let server = match self {
            Self::Server(server) => server,
            Self::Sentinels(address) => &address.primary,
        };
        u32::try_from(server.redis_settings().db()).expect("it was read as one")
    }
}

/// Refuses every parameter without an effect: with an ignored `?db=5`, an instance would count in database 0.
fn check_query(url: &Url) -> Result<(), InvalidRedisUrl> {
    let mut protocols = 0;
    for (name, _) in url.query_pairs() {
        match &*name {
            "protocol" => protocols += 1,
            "db" | "database" => {
                return Err(invalid("it has the database as a parameter; write it as in host/5"));
            }
            _ => return Err(invalid("it has a parameter other than protocol")),
        }
    }
    if protocols > 1 { Err(invalid("it has a parameter twice")) } else { Ok(()) }
}

/// The number of the database in an address; `None` if it is not one that [`check_url`] lets pass.
pub fn database_of(text: &str) -> Option<u32> {
    Address::parse(text).ok().map(|address| address.database())
}

/// Checks an address without connecting.
///
/// # Errors
/// If no store can be made of it.
pub fn check_url(text: &str) -> Result<(), InvalidRedisUrl> {
    Address::parse(text).map(drop)
}

/// The address as it may be shown: without credentials, and `None` if it is not clear where they are.
pub fn shown_url(text: &str) -> Option<String> {
    if let Some(parts) = SentinelParts::of(text) {
        return parts.ok()?.shown();
    }
    // Without a host there is no place for credentials, and they may stand anywhere.
    let mut url = Url::parse(text).ok().filter(Url::has_host)?;
    // Nor can they be told from the rest where the sign that ends them stands in another place.
    let rest = [url.path(), url.query().unwrap_or_default(), url.fragment().unwrap_or_default()];
    if rest.iter().any(|part| part.contains('@')) {
        return None;
    }
    url.set_query(None);
    // These fail only for addresses that cannot carry credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Some(url.to_string())
}

/// The parts of a sentinels' address as they were written. A list of hosts is more than [`Url`] can read, so it
/// is taken apart here, and each part is then read as a URL of its own.
struct SentinelParts<'a> {
    scheme: &'static str,
    /// As in `user:password`; empty if there is none.
    user: &'a str,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> SentinelParts<'a> {
    /// `None` if it is an address of another kind.
    fn of(text: &'a str) -> Option<Result<Self, InvalidRedisUrl>> {
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme {
            "redis+sentinel" => "redis",
            "rediss+sentinel" => "rediss",
            _ => return None,
        };
        Some(Self::split(scheme, rest))
    }

    fn split(scheme: &'static str, rest: &'a str) -> Result<Self, InvalidRedisUrl> {
        if rest.contains('#') {
            return Err(invalid("it has a fragment; write # in a password as %23"));
        }
        let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = before.split_once('/').unwrap_or((before, ""));
        let (user, hosts) = authority.rsplit_once('@').unwrap_or(("", authority));
        // A password with a bare / or ? would be cut in two, and one half be taken for something to show.
        if path.contains('@') || query.contains('@') {
            return Err(invalid("it has an @ after the hosts; write / as %2F, ? as %3F, @ as %40"));
        }
        Ok(Self { scheme, user, hosts, path, query })
    }

    fn address(&self) -> Result<SentinelAddress, InvalidRedisUrl> {
        let (name, database) = self.path.split_once('/').unwrap_or((self.path, ""));
        if name.is_empty() {
            return Err(invalid("the name of the primary is missing, as in /mymaster"));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if !name.bytes().all(allowed) {
            return Err(invalid(
                "the name of the primary has other than letters, digits and . _ -",
            ));
        }
        let credentials = Credentials::in_query(self.query)?;
        let sentinels = self.host_urls()?.into_iter().map(|url| credentials.put_into(url));
        let sentinels = sentinels.map(connection_info).collect::<Result<_, _>>()?;
        let at = if self.user.is_empty() { "" } else { "@" };
        let primary = format!("{}://{}{at}primary/{database}", self.scheme, self.user);
        let primary = Url::parse(&primary).map_err(|error| invalid(error.to_string()))?;
        Ok(SentinelAddress { sentinels, name: name.to_owned(), primary: connection_info(primary)? })
    }

    /// The address of each sentinel, without credentials.
    fn host_urls(&self) -> Result<Vec<Url>, InvalidRedisUrl> {
        let hosts: Vec<&str> = self.hosts.split(',').collect();
        if hosts.len() > SENTINELS_MAX {
            return Err(invalid(format!("it has more than {SENTINELS_MAX} sentinels")));
        }
        let read = |host: &str| {
            let text = format!("{}://{host}", self.scheme);
            let url = Url::parse(&text).ok().filter(Url::has_host);
            let mut url = url.ok_or_else(|| invalid("a sentinel is not written as host:port"))?;
            if url.port().is_none() {
                let set = url.set_port(Some(SENTINEL_PORT));
                set.map_err(|()| invalid("a sentinel has no host"))?;
            }
            Ok(url)
        };
        hosts.into_iter().map(read).collect()
    }

    fn shown(&self) -> Option<String> {
        // Something that is no host may be a password that stands in the wrong place.
        self.host_urls().ok()?;
        let slash = if self.path.is_empty() { "" } else { "/" };
        Some(format!("{}+sentinel://{}{slash}{}", self.scheme, self.hosts, self.path))
    }
}

/// Credentials for the sentinels. Those for the servers are separate, because sentinels have their own users.
#[derive(Default)]
struct Credentials<'a> {
    user: Option<&'a str>,
    password: Option<&'a str>,
}

impl<'a> Credentials<'a> {
    fn in_query(query: &'a str) -> Result<Self, InvalidRedisUrl> {
        let mut found = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let slot = match name {
                "sentinel_username" => &mut found.user,
                "sentinel_password" => &mut found.password,
                "db" | "database" => {
                    return Err(invalid(
                        "it has the database as a parameter; write it as in /name/5",
                    ));
                }
                _ => {
                    return Err(invalid(
                        "it has a parameter other than sentinel_username and sentinel_password",
                    ));
                }
            };
            if slot.replace(value).is_some() {
                return Err(invalid("it has a parameter twice"));
            }
        }
        if found.user.is_some() && found.password.is_none() {
            return Err(invalid("it has a sentinel_username without a sentinel_password"));
        }
        Ok(found)
    }

    /// Writes the credentials as user and password of a URL. Both are percent-decoded there, but unlike in a
    /// form, `+` is a plus sign.
    fn put_into(&self, mut url: Url) -> Url {
        // These fail only for addresses without a host.
        let _ = url.set_username(self.user.unwrap_or_default());
        let _ = url.set_password(self.password);
        url
    }
}

fn connection_info(url: Url) -> Result<ConnectionInfo, InvalidRedisUrl> {
    if url.fragment().is_some() {
        return Err(invalid("it has a fragment"));
    }
    let database = url.path().trim_matches('/');
    let is_number = database.bytes().all(|byte| byte.is_ascii_digit());
    let fits = database.is_empty() || database.parse::<i32>().is_ok();
    if !(is_number && fits) {
        return Err(invalid("the database is no number"));
    }
    let host = url.host_str().unwrap_or_default();
    if host.contains(',') {
        return Err(invalid("it has several hosts; sentinels are listed in redis+sentinel://"));
    }
    // Other schemes than those of the web take nearly anything for a host, and escape what is left.
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-._[]:".contains(&byte);
    if !host.bytes().all(is_host) {
        return Err(invalid("its host is no name of the Internet and no address"));
    }
    // The error itself may quote parts of the URL.
    let unfit = |_| invalid("its host, user, password or a parameter is not one that can be used");
    let info = url.into_connection_info().map_err(unfit)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive);
    Ok(info.set_tcp_settings(tcp))
}

fn invalid(reason: impl Into<String>) -> InvalidRedisUrl {
    InvalidRedisUrl { reason: reason.into() }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(info) => info.addr().fmt(f),
            Self::Sentinels(address) => {
                write!(f, "{} according to ", address.name)?;
                let mut comma = "";
                for sentinel in &address.sentinels {
                    write!(f, "{comma}{}", sentinel.addr())?;
                    comma = ",";
                }
                Ok(())
            }
        }
    }
}

#[cfg(test)]
#[path = "url/tests.rs"]
mod tests;
