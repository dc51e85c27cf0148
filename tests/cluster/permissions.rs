//! An operator changes the permissions of instances on Redis: no key is lost, the log names the denied command, and all
//! is exact again once it is allowed.

use deadpool_redis::redis::{self, Connection};
use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    machine::Machine,
    redis_client::KEY,
    redis_server::RedisServer,
    waiting::eventually,
};

/// Goal: a denied command costs no key and no visitor, and is named in the log. All is exact again once it is allowed.
/// Method: three clients on an instance whose user lacks one command after the other, of those that read, write and run
/// scripts. Meanwhile one more client joins and leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_denied_command_is_named_and_costs_nothing() {
    let redis = RedisServer::start(&[]);
    let mut connection = redis.connection();
    set_user(&mut connection, &["reset", "on", ">secret", "~*", "&*", "+@all"]);
    let url = redis.url().replace("//", "//instances:secret@");
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 1, &settings).await;
    let public = cluster.instances[0].public;
    let clients: Vec<_> = (0..3).map(|_| Client::open(public, Transport::Websocket)).collect();
    cluster.agrees_on(3, &records_of(&clients)).await;

    for (command, told) in
        [("hget", "(HGET)"), ("publish", "(PUBLISH)"), ("zadd", "(ZADD)"), ("evalsha", "evalsha")]
    {
        set_user(&mut connection, &[&format!("-{command}")]);
        let visitor = Client::open(public, Transport::Websocket);
        eventually("an estimate is shown", async || match cluster.instances[0].shown().await? {
            shown if shown.exact || shown.count != 4 => Err(format!("{shown:?}")),
            _ => Ok(()),
        })
        .await;
        // The peaks are stored some seconds after the first count.
        let mut both = redis::pipe();
        both.atomic().cmd("DBSIZE").exists("{currentUsers}:peaks");
        let (keys, peaks): (u64, u64) = both.query(&mut connection).expect("Redis runs");
        assert_eq!(keys - peaks, 6, "without {command}");
        cluster.instances[0].process().logged(&[told, "denies access"]).await;

        set_user(&mut connection, &[&format!("+{command}")]);
        let visitors = records_of(std::slice::from_ref(&visitor));
        cluster.agrees_on(4, &visitors).await;
        drop(visitor);
        cluster.agrees_on(3, &records_of(&clients)).await;
    }
    let counted: u64 = redis::cmd("GET").arg(KEY).query(&mut connection).expect("Redis runs");
    assert_eq!(counted, 3);
}

fn set_user(connection: &mut Connection, rules: &[&str]) {
    redis::cmd("ACL")
        .arg("SETUSER")
        .arg("instances")
        .arg(rules)
        .exec(connection)
        .expect("Redis runs");
}
