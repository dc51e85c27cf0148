//! What a store says of itself: asked for by operators, and of no consequence to anything else.

use deadpool_redis::redis;
use headcount::store::{Store, StoreError, embedded::EmbeddedStore, facts::StoreRole};
use headcount_testkit::redis_server::RedisServer;

use crate::setup::{LONG, redis_store, unique_name};

/// Goal: Redis says what it is, and an embedded store has nothing to say. Method: a server with a limit on its memory.
#[tokio::test]
async fn a_store_describes_itself() {
    assert_eq!(EmbeddedStore::new().facts().await.unwrap(), None);
    let server = RedisServer::start(&["--maxmemory", "64mb"]);
    let store = redis_store(&server.url(), &unique_name(), LONG);
    let facts = store.facts().await.unwrap().unwrap();
    let program = facts.program.as_str();
    assert!(program.starts_with("Redis ") || program.starts_with("Valkey "), "{program}");
    assert!(program.chars().any(|character| character.is_ascii_digit()), "{program}");
    assert_eq!((facts.role, facts.memory_max), (StoreRole::Primary(0), Some(64 << 20)));
    assert!(facts.memory_used > 0);
}

/// Goal: a user who may not ask is told so, and can do all else. Method: one whose rights are the documented ones.
#[tokio::test]
async fn who_may_not_ask_can_do_all_else() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connection();
    let key = unique_name();
    let rights = "reset on >secret +@read +@write +@pubsub +@connection +@scripting +time";
    let mut user = redis::cmd("ACL");
    user.arg("SETUSER").arg("instances").arg(rights.split(' ').collect::<Vec<_>>());
    user.arg(format!("~{key}")).arg(format!("~{{{key}}}:*")).arg("&*");
    user.exec(&mut connection).unwrap();
    let url = server.url().replace("//", "//instances:secret@");
    let store = redis_store(&url, &key, LONG);
    let denied = store.facts().await.unwrap_err();
    assert!(matches!(denied, StoreError::Denied(_)), "{denied}");
    assert!(!denied.to_string().contains("secret"), "{denied}");
    store.roster().await.unwrap();
    redis::cmd("ACL").arg("SETUSER").arg("instances").arg("+info").exec(&mut connection).unwrap();
    assert!(store.facts().await.unwrap().is_some());
}
