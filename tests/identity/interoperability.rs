//! Tokens and keys of other programs: `PyJWT`, jose for Node.js, and openssl.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use headcount::{
    core::room::RoomName,
    identity::{
        key_file,
        keys::KeySet,
        sign_in::SignIn,
        token::{Identity, TokenError},
    },
    telemetry::labels::TokenFault,
};
use serde_json::{Value, json};

use crate::setup::{AUDIENCE, ISSUER, node, openssl, output, python, sign_in, text};

const PUBLIC: [&str; 3] = ["RS256", "ES256", "EdDSA"];

/// Goal: tokens and keys of `PyJWT` are accepted. Method: all algorithms; keys as a set, in PEM, and a secret.
#[test]
fn tokens_of_pyjwt_are_accepted() {
    let printed = output(python().arg(crate::setup::folder("python").join("issue.py")));
    accept_all(&serde_json::from_slice(&printed).unwrap(), "t:user of PyJWT");
}

/// Goal: tokens and keys of jose for Node.js are accepted. Method: as for `PyJWT`.
#[test]
fn tokens_of_jose_are_accepted() {
    let printed = output(node().arg("issue.mjs"));
    accept_all(&serde_json::from_slice(&printed).unwrap(), "t:user of jose");
}

/// Goal: keys of openssl are read, and tokens that are signed with it are accepted. Method: make everything by its commands.
#[test]
fn tokens_of_openssl_are_accepted() {
    let folder = tempfile::tempdir().unwrap();
    let kinds = [
        ("RS256", "RSA -pkeyopt rsa_keygen_bits:2048"),
        ("ES256", "EC -pkeyopt ec_paramgen_curve:prime256v1"),
        ("EdDSA", "ed25519"),
    ];
    for (alg, kind) in kinds {
        openssl(folder.path(), &format!("genpkey -algorithm {kind} -out private.pem"));
        let pem = openssl(folder.path(), "pkey -in private.pem -pubout");
        let token = signed(folder.path(), alg, |folder| {
            let sign = match alg {
                "EdDSA" => "pkeyutl -sign -rawin -inkey private.pem -in message",
                _ => "dgst -sha256 -sign private.pem message",
            };
            let signature = openssl(folder, sign);
            if alg == "ES256" { fixed(&signature) } else { signature }
        });
        let keys = key_file::read(&pem).unwrap();
        accept(&sign_in(keys, None), &token, "t:user of openssl");
        refuse_private(folder.path());
    }
    fs::write(folder.path().join("secret"), openssl(folder.path(), "rand -base64 48")).unwrap();
    let secret = fs::read(folder.path().join("secret")).unwrap();
    let token = signed(folder.path(), "HS256", |folder| {
        let secret = str::from_utf8(&secret).unwrap().trim_end().to_owned();
        openssl(folder, &format!("dgst -sha256 -mac HMAC -macopt key:{secret} -binary message"))
    });
    accept(&sign_in(key_file::read(&secret).unwrap(), None), &token, "t:user of openssl");
}

/// Goal: what should not be given to Headcount is refused with what helps. Method: the private key, and a certificate.
fn refuse_private(folder: &Path) {
    let private = fs::read(folder.join("private.pem")).unwrap();
    let refused = key_file::read(&private).unwrap_err().to_string();
    assert!(refused.contains("private key"), "{refused}");
    let certificate = openssl(folder, "req -x509 -key private.pem -subj /CN=a -days 2");
    let refused = key_file::read(&certificate).unwrap_err().to_string();
    assert!(refused.contains("openssl x509 -pubkey"), "{refused}");
}

/// Signs a token by writing the message to a file.
fn signed(folder: &Path, alg: &str, sign: impl FnOnce(&Path) -> Vec<u8>) -> String {
    let end = SystemTime::now() + Duration::from_mins(10);
    let end = end.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({
        "sub": "user of openssl", "iss": ISSUER, "aud": AUDIENCE, "exp": end,
        "rooms": ["/team/7", "/blog/*"], "info": { "name": "Zoë" },
    });
    let [header, claims] = [json!({ "alg": alg }), claims].map(|part| encode(part.to_string()));
    let message = format!("{header}.{claims}");
    fs::write(folder.join("message"), &message).unwrap();
    format!("{message}.{}", encode(sign(folder)))
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// A signature of ECDSA as tokens have it, of one in DER: two numbers of 32 bytes.
fn fixed(der: &[u8]) -> Vec<u8> {
    let mut rest = &der[2..];
    let mut fixed = Vec::new();
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        rest = &rest[2 + length..];
        let number = number.strip_prefix(&[0]).unwrap_or(number);
        fixed.extend(vec![0; 32 - number.len()]);
        fixed.extend(number);
    }
    fixed
}

/// Accepts all tokens of an issuer, each with the keys in every form, and none with the keys of another algorithm.
fn accept_all(issued: &Value, user: &str) {
    let set = key_file::read(issued["jwks"].to_string().as_bytes()).unwrap();
    let by_set = sign_in(set, None);
    for alg in PUBLIC {
        let token = text(issued, &format!("/tokens/{alg}"));
        accept(&by_set, token, user);
        let keys = key_file::read(text(issued, &format!("/pems/{alg}")).as_bytes()).unwrap();
        let by_pem = sign_in(keys, None);
        accept(&by_pem, token, user);
        for other in PUBLIC.into_iter().filter(|other| *other != alg) {
            let other = text(issued, &format!("/tokens/{other}"));
            assert_eq!(verify(&by_pem, other), Err(TokenError::Invalid(TokenFault::Key)));
        }
    }
    let secret = key_file::read(text(issued, "/secret").as_bytes()).unwrap();
    accept(&sign_in(secret, None), text(issued, "/tokens/HS256"), user);
    let nobody = sign_in(KeySet::default(), None);
    let refused = verify(&nobody, text(issued, "/tokens/ES256"));
    assert_eq!(refused, Err(TokenError::Invalid(TokenFault::Key)));
}

fn verify(sign_in: &SignIn, token: &str) -> Result<Identity, TokenError> {
    sign_in.verify(token, SystemTime::now())
}

fn accept(sign_in: &SignIn, token: &str, user: &str) {
    let identity = verify(sign_in, token).unwrap_or_else(|error| panic!("{user}: {error}"));
    assert_eq!(identity.person.user.as_str(), user);
    assert_eq!(identity.person.info.as_deref(), Some("{\"name\":\"Zoë\"}"));
    let rooms = identity.rooms.expect("the token lists rooms");
    let allow = |room: &str| rooms.allow(&RoomName::parse(room).unwrap());
    assert!(allow("/team/7") && allow("/blog/a") && !allow("/team/8"));
    let minutes = identity.expires_at.unwrap().duration_since(SystemTime::now()).unwrap();
    assert!(minutes > Duration::from_mins(8) && minutes <= Duration::from_mins(10), "{minutes:?}");
    let parts: Vec<_> = token.split('.').collect();
    let claims = URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
    let claims = String::from_utf8(claims).unwrap().replace("user of", "root of");
    let changed = format!("{}.{}.{}", parts[0], encode(claims), parts[2]);
    let refused = verify(sign_in, &changed);
    assert_eq!(refused, Err(TokenError::Invalid(TokenFault::Signature)), "other claims");
}
