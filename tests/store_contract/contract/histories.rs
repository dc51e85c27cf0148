//! Random histories: both stores must give the same replies.

use headcount::core::{
    count::{Count, Revision, Sequence},
    report::{LEASE_MAX, Report, ReportKind},
};
use proptest::{prelude::*, test_runner::TestRunner};

use crate::{
    roster::about,
    setup::{Backend, Instance, Subject},
};

/// One step of a history: the instance, its sequence, its count, what it has seen, the kind of the report, and the name that
/// it tells.
type Step = (usize, u64, u64, (u64, u64), u8, Option<u8>);

/// Goal: both stores give the same replies. Method: send the same random histories of late, repeated,
/// forgetful and final reports to both. Every reply must be the same, and the count must be the sum of the
/// newest reports.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_stores_give_the_same_replies() {
    let histories = proptest::collection::vec(
        (
            0_usize..4,
            1_u64..12,
            0_u64..5,
            (0_u64..25, 0_u64..9),
            0_u8..8,
            proptest::option::weighted(0.3, 0_u8..3),
        ),
        1..40,
    );
    let runtime = tokio::runtime::Handle::current();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) };
    tokio::task::spawn_blocking(move || {
        let outcome = TestRunner::new(config)
            .run(&histories, |history| runtime.block_on(replies_are_the_same(history)));
        assert!(outcome.is_ok(), "{outcome:?}");
    })
    .await
    .unwrap();
}

async fn replies_are_the_same(history: Vec<Step>) -> Result<(), TestCaseError> {
    let (embedded, redis) = (Subject::new(Backend::Embedded), Subject::new(Backend::Redis));
    let instances: Vec<_> = (0..4).map(|_| Instance::new(0)).collect();
    let mut newest = [(0, 0); 4];
    for (who, sequence, users, (revision, seen_users), kind, host) in history {
        let kind = match kind {
            0 => ReportKind::Farewell,
            1 => ReportKind::Audit,
            _ => ReportKind::Plain,
        };
        let report = Report {
            users,
            seen: Count { users: seen_users, revision: Revision(revision), ..Count::default() },
            kind,
            about: host.map(|host| about(&format!("web-{host}"))),
            ..Report::new(instances[who].incarnation, Sequence(sequence), LEASE_MAX)
        };
        let one = embedded.store.report(report.clone()).await.unwrap();
        let mut other = redis.store.report(report).await.unwrap();
        // Their clocks differ, so they may announce at different steps.
        other.announced = one.announced;
        other.unannounced = one.unannounced;
        other.count.stamp = one.count.stamp;
        if sequence > newest[who].0 {
            newest[who] = (sequence, if kind == ReportKind::Farewell { 0 } else { users });
        }
        let sum: u64 = newest.iter().map(|(_, users)| users).sum();
        prop_assert_eq!(one.count.users, sum);
        prop_assert_eq!(one, other);
    }
    let abouts = async |subject: &Subject| {
        let instances = subject.store.roster().await.unwrap().instances;
        instances.into_iter().map(|one| (one.incarnation, one.about)).collect::<Vec<_>>()
    };
    prop_assert_eq!(abouts(&embedded).await, abouts(&redis).await);
    Ok(())
}
