//! `/badge.svg`.

use headcount_testkit::{
    client::{Client, Transport},
    cluster::clients_say,
    http,
    instance::Instance,
    waiting::eventually,
};

/// Goal: the badge shows the count, as it was asked to, and nothing can be smuggled into it. Method: one
/// client, then badges with good, odd and bad wishes.
#[tokio::test(flavor = "multi_thread")]
async fn the_badge_shows_the_count() {
    let instance = Instance::start(&[]).await;
    let client = Client::open(instance.public, Transport::Websocket);
    let records = [client.record().clone()];
    eventually("the client is counted", async || clients_say(1, &records)).await;
    let fetch = async |query: &str| {
        let answer = http::get(instance.public, &format!("/badge.svg{query}")).await;
        answer.expect("it answers")
    };
    let badge = fetch("").await;
    assert_eq!((badge.status, badge.header("content-type")), (200, "image/svg+xml"));
    assert_eq!(badge.header("cache-control"), "public, max-age=10");
    assert!(badge.body.contains(">online: 1</title>"), "{}", badge.body);
    let wished = fetch("?label=here+%3Cnow%3E&color=4c1").await.body;
    assert!(wished.contains("here &lt;now&gt;: 1") && wished.contains("#44cc11"), "{wished}");
    for query in ["?color=%22/%3E%3Cscript%3E", "?color=4c11", "?label=", "?label=%00"] {
        assert_eq!(fetch(query).await.status, 400, "{query}");
    }
}
