//! The lesson this program grew from checks a running server by two files; both editions of its checks.

use headcount_testkit::{http, instance::Instance};
use regex::{Regex, RegexBuilder};

/// Goal: both editions of the lesson's checks pass. Method: the two files are fetched from a running server
/// and matched as the lesson does, in the newer edition with `.` spanning lines.
#[tokio::test(flavor = "multi_thread")]
async fn the_checks_of_the_lesson_pass() {
    let instance = Instance::start(&[]).await;
    let server = text(&instance, "/_api/server.js").await;
    let client = text(&instance, "/public/client.js").await;

    let emits = r#"io.emit.*('|")user count('|").*currentUsers"#;
    let listens = r#"socket.on.*('|")user count('|")"#;
    assert!(server.contains("currentUsers"), "{server}");
    assert!(spanning(emits).is_match(&server), "{emits} in {server}");
    assert!(spanning(listens).is_match(&client), "{listens} in {client}");
    let on_one_line = RegexBuilder::new(emits).case_insensitive(true).build().expect("it is valid");
    assert!(on_one_line.is_match(&server), "{emits} on one line in {server}");
}

fn spanning(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).dot_matches_new_line(true).build().expect("it is valid")
}

async fn text(instance: &Instance, path: &str) -> String {
    let answer = http::get(instance.public, path).await.expect("it serves");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}
