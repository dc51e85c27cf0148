//! Tests of keys from files and from issuers: which are used, and why others are not.

use base64::{Engine, engine::general_purpose::STANDARD, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{mutate::mutated, tokens::Signer},
    identity::{algorithm::Algorithm, jwk::KEYS_MAX},
};

fn set(keys: &[Value]) -> Vec<u8> {
    json!({ "keys": keys }).to_string().into_bytes()
}

fn refusal(contents: &[u8]) -> String {
    read(contents).map(drop).unwrap_err().to_string()
}

fn number(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// An RSA key with a modulus of this many bits, which nobody has factors of.
fn rsa(bits: usize, exponent: &[u8]) -> Value {
    let mut modulus = vec![0xff; bits.div_ceil(8)];
    modulus[0] >>= modulus.len() * 8 - bits;
    json!({ "kty": "RSA", "n": number(&modulus), "e": number(exponent) })
}

/// Goal: keys of all kinds are read from a set, in their order, with their ids. Method: one of each, with and without the
/// optional members.
#[test]
fn sets_are_read() {
    let signers = Signer::of_each_kind();
    let mut keys = signers.each_ref().map(Signer::jwk);
    for (key, signer) in keys.iter_mut().zip(&signers).skip(1) {
        let kid = format!("key of {}", signer.alg());
        let more = json!({ "use": "sig", "alg": signer.alg(), "kid": kid, "key_ops": ["verify"], "x5t": "a" });
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    }
    let read = read(&set(&keys)).unwrap();
    let algorithms: Vec<_> = read.keys().iter().map(Key::algorithm).collect();
    assert_eq!(algorithms, Algorithm::ALL);
    assert_eq!(read.keys()[0].id(), None);
    assert_eq!(read.keys()[3].id(), Some("key of EdDSA"));
}

/// Goal: keys for other purposes, as issuers have them, do not hinder. Method: a set with one key that can be used.
#[test]
fn other_keys_are_left_out() {
    let good = Signer::ed25519().jwk();
    let mut others = vec![
        json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
        json!({ "kty": "OKP", "crv": "X25519", "x": "AA" }),
        json!({ "kty": "OKP", "crv": "Ed448", "x": "AA" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AA" }),
    ];
    for (member, value) in [
        ("use", json!("enc")),
        ("alg", json!("RSA-OAEP")),
        ("alg", json!("PS256")),
        ("alg", json!("HS256")),
        ("key_ops", json!(["encrypt"])),
        ("key_ops", json!([])),
    ] {
        let mut key = Signer::rsa().jwk();
        key[member] = value;
        others.push(key);
    }
    let read_others = jwk::read(&set(&others), Publicity::Public).unwrap();
    assert!(read_others.keys.is_empty(), "{read_others:?}");
    assert!(read_others.unused.iter().all(|(_, why)| !why.is_mistake()), "{read_others:?}");
    assert!(refusal(&set(&others)).contains("has no key that verifies"));
    others.push(good);
    assert_eq!(read(&set(&others)).unwrap().keys().len(), 1);
}

/// Goal: RSA keys are neither weak nor so large that verifying takes long. Method: both sides of both bounds, and wrong
/// exponents.
#[rstest]
#[case(rsa(1024, &[1, 0, 1]), Some("1024 bits"))]
#[case(rsa(2047, &[1, 0, 1]), Some("2047 bits"))]
#[case(rsa(2048, &[1, 0, 1]), None)]
#[case(rsa(8192, &[1, 0, 1]), None)]
#[case(rsa(8193, &[1, 0, 1]), Some("8193 bits"))]
#[case(rsa(2048, &[3]), None)]
#[case(rsa(2048, &[0, 0, 3]), None)]
#[case(rsa(2048, &[1]), Some("exponent is wrong"))]
#[case(rsa(2048, &[]), Some("exponent is wrong"))]
#[case(rsa(2048, &[2]), Some("exponent is wrong"))]
#[case(rsa(2048, &[1, 0, 0, 0, 1]), Some("exponent is wrong"))]
#[case(json!({ "kty": "RSA", "n": "", "e": "AQAB" }), Some("0 bits"))]
fn rsa_keys_are_bounded(#[case] key: Value, #[case] why: Option<&str>) {
    match (read(&set(&[key])), why) {
        (Ok(_), None) => {}
        (Err(refused), Some(why)) => {
            let text = refused.to_string();
            assert!(text.contains(why) && text.contains("key 1 of the set"), "{text}");
        }
        (read, why) => panic!("{read:?} {why:?}"),
    }
}

/// Goal: zeros before a modulus make a key no longer. Method: a key of 1024 bits filled up.
#[test]
fn leading_zeros_do_not_count() {
    let mut modulus = vec![0; 256];
    modulus[128..].fill(0xff);
    let key = json!({ "kty": "RSA", "n": number(&modulus), "e": "AQAB" });
    assert!(refusal(&set(&[key])).contains("1024 bits"));
}

/// Goal: a wrong key in a file is refused with its number and what is wrong with it, and is not left out. Method: mistakes in the
/// second key of a set.
#[rstest]
#[case(json!({ "kty": "EC", "crv": "P-256", "x": number(&[1; 32]), "y": number(&[1; 32]) }), "no point of the curve")]
#[case(json!({ "kty": "EC", "crv": "P-256", "x": number(&[1; 31]), "y": number(&[1; 32]) }), "x is missing or wrong")]
#[case(json!({ "kty": "EC", "crv": "P-256", "x": number(&[1; 32]) }), "y is missing or wrong")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 33]) }), "32 bytes")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": "not base64!" }), "x is missing or wrong")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "d": number(&[1; 32]) }), "private key")]
#[case(json!({ "kty": "RSA", "e": "AQAB" }), "n is missing or wrong")]
#[case(json!({ "kty": "oct", "k": number(&[1; 31]) }), "31 bytes")]
#[case(json!({ "kty": "oct", "k": number(&[0; 32]) }), "hardly any different bytes")]
#[case(json!({ "kty": 5 }), "kty is no text")]
#[case(json!({}), "kty is missing or wrong")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "kid": 7 }), "kid is no text")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "alg": ["EdDSA"] }), "alg is no text")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "use": true }), "use is no text")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "key_ops": "verify" }), "key_ops is no list")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": number(&[1; 32]), "key_ops": ["verify", 1] }), "key_ops is no list")]
#[case(json!({ "kty": "OKP", "crv": 25519, "x": number(&[1; 32]) }), "crv is no text")]
#[case(json!({ "kty": "OKP", "crv": "Ed25519", "x": 1 }), "x is no text")]
#[case(json!(null), "no JSON object")]
fn mistakes_in_a_file_are_refused(#[case] key: Value, #[case] why: &str) {
    let text = refusal(&set(&[Signer::p256().jwk(), key]));
    assert!(text.starts_with("key 2 of the set: ") && text.contains(why), "{text}");
}

/// Goal: a secret that anybody can read verifies nothing. Method: a set with a secret, from a file and from an address.
#[test]
fn a_public_set_has_no_secrets() {
    let keys = set(&[Signer::secret().jwk()]);
    assert_eq!(read(&keys).unwrap().keys()[0].algorithm(), Algorithm::Hs256);
    let public = jwk::read(&keys, Publicity::Public).unwrap();
    assert!(public.keys.is_empty());
    assert_eq!(public.unused, [(1, UnusedKey::Secret)]);
}

/// Goal: what is no set is refused. Method: other JSON, and too many keys.
#[test]
fn other_json_is_refused() {
    for other in [
        "{",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":null}",
        "{\"keys\":[]}x",
        "{\"keys\":[],\"keys\":[]}",
    ] {
        assert!(refusal(other.as_bytes()).contains("no JSON Web Key Set"), "{other}");
    }
    assert!(refusal(b"{\"keys\":[]}").contains("no key that verifies"));
    let key = Signer::ed25519().jwk();
    assert_eq!(read(&set(&vec![key.clone(); KEYS_MAX])).unwrap().keys().len(), KEYS_MAX);
    assert!(refusal(&set(&vec![key; KEYS_MAX + 1])).contains("more than 100 keys"));
    assert!(refusal(&vec![b' '; KEY_FILE_BYTES_MAX + 1]).contains("more than 262144 bytes"));
}

/// Goal: a secret is the contents of its file, but for the line break that editors and `openssl rand` add to text. Method: texts
/// and bytes at the bound of the length.
#[test]
fn secrets_are_read() {
    let text = "0123456789abcdef0123456789abcdef";
    for end in ["", "\n", "\r\n"] {
        assert_eq!(secret(format!("{text}{end}").as_bytes()), Ok(text.as_bytes()));
    }
    let mut bytes: Vec<u8> = (0xe0..=0xff).collect();
    bytes[31] = b'\n';
    assert_eq!(secret(&bytes), Ok(&bytes[..]));
    assert_eq!(read(text.as_bytes()).unwrap().keys()[0].algorithm(), Algorithm::Hs256);
    let short = refusal(format!("{}\n", &text[..31]).as_bytes());
    assert!(short.contains("the secret has 31 bytes; at least 32"), "{short}");
    assert!(refusal(b"").contains("0 bytes"));
}

/// Goal: no error and no debug output shows a key. Method: a secret, and a set with a mistake.
#[test]
fn keys_are_not_shown() {
    let shown = format!("{:?}", read(b"sesame-sesame-sesame-sesame-sesame").unwrap());
    assert!(!shown.contains("sesame") && shown.contains("Hs256"), "{shown}");
    let key = json!({ "kty": "oct", "k": number(b"sesame") });
    let shown = format!("{} {:?}", refusal(&set(std::slice::from_ref(&key))), read(&set(&[key])));
    assert!(!shown.contains("sesame") && !shown.contains(&number(b"sesame")), "{shown}");
}

proptest! {
    /// Goal: any file is read or refused. Method: damaged sets and PEM files, and any bytes.
    #[test]
    fn any_bytes_may_come(bytes in prop_oneof![
        mutated(Just(set(&Signer::of_each_kind().each_ref().map(Signer::jwk)))),
        mutated(Just(PEM.as_bytes().to_vec())),
        mutated(Just(STANDARD.decode(PEM.lines().nth(1).unwrap()).unwrap())).prop_map(|der| {
            format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der)).into_bytes()
        }),
        proptest::collection::vec(any::<u8>(), 0..200),
    ]) {
        let _ = read(&bytes);
        let _ = jwk::read(&bytes, Publicity::Public);
    }
}

/// An Ed25519 key as `openssl pkey -pubout` writes it.
const PEM: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAy+7gkiRXjKs3SzKxelrU3znK6zYouxPJfOTrNXfx3IY=\n-----END PUBLIC KEY-----\n";

/// Goal: the text above is a key. Method: read it.
#[test]
fn pem_is_read() {
    assert_eq!(read(PEM.as_bytes()).unwrap().keys()[0].algorithm(), Algorithm::EdDsa);
    let both = format!("subject=a\n{PEM}\n\n{PEM}");
    assert_eq!(read(both.as_bytes()).unwrap().keys().len(), 2);
}

/// Goal: PEM without a public key is refused with what helps. Method: other kinds of sections.
#[rstest]
#[case("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "holds a private key")]
#[case("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "openssl x509 -pubkey")]
#[case(
    "-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n",
    "no section BEGIN PUBLIC KEY"
)]
#[case(
    "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    "public key 1 is none that is understood"
)]
#[case("-----BEGIN PUBLIC KEY-----\nAA!A\n-----END PUBLIC KEY-----\n", "it is no PEM")]
#[case("-----BEGIN PUBLIC KEY-----\nAAAA\n", "it is no PEM")]
fn other_pem_is_refused(#[case] pem: &str, #[case] why: &str) {
    let text = refusal(pem.as_bytes());
    assert!(text.contains(why), "{text}");
}
