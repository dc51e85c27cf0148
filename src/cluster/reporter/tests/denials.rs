//! Tests of a reporter whose store denies it rooms, and of its end.

use std::io;

use super::*;

/// The log of a test.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    /// Collects what this thread logs until the guard is dropped.
    fn begin() -> (Self, tracing::subscriber::DefaultGuard) {
        let log = Self::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    /// How many lines have this text.
    fn lines_with(&self, text: &str) -> usize {
        self.0.lock().unwrap().lines().filter(|line| line.contains(text)).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().push_str(str::from_utf8(bytes).unwrap());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Goal: a store that denies rooms does not make the site's count an estimate: reports go on without rooms, and name them again
/// every ten seconds. The log says once that they are denied, and once that they are taken again. Method: such a store, a join of a
/// room, and later one of the site; then the store takes rooms.
#[tokio::test(start_paused = true)]
async fn denied_rooms_leave_the_site_exact() {
    let (log, _collecting) = Log::begin();
    let stage = Stage::new(&[Rule::DenyRooms]);
    stage.pass(100).await;
    let _here = (stage.join(), stage.join_room("/a"));
    let mut was_exact = true;
    for _ in 0..4200 {
        stage.pass(5).await;
        was_exact &= stage.view.borrow().shown(Instant::now()).exact;
    }
    assert!(was_exact);
    assert_eq!(stage.shown().users, 1);
    let reports = stage.store.reports();
    let with_rooms: Vec<_> = reports.iter().map(|report| !report.rooms.is_empty()).collect();
    assert_eq!(
        with_rooms.iter().filter(|&&names| names).count(),
        3,
        "at once, after 10 s, after 20 s"
    );
    assert!(reports.len() < 50, "no more reports than heartbeats: {}", reports.len());
    let first = with_rooms.iter().position(|&names| names).unwrap();
    assert_eq!(reports[first + 1].kind, ReportKind::Audit);
    assert_eq!(reports[first + 1].users, 1);

    let name = RoomName::parse("/a").unwrap();
    let shown = || stage.rooms.shown(&name, &stage.view.borrow(), Instant::now()).unwrap();
    assert_eq!((shown().users, shown().exact), (1, false));
    let denials = || log.lines_with("rooms cannot be reported");
    let ends = || log.lines_with("rooms can be reported again");
    assert_eq!((denials(), ends()), (1, 0));
    let before = reports.len();
    *stage.store.rules.lock().unwrap() = vec![Rule::Answer];
    stage.pass(10_000).await;
    assert!(shown().exact);
    assert_eq!((denials(), ends()), (1, 1));
    let reports = stage.store.reports();
    let rooms = reports[before..].iter().flat_map(|report| &report.rooms);
    assert!(rooms.filter(|room| room.connections == Some(1)).count() > 0, "the room is reported");
    assert_eq!(stage.shown().users, 1);
}

/// Goal: a store that denies the site, too, is not taken for one that denies rooms. Method: a store that denies everything.
#[tokio::test(start_paused = true)]
async fn a_denied_site_is_an_estimate() {
    let stage = Stage::new(&[Rule::Answer, Rule::Deny]);
    stage.pass(100).await;
    let _here = (stage.join(), stage.join_room("/a"));
    stage.pass(100).await;
    assert_eq!((stage.shown().users, stage.shown().exact), (1, false));
}

/// Goal: a reporter that is stopped sends a farewell, which counts out all its users. Method: one user, then stop.
#[tokio::test(start_paused = true)]
async fn stopping_says_farewell() {
    let stage = Stage::new(&[Rule::Answer]);
    let _joined = stage.join();
    stage.pass(20).await;
    let reports = stage.finish().await;
    let last = reports.last().unwrap();
    assert_eq!((last.kind, last.users), (ReportKind::Farewell, 0));
    assert!(last.sequence > reports[reports.len() - 2].sequence);
}
