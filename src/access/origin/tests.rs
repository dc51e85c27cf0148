//! Tests of which pages may connect: pages of the same host, listed ones, and how the log names others.

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::fixtures::mutate::{mutated, mutated_text};

/// Goal: by default pages of the same host may connect, whatever scheme the balancer leaves, and no others. Method: pairs
/// of headers as browsers and balancers send them, and malformed ones.
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
fn same_origin(#[case] origin: Option<&str>, #[case] host: Option<&str>, #[case] allowed: bool) {
    assert_eq!(Origins::Same.allow(origin, host), allowed);
    assert!(Origins::Any.allow(origin, host));
}

/// Goal: a list allows exactly its origins, compared by scheme, host and port, and pages of the same host. Method: origins
/// on the list, nearly on it, and not on it.
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

/// Goal: an entry allows exactly the pages that it names, by scheme, host and port. Method: entries of every kind, with
/// pages that they allow and pages that differ a little.
#[rstest]
#[case("https://*.shop.example", &["https://a.shop.example", "https://b.a.shop.example", "https://A.Shop.Example:443"],
    &["https://shop.example", "https://evilshop.example", "https://a.shop.example.evil.example", "http://a.shop.example",
    "https://a.shop.example:8443", "https://.shop.example", "https://u@a.shop.example"])]
#[case("https://*.shop.example:8443", &["https://a.shop.example:8443"], &["https://a.shop.example", "https://a.shop.example:8444"])]
#[case("HTTPS://*.Bücher.example/", &["https://a.xn--bcher-kva.example"], &["https://a.bucher.example"])]
#[case("http://*.localhost:*", &["http://app.localhost:5173", "http://app.localhost"], &["http://localhost:5173", "https://app.localhost"])]
#[case("http://localhost:*", &["http://localhost", "http://localhost:5173"], &["http://localhost.evil.example:5173", "https://localhost"])]
#[case("http://[::1]:8080", &["http://[::1]:8080"], &["http://[::1]", "http://[::2]:8080"])]
#[case("https://EXAMPLE.com:443", &["https://example.com"], &["https://www.example.com", "https://example.com:444"])]
#[case("capacitor://localhost", &["capacitor://localhost"], &["ionic://localhost", "http://localhost", "capacitor://localhost.evil", "capacitor://localhost:1"])]
#[case("ionic://localhost, tauri://localhost/", &["ionic://localhost", "tauri://localhost"], &["capacitor://localhost"])]
#[case("chrome-extension://abcdefghijklmnopabcdefghijklmnop", &["chrome-extension://abcdefghijklmnopabcdefghijklmnop"],
    &["chrome-extension://bbcdefghijklmnopabcdefghijklmnop", "moz-extension://abcdefghijklmnopabcdefghijklmnop"])]
#[case("moz-extension://3C6BF1FB-1B19-4B0A-9D6A-111111111111", &["moz-extension://3c6bf1fb-1b19-4b0a-9d6a-111111111111"], &["null"])]
#[case("file://", &["file://", "file:///"], &["null", "file://host", "https://count.example.evil"])]
fn an_entry_means_what_it_says(
    #[case] list: &str,
    #[case] let_in: &[&str],
    #[case] turned_away: &[&str],
) {
    let origins = Origins::parse(list).unwrap();
    let allow = |origin: &&&str| origins.allow(Some(origin), Some("count.example"));
    assert_eq!(let_in.iter().filter(allow).count(), let_in.len(), "{list} lets {let_in:?} in");
    assert_eq!(turned_away.iter().find(allow), None, "{list}");
}

/// Goal: a setting that is not an origin, or that allows far more than it seems to, is refused with the reason. Method:
/// settings with one defect each.
#[rstest]
#[case("blog.example", "no scheme")]
#[case("*.blog.example", "no scheme")]
#[case("localhost:3000", "no scheme")]
#[case("//blog.example", "no scheme")]
#[case("https://blog.example/path", "is not scheme://host")]
#[case("https://blog.example?query", "is not scheme://host")]
#[case("https://user@blog.example", "is not scheme://host")]
#[case("https://", "is not scheme://host")]
#[case("capacitor://", "is not scheme://host")]
#[case("https://blog example", "is not scheme://host")]
#[case("https://a.example https://b.example", "is not scheme://host")]
#[case("ftp://blog.example", "no page has")]
#[case("wss://blog.example", "no page has")]
#[case("https://a.example,,https://b.example", "is empty")]
#[case("https://a.example,", "is empty")]
#[case("", "is empty")]
#[case("https://a.example, *", "stand alone")]
#[case("https://*", "another place")]
#[case("https://**.shop.example", "another place")]
#[case("https://*shop.example", "another place")]
#[case("https://a.*.example", "another place")]
#[case("https://*.*.example", "another place")]
#[case("https://shop.example:80*", "another place")]
#[case("*://shop.example", "another place")]
#[case("chrome-extension://*", "another place")]
#[case("http://loc%2alhost", "another place")]
#[case("https://*.com", "nearly everybody")]
#[case("https://*.com.", "nearly everybody")]
#[case("https://*.127.0.0.1", "no domain name")]
#[case("https://*.[::1]", "no domain name")]
#[case("null", "sandboxed frame")]
fn bad_lists_are_refused(#[case] list: &str, #[case] why: &str) {
    let error = Origins::parse(list).unwrap_err().to_string();
    assert!(error.contains(why), "{list}: {error}");
}

/// Goal: the log names the refused page and the host that was asked, at most once a minute, and no header can forge a log
/// line. Method: refusals with all kinds of headers, over two minutes.
#[test]
fn refusals_are_told_rarely_and_escaped() {
    let log = RefusalLog::default();
    let start = Instant::now();
    let refused = |origin: &'static [u8], host: Option<&'static str>, seconds| {
        let headers = [Some(origin), host.map(str::as_bytes)];
        log.clone().admit(headers, start + Duration::from_secs(seconds))
    };
    let first = refused(b"https://shop.example", Some("internal:8080"), 0).unwrap();
    assert_eq!(
        (first.origin.as_str(), first.host.as_str()),
        ("https://shop.example", "internal:8080")
    );
    assert_eq!(refused(b"https://other.example", None, 59), None);
    let second = refused("https://\u{9b}2J\u{202e}".as_bytes(), None, 60).unwrap();
    assert_eq!(second.origin.as_str(), r"https://\u{9b}2J\u{202e}");
    assert_eq!((second.host.as_str(), second.others), ("(none)", 1));
    let last = refused(b"\xff\xfe", None, 120).unwrap();
    assert_eq!(last.origin.as_str(), "\u{fffd}\u{fffd}");
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
    /// Goal: no header causes a panic, and nothing but a valid origin is allowed. Method: random header bytes, and damaged
    /// origins.
    #[test]
    fn any_header_is_survived(
        origin in prop_oneof![mutated(any_origin().prop_map(String::into_bytes)), any::<Vec<u8>>()],
        host in mutated(any_host().prop_map(String::into_bytes)),
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

    /// Goal: pages of the same host and port may connect, and no others. Method: random pairs of origins.
    #[test]
    fn only_the_same_host_is_same(page in any_origin(), host in any_host(), port in 1_u16..) {
        let target = format!("{host}:{port}");
        let url = Url::parse(&page).unwrap();
        let is_same = url.host_str() == Some(&host) && url.port_or_known_default() == Some(port);
        prop_assert_eq!(Origins::Same.allow(Some(&page), Some(&target)), is_same);
        let itself = page.split_once("://").map(|(_, host)| host);
        prop_assert!(Origins::Same.allow(Some(&page), itself));
    }

    /// Goal: a list allows its origins in any spelling, and can be parsed again from its own text. Method: random lists,
    /// with and without capitals.
    #[test]
    fn lists_are_read(origins in proptest::collection::vec(any_origin(), 1..4), other in any_origin()) {
        let list = origins.join(", ");
        let read = Origins::parse(&list.to_uppercase()).unwrap();
        prop_assert_eq!(Origins::parse(&list), Ok(read.clone()));
        let Origins::Listed(patterns) = &read else { panic!("a list: {read:?}") };
        let printed: Vec<_> = patterns.iter().map(Pattern::to_string).collect();
        prop_assert_eq!(Origins::parse(&printed.join(",")), Ok(read.clone()));
        prop_assert!(origins.iter().all(|origin| read.allow(Some(origin), None)));
        let same = |one: &String| Url::parse(one).unwrap().origin() == Url::parse(&other).unwrap().origin();
        let is_listed = origins.iter().any(same);
        prop_assert_eq!(read.allow(Some(&other), None), is_listed);
    }

    /// Goal: a damaged list is refused as a whole, or every entry of it means something. Method: damaged lists; an entry
    /// that was accepted is printed, parsed again, and allows its own page unless it stands for subdomains.
    #[test]
    fn mangled_lists_are_read_or_refused(
        list in mutated_text(proptest::collection::vec(any_entry(), 1..3).prop_map(|list| list.join(","))),
    ) {
        if let Ok(Origins::Listed(patterns)) = Origins::parse(&list) {
            prop_assert!((1..=list.split(',').count()).contains(&patterns.len()));
            for pattern in patterns {
                let printed = pattern.to_string();
                prop_assert_eq!(Pattern::parse(&printed), Ok(pattern.clone()));
                let page = printed.replace("*.", "a.").replace(":*", "");
                prop_assert!(pattern.matches(&page), "{} does not let {} in", printed, page);
            }
        }
    }
}

/// An entry of a list: an origin, or a pattern of some.
fn any_entry() -> impl Strategy<Value = String> {
    const PATTERNS: [&str; 4] =
        ["https://*.shop.example", "http://localhost:*", "tauri://localhost", "file://"];
    prop_oneof![any_origin(), proptest::sample::select(&PATTERNS[..]).prop_map(str::to_owned)]
}
