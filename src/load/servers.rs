//! What the servers say: `/api/count` of each.

use std::time::Duration;

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    fault::Fault,
    http::{self, Request},
    verdict::ServerSays,
    wire::Wire,
};
use crate::config::Target;

/// A server answers from memory; one that takes so long is as good as silent.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Deserialize, PartialEq, Eq)]
struct Said {
    count: u64,
    exact: bool,
}

/// Asks all of them at once.
pub(super) async fn ask(targets: &[Target]) -> Vec<ServerSays> {
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

async fn fetch(target: &Target) -> Result<Said, Fault> {
    let mut wire = Wire::open(target).await?;
    wire.send(&Request { target, path: "/api/count", extra: "Connection: close\r\n" }.get())
        .await?;
    let answer = wire.take(http::answer).await?;
    if answer.status != 200 {
        return Err(Fault::Status(answer.status));
    }
    said(&answer.body)
}

fn said(body: &[u8]) -> Result<Said, Fault> {
    serde_json::from_slice(body).map_err(|_| Fault::Strange("a count in other words"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures::mutate::mangled;

    proptest! {
        /// Goal: what a server says is read to the letter, or not at all. Method: good answers, whole and mangled.
        #[test]
        fn answers_are_read_or_refused(
            count: u64,
            exact: bool,
            other in mangled(Just(br#"{"count":5,"exact":true,"age_ms":3}"#.to_vec())),
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
