//! Tests of an issuer's keys over time, with answers that are made up. tests/identity has real servers.

use super::*;
use crate::{
    fixtures::tokens::Signer,
    identity::jwk::{self, Publicity},
    telemetry::metrics::Metrics,
};

fn issuer() -> (Arc<Issuer>, TokenMetrics) {
    let url = JwksUrl::parse("https://id.example/jwks").unwrap();
    (Arc::new(Issuer::new(url)), Metrics::new("embedded").unwrap().tokens)
}

fn set_of(keys: usize) -> ReadSet {
    let keys: Vec<_> = (0..keys).map(|_| Signer::ed25519().jwk()).collect();
    let json = serde_json::json!({ "keys": keys }).to_string();
    jwk::read(json.as_bytes(), Publicity::Public).unwrap()
}

/// Goal: the last good set stands while the issuer is away, requests are repeated ever more slowly up to a bound, and after the
/// first good answer at the usual pace. Method: a good answer, many failures, and a good one.
#[tokio::test(start_paused = true)]
async fn the_last_good_set_stands() {
    let (issuer, metrics) = issuer();
    let record = |fetched| issuer.record(fetched, &metrics, Instant::now());
    assert_eq!(record(Ok(set_of(2))), REFRESH);
    tokio::time::advance(REFRESH).await;
    let pauses: Vec<_> = (0..20).map(|_| record(Err(FetchError::Timeout)).as_secs()).collect();
    assert_eq!(pauses[..7], [1, 2, 4, 8, 16, 30, 30]);
    assert!(pauses[5..].iter().all(|pause| *pause == 30), "{pauses:?}");
    assert_eq!(issuer.keys().keys().len(), 2);
    assert_eq!(issuer.age(Instant::now()), REFRESH);
    assert_eq!(record(Ok(set_of(1))), REFRESH);
    assert_eq!(issuer.keys().keys().len(), 1, "the newer set replaces all of the older one");
    assert_eq!(issuer.age(Instant::now()), Duration::ZERO);
    assert_eq!(record(Err(FetchError::TooLarge)).as_secs(), 1);
    let counted = |outcome: &str| metrics.jwks_fetches.with_label_values(&[outcome]).get();
    assert_eq!([counted("ok"), counted("timeout"), counted("too_large")], [2, 20, 1]);
}

/// Goal: made-up key ids cause at most one request in 30 s, and nobody waits for one that is not due. Method: ask before, at
/// and after the bound, several times each.
#[tokio::test(start_paused = true)]
async fn unknown_keys_cause_few_requests() {
    let (issuer, metrics) = issuer();
    assert!(issuer.ask(Instant::now()).is_some(), "the first request is under way from the start");
    issuer.record(Ok(set_of(1)), &metrics, Instant::now());
    for _ in 0..3 {
        assert!(issuer.ask(Instant::now()).is_none());
    }
    tokio::time::advance(UNKNOWN_KEY_GAP.saturating_sub(Duration::from_millis(1))).await;
    assert!(issuer.ask(Instant::now()).is_none());
    tokio::time::advance(Duration::from_millis(1)).await;
    let waiting: Vec<_> = (0..3).map(|_| issuer.ask(Instant::now()).unwrap()).collect();
    issuer.is_asked().await;
    assert!(waiting.iter().all(|ended| !ended.has_changed().unwrap()));
    issuer.record(Err(FetchError::Timeout), &metrics, Instant::now());
    assert!(waiting.iter().all(|ended| ended.has_changed().unwrap()));
    assert!(issuer.ask(Instant::now()).is_none(), "a failed request counts too");
}

/// Goal: a notification that the clock has overtaken causes no further request. Method: a request that begins by the clock
/// after it was asked for.
#[tokio::test(start_paused = true)]
async fn a_late_notification_is_ignored() {
    let (issuer, metrics) = issuer();
    issuer.record(Ok(set_of(1)), &metrics, Instant::now());
    tokio::time::advance(UNKNOWN_KEY_GAP).await;
    assert!(issuer.ask(Instant::now()).is_some());
    issuer.record(Ok(set_of(1)), &metrics, Instant::now());
    let asked = tokio::time::timeout(REFRESH, issuer.is_asked()).await;
    assert!(asked.is_err(), "nobody has asked since");
}
