//! Sessions that begin in the very moment in which an instance ends, or in which a place becomes free on one that is full.

use std::net::SocketAddr;

use futures_util::future::join_all;
use headcount_testkit::{
    cluster::Cluster,
    instance::{Instance, Setting},
    raw::{
        POLLING, Raw, ask,
        frames::{self, CLOSE, FINAL},
        say, session_in, upgrade,
    },
    waiting::eventually,
};
use rustix::process::Signal;
use tokio::net::TcpStream;

const SETTINGS: [Setting<'static>; 2] =
    [("HEADCOUNT_DRAIN_DELAY", "0s"), ("HEADCOUNT_DRAIN", "500ms")];
/// Clients that come one right after the other, and how often each of them has a place on a full instance.
const COMING: usize = 4;
const TURNS: usize = 200;

/// What became of a client that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coming {
    /// It joined, and was sent away later.
    Joined,
    /// It was sent away before it could join.
    SentAway,
    Refused,
    /// Nobody answered.
    Unanswered,
}

/// Goal: whoever comes while an instance begins to end is served or refused in order, and nobody any more once the first was refused;
/// the instance ends in time, and nobody is left in the count. Method: clients that open a websocket and join with one write, one right
/// after the other, until nobody answers; meanwhile the instance is asked to end.
#[tokio::test(flavor = "multi_thread")]
async fn who_comes_as_an_instance_ends_is_served_or_refused() {
    let mut cluster = Cluster::start_with(2, &SETTINGS).await;
    let mut leaving = cluster.instances.remove(0);
    let server = leaving.public;
    let visitors: Vec<_> = (0..COMING).map(|_| tokio::spawn(come_and_come(server))).collect();
    eventually("some have come", async || match cluster.redis_client.users().await? {
        20.. => Ok(()),
        users => Err(format!("{users}")),
    })
    .await;
    leaving.process().signal(Signal::TERM);
    let (status, took) = leaving.process().ended().await;
    let log = leaving.process().stderr();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("all clients have been sent elsewhere"), "{log}");
    for came in join_all(visitors).await {
        let came = came.expect("every answer is in order");
        let is_in = |it: &&Coming| matches!(it, Coming::Joined | Coming::SentAway);
        let first = came.iter().take_while(is_in).count();
        let refused = came[first..].iter().take_while(|it| **it == Coming::Refused).count();
        println!("{first} were served and {refused} refused in {took:?}");
        assert_eq!(came[first + refused..], [Coming::Unanswered]);
        assert!(came[..first].contains(&Coming::Joined) && refused > 0, "{came:?}");
    }
    cluster.agrees_on(0, &[]).await;
}

/// Comes again and again until nobody answers.
async fn come_and_come(server: SocketAddr) -> Vec<Coming> {
    let (mut came, mut staying) = (Vec::new(), Vec::new());
    loop {
        let (answered, websocket) = come(server).await;
        let stays = websocket.map(|websocket| tokio::spawn(stay(websocket)));
        staying.extend(stays.map(|stays| (came.len(), stays)));
        came.push(answered);
        if answered == Coming::Unanswered {
            break;
        }
    }
    for (number, stays) in staying {
        came[number] = stays.await.expect("every frame is in order");
    }
    came
}

async fn come(server: SocketAddr) -> (Coming, Option<Raw>) {
    let Ok(stream) = TcpStream::connect(server).await else { return (Coming::Unanswered, None) };
    let mut raw = Raw::over(stream);
    // If nobody takes it, nobody answers it.
    let _ = raw.send(&[upgrade(server, None).as_bytes(), &frames::text("40")].concat()).await;
    match raw.answer().await {
        Ok(answer) if answer.status == 101 => (Coming::Joined, Some(raw)),
        Ok(answer) => {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("5")));
            (Coming::Refused, None)
        }
        Err(_) => (Coming::Unanswered, None),
    }
}

/// Reads a websocket to its end.
async fn stay(mut websocket: Raw) -> Coming {
    let Some(opening) = websocket.text().await else { return Coming::SentAway };
    assert!(opening.starts_with("0{"), "{opening}");
    let Some(joined) = websocket.text().await else { return Coming::SentAway };
    assert!(joined.starts_with("40{"), "{joined}");
    while let Some(told) = websocket.text().await {
        assert!(told == "2" || told.starts_with("42["), "{told}");
    }
    Coming::Joined
}

/// Goal: a client that has read the end of its session has its place again, also where there is only one. Method: an instance with one
/// place, and a client that closes its session and opens the next one right after it, many times, on a websocket and by polling.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_is_free_before_its_client_knows() {
    let instance = Instance::start(&[("HEADCOUNT_MAX_CONNECTIONS", "1")]).await;
    let close = frames::frame(CLOSE | FINAL, &1000_u16.to_be_bytes());
    for turn in 0..TURNS {
        let mut websocket = Raw::websocket(instance.public, None).await;
        websocket.send(&close).await.expect("it takes a frame");
        assert_eq!(websocket.close_code().await, Some(1000), "turn {turn}");
        let opening = ask(instance.public, "GET", POLLING, "").await;
        assert_eq!(opening.status, 200, "turn {turn}: {opening:?}");
        let path = format!("{POLLING}&sid={}", session_in(&opening.body));
        assert_eq!(say(instance.public, &path, "1").await.status, 200, "turn {turn}");
    }
}
