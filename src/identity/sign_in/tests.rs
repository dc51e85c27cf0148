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
