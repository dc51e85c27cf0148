//! Tests of the settings: what is refused, in which words, and that secrets stay out of them.

use rstest::rstest;

use super::*;

fn check(arguments: &[&str]) -> Result<Config, ConfigError> {
    let cli = Cli::try_parse_from(["headcount"].iter().chain(arguments)).unwrap();
    cli.serve.check()
}

/// Goal: the defaults are allowed and are the documented ones. Method: no flag at all.
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

/// Goal: what is wrong is refused with its name, value and what is allowed. Method: one wrong value each.
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
#[case("--heartbeat", "1h", "HEADCOUNT_HEARTBEAT", "from 10ms to 1m 40s")]
#[case("--heartbeat", "0.5", "HEADCOUNT_HEARTBEAT", "such as 500ms")]
#[case("--lease", "1999ms", "HEADCOUNT_LEASE", "at least 2s")]
#[case("--emit-interval", "0s", "HEADCOUNT_EMIT_INTERVAL", "from 1ms to 10s")]
#[case("--direct-writes", "yes", "HEADCOUNT_DIRECT_WRITES", "true or false")]
#[case("--ping-interval", "-1s", "HEADCOUNT_PING_INTERVAL", "from 1s to 10m")]
#[case("--ping-timeout", "soon", "HEADCOUNT_PING_TIMEOUT", "from 1s to 10m")]
#[case("--max-payload", "1023", "HEADCOUNT_MAX_PAYLOAD", "from 1024 to 1048576")]
#[case("--transports", "carrier-pigeon", "HEADCOUNT_TRANSPORTS", "websocket,polling")]
#[case("--allowed-origins", "blog.example", "HEADCOUNT_ALLOWED_ORIGINS", "https://blog.example")]
#[case("--max-connections", "0", "HEADCOUNT_MAX_CONNECTIONS", "from 1 to")]
#[case("--max-connections", "99999999999", "HEADCOUNT_MAX_CONNECTIONS", "file limit")]
#[case("--drain-delay", "2h", "HEADCOUNT_DRAIN_DELAY", "to 1h")]
#[case("--drain", "x", "HEADCOUNT_DRAIN", "such as")]
#[case("--log", "a=b=c", "HEADCOUNT_LOG", "filter")]
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

/// Goal: two clusters on one Redis cannot hear each other by accident. Method: the key alone, both, the
/// channel alone.
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

/// Goal: no password in errors or debug output. Method: allowed and refused addresses with one.
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
fn secrets_are_not_shown(#[case] address: &str) {
    let checked = check(&[&format!("--redis-url={address}")]);
    let shown = match checked {
        Ok(config) => format!("{config:?}"),
        Err(error) => format!("{error} {error:?}"),
    };
    assert!(!shown.contains("sesame") && !shown.contains("alice"), "{shown}");
}

/// Goal: several heartbeats fit into a lease. Method: both settings, allowed one by one, not together.
#[test]
fn a_heartbeat_fits_into_the_lease_three_times() {
    let message = check(&["--heartbeat=1s", "--lease=2700ms"]).unwrap_err().to_string();
    assert!(
        message.contains("HEADCOUNT_HEARTBEAT") && message.contains("at most 900ms"),
        "{message}"
    );
    assert!(check(&["--heartbeat=900ms", "--lease=2700ms"]).is_ok());
}
