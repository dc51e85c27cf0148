//! Times of what runs for a client that says who it is: verifying a token, and hashing a visitor key. Beside each kind of token
//! stands its signature alone, verified by ring, which is what no code around it can make faster.

use std::{
    hint::black_box,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use criterion::{Criterion, criterion_group, criterion_main};
use headcount::identity::{
    algorithm::Algorithm,
    key_file,
    sign_in::{SignIn, SignInMode, SignInSettings},
    token::TokenRules,
    visitor::VisitorKeys,
};
use ring::{
    hmac,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, KeyPair, RSA_PKCS1_2048_8192_SHA256,
        RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use serde_json::json;
use tokens::Signer;

#[path = "../../../src/fixtures/tokens.rs"]
#[allow(clippy::unwrap_used, dead_code, reason = "it is written for the product's tests")]
mod tokens;

criterion_group!(identity, verified_tokens, visitor);
criterion_main!(identity);

fn verified_tokens(criterion: &mut Criterion) {
    for signer in Signer::of_each_kind() {
        let (alg, token) = (signer.alg(), token(&signer));
        let (message, signature) = token.rsplit_once('.').expect("it has three parts");
        let signature = URL_SAFE_NO_PAD.decode(signature).expect("it was encoded so");
        let verify = verifier(&signer);
        assert!(verify(message.as_bytes(), &signature), "{alg}");
        criterion.bench_function(&format!("{alg}: the signature alone, by ring"), |bencher| {
            bencher.iter(|| verify(black_box(message.as_bytes()), black_box(&signature)));
        });
        let (sign_in, now) = (sign_in(&signer), SystemTime::now());
        criterion.bench_function(&format!("{alg}: verify a token"), |bencher| {
            bencher.iter(|| sign_in.verify(black_box(&token), now).expect("it is valid"));
        });
    }
}

fn visitor(criterion: &mut Criterion) {
    let keys = VisitorKeys::of_count("currentUsers");
    criterion.bench_function("visitor key: hash it", |bencher| {
        bencher.iter(|| keys.person(black_box("k3J-_bWqvPz0aXyTk3J-_b")).expect("it is a key"));
    });
}

type Verify = Box<dyn Fn(&[u8], &[u8]) -> bool>;

/// Verifies signatures with a key that is ready.
fn verifier(signer: &Signer) -> Verify {
    match signer {
        Signer::Secret(secret) => {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            Box::new(move |message, tag| hmac::verify(&key, message, tag).is_ok())
        }
        Signer::Rsa(pair) => {
            let key = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public());
            Box::new(move |message, signature| {
                key.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
            })
        }
        Signer::P256(pair) => {
            let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, *pair.public_key());
            Box::new(move |message, signature| key.verify(message, signature).is_ok())
        }
        Signer::Ed25519(pair) => {
            let key = UnparsedPublicKey::new(&ED25519, *pair.public_key());
            Box::new(move |message, signature| key.verify(message, signature).is_ok())
        }
    }
}

fn sign_in(signer: &Signer) -> SignIn {
    let rules = TokenRules {
        issuers: vec!["https://id.example/".to_owned()],
        audiences: vec!["count".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        user_claim: "sub".to_owned(),
    };
    let mut jwk = signer.jwk();
    jwk["kid"] = json!("1");
    let keys = key_file::read(json!({ "keys": [jwk] }).to_string().as_bytes());
    let keys = keys.expect("they are keys");
    SignIn::new(SignInSettings { mode: SignInMode::Optional, rules, keys, issuers: Vec::new() })
}

/// A token as issuers make them, with rooms and what lists show.
fn token(signer: &Signer) -> String {
    let end = SystemTime::now() + Duration::from_hours(24);
    let end = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
    let claims = json!({
        "iss": "https://id.example/", "aud": ["other", "count"], "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "iat": end - 90_000, "exp": end, "azp": "my_client_id", "scope": "openid profile",
        "rooms": ["/team/7", "/blog/*"], "info": { "name": "Margaret" },
    });
    let header = json!({ "alg": signer.alg(), "typ": "JWT", "kid": "1" });
    signer.sign(&header.to_string(), &claims.to_string())
}
