//! Both editions of the checks of the lesson from which this program grew. They fetch two files from a
//! running server.

use std::time::Duration;

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    http,
    instance::Instance,
};
use regex::{Regex, RegexBuilder};
use rustix::process::Signal;
use tokio::time::sleep;

use crate::application::Application;

/// The shortest time after which socket.io-client reconnects with its default options.
const RECONNECTION_DELAY: Duration = Duration::from_millis(500);

/// Goal: both editions of the lesson's checks pass. Method: fetch the two files from a running server and
/// match them as the lesson does, in the newer edition with `.` matching line ends.
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

/// Goal: one browser can be logged in at two ports, and its user is counted once; and a bystander does not see him leave when his
/// application stops. Method: two applications, and a browser that sends the cookies of both to each; then the first application is
/// asked to end, and the user comes back at the second after the delay of socket.io-client.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_two_ports_is_one_and_is_handed_over() {
    let cluster = Cluster::start(1).await;
    let url = cluster.redis.url();
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let mut first = Application::start(&settings).await;
    let second = Application::start(&settings).await;
    let jar = [first.cookie_of("zoe").await, second.cookie_of("zoe").await];
    let names = jar.each_ref().map(|cookie| cookie.split_once('=').expect("a cookie").0);
    assert_ne!(names[0], names[1], "the second login would end the first one");
    let jar = jar.join("; ");
    for application in [&first, &second] {
        assert!(application.page_with(&jar).await.is_some(), "{} knows zoe", application.public);
    }
    let bystander = Client::open(cluster.instances[0].public, Transport::Websocket);
    let records = records_of([&bystander]);
    let here = first.joined_with(&jar).await;
    cluster.agrees_on(2, &records).await;
    let mark = records[0].mark();
    first.process().signal(Signal::TERM);
    here.ended().await;
    sleep(RECONNECTION_DELAY).await;
    let _back = second.joined_with(&jar).await;
    let (status, _) = first.process().ended().await;
    assert!(status.success(), "{status}");
    cluster.agrees_on(2, &records).await;
    assert_eq!(records[0].changes_since(mark), [0; 0], "nobody has left or come");
}

fn spanning(pattern: &str) -> Regex {
    RegexBuilder::new(pattern).dot_matches_new_line(true).build().expect("it is valid")
}

async fn text(instance: &Instance, path: &str) -> String {
    let answer = http::get(instance.public, path).await.expect("it serves");
    assert_eq!(answer.status, 200, "{path}: {}", answer.body);
    answer.body
}
