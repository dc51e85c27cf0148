//! Two clusters on one Redis: neither shows the other's count, and both keep showing exact counts.

use std::time::{Duration, Instant};

use headcount_testkit::{
    client::{Client, Transport},
    instance::{Instance, Setting, Shown},
    machine::Machine,
    redis_server::RedisServer,
    waiting::eventually,
};
use tokio::time::sleep;

/// How long both clusters are observed: some leases, in which every report and announcement has had its effect.
const WATCHED: Duration = Duration::from_secs(5);

/// Goal: with default settings, production in database 0 and staging in database 1 are separate. Method: two instances,
/// one with visitors that join and leave. Both are observed, and neither receives a message of the other.
#[tokio::test(flavor = "multi_thread")]
async fn databases_are_clusters_of_their_own() {
    let redis = RedisServer::start(&[]);
    let urls = [redis.url(), format!("{}/1", redis.url())];
    let heard = neighbours_are_strangers([
        &[("HEADCOUNT_REDIS_URL", urls[0].as_str())],
        &[("HEADCOUNT_REDIS_URL", urls[1].as_str())],
    ])
    .await;
    assert!(heard.iter().sum::<f64>() < 1.0, "foreign announcements: {heard:?}");
}

/// Goal: clusters that share a channel by mistake get a warning, and their counts are still right. Method: the same
/// with one channel for both, separated by database and by key.
#[tokio::test(flavor = "multi_thread")]
async fn a_shared_channel_misleads_nobody() {
    let redis = RedisServer::start(&[]);
    let (first, second) = (redis.url(), format!("{}/1", redis.url()));
    let shared = ("HEADCOUNT_CHANNEL", "shared");
    let keys = [("HEADCOUNT_KEY", "production"), ("HEADCOUNT_KEY", "staging")];
    let (first, second) =
        (("HEADCOUNT_REDIS_URL", first.as_str()), ("HEADCOUNT_REDIS_URL", second.as_str()));
    for settings in [
        [&[first, shared][..], &[second, shared]],
        [&[first, shared, keys[0]], &[first, shared, keys[1]]],
    ] {
        let heard = neighbours_are_strangers(settings).await;
        assert!(heard.iter().all(|&heard| heard > 0.0), "foreign announcements: {heard:?}");
    }
}

/// One visitor on the second instance, three on the first, and more that join and leave there. Returns how many foreign
/// messages each instance received.
async fn neighbours_are_strangers(settings: [&[Setting<'_>]; 2]) -> [f64; 2] {
    let _machine = Machine::shared().await;
    let is_shared = settings[0].iter().any(|(name, _)| *name == "HEADCOUNT_CHANNEL");
    let mut first = Instance::start(settings[0]).await;
    let mut second = Instance::start(settings[1]).await;
    let lonely = Client::open(second.public, Transport::Websocket);
    let visitors: Vec<_> =
        (0..3).map(|_| Client::open(first.public, Transport::Websocket)).collect();
    says(&first, 3).await;
    says(&second, 1).await;

    let begin = Instant::now();
    while begin.elapsed() < WATCHED {
        let passing = Client::open(first.public, Transport::Websocket);
        says(&first, 4).await;
        drop(passing);
        says(&first, 3).await;
        let shown = second.shown().await;
        assert_eq!(shown, Ok(Shown { count: 1, exact: true }));
    }
    // No client joins or leaves any more, so a wrong count would stay.
    for _ in 0..20 {
        let shown = [first.shown().await, second.shown().await];
        let right = [3, 1].map(|count| Ok(Shown { count, exact: true }));
        assert_eq!(shown, right);
        sleep(Duration::from_millis(50)).await;
    }
    assert!(
        lonely.record().counts().iter().all(|&count| count == 1),
        "{:?}",
        lonely.record().entries()
    );
    // The first instance listens for certain by now, so it receives these changes if they come its way.
    let passing = Client::open(second.public, Transport::Websocket);
    says(&second, 2).await;
    drop(passing);
    says(&second, 1).await;
    drop(visitors);
    let mut heard = [0.0; 2];
    for (heard, instance) in heard.iter_mut().zip([&mut first, &mut second]) {
        let listens =
            async || match instance.metric("headcount_foreign_announcements_total").await? {
                0.0 if is_shared => Err("nothing is heard".to_owned()),
                heard => Ok(heard),
            };
        *heard = eventually("foreign announcements are counted", listens).await.0;
        let foreign = "somebody else announces on our channel";
        let expected: &[&str] = if *heard > 0.0 { &[foreign] } else { &[] };
        let log = instance.process().logged(expected).await;
        assert_eq!(log.matches(foreign).count(), expected.len(), "{log}");
    }
    heard
}

async fn says(instance: &Instance, count: u64) {
    eventually("the count is right", async || match instance.shown().await? {
        shown if shown == (Shown { count, exact: true }) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
}
