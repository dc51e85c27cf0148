//! The counts that the servers show: `/api/count` and `/api/counts` of each.

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use headcount_client::{
    Error,
    connection::Connection,
    http::{self, Request},
};
use serde::Deserialize;
use tokio::time::timeout;
use url::form_urlencoded::Serializer;

use crate::{flags::Target, rooms::RoomPlan, verdict::ServerSays};

/// Time limit for an answer. A server answers from memory, so a slower one has failed.
const PATIENCE: Duration = Duration::from_secs(2);

/// The most rooms that servers are asked about at once: they answer no more.
pub(crate) const ROOMS_MAX: u32 = 100;
/// The longest path of a request in bytes. Servers accept heads of 16 KiB.
const PATH_BYTES_MAX: usize = 14 * 1024;

/// The count of the site or of a room.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
struct Said {
    count: u64,
    exact: bool,
}

#[derive(Debug, Deserialize)]
struct SaidOfRooms {
    counts: Vec<SaidOfRoom>,
}

#[derive(Debug, Deserialize)]
struct SaidOfRoom {
    room: String,
    count: u64,
    exact: bool,
}

/// Asks all servers at once.
pub(crate) async fn ask(targets: &[Target]) -> Vec<ServerSays> {
    join_all(targets.iter().map(ask_one)).await
}

/// Asks all servers at once for the counts of these rooms, or of as many of them as fit into a request.
pub(crate) async fn ask_for_rooms(
    targets: &[Target],
    plan: &RoomPlan,
    rooms: &[u32],
) -> BTreeMap<u32, Vec<ServerSays>> {
    let mut path = "/api/counts?".to_owned();
    let (mut asked, mut names) = (Vec::new(), Vec::new());
    for &room in rooms {
        let name = plan.name(room);
        let parameter: String = Serializer::new(String::new()).append_pair("room", &name).finish();
        if path.len() + parameter.len() > PATH_BYTES_MAX {
            break;
        }
        path.push_str(&parameter);
        path.push('&');
        asked.push(room);
        names.push(name);
    }
    let (path, names) = (&path, &names);
    let answers = join_all(targets.iter().map(async |target| {
        let counts = timeout(PATIENCE, fetch(target, path)).await.ok().and_then(Result::ok);
        let counts = counts.and_then(|body| counts_said(&body, names).ok());
        (target, counts)
    }));
    let mut said = BTreeMap::<u32, Vec<ServerSays>>::new();
    for (target, counts) in answers.await {
        for (place, &room) in asked.iter().enumerate() {
            let count = counts.as_ref().map(|counts| counts[place]);
            said.entry(room).or_default().push(ServerSays::of(target, count));
        }
    }
    said
}

async fn ask_one(target: &Target) -> ServerSays {
    let body = timeout(PATIENCE, fetch(target, "/api/count")).await.ok().and_then(Result::ok);
    ServerSays::of(target, body.and_then(|body| said(&body).ok()))
}

impl ServerSays {
    fn of(target: &Target, said: Option<Said>) -> Self {
        let url = target.to_string();
        Self { url, count: said.map(|said| said.count), exact: said.map(|said| said.exact) }
    }
}

async fn fetch(target: &Target, path: &str) -> Result<Vec<u8>, Error> {
    let authority = target.authority();
    let request = Request { authority, path, headers: "Connection: close\r\n" };
    let mut connection = Connection::open(authority).await?;
    connection.send(&request.get()).await?;
    let response = connection.receive(http::decode).await?;
    if response.status != 200 {
        return Err(Error::Status(response.status));
    }
    Ok(response.body)
}

fn said(body: &[u8]) -> Result<Said, Error> {
    serde_json::from_slice(body).map_err(|_| Error::unexpected("a count in other words", body))
}

/// The counts of these rooms, in the order of the request.
fn counts_said<Name: AsRef<str>>(body: &[u8], rooms: &[Name]) -> Result<Vec<Said>, Error> {
    let said: Option<SaidOfRooms> = serde_json::from_slice(body).ok();
    let counts = said
        .map(|said| said.counts)
        .filter(|counts| counts.iter().map(|said| &*said.room).eq(rooms.iter().map(AsRef::as_ref)));
    let counts = counts.ok_or_else(|| Error::unexpected("counts in other words", body))?;
    Ok(counts.into_iter().map(|SaidOfRoom { count, exact, .. }| Said { count, exact }).collect())
}

#[cfg(test)]
mod tests {
    use headcount_mutate::mutated;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Goal: a server's answer is parsed exactly, or not at all. Method: valid and damaged answers.
        #[test]
        fn answers_are_read_or_refused(
            count: u64,
            exact: bool,
            other in mutated(Just(br#"{"count":5,"exact":true,"age_ms":3}"#.to_vec())),
        ) {
            let good = format!(r#"{{"count":{count},"revision":1,"exact":{exact},"instance":null}}"#);
            prop_assert_eq!(said(good.as_bytes()), Ok(Said { count, exact }));
            if let Ok(Said { count, .. }) = said(&other) {
                let value: serde_json::Value = serde_json::from_slice(&other).unwrap();
                prop_assert_eq!(value["count"].as_u64(), Some(count));
            }
        }

        /// Goal: the counts of rooms are those of the rooms that were asked for, or none. Method: answers of the right and of the
        /// wrong length, of other rooms, and damaged ones.
        #[test]
        fn counts_of_rooms_are_read_or_refused(
            counts in proptest::collection::vec(any::<u64>(), 0..5),
            other in mutated(Just(br#"{"counts":[{"room":"/a","count":5,"exact":true}],"age_ms":3}"#.to_vec())),
        ) {
            let entries = counts.iter().map(|count| format!(r#"{{"room":"/a","count":{count},"exact":true}}"#));
            let body = format!(r#"{{"counts":[{}],"age_ms":1}}"#, entries.collect::<Vec<_>>().join(","));
            let read = counts_said(body.as_bytes(), &vec!["/a"; counts.len()]).unwrap();
            prop_assert_eq!(read.iter().map(|said| said.count).collect::<Vec<_>>(), counts.clone());
            prop_assert!(counts_said(body.as_bytes(), &vec!["/a"; counts.len() + 1]).is_err());
            prop_assert!(counts.is_empty() || counts_said(body.as_bytes(), &vec!["/b"; counts.len()]).is_err());
            if let Ok(read) = counts_said(&other, &["/a"]) {
                let value: serde_json::Value = serde_json::from_slice(&other).unwrap();
                prop_assert_eq!(value["counts"][0]["count"].as_u64(), Some(read[0].count));
            }
        }
    }
}
