//! Times of what runs for a client that says who it is: verifying a token, and hashing a visitor key. Beside the token stands
//! its signature alone, verified by ring, which is what no code around it can make faster.

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
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        UnparsedPublicKey,
    },
};
use serde_json::json;

criterion_group!(identity, es256, hs256, visitor);
criterion_main!(identity);

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn es256(criterion: &mut Criterion) {
    let (random, algorithm) = (SystemRandom::new(), &ECDSA_P256_SHA256_FIXED_SIGNING);
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).expect("the key");
    let sign = |message: &[u8]| pair.sign(&random, message).expect("a signature").as_ref().to_vec();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(32);
    let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "1", "x": encode(x), "y": encode(y) });
    let sign_in = sign_in(json!({ "keys": [jwk] }).to_string().as_bytes());
    let token = token("ES256", sign);
    let (message, signature) = token.rsplit_once('.').expect("it has three parts");
    let signature = URL_SAFE_NO_PAD.decode(signature).expect("it was encoded so");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key().as_ref());
    criterion.bench_function("ES256: the signature alone, by ring", |bencher| {
        bencher.iter(|| key.verify(black_box(message.as_bytes()), black_box(&signature)));
    });
    let now = SystemTime::now();
    criterion.bench_function("ES256: verify a token", |bencher| {
        bencher.iter(|| sign_in.verify(black_box(&token), now).expect("it is valid"));
    });
}

fn hs256(criterion: &mut Criterion) {
    let sign_in = sign_in(SECRET);
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET);
    let token = token("HS256", |message| hmac::sign(&key, message).as_ref().to_vec());
    let now = SystemTime::now();
    criterion.bench_function("HS256: verify a token", |bencher| {
        bencher.iter(|| sign_in.verify(black_box(&token), now).expect("it is valid"));
    });
}

fn visitor(criterion: &mut Criterion) {
    let keys = VisitorKeys::of_count("currentUsers");
    criterion.bench_function("visitor key: hash it", |bencher| {
        bencher.iter(|| keys.person(black_box("k3J-_bWqvPz0aXyTk3J-_b")).expect("it is a key"));
    });
}

fn sign_in(keys: &[u8]) -> SignIn {
    let rules = TokenRules {
        issuers: vec!["https://id.example/".to_owned()],
        audiences: vec!["count".to_owned()],
        algorithms: Algorithm::ALL.to_vec(),
        user_claim: "sub".to_owned(),
    };
    let keys = key_file::read(keys).expect("they are keys");
    SignIn::new(SignInSettings { mode: SignInMode::Optional, rules, keys, issuers: Vec::new() })
}

/// A token as issuers make them, with rooms and what lists show.
fn token(alg: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let end = SystemTime::now() + Duration::from_hours(24);
    let end = end.duration_since(SystemTime::UNIX_EPOCH).expect("it is later").as_secs();
    let claims = json!({
        "iss": "https://id.example/", "aud": ["other", "count"], "sub": "auth0|5f7c8ec7c33c6c004bbafe82",
        "iat": end - 90_000, "exp": end, "azp": "my_client_id", "scope": "openid profile",
        "rooms": ["/team/7", "/blog/*"], "info": { "name": "Margaret" },
    });
    let header = json!({ "alg": alg, "typ": "JWT", "kid": "1" });
    let [header, claims] = [header, claims].map(|part| encode(part.to_string().as_bytes()));
    let message = format!("{header}.{claims}");
    let signature = encode(&sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
