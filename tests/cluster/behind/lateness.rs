//! How much later than an instance itself a proxy tells of a visitor.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use headcount_testkit::client::{Client, Transport};

use super::entrance::{Connection, Entrance, USUAL};

/// More than that would be seen by somebody who watches two screens, and is what waiting for more data costs.
pub(super) const EVENT_LATE_MAX: Duration = Duration::from_millis(50);

/// Visitors that come and go until one shows that it can be done.
const ROUNDS_MAX: u64 = 10;

/// The least lateness of some events: whatever else the machine does makes it greater.
pub(super) async fn lateness(
    proxy: &Entrance,
    host: &str,
    path: &str,
    instance: SocketAddr,
) -> Duration {
    let mut direct = reader(&Entrance::plain(instance), host, "/api/count/stream").await;
    let mut proxied = reader(proxy, host, path).await;
    let mut least = Duration::MAX;
    for _ in 0..ROUNDS_MAX {
        let visitor = Client::open(instance, Transport::Websocket);
        let (sooner, later) = tokio::join!(told(&mut direct, 1), told(&mut proxied, 1));
        least = least.min(later.saturating_duration_since(sooner));
        if least < EVENT_LATE_MAX {
            break;
        }
        drop(visitor);
        tokio::join!(told(&mut direct, 0), told(&mut proxied, 0));
    }
    least
}

/// A reader that has heard that nobody is there.
async fn reader(entrance: &Entrance, host: &str, path: &str) -> Connection {
    let mut connection = entrance.connect(host, USUAL).await.expect("it accepts");
    connection.say(&format!("https://{host}{path}"), "", None).await;
    told(&mut connection, 0).await;
    connection
}

/// When the reader was told of so many.
async fn told(reader: &mut Connection, users: u64) -> Instant {
    let wanted = format!("\"count\":{users},");
    loop {
        let line = reader.line().await.expect("the stream goes on");
        if line.starts_with("data: ") && line.contains(&wanted) {
            return Instant::now();
        }
    }
}
