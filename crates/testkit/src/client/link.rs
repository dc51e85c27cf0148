//! One Engine.IO session, whatever carries it: packets in, packets out, and the change of carrier on the way.
//!
//! It does not look into packets but for what an upgrade needs.

use std::net::SocketAddr;

use futures_util::{FutureExt, future::BoxFuture};

use super::{Transport, polling::Polling, websocket::WebSocket};

/// What [`Link::receive`] gives once when the session has gone on to the websocket; no Engine.IO packet
/// looks like it.
pub(super) const UPGRADED: &str = "upgraded";

/// A session that has asked for the default namespace.
pub(super) enum Link {
    /// On a websocket.
    WebSocket(WebSocket),
    /// On long-polling.
    Polling(Polling),
    /// On long-polling, with a websocket being probed beside it.
    Upgrading(Polling, BoxFuture<'static, Result<WebSocket, String>>),
}

impl Link {
    /// Opens a session and asks for the default namespace.
    pub(super) async fn open(server: SocketAddr, transport: Transport) -> Result<Self, String> {
        let mut link = match transport {
            Transport::WebSocket => Self::WebSocket(WebSocket::open(server).await?),
            Transport::Polling | Transport::Upgrade => Self::Polling(Polling::open(server).await?),
        };
        link.send("40").await?;
        Ok(match link {
            Self::Polling(polling) if transport == Transport::Upgrade => {
                let probe = WebSocket::probe(server, polling.sid().to_owned()).boxed();
                Self::Upgrading(polling, probe)
            }
            other => other,
        })
    }

    /// The next packets. Dropping the future loses none.
    pub(super) async fn receive(&mut self) -> Result<Vec<String>, String> {
        match self {
            Self::WebSocket(socket) => socket.receive().await,
            Self::Polling(polling) => polling.receive().await,
            Self::Upgrading(polling, probe) => {
                let mut socket = tokio::select! {
                    packets = polling.receive() => return packets,
                    socket = probe => socket?,
                };
                // As the real client does: the poll under way is heard out before the change.
                let mut packets = polling.finish().await?;
                socket.send("5").await?;
                packets.push(UPGRADED.into());
                *self = Self::WebSocket(socket);
                Ok(packets)
            }
        }
    }

    /// Sends one packet.
    pub(super) async fn send(&mut self, packet: &str) -> Result<(), String> {
        match self {
            Self::WebSocket(socket) => socket.send(packet).await,
            Self::Polling(polling) | Self::Upgrading(polling, _) => polling.send(packet).await,
        }
    }

    /// Leaves the namespace and ends the session. Failing is as good: then it was over already.
    pub(super) async fn leave(&mut self) {
        let outcome = match self {
            Self::WebSocket(socket) => socket.leave().await,
            Self::Polling(polling) | Self::Upgrading(polling, _) => polling.leave().await,
        };
        drop(outcome);
    }
}
