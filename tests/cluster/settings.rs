//! Wrong settings are refused before anything listens, with a message that says how to correct them.

use headcount_testkit::{
    instance::{FREE_PORTS, Process, Setting},
    waiting::eventually,
};

/// A wrong setting, and a word of the allowed values that the message must contain.
struct Wrong {
    setting: Setting<'static>,
    allowed: &'static str,
}

const fn wrong(name: &'static str, value: &'static str, allowed: &'static str) -> Wrong {
    Wrong { setting: (name, value), allowed }
}

const WRONG: [Wrong; 30] = [
    wrong("HEADCOUNT_LISTEN", "nowhere", "127.0.0.1:3000"),
    wrong("HEADCOUNT_LISTEN", "127.0.0.1:99999", "127.0.0.1:3000"),
    wrong("HEADCOUNT_ADMIN_LISTEN", "127.0.0.1", "a port"),
    wrong("HEADCOUNT_REDIS_URL", "http://127.0.0.1", "redis://"),
    wrong("HEADCOUNT_REDIS_URL", "127.0.0.1:6379", "redis://"),
    wrong(
        "HEADCOUNT_REDIS_URL",
        "redis+sentinel://a,b:26380",
        "the name of the primary is missing",
    ),
    wrong("HEADCOUNT_REDIS_URL", "redis-sentinel://a/mymaster", "redis+sentinel://"),
    wrong("HEADCOUNT_KEY", "users ", "spaces at either end"),
    wrong("HEADCOUNT_HEARTBEAT", "0s", "10ms"),
    wrong("HEADCOUNT_HEARTBEAT", "soon", "500ms"),
    wrong("HEADCOUNT_HEARTBEAT", "1s", "666ms"),
    wrong("HEADCOUNT_LEASE", "1s", "2s"),
    wrong("HEADCOUNT_LEASE", "1h", "5m"),
    wrong("HEADCOUNT_EMIT_INTERVAL", "often", "10s"),
    wrong("HEADCOUNT_GRACE", "61s", "from 0s to 1m"),
    wrong("HEADCOUNT_PING_INTERVAL", "500ms", "1s"),
    wrong("HEADCOUNT_PING_TIMEOUT", "-1s", "1s"),
    wrong("HEADCOUNT_MAX_PAYLOAD", "1023", "1024"),
    wrong("HEADCOUNT_TRANSPORTS", "pigeon", "websocket"),
    wrong("HEADCOUNT_ALLOWED_ORIGINS", "example.org", "https://"),
    wrong("HEADCOUNT_ALLOWED_ORIGINS", "https://*", "https://*.shop.example"),
    wrong("HEADCOUNT_LOG", "warning", "levels are"),
    wrong("HEADCOUNT_MAX_CONNECTIONS", "0", "from 1"),
    wrong("HEADCOUNT_MAX_CONNECTIONS", "900000000", "file limit"),
    wrong("HEADCOUNT_DRAIN", "slowly", "500ms"),
    wrong("HEADCOUNT_KEEP_ALIVE", "999ms", "from 1s to 1h"),
    wrong("HEADCOUNT_KEEP_ALIVE", "61m", "from 1s to 1h"),
    wrong("HEADCOUNT_KEEP_ALIVE", "75", "500ms"),
    wrong("HEADCOUNT_LOG_FORMAT", "xml", "json"),
    wrong("HEADCOUNT_LOG", "info,[", "info"),
];

/// Goal: each wrong value in the environment is refused with exit code 2. The message names the variable, the value
/// and what is allowed, and stdout is empty. Method: start the program with each setting of a table.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_with_a_clear_answer() {
    let mut complaints = Vec::new();
    for Wrong { setting: (name, value), allowed } in WRONG {
        match refusal(&[], &[(name, value)]).await {
            Ok(answer) => complaints.extend(missing_in(&answer, &[name, value, allowed])),
            Err(complaint) => complaints.push(format!("{name}={value} {complaint}")),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Goal: flags are checked like the environment. Method: the same table as flags, and a flag that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_are_refused_with_a_clear_answer() {
    let mut complaints = Vec::new();
    for Wrong { setting: (name, value), allowed } in WRONG {
        let flag = name.replacen("HEADCOUNT_", "--", 1).to_lowercase().replace('_', "-");
        match refusal(&[&format!("{flag}={value}")], &[]).await {
            Ok(answer) => complaints.extend(missing_in(&answer, &[name, value, allowed])),
            Err(complaint) => complaints.push(format!("{flag}={value} {complaint}")),
        }
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let answer = refusal(&["--no-such-flag"], &[]).await.expect("it is refused");
    assert!(answer.contains("--no-such-flag"), "{answer}");
}

/// Goal: two clusters on one Redis never share a channel by accident. Method: a different key with the default
/// channel is refused, and the message names both settings.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_its_own_needs_a_channel_of_its_own() {
    let settings = [("HEADCOUNT_REDIS_URL", "redis://127.0.0.1"), ("HEADCOUNT_KEY", "other")];
    let answer = refusal(&[], &settings).await.expect("it is refused");
    let missing = missing_in(&answer, &["HEADCOUNT_KEY", "HEADCOUNT_CHANNEL", "user count"]);
    assert!(missing.is_empty(), "{missing:?}");
}

/// Goal: a database in the wrong place of the address is refused, not ignored. Method: a database as a parameter,
/// with all schemes; and a socket in place of a host.
#[tokio::test(flavor = "multi_thread")]
async fn an_address_is_taken_as_a_whole_or_refused() {
    for url in [
        "redis://127.0.0.1?db=5",
        "rediss://127.0.0.1/0?db=5",
        "redis+sentinel://127.0.0.1/main?db=5",
        "unix:///run/redis.sock?db=5",
    ] {
        let answer = refusal(&[], &[("HEADCOUNT_REDIS_URL", url)]).await.expect("it is refused");
        assert!(answer.contains("HEADCOUNT_REDIS_URL") && answer.contains("must be"), "{answer}");
    }
}

/// Goal: a password is never shown. Method: refused addresses that contain one. Neither the messages nor the help
/// may repeat it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_does_not_show_its_password() {
    let wrong = [("HEADCOUNT_REDIS_URL", "http://user:swordfish@127.0.0.1")];
    let of_sentinels = "redis+sentinel://user:swordfish@one,two?sentinel_password=swordfish";
    for wrong in [wrong, [("HEADCOUNT_REDIS_URL", of_sentinels)]] {
        let answer = refusal(&[], &wrong).await.expect("it is refused");
        assert!(answer.contains("HEADCOUNT_REDIS_URL"), "{answer}");
        assert!(!answer.contains("swordfish"), "{answer}");
    }
    assert_help_hides(wrong[0], "swordfish").await;
}

/// Goal: a secret that somebody has put in the place of a file's path is never shown. Method: such settings, in refusals and in the
/// help.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_place_of_a_path_is_not_shown() {
    let secret = "swordfish-swordfish-swordfish-swordfish";
    for name in ["HEADCOUNT_JWT_KEYS", "HEADCOUNT_VISITOR_SECRET_FILE"] {
        let answer = refusal(&[], &[(name, secret)]).await.expect("it is refused");
        assert!(answer.contains(name) && answer.contains("(not shown"), "{answer}");
        assert!(!answer.contains("swordfish"), "{answer}");
        assert_help_hides((name, secret), "swordfish").await;
    }
    assert_help_hides(("HEADCOUNT_ADMIN_TOKEN", secret), "swordfish").await;
}

async fn assert_help_hides(setting: Setting<'_>, secret: &str) {
    for arguments in [&["--help"][..], &["serve", "--help"]] {
        let mut process = Process::spawn(arguments, &[setting]);
        let (status, _) = process.ended().await;
        assert_eq!(status.code(), Some(0), "{}", process.stderr());
        let shown = process.stdout() + &process.stderr();
        assert!(shown.contains(setting.0) && !shown.contains(secret), "{shown}");
    }
}

/// The stderr of a program that refuses to start as it should. The error says what is wrong with the refusal.
async fn refusal(arguments: &[&str], settings: &[Setting<'_>]) -> Result<String, String> {
    // Free ports first: if a setting is accepted by mistake, the program collides with no other.
    let mut process = Process::spawn(arguments, &[&FREE_PORTS, settings].concat());
    eventually("it ends, or listens", async || {
        let undecided = process.runs() && process.stdout().is_empty();
        if undecided { Err(process.stderr()) } else { Ok(()) }
    })
    .await;
    if !process.stdout().is_empty() {
        return Err(format!("was taken: {}", process.stdout()));
    }
    let (status, _) = process.ended().await;
    let stderr = process.stderr();
    if status.code() == Some(2) { Ok(stderr) } else { Err(format!("gave {status}: {stderr}")) }
}

fn missing_in(answer: &str, parts: &[&str]) -> Vec<String> {
    let missing = parts.iter().filter(|part| !answer.contains(**part));
    missing.map(|part| format!("no {part:?} in {answer}")).collect()
}
