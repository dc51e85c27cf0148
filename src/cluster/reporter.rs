//! The task that reports the local count to the store, and folds the replies into the view.
//!
//! It reports at its own pace ([`crate::core::pace`]), every time the newest local count with a new sequence number. A report
//! that is under way is never cancelled: the command may run all the same, and a late reply is still useful. A report that
//! hangs does not keep the next one from being sent. Reports are part of this task rather than tasks of their own, so that an
//! answer reaches it without a detour.
//!
//! Users with an identity, and what has changed in rooms, go with the same reports, at the same pace. A store that does not hold
//! what this instance has reported makes it take a new incarnation, which names the former one and reports everything again.

mod answer;
mod failures;
mod settings;

use std::{sync::Arc, time::Duration};

use futures_util::{
    future::BoxFuture,
    stream::{FuturesUnordered, StreamExt},
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use crate::{
    core::{
        about::{About, Introduction},
        count::{Incarnation, Sequence},
        pace::{REPORT_GAP_MIN, ReportPace},
        report::{Outcome, Reply, Report, ReportKind},
        rooms::{RoomLedger, RoomsToReport, SentRooms, Standing},
        tally::Local,
        view::{SentReport, View},
    },
    store::{Store, StoreError},
    telemetry::{
        labels::ReportResult,
        metrics::{Metrics, observe},
    },
};

pub use settings::ReporterSettings;

use answer::{FAREWELL_MAX, feedback, leaves_rooms, result};

/// The state of the task.
#[derive(Debug)]
pub struct Reporter {
    store: Arc<dyn Store>,
    tally: watch::Receiver<Local>,
    view: Arc<watch::Sender<View>>,
    rooms: Arc<dyn RoomLedger>,
    /// Notified by the subscriber when it may have missed announcements: the reply to a report closes the gap.
    resync: Arc<Notify>,
    metrics: Metrics,
    lease: Duration,
    incarnation: Incarnation,
    /// The incarnation before this one, until the store has counted it out.
    former: Option<Incarnation>,
    sequence: Sequence,
    pace: ReportPace,
    /// The kind of the next report. It is an audit if the last report may have been applied in part.
    kind: ReportKind,
    /// The name and version of this instance, and when the store was told.
    about: watch::Receiver<Arc<About>>,
    introduction: Introduction,
    under_way: FuturesUnordered<BoxFuture<'static, ReportOutcome>>,
    /// The kinds of trouble that were logged since the last log line that says the store answers.
    troubles: Vec<String>,
    reachable_since: Option<Instant>,
    /// Whether the store denied the last report that named rooms.
    are_rooms_denied: bool,
    /// When the tally may be read next. A pace keeps a rush from waking this task for every join.
    next_look: Instant,
}

#[derive(Debug)]
struct ReportOutcome {
    incarnation: Incarnation,
    sent: SentReport,
    rooms: SentRooms,
    /// What it said of this instance.
    about: Option<Arc<About>>,
    result: Result<Reply, StoreError>,
}

impl Reporter {
    /// A reporter of the tally. [`Reporter::run`] starts it.
    pub fn new(
        settings: &ReporterSettings,
        store: Arc<dyn Store>,
        local: watch::Receiver<Local>,
        view: Arc<watch::Sender<View>>,
        rooms: Arc<dyn RoomLedger>,
        resync: Arc<Notify>,
        metrics: Metrics,
    ) -> Self {
        let now = Instant::now();
        view.send_modify(|view| view.begin_incarnation(settings.incarnation, settings.lease));
        Self {
            store,
            tally: local,
            view,
            rooms,
            resync,
            metrics,
            lease: settings.lease,
            incarnation: settings.incarnation,
            former: None,
            sequence: Sequence::default(),
            pace: ReportPace::new(settings.heartbeat, now),
            kind: ReportKind::Plain,
            about: settings.about.clone(),
            introduction: Introduction::new(settings.lease),
            under_way: FuturesUnordered::new(),
            troubles: Vec::new(),
            reachable_since: None,
            are_rooms_denied: false,
            next_look: now,
        }
    }

    /// Task: reports until `stop`, then sends the farewell.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = Instant::now();
            let expires = [self.rooms.expire(now), self.rooms.wake_for_overdue(now)];
            let local = self.look(now);
            if self.is_silent(now) {
                self.mark_unreachable("silent", "no answer in time");
            }
            if self.rooms.is_waiting(now) {
                self.pace.hurry(now);
            }
            let due = self.pace.due(local.change);
            if due.is_some_and(|at| at <= now) {
                self.send(local, now);
                continue;
            }
            let due = expires.into_iter().chain([due]).flatten().min();
            self.wait(now, due, &stop).await;
        }
        self.say_farewell().await;
    }

    /// Reads the newest local count.
    fn look(&mut self, now: Instant) -> Local {
        let seen = self.tally.borrow_and_update();
        if seen.has_changed() {
            self.next_look = now + REPORT_GAP_MIN;
        }
        *seen
    }

    /// Waits for the first of these: a local change, a reply, a request for a report, or the time at which something is due.
    async fn wait(&mut self, now: Instant, due: Option<Instant>, stop: &CancellationToken) {
        let may_look = self.next_look <= now;
        let silence = self.pace.silence().filter(|&at| at > now);
        let look = (!may_look).then_some(self.next_look);
        let page_overdue = self.rooms.page_overdue().filter(|&at| at > now);
        let wake = [due, silence, look, page_overdue].into_iter().flatten().min();
        tokio::select! {
            () = stop.cancelled() => {}
            Some(outcome) = self.under_way.next() => self.settle(outcome),
            () = self.resync.notified() => self.pace.hurry(Instant::now()),
            Ok(()) = self.about.changed() => {
                self.introduction.renew();
                self.pace.hurry(Instant::now());
            }
            Ok(()) = self.tally.changed(), if may_look => self.tally.mark_changed(),
            () = self.rooms.reports().notified(), if may_look => {
                self.next_look = Instant::now() + REPORT_GAP_MIN;
            }
            () = sleep_until(wake.unwrap_or(now)), if wake.is_some() => {}
        }
    }

    fn send(&mut self, local: Local, now: Instant) {
        let mut report = self.report(local.anonymous, self.kind);
        self.kind = ReportKind::Plain;
        let RoomsToReport { rooms, resending, pages_missed, is_site_told, sent: sent_rooms } =
            self.rooms.report(now);
        self.metrics.pages_missed.inc_by(pages_missed);
        (report.rooms, report.resending) = (rooms, resending);
        let about = self.introduction.is_due(now).then(|| Arc::clone(&self.about.borrow()));
        report.about = about.as_ref().map(|it| it.with_users(self.rooms.site_users_here(), local));
        self.pace.sent(local.change, now);
        self.view.send_if_modified(|view| {
            view.report_sent(report.sequence);
            // The estimate must include what is reported, even if the observer has not run yet.
            let is_news = local.change > view.estimated();
            if is_news {
                view.observe(local);
                view.observe_users(self.rooms.site_users());
            }
            is_news
        });
        let store = Arc::clone(&self.store);
        let sent = SentReport { sequence: report.sequence, local, is_site_told, at: now };
        let incarnation = self.incarnation;
        self.under_way.push(Box::pin(async move {
            let result = store.report(report).await;
            ReportOutcome { incarnation, sent, rooms: sent_rooms, about, result }
        }));
    }

    fn report(&mut self, anonymous: u64, kind: ReportKind) -> Report {
        self.sequence = self.sequence.next();
        let (seen, acknowledged) = {
            let view = self.view.borrow();
            (view.seen(), view.acknowledged())
        };
        let report = Report::new(self.incarnation, self.sequence, self.lease);
        Report { users: anonymous, seen, kind, acknowledged, former: self.former, ..report }
    }

    fn settle(&mut self, outcome: ReportOutcome) {
        let now = Instant::now();
        let sent = outcome.sent;
        self.view.send_if_modified(|view| {
            view.report_ended();
            false
        });
        match outcome.result {
            Ok(reply) => {
                observe(&self.metrics.report_seconds, now.duration_since(sent.at));
                self.count(result(reply.outcome));
                self.pace.answered(sent.at, feedback(&reply), now);
                if outcome.incarnation == self.incarnation {
                    self.note_introduction(sent, outcome.about.as_ref(), &reply);
                    self.fold_reply(sent, &outcome.rooms, &reply, now);
                } else {
                    self.rooms.abandon(&outcome.rooms);
                }
            }
            Err(error) => self.fail(sent, &outcome.rooms, &error, now),
        }
    }

    /// Takes over the answer to a report of this incarnation.
    fn fold_reply(&mut self, sent: SentReport, rooms: &SentRooms, reply: &Reply, now: Instant) {
        if self.is_another_process(sent, reply) {
            tracing::warn!(incarnation = %self.incarnation, "another process has this id: taking a new one");
            // What is stored under the old id is the other process's.
            self.former = None;
            self.begin_incarnation(now);
            return;
        }
        self.metrics.leases_reaped.inc_by(reply.crashed.into());
        self.metrics.repairs.inc_by(reply.repaired.into());
        self.metrics.dead_incarnations.set(reply.dead.into());
        let still_silent = self.is_silent(now);
        self.view.send_modify(|view| {
            let users = self.rooms.acknowledge(rooms, reply, view.reckons(sent, reply));
            view.fold_reply(sent, reply, users, now);
            if still_silent {
                view.mark_unreachable();
            }
        });
        if !still_silent {
            self.mark_reachable(now, reply);
        }
        let view = *self.view.borrow();
        let standing = self.rooms.fold_reply(rooms, reply, &view, now);
        // Each report that says something again also takes away what the former incarnation had said of it.
        let has_said_all = reply.is_applied() && !self.rooms.is_resending();
        self.former = self.former.filter(|_| !has_said_all);
        if reply.rooms.is_some() {
            self.note_rooms_taken();
        }
        if reply.outcome == Outcome::Resend || standing == Standing::Lost {
            tracing::warn!(
                incarnation = %self.incarnation,
                "the store does not hold what was reported to it: reporting everything again"
            );
            self.metrics.resends.inc();
            self.former = Some(self.incarnation);
            self.begin_incarnation(now);
        }
    }

    /// Takes a new incarnation, under which everything is reported again.
    fn begin_incarnation(&mut self, now: Instant) {
        self.incarnation = Incarnation::random();
        self.sequence = Sequence::default();
        self.introduction.renew();
        self.view.send_modify(|view| {
            view.begin_incarnation(self.incarnation, self.lease);
            self.rooms.begin_incarnation();
            view.observe_users(self.rooms.site_users());
        });
        self.pace.hurry(now);
    }

    /// Notes whether the store knows now who this instance is.
    fn note_introduction(&mut self, sent: SentReport, about: Option<&Arc<About>>, reply: &Reply) {
        let Some(about) = about else {
            return self.introduction.heard(sent.sequence, reply.stored_sequence, reply.count);
        };
        if reply.is_applied() && Arc::ptr_eq(about, &self.about.borrow()) {
            self.introduction.arrived(sent.sequence, sent.at);
        }
    }

    /// Whether another process uses the same incarnation. Every sequence number is sent once. So if the store had this number,
    /// or a greater one, before this report, another process has sent it.
    fn is_another_process(&self, sent: SentReport, reply: &Reply) -> bool {
        let taken = reply.stored_sequence == sent.sequence || reply.stored_sequence > self.sequence;
        !reply.is_applied() && taken
    }

    /// Whether a report has waited too long for its answer, and no later one was answered.
    fn is_silent(&self, now: Instant) -> bool {
        self.pace.silence().is_some_and(|at| at <= now)
    }

    /// Sends the farewell, which counts this instance out at once. If it fails, the end of the lease does the same. Rooms are
    /// taken away in portions; what is left after [`FAREWELL_MAX`] is left to the other instances.
    async fn say_farewell(&mut self) {
        let until = Instant::now() + FAREWELL_MAX;
        let said = loop {
            let report = self.report(0, ReportKind::Farewell);
            match self.store.report(report).await {
                Ok(reply) if leaves_rooms(&reply) && Instant::now() < until => {
                    sleep(REPORT_GAP_MIN).await;
                }
                said => break said,
            }
        };
        match said {
            Ok(_) => {
                self.count(ReportResult::Farewell);
                tracing::info!("said farewell to the store");
            }
            Err(error) => {
                self.count(error.result());
                tracing::warn!(%error, "failed to say farewell: the lease will end by itself");
            }
        }
    }

    fn count(&self, result: ReportResult) {
        self.metrics.reports.with_label_values(&[result.label()]).inc();
    }
}

#[cfg(test)]
#[path = "reporter/tests.rs"]
mod tests;
