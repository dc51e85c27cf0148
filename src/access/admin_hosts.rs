//! The names by which the console may be asked for while it has no token.
//!
//! A page of a stranger can point its own name at this machine (DNS rebinding). Then the visitor's browser holds the console
//! for a part of that page, and lets it read everything. It cannot change what is in `Host`, so names that a stranger may own
//! are refused there unless they are listed.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, header};

/// Ends of names that nobody can register, so no stranger can point them anywhere: for this machine (RFC 6761), private networks
/// (ICANN's reservation of 2024, RFC 8375), the local link (RFC 6762), and services of Kubernetes.
const PRIVATE_ENDS: [&str; 5] = [".localhost", ".internal", ".home.arpa", ".local", ".svc"];

/// Names by which the console may be asked for, besides those that no stranger can own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminHosts {
    listed: Listed,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Listed {
    All,
    /// Names in lower case; those that begin with a dot stand for all names that end so.
    Names(Vec<String>),
}

impl Default for Listed {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl AdminHosts {
    /// Reads a list of names with commas between: `console.example`, `*.shop.example`, or `*` for all. `None` if one is no name:
    /// a port or a scheme does not belong there.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self { listed: Listed::All });
        }
        let names = text.split(',').map(|entry| {
            let entry = entry.trim().to_ascii_lowercase();
            let name = entry.strip_prefix("*.").unwrap_or(&entry);
            let stored =
                if name.len() < entry.len() { format!(".{name}") } else { name.to_owned() };
            is_name(name).then_some(stored)
        });
        Some(Self { listed: Listed::Names(names.collect::<Option<_>>()?) })
    }

    /// Whether this machine's own name, or one that is listed, or one that no stranger can own, was asked for. Requests without
    /// a `Host` are no browser's.
    pub fn allow(&self, headers: &HeaderMap, own: &str) -> bool {
        let mut hosts = headers.get_all(header::HOST).iter();
        let Some(host) = hosts.next() else { return true };
        let Ok(host) = host.to_str() else { return false };
        let name = name_of(host).to_ascii_lowercase();
        hosts.next().is_none()
            && (is_out_of_reach(&name) || own.eq_ignore_ascii_case(&name) || self.has(&name))
    }

    fn has(&self, name: &str) -> bool {
        let Listed::Names(listed) = &self.listed else { return true };
        let is_it = |entry: &String| {
            if entry.starts_with('.') { name.ends_with(entry) } else { name == entry }
        };
        is_name(name) && listed.iter().any(is_it)
    }
}

/// The host without its port, and without the dot that may end a name.
fn name_of(host: &str) -> &str {
    let port =
        host.rfind(':').filter(|colon| host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit()));
    let is_in_brackets = host.ends_with(']');
    let name = port.filter(|_| !is_in_brackets).map_or(host, |colon| &host[..colon]);
    name.strip_suffix('.').unwrap_or(name)
}

/// Whether no stranger can make this lead here: an address, a name without dots, or one that is for private use.
fn is_out_of_reach(name: &str) -> bool {
    let in_brackets = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = in_brackets {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let is_private = !name.contains('.') || PRIVATE_ENDS.iter().any(|end| name.ends_with(end));
    name.parse::<Ipv4Addr>().is_ok() || (is_name(name) && is_private)
}

/// Whether this can be the name of a host: labels of letters, digits, hyphens and underscores.
fn is_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let is_label = |label: &str| !label.is_empty() && label.bytes().all(is_part);
    name.len() <= 253 && name.split('.').all(is_label)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use rstest::rstest;

    use super::*;

    fn allows(hosts: &AdminHosts, asked: &str) -> bool {
        let headers = [(header::HOST, HeaderValue::from_str(asked).unwrap())].into_iter().collect();
        hosts.allow(&headers, "Web-1.example")
    }

    /// Goal: names that strangers may own are refused, and those by which operators come are not. Method: each kind, with ports, in
    /// capitals, with a dot at the end, and names that only look like one that is allowed.
    #[rstest]
    #[case::address("127.0.0.1:9100", true)]
    #[case::address_of_a_pod("10.244.1.7:9100", true)]
    #[case::without_a_port("192.0.2.1", true)]
    #[case::ipv6("[::1]:9100", true)]
    #[case::ipv6_alone("[2001:db8::1]", true)]
    #[case::this_machine("localhost:9100", true)]
    #[case::below_this_machine("admin.localhost:9100", true)]
    #[case::service_of_compose("headcount:9100", true)]
    #[case::service_of_compose_with_an_underscore("my_app:9100", true)]
    #[case::service_of_kubernetes("headcount.prod.svc:9100", true)]
    #[case::service_in_full("headcount.prod.svc.cluster.local:9100", true)]
    #[case::private("web-1.eu.internal", true)]
    #[case::its_own_name("web-1.example:9100", true)]
    #[case::its_own_name_with_a_dot("WEB-1.Example.:9100", true)]
    #[case::a_strangers("evil.example:9100", false)]
    #[case::with_a_dot("evil.example.", false)]
    #[case::an_address_in_a_name("127.0.0.1.nip.io:9100", false)]
    #[case::below_its_own_name("x.web-1.example", false)]
    #[case::like_this_machine("localhost.evil.example", false)]
    #[case::like_private("evilinternal.example", false)]
    #[case::no_name("evil.example/.local", false)]
    #[case::user("x@evil.example", false)]
    #[case::two_ports("evil.example:1:2", false)]
    #[case::brackets("[evil.example]:9100", false)]
    #[case::empty("", false)]
    #[case::a_port_alone(":9100", false)]
    fn names_without_a_list(#[case] asked: &str, #[case] is_allowed: bool) {
        assert_eq!(allows(&AdminHosts::default(), asked), is_allowed);
    }

    /// Goal: listed names are allowed and no others. Method: a name, all names below one, and all.
    #[test]
    fn listed_names() {
        let hosts = AdminHosts::parse("Console.example, *.shop.example").unwrap();
        for asked in ["console.example:443", "a.shop.example", "a.b.SHOP.example.", "127.0.0.1"] {
            assert!(allows(&hosts, asked), "{asked}");
        }
        for asked in ["x.console.example", "shop.example", "eshop.example", "x/.shop.example"] {
            assert!(!allows(&hosts, asked), "{asked}");
        }
        assert!(allows(&AdminHosts::parse("*").unwrap(), "evil.example"));
        for odd in ["", "a,,b", "console.example:443", "https://console.example", "*.*", "a b"] {
            assert_eq!(AdminHosts::parse(odd), None, "{odd}");
        }
    }

    /// Goal: a request has one host or none. Method: none, two, and one that is no text.
    #[test]
    fn odd_hosts() {
        let allow = |values: &[&'static [u8]]| {
            let headers =
                values.iter().map(|value| (header::HOST, HeaderValue::from_bytes(value).unwrap()));
            AdminHosts::default().allow(&headers.collect(), "web-1")
        };
        assert!(allow(&[]) && allow(&[b"web-1"]));
        let mut two = HeaderMap::new();
        two.append(header::HOST, HeaderValue::from_static("web-1"));
        two.append(header::HOST, HeaderValue::from_static("evil.example"));
        assert!(!AdminHosts::default().allow(&two, "web-1"));
        assert!(!allow(&[b"\xff"]));
    }
}
