//! Engine.IO over a websocket: one message, one packet.

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{Message, protocol::WebSocketConfig},
};

/// Packets are a few bytes long; the default buffer of 128 KiB for each of 2,000 clients would not be.
const READ_BUFFER_BYTES: usize = 4096;

/// A websocket that carries a session.
pub(super) struct WebSocket(Box<WebSocketStream<TcpStream>>);

impl WebSocket {
    /// A new session.
    pub(super) async fn open(server: SocketAddr) -> Result<Self, String> {
        let mut socket = Self::connect(server, "").await?;
        let packets = socket.receive().await?;
        match packets.first() {
            Some(packet) if packet.starts_with("0{") => Ok(socket),
            _ => Err(format!("not a handshake: {packets:?}")),
        }
    }

    /// A second carrier for a session that began with polling, proven but not yet taken.
    pub(super) async fn probe(server: SocketAddr, sid: String) -> Result<Self, String> {
        let mut socket = Self::connect(server, &format!("&sid={sid}")).await?;
        socket.send("2probe").await?;
        let packets = socket.receive().await?;
        if packets == ["3probe"] {
            Ok(socket)
        } else {
            Err(format!("the probe was answered with {packets:?}"))
        }
    }

    async fn connect(server: SocketAddr, session: &str) -> Result<Self, String> {
        let attempt = async {
            let stream = TcpStream::connect(server).await?;
            stream.set_nodelay(true)?;
            let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket{session}");
            let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
            client_async_with_config(url, stream, Some(config)).await
        };
        let (socket, _) = attempt.await.map_err(|error| format!("no websocket: {error}"))?;
        Ok(Self(Box::new(socket)))
    }

    /// The next packet.
    pub(super) async fn receive(&mut self) -> Result<Vec<String>, String> {
        match self.0.next().await {
            Some(Ok(Message::Text(packet))) => Ok(vec![packet.as_str().to_owned()]),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(Vec::new()),
            Some(Ok(other)) => Err(format!("the websocket ended: {other:?}")),
            Some(Err(error)) => Err(format!("the websocket broke: {error}")),
            None => Err("the websocket ended".into()),
        }
    }

    /// Sends one packet.
    pub(super) async fn send(&mut self, packet: &str) -> Result<(), String> {
        let sent = self.0.send(Message::text(packet)).await;
        sent.map_err(|error| format!("failed to send {packet}: {error}"))
    }

    /// Leaves the namespace and closes the websocket, and returns when the server has closed it too: then it
    /// knows.
    pub(super) async fn leave(&mut self) -> Result<(), String> {
        self.send("41").await?;
        self.0.close().await.map_err(|error| error.to_string())?;
        while let Some(Ok(_)) = self.0.next().await {}
        Ok(())
    }
}
