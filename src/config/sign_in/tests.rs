//! Tests of the settings of signing in: what is refused, in which words, and that no secret is in them.

use std::fs;

use clap::{CommandFactory, Parser};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::json;
use tempfile::TempDir;

use super::{
    super::{command_line::Cli, serve::Config},
    *,
};
use crate::fixtures::{mutate::mutated_text, tokens::Signer};

const URL: &str = "https://id.example/jwks.json";
const SECRET: &str = "sesame-sesame-sesame-sesame-sesame";

fn check(arguments: &[String]) -> Result<Config, ConfigError> {
    let program = ["headcount".to_owned()];
    Cli::try_parse_from(program.iter().chain(arguments)).unwrap().serve.check()
}

fn refusal(arguments: &[String]) -> String {
    check(arguments).map(drop).unwrap_err().to_string()
}

/// A folder with files of keys.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        let files = Self(tempfile::tempdir().unwrap());
        files.write("secret", format!("{SECRET}\n"));
        files.write("short", "sesame");
        let jwks = |keys: &[serde_json::Value]| json!({ "keys": keys }).to_string();
        files.write("p256.json", jwks(&[Signer::p256().jwk()]));
        files.write("wrong.json", jwks(&[json!({ "kty": "OKP", "crv": "Ed25519", "x": "AA" })]));
        files.write("many.json", jwks(&vec![Signer::ed25519().jwk(); TRIED_MAX + 1]));
        files.write("large", "x".repeat(KEY_FILE_BYTES_MAX + 1));
        files.write("ssh.pub", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMvu4JIkV4yrN0sysXpa1N85yus2KLsTyXzk6zV38dyG me@host");
        files
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        fs::write(self.path(name), contents).unwrap();
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// The arguments with `FILES` replaced.
    fn arguments(&self, arguments: &[&str]) -> Vec<String> {
        let folder = self.0.path().display().to_string();
        arguments.iter().map(|argument| argument.replace("FILES", &folder)).collect()
    }
}

/// Goal: without keys nobody signs in, and visitor keys count. Method: the defaults.
#[test]
fn the_defaults() {
    let config = check(&[]).unwrap();
    assert_eq!(config.sign_in.mode, SignInMode::Off);
    assert!(config.sign_in.keys.keys().is_empty() && config.sign_in.issuers.is_empty());
    let own = config.visitors.unwrap().person("abcdefghijklmnop");
    assert_eq!(own, VisitorKeys::of_count(DEFAULT_KEY).person("abcdefghijklmnop"));
}

/// Goal: settings that fit together are taken, with the documented defaults. Method: a file, an address, and several.
#[test]
fn settings_are_taken() {
    let files = Files::new();
    let check = |arguments: &[&str]| check(&files.arguments(arguments)).unwrap();
    let of_file = check(&["--jwt-keys=FILES/p256.json"]).sign_in;
    assert_eq!((of_file.mode, of_file.keys.keys().len()), (SignInMode::Optional, 1));
    assert_eq!(of_file.rules.algorithms, Algorithm::PUBLIC);
    assert_eq!(of_file.rules.user_claim, "sub");
    let of_url = [&format!("--jwt-keys={URL}"), "--jwt-issuer=a, b", "--jwt-audience=c"];
    let of_url = check(&[&of_url[..], &["--sign-in=required", "--jwt-user-claim=oid"]].concat());
    assert_eq!(of_url.sign_in.mode, SignInMode::Required);
    assert_eq!(of_url.sign_in.rules.issuers, ["a", "b"]);
    assert_eq!(of_url.sign_in.rules.audiences, ["c"]);
    assert_eq!(of_url.sign_in.rules.user_claim, "oid");
    assert_eq!(of_url.sign_in.issuers[0].to_string(), URL);
    let both = check(&["--jwt-keys=FILES/p256.json, FILES/secret"]).sign_in;
    assert_eq!(both.keys.keys().len(), 2);
    assert!(both.rules.algorithms.contains(&Algorithm::Hs256));
    let file = both.keys.keys()[1].file().unwrap();
    assert_eq!(file, files.path("secret"), "a key knows its file");
    let rooms = check(&["--jwt-keys=FILES/secret", "--rooms=/a/*,/b", "--private-rooms=/a/7,/p/*"]);
    assert!(!rooms.rooms.private.is_none());
    let off = check(&["--jwt-keys=FILES/p256.json", "--sign-in=off", "--visitors=off"]);
    assert_eq!(off.sign_in.mode, SignInMode::Off);
    assert!(off.visitors.is_none());
    let named =
        check(&["--jwt-keys=FILES/p256.json,FILES/secret", "--jwt-algorithms=HS256, ES256"]);
    assert_eq!(named.sign_in.rules.algorithms, [Algorithm::Hs256, Algorithm::Es256]);
}

/// Goal: a wrong setting is refused with its name, the file or the entry, and what is wrong with it. Method: one mistake each.
#[rstest]
#[case(&["--jwt-keys=FILES/nothing"], "HEADCOUNT_JWT_KEYS", "entry 1: there is no file that can be read: No such file")]
#[case(&["--jwt-keys=FILES"], "HEADCOUNT_JWT_KEYS", "entry 1: there is no file that can be read: Is a directory")]
#[case(&["--jwt-keys=FILES/p256.json,"], "HEADCOUNT_JWT_KEYS", "entry 2: ")]
#[case(&["--jwt-keys=FILES/p256.json,FILES/short"], "HEADCOUNT_JWT_KEYS", "entry 2: the secret has 6 bytes")]
#[case(&["--jwt-keys=FILES/wrong.json"], "HEADCOUNT_JWT_KEYS", "wrong.json\", but must be ")]
#[case(&["--jwt-keys=FILES/wrong.json"], "HEADCOUNT_JWT_KEYS", "entry 1: key 1 of the set: an Ed25519 key has 32 bytes")]
#[case(&["--jwt-keys=FILES/many.json"], "HEADCOUNT_JWT_KEYS", "more than 4 keys for EdDSA without a kid")]
#[case(&["--jwt-keys=FILES/large"], "HEADCOUNT_JWT_KEYS", "more than 262144 bytes")]
#[case(&["--jwt-keys=-----BEGIN PUBLIC KEY-----"], "HEADCOUNT_JWT_KEYS", "does not hold keys")]
#[case(&["--jwt-keys=http://id.example/jwks.json"], "HEADCOUNT_JWT_KEYS", "entry 1: it is not https")]
#[case(&["--jwt-keys=http://127.0.0.1.id.example/"], "HEADCOUNT_JWT_KEYS", "not https")]
#[case(&["--jwt-keys=ftp://127.0.0.1/"], "HEADCOUNT_JWT_KEYS", "not https")]
#[case(&["--jwt-keys=https://"], "HEADCOUNT_JWT_KEYS", "no address")]
#[case(&["--jwt-keys=https://me:sesame@id.example/"], "HEADCOUNT_JWT_KEYS", "a user or a password")]
#[case(&["--jwt-keys=https://id.example/#a"], "HEADCOUNT_JWT_KEYS", "after #")]
#[case(&["--jwt-keys=https://id.example/", "--jwt-audience=a"], "HEADCOUNT_JWT_ISSUER", "set with an address")]
#[case(&["--jwt-keys=https://id.example/", "--jwt-issuer=a"], "HEADCOUNT_JWT_AUDIENCE", "set with an address")]
#[case(&["--jwt-issuer=a,,b"], "HEADCOUNT_JWT_ISSUER", "with commas between")]
#[case(&["--jwt-audience="], "HEADCOUNT_JWT_AUDIENCE", "with commas between")]
#[case(&["--sign-in=required"], "HEADCOUNT_SIGN_IN", "nobody could sign in")]
#[case(&["--sign-in=optional"], "HEADCOUNT_SIGN_IN", "HEADCOUNT_JWT_KEYS be set")]
#[case(&["--sign-in=on", "--jwt-keys=FILES/secret"], "HEADCOUNT_SIGN_IN", "off, optional or required")]
#[case(&["--jwt-algorithms=none", "--jwt-keys=FILES/secret"], "HEADCOUNT_JWT_ALGORITHMS", "a list of RS256")]
#[case(&["--jwt-algorithms=HS256", "--jwt-keys=FILES/p256.json"], "HEADCOUNT_JWT_ALGORITHMS", "none for HS256")]
#[case(&["--jwt-algorithms=ES256", "--jwt-keys=FILES/p256.json,FILES/secret"], "HEADCOUNT_JWT_ALGORITHMS", "with HS256")]
#[case(&["--jwt-algorithms=RS256", "--jwt-keys=FILES/p256.json"], "HEADCOUNT_JWT_ALGORITHMS", "none for RS256")]
#[case(&["--jwt-algorithms=ES256"], "HEADCOUNT_JWT_ALGORITHMS", "none for ES256")]
#[case(&["--jwt-user-claim="], "HEADCOUNT_JWT_USER_CLAIM", "the name of a claim")]
#[case(&["--jwt-user-claim=exp"], "HEADCOUNT_JWT_USER_CLAIM", "the name of a claim")]
#[case(&["--jwt-keys=FILES/ssh.pub"], "HEADCOUNT_JWT_KEYS", "ssh.pub\", but must be ")]
#[case(&["--jwt-keys=FILES/ssh.pub"], "HEADCOUNT_JWT_KEYS", "entry 1: it looks like a key of OpenSSH")]
#[case(&["--jwt-keys=/dev/zero"], "HEADCOUNT_JWT_KEYS", "more than 262144 bytes")]
#[case(&["--jwt-issuer=a"], "HEADCOUNT_JWT_ISSUER", "left out, or HEADCOUNT_JWT_KEYS be set")]
#[case(&["--jwt-audience=a", "--sign-in=off"], "HEADCOUNT_JWT_AUDIENCE", "left out, or HEADCOUNT_JWT_KEYS be set")]
#[case(&["--jwt-user-claim=oid"], "HEADCOUNT_JWT_USER_CLAIM", "left out, or HEADCOUNT_JWT_KEYS be set")]
#[case(&["--jwt-user-claim= ", "--jwt-keys=FILES/secret"], "HEADCOUNT_JWT_USER_CLAIM", "without spaces at either end")]
#[case(&["--jwt-user-claim=sub ", "--jwt-keys=FILES/secret"], "HEADCOUNT_JWT_USER_CLAIM", "without spaces at either end")]
#[case(&["--jwt-keys=FILES/secret", "--rooms=/a/*", "--private-rooms=/p/*,/a"], "HEADCOUNT_PRIVATE_ROOMS", "that HEADCOUNT_ROOMS allows, which is \"/a/*\"")]
#[case(&["--jwt-keys=FILES/secret", "--rooms=/a/*", "--lists=/p/*"], "HEADCOUNT_LISTS", "that HEADCOUNT_ROOMS allows")]
#[case(&["--jwt-keys=FILES/secret", "--rooms=none", "--lists=/*"], "HEADCOUNT_LISTS", "that HEADCOUNT_ROOMS allows")]
#[case(&["--visitor-secret-file=FILES/ssh.pub"], "HEADCOUNT_VISITOR_SECRET_FILE", "it looks like a key of OpenSSH")]
#[case(&["--visitor-secret-file=FILES/large"], "HEADCOUNT_VISITOR_SECRET_FILE", "more than 262144 bytes")]
#[case(&["--visitor-secret-file=/dev/zero"], "HEADCOUNT_VISITOR_SECRET_FILE", "/dev/zero\", but must be ")]
#[case(&["--visitor-secret-file=/dev/zero"], "HEADCOUNT_VISITOR_SECRET_FILE", "more than 262144 bytes")]
#[case(&["--visitors=yes"], "HEADCOUNT_VISITORS", "on or off")]
#[case(&["--visitor-secret-file=FILES/nothing"], "HEADCOUNT_VISITOR_SECRET_FILE", "No such file")]
#[case(&["--visitor-secret-file=FILES/short"], "HEADCOUNT_VISITOR_SECRET_FILE", "6 bytes; at least 32")]
#[case(&["--visitor-secret-file=FILES/short", "--visitors=off"], "HEADCOUNT_VISITOR_SECRET_FILE", "6 bytes")]
fn mistakes_are_refused(#[case] arguments: &[&str], #[case] variable: &str, #[case] why: &str) {
    let message = refusal(&Files::new().arguments(arguments));
    assert!(message.starts_with(&format!("{variable} is ")), "{message}");
    assert!(message.contains(why) && !message.contains("sesame"), "{message}");
}

/// Goal: http is for this machine alone. Method: addresses on both sides.
#[rstest]
#[case("http://127.0.0.1:8080/keys", true)]
#[case("http://127.9.9.9/keys", true)]
#[case("http://localhost/keys", true)]
#[case("http://[::1]:8080/keys", true)]
#[case("http://10.0.0.1/keys", false)]
#[case("http://0.0.0.0/keys", false)]
#[case("http://[::]/keys", false)]
#[case("http://localhost.example/keys", false)]
#[case("http://keycloak:8080/keys", false)]
fn http_is_for_this_machine(#[case] url: &str, #[case] is_taken: bool) {
    assert_eq!(JwksUrl::parse(url).is_ok(), is_taken, "{url}");
}

/// Goal: whoever puts a secret where a path belongs does not find it in the log. Method: secrets as people make them.
#[rstest]
#[case("--jwt-keys=sesame-sesame-sesame-sesame-sesame")]
#[case("--jwt-keys=/sesame+sesame/sesame=")]
#[case("--jwt-keys=-----BEGIN PRIVATE KEY-----\nsesame\n-----END PRIVATE KEY-----")]
#[case("--jwt-keys={\"keys\":[{\"kty\":\"oct\",\"k\":\"sesame\"}]}")]
#[case("--jwt-keys=https://user:sesame@id.example/")]
#[case("--visitor-secret-file=sesame-sesame-sesame-sesame-sesame")]
#[case("--visitor-secret-file=/sesame+sesame/sesame=")]
fn secrets_are_not_shown(#[case] argument: &str) {
    let cli = Cli::try_parse_from(["headcount", argument]).unwrap();
    let error = cli.serve.check().map(drop).unwrap_err();
    let shown = format!("{error} {error:?} {cli:?}");
    assert!(!shown.contains("sesame"), "{shown}");
    assert!(shown.contains("(not shown"), "{shown}");
}

/// Goal: the help shows no value of a setting in which somebody may have put a secret. Method: the definition of each such setting, in
/// every subcommand.
#[test]
fn the_help_shows_no_secret() {
    let hidden = [KEYS, VISITOR_SECRET_FILE, "HEADCOUNT_ADMIN_TOKEN", "HEADCOUNT_REDIS_URL"];
    let mut seen = 0;
    for command in Cli::command().get_subcommands() {
        for argument in command.get_arguments() {
            let Some(variable) = argument.get_env().and_then(|name| name.to_str()) else {
                continue;
            };
            if hidden.contains(&variable) {
                assert!(argument.is_hide_env_values_set(), "{} {variable}", command.get_name());
                seen += 1;
            }
        }
    }
    assert!(seen >= hidden.len(), "{seen}");
}

/// Goal: the checked settings show no secret either. Method: a secret of tokens and one of visitor keys.
#[test]
fn checked_secrets_are_not_shown() {
    let files = Files::new();
    let secrets = ["--jwt-keys=FILES/secret", "--visitor-secret-file=FILES/secret"];
    let config = check(&files.arguments(&secrets)).unwrap();
    let shown = format!("{config:?} {config:#?}");
    assert!(!shown.contains("sesame"), "{shown}");
    let person = config.visitors.unwrap().person("abcdefghijklmnop");
    assert_eq!(person, VisitorKeys::with_secret(SECRET.as_bytes()).person("abcdefghijklmnop"));
}

/// Goal: the query of an address, which may hold a key of an API, is not shown. Method: an address with one, shown in each way.
#[test]
fn queries_are_not_shown() {
    let url = JwksUrl::parse("https://id.example:8443/keys?apikey=sesame").unwrap();
    assert_eq!(url.to_string(), "https://id.example:8443/keys");
    assert_eq!(format!("{url:?}"), "JwksUrl(https://id.example:8443/keys)");
}

/// Goal: clusters on one Redis hash visitor keys differently, and all instances of a cluster alike. Method: two names.
#[test]
fn visitor_keys_belong_to_a_cluster() {
    let person = |arguments: &[&str]| {
        let arguments: Vec<_> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        check(&arguments).unwrap().visitors.unwrap().person("abcdefghijklmnop").unwrap().user
    };
    let redis = "--redis-url=redis://127.0.0.1";
    let other = [redis, "--key=blog", "--channel=blog count"];
    assert_eq!(person(&[]), person(&[redis]));
    assert_eq!(person(&other), person(&other));
    assert_ne!(person(&[redis]), person(&other));
}

proptest! {
    /// Goal: any list of keys is taken or refused, and what is refused is not shown. Method: damaged lists.
    #[test]
    fn any_list_may_come(list in mutated_text(Just(format!("{URL},http://[::1]/k?sesame")))) {
        let arguments = [format!("--jwt-keys={list}"), "--jwt-issuer=a".to_owned(), "--jwt-audience=b".to_owned()];
        let shown = match check(&arguments) {
            Ok(config) => format!("{config:?}"),
            Err(error) => format!("{error} {error:?}"),
        };
        prop_assert!(!shown.contains("?sesame"), "{}", shown);
    }
}
