//! Tests of the addresses: what is read out of them, what is refused, and that credentials stay inside.

use deadpool_redis::redis::ConnectionAddr;
use rstest::rstest;

use super::*;

fn sentinels(text: &str) -> SentinelAddress {
    match Address::parse(text) {
        Ok(Address::Sentinels(address)) => address,
        Ok(Address::Server(_)) => panic!("{text} is read as the address of a server"),
        Err(error) => panic!("{text} is refused: {error}"),
    }
}

fn refusal(text: &str) -> String {
    Address::parse(text).err().unwrap_or_else(|| panic!("{text} is allowed")).to_string()
}

/// Goal: a list of sentinels is read in order. Method: with and without ports, names and both kinds of IP.
#[test]
fn sentinels_are_read_in_order() {
    let address = sentinels("redis+sentinel://one,two.example:7,10.0.0.3,[::1]:9/mymaster");
    let expected = [("one", 26379), ("two.example", 7), ("10.0.0.3", 26379), ("::1", 9)];
    let found: Vec<_> = address.sentinels.iter().map(|info| info.addr().clone()).collect();
    let expected = expected.map(|(host, port)| ConnectionAddr::Tcp(host.to_owned(), port));
    assert_eq!(found, expected);
    assert_eq!(address.name, "mymaster");
}

/// Goal: user, password and database belong to the primary, and the sentinels have their own user. Method: all of them
/// differ, and each has a character that must be encoded.
#[test]
fn sentinels_and_servers_have_users_of_their_own() {
    let address = sentinels(
        "redis+sentinel://ann%40x:a%23%2Fb+c@one,two/main-1/3\
        ?sentinel_username=sen%3Atry&sentinel_password=p%26w+%2Fx",
    );
    let primary = address.primary.redis_settings();
    assert_eq!((primary.username(), primary.password()), (Some("ann@x"), Some("a#/b+c")));
    assert_eq!(primary.db(), 3);
    for sentinel in &address.sentinels {
        let settings = sentinel.redis_settings();
        assert_eq!((settings.username(), settings.password()), (Some("sen:try"), Some("p&w+/x")));
        assert_eq!(settings.db(), 0);
    }
}

/// Goal: the password of the primary is not sent to the sentinels. Method: a password in the usual place only.
#[test]
fn a_password_of_the_servers_is_not_shown_to_the_sentinels() {
    let address = sentinels("redis+sentinel://:secret@one/mymaster");
    assert_eq!(address.primary.redis_settings().password(), Some("secret"));
    assert_eq!(address.sentinels[0].redis_settings().password(), None);
}

/// Goal: TLS applies to sentinels and servers. Method: the scheme with TLS.
#[test]
fn tls_is_for_both() {
    let address = sentinels("rediss+sentinel://one,two/mymaster");
    for info in address.sentinels.iter().chain([&address.primary]) {
        assert!(matches!(info.addr(), ConnectionAddr::TcpTls { insecure: false, .. }), "{info:?}");
    }
}

/// Goal: errors name the mistake and no credentials. Method: one mistake of each kind, all with a password.
#[rstest]
#[case::no_name("redis+sentinel://u:pass@one,two", "the name of the primary is missing")]
#[case::empty_name("redis+sentinel://u:pass@one,two/", "the name of the primary is missing")]
#[case::odd_name("redis+sentinel://u:pass@one/my%20master", "letters, digits")]
#[case::no_database("redis+sentinel://u:pass@one/mymaster/pass", "no number")]
#[case::too_deep("redis+sentinel://u:pass@one/mymaster/1/pass", "no number")]
#[case::no_host("redis+sentinel://u:pass@/mymaster", "host:port")]
#[case::empty_host("redis+sentinel://u:pass@one,,two/mymaster", "host:port")]
#[case::bad_port("redis+sentinel://u:pass@one:pass/mymaster", "host:port")]
#[case::wildcard("redis+sentinel://u:pass@0.0.0.0/mymaster", "host")]
#[case::fragment("redis+sentinel://u:pass@one/0#mymaster", "fragment")]
#[case::bare_slash("redis+sentinel://u:pa/ss@one/mymaster", "%2F")]
#[case::bare_question("redis+sentinel://u:pa?ss@one/mymaster", "%3F")]
#[case::parameter("redis+sentinel://u:pass@one/mymaster?db=pass", "the database as a parameter")]
#[case::other_parameter("redis+sentinel://one/m?name=pass", "a parameter other than")]
#[case::twice(
    "redis+sentinel://one/m?sentinel_password=pass&sentinel_password=pass",
    "a parameter twice"
)]
#[case::user_alone("redis+sentinel://one/m?sentinel_username=pass", "without a sentinel_password")]
#[case::other_scheme("redis-sentinel://u:pass@one/mymaster", "redis+sentinel")]
fn what_is_wrong_is_said_without_credentials(#[case] text: &str, #[case] why: &str) {
    let message = refusal(text);
    assert!(message.contains(why), "{text}: {message}");
    assert!(!message.replace("password", "").contains("pass"), "{text}: {message}");
    let shown = shown_url(text).unwrap_or_default();
    assert!(!shown.contains("u:") && !shown.contains("ss@"), "{text} is shown as {shown}");
}

/// Goal: the database number is read from its place, and no part of an address is ignored silently. Method: addresses with
/// a database in all places where tools write one, and with other parts.
#[rstest]
#[case("redis://host", Ok(0))]
#[case("redis://host/", Ok(0))]
#[case("redis://host:7/5", Ok(5))]
#[case("rediss://u:pass@host/15/", Ok(15))]
#[case("redis://host/5?protocol=resp3", Ok(5))]
#[case("redis+sentinel://one,two/main", Ok(0))]
#[case("redis+sentinel://one,two/main/7", Ok(7))]
#[case("redis://host?db=5", Err("write it as in host/5"))]
#[case("redis://host/5?db=5", Err("write it as in host/5"))]
#[case("rediss://u:pass@host?database=5", Err("write it as in host/5"))]
#[case("redis+sentinel://one/main?db=5", Err("write it as in /name/5"))]
#[case("redis+sentinel://one/main?database=5", Err("write it as in /name/5"))]
#[case("redis://host/5?timeout=3s", Err("a parameter other than protocol"))]
#[case("redis://host/5?protocol=resp2&protocol=resp3", Err("a parameter twice"))]
#[case("redis://host/5#1", Err("a fragment"))]
#[case("redis://host#5", Err("a fragment"))]
#[case("redis://host/+5", Err("no number"))]
#[case("redis://host/-1", Err("no number"))]
#[case("redis://host/5/6", Err("no number"))]
#[case("redis://host/5000000000", Err("no number"))]
#[case("redis://one,two/5", Err("several hosts"))]
#[case("redis://one,two:7/5", Err("several hosts"))]
#[case("redis://h%C3%B6st/5", Err("no name of the Internet"))]
#[case("redis:///var/run/redis.sock", Err("no host"))]
#[case("unix:///var/run/redis.sock?db=5", Err("the scheme is none of"))]
#[case("redis+unix:///var/run/redis.sock?db=5", Err("the scheme is none of"))]
fn the_database_is_read_or_refused(#[case] text: &str, #[case] database: Result<u32, &str>) {
    match database {
        Ok(database) => assert_eq!(Address::parse(text).unwrap().database(), database),
        Err(why) => {
            let message = refusal(text);
            assert!(message.contains(why) && !message.contains("pass@"), "{text}: {message}");
        }
    }
}

/// Goal: the number of sentinels is limited. Method: one more than allowed.
#[test]
fn there_are_not_too_many_sentinels() {
    let list = |count| vec!["one"; count].join(",");
    assert_eq!(
        sentinels(&format!("redis+sentinel://{}/m", list(SENTINELS_MAX))).sentinels.len(),
        16
    );
    let message = refusal(&format!("redis+sentinel://{}/m", list(SENTINELS_MAX + 1)));
    assert!(message.contains("more than 16"), "{message}");
}

/// Goal: a shown address is recognisable and has no credentials. Method: one of each kind, and some in which the end of the
/// password is ambiguous.
#[rstest]
#[case("redis://ann:secret@host:1/2", Some("redis://host:1/2"))]
#[case(
    "rediss+sentinel://ann:secret@one,two:7/main/2?sentinel_password=secret",
    Some("rediss+sentinel://one,two:7/main/2")
)]
#[case("redis+sentinel://ann:secret/mymaster", None)]
#[case("redis+sentinel://ann:se/cret@one/mymaster", None)]
#[case("redis+sentinel://ann:se#cret@one/mymaster", None)]
#[case("ann:secret@host", None)]
fn addresses_are_shown_without_credentials(#[case] text: &str, #[case] shown: Option<&str>) {
    assert_eq!(shown_url(text).as_deref(), shown);
}

/// Goal: messages name the sentinels and the primary. Method: the text of an address of each kind.
#[test]
fn an_address_has_a_name() {
    let name = |text| Address::parse(text).unwrap_or_else(|error| panic!("{error}")).to_string();
    assert_eq!(name("redis://ann:secret@host"), "host:6379");
    assert_eq!(
        name("redis+sentinel://ann:secret@one,two:7/main"),
        "main according to one:26379,two:7"
    );
}
