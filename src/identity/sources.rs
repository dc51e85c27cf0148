//! Addresses of key sets.

use std::fmt;

use rustls::pki_types::{InvalidDnsNameError, ServerName};
use url::{Host, Url};

/// The address of an issuer's JSON Web Key Set: `https`, or `http` on this machine.
///
/// It is shown without its query, which may hold a key of an API.
#[derive(Clone, PartialEq, Eq)]
pub struct JwksUrl(Url);

/// Why a text is no address of a key set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadJwksUrl {
    /// It is no address.
    #[error("it is no address")]
    NoUrl,
    /// Whoever is between could replace the keys.
    #[error(
        "it is not https; http is accepted on this machine only (localhost, 127.0.0.1, [::1]), since others on the way could \
        replace the keys"
    )]
    NotHttps,
    /// It has a user or a password.
    #[error("it has a user or a password, which are not sent")]
    Credentials,
    /// It has a fragment.
    #[error("it has a part after #, which is not sent")]
    Fragment,
}

impl JwksUrl {
    /// Whether a text is meant as an address rather than as the path of a file.
    pub fn is_meant(text: &str) -> bool {
        text.contains("://")
    }

    /// Checks an address.
    ///
    /// # Errors
    /// If keys from there could not be trusted.
    pub fn parse(text: &str) -> Result<Self, BadJwksUrl> {
        let url = Url::parse(text).map_err(|_| BadJwksUrl::NoUrl)?;
        let is_here = match url.host() {
            None => return Err(BadJwksUrl::NoUrl),
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && is_here) {
            return Err(BadJwksUrl::NotHttps);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(BadJwksUrl::Credentials);
        }
        if url.fragment().is_some() {
            return Err(BadJwksUrl::Fragment);
        }
        Ok(Self(url))
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The name or address to connect to, without brackets.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_matches(['[', ']'])
    }

    pub(super) fn port(&self) -> u16 {
        self.0.port_or_known_default().unwrap_or_default()
    }

    /// The name that the server's certificate must have.
    pub(super) fn server_name(&self) -> Result<ServerName<'static>, InvalidDnsNameError> {
        ServerName::try_from(self.host().to_owned())
    }

    /// Path and query, for the first line of a request.
    pub(super) fn target(&self) -> &str {
        &self.0[url::Position::BeforePath..url::Position::AfterQuery]
    }

    /// Host and port, for the `Host` header.
    pub(super) fn authority(&self) -> &str {
        &self.0[url::Position::BeforeHost..url::Position::AfterPort]
    }
}

impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0[..url::Position::AfterPath])
    }
}

impl fmt::Debug for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JwksUrl({self})")
    }
}
