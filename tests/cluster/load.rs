//! `headcount load` with real instances: its report, its exit codes, and how it is stopped.

mod people;

use headcount_testkit::{
    client::{Client, Transport},
    cluster::{Cluster, records_of},
    instance::{Instance, Process},
    machine::Machine,
    waiting::eventually,
};
use rstest::rstest;
use rustix::process::Signal;
use serde_json::Value;

/// Starts a load on these instances with additional flags and a report as JSON.
fn load(instances: &[Instance], flags: &[&str]) -> Process {
    let urls = instances.iter().map(|instance| format!("--url=http://{}", instance.public));
    let urls: Vec<String> = urls.collect();
    let urls = urls.iter().map(String::as_str);
    let arguments: Vec<&str> = ["load", "--json"].into_iter().chain(urls).collect();
    Process::spawn(&[&arguments, flags].concat(), &[])
}

/// Waits for the end, and returns the exit code and the report.
async fn ended(load: &mut Process) -> (Option<i32>, Value) {
    let (status, _) = load.ended().await;
    let report = serde_json::from_str(&load.stdout());
    (status.code(), report.expect("a report in JSON on stdout, and nothing else"))
}

/// The numbers of a report at these pointers.
fn numbers<const N: usize>(report: &Value, pointers: [&str; N]) -> [u64; N] {
    pointers.map(|pointer| {
        let number = report.pointer(pointer).and_then(Value::as_u64);
        number.unwrap_or_else(|| panic!("no number at {pointer} in {report}"))
    })
}

/// Goal: a good run is reported exactly, leaves no visitor connected, and exits with 0. Method: 40 visitors
/// on two instances for each transport, through at least one ping. Then the instances must show 0.
#[rstest]
#[case("websocket")]
#[case("polling")]
#[tokio::test(flavor = "multi_thread")]
async fn a_good_run_is_reported(#[case] transport: &str) {
    let cluster = Cluster::start_with(2, &[("HEADCOUNT_PING_INTERVAL", "1s")]).await;
    let transport_flag = format!("--transport={transport}");
    let flags = ["--connections=40", "--rate=200", "--hold=2s", "--alone", &transport_flag];
    let mut load = load(&cluster.instances, &flags);
    let (code, report) = ended(&mut load).await;
    assert_eq!(code, Some(0), "{report}");
    let pointers = ["/started", "/connected", "/left", "/missing", "/end/connections"];
    assert_eq!(numbers(&report, pointers), [40, 40, 0, 0, 40], "{report}");
    let pointers = ["/end/count", "/end/others", "/end/disagreeing", "/end/servers_disagreeing"];
    assert_eq!(numbers(&report, pointers), [40, 0, 0, 0], "{report}");
    let pointers = ["/end/servers/0/count", "/end/servers/1/count"];
    assert_eq!(numbers(&report, pointers), [40, 40], "{report}");
    let [samples, counts] = numbers(&report, ["/connect_to_count/samples", "/counts_received"]);
    assert!(samples == 40 && counts >= 40, "{report}");
    let latency = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64);
    let (join, connect) = (latency("/join_to_count/max_ms"), latency("/connect_to_count/max_ms"));
    assert!(Some(0.0) < join && join <= connect, "{report}");
    assert_eq!((&report["right"], &report["stopped_early"]), (&true.into(), &false.into()));
    assert_eq!(report["transport"], *transport);
    assert!(load.stderr().contains("joining"), "progress in plain lines: {}", load.stderr());
    cluster.agrees_on(0, &[]).await;
}

/// Goal: visitors that leave are replaced, and the count stays right. Method: many leaves among few visitors,
/// also in a wave.
#[tokio::test(flavor = "multi_thread")]
async fn churn_and_waves_end_on_the_right_count() {
    let cluster = Cluster::start(2).await;
    let flags = ["--connections=30", "--rate=100", "--leave-rate=30", "--vary=2s", "--hold=3s"];
    let (code, report) = ended(&mut load(&cluster.instances, &flags)).await;
    assert_eq!(code, Some(0), "{report}");
    let [started, connected, left, at_end] =
        numbers(&report, ["/started", "/connected", "/left", "/end/connections"]);
    // The wave goes down to 15. Who leaves in one step is replaced in the next one, which may come late on a busy machine.
    assert!(left >= 30 && (5..=30).contains(&at_end), "{report}");
    assert_eq!((started, connected), (left + at_end, left + at_end), "{report}");
}

/// Goal: refused visitors are reported with the reason and make the run fail, while the accepted ones get
/// right counts. Method: an instance with room for 10 of 25 visitors, and then no server at all.
#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_reported() {
    let mut cluster = Cluster::start_with(1, &[("HEADCOUNT_MAX_CONNECTIONS", "10")]).await;
    let flags = ["--connections=25", "--rate=200", "--hold=200ms"];
    let (code, report) = ended(&mut load(&cluster.instances, &flags)).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/connected", "/refused/status 503", "/missing", "/end/disagreeing"];
    assert_eq!(numbers(&report, pointers), [10, 15, 15, 0], "{report}");

    cluster.instances[0].process().signal(Signal::KILL);
    cluster.instances[0].process().ended().await;
    let flags = ["--connections=3", "--rate=200", "--hold=10ms", "--settle=0s"];
    let (code, report) = ended(&mut load(&cluster.instances, &flags)).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/connected", "/refused/connection refused", "/end/servers_disagreeing"];
    assert_eq!(numbers(&report, pointers), [0, 3, 1], "{report}");
}

/// Goal: a wrong count is found. Method: two instances that do not share a store, so that each shows its
/// visitors half of the truth.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_count_fails_the_run() {
    let _machine = Machine::shared().await;
    let instances = [Instance::start(&[]).await, Instance::start(&[]).await];
    let flags = ["--connections=20", "--rate=200", "--hold=100ms", "--settle=500ms"];
    let (code, report) = ended(&mut load(&instances, &flags)).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/connected", "/end/disagreeing", "/end/told_instead/10", "/missing"];
    assert_eq!(numbers(&report, pointers), [20, 20, 20, 0], "{report}");
    assert_eq!(report["right"], false);
}

/// Goal: other visitors are not an error, unless `--alone` is set. Method: the same run with and without
/// `--alone` beside one other client. The table says in words what happened.
#[tokio::test(flavor = "multi_thread")]
async fn other_visitors_are_told_from_wrong_counts() {
    let cluster = Cluster::start(1).await;
    let other = Client::open(cluster.instances[0].public, Transport::Websocket);
    cluster.agrees_on(1, &records_of([&other])).await;
    let flags = ["--connections=5", "--hold=100ms", "--settle=1s"];
    let (code, report) = ended(&mut load(&cluster.instances, &flags)).await;
    assert_eq!((code, numbers(&report, ["/end/others", "/end/count"])), (Some(0), [1, 6]));
    let alone = [&flags[..], &["--alone"]].concat();
    let (code, report) = ended(&mut load(&cluster.instances, &alone)).await;
    assert_eq!((code, numbers(&report, ["/end/disagreeing"])), (Some(1), [5]), "{report}");

    let url = format!("--url=http://{}", cluster.instances[0].public);
    let mut table = Process::spawn(&[&["load", &url], &flags[..]].concat(), &[]);
    let (status, _) = table.ended().await;
    let text = table.stdout();
    assert_eq!(status.code(), Some(0), "{text}");
    for line in ["connected                  5\n", "  1 others\n", "verdict                right\n"]
    {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
}

/// Goal: every room of a run is judged, on every transport. Method: visitors in two of ten rooms each, evenly and unevenly, on two
/// instances that share a store.
#[rstest]
#[case("websocket", "0")]
#[case("polling", "1")]
#[tokio::test(flavor = "multi_thread")]
async fn rooms_are_judged(#[case] transport: &str, #[case] skew: &str) {
    let cluster = Cluster::start(2).await;
    let (transport, skew) = (format!("--transport={transport}"), format!("--skew={skew}"));
    let flags = ["--connections=20", "--rate=100", "--hold=200ms", "--leave-rate=20", "--alone"];
    let rooms = ["--rooms=10", "--per-connection=2", "--prefix=/blog/post-", &transport, &skew];
    let (code, report) = ended(&mut load(&cluster.instances, &[&flags[..], &rooms].concat())).await;
    assert_eq!(code, Some(0), "{report}");
    let pointers = ["/rooms/end/rooms", "/rooms/end/right", "/rooms/end/memberships"];
    let [connections] = numbers(&report, ["/end/connections"]);
    assert_eq!(numbers(&report, pointers), [10, 10, 2 * connections], "{report}");
    let [samples, started] = numbers(&report, ["/rooms/join_to_count/samples", "/started"]);
    assert_eq!(samples, 2 * started, "{report}");
    assert_eq!(report["rooms"]["end"]["worst"], Value::Null, "{report}");
    cluster.agrees_on(0, &[]).await;
}

/// Goal: a wrong count of a room fails the run, which names the worst room, and rooms that the server refuses are reported. Method: two
/// instances that do not share a store; then visitors of more rooms than one connection may be in.
#[tokio::test(flavor = "multi_thread")]
async fn wrong_rooms_fail_the_run() {
    let _machine = Machine::shared().await;
    let instances = [Instance::start(&[]).await, Instance::start(&[]).await];
    let flags = ["--connections=20", "--rate=200", "--hold=100ms", "--settle=500ms"];
    let rooms = ["--rooms=4", "--per-connection=3"];
    let (code, report) = ended(&mut load(&instances, &[&flags[..], &rooms].concat())).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/rooms/end/rooms", "/rooms/end/right", "/rooms/end/disagreeing"];
    let [rooms, right, disagreeing] = numbers(&report, pointers);
    assert!(rooms == 4 && right == 0 && disagreeing == 60, "{report}");
    assert_eq!(report["rooms"]["end"]["worst"]["room"], "/load/0", "{report}");
    let rooms = ["--rooms=20", "--per-connection=9"];
    let (code, report) = ended(&mut load(&instances, &[&flags[..], &rooms].concat())).await;
    assert_eq!(code, Some(1), "{report}");
    let pointers = ["/refused/room refused: too_many_rooms", "/connected", "/missing"];
    assert_eq!(numbers(&report, pointers), [20, 0, 20], "{report}");
}

/// Goal: Ctrl-C ends a run early, with its report, and all visitors leave in order. Method: send the signal
/// while the run holds its visitors. The server must see only orderly leaves.
#[tokio::test(flavor = "multi_thread")]
async fn a_signal_ends_it_early_with_the_report() {
    let cluster = Cluster::start(1).await;
    let mut load = load(&cluster.instances, &["--connections=12", "--hold=0s"]);
    cluster.agrees_on(12, &[]).await;
    load.signal(Signal::INT);
    let (code, report) = ended(&mut load).await;
    assert_eq!(code, Some(0), "{report}");
    assert_eq!(numbers(&report, ["/connected", "/end/count"]), [12, 12], "{report}");
    assert_eq!(report["stopped_early"], true);
    cluster.agrees_on(0, &[]).await;
    let page = headcount_testkit::http::get(cluster.instances[0].admin, "/metrics")
        .await
        .expect("metrics");
    let orderly = "headcount_disconnects_total{reason=\"client_left\"} 12\n";
    assert!(page.body.contains(orderly), "{}", page.body);
}

/// Goal: a visitor that loses its connection makes the run fail. With `--reconnect` it reconnects instead,
/// also after a refusal. Method: an instance that is killed; then one that is full until others leave.
#[tokio::test(flavor = "multi_thread")]
async fn losses_are_reported_or_made_good() {
    let mut cluster = Cluster::start_with(2, &[("HEADCOUNT_MAX_CONNECTIONS", "10")]).await;
    let mut faithless = load(&cluster.instances, &["--connections=8", "--hold=0s"]);
    cluster.agrees_on(8, &[]).await;
    let mut killed = cluster.instances.pop().expect("there are two");
    killed.process().signal(Signal::KILL);
    cluster.agrees_on(4, &[]).await;
    faithless.signal(Signal::INT);
    let (code, report) = ended(&mut faithless).await;
    assert_eq!((code, numbers(&report, ["/missing", "/left"])), (Some(1), [4, 0]), "{report}");

    cluster.agrees_on(0, &[]).await;
    let others: Vec<Client> =
        (0..5).map(|_| Client::open(cluster.instances[0].public, Transport::Websocket)).collect();
    cluster.agrees_on(5, &records_of(&others)).await;
    let flags = ["--connections=8", "--hold=0s", "--reconnect"];
    let mut faithful = load(&cluster.instances, &flags);
    cluster.agrees_on(10, &records_of(&others)).await;
    eventually("somebody is refused", async || {
        let refused = cluster.instances[0].metric("headcount_refused_total").await?;
        if refused >= 3.0 { Ok(()) } else { Err(format!("{refused} refused")) }
    })
    .await;
    for other in others {
        other.leave().await;
    }
    eventually("those who were refused are back", async || {
        match cluster.instances[0].metric("headcount_connects_total").await? {
            // 4 of the first run, 5 others, and all 8.
            17.0 => Ok(()),
            connects => Err(connects.to_string()),
        }
    })
    .await;
    cluster.agrees_on(8, &[]).await;
    faithful.signal(Signal::INT);
    let (code, report) = ended(&mut faithful).await;
    assert_eq!((code, numbers(&report, ["/missing", "/end/count"])), (Some(0), [0, 8]), "{report}");
}

/// Goal: wrong flags are refused like wrong settings. Method: one flag of each kind. Expect exit code 2, the
/// flag, its value and the allowed values on stderr, and nothing on stdout.
#[rstest]
#[case("--url", "127.0.0.1:3000", "http://127.0.0.1:3000")]
#[case("--connections", "1000000000", "file limit")]
#[case("--rate", "0", "0.01")]
#[case("--hold", "long", "0s")]
#[case("--transport", "pigeon", "websocket or polling")]
#[case("--tabs", "2", "--identities")]
#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_of_load_are_refused(
    #[case] flag: &str,
    #[case] value: &str,
    #[case] allowed: &str,
) {
    let mut process = Process::spawn(&["load", &format!("{flag}={value}")], &[]);
    let (status, _) = process.ended().await;
    let stderr = process.stderr();
    assert_eq!((status.code(), process.stdout().as_str()), (Some(2), ""), "{stderr}");
    for word in [flag, value, allowed] {
        assert!(stderr.contains(word), "no {word:?} in {stderr}");
    }
}
