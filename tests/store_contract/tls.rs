//! The Redis store over TLS, with a user and a password. The certificate is trusted through `SSL_CERT_FILE`,
//! which is an environment variable. So a child process makes the connections: this test binary, started again
//! for this one test. It recognises its role by a variable.

use std::{
    env,
    process::{Command, Output},
};

use headcount::store::{Store, StoreError};
use headcount_testkit::{
    certificates,
    redis_server::{RedisServer, free_port},
    sentinel::Sentinel,
    sentinel_set::NAME,
};

use crate::setup::{Instance, LONG, next, redis_store};

/// Set in the child: the port of the server.
const PORT: &str = "HEADCOUNT_TEST_TLS_PORT";
/// Set in the child: the port of a sentinel that names the server.
const SENTINEL_PORT: &str = "HEADCOUNT_TEST_TLS_SENTINEL_PORT";
/// Set in the child if it does not trust the certificate.
const STRANGER: &str = "HEADCOUNT_TEST_TLS_STRANGER";

/// As written in a URL. The password is `hunter#2`.
const CREDENTIALS: &str = "margaret:hunter%232";

/// Goal: `rediss://` and `rediss+sentinel://` work with user and password, and only with a trusted certificate.
/// Method: a server and a sentinel with a certificate made for the test. One child process trusts it, another
/// does not.
#[tokio::test]
async fn tls_with_user_and_password() {
    if let Ok(port) = env::var(PORT) {
        return try_server(&port).await;
    }
    let certificates = tempfile::tempdir().unwrap();
    certificates::make(certificates.path());
    let path = |name: &str| certificates.path().join(name).display().to_string();
    let tls_port = free_port().to_string();
    let server = RedisServer::start(&[
        "--tls-port",
        &tls_port,
        "--tls-cert-file",
        &path("server.pem"),
        "--tls-key-file",
        &path("server.key"),
        "--tls-ca-cert-file",
        &path("authority.pem"),
        "--tls-auth-clients",
        "no",
    ]);
    let mut user = deadpool_redis::redis::cmd("ACL");
    user.arg(&["SETUSER", "margaret", "on", ">hunter#2", "~*", "&*", "+@all"]);
    user.exec(&mut server.connection()).unwrap();

    let sentinel = sentinel_with_tls(&tls_port, &path);
    let of = |command: &mut Command, authority: &str| {
        command
            .env("SSL_CERT_FILE", path(authority))
            .env(PORT, &tls_port)
            .env(SENTINEL_PORT, sentinel.port().to_string());
    };
    let trusting = child(|command| of(command, "authority.pem"));
    assert!(trusting.status.success(), "{trusting:?}");
    let stranger = child(|command| {
        of(command, "stranger.pem");
        command.env(STRANGER, "yes");
    });
    assert!(stranger.status.success(), "{stranger:?}");
}

/// A sentinel that accepts only TLS and names the server.
fn sentinel_with_tls(server: &str, path: &impl Fn(&str) -> String) -> Sentinel {
    let tls_port = free_port();
    let lines = format!(
        "tls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
        tls-replication yes\nsentinel monitor {NAME} 127.0.0.1 {server} 9\n\
        sentinel auth-user {NAME} margaret\nsentinel auth-pass {NAME} hunter#2\n",
        path("server.pem"),
        path("server.key"),
        path("authority.pem")
    );
    Sentinel::start_on_tls(tls_port, &lines)
}

fn child(settings: impl FnOnce(&mut Command)) -> Output {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "tls::tls_with_user_and_password"]).env_remove("SSL_CERT_DIR");
    settings(&mut command);
    command.output().unwrap()
}

async fn try_server(port: &str) {
    rustls::crypto::ring::default_provider().install_default().unwrap();
    let with = |credentials: &str| {
        redis_store(&format!("rediss://{credentials}@127.0.0.1:{port}"), "currentUsers", LONG)
    };
    let store = with(CREDENTIALS);
    let mut a = Instance::new(3);
    if env::var(STRANGER).is_ok() {
        let outcome = a.try_report(&store).await;
        assert!(matches!(outcome, Err(StoreError::Unreachable(_))), "{outcome:?}");
        assert!(matches!(store.subscribe().await, Err(StoreError::Unreachable(_))));
        return;
    }
    let mut announcements = store.subscribe().await.unwrap();
    let count = a.report(&store).await.count;
    assert_eq!(next(&mut announcements).await.unwrap().unwrap(), count);
    assert_eq!(store.roster().await.unwrap().users, 3);

    let sentinel = env::var(SENTINEL_PORT).unwrap();
    let url = format!("rediss+sentinel://{CREDENTIALS}@127.0.0.1:{sentinel}/{NAME}");
    let by_sentinel = redis_store(&url, "currentUsers", LONG);
    a.report_until_answered(&by_sentinel).await;
    assert_eq!(by_sentinel.roster().await.unwrap().users, 3);
    let _announcements = by_sentinel.subscribe().await.unwrap();

    let wrong = with("margaret:hunter3");
    let error = a.try_report(&wrong).await.unwrap_err();
    assert!(matches!(error, StoreError::Denied(_)), "{error:?}");
    let text = format!("{error} {error:?} {wrong:?} {store:?}");
    assert!(!text.contains("hunter") && !text.contains("margaret"), "{text}");
}
