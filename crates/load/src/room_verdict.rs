//! Judges all rooms of a run: how many are right, and which one is the worst. Pure.

use serde::Serialize;

use crate::verdict::Verdict;

/// The verdict on the rooms of a run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoomsVerdict {
    /// Rooms in which visitors of this program were connected, or of which the servers were asked.
    pub rooms: u64,
    /// Those of which all visitors and servers agreed.
    pub right: u64,
    /// Memberships of visitors in rooms: a visitor in two rooms has two.
    pub memberships: u64,
    /// Memberships whose last count was a different number.
    pub disagreeing: u64,
    /// The room in which most are wrong. `None` if none is.
    pub worst: Option<WorstRoom>,
}

/// The room in which most visitors and servers are wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorstRoom {
    /// Its name.
    pub room: String,
    /// Its verdict.
    #[serde(flatten)]
    pub verdict: Verdict,
}

impl RoomsVerdict {
    /// Sums up the verdicts on all rooms. `name` names a room.
    pub(crate) fn of(
        verdicts: impl Iterator<Item = (u32, Verdict)>,
        name: impl Fn(u32) -> String,
    ) -> Self {
        let mut sum = Self::default();
        let mut worst: Option<(u32, Verdict)> = None;
        for (room, verdict) in verdicts {
            sum.rooms += 1;
            sum.right += u64::from(verdict.is_right());
            sum.memberships += verdict.connections;
            sum.disagreeing += verdict.disagreeing;
            let wrongness = |verdict: &Verdict| (verdict.disagreeing, verdict.servers_disagreeing);
            let is_worse =
                worst.as_ref().is_none_or(|(_, other)| wrongness(&verdict) > wrongness(other));
            if !verdict.is_right() && is_worse {
                worst = Some((room, verdict));
            }
        }
        sum.worst = worst.map(|(room, verdict)| WorstRoom { room: name(room), verdict });
        sum
    }

    /// Whether all agree in every room.
    pub fn is_right(&self) -> bool {
        self.right == self.rooms
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Evidence, ServerSays};

    /// A room whose visitors were told these counts, while its server says this one.
    fn verdict(told: &[u64], said: u64) -> Verdict {
        let server = ServerSays { url: String::new(), count: Some(said), exact: Some(true) };
        let (last_counts, users) = (told.to_vec(), told.len() as u64);
        Verdict::of(Evidence { last_counts, users, servers: vec![server], alone: true })
    }

    /// Goal: the verdict counts right rooms and names the worst one. Method: right rooms, one in which one visitor is wrong, one in
    /// which two are, and one of which only the server is wrong.
    #[test]
    fn the_worst_room_is_named() {
        let verdicts = [
            verdict(&[3, 3, 3], 3),
            verdict(&[1, 2], 2),
            verdict(&[4, 4, 3, 3], 4),
            verdict(&[], 1),
            verdict(&[], 0),
        ];
        let verdicts = (0..).zip(verdicts);
        let rooms = RoomsVerdict::of(verdicts, |room| format!("/load/{room}"));
        assert_eq!((rooms.rooms, rooms.right, rooms.memberships, rooms.disagreeing), (5, 2, 9, 3));
        let worst = rooms.worst.clone().unwrap();
        assert_eq!((worst.room.as_str(), worst.verdict.count), ("/load/2", 4));
        assert!(!rooms.is_right());
        let json = serde_json::to_value(&rooms).unwrap();
        assert_eq!(json["worst"]["told_instead"]["3"], 2);
    }

    /// Goal: rooms that are all right have no worst one, and neither have no rooms. Method: both.
    #[test]
    fn nothing_is_worst() {
        let rooms = RoomsVerdict::of([(0, verdict(&[1], 1))].into_iter(), |_| String::new());
        assert!(rooms.is_right() && rooms.worst.is_none());
        assert!(RoomsVerdict::of([].into_iter(), |_| String::new()).is_right());
    }
}
