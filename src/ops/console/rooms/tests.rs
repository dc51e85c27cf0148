//! Tests of the searches for rooms, with a store that counts the questions.

#![allow(clippy::disallowed_methods, reason = "a test ends its tasks with its runtime")]

use std::sync::atomic::{AtomicUsize, Ordering};

use rstest::rstest;
use tokio::task::JoinHandle;

use super::*;
use crate::{
    core::report::{Reply, Report, Roster},
    store::{Announcements, StoreFuture},
};

/// A store that answers each question for rooms after some time, with rooms named after the question.
#[derive(Debug, Default)]
struct Asked {
    takes: Duration,
    questions: AtomicUsize,
    is_away: bool,
}

impl Store for Asked {
    fn report(&self, _: Report) -> StoreFuture<'_, Reply> {
        unreachable!("the console reports nothing")
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        unreachable!("the console subscribes to nothing")
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        unreachable!("a search wants no roster")
    }

    fn rooms(&self, query: RoomsQuery) -> StoreFuture<'_, Vec<(RoomName, u64)>> {
        Box::pin(async move {
            self.questions.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(self.takes).await;
            if self.is_away {
                return Err(StoreError::Timeout(self.takes));
            }
            if query.prefix.ends_with("none") {
                return Ok(Vec::new());
            }
            let room = |end: &str| RoomName::parse(&format!("/{}{end}", query.prefix)).unwrap();
            Ok(vec![(room("a"), 1200), (room("\u{202e}b"), 3)])
        })
    }

    fn kind(&self) -> &'static str {
        "test"
    }
}

/// The task of the searches.
struct Stage {
    store: Arc<Asked>,
    searches: Arc<Searches>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    fn new(store: Asked) -> Self {
        let (store, searches) = (Arc::new(store), Arc::new(Searches::default()));
        let stop = CancellationToken::new();
        let (asked, of_task, until) = (Arc::clone(&store), Arc::clone(&searches), stop.clone());
        let task = tokio::spawn(async move { of_task.run(asked, until).await });
        Self { store, searches, stop, task }
    }

    async fn find(&self, prefix: &str) -> LargestRooms {
        self.searches.find(&Search { prefix: prefix.to_owned() }).await
    }

    fn questions(&self) -> usize {
        self.store.questions.load(Ordering::Relaxed)
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Goal: one question serves all who ask the same, and nobody asks while nobody looks. Method: many pages at once, again
/// while the answer is fresh, and later.
#[tokio::test(start_paused = true)]
async fn one_question_serves_all() {
    let stage = Stage::new(Asked { takes: Duration::from_millis(10), ..Asked::default() });
    let found = futures_util::future::join_all((0..40).map(|_| stage.find("/b"))).await;
    assert_eq!(stage.questions(), 1);
    assert!(found.iter().all(|other| *other == found[0]), "{found:?}");
    assert_eq!(found[0].rooms[0].users, "1,200");
    assert_eq!(found[0].rooms[1].name, "//b\\u{202e}b", "what cannot be seen is escaped");
    tokio::time::advance(FRESH_FOR.saturating_sub(Duration::from_millis(1))).await;
    stage.find("/b").await;
    assert_eq!(stage.questions(), 1, "the answer is fresh");
    tokio::time::advance(Duration::from_hours(1)).await;
    assert_eq!(stage.questions(), 1, "nobody looks");
    stage.find("/b").await;
    assert_eq!(stage.questions(), 2);
    stage.end().await;
}

/// Goal: a store that needs long for an answer is left alone for longer, and a page does not wait for it. Method: a store that
/// needs three seconds; two different searches.
#[tokio::test(start_paused = true)]
async fn a_slow_store_is_spared() {
    let stage = Stage::new(Asked { takes: Duration::from_secs(3), ..Asked::default() });
    let began = Instant::now();
    let found = stage.find("/b").await;
    assert!(found.rooms.is_empty() && found.note.contains("no answer yet"), "{found:?}");
    assert_eq!(began.elapsed(), ANSWER_WITHIN);
    assert!(stage.find("/c").await.note.contains("no answer yet"));
    sleep_until(began + Duration::from_secs(29)).await;
    assert_eq!(stage.questions(), 1, "nine times as long as the question took has not passed");
    sleep_until(began + Duration::from_secs(31)).await;
    assert_eq!(stage.questions(), 2);
    stage.end().await;
}

/// Goal: whatever is typed is bounded. Method: a text that is too long, and more different searches than may wait.
#[tokio::test(start_paused = true)]
async fn searches_are_bounded() {
    let stage = Stage::new(Asked { takes: Duration::from_secs(1), ..Asked::default() });
    let long = "/".repeat(ROOM_BYTES_MAX + 1);
    assert!(stage.find(&long).await.note.contains("128 bytes"));
    assert_eq!(stage.questions(), 0);
    let many: Vec<_> = (0..SEARCHES_MAX + 9).map(|number| format!("/{number}")).collect();
    let notes = futures_util::future::join_all(many.iter().map(|prefix| stage.find(prefix))).await;
    let refused = notes.iter().filter(|found| found.note.contains("Too many searches")).count();
    assert_eq!(refused, 9);
    tokio::time::sleep(Duration::from_mins(10)).await;
    assert_eq!(stage.questions(), SEARCHES_MAX);
    assert_eq!(stage.searches.state().answers.len(), SEARCHES_MAX);
    stage.find("/one-more").await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(stage.searches.state().answers.len(), SEARCHES_MAX, "the oldest is forgotten");
    stage.end().await;
}

/// Goal: the page says why there is no list. Method: a store that is away, and searches that find nothing.
#[tokio::test(start_paused = true)]
async fn an_empty_list_says_why() {
    let away = Stage::new(Asked { is_away: true, ..Asked::default() });
    assert!(away.find("").await.note.starts_with("The last question: failed to get an answer"));
    away.end().await;
    let stage = Stage::new(Asked::default());
    assert_eq!(stage.find("none").await.note, "No room's name begins so.");
    stage.end().await;
}

/// Goal: the slash that every name begins with need not be typed. Method: with it, without it, and nothing.
#[rstest]
#[case("/blog", "/blog")]
#[case(" blog/ ", "/blog/")]
#[case("", "")]
#[case("  ", "")]
fn beginnings(#[case] typed: &str, #[case] beginning: &str) {
    assert_eq!(Search { prefix: typed.to_owned() }.beginning(), beginning);
}
