//! The store as one instance reaches it: over a network that loses, delays and cuts.

use std::{fmt, time::Duration};

use futures_util::{StreamExt, stream};
use headcount::{
    core::{
        people::People,
        report::{Reply, Report, Roster},
        room::RoomName,
    },
    store::{Announcements, RoomsQuery, Store, StoreError, StoreFuture, people::PeopleQuery},
};
use tokio::{sync::mpsc::unbounded_channel, time::sleep};

use super::{
    faulty::Fault,
    world::{Shared, lock},
};

/// How long a command may take before it counts as failed.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The store, as the instance `who` reaches it.
pub(crate) struct Link {
    pub(crate) world: Shared,
    pub(crate) who: usize,
    pub(crate) fault: Fault,
}

/// What happens to a report.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Refused,
    Lost,
    ReplyLost,
    Late(u64),
    Answered { after: u64 },
}

impl Link {
    fn fate(&self) -> Fate {
        let mut world = lock(&self.world);
        if world.is_away || world.cut.contains(&self.who) {
            return Fate::Refused;
        }
        let (lost, late) = (world.lost, world.late);
        if world.chance.percent(lost) {
            let late = world.chance.between(5, 1500);
            return world.chance.pick(&[Fate::Lost, Fate::ReplyLost, Fate::Late(late)]);
        }
        let after = if world.chance.percent(late) { world.chance.between(1, 900) } else { 1 };
        Fate::Answered { after }
    }

    fn read(&self, query: &PeopleQuery) -> Result<People, StoreError> {
        let mut world = lock(&self.world);
        if world.is_away || world.cut.contains(&self.who) {
            return Err(unreachable());
        }
        world.people(query).ok_or_else(unreachable)
    }

    fn run(&self, report: &Report) -> Result<Reply, StoreError> {
        let mut world = lock(&self.world);
        if world.is_away || world.cut.contains(&self.who) {
            return Err(unreachable());
        }
        let reply = world.run(report).ok_or_else(unreachable)?;
        Ok(self.fault.falsify_reply(reply))
    }
}

fn unreachable() -> StoreError {
    StoreError::Unreachable("away".into())
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("who", &self.who).finish_non_exhaustive()
    }
}

impl Store for Link {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        let report = self.fault.falsify_report(report);
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            match self.fate() {
                Fate::Refused => Err(unreachable()),
                Fate::Lost => {
                    sleep(TIMEOUT).await;
                    Err(StoreError::Timeout(TIMEOUT))
                }
                Fate::ReplyLost => {
                    let _ = self.run(&report);
                    sleep(TIMEOUT).await;
                    Err(StoreError::Timeout(TIMEOUT))
                }
                Fate::Late(after) => {
                    let late = Self { world: self.world.clone(), who: self.who, fault: self.fault };
                    tokio::spawn(async move {
                        sleep(Duration::from_millis(after)).await;
                        let _ = late.run(&report);
                    });
                    sleep(TIMEOUT).await;
                    Err(StoreError::Timeout(TIMEOUT))
                }
                Fate::Answered { after } => {
                    let reply = self.run(&report)?;
                    sleep(Duration::from_millis(after)).await;
                    Ok(reply)
                }
            }
        })
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        Box::pin(async move {
            let (sender, receiver) = unbounded_channel();
            let mut world = lock(&self.world);
            if world.is_away || world.cut.contains(&self.who) {
                return Err(unreachable());
            }
            world.listeners.push((self.who, sender));
            let delays = world.chance.clone();
            drop(world);
            let messages = stream::unfold((receiver, delays), |(mut receiver, mut delays)| async {
                let message = receiver.recv().await?;
                sleep(Duration::from_millis(delays.between(0, 5))).await;
                Some((Ok(message), (receiver, delays)))
            });
            Ok(messages.boxed())
        })
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        Box::pin(async { Ok(Roster::default()) })
    }

    fn rooms(&self, _: RoomsQuery) -> StoreFuture<'_, Vec<(RoomName, u64)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn people(&self, query: PeopleQuery) -> StoreFuture<'_, People> {
        Box::pin(async move {
            sleep(Duration::from_millis(1)).await;
            match self.fate() {
                Fate::Refused => Err(unreachable()),
                Fate::Lost | Fate::ReplyLost | Fate::Late(_) => {
                    sleep(TIMEOUT).await;
                    Err(StoreError::Timeout(TIMEOUT))
                }
                Fate::Answered { after } => {
                    let people = self.read(&query)?;
                    sleep(Duration::from_millis(after)).await;
                    Ok(people)
                }
            }
        })
    }

    fn kind(&self) -> &'static str {
        "history"
    }
}
