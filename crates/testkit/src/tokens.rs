//! Tokens as the application of a site would make them, signed with a secret that instances read from a file; and as an identity
//! provider makes them, whose keys instances fetch.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::instance::Setting;

/// Signs tokens with a secret. The file with the secret is removed when this value is dropped.
#[derive(Debug)]
pub struct Issuer {
    key: hmac::Key,
    /// The path of the file with the secret.
    path: String,
    _file: NamedTempFile,
}

impl Issuer {
    /// An issuer with a secret that is made of this name. Issuers with different names have different secrets.
    pub fn new(name: &str) -> Self {
        let secret = format!("the secret of the issuer {name}, which nobody else knows");
        let file = NamedTempFile::new().expect("a file for the secret");
        std::fs::write(&file, &secret).expect("the secret is written");
        let path = file.path().to_str().expect("its path is text").to_owned();
        Self { key: hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), path, _file: file }
    }

    /// The settings with which an instance trusts this issuer.
    pub fn settings(&self) -> [Setting<'_>; 2] {
        [("HEADCOUNT_JWT_KEYS", &self.path), ("HEADCOUNT_JWT_ALGORITHMS", "HS256")]
    }

    /// A token of this user that expires in an hour.
    pub fn token(&self, user: &str) -> String {
        self.token_for(user, Duration::from_hours(1))
    }

    /// A token of this user that expires after this time.
    pub fn token_for(&self, user: &str, time: Duration) -> String {
        self.sign(&json!({ "sub": user, "exp": in_seconds(time) }))
    }

    /// A token of this user that expires in an hour, and allows only rooms of this list of patterns.
    pub fn token_in(&self, user: &str, rooms: &Value) -> String {
        let exp = in_seconds(Duration::from_hours(1));
        self.sign(&json!({ "sub": user, "exp": exp, "rooms": rooms }))
    }

    /// A token of this user that expires in an hour, and says what is to be shown of the user.
    pub fn token_showing(&self, user: &str, info: &Value) -> String {
        let exp = in_seconds(Duration::from_hours(1));
        self.sign(&json!({ "sub": user, "exp": exp, "info": info }))
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_text(&claims.to_string())
    }

    /// A token with this text in place of the JSON of its claims.
    pub fn sign_text(&self, claims: &str) -> String {
        let header = json!({ "alg": "HS256", "typ": "JWT" });
        token(&header, claims, |signed| hmac::sign(&self.key, signed).as_ref().to_vec())
    }
}

/// An identity provider with one key, which it publishes when the test says so.
#[derive(Debug)]
pub struct Provider {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// The address of its keys.
    url: String,
    /// The set of keys, once it is published. Requests wait for it.
    published: watch::Sender<Option<Arc<str>>>,
    task: JoinHandle<()>,
}

impl Provider {
    /// A provider that has published nothing. It answers requests for its keys once it has.
    pub async fn start() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let document = EcdsaKeyPair::generate_pkcs8(algorithm, &random).expect("a key");
        let key =
            EcdsaKeyPair::from_pkcs8(algorithm, document.as_ref(), &random).expect("it is one");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let published = watch::Sender::new(None);
        let task = tokio::spawn(serve(listener, published.subscribe()));
        Self { key, random, url: format!("http://{address}/jwks.json"), published, task }
    }

    /// The settings with which an instance trusts this provider.
    pub fn settings(&self) -> [Setting<'_>; 3] {
        [
            ("HEADCOUNT_JWT_KEYS", &self.url),
            ("HEADCOUNT_JWT_ISSUER", "https://id.example"),
            ("HEADCOUNT_JWT_AUDIENCE", "blog"),
        ]
    }

    /// Publishes the key.
    pub fn publish(&self) {
        let [x, y] = [1..33, 33..65]
            .map(|part| URL_SAFE_NO_PAD.encode(&self.key.public_key().as_ref()[part]));
        let key = json!({
            "kty": "EC", "crv": "P-256", "kid": "of today", "use": "sig", "alg": "ES256", "x": x, "y": y,
        });
        let keys: Arc<str> = json!({ "keys": [key] }).to_string().into();
        self.published.send_replace(Some(keys));
    }

    /// A token of this user that expires in an hour.
    pub fn token(&self, user: &str) -> String {
        let header = json!({ "alg": "ES256", "typ": "JWT", "kid": "of today" });
        let exp = in_seconds(Duration::from_hours(1));
        let claims = json!({ "iss": "https://id.example", "aud": "blog", "sub": user, "exp": exp });
        token(&header, &claims.to_string(), |signed| {
            self.key.sign(&self.random, signed).expect("it signs").as_ref().to_vec()
        })
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves requests for the keys.
async fn serve(listener: TcpListener, published: watch::Receiver<Option<Arc<str>>>) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, published.clone()));
    }
}

/// Answers one request, once the keys are published. Nothing is answered when the provider is gone.
async fn answer(mut stream: TcpStream, mut published: watch::Receiver<Option<Arc<str>>>) {
    let mut head = [0; 4096];
    let Ok(1..) = stream.read(&mut head).await else { return };
    let Ok(keys) = published.wait_for(Option::is_some).await.map(|keys| keys.clone()) else {
        return;
    };
    let keys = keys.unwrap_or_default();
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{keys}",
        keys.len()
    );
    // An error means that the instance is gone.
    let _ = stream.write_all(answer.as_bytes()).await;
}

fn token(header: &Value, claims: &str, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let [header, claims] = [&*header.to_string(), claims].map(|json| URL_SAFE_NO_PAD.encode(json));
    let signed = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

/// The moment after this time, as tokens write it. Parts of a second are dropped.
pub fn in_seconds(time: Duration) -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    (now.expect("it is after 1970") + time).as_secs()
}
