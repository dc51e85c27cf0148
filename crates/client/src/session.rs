//! One session on any transport: packets in, packets out, and the upgrade from polling to a websocket.
//!
//! It answers nothing by itself: the caller receives a packet and sends its [`Packet::answer`].

use std::{fmt, pin::Pin};

use crate::{
    Error, Packet,
    packet::{Handshake, UPGRADE},
    polling::Polling,
    request::Requests,
    websocket::Websocket,
};

/// How a client talks to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A websocket from the start.
    Websocket,
    /// HTTP long-polling until the end.
    Polling,
    /// Polling first, then the same session on a websocket, as browsers do by default.
    Upgrade,
}

/// An event of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet of the server.
    Packet(Packet),
    /// The session has upgraded from polling to a websocket. This comes at most once.
    Upgraded,
}

/// An open session. If it is dropped, the connection ends without a goodbye, as for a browser whose machine loses its
/// network.
#[derive(Debug)]
pub struct Session(Carrier);

/// The transport of a session. All except the websocket are in a box. There may be many sessions on websockets, and
/// they should not take the memory of the others.
#[derive(Debug)]
enum Carrier {
    Websocket(Websocket),
    Polling(Box<Polling>),
    Upgrading(Box<Upgrade>),
}

/// A session on polling, with a websocket being probed beside it.
struct Upgrade {
    polling: Polling,
    probe: Pin<Box<dyn Future<Output = Result<Websocket, Error>> + Send>>,
    /// The websocket, once it is probed. From then on no new poll begins.
    socket: Option<Websocket>,
}

/// An event during an upgrade.
enum Step {
    Packet(Packet),
    Done(Websocket),
}

impl Transport {
    /// All transports.
    pub const ALL: [Self; 3] = [Self::Websocket, Self::Polling, Self::Upgrade];

    /// The name in one word. For the first two it is that of Engine.IO.
    pub fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Session {
    /// Opens a session with the server at this host and port, without joining the namespace. Returns the session and
    /// its handshake.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn open(authority: &str, transport: Transport) -> Result<(Self, Handshake), Error> {
        let (carrier, handshake) = match transport {
            Transport::Websocket => {
                let (socket, handshake) = Websocket::open(authority).await?;
                (Carrier::Websocket(socket), handshake)
            }
            Transport::Polling => {
                let (polling, handshake) = Polling::open(authority).await?;
                (Carrier::Polling(Box::new(polling)), handshake)
            }
            Transport::Upgrade => {
                let (polling, handshake) = Polling::open(authority).await?;
                (Carrier::Upgrading(Box::new(Upgrade::of(polling))), handshake)
            }
        };
        Ok((Self(carrier), handshake))
    }

    /// The next event. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the connection is lost, or the server breaks the protocol.
    pub async fn next(&mut self) -> Result<Event, Error> {
        match &mut self.0 {
            Carrier::Websocket(socket) => socket.next().await.map(Event::Packet),
            Carrier::Polling(polling) => Box::pin(polling.next()).await.map(Event::Packet),
            Carrier::Upgrading(upgrade) => match Box::pin(upgrade.next()).await? {
                Step::Packet(packet) => Ok(Event::Packet(packet)),
                Step::Done(socket) => {
                    self.0 = Carrier::Websocket(socket);
                    Ok(Event::Upgraded)
                }
            },
        }
    }

    /// Sends a packet. A session that is about to upgrade sends it by polling.
    ///
    /// # Errors
    /// If the connection is lost, or the server refuses.
    pub async fn send(&mut self, packet: &str) -> Result<(), Error> {
        match &mut self.0 {
            Carrier::Websocket(socket) => socket.send(packet).await,
            Carrier::Polling(polling) => Box::pin(polling.send(packet)).await,
            Carrier::Upgrading(upgrade) => Box::pin(upgrade.polling.send(packet)).await,
        }
    }

    /// Sends several packets at once: in one write, or in one payload.
    ///
    /// # Errors
    /// If the connection is lost, or the server refuses.
    pub async fn send_all(&mut self, packets: &[String]) -> Result<(), Error> {
        match &mut self.0 {
            Carrier::Websocket(socket) => socket.send_all(packets).await,
            Carrier::Polling(polling) => Box::pin(polling.send_all(packets)).await,
            Carrier::Upgrading(upgrade) => Box::pin(upgrade.polling.send_all(packets)).await,
        }
    }

    /// Leaves the namespace and ends the session, as a closed tab does. Returns when the server has confirmed it.
    ///
    /// # Errors
    /// If the connection was lost before. The session has ended in that case too.
    pub async fn leave(&mut self) -> Result<(), Error> {
        match &mut self.0 {
            Carrier::Websocket(socket) => socket.leave().await,
            Carrier::Polling(polling) => Box::pin(polling.leave()).await,
            Carrier::Upgrading(upgrade) => Box::pin(upgrade.polling.leave()).await,
        }
    }
}

impl Upgrade {
    fn of(polling: Polling) -> Self {
        let Requests { authority, sid, cookie } = polling.requests();
        let authority = authority.to_owned();
        let [sid, cookie] = [sid, cookie].map(|text| text.map(str::to_owned));
        let probe = Box::pin(async move {
            let (sid, cookie) = (sid.as_deref(), cookie.as_deref());
            Websocket::probe(Requests { authority: &authority, sid, cookie }).await
        });
        Self { polling, probe, socket: None }
    }

    /// The next event of the upgrade. Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Step, Error> {
        if self.socket.is_none() {
            tokio::select! {
                // The probe comes first: once it is answered, no other poll should begin.
                biased;
                socket = &mut self.probe => self.socket = Some(socket?),
                packet = self.polling.next() => return packet.map(Step::Packet),
            }
        }
        // Like socket.io-client, it waits for the poll under way before the upgrade. A server ends that poll with a
        // packet that requires no action.
        if let Some(packet) = self.polling.finish().await? {
            return Ok(Step::Packet(packet));
        }
        if let Some(socket) = &mut self.socket {
            socket.send(UPGRADE).await?;
        }
        self.socket.take().map(Step::Done).ok_or(Error::Closed)
    }
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { polling, socket, probe: _ } = self;
        f.debug_struct("Upgrade")
            .field("polling", polling)
            .field("socket", socket)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
