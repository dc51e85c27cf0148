//! Tests of the settings: what is refused, in which words, and that secrets stay out of them.

use std::time::Duration;

use clap::Parser;
use proptest::prelude::*;
use rstest::rstest;

use super::{command_line::Cli, serve::Config, setting::ConfigError};
use crate::{fixtures::mutate::mutated_text, protocol::transport::Transports};

fn check(arguments: &[&str]) -> Result<Config, ConfigError> {
    let cli = Cli::try_parse_from(["headcount"].iter().chain(arguments)).unwrap();
    cli.serve.check()
}

/// Goal: the defaults are allowed, and are the documented ones. Method: parse an empty command line.
#[test]
fn the_defaults_are_allowed() {
    let config = check(&[]).unwrap();
    assert_eq!(config.listen, "127.0.0.1:3000".parse().unwrap());
    assert_eq!(config.admin_listen, "127.0.0.1:9100".parse().unwrap());
    assert!(config.redis.is_none());
    assert_eq!(
        (config.heartbeat, config.lease),
        (Duration::from_millis(500), Duration::from_secs(2))
    );
    assert_eq!(config.transports, Transports::Both);
}

/// Goal: a wrong setting is refused with its name, its value and what is allowed. Method: one wrong value each.
#[rstest]
#[case("--listen", "localhost", "HEADCOUNT_LISTEN", "127.0.0.1:3000")]
#[case("--admin-listen", "1.2.3.4", "HEADCOUNT_ADMIN_LISTEN", "port")]
#[case("--redis-url", "http://127.0.0.1/", "HEADCOUNT_REDIS_URL", "redis://")]
#[case("--redis-url", "", "HEADCOUNT_REDIS_URL", "unset it")]
#[case("--redis-url", "redis://127.0.0.1/nought", "HEADCOUNT_REDIS_URL", "redis://")]
#[case("--redis-url", "rediss://127.0.0.1/#insecure", "HEADCOUNT_REDIS_URL", "rediss://")]
#[case("--redis-url", "redis+sentinel://a,b", "HEADCOUNT_REDIS_URL", "the primary is missing")]
#[case("--redis-url", "redis-sentinel://a/b", "HEADCOUNT_REDIS_URL", "redis+sentinel://")]
#[case("--key", "a{b}", "HEADCOUNT_KEY", "braces")]
#[case("--channel", "", "HEADCOUNT_CHANNEL", "1 to 200 bytes")]
#[case("--key", " users", "HEADCOUNT_KEY", "spaces at either end")]
#[case("--key", "us\u{200b}ers", "HEADCOUNT_KEY", "invisible")]
#[case("--key", "us\u{202e}ers", "HEADCOUNT_KEY", "invisible")]
#[case("--channel", "count\n", "HEADCOUNT_CHANNEL", "spaces at either end")]
#[case("--lease", "5", "HEADCOUNT_LEASE", "such as 500ms")]
#[case("--transports", "websocket,websocket", "HEADCOUNT_TRANSPORTS", "websocket, polling, or")]
#[case("--transports", "WebSocket", "HEADCOUNT_TRANSPORTS", "websocket, polling, or")]
#[case("--allowed-origins", "https://*", "HEADCOUNT_ALLOWED_ORIGINS", "in another place")]
#[case("--allowed-origins", "https://*.com", "HEADCOUNT_ALLOWED_ORIGINS", "nearly everybody")]
#[case("--log", "warning", "HEADCOUNT_LOG", "is no level")]
#[case("--log", "headcount=debug,verbose", "HEADCOUNT_LOG", "is no level")]
#[case("--log", " ", "HEADCOUNT_LOG", "filter")]
#[case("--key", "blog", "HEADCOUNT_KEY", "HEADCOUNT_REDIS_URL be set")]
#[case("--channel", "blog count", "HEADCOUNT_CHANNEL", "HEADCOUNT_REDIS_URL be set")]
#[case("--heartbeat", "1h", "HEADCOUNT_HEARTBEAT", "from 10ms to 1m 40s")]
#[case("--heartbeat", "0.5", "HEADCOUNT_HEARTBEAT", "such as 500ms")]
#[case("--lease", "1999ms", "HEADCOUNT_LEASE", "at least 2s")]
#[case("--emit-interval", "0s", "HEADCOUNT_EMIT_INTERVAL", "from 1ms to 10s")]
#[case("--keep-alive", "0s", "HEADCOUNT_KEEP_ALIVE", "from 1s to 1h")]
#[case("--ping-interval", "-1s", "HEADCOUNT_PING_INTERVAL", "from 1s to 10m")]
#[case("--ping-timeout", "soon", "HEADCOUNT_PING_TIMEOUT", "from 1s to 10m")]
#[case("--max-payload", "1023", "HEADCOUNT_MAX_PAYLOAD", "from 1024 to 1048576")]
#[case("--transports", "carrier-pigeon", "HEADCOUNT_TRANSPORTS", "websocket,polling")]
#[case("--allowed-origins", "blog.example", "HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")]
#[case("--max-connections", "0", "HEADCOUNT_MAX_CONNECTIONS", "from 1 to")]
#[case("--max-connections", "99999999999", "HEADCOUNT_MAX_CONNECTIONS", "file limit")]
#[case("--rooms", "blog/*", "HEADCOUNT_ROOMS", "begins with /")]
#[case("--private-rooms", "/team/*,staff", "HEADCOUNT_PRIVATE_ROOMS", "begins with /")]
#[case("--private-rooms", "/team/*", "HEADCOUNT_PRIVATE_ROOMS", "HEADCOUNT_JWT_KEYS")]
#[case("--lists", "team/*", "HEADCOUNT_LISTS", "begins with /")]
#[case("--lists", "/team/*", "HEADCOUNT_LISTS", "HEADCOUNT_JWT_KEYS")]
#[case("--rooms-per-connection", "101", "HEADCOUNT_ROOMS_PER_CONNECTION", "from 0 to 100")]
#[case("--drain-delay", "2h", "HEADCOUNT_DRAIN_DELAY", "to 1h")]
#[case("--drain", "x", "HEADCOUNT_DRAIN", "such as")]
#[case("--instance-name", "two\nlines", "HEADCOUNT_INSTANCE_NAME", "1 to 63 characters")]
#[case("--log", "a=b=c", "HEADCOUNT_LOG", "filter")]
#[case("--log", "\u{b}a¡=", "HEADCOUNT_LOG", "filter")]
#[case("--log-format", "xml", "HEADCOUNT_LOG_FORMAT", "text or json")]
fn wrong_settings_are_refused(
    #[case] flag: &str,
    #[case] value: &str,
    #[case] variable: &str,
    #[case] hint: &str,
) {
    let message = check(&[&format!("{flag}={value}")]).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{variable} is {value:?}, but must be ")), "{message}");
    assert!(message.contains(hint), "{message}");
}

/// Goal: two clusters on one Redis cannot receive each other's announcements by accident. Method: change the key alone, the
/// channel alone, and both.
#[test]
fn a_changed_key_needs_a_changed_channel() {
    let redis = "--redis-url=redis://127.0.0.1";
    let message = check(&[redis, "--key=blog"]).unwrap_err().to_string();
    assert!(
        message.contains("HEADCOUNT_CHANNEL") && message.contains("HEADCOUNT_KEY"),
        "{message}"
    );
    assert!(check(&[redis, "--key=blog", "--channel=blog count"]).is_ok());
    assert!(check(&[redis, "--channel=blog count"]).is_ok());
}

/// Goal: every database has its own default channel, since channels are common to all databases. Method: addresses with and
/// without a number, of servers and of sentinels.
#[rstest]
#[case("redis://h", None, "user count")]
#[case("redis://h/0", None, "user count")]
#[case("redis://h/1", None, "user count@1")]
#[case("redis+sentinel://h/main/15", None, "user count@15")]
#[case("redis://h/1", Some("user count"), "user count")]
#[case("redis://h/1", Some("mine"), "mine")]
fn databases_have_channels_of_their_own(
    #[case] url: &str,
    #[case] set: Option<&str>,
    #[case] channel: &str,
) {
    let set = set.map(|set| format!("--channel={set}"));
    let url = format!("--redis-url={url}");
    let arguments: Vec<_> = [url.as_str()].into_iter().chain(set.as_deref()).collect();
    assert_eq!(check(&arguments).unwrap().redis.unwrap().channel, channel);
}

/// Goal: valid log filters are accepted. Method: levels in all spellings, modules and spans.
#[rstest]
#[case("warn")]
#[case("INFO")]
#[case("off")]
#[case("headcount")]
#[case("headcount::reporter=trace,hyper=debug,warn")]
#[case("[span]=info,error")]
fn log_filters_are_taken(#[case] filter: &str) {
    assert_eq!(check(&["--log", filter]).unwrap().log.filter, filter);
}

/// Goal: errors and debug output contain no password. Method: allowed and refused addresses with one.
#[rstest]
#[case("rediss://alice:open-sesame@127.0.0.1:6379/1")]
#[case("http://alice:open-sesame@127.0.0.1")]
#[case("redis//alice:open-sesame@127.0.0.1")]
#[case("redis://alice:open-sesame@")]
#[case("redis://alice:open-sesame@127.0.0.1/zero")]
#[case("redis+sentinel://alice:open-sesame@a,b/main?sentinel_password=sesame")]
#[case("redis+sentinel://alice:open-sesame@a,b/?sentinel_password=sesame")]
#[case("redis+sentinel://alice:open-sesame@a/main?password=sesame")]
#[case("redis+sentinel://alice:open/sesame@a/main")]
#[case("redis+sentinel://alice:sesame/main")]
#[case("redis:alice:open-sesame@127.0.0.1")]
#[case("redis:/alice:open-sesame@127.0.0.1")]
#[case("redis:///alice:open-sesame@127.0.0.1")]
#[case("redis://127.0.0.1/0?password=open-sesame")]
#[case("redis://127.0.0.1#alice:open-sesame@127.0.0.1")]
#[case("redis://127.0.0.1/alice:open-sesame@127.0.0.1")]
#[case("alice:open-sesame@127.0.0.1")]
fn secrets_are_not_shown(#[case] address: &str) {
    let checked = check(&[&format!("--redis-url={address}")]);
    let shown = match checked {
        Ok(config) => format!("{config:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains("sesame") && !shown.contains("alice"), "{shown}");
}

/// Goal: three heartbeats must fit into a lease. Method: values that are allowed alone and not together.
#[test]
fn a_heartbeat_fits_into_the_lease_three_times() {
    let message = check(&["--heartbeat=1s", "--lease=2700ms"]).unwrap_err().to_string();
    assert!(
        message.contains("HEADCOUNT_HEARTBEAT") && message.contains("at most 900ms"),
        "{message}"
    );
    assert!(check(&["--heartbeat=900ms", "--lease=2700ms"]).is_ok());
}

/// Every flag that takes a value, and the variable it is called by in refusals.
const FLAGS: &[(&str, &str)] = &[
    ("--listen", "HEADCOUNT_LISTEN"),
    ("--admin-listen", "HEADCOUNT_ADMIN_LISTEN"),
    ("--redis-url", "HEADCOUNT_REDIS_URL"),
    ("--key", "HEADCOUNT_KEY"),
    ("--channel", "HEADCOUNT_CHANNEL"),
    ("--heartbeat", "HEADCOUNT_HEARTBEAT"),
    ("--lease", "HEADCOUNT_LEASE"),
    ("--emit-interval", "HEADCOUNT_EMIT_INTERVAL"),
    ("--ping-interval", "HEADCOUNT_PING_INTERVAL"),
    ("--ping-timeout", "HEADCOUNT_PING_TIMEOUT"),
    ("--max-payload", "HEADCOUNT_MAX_PAYLOAD"),
    ("--transports", "HEADCOUNT_TRANSPORTS"),
    ("--allowed-origins", "HEADCOUNT_ALLOWED_ORIGINS"),
    ("--max-connections", "HEADCOUNT_MAX_CONNECTIONS"),
    ("--jwt-keys", "HEADCOUNT_JWT_KEYS"),
    ("--jwt-issuer", "HEADCOUNT_JWT_ISSUER"),
    ("--jwt-audience", "HEADCOUNT_JWT_AUDIENCE"),
    ("--jwt-algorithms", "HEADCOUNT_JWT_ALGORITHMS"),
    ("--jwt-user-claim", "HEADCOUNT_JWT_USER_CLAIM"),
    ("--sign-in", "HEADCOUNT_SIGN_IN"),
    ("--visitors", "HEADCOUNT_VISITORS"),
    ("--visitor-secret-file", "HEADCOUNT_VISITOR_SECRET_FILE"),
    ("--drain-delay", "HEADCOUNT_DRAIN_DELAY"),
    ("--drain", "HEADCOUNT_DRAIN"),
    ("--instance-name", "HEADCOUNT_INSTANCE_NAME"),
    ("--log", "HEADCOUNT_LOG"),
    ("--log-format", "HEADCOUNT_LOG_FORMAT"),
    ("--test-incarnation", "HEADCOUNT_TEST_INCARNATION"),
];

/// Values that some flag takes, whole and mutated, and any text.
fn any_setting() -> impl Strategy<Value = String> {
    const VALID: &[&str] = &[
        "127.0.0.1:3000",
        "[::1]:9100",
        "redis://127.0.0.1:6379/0",
        "rediss://[::1]/",
        "currentUsers",
        "user count",
        "500ms",
        "2s",
        "1min 30s",
        "16384",
        "websocket,polling",
        "https://blog.example,http://127.0.0.1:8080",
        "*",
        "headcount=debug,warn",
        "json",
        "01a2011c-f814-765a-8ed8-cd16f884d799",
    ];
    let valid = proptest::sample::select(VALID).prop_map(str::to_owned);
    prop_oneof![3 => mutated_text(valid), 1 => ".{0,40}"]
}

proptest! {
    /// Goal: every value of a setting is accepted, or refused with a message that names the setting and what is allowed.
    /// Method: valid, damaged and random values for every setting.
    #[test]
    fn any_setting_is_taken_or_refused(flag in proptest::sample::select(FLAGS), value in any_setting()) {
        let (flag, variable) = flag;
        if let Err(error) = check(&[&format!("{flag}={value}")]) {
            let message = error.to_string();
            // Some are refused for what another setting is, or lacks.
            let others = ["--lease", "--heartbeat", "--jwt-keys"];
            prop_assert!(message.starts_with(variable) || others.contains(&flag), "{}", message);
            prop_assert!(message.contains(", but must be "), "{}", message);
            let is_quoted = message.contains(&format!("{:?}", error.value));
            prop_assert!(is_quoted && !error.allowed.is_empty(), "{}", message);
        }
    }

    /// Goal: exactly the numbers in range are accepted, and the message for others names the range. Method: numbers of all
    /// sizes.
    #[test]
    fn numbers_are_held_to_their_range(number in prop_oneof![0_u64..3000, 1_000_000_u64..1_100_000, any::<u64>()]) {
        let checked = check(&[&format!("--max-payload={number}")]);
        match checked {
            Ok(config) => {
                prop_assert_eq!(config.payload_bytes_max as u64, number);
                prop_assert!((1024..=1_048_576).contains(&number));
            }
            Err(error) => {
                prop_assert!(error.to_string().contains("from 1024 to 1048576"));
                prop_assert!(!(1024..=1_048_576).contains(&number));
            }
        }
    }

    /// Goal: exactly the durations in range are accepted, in every unit. Method: numbers of all sizes with units.
    #[test]
    fn durations_are_held_to_their_range(
        number in prop_oneof![0_u64..100, 0_u64..20_000, any::<u64>()],
        unit in proptest::sample::select(&[("us", 1), ("ms", 1000), ("s", 1_000_000), ("min", 60_000_000)][..]),
    ) {
        let (unit, micros) = unit;
        let is_allowed = number.checked_mul(micros).is_some_and(|all| (1000..=10_000_000).contains(&all));
        match check(&[&format!("--emit-interval={number}{unit}")]) {
            Ok(config) => {
                prop_assert!(is_allowed);
                prop_assert_eq!(config.emit_interval, Duration::from_micros(number * micros));
            }
            Err(error) => {
                prop_assert!(!is_allowed && error.to_string().contains("from 1ms to 10s"), "{}", error);
            }
        }
    }

    /// Goal: heartbeat and lease are accepted exactly if they fit together. Method: pairs of values around all limits.
    #[test]
    fn heartbeats_fit_into_leases(
        heartbeat in prop_oneof![0_u64..30, 300_u64..1000, 99_000_u64..101_000],
        lease in prop_oneof![0_u64..4000, 298_000_u64..302_000],
    ) {
        let checked = check(&[&format!("--heartbeat={heartbeat}ms"), &format!("--lease={lease}ms")]);
        let fits = (10..=100_000).contains(&heartbeat)
            && lease <= 300_000
            && heartbeat * 3 <= lease
            && lease >= 1500 + heartbeat;
        prop_assert_eq!(checked.is_ok(), fits, "{:?}", checked.err().map(|error| error.to_string()));
    }

    /// Goal: no mistake in an address puts its password into the log. Method: damaged addresses in which the password still
    /// stands before the `@`.
    #[test]
    fn no_mistake_shows_a_secret(address in mutated_text(proptest::sample::select(&[
        "redis://alice:sesame@127.0.0.1:6379/0",
        "rediss://:sesame@redis.example",
        "redis://sesame@[::1]:6379?protocol=resp3",
    ][..]).prop_map(str::to_owned))) {
        let secret_in_its_place = address
            .rsplit_once('@')
            .is_some_and(|(before, after)| before.contains("sesame") && !after.contains("sesame"));
        if !secret_in_its_place {
            return Ok(());
        }
        let shown = match check(&[&format!("--redis-url={address}")]) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("sesame"), "{} became {}", address, shown);
    }
}
