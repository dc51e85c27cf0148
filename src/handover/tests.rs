//! Tests of handshakes on a listener of this process: what leaves the HTTP server is whole.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    gate::Gate,
    listener::{self, Listener},
    metrics::Metrics,
    origin::Origins,
    session::{SocketSettings, Transports},
    sockets::Sockets,
    stay::Visitor,
    stragglers::Stragglers,
    tally::Tally,
};

const HEAD: &str = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nhost: here\r\nupgrade: websocket\r\n\
    connection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
/// The answer to the key above, from the specification of websockets.
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A masked text: the client connects to the namespace.
const CONNECT: [u8; 8] = [0x81, 0x82, 0, 0, 0, 0, b'4', b'0'];

/// A server of sockets in this process, with room for one session; and a connection to it.
async fn serve(transports: Transports) -> (TcpStream, Arc<Tally<Visitor>>) {
    let server = Server::start(transports);
    (server.connect().await, server.tally)
}

/// A server of sockets in this process, with room for one session.
pub(crate) struct Server {
    address: SocketAddr,
    pub(crate) sockets: Sockets,
    pub(crate) tally: Arc<Tally<Visitor>>,
    pub(crate) metrics: Metrics,
}

impl Server {
    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) fn start(transports: Transports) -> Self {
        let metrics = Metrics::new("none").unwrap();
        let gate = Arc::new(Gate::new(1, 65_536, Origins::Same, metrics.clone()));
        let settings = SocketSettings {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            payload_bytes_max: 16_384,
            transports,
            direct: true,
        };
        let tally = Tally::new();
        let sockets = Sockets::new(&settings, gate, Arc::clone(&tally), metrics.clone());
        let bound = listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = bound.local_addr().unwrap();
        let listener = Listener {
            listener: bound,
            router: sockets.router(),
            front: sockets.front(),
            unacknowledged_for: Duration::from_secs(20),
            burst_bytes: 65_536,
            places: Arc::new(Semaphore::new(10)),
            stragglers: Stragglers::default(),
            unserved: metrics.refused.with_label_values(&["descriptors"]),
        };
        tokio::spawn(listener.run(CancellationToken::new()));
        Self { address, sockets, tally, metrics }
    }
}

async fn read_until(client: &mut TcpStream, what: &str) -> String {
    let mut received = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&received).contains(what) {
            let read = client.read_buf(&mut received).await.unwrap();
            assert!(read > 0, "it ended after {:?}", String::from_utf8_lossy(&received));
        }
    };
    timeout(Duration::from_secs(10), reading).await.expect("it comes");
    String::from_utf8_lossy(&received).into_owned()
}

/// Goal: what an eager client says with its handshake is not lost. Method: the handshake and the connect in one piece,
/// and then in pieces of a few bytes.
#[tokio::test]
async fn an_eager_client_is_heard() {
    let whole = [HEAD.as_bytes(), &CONNECT].concat();
    for piece in [whole.len(), 9] {
        let (mut client, tally) = serve(Transports::Both).await;
        for bytes in whole.chunks(piece) {
            client.write_all(bytes).await.unwrap();
            tokio::task::yield_now().await;
        }
        let received = read_until(&mut client, "40{\"sid\"").await;
        assert!(received.starts_with("HTTP/1.1 101 "), "{received}");
        assert!(received.contains(ACCEPT), "{received}");
        let mut changes = tally.subscribe();
        changes.wait_for(|local| local.users == 1).await.unwrap();
        drop(client);
        changes.wait_for(|local| local.users == 0).await.unwrap();
    }
}

/// Goal: handshakes that are not as they should be are answered as ever. Method: no key, an unknown version, and a
/// transport that is not served.
#[tokio::test]
async fn other_handshakes_are_refused() {
    let cases = [
        (Transports::Both, HEAD.replace("sec-websocket-key", "x")),
        (Transports::Both, HEAD.replace("EIO=4", "EIO=7")),
        (Transports::Polling, HEAD.to_owned()),
    ];
    for (transports, head) in cases {
        let (mut client, tally) = serve(transports).await;
        client.write_all(head.as_bytes()).await.unwrap();
        let received = read_until(&mut client, "\r\n\r\n").await;
        assert!(!received.starts_with("HTTP/1.1 101 "), "{received}");
        assert_eq!(tally.users(), 0);
    }
}
