//! One visitor: it connects, receives counts, answers pings, and leaves in order when it is asked to.
//!
//! It runs in one task and has no buffers while it waits. Its last count is in its [`Slot`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use headcount_client::{Error, Event, Packet, Session, Transport, auth::Auth, packet::RoomNews};
use tokio::{
    sync::{Notify, Semaphore},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    failure::Failure,
    flags::Target,
    on_the_way::{Judge, PATIENCE},
    presences::Subject,
    report::whole_millis,
    rooms::RoomPlan,
    stats::Stats,
};

/// A newcomer that receives no count within this time counts as refused. The server's own limit for joining is 10 s,
/// and a rush may take longer to be answered.
const JOIN_WITHIN: Duration = Duration::from_secs(30);
/// How long a server may take to answer a visitor that leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);
/// A value that no count reaches.
const NO_COUNT: u64 = u64::MAX;

/// What a visitor's task shares with the swarm: its last counts, and the request to leave.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The number of the visitor.
    number: u64,
    /// The last count it received, or [`NO_COUNT`].
    last_count: AtomicU64,
    /// Its rooms, in the order of their numbers.
    rooms: Box<[RoomSlot]>,
    /// Whether it has received a count of the site and of each of its rooms.
    has_joined: AtomicBool,
    leave: Notify,
}

/// A visitor's place in a room.
#[derive(Debug)]
struct RoomSlot {
    room: u32,
    /// The last count of the room that the visitor received, or [`NO_COUNT`].
    last_count: AtomicU64,
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
    pub(crate) rooms: Option<Arc<RoomPlan>>,
    pub(crate) stats: Arc<Stats>,
    /// Judges every count, if the run has identities.
    pub(crate) judge: Option<Arc<Judge>>,
    /// One permit for every visitor that may need a second connection to leave.
    pub(crate) leaves: Arc<Semaphore>,
}

/// The first count of the site, or of a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FirstCount {
    Site,
    Room,
}

/// A session that has received its first counts.
struct Joined {
    session: Session,
    /// How long its server may send nothing.
    silence_max: Duration,
}

impl Slot {
    /// The slot of the visitor with this number, in these rooms.
    pub(crate) fn new(number: u64, rooms: &[u32]) -> Self {
        let rooms = rooms.iter().map(|&room| {
            let last_count = AtomicU64::new(NO_COUNT);
            RoomSlot { room, last_count }
        });
        Self {
            number,
            last_count: AtomicU64::new(NO_COUNT),
            rooms: rooms.collect(),
            has_joined: AtomicBool::new(false),
            leave: Notify::new(),
        }
    }

    /// The last count that the visitor received. `None` until it has received one of each of its rooms, too.
    pub(crate) fn last_count(&self) -> Option<u64> {
        let count = self.last_count.load(Ordering::Relaxed);
        self.has_joined.load(Ordering::Relaxed).then_some(count)
    }

    /// Whether the visitor has received its first counts.
    pub(crate) fn has_joined(&self) -> bool {
        self.has_joined.load(Ordering::Relaxed)
    }

    /// The rooms of a visitor that has joined, with the last count of each.
    pub(crate) fn room_counts(&self) -> impl Iterator<Item = (u32, u64)> {
        let has_joined = self.has_joined.load(Ordering::Relaxed);
        let rooms = if has_joined { &self.rooms[..] } else { &[] };
        rooms.iter().map(|slot| (slot.room, slot.last_count.load(Ordering::Relaxed)))
    }

    /// Whether every count has been received once.
    fn is_told(&self) -> bool {
        let mut counts = self.rooms.iter().map(|slot| &slot.last_count).chain([&self.last_count]);
        counts.all(|count| count.load(Ordering::Relaxed) != NO_COUNT)
    }

    /// Asks the visitor to leave.
    pub(crate) fn ask_to_leave(&self) {
        self.leave.notify_one();
    }
}

impl Visit {
    /// Runs a whole visit, from connecting to leaving. `auth`: what the visitor says of itself when it joins.
    pub(crate) async fn run(self, target: Target, auth: Auth, slot: Arc<Slot>) -> End {
        // In a box, so that the memory for joining is freed afterwards.
        let joining = Box::pin(timeout(JOIN_WITHIN, self.join(&target, &auth, &slot)));
        let joined = tokio::select! {
            joined = joining => joined,
            () = slot.leave.notified() => return End::Left,
        };
        drop((target, auth));
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

    async fn join(&self, target: &Target, auth: &Auth, slot: &Slot) -> Result<Joined, Failure> {
        let connect_at = Instant::now();
        let (mut session, handshake) = Session::open(target.authority(), self.transport).await?;
        let join_at = Instant::now();
        session.send_all(&self.connects(auth, slot)).await?;
        let mut site_at = None;
        while !slot.is_told() {
            let event = session.next().await?;
            // What comes late may be an estimate.
            let judge = self.judge.as_deref().filter(|_| join_at.elapsed() < PATIENCE);
            if let Some(told) = self.receive(&mut session, event, slot, judge).await? {
                match told {
                    FirstCount::Site => site_at = Some(Instant::now()),
                    FirstCount::Room => self.stats.room_joined(join_at.elapsed()),
                }
            }
        }
        let now = site_at.unwrap_or_else(Instant::now);
        slot.has_joined.store(true, Ordering::Relaxed);
        self.stats.joined(slot.number, now - connect_at, now - join_at);
        Ok(Joined { session, silence_max: handshake.silence_max })
    }

    /// The packets that join the site and the visitor's rooms.
    fn connects(&self, auth: &Auth, slot: &Slot) -> Vec<String> {
        let mut connects = vec![auth.connect()];
        if let Some(plan) = &self.rooms {
            connects.extend(slot.rooms.iter().map(|slot| auth.join(&plan.name(slot.room))));
        }
        connects
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
                let judge = self.judge.as_deref();
                if let Err(failure) = self.receive(session, event, slot, judge).await {
                    return failure;
                }
            }
        };
        tokio::select! {
            failure = listen => failure,
            () = last.is_over(silence_max) => Failure::Silent,
        }
    }

    /// Takes in an event. Returns which count it was, if it was the first one of its kind.
    async fn receive(
        &self,
        session: &mut Session,
        event: Event,
        slot: &Slot,
        judge: Option<&Judge>,
    ) -> Result<Option<FirstCount>, Failure> {
        let Event::Packet(packet) = event else {
            return Ok(None);
        };
        match packet {
            Packet::Count(users) => {
                let before = slot.last_count.swap(users, Ordering::Relaxed);
                self.stats.count_received();
                if let Some(judge) = judge {
                    judge.hear(Subject::Site, users, Instant::now());
                }
                return Ok((before == NO_COUNT).then_some(FirstCount::Site));
            }
            Packet::Room { room, news } => return self.receive_of_room(&room, news, slot, judge),
            Packet::Ping => {
                if let Some(answer) = packet.answer() {
                    session.send(answer).await?;
                }
            }
            Packet::Close => return Err(Error::Closed.into()),
            Packet::Disconnected => return Err(Failure::Disconnected),
            Packet::Refused(code) => return Err(Failure::Refused(code)),
            Packet::Open(_) | Packet::ProbeAnswer | Packet::Connected | Packet::Noop => {}
        }
        Ok(None)
    }

    fn receive_of_room(
        &self,
        room: &str,
        news: RoomNews,
        slot: &Slot,
        judge: Option<&Judge>,
    ) -> Result<Option<FirstCount>, Failure> {
        let users = match news {
            RoomNews::Count(users) => users,
            RoomNews::Joined => return Ok(None),
            RoomNews::Refused(code) => return Err(Failure::RoomRefused(code)),
        };
        let number = self.rooms.as_ref().and_then(|plan| plan.find(room));
        let place = number
            .and_then(|number| slot.rooms.binary_search_by_key(&number, |slot| slot.room).ok());
        let Some(place) = place else {
            let what = "a count of a room that was not joined";
            return Err(Error::unexpected(what, room.as_bytes()).into());
        };
        let before = slot.rooms[place].last_count.swap(users, Ordering::Relaxed);
        self.stats.count_received();
        if let Some(judge) = judge {
            judge.hear(Subject::Room(slot.rooms[place].room), users, Instant::now());
        }
        Ok((before == NO_COUNT).then_some(FirstCount::Room))
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
