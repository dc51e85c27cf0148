//! When the readers of the counts are woken. Waking them is dear, and a room that nobody looks at is told too late.

use std::collections::HashMap;

use futures_util::FutureExt;
use proptest::{collection::vec, prelude::*};
use tokio::sync::watch;

use super::*;

/// A story whose reader looks only when it is woken, and whose reporter is awake only then, too.
struct Vigil {
    story: Story,
    news: watch::Receiver<u64>,
    /// When reader and reporter wake up by themselves.
    reader_wakes: Option<Instant>,
    reporter_wakes: Option<Instant>,
    presences: Vec<RoomPresence<&'static str>>,
    /// The report that is under way, and the counts of its rooms.
    sent: Option<(Sent, Vec<u64>)>,
    revision: u64,
}

impl Vigil {
    fn new() -> Self {
        let story = Story::new();
        let news = story.rooms.subscribe();
        let (reader_wakes, reporter_wakes) = (None, None);
        let presences = Vec::new();
        Self { story, news, reader_wakes, reporter_wakes, presences, sent: None, revision: 1 }
    }

    /// Whether the reader has woken up since the last time.
    fn is_woken(&mut self) -> bool {
        let is_due = |at: Option<Instant>, now| at.is_some_and(|at| at <= now);
        let rooms = &self.story.rooms;
        if rooms.reports().notified().now_or_never().is_some()
            || is_due(self.reporter_wakes, self.story.now)
        {
            self.reporter_wakes = rooms.wake_for_overdue(self.story.now);
        }
        let is_woken =
            self.news.has_changed().unwrap() || is_due(self.reader_wakes, self.story.now);
        self.news.mark_unchanged();
        is_woken
    }

    /// The reader looks. One that was not woken sets no timer.
    fn look(&mut self, is_woken: bool) -> Vec<DueRoom<&'static str>> {
        let due = self.story.take_due();
        if is_woken {
            self.reader_wakes = self.story.rooms.patience_ends();
        }
        due
    }

    fn send(&mut self) {
        if self.sent.is_none() {
            let sent = self.story.send();
            let named = |said: &RoomReport| match &said.room {
                Room::Site => 0,
                Room::Named(name) => self.story.rooms.users_here(name).total(),
            };
            let counts = sent.said.iter().map(named).collect();
            self.sent = Some((sent, counts));
        }
    }

    fn answer(&mut self) {
        let Some((sent, counts)) = self.sent.take() else { return };
        self.revision += 1;
        // A store that holds something else makes the reporter begin again, which is not of interest here.
        let _ = self.story.answer(&sent, self.revision, &counts);
    }

    fn lose(&mut self) {
        if let Some((sent, _)) = self.sent.take() {
            self.story.lose(&sent);
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Join(usize),
    JoinAs(usize, usize),
    Watch(usize),
    Ask(usize),
    Leave(usize),
    Send,
    Answer,
    Lose,
    Page(usize, u64),
    Wait(u64),
}

const NAMES: [&str; 3] = ["/a", "/b", "/c"];

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3usize).prop_map(Step::Join),
        3 => (0..3usize, 0..2usize).prop_map(|(room, user)| Step::JoinAs(room, user)),
        1 => (0..3usize).prop_map(Step::Watch),
        1 => (0..3usize).prop_map(Step::Ask),
        5 => (0..9usize).prop_map(Step::Leave),
        4 => Just(Step::Send),
        4 => Just(Step::Answer),
        1 => Just(Step::Lose),
        1 => (0..3usize, 0..5u64).prop_map(|(room, count)| Step::Page(room, count)),
        2 => (0..300u64).prop_map(Step::Wait),
    ];
    vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Goal: whoever looks at the rooms only when it is woken, tells nothing later than whoever looks all the time. Method: random
    /// joins, leaves, reports, answers and pages; after each, a reader who was not woken looks all the same, and finds nothing.
    #[test]
    fn nothing_is_to_be_told_to_who_was_not_woken(steps in steps()) {
        let (mut vigil, mut shown) = (Vigil::new(), HashMap::new());
        for step in steps {
            // The view wakes its readers, too.
            let is_view_news = matches!(step, Step::Answer | Step::Lose);
            let story = &mut vigil.story;
            match step {
                Step::Join(room) => vigil.presences.push(story.join(NAMES[room])),
                Step::JoinAs(room, user) => {
                    let user = ["v:1", "v:2"][user];
                    vigil.presences.push(story.join_as(user, NAMES[room]));
                }
                Step::Watch(room) => vigil.presences.push(story.watch(NAMES[room])),
                Step::Ask(name) => {
                    let until = story.now + Duration::from_mins(1);
                    story.rooms.ask(&room(NAMES[name]), story.now, until).unwrap();
                }
                Step::Leave(which) if which < vigil.presences.len() => {
                    vigil.presences.swap_remove(which);
                }
                Step::Leave(_) => {}
                Step::Send => vigil.send(),
                Step::Answer => vigil.answer(),
                Step::Lose => vigil.lose(),
                Step::Page(room, count) => {
                    let since = vigil.revision;
                    vigil.revision += 1;
                    story.page(since, vigil.revision, &[(NAMES[room], count)]);
                }
                Step::Wait(millis) => {
                    story.now += Duration::from_millis(millis);
                    story.rooms.expire(story.now);
                }
            }
            let is_woken = vigil.is_woken() || is_view_news;
            for due in vigil.look(is_woken) {
                // Whoever was told an estimate is told the count again, which may wait for another one.
                let is_news = shown.insert(due.id, due.shown.users) != Some(due.shown.users);
                let must_be_told = is_news || due.is_over || !due.newcomers.is_empty();
                prop_assert!(is_woken || !must_be_told, "{due:?}");
            }
        }
    }
}

/// Goal: a join and a leave that go to the store wake the readers with its answer and not before; a newcomer who waits too long wakes
/// them, too. Method: members of a room whose count is exact.
#[test]
fn readers_sleep_until_the_store_answers() {
    let mut vigil = Vigil::new();
    vigil.presences.push(vigil.story.join("/a"));
    vigil.send();
    vigil.answer();
    vigil.story.take_due();
    vigil.is_woken();

    vigil.presences.push(vigil.story.join("/a"));
    assert!(!vigil.is_woken(), "the newcomer waits for the answer");
    vigil.send();
    vigil.answer();
    assert!(vigil.is_woken());
    assert_eq!(vigil.story.take_due().len(), 1);

    vigil.presences.pop();
    assert!(!vigil.is_woken(), "the count is the same until the answer");

    vigil.presences.push(vigil.story.join("/b"));
    assert!(!vigil.is_woken());
    vigil.story.now += NEWCOMER_PATIENCE;
    assert!(vigil.is_woken());
    assert_eq!(vigil.story.take_due().len(), 1);
}

/// Goal: a newcomer that no report is made for waits no longer than others. Method: it joins while the report of a leave is under way,
/// which the next report will repeat.
#[test]
fn who_comes_while_a_report_is_under_way_is_told_in_time() {
    let mut vigil = Vigil::new();
    vigil.presences.extend([vigil.story.join("/a"), vigil.story.join("/a")]);
    vigil.send();
    vigil.answer();
    vigil.is_woken();
    vigil.look(true);
    vigil.presences.pop();
    vigil.send();
    assert!(!vigil.is_woken(), "the reporter has made the report");
    vigil.presences.push(vigil.story.join("/a"));
    assert!(!vigil.is_woken(), "it waits for the answer");
    vigil.story.now += NEWCOMER_PATIENCE;
    assert!(vigil.is_woken(), "it has waited long enough");
    assert_eq!(vigil.look(true).len(), 1);
}
