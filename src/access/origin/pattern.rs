//! One entry of the list of allowed origins: a scheme, a host or all its subdomains, and a port.
//!
//! Scheme, host and port are compared here because the `url` crate calls all origins but those of web pages opaque, and pages
//! inside apps and extensions have other schemes.

use std::fmt;

use url::{Host, Url};

/// Schemes whose pages have no origin that could be listed, and schemes that pages do not have.
const NOT_OF_PAGES: [&str; 9] =
    ["ws", "wss", "ftp", "data", "blob", "about", "javascript", "mailto", "redis"];

/// The origins that an entry of the list allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    scheme: String,
    hosts: Hosts,
    port: Ports,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Hosts {
    /// This host. It is empty for `file://`, which Android's web views send.
    One(String),
    /// All hosts that end in this text, which begins with a dot.
    Below(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ports {
    /// This port; `None` if none is given and the scheme has no default.
    One(Option<u16>),
    All,
}

/// An origin as a browser or a list writes it.
struct Parts {
    scheme: String,
    host: String,
    port: Option<u16>,
}

impl Pattern {
    /// Reads an entry.
    ///
    /// # Errors
    /// What is wrong with the entry, as the end of a sentence that begins with it.
    pub(super) fn parse(entry: &str) -> Result<Self, &'static str> {
        match entry {
            "" => return Err("is empty"),
            "*" => return Err("must stand alone, since it lets all pages in"),
            "null" => {
                return Err(
                    "is what pages of any site can bring about with a sandboxed frame; use * for all pages",
                );
            }
            _ => {}
        }
        let (scheme, rest) = entry.split_once("://").ok_or("has no scheme, such as https://")?;
        let (rest, port) = match rest.trim_end_matches('/').strip_suffix(":*") {
            Some(rest) => (rest, Ports::All),
            None => (rest, Ports::One(None)),
        };
        let (host, below) = match rest.strip_prefix("*.") {
            Some(host) => (host, true),
            None => (rest, false),
        };
        let parts = Parts::parse(&format!("{scheme}://{host}"));
        // A host may hide a * as %2a.
        let is_hidden = parts.as_ref().is_some_and(|parts| parts.host.contains('*'));
        if is_hidden || host.contains('*') || scheme.contains('*') {
            return Err(
                "has a * in another place than before the first dot of the host, or instead of the port",
            );
        }
        let parts = parts.ok_or("is not scheme://host or scheme://host:port")?;
        if NOT_OF_PAGES.contains(&parts.scheme.as_str()) {
            return Err(
                "has a scheme that no page has; websockets come from pages of http:// and https://",
            );
        }
        let port = if port == Ports::All { port } else { Ports::One(parts.port) };
        let hosts = if below { below_of(&parts.host)? } else { Hosts::One(parts.host) };
        Ok(Self { scheme: parts.scheme, hosts, port })
    }

    /// Whether this entry allows pages with this `Origin` header.
    pub(super) fn matches(&self, origin: &str) -> bool {
        let Some(origin) = Parts::parse(origin) else { return false };
        let is_host = match &self.hosts {
            Hosts::One(host) => *host == origin.host,
            Hosts::Below(end) => {
                origin.host.len() > end.len() && origin.host.ends_with(end.as_str())
            }
        };
        let is_port = match self.port {
            Ports::One(port) => port == origin.port,
            Ports::All => true,
        };
        is_host && is_port && self.scheme == origin.scheme
    }
}

/// Refuses names below which any person can register a domain, such as `com`: their subdomains belong to many owners.
fn below_of(host: &str) -> Result<Hosts, &'static str> {
    let is_name = matches!(Host::parse(host), Ok(Host::Domain(_)));
    if !is_name || host.starts_with('.') {
        return Err("has a * before what is no domain name");
    }
    let labels = host.trim_end_matches('.').split('.').count();
    if labels < 2 && host != "localhost" {
        return Err("lets in pages of nearly everybody; use * for all pages");
    }
    Ok(Hosts::Below(format!(".{host}")))
}

impl Parts {
    /// Reads an origin; `None` if it has no host, or more than scheme, host and port.
    fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let bare =
            matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
        let anonymous = url.username().is_empty() && url.password().is_none();
        let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
        let has_host = !host.is_empty() || url.scheme() == "file";
        (bare && anonymous && has_host).then(|| Self {
            scheme: url.scheme().to_owned(),
            host,
            port: url.port_or_known_default(),
        })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://", self.scheme)?;
        match &self.hosts {
            Hosts::One(host) => f.write_str(host)?,
            Hosts::Below(end) => write!(f, "*{end}")?,
        }
        match self.port {
            Ports::One(Some(port)) => write!(f, ":{port}"),
            Ports::One(None) => Ok(()),
            Ports::All => f.write_str(":*"),
        }
    }
}
