//! The largest rooms, for the console: a list of all rooms, and searches by how their names begin.
//!
//! Reading all rooms of a large site takes Redis some time, so one question is asked at a time, and its answer serves all who
//! ask the same within [`FRESH_FOR`]. Nothing is asked while nobody looks.
//!
//! ```text
//!  a page asks ──▶ wanted ──▶ task ──one question──▶ store
//!       ▲                      │
//!       └────── answers ◀──────┘
//! ```

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::words;
use crate::{
    core::room::{ROOM_BYTES_MAX, RoomName},
    store::{RoomsQuery, Store, StoreError},
    telemetry::escaped::Escaped,
};

/// The most rooms that are listed.
const LISTED_MAX: usize = 20;
/// How long an answer serves everybody who asks the same. Open pages ask again after this time.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// The least time between two questions.
const GAP: Duration = Duration::from_millis(500);
/// After a question the store is left alone for so many times as long as that took.
const REST_FACTOR: u32 = 9;
/// The longest rest.
const REST_MAX: Duration = Duration::from_mins(1);
/// The most searches that wait, and the most answers that are kept: one for each of some operators.
const SEARCHES_MAX: usize = 16;
/// How long a page waits for an answer. Then it says that there is none yet.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the form of the page sends.
#[derive(Clone, Debug, Default, Deserialize)]
pub(in crate::ops) struct Search {
    /// How the names begin.
    #[serde(default)]
    prefix: String,
}

/// The list on the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct LargestRooms {
    /// The search that the list answers, as it was typed.
    pub(super) prefix: String,
    pub(super) rooms: Vec<RoomRow>,
    pub(super) note: String,
}

/// One room.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct RoomRow {
    /// The name as it is.
    pub(super) key: String,
    /// The name, with escapes for what cannot be seen or would change the text around it.
    pub(super) name: String,
    pub(super) users: String,
    /// Its share of the largest room, as the length of a bar.
    pub(super) width: String,
}

impl RoomRow {
    /// An empty item, which the page's script copies.
    pub(super) fn blank() -> Self {
        Self { width: "0%".to_owned(), ..Self::default() }
    }
}

/// The searches that wait, and the last answers.
#[derive(Debug, Default)]
pub(super) struct Searches {
    state: Mutex<State>,
    /// A search waits.
    asked: Notify,
    /// Changes with each answer.
    answers: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    wanted: VecDeque<String>,
    /// The newest is the last.
    answers: VecDeque<Answer>,
}

#[derive(Clone, Debug)]
struct Answer {
    prefix: String,
    at: Instant,
    rooms: Result<Arc<[(RoomName, u64)]>, Arc<StoreError>>,
}

impl Search {
    /// How the names begin that are looked for. Every name begins with a slash, so that need not be typed.
    fn beginning(&self) -> String {
        let typed = self.prefix.trim();
        if typed.is_empty() || typed.starts_with('/') {
            return typed.to_owned();
        }
        format!("/{typed}")
    }
}

impl Searches {
    /// The largest rooms of a search: an answer of the last seconds, or a new one if it comes in time.
    pub(super) async fn find(&self, search: &Search) -> LargestRooms {
        let beginning = search.beginning();
        let typed = search.prefix.trim().to_owned();
        let say = |note: &str| LargestRooms {
            prefix: typed.clone(),
            rooms: Vec::new(),
            note: note.to_owned(),
        };
        if beginning.len() > ROOM_BYTES_MAX {
            return say("A name has at most 128 bytes.");
        }
        let mut news = self.answers.subscribe();
        if self.fresh(&beginning).is_none() && !self.want(&beginning) {
            return say("Too many searches wait. Try again in some seconds.");
        }
        let found = timeout(ANSWER_WITHIN, async {
            loop {
                if let Some(answer) = self.fresh(&beginning) {
                    return answer;
                }
                if news.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        });
        match found.await.ok().or_else(|| self.last(&beginning)) {
            None => say("There is no answer yet. The page asks again in some seconds."),
            Some(Answer { rooms: Err(error), .. }) => say(&format!("The last question: {error}.")),
            Some(Answer { rooms: Ok(rooms), .. }) if rooms.is_empty() => {
                say(if beginning.is_empty() {
                    "Nobody is in a room."
                } else {
                    "No room's name begins so."
                })
            }
            Some(Answer { rooms: Ok(rooms), at, .. }) => LargestRooms {
                prefix: typed,
                note: note(rooms.len(), at.elapsed()),
                rooms: rows(&rooms),
            },
        }
    }

    /// Task: asks the store what pages want to know, until `stop`.
    pub(super) async fn run(&self, store: Arc<dyn Store>, stop: CancellationToken) {
        let mut rest_until = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asked.notified() => {}
            }
            while let Some(prefix) = self.next() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = sleep_until(rest_until) => {}
                }
                let began = Instant::now();
                // Not cancelled by `stop`: the store ends it by itself.
                let query = RoomsQuery { prefix: prefix.clone(), most: LISTED_MAX };
                let rooms = store.rooms(query).await;
                let took = began.elapsed();
                rest_until = Instant::now() + (took * REST_FACTOR).clamp(GAP, REST_MAX);
                self.answer(prefix, rooms);
            }
        }
    }

    /// Puts a search into the queue, unless it waits already. Returns false if too many wait.
    fn want(&self, beginning: &str) -> bool {
        let mut state = self.state();
        if state.wanted.iter().any(|wanted| wanted == beginning) {
            return true;
        }
        if state.wanted.len() >= SEARCHES_MAX {
            return false;
        }
        state.wanted.push_back(beginning.to_owned());
        drop(state);
        self.asked.notify_one();
        true
    }

    /// The search that has waited longest. It stays in the queue until it is answered.
    fn next(&self) -> Option<String> {
        self.state().wanted.front().cloned()
    }

    fn answer(&self, prefix: String, rooms: Result<Vec<(RoomName, u64)>, StoreError>) {
        let mut state = self.state();
        state.wanted.retain(|wanted| *wanted != prefix);
        state.answers.retain(|answer| answer.prefix != prefix);
        let rooms = rooms.map(Arc::from).map_err(Arc::new);
        state.answers.push_back(Answer { prefix, at: Instant::now(), rooms });
        if state.answers.len() > SEARCHES_MAX {
            state.answers.pop_front();
        }
        drop(state);
        self.answers.send_modify(|answers| *answers = answers.wrapping_add(1));
    }

    fn last(&self, beginning: &str) -> Option<Answer> {
        self.state().answers.iter().find(|answer| answer.prefix == beginning).cloned()
    }

    fn fresh(&self, beginning: &str) -> Option<Answer> {
        self.last(beginning).filter(|answer| answer.at.elapsed() < FRESH_FOR)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(rooms: usize, age: Duration) -> String {
    let what = if rooms == LISTED_MAX {
        format!("the {LISTED_MAX} largest")
    } else {
        words::several(rooms as u64, "room")
    };
    format!("{what}, as the store said {} ago", words::moment(age))
}

fn rows(rooms: &[(RoomName, u64)]) -> Vec<RoomRow> {
    let largest = rooms.first().map_or(0, |(_, users)| *users);
    let row = |(name, users): &(RoomName, u64)| RoomRow {
        key: name.as_str().to_owned(),
        name: Escaped::new(name.as_str()).as_str().to_owned(),
        users: words::number(*users),
        width: format!("{}%", words::percent(*users, largest)),
    };
    rooms.iter().map(row).collect()
}

#[cfg(test)]
#[path = "rooms/tests.rs"]
mod tests;
