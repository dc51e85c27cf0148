//! Tests of secrets: which are taken, and what else files hold.

use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use proptest::prelude::*;
use ring::signature::KeyPair;
use rstest::rstest;
use serde_json::json;

use super::*;
use crate::{
    fixtures::tokens::{Signer, claims},
    identity::key_file,
};

/// Public keys of Ed25519 and P-256 as `openssl pkey -pubout -outform DER` writes them, and a private RSA key, in base64.
const DERS: [&str; 3] = [
    "MCowBQYDK2VwAyEAy+7gkiRXjKs3SzKxelrU3znK6zYouxPJfOTrNXfx3IY=",
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==",
    include_str!("../../fixtures/rsa.base64"),
];
/// The line that `ssh-keygen -t ed25519` writes.
const SSH_LINE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMvu4JIkV4yrN0sysXpa1N85yus2KLsTyXzk6zV38dyG me@host";

fn der(base64: &str) -> Vec<u8> {
    STANDARD.decode(base64.replace('\n', "")).unwrap()
}

fn in_hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from_digit(digit.into(), 16).unwrap()).collect()
}

/// What is wrong with a file that is given as a source of keys. The file of a visitors' secret must be refused too.
fn refusal(contents: &[u8]) -> String {
    let refused = key_file::read(contents).map(drop).unwrap_err().to_string();
    assert!(key_file::secret(contents).is_err(), "{refused}");
    refused
}

/// Goal: no form of a public key is taken for a secret, by which everybody could sign. Method: keys of each kind in each form, as they
/// are and encoded again, with and without a line break at the end.
#[test]
fn public_keys_are_no_secrets() {
    for base64 in DERS {
        let der = der(base64);
        let lines: Vec<_> =
            base64.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
        let forms = [
            der.clone(),
            base64.replace('\n', "").into_bytes(),
            lines.join("\n").into_bytes(),
            lines.join("\r\n").into_bytes(),
            URL_SAFE_NO_PAD.encode(&der).into_bytes(),
            in_hex(&der).into_bytes(),
            in_hex(&der).to_uppercase().into_bytes(),
            format!("key = '{}'", base64.replace('\n', "")).into_bytes(),
        ];
        for form in forms {
            for end in ["", "\n"] {
                let why = refusal(&[&form[..], end.as_bytes()].concat());
                assert!(why.contains("in DER"), "{why}: {}", String::from_utf8_lossy(&form));
            }
        }
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
        let why = refusal(STANDARD.encode(&pem).as_bytes());
        assert!(why.contains("in PEM"), "{why}");
        let why = refusal(pem.replace("-----BEGIN PUBLIC KEY-----\n", "").as_bytes());
        assert!(why.contains("in PEM"), "{why}");
    }
    let Signer::P256(pair) = Signer::p256() else { panic!("another kind") };
    let point = pair.public_key().as_ref();
    let colons: Vec<_> = point.iter().map(|byte| format!("{byte:02x}")).collect();
    for form in [point, STANDARD.encode(point).as_bytes(), colons.join(":").as_bytes()] {
        let why = refusal(form);
        assert!(why.contains("on the curve P-256"), "{why}");
    }
    let blob = SSH_LINE.split(' ').nth(1).unwrap();
    for form in
        [SSH_LINE.as_bytes(), format!("host {SSH_LINE}\n").as_bytes(), blob.as_bytes(), &der(blob)]
    {
        let why = refusal(form);
        assert!(why.contains("a key of OpenSSH"), "{why}");
    }
}

/// Goal: a set of keys in another form than the documented one is no secret. Method: forms that editors, programs and people make.
#[test]
fn other_forms_of_sets_are_no_secrets() {
    let jwk = Signer::rsa().jwk();
    let set = json!({ "keys": [jwk] }).to_string();
    let wide = |order: fn(u16) -> [u8; 2], mark: &str| -> Vec<u8> {
        format!("{mark}{set}").encode_utf16().flat_map(order).collect()
    };
    let forms: [(Vec<u8>, &str); 12] = [
        (format!("\u{feff}{set}").into_bytes(), "byte order mark"),
        (wide(u16::to_le_bytes, "\u{feff}"), "UTF-16"),
        (wide(u16::to_be_bytes, "\u{feff}"), "UTF-16"),
        (wide(u16::to_be_bytes, ""), "UTF-16"),
        (json!([jwk]).to_string().into_bytes(), "a JSON Web Key in another form"),
        (format!("// my keys\n{set}").into_bytes(), "a JSON Web Key in another form"),
        (format!("/* my keys */ {set}").into_bytes(), "a JSON Web Key in another form"),
        (format!("const keys = {set};").into_bytes(), "a JSON Web Key in another form"),
        (serde_json::to_string(&set).unwrap().into_bytes(), "a JSON Web Key in another form"),
        (
            b"keys:\n- kty: OKP\n  crv: Ed25519\n  x: AAAA\n".to_vec(),
            "a JSON Web Key in another form",
        ),
        (STANDARD.encode(&set).into_bytes(), "a JSON Web Key in another form"),
        (b"[\"not\", \"a\", \"set\", \"of\", \"any\", \"keys\"]".to_vec(), "a list in JSON"),
    ];
    for (form, expected) in forms {
        let why = refusal(&form);
        assert!(why.contains(expected), "{why}: {}", String::from_utf8_lossy(&form));
    }
}

/// Goal: whatever else people put into a file by mistake is refused with what it is. Method: such files.
#[rstest]
#[case(b"<!doctype html><html><body>Not found, sorry, please log in</body></html>", "HTML or XML")]
#[case(b"\n  <RSAKeyValue><Modulus>AAAA</Modulus></RSAKeyValue>\n", "HTML or XML")]
#[case(b"<html><body>Nicht gefunden, bitte anm\xe9lden oder weggehen</body></html>", "HTML or XML")]
#[case(b"https://issuer.example/.well-known/jwks.json", "an address")]
#[case(b"keys are at https://issuer.example/jwks.json", "an address")]
#[case(
    b"---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n",
    "the format of SSH"
)]
#[case(b"PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", "the format of PuTTY")]
#[case(b"-----BEGIN-----\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxyz\n", "in PEM")]
#[case(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03abcdefghijklmnopqrstuvwxyz", "a compressed file")]
#[case(b"first line of a note to myself\nsecond line of it\n", "several lines")]
#[case(b"Public-Key: (256 bit)\npub:\n    04:6b:17:d1:f2\n", "several lines")]
#[case(b"0123456789abcdef0123456789abcdef\n\n", "several lines")]
#[case(&[0; 64], "hardly any different bytes")]
#[case(&[b'\n'; 64], "hardly any different bytes")]
#[case(&[b' '; 64], "hardly any different bytes")]
#[case(&[b'a'; 64], "hardly any different bytes")]
#[case(b"0101100100101101011010010110010110100110", "hardly any different bytes")]
#[case(b"abcdabcdabcdabcdabcdabcdabcdabcdabcdabcd\n", "hardly any different bytes")]
fn other_files_are_no_secrets(#[case] contents: &[u8], #[case] expected: &str) {
    let why = refusal(contents);
    assert!(why.contains(expected), "{why}");
}

/// Goal: a token in place of its key is refused. Method: tokens with each algorithm, alone and as a header.
#[test]
fn tokens_are_no_secrets() {
    for signer in Signer::of_each_kind() {
        let token = signer.token(&claims());
        for form in [format!("{token}\n"), format!("Authorization: Bearer {token}")] {
            let why = refusal(form.as_bytes());
            assert!(why.contains("a token (JWT)") && !why.contains(&token), "{why}");
        }
    }
}

/// Goal: what people use as secrets is taken, and is taken as it stands. Method: what generators print, and sentences.
#[rstest]
#[case("hOqvUNX2c3dvLhQmK9HOa4lV0CRyoQu5H3dLpQcqZGZkSs4Gq7H9Zc0iRjDqvJ5n")]
#[case("hOqvUNX2c3dvLhQmK9HOa4lV0CRyoQu5H3dLpQcqZGZkSs4Gq7H9Zc0iRjDqvJ5n\nAAECAwQFBgcICQ==")]
#[case("9f86d081884c7d659a2feaa0c55ad015")]
#[case("9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B2B0B822CD15D6C15B0F00A08")]
#[case("01a2011c-f814-765a-8ed8-cd16f884d799")]
#[case("31415926535897932384626433832795")]
#[case("a secret that is shared with nobody else, for example.org.de")]
#[case("extra.exam.ple, exactly what nobody would guess, PA W10")]
#[case("ein Geheimnis, das niemand errät: Öl, Überfluß, Ärger")]
#[case("r4{k]<X:/9vT&s(2=w*N_q~Y|h@5#bZ^G+mJ!c;8")]
fn secrets_are_taken(#[case] secret: &str) {
    let file = format!("{secret}\n");
    assert_eq!(key_file::secret(file.as_bytes()), Ok(secret.as_bytes()));
    assert_eq!(key_file::read(file.as_bytes()).unwrap().keys().len(), 1);
}

/// Goal: the length of a secret is bounded. Method: both sides of both bounds.
#[test]
fn secrets_are_bounded() {
    let of = |bytes: usize| "0123456789abcdefghij".repeat(bytes).into_bytes()[..bytes].to_vec();
    assert_eq!(check(&of(31)), Err(BadSecret::Short(31)));
    assert_eq!(check(&of(32)), Ok(()));
    assert_eq!(check(&of(4096)), Ok(()));
    assert_eq!(check(&of(4097)), Err(BadSecret::Long(4097)));
    assert_eq!(check(&[]), Err(BadSecret::Short(0)));
    let endless = vec![b'x'; key_file::KEY_FILE_BYTES_MAX + 1];
    assert_eq!(key_file::secret(&endless), Err(key_file::BadSecretFile::TooLong));
}

proptest! {
    /// Goal: random secrets are taken, as bytes and in each usual form. Method: random bytes.
    #[test]
    fn random_secrets_are_taken(bytes in proptest::collection::vec(any::<u8>(), 32..100)) {
        prop_assume!(!has_few_different(&bytes));
        for form in [bytes.clone(), STANDARD.encode(&bytes).into_bytes(), in_hex(&bytes).into_bytes()] {
            prop_assert_eq!(check(&form), Ok(()), "{:?}", form);
        }
    }

    /// Goal: whatever a file holds, it is judged without a panic. Method: any bytes, and texts with signs in them.
    #[test]
    fn any_bytes_may_come(bytes in proptest::collection::vec(any::<u8>(), 0..40), text in "[\\pC\\PC]{0,40}|(kty|eyJ|\\.|\\{|:|=| |AA|30){0,40}") {
        let _ = (check(&bytes), check(text.as_bytes()));
    }
}
