//! An issuer behind nginx with TLS. The certificate is trusted through `SSL_CERT_FILE`, which is an environment variable. So a
//! child process fetches the keys: this test binary, started again for this one test. It recognises its role by a variable.

use std::{
    env, fs,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, SystemTime},
};

use headcount::{
    identity::{keys::KeySet, token::TokenError},
    telemetry::metrics::Metrics,
};
use headcount_testkit::{
    certificates, instance::Instance, redis_server::free_port, waiting::eventually,
};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::setup::{AUDIENCE, ISSUER, node, output, sign_in, text};

/// Set in the child: where the keys are.
const URL: &str = "HEADCOUNT_TEST_JWKS_URL";
/// Set in the child: the token to verify.
const TOKEN: &str = "HEADCOUNT_TEST_JWKS_TOKEN";
/// Set in the child: the outcome that is expected of the request.
const OUTCOME: &str = "HEADCOUNT_TEST_JWKS_OUTCOME";

/// A web server with TLS. It ends with this value.
struct Nginx {
    child: Child,
    port: u16,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Nginx {
    async fn start(directory: &Path) -> Self {
        let port = free_port();
        let config = include_str!("nginx.conf")
            .replace("DIRECTORY", &directory.display().to_string())
            .replace("LISTEN", &format!("127.0.0.1:{port}"));
        fs::write(directory.join("nginx.conf"), config).unwrap();
        // On Debian, only the PATH of administrators contains the program.
        let places = format!("{}:/usr/sbin", env::var("PATH").unwrap_or_default());
        let child = Command::new("nginx")
            .arg("-p")
            .arg(directory)
            .arg("-c")
            .arg(directory.join("nginx.conf"))
            .env("PATH", places)
            .stderr(Stdio::null())
            .spawn()
            .expect("it is installed; scripts/test does it");
        let nginx = Self { child, port };
        let listens = async || {
            TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())
        };
        eventually("nginx listens", listens).await;
        nginx
    }

    fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }
}

/// Goal: keys are fetched from a real web server with TLS, only if its certificate is trusted and names it, and no redirect is
/// followed. Method: nginx with a set of jose; child processes that trust its authority, or another one; a whole instance, whose
/// log and metrics tell it.
#[tokio::test]
async fn keys_are_fetched_by_tls() {
    if let Ok(url) = env::var(URL) {
        return fetch_in_child(&url).await;
    }
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    certificates::make(directory);
    let issued: Value = serde_json::from_slice(&output(node().arg("issue.mjs"))).unwrap();
    fs::create_dir(directory.join("published")).unwrap();
    fs::write(directory.join("published/jwks.json"), issued["jwks"].to_string()).unwrap();
    let nginx = Nginx::start(directory).await;
    let token = text(&issued, "/tokens/ES256");
    let child = |authority: &str, url: &str, outcome: &str| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "tls::keys_are_fetched_by_tls"]).env_remove("SSL_CERT_DIR");
        command.env("SSL_CERT_FILE", directory.join(authority));
        output(command.env(URL, url).env(TOKEN, token).env(OUTCOME, outcome));
    };
    child("authority.pem", &nginx.url("/jwks.json"), "ok");
    child("authority.pem", &nginx.url("/moved"), "status");
    child("authority.pem", &nginx.url("/nothing"), "status");
    child("stranger.pem", &nginx.url("/jwks.json"), "unreachable");
    let other_name = nginx.url("/jwks.json").replace("127.0.0.1", "localhost");
    child("authority.pem", &other_name, "unreachable");
    look_at_an_instance(directory, &nginx.url("/jwks.json?apikey=sesame")).await;
}

async fn fetch_in_child(url: &str) {
    let [token, outcome] = [TOKEN, OUTCOME].map(|name| env::var(name).unwrap());
    let metrics = Metrics::new("embedded").unwrap();
    let sign_in = sign_in(KeySet::default(), Some(url));
    for task in sign_in.tasks(&metrics.tokens, &CancellationToken::new()) {
        tokio::spawn(task);
    }
    let fetches = metrics.tokens.jwks_fetches.with_label_values(&[&outcome]);
    eventually("the request has ended", async || {
        if fetches.get() > 0 { Ok(()) } else { Err(metrics.render().unwrap()) }
    })
    .await;
    let verified = sign_in.verify(&token, SystemTime::now());
    if outcome == "ok" {
        assert!(verified.is_ok(), "{verified:?}");
    } else {
        assert_eq!(verified, Err(TokenError::UnknownKey));
    }
}

/// Goal: an instance fetches the keys by itself, and shows nothing that may be secret. Method: its metrics and its log.
async fn look_at_an_instance(directory: &Path, url: &str) {
    let authority = directory.join("authority.pem").display().to_string();
    let mut instance = Instance::start(&[
        ("SSL_CERT_FILE", &authority),
        ("HEADCOUNT_JWT_KEYS", url),
        ("HEADCOUNT_JWT_ISSUER", ISSUER),
        ("HEADCOUNT_JWT_AUDIENCE", AUDIENCE),
    ])
    .await;
    eventually("the keys are known", async || {
        match instance.metric("headcount_jwks_keys").await? {
            3.0 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let age = instance.metric("headcount_jwks_age_seconds").await.unwrap();
    assert!(age < Duration::from_mins(1).as_secs_f64(), "{age}");
    let named =
        "tokens are verified with these keys mode=Optional keys=those of https://127.0.0.1:";
    let told = ["fetched the keys of an issuer", "keys=3", named];
    let log = instance.process().logged(&told).await;
    assert!(!log.contains("sesame"), "{log}");
}
