//! Tests of tokens: what is refused, for what, and at which bound.

use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use proptest::prelude::*;
use rstest::rstest;
use serde_json::{Value, json};

use super::*;
use crate::{
    fixtures::{
        mutate::mutated_text,
        tokens::{NOW, Signer, at, claims},
    },
    identity::{key_file, sign_in::SignInSettings},
};

/// What one key verifies by rules.
struct Bench {
    signer: Signer,
    key: Key,
    verifier: Verifier,
}

impl Bench {
    fn new() -> Self {
        Self::with(Signer::p256(), |_| ())
    }

    fn with(signer: Signer, change: impl FnOnce(&mut TokenRules)) -> Self {
        let mut rules = SignInSettings::default().rules;
        rules.algorithms = Algorithm::ALL.to_vec();
        change(&mut rules);
        let set = key_file::read(json!({ "keys": [signer.jwk()] }).to_string().as_bytes()).unwrap();
        let [key] = set.keys() else { panic!("{set:?}") };
        Self { signer, key: key.clone(), verifier: Verifier::new(&rules) }
    }

    fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        self.verifier.header(token)?;
        self.verifier.verify(token, &self.key, at(NOW))
    }

    /// Verifies a token with the usual header and these claims.
    fn claims(&self, claims: &str) -> Result<Identity, TokenError> {
        self.verify(&self.signer.sign(&json!({ "alg": self.signer.alg() }).to_string(), claims))
    }

    /// Verifies a token with the usual claims and these instead of them, or in addition.
    fn with_claims(&self, other: &Value) -> Result<Identity, TokenError> {
        let mut all = claims();
        let all = all.as_object_mut().unwrap();
        all.extend(other.as_object().unwrap().clone());
        self.claims(&serde_json::to_string(all).unwrap())
    }

    /// Verifies a token with this header and the usual claims.
    fn header(&self, header: &str) -> Result<Identity, TokenError> {
        self.verify(&self.signer.sign(header, &claims().to_string()))
    }
}

fn label(verified: Result<Identity, TokenError>) -> &'static str {
    verified.map_or_else(TokenError::label, |_| "accepted")
}

/// Goal: no other algorithm is accepted, least of all `none`. Method: headers of well-signed tokens, and one without a
/// signature.
#[rstest]
#[case("none")]
#[case("None")]
#[case("nOnE")]
#[case("")]
#[case("HS384")]
#[case("HS512")]
#[case("RS512")]
#[case("PS256")]
#[case("ES384")]
#[case("ES512")]
#[case("es256")]
#[case("Ed25519")]
#[case("ES256K")]
fn other_algorithms_are_refused(#[case] alg: &str) {
    let bench = Bench::new();
    let header = json!({ "alg": alg }).to_string();
    assert_eq!(label(bench.header(&header)), "algorithm");
    let token = bench.signer.sign(&header, &claims().to_string());
    let unsigned = &token[..=token.rfind('.').unwrap()];
    assert_eq!(label(bench.verify(unsigned)), "algorithm");
}

/// Goal: an algorithm is refused if the settings do not name it. Method: each of the four without itself.
#[test]
fn algorithms_can_be_left_out() {
    for signer in Signer::of_each_kind() {
        let alg = signer.alg();
        let bench = Bench::with(signer, |rules| {
            rules.algorithms.retain(|algorithm| algorithm.name() != alg);
        });
        assert_eq!(label(bench.with_claims(&json!({}))), "algorithm", "{alg}");
    }
}

/// Goal: a key verifies only the algorithm that it is for. Method: every key with the headers of all algorithms; the tokens are
/// signed by the key itself, and with its public part as a secret, which is the best known trick.
#[test]
fn a_key_has_one_algorithm() {
    for signer in Signer::of_each_kind() {
        let public = signer.jwk().to_string().into_bytes();
        let bench = Bench::with(signer, |_| ());
        for algorithm in Algorithm::ALL.into_iter().filter(|other| *other != bench.key.algorithm())
        {
            let header = json!({ "alg": algorithm.name() }).to_string();
            assert_eq!(label(bench.header(&header)), "algorithm", "{algorithm}");
        }
        let forged = Signer::Secret(public).sign("{\"alg\":\"HS256\"}", &claims().to_string());
        assert!(bench.verify(&forged).is_err(), "{:?}", bench.key);
    }
}

/// Goal: a signature stands for its token alone, with every algorithm. Method: the signature of another token, one with a bit
/// changed, one that is cut off, none, and one of another key.
#[test]
fn a_signature_belongs_to_its_token() {
    for signer in Signer::of_each_kind() {
        let alg = signer.alg();
        let bench = Bench::with(signer, |_| ());
        let good = bench.signer.token(&claims());
        let (message, signature) = good.rsplit_once('.').unwrap();
        let other = bench.signer.token(&json!({ "sub": "eve", "exp": NOW + 60 }));
        let of_other = URL_SAFE_NO_PAD.decode(other.rsplit_once('.').unwrap().1).unwrap();
        let own = URL_SAFE_NO_PAD.decode(signature).unwrap();
        let mut changed = own.clone();
        changed[own.len() / 2] ^= 1;
        let longer = [&own[..], &[0]].concat();
        let zeros = vec![0; own.len()];
        let shorter = &own[..own.len() - 1];
        for wrong in [&*of_other, &*changed, shorter, &[], &*longer, &*zeros] {
            let token = format!("{message}.{}", URL_SAFE_NO_PAD.encode(wrong));
            assert_eq!(label(bench.verify(&token)), "signature", "{alg}");
        }
        assert_eq!(label(bench.verify(&good)), "accepted", "{alg}");
    }
}

/// Goal: what is no token is refused. Method: one of each kind of damage, on a token that is accepted.
#[test]
fn what_is_no_token_is_malformed() {
    let bench = Bench::new();
    let good = bench.signer.token(&claims());
    assert_eq!(label(bench.verify(&good)), "accepted");
    let [header, body, signature] = good.split('.').collect::<Vec<_>>()[..] else { panic!() };
    let padded = URL_SAFE.encode("{\"alg\":\"ES256\",\"kid\":\"a\"}");
    assert!(padded.ends_with('='));
    let bad = [
        String::new(),
        ".".to_owned(),
        "..".to_owned(),
        "...".to_owned(),
        format!("{header}.{body}"),
        format!("{header}.{body}.{signature}."),
        format!(".{header}.{body}.{signature}"),
        format!("{header}.{body}.{signature}.{signature}.{signature}"),
        format!(".{body}.{signature}"),
        format!("{header}..{body}.{signature}"),
        format!(" {good}"),
        format!("{good}\n"),
        format!("Bearer {good}"),
        format!("{padded}.{body}.{signature}"),
        format!("{}.{body}.{signature}", STANDARD.encode("{\"alg\":\"ES256\",\"a\":\"???>>>\"}")),
        format!("{header}.{body}.{signature}="),
        format!("{header}.{body}.{}", STANDARD.encode([0xff; 64])),
        "\u{0}".repeat(100),
        "é.é.é".to_owned(),
    ];
    for token in bad {
        assert_eq!(label(bench.verify(&token)), "malformed", "{token:?}");
    }
}

/// Goal: a header is one JSON object with an algorithm, and no demand that nobody understands is overlooked. Method: headers of
/// well-signed tokens.
#[rstest]
#[case::no_object("[]", "malformed")]
#[case::no_json("alg=ES256", "malformed")]
#[case::no_algorithm("{}", "malformed")]
#[case::null("{\"alg\":null}", "malformed")]
#[case::a_number("{\"alg\":256}", "malformed")]
#[case::a_list("{\"alg\":[\"ES256\"]}", "malformed")]
#[case::twice("{\"alg\":\"none\",\"alg\":\"ES256\"}", "malformed")]
#[case::twice_the_same("{\"alg\":\"ES256\",\"alg\":\"ES256\"}", "malformed")]
#[case::two_objects("{\"alg\":\"ES256\"}{}", "malformed")]
#[case::crit("{\"alg\":\"ES256\",\"crit\":[\"exp\"],\"exp\":1}", "malformed")]
#[case::crit_of_nothing("{\"alg\":\"ES256\",\"crit\":[]}", "malformed")]
#[case::crit_of_b64("{\"alg\":\"ES256\",\"crit\":[\"b64\"],\"b64\":false}", "malformed")]
#[case::crit_as_text("{\"alg\":\"ES256\",\"crit\":\"exp\"}", "malformed")]
#[case::kid_as_number("{\"alg\":\"ES256\",\"kid\":1}", "malformed")]
#[case::kid_twice("{\"alg\":\"ES256\",\"kid\":\"a\",\"kid\":\"b\"}", "malformed")]
#[case::other_type("{\"alg\":\"ES256\",\"typ\":\"at+jwt\",\"x\":{\"y\":[1]}}", "accepted")]
fn headers_are_checked(#[case] header: &str, #[case] verified: &str) {
    assert_eq!(label(Bench::new().header(header)), verified, "{header}");
}

/// Goal: a token cannot bring its own key. Method: tokens that are well signed with the key in their header, or at an address in
/// it, beside which our key is another.
#[test]
fn keys_in_a_token_are_ignored() {
    let bench = Bench::new();
    let forger = Signer::p256();
    for member in ["jwk", "jku", "x5u", "x5c", "url"] {
        let value = match member {
            "jwk" => forger.jwk(),
            "x5c" => json!(["MIIB"]),
            _ => json!("http://127.0.0.1:9/jwks.json"),
        };
        let header = json!({ "alg": "ES256", member: value }).to_string();
        let signed_by_other = forger.sign(&header, &claims().to_string());
        assert_eq!(label(bench.verify(&signed_by_other)), "signature", "{member}");
        assert_eq!(label(bench.header(&header)), "accepted", "{member}");
    }
}

/// Goal: a long token costs nothing. Method: the longest that is read, and one byte more; both well signed.
#[test]
fn long_tokens_are_refused_unread() {
    let bench = Bench::with(Signer::secret(), |_| ());
    let token = |filling: usize| {
        let claims = json!({ "sub": "a", "exp": NOW + 60, "more": "x".repeat(filling) });
        bench.signer.token(&claims)
    };
    let filling = (0..8192).rfind(|filling| token(*filling).len() <= TOKEN_BYTES_MAX).unwrap();
    assert_eq!(label(bench.verify(&token(filling))), "accepted");
    assert_eq!(label(bench.verify(&token(filling + 1))), "too_long");
    assert_eq!(label(bench.verify(&"x".repeat(1 << 24))), "too_long");
    assert_eq!(label(bench.with_claims(&json!({ "sub": "x".repeat(10_000) }))), "too_long");
}

/// Goal: times are those of the documentation, with a leeway of 30 s on both sides. Method: both sides of each bound.
#[rstest]
#[case(json!({ "exp": NOW - 29 }), "accepted")]
#[case(json!({ "exp": NOW - 30 }), "expired")]
#[case(json!({ "exp": 0 }), "expired")]
#[case(json!({ "exp": -1 }), "expired")]
#[case(json!({ "exp": -1e300 }), "expired")]
#[case(serde_json::from_str(&format!("{{\"exp\":{}.5}}", NOW - 30)).unwrap(), "accepted")]
#[case(json!({ "exp": 1e300 }), "accepted")]
#[case(json!({ "exp": u64::MAX }), "accepted")]
#[case(json!({ "exp": (NOW + 60).to_string() }), "claims")]
#[case(json!({ "exp": null }), "claims")]
#[case(json!({ "exp": true }), "claims")]
#[case(json!({ "nbf": NOW + 30 }), "accepted")]
#[case(json!({ "nbf": NOW + 31 }), "not_yet_valid")]
#[case(json!({ "nbf": 1e300 }), "not_yet_valid")]
#[case(json!({ "nbf": -5 }), "accepted")]
#[case(json!({ "nbf": "now" }), "claims")]
#[case(json!({ "nbf": null }), "claims")]
#[case(json!({ "iat": NOW + 1000 }), "accepted")]
fn times_are_checked(#[case] other: Value, #[case] verified: &str) {
    assert_eq!(label(Bench::new().with_claims(&other)), verified, "{other}");
}

/// Goal: a token without an end is refused. Method: leave `exp` out.
#[test]
fn a_token_must_expire() {
    assert_eq!(label(Bench::new().claims("{\"sub\":\"a\"}")), "no_expiry");
    assert_eq!(label(Bench::new().claims("{\"sub\":\"a\",\"Exp\":99999999999}")), "no_expiry");
}

/// Goal: issuer and audience are compared exactly, and must be there if the settings name them. Method: values on both sides.
#[rstest]
#[case(json!({ "iss": "https://id.example", "aud": "count" }), "accepted")]
#[case(json!({ "iss": "https://id.example", "aud": ["other", "count"] }), "accepted")]
#[case(json!({ "iss": "https://id.example", "aud": "count2" }), "accepted")]
#[case(json!({ "aud": "count" }), "issuer")]
#[case(json!({ "iss": "https://id.example/", "aud": "count" }), "issuer")]
#[case(json!({ "iss": "https://ID.example", "aud": "count" }), "issuer")]
#[case(json!({ "iss": "", "aud": "count" }), "issuer")]
#[case(json!({ "iss": 5, "aud": "count" }), "issuer")]
#[case(json!({ "iss": ["https://id.example"], "aud": "count" }), "issuer")]
#[case(json!({ "iss": ["https://evil.example", "https://id.example"], "aud": "count" }), "issuer")]
#[case(json!({ "iss": { "https://id.example": 1 }, "aud": "count" }), "issuer")]
#[case(json!({ "iss": null, "aud": "count" }), "issuer")]
#[case(json!({ "iss": "https://id.example" }), "audience")]
#[case(json!({ "iss": "https://id.example", "aud": "other" }), "audience")]
#[case(json!({ "iss": "https://id.example", "aud": ["other"] }), "audience")]
#[case(json!({ "iss": "https://id.example", "aud": [] }), "audience")]
#[case(json!({ "iss": "https://id.example", "aud": "" }), "audience")]
#[case(json!({ "iss": "https://id.example", "aud": true }), "audience")]
fn issuer_and_audience_are_checked(#[case] other: Value, #[case] verified: &str) {
    let bench = Bench::with(Signer::ed25519(), |rules| {
        rules.issuers = vec!["https://id.example".to_owned()];
        rules.audiences = vec!["count".to_owned(), "count2".to_owned()];
    });
    assert_eq!(label(bench.with_claims(&other)), verified, "{other}");
}

/// Goal: without settings, a token may be from anybody who has the key, and for anybody. Method: a token that names both.
#[test]
fn issuer_and_audience_need_not_be_set() {
    let other = json!({ "iss": "https://id.example", "aud": "others" });
    assert_eq!(label(Bench::new().with_claims(&other)), "accepted");
}

proptest! {
    /// Goal: no text ends the program, and none but a token is accepted. Method: random texts, and a good token damaged.
    #[test]
    fn any_text_may_come(
        text in prop_oneof!["\\PC{0,60}", "[A-Za-z0-9_-]{0,40}(\\.[A-Za-z0-9_-]{0,40}){0,4}"],
        damaged in mutated_text(Just(FIXED_TOKEN.to_owned())),
    ) {
        let bench = Bench::with(Signer::secret(), |_| ());
        prop_assert_eq!(bench.signer.token(&claims()), FIXED_TOKEN);
        prop_assert!(bench.verify(&text).is_err());
        prop_assert_eq!(bench.verify(&damaged).is_ok(), damaged == FIXED_TOKEN, "{}", damaged);
    }

    /// Goal: whatever a well-signed token says, it is accepted or refused, and what is accepted keeps its bounds. Method: damaged
    /// claims and headers, signed as they are.
    #[test]
    fn anything_may_be_signed(
        claims in mutated_text(Just("{\"sub\":\"a\",\"exp\":1700000060,\"rooms\":[\"/a/*\",\"/b\"],\"info\":{\"n\":1}}".to_owned())),
        header in mutated_text(Just("{\"alg\":\"HS256\",\"kid\":\"a\",\"typ\":\"JWT\"}".to_owned())),
    ) {
        let bench = Bench::with(Signer::secret(), |_| ());
        let _ = bench.verify(&bench.signer.sign(&header, "{}"));
        if let Ok(identity) = bench.claims(&claims) {
            let id = identity.person.user.as_str();
            prop_assert!(id.starts_with("t:") && id.len() > 2 && !id.contains(char::is_control), "{}", id);
            prop_assert!(identity.expires_at.is_some_and(|end| at(NOW) < end + LEEWAY));
            prop_assert!(identity.person.info.is_none_or(|info| info.len() <= 512));
        }
    }
}

/// The token of the fixed secret with the usual claims.
const FIXED_TOKEN: &str = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJleHAiOjE3MDAwMDAwNjAsInN1YiI6Im1hcmdhcmV0In0.HNZFy4StOROQSzojV7shwWEkFXb4ko03DOSRbi_uCYs";
