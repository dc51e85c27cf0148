//! The task behind the console: it samples this instance each second, and while somebody looks it asks the store, once a
//! second however many look, and tells all of them.

use std::{
    path::Path,
    pin::Pin,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{
    board::Board,
    counters::{Counters, by_label},
    history::{History, Sample},
    instances::Instances,
    look::{Facts, Look, StoreAnswers},
    pace::PACE,
    screen::Screen,
};
use crate::{
    core::{about::About, pace::whole_millis, peaks::ShownPeaks, report::Roster, view::View},
    engine::lifecycle::Engine,
    identity::sign_in::SignIn,
    memory::limit::resident_bytes,
    ops::drift::{connections, drift, drift_of_rooms},
    store::{Store, StoreError, facts::StoreFacts},
    telemetry::{labels::MembershipKind, metrics::Metrics},
};

/// How long operators wait for the store's answer before they are shown what there is. It answers in a millisecond.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);
/// What the store says of itself changes slowly.
const FACTS_EVERY: Duration = Duration::from_secs(5);
/// A user of Redis who may not ask is not asked for often: Redis keeps a log of what it denies.
const DENIED_EVERY: Duration = Duration::from_mins(1);

/// What the console looks at.
#[derive(Debug)]
pub struct Sources {
    /// The view.
    pub view: watch::Receiver<View>,
    /// What this instance says of itself.
    pub about: watch::Receiver<Arc<About>>,
    /// The sessions.
    pub engine: Arc<Engine>,
    /// What was counted.
    pub metrics: Metrics,
    /// The highest counts.
    pub peaks: watch::Receiver<ShownPeaks>,
    /// The keys of issuers.
    pub sign_in: SignIn,
    /// Where all instances are known.
    pub store: Arc<dyn Store>,
    /// The limit on the memory of this process, in bytes; `None` if there is none.
    pub memory_max: Option<u64>,
}

/// The task.
#[allow(missing_debug_implementations, reason = "the question under way cannot be shown")]
pub struct Lookout {
    sources: Sources,
    board: Arc<Board>,
    history: History,
    instances: Instances,
    answers: StoreAnswers,
    estimate_since: Option<Instant>,
    rooms_estimate_since: Option<Instant>,
    behind_since: Option<Instant>,
    /// The question under way. It is never dropped before its answer.
    question: Option<Question>,
    /// When the last question was asked, and when the store may be asked for facts again.
    asked: Option<Instant>,
    facts_due: Instant,
}

type Question = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// What came of a question.
struct Answer {
    at: Instant,
    took: Duration,
    roster: Result<Roster, StoreError>,
    facts: Option<Result<Option<StoreFacts>, StoreError>>,
}

impl Lookout {
    /// A task that shows what it sees on `board`.
    pub fn new(sources: Sources, board: Arc<Board>) -> Self {
        Self {
            sources,
            board,
            history: History::default(),
            instances: Instances::default(),
            answers: StoreAnswers::default(),
            estimate_since: None,
            rooms_estimate_since: None,
            behind_since: None,
            question: None,
            asked: None,
            facts_due: Instant::now(),
        }
    }

    /// Runs until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(PACE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_tick = tokio::select! {
                () = stop.cancelled() => break,
                answer = answer(&mut self.question) => { self.take(answer); continue }
                _ = ticks.tick() => true,
                () = self.board.wanted.notified() => false,
            };
            let now = Instant::now();
            if is_tick {
                self.sample(now);
            }
            if is_tick && !self.board.is_watched() {
                continue;
            }
            self.look(now).await;
        }
        if let Some(question) = self.question {
            question.await;
        }
        self.board.end().await;
    }

    /// Asks the store if it is time, waits a little for its answer, and shows all that is known.
    async fn look(&mut self, now: Instant) {
        let is_due = self.asked.is_none_or(|at| now.saturating_duration_since(at) >= PACE_LEAST);
        if is_due && self.question.is_none() {
            self.ask(now);
        }
        if self.question.is_some() {
            tokio::select! {
                answer = answer(&mut self.question) => self.take(answer),
                () = sleep_until(now + ANSWER_WITHIN) => {}
            }
        }
        let screen = self.screen(Instant::now());
        self.board.show(screen).await;
    }

    fn ask(&mut self, now: Instant) {
        let store = Arc::clone(&self.sources.store);
        let asks_facts = now >= self.facts_due;
        self.asked = Some(now);
        self.question = Some(Box::pin(async move {
            let at = Instant::now();
            let roster = store.roster().await;
            let took = at.elapsed();
            let facts = if asks_facts { Some(store.facts().await) } else { None };
            Answer { at, took, roster, facts }
        }));
    }

    fn take(&mut self, answer: Answer) {
        self.question = None;
        match answer.roster {
            Ok(roster) => {
                self.answers.round_trip = Some(answer.took);
                self.answers.error = None;
                self.instances.see(roster, answer.at);
            }
            Err(error) => self.answers.error = Some(error.to_string()),
        }
        let now = Instant::now();
        match answer.facts {
            None => {}
            Some(Ok(Some(facts))) => {
                self.answers.facts = Facts::Known(facts);
                self.facts_due = now + FACTS_EVERY;
            }
            Some(Err(StoreError::Denied(_))) => {
                self.answers.facts = Facts::Denied;
                self.facts_due = now + DENIED_EVERY;
            }
            Some(Ok(None) | Err(_)) => {
                self.answers.facts = Facts::Unknown;
                self.facts_due = now + FACTS_EVERY;
            }
        }
    }

    fn sample(&mut self, now: Instant) {
        let view = *self.sources.view.borrow();
        let shown = view.shown(now);
        let engine = &self.sources.engine;
        let rooms = engine.rooms().state(&view, now);
        self.estimate_since = since(self.estimate_since, !shown.exact, now);
        self.rooms_estimate_since = since(self.rooms_estimate_since, !rooms.are_exact, now);
        self.behind_since = since(self.behind_since, view.dead() > 0, now);
        let sessions = engine.admission().permits().taken() as u64;
        self.history.add(Sample {
            at: now,
            users: shown.users,
            sessions,
            outside: engine.outside(),
            instances: view.instances(),
            revision: shown.revision.0,
            is_reachable: view.is_reachable(now),
            drift: drift(engine, &view, now),
            are_rooms_exact: rooms.are_exact,
            drift_of_rooms: drift_of_rooms(&rooms, &self.sources.metrics),
            counters: Counters::of(&self.sources.metrics),
        });
        self.instances.forget(now);
    }

    fn screen(&self, now: Instant) -> Screen {
        let Sources { view, about, engine, metrics, peaks, sign_in, store, memory_max } =
            &self.sources;
        let (view, about) = (*view.borrow(), Arc::clone(&about.borrow()));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let is_exact = view.shown(now).exact;
        let rooms = engine.rooms().state(&view, now);
        let max = metrics.connections_max.get();
        let sessions = [engine.admission().permits().taken() as u64, max.unsigned_abs()];
        let memory = memory_max.and_then(|max| Some([resident_bytes(Path::new("/"))?, max]));
        Screen::of(&Look {
            now,
            unix_millis: whole_millis(since_1970),
            host: &about.host,
            version: &about.version,
            view: &view,
            connections: connections(engine),
            users_here: engine.tally().users_here(),
            is_draining: engine.admission().is_leaving(),
            is_embedded: store.kind() == "embedded",
            estimate_since: since(self.estimate_since, !is_exact, now),
            rooms_estimate_since: since(self.rooms_estimate_since, !rooms.are_exact, now),
            behind: since(self.behind_since, view.dead() > 0, now).map(|at| (at, view.dead())),
            history: &self.history,
            instances: &self.instances,
            store: &self.answers,
            sessions,
            memory,
            refusals: by_label(&metrics.refused),
            rooms,
            memberships: [MembershipKind::Member, MembershipKind::Watcher]
                .map(|kind| reading(&metrics.memberships, kind.label())),
            peaks: *peaks.borrow(),
            keys_age: sign_in.keys_age(now),
            has_token: self.board.has_token,
        })
    }
}

/// Since when something has been so, if it is so now.
fn since(known: Option<Instant>, is_so: bool, now: Instant) -> Option<Instant> {
    is_so.then(|| known.unwrap_or(now))
}

/// Ticks are a little uneven; without this, every other one would come too soon to ask.
const PACE_LEAST: Duration = Duration::from_millis(990);

/// The answer to the question under way; never, if there is none. Dropping this future does not drop the question.
async fn answer(question: &mut Option<Question>) -> Answer {
    match question {
        Some(question) => question.await,
        None => std::future::pending().await,
    }
}

/// The value of a gauge with this label.
fn reading(gauge: &prometheus::IntGaugeVec, label: &str) -> u64 {
    gauge.with_label_values(&[label]).get().try_into().unwrap_or_default()
}
