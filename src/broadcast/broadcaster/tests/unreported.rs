//! The counts that newcomers and other clients get while nothing is reported.

use crate::core::tally::NEWCOMER_PATIENCE;

use super::*;

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
