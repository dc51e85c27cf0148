//! The counts that newcomers and other clients get while nothing is reported.

use rstest::rstest;

use super::*;
use crate::{core::tally::NEWCOMER_PATIENCE, fixtures::answer_late};

/// Goal: a reporter that is held up does not keep newcomers waiting, and all clients are told the estimate once the lease
/// has ended. Method: no reporter at all; one answered report with a short lease, then a client that joins, and a count of
/// other instances.
#[tokio::test]
async fn without_reports_all_are_told_the_estimate() {
    const LEASE: Duration = Duration::from_millis(600);
    let mut stage = Stage::new();
    stage.view.send_modify(|view| view.begin_incarnation(Incarnation::random(), LEASE));
    let mut first = stage.websocket_joins(0).await;
    let answered_at = Instant::now();
    stage.start = answered_at;
    stage.acknowledged(5);
    let (view, stop) = (Arc::new(stage.view.clone()), CancellationToken::new());
    let observer = Observer::new(
        stage.tally.subscribe(),
        crate::core::rooms::Rooms::<()>::new(0),
        Arc::clone(&view),
    );
    let broadcaster = stage.broadcaster.take().expect("it is not away");
    let told = async {
        first.hears(&[5]).await;
        stage.start = Instant::now();
        let mut second = stage.websocket_joins(0).await;
        second.hears(&[6]).await;
        assert!(stage.start.elapsed() >= NEWCOMER_PATIENCE, "the store might have counted it");
        // The reporter is still blocked when others have taken our one user out.
        sleep_until(answered_at + LEASE).await;
        let count = count(4, 9);
        view.send_modify(|view| view.fold(count, Instant::now()));
        first.hears(&[6]).await;
        stop.cancel();
    };
    tokio::join!(observer.run(stop.clone()), broadcaster.run(stop.clone()), told);
}

/// Goal: a client that was told an estimate is not told an exact count that leaves it out; all others are. Method: a client joins while
/// a report is under way, which is answered after the client's patience, on an instance that had an answer before and on one that
/// had none. Then the store counts the client.
#[rstest]
#[case::before_any_answer(false, [&[2, 1, 2][..], &[2, 2]])]
#[case::after_an_answer(true, [&[3, 1, 2][..], &[4, 2]])]
#[tokio::test]
async fn exact_counts_leave_nobody_out(#[case] is_exact: bool, #[case] told: [&[u64]; 2]) {
    let mut stage = Stage::new();
    let mut first = stage.websocket_joins(0).await;
    let reported = stage.observed();
    if is_exact {
        stage.acknowledged(3);
        stage.act(0).await;
    }
    let mut late = stage.websocket_joins(100).await;
    stage.observed();
    stage.act(400).await;

    stage.sequence = stage.sequence.next();
    let without = count(1, stage.sequence.0);
    answer_late(reported, &stage.view, without, stage.start);
    stage.act(500).await;
    stage.acknowledged(2);
    stage.act(600).await;
    first.hears(told[0]).await;
    late.hears(told[1]).await;
    assert!(stage.broadcaster().provisional.is_empty());
}
