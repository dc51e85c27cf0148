//! One visitor: it connects, receives counts, answers pings, and leaves in order when it is asked to.
//!
//! It runs in one task and has no buffers while it waits. Its last count is in its [`Slot`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use headcount_client::{Error, Event, Packet, Session, Transport, packet::CONNECT};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use crate::{failure::Failure, flags::Target, report::whole_millis, stats::Stats};

/// A newcomer that receives no count within this time counts as refused. The server's own limit for joining is 10 s,
/// and a rush may take longer to be answered.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to answer a visitor that leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// A value that no count reaches.
const NO_COUNT: u64 = u64::MAX;

/// What a visitor's task shares with the swarm: its last count, and the request to leave.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The last count it received, or [`NO_COUNT`].
    last_count: AtomicU64,
    leave: Notify,
}

/// How a visit ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The visitor left because it was asked to.
    Left,
    /// The visitor never received a count.
    Refused(Failure),
    /// The visitor received counts, and then lost its connection.
    Lost(Failure),
}

/// What all visitors share.
#[derive(Clone, Debug)]
pub(crate) struct Visit {
    pub(crate) transport: Transport,
    pub(crate) stats: Arc<Stats>,
    /// One permit for every visitor that may need a second connection to leave.
    pub(crate) leaves: Arc<Semaphore>,
}

/// A session that has received its first count.
struct Joined {
    session: Session,
    /// How long its server may send nothing.
    silence_max: Duration,
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self { last_count: AtomicU64::new(NO_COUNT), leave: Notify::new() }
    }

    /// The last count that the visitor received.
    pub(crate) fn last_count(&self) -> Option<u64> {
        let count = self.last_count.load(Ordering::Relaxed);
        (count != NO_COUNT).then_some(count)
    }

    /// Asks the visitor to leave.
    pub(crate) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }
}

impl Visit {
    /// Runs a whole visit, from connecting to leaving.
    pub(crate) async fn run(self, target: Target, slot: Arc<Slot>) -> End {
        // In a box, so that the memory for joining is freed afterwards.
        let joining = Box::pin(timeout(JOIN_WITHIN, self.join(&target, &slot)));
        let joined = tokio::select! {
            joined = joining => joined,
            () = slot.leave.notified() => return End::Left,
        };
        drop(target);
        let Joined { mut session, silence_max } = match joined {
            Ok(Ok(joined)) => joined,
            Ok(Err(failure)) => return End::Refused(failure),
            Err(_) => return End::Refused(Failure::Late),
        };
        let stay = self.stay(&mut session, silence_max, &slot);
        tokio::select! {
            failure = stay => return End::Lost(failure),
            () = slot.leave.notified() => {}
        }
        Box::pin(self.leave(&mut session)).await;
        End::Left
    }

    async fn join(&self, target: &Target, slot: &Slot) -> Result<Joined, Failure> {
        let connect_at = Instant::now();
        let (mut session, handshake) = Session::open(target.authority(), self.transport).await?;
        let join_at = Instant::now();
        session.send(CONNECT).await?;
        while slot.last_count().is_none() {
            let event = session.next().await?;
            self.receive(&mut session, event, slot).await?;
        }
        let now = Instant::now();
        self.stats.joined(now - connect_at, now - join_at);
        Ok(Joined { session, silence_max: handshake.silence_max })
    }

    /// Receives counts until the connection is lost, and returns the reason.
    async fn stay(&self, session: &mut Session, silence_max: Duration, slot: &Slot) -> Failure {
        let last = LastReceived::now();
        let listen = async {
            loop {
                let event = match session.next().await {
                    Ok(event) => event,
                    Err(error) => return error.into(),
                };
                last.note();
                if let Err(failure) = self.receive(session, event, slot).await {
                    return failure;
                }
            }
        };
        tokio::select! {
            failure = listen => failure,
            () = last.is_over(silence_max) => Failure::Silent,
        }
    }

    async fn receive(
        &self,
        session: &mut Session,
        event: Event,
        slot: &Slot,
    ) -> Result<(), Failure> {
        let Event::Packet(packet) = event else {
            return Ok(());
        };
        match packet {
            Packet::Count(users) => {
                slot.last_count.store(users, Ordering::Relaxed);
                self.stats.count_received();
            }
            Packet::Ping => {
                if let Some(answer) = packet.answer() {
                    session.send(answer).await?;
                }
            }
            Packet::Close => return Err(Error::Closed.into()),
            Packet::Disconnected => return Err(Failure::Disconnected),
            Packet::Open(_)
            | Packet::ProbeAnswer
            | Packet::Connected
            | Packet::Noop
            | Packet::Room { .. } => {}
        }
        Ok(())
    }

    async fn leave(&self, session: &mut Session) {
        let leave = async {
            // The semaphore is never closed.
            let _permit = match self.transport {
                Transport::Polling | Transport::Upgrade => self.leaves.acquire().await.ok(),
                Transport::Websocket => None,
            };
            session.leave().await
        };
        // A failure is acceptable: the connection was lost at the same moment, or the server is gone.
        let _ = timeout(LEAVE_WITHIN, leave).await;
    }
}

/// The time of the last message. Storing it is cheaper than resetting a timer with every count.
struct LastReceived {
    start: Instant,
    /// Milliseconds since the start.
    last_ms: AtomicU64,
}

impl LastReceived {
    fn now() -> Self {
        Self { start: Instant::now(), last_ms: AtomicU64::new(0) }
    }

    fn note(&self) {
        let passed = whole_millis(self.start.elapsed());
        self.last_ms.store(passed, Ordering::Relaxed);
    }

    /// Waits until nothing has arrived for this long.
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
