//! The peaks of the site, as programs and operators see them: through crashes, restarts and losses of data.

use std::{process::Command, time::Duration};

use deadpool_redis::redis;
use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    http,
    instance::Instance,
    machine::Machine,
    program,
    redis_server::RedisServer,
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The hash of the peaks.
const PEAKS: &str = "{currentUsers}:peaks";

fn clients(instance: &Instance, count: usize) -> Vec<Client> {
    (0..count).map(|n| Client::open(instance.public, Transport::ALL[n % 3])).collect()
}

/// What an instance says about today and ever.
async fn peaks_of(instance: &Instance) -> Result<[Value; 2], String> {
    let answer = http::get(instance.public, "/api/count").await?;
    let answer: Value = serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
    Ok(["peak_today", "peak_ever"].map(|period| answer[period].clone()))
}

/// Waits until every instance says that this is the peak of today and ever, and at the same time. Returns what they say.
async fn peak_becomes(cluster: &Cluster, users: u64) -> Value {
    let look = async || {
        let [_, ever] = peaks_of(&cluster.instances[0]).await?;
        for instance in &cluster.instances {
            let said = peaks_of(instance).await?;
            if said.iter().any(|peak| *peak != ever || peak["count"] != users) {
                return Err(format!("{} says {said:?}", instance.public));
            }
        }
        Ok(ever)
    };
    eventually(&format!("the peak is {users}"), look).await.0
}

/// Goal: users who come back after a crash, and are counted twice until the lease ends, raise no peak; and an instance that
/// stood still does not either. Method: kill -9 of one of three instances, whose users come back elsewhere at once. Then SIGSTOP
/// of another until its users are out of the count, and SIGCONT. Then one more user comes than ever, so that all counts before
/// are decided.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_raises_no_peak() {
    let mut cluster = Cluster::start(3).await;
    let mut all: Vec<_> = cluster.instances.iter().map(|instance| clients(instance, 4)).collect();
    cluster.agrees_on(12, &records_of(all.iter().flatten())).await;
    peak_becomes(&cluster, 12).await;

    let mut crashed = cluster.instances.remove(1);
    crashed.process().signal(Signal::KILL);
    drop(all.remove(1));
    all.push(clients(&cluster.instances[0], 4));
    eventually("they are counted twice", async || match cluster.instances[0].shown().await? {
        shown if shown.count == 16 && shown.exact => Ok(()),
        shown => Err(format!("{shown:?}")),
    })
    .await;
    cluster.agrees_on(12, &records_of(all.iter().flatten())).await;

    let mut sleeper = cluster.instances.remove(1);
    sleeper.process().signal(Signal::STOP);
    cluster.agrees_on(8, &records_of([&all[0][0]])).await;
    sleeper.process().signal(Signal::CONT);
    cluster.instances.push(sleeper);
    cluster.agrees_on(12, &records_of(all.iter().flatten())).await;
    for instance in &cluster.instances {
        let said = peaks_of(instance).await.expect("it answers");
        assert!(said.iter().all(|peak| peak["count"] == 12), "{said:?}");
    }

    all.push(clients(&cluster.instances[1], 1));
    peak_becomes(&cluster, 13).await;
}

/// Goal: a count that lasted for a moment is a peak on every instance, although an instance that was part of it ends in order
/// right after it. Method: five users on two instances. One instance is stopped as soon as all are counted.
#[tokio::test(flavor = "multi_thread")]
async fn a_moment_and_a_farewell_are_a_peak() {
    let mut cluster = Cluster::start_with(2, &[("HEADCOUNT_DRAIN", "0s")]).await;
    let staying = clients(&cluster.instances[0], 2);
    let leaving = clients(&cluster.instances[1], 3);
    cluster.agrees_on(5, &records_of(staying.iter().chain(&leaving))).await;
    let mut ending = cluster.instances.remove(1);
    ending.process().signal(Signal::TERM);
    let (status, _) = ending.process().ended().await;
    assert!(status.success(), "{status}");
    peak_becomes(&cluster, 5).await;
}

/// Goal: the peaks outlive all instances, and all of Redis' data as long as one instance lives; every way of asking says the
/// same. Method: three users; FLUSHALL; then all instances end, and one new one starts.
#[tokio::test(flavor = "multi_thread")]
async fn peaks_outlive_instances_and_data() {
    let quick = [("HEADCOUNT_DRAIN", "0s")];
    let mut cluster = Cluster::start_with(2, &quick).await;
    let users = clients(&cluster.instances[0], 3);
    cluster.agrees_on(3, &records_of(&users)).await;
    let peak = peak_becomes(&cluster, 3).await;
    let at = peak["at"].as_str().expect("a time");
    let at = humantime::parse_rfc3339(at).expect("a time in UTC");
    assert!(at.elapsed().expect("it is over") < Duration::from_mins(1), "{peak}");

    let stored = async || match cluster.redis_client.send(&["HGET", PEAKS, "ever"]).await? {
        redis::Value::BulkString(text) if text.starts_with(b"{\"count\":3,\"at\":") => {
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        other => Err(format!("{other:?}")),
    };
    let (before, _) = eventually("it is stored", stored).await;
    cluster.redis_client.send(&["FLUSHALL"]).await.expect("Redis runs");
    let (given_back, _) = eventually("it is given back", stored).await;
    assert_eq!(given_back, before);
    cluster.agrees_on(3, &records_of(&users)).await;

    drop(users);
    for mut instance in std::mem::take(&mut cluster.instances) {
        instance.process().signal(Signal::TERM);
        instance.process().ended().await;
    }
    cluster.add(&quick).await;
    let still = peak_becomes(&cluster, 3).await;
    assert_eq!(still, peak);
    assert_eq!(peaks_of(&cluster.instances[0]).await, Ok([peak.clone(), peak.clone()]));
    let metric = cluster.instances[0].metric("headcount_peak_users").await;
    assert_eq!(metric, Ok(6.0), "today and ever");
    let status = |arguments: &[&str]| {
        let url = cluster.redis.url();
        let mut status = Command::new(program::path());
        let output = status.args(["status", "--redis-url", &url]).args(arguments).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let told: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    assert_eq!([&told["peak_today"]["count"], &told["peak_ever"]["count"]], [&json!(3), &json!(3)]);
    assert!(status(&[]).contains("\npeak today 3 at 2"), "{}", status(&[]));
}

/// Goal: without rights on the key of the peaks all counts are right, the log says once what is missing, and no peak is shown.
/// With the rights the peaks come. Method: a user with the documented rights but for that key.
#[tokio::test(flavor = "multi_thread")]
async fn counting_goes_on_without_the_right_to_keep_peaks() {
    let redis = RedisServer::start(&[]);
    let mut connection = redis.connection();
    let mut set_user = |rules: &[&str]| {
        let mut command = redis::cmd("ACL");
        command
            .arg("SETUSER")
            .arg("instances")
            .arg(rules)
            .exec(&mut connection)
            .expect("Redis runs");
    };
    let keys = ["connections", "sequence", "leases", "meta", "about"];
    let keys = keys.map(|key| format!("~{{currentUsers}}:{key}"));
    set_user(&["reset", "on", ">secret", "&*", "+@read", "+@write", "+@pubsub", "+@connection"]);
    set_user(&["+@scripting", "+time", "~currentUsers"]);
    for key in &keys {
        set_user(&[key]);
    }
    let url = redis.url().replace("//", "//instances:secret@");
    let settings = [("HEADCOUNT_REDIS_URL", url.as_str())];
    let mut cluster = Cluster::start_on(redis, Machine::shared().await, 1, &settings).await;
    let users = clients(&cluster.instances[0], 3);
    cluster.agrees_on(3, &records_of(&users)).await;
    eventually("the log says it", async || {
        let log = cluster.instances[0].process().stderr();
        match log.matches("failed to keep the peaks").count() {
            1 => Ok(()),
            _ => Err(log),
        }
    })
    .await;
    assert_eq!(peaks_of(&cluster.instances[0]).await, Ok([Value::Null, Value::Null]));
    set_user(&["~{currentUsers}:*"]);
    peak_becomes(&cluster, 3).await;
    let log = cluster.instances[0].process().logged(&["keeps the peaks again"]).await;
    assert_eq!(log.matches("failed to keep the peaks").count(), 1, "{log}");
    assert!(!log.contains("secret"), "{log}");
}

/// Goal: an answer of the API counts as another one when a peak changes, also while the count does not, and instances agree on
/// what is the same. Readers of the stream are told as well. Method: two users come; one goes before the peak is decided. The
/// tags of both instances are compared before and after.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_peak_is_a_new_answer() {
    let cluster = Cluster::start(2).await;
    let users = clients(&cluster.instances[0], 2);
    cluster.agrees_on(2, &records_of(&users)).await;
    let tags = async || {
        let mut tags = Vec::new();
        for instance in &cluster.instances {
            let answer = http::get(instance.public, "/api/count").await?;
            let body: Value =
                serde_json::from_str(&answer.body).map_err(|error| error.to_string())?;
            tags.push((answer.header("etag").to_owned(), body["peak_ever"]["count"].clone()));
        }
        if tags[0] == tags[1] { Ok(tags.remove(0)) } else { Err(format!("{tags:?}")) }
    };
    let decided = async |users: u64| {
        let look = async || match tags().await? {
            (tag, peak) if peak == users => Ok(tag),
            other => Err(format!("{other:?}")),
        };
        eventually("one tag with the peak", look).await.0
    };
    let tag = decided(2).await;
    for instance in &cluster.instances {
        let same = http::get_with(instance.public, "/api/count", &[("if-none-match", &tag)]).await;
        assert_eq!(same.map(|answer| answer.status), Ok(304));
    }
    let mut all = users;
    all.extend(clients(&cluster.instances[1], 1));
    cluster.agrees_on(3, &records_of(&all)).await;
    // On a busy machine the peak may be decided before anybody looks.
    let (undecided, peak) = tags().await.unwrap_or_default();
    let later = decided(3).await;
    assert!(later != tag && (later != undecided || peak == 3), "{later} after {undecided}");
}
