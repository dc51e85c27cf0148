//! Reports as arguments of the script, and its replies and messages as the product's types.

use deadpool_redis::redis::{Value, from_redis_value};
use headcount::{
    core::{
        count::{Count, Revision, Sequence, Stamp},
        people::{Listed, People},
        report::{Outcome, Reply, Report, ReportKind, RoomsReply, UserPresence},
        room::{RoomName, UserId},
    },
    store::{Announcement, RoomsPage},
};
use serde_json::Value as Json;

pub(crate) const CHANNEL: &str = "user count";

/// The arguments of a report.
pub(crate) fn arguments(report: &Report) -> Vec<String> {
    let kind = match report.kind {
        ReportKind::Plain => "report",
        ReportKind::Farewell => "farewell",
        ReportKind::Audit => "audit",
    };
    let mut list = vec![
        report.incarnation.to_string(),
        report.sequence.0.to_string(),
        report.users.to_string(),
        report.lease.as_millis().to_string(),
        report.seen.revision.0.to_string(),
        report.seen.users.to_string(),
        kind.to_owned(),
        CHANNEL.to_owned(),
        "0".to_owned(),
        report.about.as_ref().map(|about| about.to_json()).unwrap_or_default(),
        report.seen.stamp.to_string(),
        report.acknowledged.0.to_string(),
        report.former.map(|former| former.to_string()).unwrap_or_default(),
        u8::from(report.resending).to_string(),
    ];
    for room in &report.rooms {
        list.push(room.room.as_str().to_owned());
        list.push(room.connections.map(|number| number.to_string()).unwrap_or_default());
        list.push(room.users.len().to_string());
        for user in &room.users {
            list.push(user.user.as_str().to_owned());
            list.push(match &user.presence {
                UserPresence::Gone => "-".to_owned(),
                UserPresence::Here(info) => format!("+{}", info.as_deref().unwrap_or_default()),
                UserPresence::Still(info) => format!("~{info}"),
            });
        }
    }
    list
}

/// The reply to a report.
pub(crate) fn reply(value: Value) -> Reply {
    let Value::Array(fields) = value else { panic!("replied {value:?}") };
    let text = |index: usize| from_redis_value::<String>(fields[index].clone()).unwrap();
    let number = |index: usize| from_redis_value::<u64>(fields[index].clone()).unwrap();
    let small = |index: usize| u32::try_from(number(index)).unwrap();
    let list = |index: usize| from_redis_value::<Vec<u64>>(fields[index].clone()).unwrap();
    Reply {
        outcome: match text(0).as_str() {
            "OK" => Outcome::Applied,
            "STALE" => Outcome::Stale,
            "RESEND" => Outcome::Resend,
            other => panic!("the outcome is {other:?}"),
        },
        count: Count {
            users: number(1),
            revision: Revision(number(2)),
            recovering: number(6) == 1,
            stamp: Stamp::parse(&text(10)).unwrap(),
        },
        announced: Revision(number(3)),
        instances: small(4),
        stored_sequence: Sequence(number(5)),
        reaped: small(7),
        repaired: small(8),
        crashed: small(9),
        unannounced: number(11) == 1,
        dead: small(12),
        paged: Revision(number(13)),
        rooms: (fields.len() > 14).then(|| RoomsReply {
            rooms_held: number(14),
            users_held: number(15),
            counts: list(16),
            elsewhere: list(17).into_iter().map(|bit| bit == 1).collect(),
        }),
    }
}

/// The answer to the question who is in a room, which has few users: it comes in one part.
pub(crate) fn people(value: Value) -> Result<People, String> {
    type Answer = (u64, u64, u64, Vec<(String, String, u64)>, String);
    let answer = from_redis_value::<Answer>(value).map_err(|why| why.to_string());
    let (more, revision, recovering, users, next) = answer?;
    assert_eq!(next, "0", "there are further parts");
    let listed = |(id, info, is_elsewhere): (String, String, u64)| Listed {
        user: UserId::parse(&id).unwrap(),
        info: (!info.is_empty()).then(|| info.into()),
        is_elsewhere: is_elsewhere == 1,
    };
    let users = users.into_iter().map(listed).collect();
    let (revision, recovering) = (Revision(revision), recovering == 1);
    Ok(People { users, more, revision, recovering, further_parts: 0 })
}

/// A message of one of the channels.
pub(crate) fn message(channel: &str, text: &str) -> Result<Announcement, String> {
    if channel == CHANNEL {
        let count = serde_json::from_str(text).map_err(|why| format!("{why}: {text}"))?;
        return Ok(Announcement::Own(count));
    }
    let page: Json = serde_json::from_str(text).map_err(|why| format!("{why}: {text}"))?;
    let revision = |field: &str| page[field].as_u64().map(Revision);
    let whole = || {
        let rooms = page["rooms"].as_object()?;
        let count =
            |(name, count): (&String, &Json)| Some((RoomName::parse(name).ok()?, count.as_u64()?));
        Some(RoomsPage {
            revision: revision("revision")?,
            since: revision("since")?,
            stamp: Stamp::parse(page["stamp"].as_str()?)?,
            counts: rooms.iter().map(count).collect::<Option<_>>()?,
        })
    };
    whole().map(Announcement::Rooms).ok_or_else(|| format!("a page is {text}"))
}
