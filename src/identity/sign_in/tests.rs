//! Tests of signing in with keys of files: which key is taken, and which tokens are refused for what.

use serde_json::{Value, json};

use super::*;
use crate::{
    core::room::IdentityKind,
    fixtures::tokens::{NOW, Signer, at, claims},
    identity::{algorithm::Algorithm, key_file},
};

/// Rules that accept every issuer and audience.
fn rules() -> TokenRules {
    TokenRules { algorithms: Algorithm::ALL.to_vec(), ..SignInSettings::default().rules }
}

/// Signs in with the keys of these, each under its id.
fn with_keys(rules: TokenRules, keys: &[(&Signer, Option<&str>)]) -> SignIn {
    let keys: Vec<Value> = keys.iter().map(|(signer, id)| with_id(signer.jwk(), *id)).collect();
    let keys = key_file::read(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    SignIn::new(SignInSettings { mode: SignInMode::Optional, rules, keys, issuers: Vec::new() })
}

fn with_id(mut jwk: Value, id: Option<&str>) -> Value {
    if let Some(id) = id {
        jwk["kid"] = id.into();
    }
    jwk
}

/// Goal: a token of each algorithm is accepted with its key, and says who the user is. Method: a token without anything
/// beside what is required.
#[test]
fn tokens_of_all_algorithms_are_accepted() {
    for signer in Signer::of_each_kind() {
        let sign_in = with_keys(rules(), &[(&signer, None)]);
        let identity = sign_in.verify(&signer.token(&claims()), at(NOW));
        let identity = identity.unwrap_or_else(|error| panic!("{}: {error}", signer.alg()));
        assert_eq!(identity.person.user.as_str(), "t:margaret");
        assert_eq!(identity.person.kind, IdentityKind::Token);
        assert_eq!((identity.person.info, identity.rooms), (None, None));
        assert_eq!(identity.expires_at, Some(at(NOW + 60)));
    }
}

/// A token with a key id.
fn named(signer: &Signer, id: &str) -> String {
    signer.sign(&json!({ "alg": signer.alg(), "kid": id }).to_string(), &claims().to_string())
}

fn label(verified: Result<Identity, TokenError>) -> &'static str {
    verified.map_or_else(TokenError::label, |_| "accepted")
}

/// Goal: while keys are exchanged, tokens of the old and of the new one are accepted. Method: two keys with ids, and two without.
#[test]
fn old_and_new_keys_stand_side_by_side() {
    let (old, new) = (Signer::p256(), Signer::p256());
    let by_id = with_keys(rules(), &[(&old, Some("old")), (&new, Some("new"))]);
    let by_trial = with_keys(rules(), &[(&old, None), (&new, None)]);
    for (signer, id) in [(&old, "old"), (&new, "new")] {
        assert_eq!(label(by_id.verify(&named(signer, id), at(NOW))), "accepted");
        assert_eq!(label(by_id.verify(&signer.token(&claims()), at(NOW))), "accepted");
        assert_eq!(label(by_trial.verify(&named(signer, id), at(NOW))), "accepted");
        assert_eq!(label(by_trial.verify(&signer.token(&claims()), at(NOW))), "accepted");
    }
    assert_eq!(label(by_id.verify(&named(&old, "new"), at(NOW))), "signature");
    let stranger = Signer::p256();
    assert_eq!(label(by_id.verify(&stranger.token(&claims()), at(NOW))), "signature");
    assert_eq!(label(by_trial.verify(&named(&stranger, "old"), at(NOW))), "signature");
}

/// Goal: a key id only chooses among the keys, whatever it says. Method: ids as forgers send them.
#[test]
fn key_ids_are_only_compared() {
    let signer = Signer::ed25519();
    let sign_in = with_keys(rules(), &[(&signer, Some("a"))]);
    for id in [
        "",
        "A",
        "a ",
        "../../dev/null",
        "/dev/null",
        "' OR 1=1 --",
        "http://127.0.0.1/",
        "a\u{0}",
        "*",
    ] {
        assert_eq!(label(sign_in.verify(&named(&signer, id), at(NOW))), "key", "{id:?}");
    }
    assert_eq!(label(sign_in.verify(&named(&signer, "a"), at(NOW))), "accepted");
}

/// Goal: no token has a public key used as a secret. Method: tokens of HS256 that are signed with the text of a public key and
/// name it, where HS256 is accepted too.
#[test]
fn algorithms_are_not_confused() {
    let (secret, public) = (Signer::secret(), Signer::rsa());
    let sign_in = with_keys(rules(), &[(&secret, Some("secret")), (&public, Some("public"))]);
    let forged = Signer::Secret(public.jwk()["n"].as_str().unwrap().into());
    assert_eq!(label(sign_in.verify(&named(&forged, "public"), at(NOW))), "algorithm");
    assert_eq!(label(sign_in.verify(&named(&forged, "secret"), at(NOW))), "signature");
    assert_eq!(label(sign_in.verify(&forged.token(&claims()), at(NOW))), "signature");
    assert_eq!(label(sign_in.verify(&named(&public, "secret"), at(NOW))), "algorithm");
    assert_eq!(label(sign_in.verify(&named(&secret, "public"), at(NOW))), "algorithm");
    let no_secret = with_keys(rules(), &[(&public, None)]);
    assert_eq!(label(no_secret.verify(&forged.token(&claims()), at(NOW))), "key");
}

/// Goal: a token cannot make an instance try many keys. Method: as many keys without an id as are tried, and one more.
#[test]
fn few_keys_are_tried() {
    let signers: Vec<_> = (0..=TRIED_MAX).map(|_| Signer::ed25519()).collect();
    let keys: Vec<_> = signers.iter().map(|signer| (signer, None)).collect();
    let last = &signers[TRIED_MAX - 1];
    let verify = |keys| with_keys(rules(), keys).verify(&last.token(&claims()), at(NOW));
    assert_eq!(label(verify(&keys[..TRIED_MAX])), "accepted");
    assert_eq!(label(verify(&keys)), "key");
}

/// Goal: a fault that is not the key's is told, whichever key is tried. Method: an expired token of the second of two keys.
#[test]
fn the_fault_of_the_right_key_is_told() {
    let (first, second) = (Signer::ed25519(), Signer::ed25519());
    let sign_in = with_keys(rules(), &[(&first, None), (&second, None)]);
    let expired = second.token(&json!({ "sub": "a", "exp": NOW - 60 }));
    assert_eq!(sign_in.verify(&expired, at(NOW)), Err(TokenError::Expired));
}

/// Goal: the log names the keys that are there, by what operators know of them, and holds none. Method: keys of two files, one of them
/// a secret, and an issuer with a key of an API in its address; then more keys than fit.
#[test]
fn keys_are_named() {
    let of = |jwk: Value, file: &str| {
        let set = key_file::read(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
        set.keys()[0].clone().of_file(&Arc::from(file))
    };
    let public = of(with_id(Signer::p256().jwk(), Some("a\u{1b}[2J")), "/etc/jwt.json");
    let secret = of(Signer::secret().jwk(), "/etc/jwt secret");
    let issuers = vec![JwksUrl::parse("https://id.example/jwks?apikey=sesame").unwrap()];
    let keys = KeySet::new(vec![public.clone(), secret]);
    let settings = SignInSettings { keys, issuers, ..SignInSettings::default() };
    let expected = "ES256 kid=\"a\\u{1b}[2J\" of \"/etc/jwt.json\", HS256 of \"/etc/jwt secret\", those of https://id.example/jwks";
    assert_eq!(settings.named_keys(), expected);
    let keys = KeySet::new(vec![public; NAMED_MAX + 2]);
    let many = SignInSettings { keys, ..SignInSettings::default() }.named_keys();
    assert!(many.ends_with(", 2 more") && many.matches("ES256").count() == NAMED_MAX, "{many}");
}

/// Goal: every reason has its series before the first token is refused. Method: the labels of all errors, in new metrics.
#[test]
fn every_reason_is_a_series() {
    let metrics = crate::telemetry::metrics::Metrics::new("embedded").unwrap();
    let page = metrics.render().unwrap();
    let faults = TokenFault::ALL.iter().map(|fault| TokenError::Invalid(*fault));
    for error in faults.chain([TokenError::Expired, TokenError::UnknownKey]) {
        let line = format!("headcount_tokens_refused_total{{reason=\"{}\"}} 0", error.label());
        assert!(page.contains(&line), "{line} in {page}");
    }
}

/// Goal: what is off knows no keys and asks nobody. Method: settings with an issuer, and no mode.
#[tokio::test]
async fn what_is_off_does_nothing() {
    let issuers = vec![JwksUrl::parse("https://id.example/jwks").unwrap()];
    let off = SignIn::new(SignInSettings { issuers, ..SignInSettings::default() });
    assert_eq!(off.mode(), SignInMode::Off);
    let metrics = crate::telemetry::metrics::Metrics::new("embedded").unwrap();
    assert!(off.tasks(&metrics.tokens, &CancellationToken::new()).is_empty());
    assert_eq!(label(off.verify(&Signer::p256().token(&claims()), at(NOW))), "algorithm");
    off.refreshed().await;
}
