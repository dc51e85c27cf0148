//! Connections for tests, and what holds of every connection.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use tokio::{io::AsyncReadExt, net::TcpListener, sync::Semaphore};

use super::*;

/// The server's end of a connection, and its client.
pub(crate) async fn pair() -> (Connection, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
    (Connection::new(accepted, Duration::from_secs(20), permit).unwrap(), client)
}

/// Goal: shutting the socket down ends a pending read. Method: a read on an idle socket, which another task shuts down.
#[tokio::test]
async fn shutting_down_ends_a_waiting_read() {
    let (mut connection, _client) = pair().await;
    let stream = connection.stream();
    let reading = tokio::spawn(async move { connection.read_u8().await });
    tokio::task::yield_now().await;
    SockRef::from(&*stream).shutdown(Shutdown::Both).unwrap();
    let error = reading.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// Goal: bytes that were given back are read first. Method: a few bytes given back, and others that the client sends.
#[tokio::test]
async fn what_is_given_back_is_read_first() {
    let (mut connection, mut client) = pair().await;
    client.write_all(b"cd").await.unwrap();
    connection.unread(b"ab");
    let mut received = [0; 4];
    connection.read_exact(&mut received).await.unwrap();
    assert_eq!(&received, b"abcd");
}
