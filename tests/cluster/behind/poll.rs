//! A polling visitor whose only open request is its poll.

use std::time::{Duration, Instant};

use headcount_testkit::raw::session_in;

use super::entrance::{Connection, Entrance, USUAL};

/// A poll that has not been answered for this long waits for something to happen.
const QUIET: Duration = Duration::from_millis(500);

/// A visitor that has joined.
pub(super) struct PollingVisitor {
    connection: Connection,
    url: String,
    cookie: String,
}

impl PollingVisitor {
    /// Joins through a proxy, and waits until the instance, which has no other visitors, counts it.
    pub(super) async fn counted(proxy: &Entrance, host: &str) -> Self {
        let path = "/socket.io/?EIO=4&transport=polling";
        let began = proxy.get(host, path, "").await;
        let cookie = format!("cookie: {}\r\n", began.cookie().expect("it sticks"));
        let url = format!("https://{host}{path}&sid={}", session_in(&began.body));
        let mut connection = proxy.connect(host, USUAL).await.expect("it accepts");
        connection.say(&url, &cookie, Some("40")).await;
        assert_eq!(connection.answered().await.status, 200);
        let mut visitor = Self { connection, url, cookie };
        visitor.poll().await;
        while !visitor.answered().await.contains("42[\"user count\",1]") {
            visitor.poll().await;
        }
        visitor
    }

    /// Cuts the connection while a poll waits on it. Returns when that was.
    pub(super) async fn cut(mut self) -> Instant {
        self.poll().await;
        while !self.connection.is_silent(QUIET).await {
            self.answered().await;
            self.poll().await;
        }
        Instant::now()
    }

    async fn poll(&mut self) {
        self.connection.say(&self.url, &self.cookie, None).await;
    }

    async fn answered(&mut self) -> String {
        let answer = self.connection.answered().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }
}
