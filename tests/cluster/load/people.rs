//! `headcount load` with identities: each is counted once, however many connections it has.

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Process, Setting},
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::Value;

use super::{ended, load, numbers};

/// The numbers of a report that must be 0 if all was right.
const WRONG: [&str; 5] = [
    "/missing",
    "/end/disagreeing",
    "/end/servers_disagreeing",
    "/identities/on_the_way/too_many",
    "/identities/on_the_way/too_few",
];

/// Goal: people with several tabs are counted once, in the site and in rooms, at the end and on the way, and the other numbers say how
/// many connections they have. Method: 12 identities with 3 connections each on two instances, beside 9 visitors without, all of whom are
/// replaced again and again; what the instances and the store say meanwhile.
#[rstest]
#[case("websocket")]
#[case("polling")]
#[tokio::test(flavor = "multi_thread")]
async fn people_are_counted_once(#[case] transport: &str) {
    let cluster = Cluster::start(2).await;
    let transport = format!("--transport={transport}");
    let people = ["--identities=12", "--tabs=3", "--connections=45", "--rooms=4", &transport];
    let flags = ["--per-connection=2", "--rate=200", "--leave-rate=20", "--hold=0s", "--alone"];
    let mut load = load(&cluster.instances, &[&people[..], &flags].concat());
    eventually("all have come, and some again", async || {
        let mut sums = [0.0; 2];
        for instance in &cluster.instances {
            sums[0] += instance.metric("headcount_connects_total").await?;
            sums[1] += instance.metric("headcount_users{identity=\"visitor\"}").await?;
        }
        // Each is on both instances.
        if sums[0] >= 100.0 && sums[1] >= 24.0 { Ok(()) } else { Err(format!("{sums:?}")) }
    })
    .await;
    load.signal(Signal::INT);
    let (code, report) = ended(&mut load).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(numbers(&report, WRONG), [0; 5], "{report}");
    // The end may come between departures and the arrivals that make up for them: then some of the 45 are missing, more on a busy
    // machine, and each may have been a user by himself.
    let pointers = ["/connected", "/left", "/end/connections", "/end/users", "/end/count"];
    let [connected, left, connections, users, count] = numbers(&report, pointers);
    assert!(connections == connected - left && (36..=45).contains(&connections), "{report}");
    assert!(users == count && (21 + connections - 45..=21).contains(&users), "{report}");
    let pointers =
        ["/end/others", "/rooms/end/rooms", "/rooms/end/right", "/rooms/end/memberships"];
    assert_eq!(numbers(&report, pointers), [0, 4, 4, 2 * connections], "{report}");
    let [judged] = numbers(&report, ["/identities/on_the_way/judged"]);
    assert!(judged >= 45, "{report}");
    cluster.agrees_on(0, &[]).await;
}

/// Goal: `status` says how many users have an identity, and that the parts add up; `/api/count` and the metrics say who is on an
/// instance. Method: what each says while 5 identities with 2 connections each and 3 visitors without are connected to one instance.
#[tokio::test(flavor = "multi_thread")]
async fn users_and_connections_are_told() {
    let cluster = Cluster::start(1).await;
    let flags = ["--identities=5", "--tabs=2", "--connections=13", "--hold=0s"];
    let mut load = load(&cluster.instances, &flags);
    let instance = &cluster.instances[0];
    // The last of the users may be counted before the second connection of another one.
    let (answer, _) = eventually("all are counted, and all are here", async || {
        let answer = headcount_testkit::http::get(instance.public, "/api/count").await?;
        let answer: Value = serde_json::from_str(&answer.body).unwrap();
        let is_whole =
            answer["exact"] == true && numbers(&answer, ["/count", "/connections"]) == [8, 13];
        if is_whole { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    let users = ["/users_here/token", "/users_here/visitor", "/users_here/none"];
    assert_eq!(numbers(&answer, users), [0, 5, 3], "{answer}");
    for (kind, users) in [("token", 0.0), ("visitor", 5.0), ("none", 3.0)] {
        let name = format!("headcount_users{{identity=\"{kind}\"}}");
        assert_eq!(instance.metric(&name).await, Ok(users), "{kind}");
    }
    assert_eq!(instance.metric("headcount_connections").await, Ok(13.0));
    assert_eq!(instance.metric("headcount_drift_users").await, Ok(0.0));
    let url = cluster.redis.url();
    eventually("the instance has said how many connections it has", async || {
        let status = status(&[("HEADCOUNT_REDIS_URL", &url)]).await;
        let pointers =
            ["/count", "/sum", "/identified", "/instances/0/connections", "/instances/0/users"];
        match numbers(&status, pointers) {
            [8, 8, 5, 13, 8] => Ok(()),
            _ => Err(status.to_string()),
        }
    })
    .await;
    load.signal(Signal::INT);
    assert_eq!(ended(&mut load).await.0, Some(0));
}

async fn status(settings: &[Setting<'_>]) -> Value {
    let mut process = Process::spawn(&["status", "--json"], settings);
    process.ended().await;
    serde_json::from_str(&process.stdout()).expect("a status in JSON")
}

/// Goal: servers that count tabs as people fail the run, and the report says that they did so on the way. Method: instances that know no
/// visitor keys.
#[tokio::test(flavor = "multi_thread")]
async fn counted_tabs_fail_the_run() {
    let cluster = Cluster::start_with(2, &[("HEADCOUNT_VISITORS", "off")]).await;
    let flags = ["--identities=10", "--tabs=3", "--hold=100ms", "--settle=0s", "--alone"];
    let (code, report) = ended(&mut load(&cluster.instances, &flags)).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/end/connections", "/end/users", "/end/count", "/end/disagreeing"];
    assert_eq!(numbers(&report, pointers), [30, 10, 10, 30], "{report}");
    let [too_many, told] =
        numbers(&report, ["/identities/on_the_way/too_many", "/identities/on_the_way/worst/told"]);
    assert!(too_many > 0 && told > 10, "{report}");
}

/// Goal: a run that begins while users of an earlier one linger is judged by its own users: with `--alone` it waits until they are gone,
/// and says so. Method: two runs right after each other, of different people and with rooms, on instances with a grace that is as long
/// as a run; without the wait the second one is told both. Then somebody stays, and the table says what is wrong.
#[tokio::test(flavor = "multi_thread")]
async fn who_lingers_is_waited_for() {
    let cluster = Cluster::start_with(2, &[("HEADCOUNT_GRACE", "4s")]).await;
    let flags = ["--rate=200", "--hold=100ms", "--alone", "--rooms=3", "--tabs=2"];
    for identities in ["--identities=30", "--identities=10"] {
        let mut load = load(&cluster.instances, &[&flags[..], &[identities]].concat());
        let (code, report) = ended(&mut load).await;
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(numbers(&report, WRONG), [0; 5], "{report}");
        assert_eq!(report["others_at_start"], Value::Null, "{report}");
        let waited = load.stderr().contains("waiting until nobody else is online");
        assert_eq!(waited, identities == "--identities=10", "{}", load.stderr());
    }
    let other = Client::open(cluster.instances[0].public, Transport::Websocket);
    eventually("the other is alone", async || cluster.all_say(1, &records_of([&other])).await)
        .await;
    let url = format!("--url=http://{}", cluster.instances[0].public);
    let flags = ["load", &url, "--connections=3", "--hold=10ms", "--settle=0s", "--alone"];
    let mut load = Process::spawn(&flags, &[]);
    let (status, _) = load.ended().await;
    let line = "at the start               1  others online, but with --alone there must be none\n";
    assert!(status.code() == Some(1) && load.stdout().contains(line), "{}", load.stdout());
}
