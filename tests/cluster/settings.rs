//! Wrong settings are refused before anything listens, with an answer that says how to put them right.

use crate::instance::{Process, Setting};

/// A wrong setting, and a word that the answer must hold of what is allowed.
struct Wrong {
    setting: Setting<'static>,
    allowed: &'static str,
}

const fn wrong(name: &'static str, value: &'static str, allowed: &'static str) -> Wrong {
    Wrong {
        setting: (name, value),
        allowed,
    }
}

const WRONG: [Wrong; 21] = [
    wrong("HEADCOUNT_LISTEN", "nowhere", "127.0.0.1:3000"),
    wrong("HEADCOUNT_LISTEN", "127.0.0.1:99999", "127.0.0.1:3000"),
    wrong("HEADCOUNT_ADMIN_LISTEN", "127.0.0.1", "127.0.0.1:9100"),
    wrong("HEADCOUNT_REDIS_URL", "http://127.0.0.1", "redis://"),
    wrong("HEADCOUNT_KEY", "other", "HEADCOUNT_CHANNEL"),
    wrong("HEADCOUNT_HEARTBEAT", "0s", "lease"),
    wrong("HEADCOUNT_HEARTBEAT", "soon", "500ms"),
    wrong("HEADCOUNT_HEARTBEAT", "1s", "lease"),
    wrong("HEADCOUNT_LEASE", "1s", "heartbeat"),
    wrong("HEADCOUNT_LEASE", "1h", "heartbeat"),
    wrong("HEADCOUNT_EMIT_INTERVAL", "often", "50ms"),
    wrong("HEADCOUNT_PING_INTERVAL", "0s", "25s"),
    wrong("HEADCOUNT_PING_TIMEOUT", "-1s", "20s"),
    wrong("HEADCOUNT_MAX_PAYLOAD", "1023", "1024"),
    wrong("HEADCOUNT_TRANSPORTS", "pigeon", "websocket"),
    wrong("HEADCOUNT_TRANSPORTS", "", "websocket"),
    wrong("HEADCOUNT_ALLOWED_ORIGINS", "example.org", "https://"),
    wrong("HEADCOUNT_MAX_CONNECTIONS", "0", "1"),
    wrong("HEADCOUNT_MAX_CONNECTIONS", "900000000", "file"),
    wrong("HEADCOUNT_LOG_FORMAT", "xml", "json"),
    wrong("HEADCOUNT_LOG", "info,[", "info"),
];

/// Goal: each wrong value in the environment is refused with exit code 2, naming the variable, the value and
/// what is allowed, and nothing on stdout. Method: a table; the program is started with each.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_settings_are_refused_with_a_clear_answer() {
    let mut complaints = Vec::new();
    for Wrong {
        setting: (name, value),
        allowed,
    } in WRONG
    {
        let answer = refusal(&[], &[(name, value)]).await;
        let parts = [name, value, allowed];
        let missing = parts.into_iter().filter(|part| !answer.contains(part));
        complaints.extend(missing.map(|part| format!("{name}={value}: no {part:?} in {answer}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

/// Goal: flags and environment are one list. Method: the same table as flags, of which the answer must name
/// the flag or the variable; and a flag that does not exist.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_are_refused_with_a_clear_answer() {
    let mut complaints = Vec::new();
    for Wrong {
        setting: (name, value),
        allowed,
    } in WRONG
    {
        let flag = name
            .replacen("HEADCOUNT_", "--", 1)
            .to_lowercase()
            .replace('_', "-");
        let answer = refusal(&[&format!("{flag}={value}")], &[]).await;
        if !answer.contains(&flag) && !answer.contains(name) {
            complaints.push(format!(
                "{flag}={value}: neither {flag} nor {name} in {answer}"
            ));
        }
        let missing = [value, allowed]
            .into_iter()
            .filter(|part| !answer.contains(*part));
        complaints.extend(missing.map(|part| format!("{flag}={value}: no {part:?} in {answer}")));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    let answer = refusal(&["--no-such-flag"], &[]).await;
    assert!(answer.contains("--no-such-flag"), "{answer}");
}

/// Goal: a password never shows. Method: an address of Redis that is refused holds one; the answer and the
/// help must not repeat it.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_address_does_not_show_its_password() {
    let wrong = [("HEADCOUNT_REDIS_URL", "http://user:swordfish@127.0.0.1")];
    let answer = refusal(&[], &wrong).await;
    assert!(answer.contains("HEADCOUNT_REDIS_URL"), "{answer}");
    assert!(!answer.contains("swordfish"), "{answer}");
    let mut process = Process::spawn(&["--help"], &wrong);
    let (status, _) = process.ended().await;
    assert_eq!(status.code(), Some(0), "{}", process.stderr());
    assert!(
        !process.stdout().contains("swordfish"),
        "{}",
        process.stdout()
    );
}

/// What the program says on stderr when it refuses to start.
async fn refusal(arguments: &[&str], settings: &[Setting<'_>]) -> String {
    let mut process = Process::spawn(arguments, settings);
    let (status, _) = process.ended().await;
    let (stdout, stderr) = (process.stdout(), process.stderr());
    assert_eq!(
        status.code(),
        Some(2),
        "{arguments:?} {settings:?}: {stderr}"
    );
    assert_eq!(stdout, "", "{arguments:?} {settings:?} wrote to stdout");
    stderr
}
