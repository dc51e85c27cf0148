//! Tests of one connection over a real socket: how it ends, and what it gives back.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

use tokio_util::sync::CancellationToken;

use super::{control::UNSENT_BYTES_MAX, *};
use crate::frame::CountFrame;

const BURST_BYTES: u64 = 64 * 1024;

/// A connection of the server's, and its client.
pub(crate) async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    let (patience, stragglers) = (Duration::from_secs(20), Stragglers::default());
    let connection = Connection::new(accepted, patience, BURST_BYTES, place, stragglers);
    (connection.unwrap(), peer)
}

/// Goal: closing ends a read that waits, and every later one. Method: a read on an idle socket, closed
/// from another task.
#[tokio::test]
async fn closing_ends_a_waiting_read() {
    let (mut connection, _peer) = pair().await;
    let control = connection.control();
    let reading = tokio::task::spawn(async move { connection.read_u8().await });
    tokio::task::yield_now().await;
    control.close();
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(control.ended_for(), None);
}

/// Goal: a permit comes back with the end of the connection. Method: its handle outlives it.
#[tokio::test]
async fn a_permit_is_given_back_when_the_connection_closes() {
    let (connection, _peer) = pair().await;
    let (control, permits) = (connection.control(), Arc::new(Semaphore::new(1)));
    control.keep(Arc::clone(&permits).try_acquire_owned().unwrap());
    assert_eq!(permits.available_permits(), 0);
    drop(connection);
    assert_eq!(permits.available_permits(), 1);
    drop(control);
}

/// Goal: a flood ends a websocket and nothing else. Method: twice the burst, before and after the
/// connection becomes a websocket.
#[tokio::test]
async fn a_flood_ends_a_websocket_only() {
    let flood = vec![0u8; 2 * usize::try_from(BURST_BYTES).unwrap()];
    for websocket in [false, true] {
        let (mut connection, mut peer) = pair().await;
        let control = connection.control();
        if websocket {
            control.begin_websocket();
        }
        let bytes = flood.clone();
        let writing = tokio::task::spawn(async move { peer.write_all(&bytes).await });
        let (mut received, mut chunk) = (0, [0u8; 4096]);
        while received < flood.len() {
            let read = connection.read(&mut chunk).await.unwrap();
            received += read;
            if read == 0 {
                break;
            }
        }
        drop(connection);
        let _either_way = writing.await.unwrap();
        assert_eq!(control.ended_for(), websocket.then_some("flood"));
        assert_eq!(received < flood.len(), websocket, "{received}");
    }
}

/// Goal: little that is stale waits in the kernel for a slow client, and the last count arrives. Method: a client that
/// reads nothing is told counts until the kernel has taken none for a while; what of them has not reached the client's
/// buffer is in ours. Then it reads.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn little_waits_in_the_kernel() {
    const SEGMENT_BYTES_MAX: usize = 64 * 1024;
    const WHILE: Duration = Duration::from_millis(200);
    let (connection, mut peer) = pair().await;
    let control = connection.control();
    control.begin_websocket();
    let stay = control.begin_stay();
    assert_eq!(control.open(stay), Some(true));
    let mut users = 1_000_000;
    let frame_bytes = CountFrame::new(users).bytes().len();
    while timeout(WHILE, connection.stream.writable()).await.is_ok() {
        while control.flush() {
            users += 1;
            assert!(control.tell(&CountFrame::new(users)));
        }
    }
    let taken = usize::try_from(users - 1_000_000).unwrap() * frame_bytes;
    let reached = peer.peek(&mut vec![0; taken]).await.unwrap();
    let stale = taken - reached;
    println!("{taken} bytes were taken, {reached} have reached the client, {stale} wait");
    let most = usize::try_from(UNSENT_BYTES_MAX).unwrap() + SEGMENT_BYTES_MAX;
    assert!(reached > 0 && stale <= most, "{stale} bytes");

    tokio::spawn(control.stragglers.clone().run(CancellationToken::new()));
    for _ in 0..1000 {
        users += 1;
        assert!(control.tell(&CountFrame::new(users)));
    }
    let (mut received, last) = (Vec::new(), CountFrame::new(users));
    while !received.ends_with(last.bytes()) {
        assert!(peer.read_buf(&mut received).await.unwrap() > 0);
    }
    assert!(received.len() <= taken + 2 * frame_bytes, "of a thousand counts one was told");
}
