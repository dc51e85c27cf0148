//! Instances have names: operators find one and the same wherever they meet it.

use std::collections::BTreeMap;

use deadpool_redis::redis;
use headcount_testkit::{
    cluster::Cluster,
    http,
    instance::{Instance, Process},
    redis_client::KEY,
    waiting::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

/// Goal: one instance is one name, with one incarnation, in the log, in the metrics, in the readiness, in the API and in
/// `headcount status`. Method: two instances with names of their own; each place is read, and the others must say the same.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_has_one_name_everywhere() {
    let mut cluster = Cluster::start_with(0, &[]).await;
    for name in ["kitchen-2", "cellar"] {
        cluster.add(&[("HEADCOUNT_INSTANCE_NAME", name)]).await;
    }
    let mut told = BTreeMap::new();
    for instance in &cluster.instances {
        let answer = http::get(instance.public, "/api/count").await.expect("it answers").body;
        let answer: Value = serde_json::from_str(&answer).expect("it is JSON");
        let [host, id] = ["host", "instance"].map(|field| answer[field].as_str().expect("a text"));
        let ready = http::get(instance.admin, "/readyz").await.expect("it answers").body;
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!("ready\nhost: {host}\nincarnation: {id}\nversion: {version}\n");
        assert_eq!(ready, expected);
        let metrics = http::get(instance.admin, "/metrics").await.expect("it answers").body;
        for label in [format!("host=\"{host}\""), format!("incarnation=\"{id}\"")] {
            let is_in =
                |line: &str| line.starts_with("headcount_build_info{") && line.contains(&label);
            assert!(metrics.lines().any(is_in), "no {label} in {metrics}");
        }
        told.insert(id.to_owned(), host.to_owned());
    }
    for (instance, (id, host)) in cluster.instances.iter_mut().zip(&told) {
        let log = instance.process().logged(&["instance starts"]).await;
        let is_start = |line: &str| {
            line.contains("instance starts") && line.contains(id) && line.contains(host)
        };
        assert!(log.lines().any(is_start), "no {host} and {id} in {log}");
    }
    let status = status(&cluster, &["--json"]).await;
    let status: Value = serde_json::from_str(&status).expect("it is JSON");
    let listed = status["instances"].as_array().expect("a list").iter();
    let text = |entry: &Value, field: &str| entry[field].as_str().expect("a text").to_owned();
    let listed = listed.map(|entry| (text(entry, "incarnation"), text(entry, "host")));
    assert_eq!(listed.collect::<BTreeMap<_, _>>(), told);
    assert_eq!(told.values().collect::<Vec<_>>(), ["kitchen-2", "cellar"], "the older one first");
}

/// Goal: an instance that nobody named goes by its host's name. Method: ask one.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_name_it_is_the_hosts() {
    let instance = Instance::start(&[]).await;
    let answer = http::get(instance.public, "/api/count").await.expect("it answers").body;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("there is one");
    assert!(answer.contains(&format!("\"host\":\"{}\"", host.trim_end())), "{answer}");
}

/// Goal: operators see that an instance drains, and no instance that is gone; what somebody deletes comes back. Method: one of
/// two is asked to end, with a long delay, and then at once; meanwhile the names are deleted from Redis.
#[tokio::test(flavor = "multi_thread")]
async fn operators_see_who_drains() {
    let mut cluster = Cluster::start_with(0, &[]).await;
    cluster.add(&[("HEADCOUNT_INSTANCE_NAME", "cellar"), ("HEADCOUNT_DRAIN_DELAY", "60s")]).await;
    cluster.add(&[("HEADCOUNT_INSTANCE_NAME", "kitchen-2")]).await;
    let shows = async |cluster: &Cluster, wished: [(&str, bool); 2]| {
        eventually(&format!("the status says {wished:?}"), async || {
            let text = status(cluster, &[]).await;
            let right = wished.iter().all(|(host, drains)| {
                text.lines()
                    .any(|line| line.starts_with(host) && line.ends_with("draining") == *drains)
            });
            if right { Ok(()) } else { Err(text) }
        })
        .await
    };
    shows(&cluster, [("cellar", false), ("kitchen-2", false)]).await;
    cluster.instances[0].process().signal(Signal::TERM);
    shows(&cluster, [("cellar", true), ("kitchen-2", false)]).await;
    let mut redis = cluster.redis.connection();
    let key = format!("{{{KEY}}}:about");
    redis::cmd("DEL").arg(&key).exec(&mut redis).expect("Redis runs");
    let ((), took) = shows(&cluster, [("cellar", true), ("kitchen-2", false)]).await;
    println!("deleted names were back after {took:?}");
    cluster.instances[0].process().signal(Signal::TERM);
    cluster.instances[0].process().ended().await;
    eventually("who is gone is in no list", async || {
        let names: Vec<String> =
            redis::cmd("HVALS").arg(&key).query(&mut redis).expect("Redis runs");
        if names.len() == 1 && names[0].contains("kitchen-2") {
            Ok(())
        } else {
            Err(format!("{names:?}"))
        }
    })
    .await;
}

/// What `headcount status` prints.
async fn status(cluster: &Cluster, arguments: &[&str]) -> String {
    let url = cluster.redis.url();
    let arguments = [&["status"], arguments].concat();
    let mut process = Process::spawn(&arguments, &[("HEADCOUNT_REDIS_URL", &url)]);
    process.ended().await;
    process.stdout()
}
