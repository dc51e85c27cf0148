//! Tests of the report: its text and its JSON are interfaces.

use headcount_client::Error;

use super::*;
use crate::{flags::tests::check, stats::Stats, verdict::Evidence};

fn report(told: &[u64]) -> Report {
    report_with(&[], told, None, None)
}

/// The report of a run in which each visitor is a user, unless it has identities: then all of them are two.
fn report_with(
    flags: &[&str],
    told: &[u64],
    rooms: Option<RoomsVerdict>,
    on_the_way: Option<OnTheWay>,
) -> Report {
    let stats = Stats::new();
    for (number, _) in (0..).zip(told) {
        stats.started();
        stats.joined(number, Duration::from_micros(1500), Duration::from_micros(750));
        stats.room_joined(Duration::from_micros(500));
    }
    stats.refused(&Error::Status(503).into());
    let url = "http://127.0.0.1:3000".to_owned();
    let servers = vec![ServerSays { url, count: Some(3), exact: Some(true) }];
    let users = if on_the_way.is_some() { 2 } else { told.len() as u64 };
    let evidence = Evidence { last_counts: told.to_vec(), users, servers, alone: false };
    Report::of(Run {
        config: &check(flags).unwrap(),
        totals: &stats.totals(),
        counts_received: 7,
        missing: 0,
        verdict: Verdict::of(evidence),
        rooms,
        others_at_start: 0,
        on_the_way,
        took: Duration::from_millis(12_345),
        settled: Duration::from_millis(12),
        stopped_early: false,
    })
}

/// Goal: the report is readable and complete. Method: compare the text of a small run.
#[test]
fn the_table() {
    let text = report(&[3, 2]).to_string();
    let expected = "\
headcount load: websocket to http://127.0.0.1:3000, 12.3 s

visitors                   2
connected                  2
refused                    1  1 status 503
lost                       0
left                       0
counts received            7

latency in ms            p50       p90       p99     p99.9       max
connect to count        1.50      1.50      1.50      1.50      1.50
join to count           0.75      0.75      0.75      0.75      0.75

at the end, after 12 ms without joins and leaves
count                      3  1 others
connections                2  0 missing
disagreeing                1  1 told 2
http://127.0.0.1:3000 says 3
verdict                WRONG";
    assert_eq!(text, expected);
}

/// Goal: the JSON report has stable names for scripts. Method: compare the names, for a successful run.
#[test]
fn the_json() {
    let json = serde_json::to_value(report(&[3, 3])).unwrap();
    assert_eq!(json["right"], true);
    assert_eq!(json["refused"]["status 503"], 1);
    assert_eq!(json["connect_to_count"]["p99_9_ms"], 1.5);
    assert_eq!(json["join_to_count"]["samples"], 2);
    assert_eq!(json["end"]["disagreeing"], 0);
    assert_eq!(json["end"]["servers"][0]["count"], 3);
}

/// Goal: a run with rooms says how many were right, and what is wrong in the worst one, and a wrong room makes the whole run
/// wrong. Method: compare the lines of a run with one wrong room, and the JSON.
#[test]
fn rooms_are_reported() {
    let verdict = Verdict::of(Evidence {
        last_counts: vec![2, 1],
        users: 2,
        servers: vec![ServerSays { url: "http://a".to_owned(), count: Some(2), exact: Some(true) }],
        alone: false,
    });
    let end = RoomsVerdict::of([(7, verdict)].into_iter(), |room| format!("/\u{202e}{room}"));
    let wrong = report_with(&["--rooms=9", "--per-connection=2"], &[3, 3], Some(end), None);
    let text = wrong.to_string();
    for line in [
        "\nof a room               0.50      0.50      0.50      0.50      0.50\n",
        "\nrooms                      1  2 memberships\n",
        "\nrooms right                0  1 memberships disagree\n",
        "\nworst room        /\\u{202e}7: count 2, 1 told 1, http://a says 2\n",
        "\nverdict                WRONG",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let json = serde_json::to_value(&wrong).unwrap();
    assert_eq!(json["rooms"]["end"]["worst"]["told_instead"]["1"], 1);
    assert_eq!(
        (&json["rooms"]["number"], &json["rooms"]["per_connection"]),
        (&9.into(), &2.into())
    );
    assert!(serde_json::to_value(report(&[3, 3])).unwrap().get("rooms").is_none());
}

/// Goal: a run without any connection has a report too. Method: a run without visitors.
#[test]
fn nobody_connected() {
    let report = report(&[]);
    assert_eq!((report.connect_to_count.samples, report.connect_to_count.samples), (0, 0));
    assert!(report.to_string().contains("connect to count        0.00"));
}

/// Goal: a run with identities says how many users there were, and what was wrong on the way, which makes the whole run wrong.
/// Method: compare the lines of a good run and of a bad one, and the JSON.
#[test]
fn identities_are_reported() {
    let flags = ["--identities=2", "--tabs=3"];
    let on_the_way = OnTheWay { judged: 9, ..OnTheWay::default() };
    let right = report_with(&flags, &[3; 6], None, Some(on_the_way.clone()));
    let text = right.to_string();
    for line in [
        "\ncount                      3  1 others\n",
        "\nusers                      2  2 identities by visitor key, 3 connections each\n",
        "\nconnections                6  0 missing\n",
        "\ncounts wrong               0  of 9 on the way\n",
        "\nverdict                right",
    ] {
        assert!(text.contains(line), "no {line:?} in {text}");
    }
    let worst = WrongCount { room: Some("/\u{202e}7".to_owned()), told: 6, allowed: 2 };
    let on_the_way = OnTheWay { too_many: 2, too_few: 1, worst: Some(worst), ..on_the_way };
    let wrong = report_with(&flags, &[3; 6], None, Some(on_the_way));
    let text = wrong.to_string();
    let lines = "\ncounts wrong               3  of 9 on the way: 2 too many, 1 too few; told 6 instead of 2 \
                 in /\\u{202e}7\nverdict                WRONG";
    assert!(text.ends_with(lines), "{text}");
    let json = serde_json::to_value(&wrong).unwrap();
    assert_eq!(json["identities"]["on_the_way"]["worst"]["told"], 6);
    assert_eq!((&json["end"]["users"], &json["end"]["connections"]), (&2.into(), &6.into()));
    assert!(serde_json::to_value(report(&[3, 3])).unwrap().get("identities").is_none());
}
