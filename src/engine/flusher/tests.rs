//! Tests of slow websockets, over real sockets.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::time::Duration;

use tokio::{io::AsyncReadExt, time::timeout};

use super::*;
use crate::{
    engine::{
        outbox::Told,
        session::tests::{join, on_websocket},
    },
    net::connection::{UNSENT_BYTES_MAX, tests::pair},
    protocol::frame::CountFrame,
};

/// Goal: little stale data waits in the kernel for a slow client, and the last count arrives. Method: a client that reads
/// nothing is told counts until the kernel takes no more; then it reads.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn little_waits_in_the_kernel() {
    const SEGMENT_BYTES_MAX: usize = 64 * 1024;
    const WHILE: Duration = Duration::from_millis(200);
    let (connection, mut client) = pair().await;
    connection.prefer_new_data();
    let session = on_websocket(&connection);
    let member = join(&session);
    assert_eq!(session.open(member.generation), Some(true));
    let mut users = 1_000_000;
    let frame_bytes = CountFrame::new(users).bytes().len();
    let mut told = Told::Taken;
    while timeout(WHILE, connection.stream().writable()).await.is_ok() {
        while session.flush() {
            users += 1;
            told = session.tell(&CountFrame::new(users));
        }
    }
    assert_eq!(told, Told::Stuck);
    let taken = usize::try_from(users - 1_000_000).unwrap() * frame_bytes;
    let reached = client.peek(&mut vec![0; taken]).await.unwrap();
    let stale = taken - reached;
    println!("{taken} bytes were taken, {reached} have reached the client, {stale} wait");
    let most = usize::try_from(UNSENT_BYTES_MAX).unwrap() + SEGMENT_BYTES_MAX;
    assert!(reached > 0 && stale <= most, "{stale} bytes");

    let flusher = Flusher::default();
    tokio::spawn(flusher.clone().run(CancellationToken::new()));
    flusher.hand_over(&session);
    for _ in 0..1000 {
        users += 1;
        assert_ne!(session.tell(&CountFrame::new(users)), Told::Gone);
    }
    let (mut received, last) = (Vec::new(), CountFrame::new(users));
    while !received.ends_with(last.bytes()) {
        assert!(client.read_buf(&mut received).await.unwrap() > 0);
    }
    assert!(received.len() <= taken + 2 * frame_bytes, "of a thousand counts one was told");
}
