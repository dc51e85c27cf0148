//! What the servers say: `/api/count` of each.

use std::time::Duration;

use futures_util::future::join_all;
use headcount_client::{
    Error,
    connection::Connection,
    http::{self, Request},
};
use serde::Deserialize;
use tokio::time::timeout;

use crate::{flags::Target, verdict::ServerSays};

/// A server answers from memory; one that takes so long is as good as silent.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Said {
    count: u64,
    exact: bool,
}

/// Asks all of them at once.
pub(crate) async fn ask(targets: &[Target]) -> Vec<ServerSays> {
    join_all(targets.iter().map(ask_one)).await
}

async fn ask_one(target: &Target) -> ServerSays {
    let said = timeout(PATIENCE, fetch(target)).await.ok().and_then(Result::ok);
    let url = target.to_string();
    match said {
        Some(Said { count, exact }) => ServerSays { url, count: Some(count), exact: Some(exact) },
        None => ServerSays { url, count: None, exact: None },
    }
}

async fn fetch(target: &Target) -> Result<Said, Error> {
    let authority = target.authority();
    let request = Request { authority, path: "/api/count", headers: "Connection: close\r\n" };
    let mut connection = Connection::open(authority).await?;
    connection.send(&request.get()).await?;
    let response = connection.receive(http::decode).await?;
    if response.status != 200 {
        return Err(Error::Status(response.status));
    }
    said(&response.body)
}

fn said(body: &[u8]) -> Result<Said, Error> {
    serde_json::from_slice(body).map_err(|_| Error::unexpected("a count in other words", body))
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
    }
}
