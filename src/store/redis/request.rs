//! Writes a report as the arguments of the script. `report/arguments.lua` lists them.

use deadpool_redis::redis::ScriptInvocation;

use super::reply::Asked;
use crate::{
    core::{
        pace::whole_millis,
        report::{Report, ReportKind, RoomReport, UserPresence},
    },
    store::Dataset,
};

/// Writes all arguments after the keys.
pub(super) fn write(
    call: &mut ScriptInvocation<'_>,
    report: &Report,
    channel: &str,
    dataset: &Dataset,
) {
    call.arg(report.incarnation.to_string())
        .arg(report.sequence.0)
        .arg(report.users)
        .arg(whole_millis(report.lease))
        .arg(report.seen.revision.0)
        .arg(report.seen.users)
        .arg(kind_word(report.kind))
        .arg(channel)
        .arg(dataset.database)
        .arg(report.about.as_ref().map(|about| about.to_json()).unwrap_or_default())
        .arg(report.seen.stamp.to_string())
        .arg(report.acknowledged.0)
        .arg(report.former.map(|former| former.to_string()).unwrap_or_default())
        .arg(u8::from(report.resending));
    for room in &report.rooms {
        write_room(call, room);
    }
}

fn write_room(call: &mut ScriptInvocation<'_>, room: &RoomReport) {
    call.arg(room.room.as_str());
    match room.connections {
        Some(connections) => call.arg(connections),
        None => call.arg(""),
    };
    call.arg(room.users.len());
    for user in &room.users {
        call.arg(user.user.as_str());
        match &user.presence {
            UserPresence::Gone => call.arg("-"),
            UserPresence::Here(None) => call.arg("+"),
            UserPresence::Here(Some(info)) => call.arg(format!("+{info}")),
            UserPresence::Still(info) => call.arg(format!("~{info}")),
        };
    }
}

/// What the reply to this report must speak of. A farewell takes all rooms away, and says nothing of any.
pub(super) fn asked(report: &Report) -> Option<Asked> {
    let is_asked = !report.rooms.is_empty() && report.kind != ReportKind::Farewell;
    is_asked.then(|| Asked {
        rooms: report.rooms.len(),
        users: report.rooms.iter().map(|room| room.users.len()).sum(),
    })
}

fn kind_word(kind: ReportKind) -> &'static str {
    match kind {
        ReportKind::Plain => "report",
        ReportKind::Farewell => "farewell",
        ReportKind::Audit => "audit",
    }
}
