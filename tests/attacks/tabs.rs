//! Visitors by polling whose pages disappear without a goodbye: the browser aborts their requests, and the server sees
//! nothing else.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use headcount_testkit::{
    instance::Instance,
    raw::{POLLING, Raw, ask, frames::text, poll, polling_counted, polling_session, post},
    waiting::eventually,
};
use rstest::rstest;
use tokio::time::timeout;

/// A visitor whose requests are cut leaves the count at once; this is the time that a busy machine may need. Without
/// detection it would take at least ten seconds.
const AT_ONCE: Duration = Duration::from_secs(3);
/// A client without an open request has three seconds for its next poll. A client without any sign of having left has
/// ten.
const SOON: Duration = Duration::from_secs(8);
/// A poll that has no answer after this time is waiting at the server.
const OPEN: Duration = Duration::from_millis(300);

/// A header that only the HTTP server accepts, not the fast path in front of it.
const UNUSUAL: &str = "x-page: caf\u{e9}\r\n";

/// Goal: a visitor whose poll is cut leaves the count at once, whichever parser read the request. Visits of one page
/// after another are counted one by one. Method: six page views in a row. Each joins and ends with a waiting poll that
/// is cut, by the end of the stream or by a reset.
#[rstest]
#[case("")]
#[case(UNUSUAL)]
#[tokio::test(flavor = "multi_thread")]
async fn page_views_by_polling_are_counted_one_by_one(#[case] headers: &str) {
    let instance = Instance::start(&[]).await;
    for view in 0..6 {
        let path = polling_counted(instance.public).await;
        instance.counts(1).await;
        let waiting = open_poll(instance.public, &path, headers).await;
        if view % 2 == 0 {
            drop(waiting);
        } else {
            waiting.reset();
        }
        let took = instance.counts(0).await;
        println!("page view {view} was counted out after {took:?}");
        assert!(took < AT_ONCE, "{took:?}");
    }
}

/// Goal: a post that is cut ends its session at once, and the waiting poll is answered. Method: sessions with an open
/// poll, whose post is cut in its head or its body. The head is parsed by the fast path and by the HTTP server.
#[rstest]
#[case("")]
#[case(UNUSUAL)]
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_post_ends_its_session(#[case] headers: &str) {
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let path = polling_counted(server).await;
    instance.counts(1).await;
    let mut waiting = open_poll(server, &path, headers).await;
    let whole = post(server, &path, "3333").replacen("\r\n", &format!("\r\n{headers}"), 1);
    drop(Raw::saying(server, &whole[..whole.len() - 2]).await);
    let took = instance.counts(0).await;
    println!("it was counted out after {took:?}");
    assert!(took < AT_ONCE, "{took:?}");
    let answer = waiting.answer().await.expect("an answer");
    assert_eq!((answer.status, answer.body.as_str()), (200, "1"));
    assert_eq!(poll(server, &path).await.status, 400, "the session has ended");
}

/// Goal: a page that disappears between two polls leaves the count soon. Method: the connection of the last poll ends,
/// and no other poll comes.
#[rstest]
#[case("")]
#[case(UNUSUAL)]
#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_goes_between_two_polls_is_out_soon(#[case] headers: &str) {
    let instance = Instance::start(&[]).await;
    let path = polling_counted(instance.public).await;
    instance.counts(1).await;
    let mut waiting = open_poll(instance.public, &path, headers).await;
    let other = Raw::alive(instance.public).await;
    // On a busy machine a poll may seem to wait while it is answered with what was before.
    while !waiting.answer().await.expect("news comes").body.contains("[\"user count\",2]") {
        let again = request(instance.public, &path, headers);
        waiting = Raw::saying(instance.public, again).await;
    }
    drop((waiting, other));
    let took = instance.counts(0).await;
    println!("it was counted out after {took:?}");
    assert!(took < SOON, "{took:?}");
}

/// Goal: a client that disappears during its upgrade leaves the count, and one that continues with polling stays.
/// Method: the new websocket of a session ends before or after the probe. Some sessions have no other connection;
/// others continue to poll for longer than the first ones are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_websocket_that_dies_amid_the_upgrade_tells_the_two_apart() {
    const EACH: u8 = 4;
    let instance = Instance::start(&[]).await;
    let server = instance.public;
    let go = (0..EACH).map(|number| broken_upgrade(server, number % 2 == 0));
    let stay = (0..EACH).map(async |number| {
        let path = broken_upgrade(server, number % 2 == 0).await;
        poll_for(server, &path, SOON).await;
    });
    let counting = async {
        eventually("all have joined", async || {
            match instance.metric("headcount_connects_total").await? {
                joined if joined >= f64::from(2 * EACH) => Ok(()),
                joined => Err(joined.to_string()),
            }
        })
        .await;
        instance.counts(u64::from(EACH)).await
    };
    let (gone, _, took) = tokio::join!(join_all(go), join_all(stay), counting);
    println!("those that went were counted out after {took:?}");
    assert!(took < SOON, "{took:?}");
    let shown = instance.shown().await.expect("an answer");
    assert_eq!(shown.count, u64::from(EACH), "who polls on stays");
    for path in gone {
        assert_eq!(poll(server, &path).await.status, 400);
    }
}

/// A joined session whose upgrade to a websocket failed.
async fn broken_upgrade(server: SocketAddr, probes: bool) -> String {
    let path = polling_counted(server).await;
    let session = path.rsplit('=').next().expect("the path ends with it");
    let mut websocket = Raw::websocket(server, Some(session)).await;
    if probes {
        assert!(websocket.is_answered_after(&text("2probe"), "3probe").await, "it is probed");
    }
    path
}

async fn poll_for(server: SocketAddr, path: &str, time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        let mut waiting = Raw::saying(server, request(server, path, "")).await;
        let rest = time.saturating_sub(start.elapsed());
        match timeout(rest, waiting.answer()).await {
            Ok(answer) => assert_eq!(answer.expect("an answer").status, 200),
            // The test ends with this poll still open. Dropping it would end the session.
            Err(_) => std::mem::forget(waiting),
        }
    }
}

/// Goal: a session that has not joined also ends when its poll is cut. Method: where there is room for one session, cut
/// a waiting poll before its client has joined. Then there is room again.
#[tokio::test(flavor = "multi_thread")]
async fn a_cut_poll_ends_a_session_that_never_joined() {
    let instance = Instance::start(&[("HEADCOUNT_MAX_CONNECTIONS", "1")]).await;
    let path = polling_session(instance.public).await;
    drop(open_poll(instance.public, &path, "").await);
    let ((), took) = eventually("there is room", async || {
        match ask(instance.public, "GET", POLLING, "").await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(format!("{answer:?}")),
        }
    })
    .await;
    assert!(took < AT_ONCE, "{took:?}");
}

/// A poll that waits at the server.
async fn open_poll(server: SocketAddr, path: &str, headers: &str) -> Raw {
    loop {
        let mut raw = Raw::saying(server, request(server, path, headers)).await;
        let Ok(answer) = timeout(OPEN, raw.answer()).await else { return raw };
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

fn request(server: SocketAddr, path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: {server}\r\n{headers}\r\n")
}
