//! One visitor: it connects, is told counts, answers pings, and says good-bye when asked to.
//!
//! It runs in one task and holds no buffers while it waits. What it is told goes to its [`Seat`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use super::{
    fault::Fault,
    packet::{CONNECT, Opening, PONG, Packet},
    polling::Polling,
    tally::Tally,
    websocket::Websocket,
};
use crate::{
    config::{Target, Transport},
    core::pace::whole_millis,
};

/// A newcomer that is told no count for so long counts as refused. The server's own limit for joining is 10 s;
/// a rush may take longer than that to be answered.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to answer a good-bye.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// No count is so high.
const NO_COUNT: u64 = u64::MAX;

/// One visitor's place, shared with whoever asks it to leave and looks at what it was told.
#[derive(Debug)]
pub(super) struct Seat {
    /// The last count it was told, or [`NO_COUNT`].
    told: AtomicU64,
    leave: Notify,
}

/// How a visit ended.
#[derive(Debug)]
pub(super) enum End {
    /// It left because it was asked to.
    Left,
    /// It never was told a count.
    Refused(Fault),
    /// It was told counts, and then it lost its connection.
    Lost(Fault),
}

/// What all visitors share.
#[derive(Clone, Debug)]
pub(super) struct Visit {
    pub(super) transport: Transport,
    pub(super) tally: Arc<Tally>,
    /// Good-byes that need a connection of their own.
    pub(super) good_byes: Arc<Semaphore>,
}

/// A session, whatever carries it.
enum Session {
    Websocket(Websocket),
    /// In a box: it is the larger one by far.
    Polling(Box<Polling>),
}

/// A session that has been told its first count, which is how long its server may be silent.
struct Joined {
    session: Session,
    silence_max: Duration,
}

impl Seat {
    pub(super) fn new() -> Self {
        Self { told: AtomicU64::new(NO_COUNT), leave: Notify::new() }
    }

    /// The last count it was told.
    pub(super) fn told(&self) -> Option<u64> {
        let told = self.told.load(Ordering::Relaxed);
        (told != NO_COUNT).then_some(told)
    }

    /// Asks the visitor to leave.
    pub(super) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }
}

impl Visit {
    /// From the connect to the good-bye.
    pub(super) async fn make(self, target: Target, seat: Arc<Seat>) -> End {
        // In a box, so that what only joining needs is given back.
        let joining = Box::pin(timeout(JOIN_WITHIN, self.join(&target, &seat)));
        let joined = tokio::select! {
            joined = joining => joined,
            () = seat.leave.notified() => return End::Left,
        };
        drop(target);
        let Joined { mut session, silence_max } = match joined {
            Ok(Ok(joined)) => joined,
            Ok(Err(fault)) => return End::Refused(fault),
            Err(_) => return End::Refused(Fault::Late),
        };
        let stay = self.stay(&mut session, silence_max, &seat);
        tokio::select! {
            fault = stay => return End::Lost(fault),
            () = seat.leave.notified() => {}
        }
        Box::pin(self.leave(&mut session)).await;
        End::Left
    }

    async fn join(&self, target: &Target, seat: &Seat) -> Result<Joined, Fault> {
        let connect_at = Instant::now();
        let (mut session, opening) = Session::open(target, self.transport).await?;
        let join_at = Instant::now();
        session.send(CONNECT).await?;
        while seat.told().is_none() {
            let packet = session.next().await?;
            self.hear(&mut session, packet, seat).await?;
        }
        let now = Instant::now();
        self.tally.joined(now - connect_at, now - join_at);
        Ok(Joined { session, silence_max: opening.silence_max })
    }

    /// Until the connection is lost.
    async fn stay(&self, session: &mut Session, silence_max: Duration, seat: &Seat) -> Fault {
        let heard = LastHeard::now();
        let listen = async {
            loop {
                let packet = match session.next().await {
                    Ok(packet) => packet,
                    Err(fault) => return fault,
                };
                heard.note();
                if let Err(fault) = self.hear(session, packet, seat).await {
                    return fault;
                }
            }
        };
        tokio::select! {
            fault = listen => fault,
            () = heard.is_over(silence_max) => Fault::Silent,
        }
    }

    async fn hear(&self, session: &mut Session, packet: Packet, seat: &Seat) -> Result<(), Fault> {
        match packet {
            Packet::Count(users) => {
                seat.told.store(users, Ordering::Relaxed);
                self.tally.told();
            }
            Packet::Ping => session.send(PONG).await?,
            Packet::Close => return Err(Fault::Closed),
            Packet::Left => return Err(Fault::Disconnected),
            Packet::Open(_) | Packet::Joined | Packet::Noop => {}
        }
        Ok(())
    }

    async fn leave(&self, session: &mut Session) {
        let good_bye = async {
            // Nobody ever closes it.
            let _permit = match session {
                Session::Polling(_) => self.good_byes.acquire().await.ok(),
                Session::Websocket(_) => None,
            };
            session.leave().await
        };
        // Failing is as good: then the connection was lost at the same moment, or the server is gone.
        let _ = timeout(LEAVE_WITHIN, good_bye).await;
    }
}

impl Session {
    async fn open(target: &Target, transport: Transport) -> Result<(Self, Opening), Fault> {
        Ok(match transport {
            Transport::Websocket => {
                let (socket, opening) = Websocket::open(target).await?;
                (Self::Websocket(socket), opening)
            }
            Transport::Polling => {
                let (polling, opening) = Polling::open(target).await?;
                (Self::Polling(Box::new(polling)), opening)
            }
        })
    }

    async fn next(&mut self) -> Result<Packet, Fault> {
        match self {
            Self::Websocket(socket) => socket.next().await,
            // In a box each, so that visitors on websockets do not pay for what polling takes.
            Self::Polling(polling) => Box::pin(polling.next()).await,
        }
    }

    async fn send(&mut self, packet: &str) -> Result<(), Fault> {
        match self {
            Self::Websocket(socket) => socket.send(packet).await,
            Self::Polling(polling) => Box::pin(polling.send(packet)).await,
        }
    }

    async fn leave(&mut self) -> Result<(), Fault> {
        match self {
            Self::Websocket(socket) => socket.leave().await,
            Self::Polling(polling) => polling.leave().await,
        }
    }
}

/// When something came last. Noting it is cheaper than moving a timer with every count.
struct LastHeard {
    start: Instant,
    /// Milliseconds after the start.
    last_ms: AtomicU64,
}

impl LastHeard {
    fn now() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn note(&self) {
        let passed = whole_millis(self.start.elapsed());
        self.last_ms.store(passed, Ordering::Relaxed);
    }

    /// Waits until nothing has come for so long.
    async fn is_over(&self, silence_max: Duration) {
        loop {
            let last = self.start + Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
            let over_at = last + silence_max;
            if Instant::now() >= over_at {
                return;
            }
            sleep_until(over_at).await;
        }
    }
}

#[cfg(test)]
#[path = "visitor/tests.rs"]
mod tests;
