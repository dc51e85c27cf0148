//! Issuers that publish their keys at an address: rotation, and everything that can go wrong.
//!
//! The clock is moved on where Headcount waits for minutes. Servers and waits of a second are real.

use std::{
    net::SocketAddr,
    sync::LazyLock,
    time::{Duration, SystemTime},
};

use headcount::{
    identity::{
        keys::KeySet,
        sign_in::{REFRESHED_MAX, SignIn},
        token::{Identity, TokenError},
    },
    telemetry::{
        labels::{JwksResult, TokenFault},
        metrics::Metrics,
    },
};
use headcount_testkit::{redis_server::free_port, waiting::eventually};
use rstest::rstest;
use serde_json::Value;
use tokio::time::{Instant, advance, pause, resume};
use tokio_util::sync::CancellationToken;

use crate::{
    server::{Answer, Server, response, set},
    setup::{node, output, sign_in, text},
};

/// The time between two requests, as documented.
const REFRESH: Duration = Duration::from_mins(10);
/// The least time between two requests because of unknown keys, as documented.
const GAP: Duration = Duration::from_secs(30);
/// The longest time of a request, as documented.
const FETCH: Duration = Duration::from_secs(5);

/// A key, and a token that it has signed and that names it.
struct Issued {
    jwk: Value,
    token: String,
}

/// Keys and tokens of jose, the same for all tests: of RS256, ES256 and `EdDSA`.
fn issued() -> [Issued; 3] {
    static PRINTED: LazyLock<Value> =
        LazyLock::new(|| serde_json::from_slice(&output(node().arg("issue.mjs"))).unwrap());
    let printed = &*PRINTED;
    [0, 1, 2].map(|number| {
        let jwk = printed["jwks"]["keys"][number].clone();
        let token = text(printed, &format!("/tokens/{}", jwk["alg"].as_str().unwrap())).to_owned();
        Issued { jwk, token }
    })
}

/// Signing in with the keys of an issuer, whose task runs.
struct Subject {
    sign_in: SignIn,
    metrics: Metrics,
}

impl Subject {
    fn start(url: &str) -> Self {
        let metrics = Metrics::new("embedded").unwrap();
        let sign_in = sign_in(KeySet::default(), Some(url));
        for task in sign_in.tasks(&metrics.tokens, &CancellationToken::new()) {
            tokio::spawn(task);
        }
        Self { sign_in, metrics }
    }

    fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        self.sign_in.verify(token, SystemTime::now())
    }

    /// Verifies as a handshake does: again after the keys were refreshed.
    async fn sign_in(&self, token: &str) -> Result<Identity, TokenError> {
        match self.verify(token) {
            Err(TokenError::UnknownKey) => {
                self.sign_in.refreshed().await;
                self.verify(token)
            }
            decided => decided,
        }
    }

    fn fetches(&self, result: JwksResult) -> u64 {
        self.metrics.tokens.jwks_fetches.with_label_values(&[result.label()]).get()
    }

    async fn fetched(&self, result: JwksResult, times: u64) {
        eventually("the request has ended", async || match self.fetches(result) {
            found if found >= times => Ok(()),
            found => Err(format!("{found} of {result:?}")),
        })
        .await;
    }
}

/// Moves the clock on. Waits that end by it have ended after it.
async fn pass(time: Duration) {
    pause();
    advance(time).await;
    resume();
}

/// Goal: tokens are accepted with an issuer's keys from the start on, also with a new key after 30 s, and no more with a key that
/// the issuer has withdrawn. Method: a server whose set changes; sign in as a handshake does.
#[tokio::test]
async fn keys_rotate() {
    let [old, new, never] = issued();
    let server = Server::start(set(&[&old.jwk])).await;
    let subject = Subject::start(&server.url("/keys?tenant=7"));
    assert!(subject.sign_in(&old.token).await.is_ok(), "the first handshake waits for the keys");
    assert_eq!(server.requests().len(), 1);
    let head = &server.requests()[0];
    assert!(head.starts_with("GET /keys?tenant=7 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("\r\nhost: 127.0.0.1:"), "{head}");

    server.answer(set(&[&old.jwk, &new.jwk]));
    assert_eq!(subject.sign_in(&new.token).await, Err(TokenError::UnknownKey));
    assert_eq!(server.requests().len(), 1, "no request in the first 30 s");
    pass(GAP).await;
    assert!(subject.sign_in(&new.token).await.is_ok());
    assert!(subject.verify(&old.token).is_ok());
    for _ in 0..3 {
        assert_eq!(subject.sign_in(&never.token).await, Err(TokenError::UnknownKey));
    }
    assert_eq!(server.requests().len(), 2, "made-up keys cause no requests");

    server.answer(set(&[&new.jwk]));
    pass(REFRESH).await;
    subject.fetched(JwksResult::Ok, 3).await;
    assert_eq!(subject.verify(&old.token), Err(TokenError::UnknownKey));
    assert!(subject.verify(&new.token).is_ok());
    subject.sign_in.record(&subject.metrics.tokens, Instant::now());
    assert_eq!(subject.metrics.tokens.jwks_keys.get(), 1);
    assert!(subject.metrics.tokens.jwks_age_seconds.get() < 60.0);
}

/// Goal: whatever an issuer answers, its last good keys stand, the outcome is counted, and good keys are taken again. Method: a
/// server that answers well, then wrongly, then well with another key.
#[rstest]
#[case::error(response("503 Service Unavailable", "", b"{\"keys\":[]}"), JwksResult::Status)]
#[case::not_found(response("404 Not Found", "", b""), JwksResult::Status)]
#[case::no_content(response("204 No Content", "", b""), JwksResult::Status)]
#[case::web_page(
    response("200 OK", "", b"<!doctype html><title>Log in</title>"),
    JwksResult::Malformed
)]
#[case::nothing(response("200 OK", "", b""), JwksResult::Malformed)]
#[case::no_keys(response("200 OK", "", b"{\"keys\":[]}"), JwksResult::Malformed)]
#[case::other_keys(
    response("200 OK", "", b"{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"},{}]}"),
    JwksResult::Malformed
)]
#[case::cut_off(Answer::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"keys\":".to_vec()), JwksResult::Unreachable)]
#[case::no_http(Answer::Bytes(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), JwksResult::Unreachable)]
#[case::closed(Answer::Bytes(Vec::new()), JwksResult::Unreachable)]
#[case::ten_megabytes(response("200 OK", "", &vec![b' '; 10 << 20]), JwksResult::TooLarge)]
#[case::ten_megabytes_in_chunks(chunks(10 << 20), JwksResult::TooLarge)]
#[case::endless_head(Answer::Bytes([&b"HTTP/1.1 200 OK\r\nX: "[..], &vec![b'x'; 1 << 20]].concat()), JwksResult::Unreachable)]
#[case::silence(Answer::Silence, JwksResult::Timeout)]
#[case::a_drip(Answer::Drip(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n".to_vec()), JwksResult::Timeout)]
#[tokio::test]
async fn the_last_good_keys_stand(#[case] wrong: Answer, #[case] result: JwksResult) {
    let [old, new, _] = issued();
    let server = Server::start(set(&[&old.jwk])).await;
    let subject = Subject::start(&server.url("/keys"));
    subject.fetched(JwksResult::Ok, 1).await;
    server.answer(wrong);
    pass(REFRESH).await;
    server.asked(2).await;
    if result == JwksResult::Timeout {
        pass(FETCH).await;
    }
    subject.fetched(result, 1).await;
    assert!(subject.verify(&old.token).is_ok());
    assert_eq!(subject.verify(&new.token), Err(TokenError::UnknownKey));

    server.answer(set(&[&new.jwk]));
    pass(GAP).await;
    subject.fetched(JwksResult::Ok, 2).await;
    assert!(subject.verify(&new.token).is_ok());
}

/// Goal: redirects are not followed: an address that the operator did not name gives no keys. Method: a server that redirects to
/// one with good keys, with each status.
#[tokio::test]
async fn redirects_are_not_followed() {
    let [good, ..] = issued();
    let target = Server::start(set(&[&good.jwk])).await;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "303 See Other",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let location = format!("Location: {}\r\n", target.url("/keys"));
        let server = Server::start(response(status, &location, b"")).await;
        let subject = Subject::start(&server.url("/keys"));
        subject.fetched(JwksResult::Status, 1).await;
        assert_eq!(subject.verify(&good.token), Err(TokenError::UnknownKey));
    }
    assert!(target.requests().is_empty());
}

/// Goal: no handshake waits longer than a second for an issuer that is slow, and none waits for one that has failed a short time
/// ago. Method: a silent server; many handshakes at once, then one after the request has failed.
#[tokio::test]
async fn handshakes_wait_a_second() {
    let [good, ..] = issued();
    let server = Server::start(Answer::Silence).await;
    let subject = Subject::start(&server.url("/keys"));
    let begun = Instant::now();
    let handshakes = (0..50).map(|_| subject.sign_in(&good.token));
    for outcome in futures_util::future::join_all(handshakes).await {
        assert_eq!(outcome, Err(TokenError::UnknownKey));
    }
    let waited = begun.elapsed();
    assert!(waited >= REFRESHED_MAX && waited < FETCH, "{waited:?}");
    assert_eq!(server.requests().len(), 1, "all wait for one request");
    pass(FETCH).await;
    subject.fetched(JwksResult::Timeout, 1).await;
    let begun = Instant::now();
    assert_eq!(subject.sign_in(&good.token).await, Err(TokenError::UnknownKey));
    assert!(begun.elapsed() < REFRESHED_MAX / 2, "{:?}", begun.elapsed());
}

/// Goal: an instance that starts before its issuer takes the keys as soon as the issuer is there. Method: a port at which nobody
/// listens until some requests have failed.
#[tokio::test]
async fn the_issuer_may_come_later() {
    let [good, ..] = issued();
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let subject = Subject::start(&format!("http://{address}/keys"));
    subject.fetched(JwksResult::Unreachable, 2).await;
    assert_eq!(subject.verify(&good.token), Err(TokenError::UnknownKey));
    let server = Server::start_at(address, set(&[&good.jwk])).await;
    subject.fetched(JwksResult::Ok, 1).await;
    assert!(subject.verify(&good.token).is_ok());
    assert_eq!(server.requests().len(), 1);
}

/// Goal: a key of an issuer's set that is weak, private or for something else is not used, and does not hinder the others. Method:
/// a set with such keys, and tokens that name them.
#[tokio::test]
async fn bad_keys_of_a_set_are_not_used() {
    let [rsa, ec, ed] = issued();
    let mut weak = rsa.jwk.clone();
    weak["n"] = weak["n"].as_str().unwrap()[..171].into();
    let mut private = ec.jwk.clone();
    private["d"] = "AAAA".into();
    let server = Server::start(set(&[&weak, &private, &ed.jwk])).await;
    let subject = Subject::start(&server.url("/keys"));
    subject.fetched(JwksResult::Ok, 1).await;
    assert!(subject.verify(&ed.token).is_ok());
    assert_eq!(subject.verify(&rsa.token), Err(TokenError::UnknownKey));
    assert_eq!(subject.verify(&ec.token), Err(TokenError::UnknownKey));
    let forged = format!("{}.e30.", ed.token.split('.').next().unwrap());
    assert_eq!(subject.verify(&forged), Err(TokenError::Invalid(TokenFault::Signature)));
}

fn chunks(bytes: usize) -> Answer {
    let mut body = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..bytes / 4096 {
        body.extend(b"1000\r\n");
        body.extend([b' '; 4096]);
        body.extend(b"\r\n");
    }
    Answer::Bytes(body)
}
