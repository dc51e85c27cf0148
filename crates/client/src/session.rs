//! One session, whatever carries it: packets in, packets out, and on the way the move from polling to a websocket.
//!
//! It answers nothing by itself: whoever receives a packet sends its [`Packet::answer`].

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
    /// A websocket from the beginning.
    Websocket,
    /// HTTP long-polling to the end.
    Polling,
    /// Polling first, then the same session on a websocket: what browsers do by default.
    Upgrade,
}

/// What a session brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet of the server.
    Packet(Packet),
    /// The session has moved from polling to a websocket. This comes at most once.
    Upgraded,
}

/// An open session. Dropped, it vanishes without a word, as a browser does whose machine loses its network.
#[derive(Debug)]
pub struct Session(Carrier);

/// What carries a session. All but the websocket are in a box: there may be many on websockets, which should not pay for
/// what the others take.
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
    /// What the probe has come to. From then on nothing new is polled for.
    socket: Option<Websocket>,
}

/// What an upgrade brings.
enum Step {
    Packet(Packet),
    Done(Websocket),
}

impl Transport {
    /// Each of them once.
    pub const ALL: [Self; 3] = [Self::Websocket, Self::Polling, Self::Upgrade];

    /// In one word. For the first two it is Engine.IO's.
    pub fn name(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Polling => "polling",
            Self::Upgrade => "upgrade",
        }
    }
}

impl Session {
    /// Opens a session with the server at this host and port, without asking for the namespace. Beside the session it
    /// returns what the handshake told.
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

    /// What comes next. Dropping the future loses nothing.
    ///
    /// # Errors
    /// If the connection is lost, or the server says what it must not.
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

    /// Sends a packet. A session that is about to move sends it by polling.
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

    /// Leaves the namespace and ends the session, as a closed tab does; returns when the server knows.
    ///
    /// # Errors
    /// If the connection was lost before. That is as good.
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

    /// Dropping the future loses nothing.
    async fn next(&mut self) -> Result<Step, Error> {
        if self.socket.is_none() {
            tokio::select! {
                // The probe first: once it is answered no other poll should begin.
                biased;
                socket = &mut self.probe => self.socket = Some(socket?),
                packet = self.polling.next() => return packet.map(Step::Packet),
            }
        }
        // As socket.io-client does: the poll under way is heard out before the move. A server ends it with a packet that
        // wants nothing.
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
