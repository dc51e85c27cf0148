//! Which web pages may connect: one rule for websockets, polling and the API. Pure.
//!
//! Browsers say which page a request comes from in its `Origin` header, and no page can forge it. A request
//! without one is no browser's cross-origin request, and is let in: this guards visitors' browsers against
//! foreign pages, not the server against programs.

use http::{HeaderMap, HeaderValue, Method, header, request::Parts};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};
use url::Url;

/// The pages that may connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages of the host that the request was sent to.
    #[default]
    Same,
    /// All pages.
    Any,
    /// Pages of these origins, and of the host that the request was sent to.
    Listed(Vec<String>),
}

impl Origins {
    /// Reads a list of origins with commas between, or `*`; `None` if an entry is not an origin.
    pub fn parse(text: &str) -> Option<Self> {
        if text.trim() == "*" {
            return Some(Self::Any);
        }
        text.split(',').map(|entry| listed(entry.trim())).collect::<Option<_>>().map(Self::Listed)
    }

    /// Whether a request with these headers may connect.
    pub fn allow_headers(&self, headers: &HeaderMap) -> bool {
        let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let origin = headers.get(header::ORIGIN).map(text);
        let host = headers.get(header::HOST).map(text);
        self.allow(origin.as_deref(), host.as_deref())
    }

    /// Whether a request may have what costs something: as [`Origins::allow`], but a request without an `Origin` header
    /// is refused too if its browser says (`Sec-Fetch-Site`) that a page of another site sends it. Images and frames are
    /// asked for in that way, which a foreign page could use to take all sessions through its visitors' browsers.
    pub fn allow_page(
        &self,
        origin: Option<&str>,
        host: Option<&str>,
        fetch_site: Option<&str>,
    ) -> bool {
        let is_foreign = matches!(fetch_site, Some("cross-site" | "same-site"));
        match origin {
            None if is_foreign => *self == Self::Any,
            _ => self.allow(origin, host),
        }
    }

    /// Whether a request with this `Origin` header, sent to this `Host`, may connect.
    pub fn allow(&self, origin: Option<&str>, host: Option<&str>) -> bool {
        let Some(origin) = origin else { return true };
        match self {
            Self::Any => true,
            Self::Same => is_same(origin, host),
            Self::Listed(origins) => {
                is_same(origin, host)
                    || normal(origin).is_some_and(|origin| origins.contains(&origin))
            }
        }
    }
}

/// Tells browsers that allowed pages may read the answers, with cookies where a balancer needs them: the
/// exact origin is echoed, and caches are told that the answer depends on it.
pub fn cors(origins: Origins) -> CorsLayer {
    let allowed = move |_: &HeaderValue, request: &Parts| origins.allow_headers(&request.headers);
    CorsLayer::new()
        .allow_origin(AllowOrigin::predicate(allowed))
        .allow_credentials(true)
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers([header::ETAG])
}

/// An entry of the list: scheme, host and port, nothing else.
fn listed(entry: &str) -> Option<String> {
    let url = Url::parse(entry).ok()?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    let web = matches!(url.scheme(), "http" | "https");
    let anonymous = url.username().is_empty() && url.password().is_none();
    (bare && web && anonymous && url.has_host()).then(|| url.origin().ascii_serialization())
}

fn normal(origin: &str) -> Option<String> {
    Url::parse(origin).ok().map(|url| url.origin().ascii_serialization())
}

/// Hosts are compared without their scheme: behind a balancer that ends TLS the page is `https` and the
/// request is not. A port that is its scheme's default may be written or not.
fn is_same(origin: &str, host: Option<&str>) -> bool {
    let (Ok(origin), Some(host)) = (Url::parse(origin), host) else {
        return false;
    };
    let Ok(target) = Url::parse(&format!("{}://{host}", origin.scheme())) else {
        return false;
    };
    let known = origin.host_str().is_some() && origin.port_or_known_default().is_some();
    known
        && origin.host_str() == target.host_str()
        && origin.port_or_known_default() == target.port_or_known_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;
    use crate::mangled::{mangled, mangled_text};

    /// Goal: the default lets in pages of the same host, whatever scheme the balancer leaves, and no
    /// others. Method: pairs of headers as browsers and balancers send them, and crooked ones.
    #[rstest]
    #[case(None, Some("count.example"), true)]
    #[case(Some("https://count.example"), Some("count.example"), true)]
    #[case(Some("https://count.example"), Some("count.example:443"), true)]
    #[case(Some("http://Count.Example"), Some("count.example"), true)]
    #[case(Some("http://127.0.0.1:3000"), Some("127.0.0.1:3000"), true)]
    #[case(Some("http://127.0.0.1:3001"), Some("127.0.0.1:3000"), false)]
    #[case(Some("https://count.example.evil.example"), Some("count.example"), false)]
    #[case(Some("https://evil.example"), Some("count.example"), false)]
    #[case(Some("https://evil.example"), None, false)]
    #[case(Some("null"), Some("count.example"), false)]
    #[case(Some("file://"), Some("count.example"), false)]
    #[case(Some(""), Some(""), false)]
    fn same_origin(
        #[case] origin: Option<&str>,
        #[case] host: Option<&str>,
        #[case] allowed: bool,
    ) {
        assert_eq!(Origins::Same.allow(origin, host), allowed);
        assert!(Origins::Any.allow(origin, host));
    }

    /// Goal: a list lets in what is on it, by scheme, host and port, and the same host. Method: origins
    /// that are on the list, nearly on it, and not.
    #[test]
    fn listed_origins() {
        let origins = Origins::parse("https://blog.example, http://shop.example:8080").unwrap();
        let allow = |origin| origins.allow(Some(origin), Some("count.example"));
        assert!(allow("https://blog.example"));
        assert!(allow("https://blog.example:443"));
        assert!(allow("http://shop.example:8080"));
        assert!(allow("https://count.example"));
        assert!(!allow("http://blog.example"));
        assert!(!allow("http://shop.example"));
        assert!(!allow("null"));
    }

    /// Goal: what is not an origin is refused in the setting. Method: one defect each.
    #[rstest]
    #[case("blog.example")]
    #[case("https://blog.example/path")]
    #[case("https://user@blog.example")]
    #[case("ftp://blog.example")]
    #[case("https://a.example,,https://b.example")]
    #[case("")]
    fn bad_lists_are_refused(#[case] text: &str) {
        assert_eq!(Origins::parse(text), None);
    }

    /// Hosts as pages have them.
    fn any_host() -> impl Strategy<Value = String> {
        "([a-z]{1,8}\\.){0,2}[a-z]{2,8}|127\\.0\\.0\\.[1-9][0-9]?|\\[::1\\]"
    }

    fn any_origin() -> impl Strategy<Value = String> {
        let scheme = prop_oneof![Just("http"), Just("https")];
        (scheme, any_host(), proptest::option::of(1_u16..)).prop_map(|(scheme, host, port)| {
            let port = port.map_or_else(String::new, |port| format!(":{port}"));
            format!("{scheme}://{host}{port}")
        })
    }

    proptest! {
        /// Goal: no header can make it panic, and none that is no origin is let in. Method: any bytes that a
        /// header may hold, and origins mangled.
        #[test]
        fn any_header_is_survived(
            origin in prop_oneof![mangled(any_origin().prop_map(String::into_bytes)), any::<Vec<u8>>()],
            host in mangled(any_host().prop_map(String::into_bytes)),
        ) {
            let mut headers = HeaderMap::new();
            let values = [(header::ORIGIN, origin), (header::HOST, host)];
            for (name, value) in values {
                headers.extend(HeaderValue::from_bytes(&value).ok().map(|value| (name, value)));
            }
            let is_allowed = Origins::Same.allow_headers(&headers);
            let origin = headers.get(header::ORIGIN).map(HeaderValue::to_str);
            if let Some(origin) = origin {
                let is_address = origin.is_ok_and(|origin| Url::parse(origin).is_ok_and(|url| url.has_host()));
                prop_assert!(!is_allowed || is_address);
            }
        }

        /// Goal: pages of the same host and port are let in, and no others. Method: pairs of origins.
        #[test]
        fn only_the_same_host_is_same(page in any_origin(), host in any_host(), port in 1_u16..) {
            let target = format!("{host}:{port}");
            let url = Url::parse(&page).unwrap();
            let is_same = url.host_str() == Some(&host) && url.port_or_known_default() == Some(port);
            prop_assert_eq!(Origins::Same.allow(Some(&page), Some(&target)), is_same);
            let itself = page.split_once("://").map(|(_, host)| host);
            prop_assert!(Origins::Same.allow(Some(&page), itself));
        }

        /// Goal: a list lets in what is on it, however it is written, and is read again as it is printed. Method:
        /// lists of origins, in capitals or not.
        #[test]
        fn lists_are_read(origins in proptest::collection::vec(any_origin(), 1..4), other in any_origin()) {
            let list = origins.join(", ");
            let read = Origins::parse(&list.to_uppercase()).unwrap();
            prop_assert_eq!(Origins::parse(&list), Some(read.clone()));
            let Origins::Listed(normal) = &read else { panic!("a list: {read:?}") };
            prop_assert_eq!(Origins::parse(&normal.join(",")), Some(read.clone()));
            prop_assert!(origins.iter().all(|origin| read.allow(Some(origin), None)));
            let is_listed = normal.contains(&Url::parse(&other).unwrap().origin().ascii_serialization());
            prop_assert_eq!(read.allow(Some(&other), None), is_listed);
        }

        /// Goal: of a mangled list either everything is an origin, or nothing is taken. Method: lists, mangled.
        #[test]
        fn mangled_lists_are_read_or_refused(
            list in mangled_text(proptest::collection::vec(any_origin(), 1..3).prop_map(|list| list.join(","))),
        ) {
            if let Some(Origins::Listed(normal)) = Origins::parse(&list) {
                prop_assert_eq!(normal.len(), list.split(',').count());
                let is_origin = |entry: &String| listed(entry).as_ref() == Some(entry);
                prop_assert!(normal.iter().all(is_origin), "{:?}", normal);
            }
        }
    }
}
