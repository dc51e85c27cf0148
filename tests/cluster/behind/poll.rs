//! A visitor by polling whose only request is its poll.

use std::time::Duration;

use headcount_testkit::raw::session_in;

use super::entrance::{Connection, Entrance, USUAL};

/// A poll that has not been answered for this long waits for something to happen.
const QUIET: Duration = Duration::from_millis(500);

/// Joins by way of a proxy, and returns the connection on which a poll waits.
pub(super) async fn waiting_poll(proxy: &Entrance, host: &str) -> Connection {
    let path = "/socket.io/?EIO=4&transport=polling";
    let began = proxy.get(host, path, "").await;
    let cookie = format!("cookie: {}\r\n", began.cookie().expect("it sticks"));
    let url = format!("https://{host}{path}&sid={}", session_in(&began.body));
    let mut connection = proxy.connect(host, USUAL).await.expect("it accepts");
    connection.say(&url, &cookie, Some("40")).await;
    assert_eq!(connection.answered().await.status, 200);
    loop {
        connection.say(&url, &cookie, None).await;
        if connection.is_silent(QUIET).await {
            return connection;
        }
        let answer = connection.answered().await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}
