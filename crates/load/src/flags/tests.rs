//! Tests of the flags: each is taken, or refused with its name and what is allowed.

use clap::Parser;
use headcount_mutate::mutated_text;
use proptest::prelude::*;
use rstest::rstest;

use super::*;

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    flags: LoadArgs,
}

/// The settings for these flags.
pub(crate) fn check(flags: &[&str]) -> Result<LoadConfig, FlagError> {
    Program::try_parse_from(["load"].iter().chain(flags)).unwrap().flags.check()
}

/// Goal: the defaults are allowed, and without a hold the run does not end. Method: look at both.
#[test]
fn the_defaults_are_allowed() {
    let config = check(&[]).unwrap();
    assert_eq!(config.targets, [Target { authority: "127.0.0.1:3000".to_owned() }]);
    assert_eq!((config.connections, config.hold), (100, Some(Duration::from_secs(10))));
    assert_eq!(check(&["--hold=0s"]).unwrap().hold, None);
}

/// Goal: addresses of servers are accepted in all usual forms. Method: both schemes, a list, IPv6, the default port.
#[test]
fn servers_are_read() {
    let config = check(&["--url=http://[::1]:3000/,ws://a.example", "--url=http://b:81"]);
    let authorities: Vec<String> =
        config.unwrap().targets.iter().map(|target| target.authority().to_owned()).collect();
    assert_eq!(authorities, ["[::1]:3000", "a.example:80", "b:81"]);
}

/// Goal: a wrong value is refused with its flag, the value, and what is allowed. Method: one wrong value each.
#[rstest]
#[case("--url", "127.0.0.1:3000", "http://127.0.0.1:3000")]
#[case("--url", "https://127.0.0.1", "TLS")]
#[case("--url", "http://127.0.0.1/path", "without a path")]
#[case("--url", "http://user@127.0.0.1/", "without a path")]
#[case("--url", "", "http://127.0.0.1:3000")]
#[case("--connections", "0", "from 1 to")]
#[case("--connections", "99999999999", "file limit")]
#[case("--rate", "0", "from 0.01 to 10000")]
#[case("--rate", "NaN", "from 0.01 to 10000")]
#[case("--rate", "fast", "a number")]
#[case("--leave-rate", "-1", "from 0 to 100 (--rate)")]
#[case("--leave-rate", "100.5", "from 0 to 100 (--rate)")]
#[case("--hold", "long", "a duration from 0s")]
#[case("--transport", "carrier-pigeon", "websocket or polling")]
#[case("--vary", "0s", "from 1s to 1day")]
#[case("--settle", "1h", "to 10m")]
#[case("--rooms", "100001", "from 0 to 100000")]
#[case("--per-connection", "2", "from 1 to 1 (--rooms")]
#[case("--skew", "-1", "from 0 to 10")]
#[case("--prefix", "load/", "such as /load/")]
#[case("--prefix", "/a b", "such as /load/")]
fn wrong_flags_are_refused(#[case] flag: &str, #[case] value: &str, #[case] hint: &str) {
    let message = check(&[&format!("{flag}={value}")]).unwrap_err().to_string();
    assert!(message.starts_with(&format!("{flag} is {value:?}, but must be ")), "{message}");
    assert!(message.contains(hint), "{message}");
}

proptest! {
    /// Goal: every address of a server is accepted or refused, and an accepted one can be written into a request.
    /// Method: damaged addresses. An accepted one is printed and parsed again.
    #[test]
    fn servers_are_read_as_printed(text in mutated_text(proptest::sample::select(&[
        "http://127.0.0.1:3000",
        "ws://[::1]:80/",
        "http://count.example",
    ][..]).prop_map(str::to_owned))) {
        if let Some(target) = Target::parse(&text) {
            prop_assert_eq!(Target::parse(&target.to_string()), Some(target.clone()));
            let authority = target.authority();
            prop_assert!(authority.is_ascii() && !authority.contains(['/', '@', ' ', '\r', '\n']));
        }
    }

    /// Goal: any value of a flag is accepted, or refused with the flag's name. Method: values of all flags, for all
    /// flags.
    #[test]
    fn any_flag_is_taken_or_refused(
        flag in proptest::sample::select(&[
            "--url", "--connections", "--rate", "--hold", "--transport", "--leave-rate", "--vary", "--settle",
            "--rooms", "--per-connection", "--skew", "--prefix", "--identities", "--tabs", "--token-file",
            "--secret-file", "--claims",
        ][..]),
        value in mutated_text(proptest::sample::select(&[
            "http://127.0.0.1:3000", "100", "0.5", "10s", "polling", "1min",
        ][..]).prop_map(str::to_owned)),
    ) {
        if let Err(error) = check(&[&format!("{flag}={value}")]) {
            // Too few joins per second may be reported by the message about leaves.
            let message = error.to_string();
            prop_assert!(message.starts_with(flag) && message.contains(", but must be "), "{}", message);
        }
    }
}
