//! Any order of events of one session, beside a model of who has its stay.

use axum::Router;
use proptest::prelude::*;
use socketioxide::SocketIo;
use tokio::sync::Semaphore;
use tower::Layer;

use super::super::*;
use crate::{
    connection::tests::pair,
    metrics::Metrics,
    stay::{FirstValue, Transport, Visitor},
    tally::Tally,
};

/// What may happen to a session that began with polling.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Its client joins, in the library.
    Join,
    /// It leaves there; told of the last stay, or of one before it.
    Leave { last: bool },
    /// It polls.
    Poll,
    /// A poll is answered.
    Answer,
    /// It asks for a websocket.
    Ask,
    /// It goes over.
    Commit,
    /// The websocket looks for the stay.
    Look,
    /// The websocket ends.
    End,
    /// The library's session ends.
    Over,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Join),
        2 => any::<bool>().prop_map(|last| Event::Leave { last }),
        2 => Just(Event::Poll),
        2 => Just(Event::Answer),
        3 => Just(Event::Ask),
        3 => Just(Event::Commit),
        4 => Just(Event::Look),
        1 => Just(Event::End),
        1 => Just(Event::Over),
    ]
}

/// A session, with the library left out: who is counted is the model's `here` or what a websocket has taken over.
struct Model {
    session: Sid,
    admission: Option<Admission>,
    admitted: Arc<Admitted>,
    tally: Arc<Tally<Visitor>>,
    metrics: Metrics,
    websocket: Arc<Control>,
    upgrade: Option<Box<Upgrade>>,
    committed: bool,
    stays: u64,
    /// Whether the library's session has a stay.
    here: bool,
    over: bool,
    taken: Option<Stay>,
}

impl Model {
    fn new(websocket: Arc<Control>, permits: &Arc<Semaphore>) -> Self {
        let permit = Arc::clone(permits).try_acquire_owned().unwrap();
        let admission = Admission::new(permit);
        Self {
            session: Sid::new(),
            admitted: admission.admitted(),
            admission: Some(admission),
            tally: Tally::new(),
            metrics: Metrics::new("none").unwrap(),
            websocket,
            upgrade: None,
            committed: false,
            stays: 0,
            here: false,
            over: false,
            taken: None,
        }
    }

    fn join(&mut self) {
        let visitor = Visitor::Session(self.session, FirstValue::remembered());
        let begin = || Stay::begin(&self.tally, &self.metrics, visitor, Transport::Polling);
        let number = self.admitted.begin_stay(begin);
        assert_eq!(number.is_none(), self.over);
        if let Some(number) = number {
            (self.stays, self.here) = (number, true);
        }
    }

    fn leave(&mut self, last: bool) {
        let number = if last { self.stays } else { self.stays.saturating_sub(1) };
        self.admitted.end_stay(number, "client_left");
        self.here &= !last;
    }

    fn ask(&mut self, library: &Library) {
        let asked = Upgrade::begin(self.session, Arc::clone(&self.admitted), library);
        assert_eq!(asked.is_some(), self.upgrade.is_none() && !self.over);
        self.upgrade = asked.or(self.upgrade.take());
    }

    fn commit(&mut self) {
        if let Some(upgrade) = &self.upgrade
            && !self.committed
        {
            self.committed = upgrade.commit(&self.websocket);
            assert_eq!(self.committed, !self.over);
        }
    }

    fn look(&mut self, polls: usize) {
        let Some(upgrade) = &self.upgrade else { return };
        match upgrade.poll_stay(Waker::noop()) {
            Poll::Pending => {
                let ready = self.committed && polls == 0 && self.here;
                assert!(!self.over && !ready);
            }
            Poll::Ready(None) => assert!(self.over),
            Poll::Ready(Some(stay)) => {
                assert!(self.committed && polls == 0 && self.here);
                (self.here, self.over, self.taken) = (false, true, Some(stay));
            }
        }
    }

    fn end(&mut self) {
        if self.upgrade.take().is_some() && (self.committed || self.over) {
            (self.here, self.over) = (false, true);
        }
        self.taken = None;
    }

    fn over(&mut self) {
        self.admission = None;
        (self.here, self.over) = (false, true);
    }
}

proptest! {
    /// Goal: whatever happens in whatever order, a visitor is counted as often as it is there: not twice, and not when
    /// nobody has its stay; its permit comes back with the last who has it; and a stay is handed over when it can be.
    /// Method: any events, beside a model of who has the stay.
    #[test]
    fn a_stay_is_in_one_place(events in proptest::collection::vec(event(), 0..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let library = Library::new(SocketIo::new_layer().0.layer(Router::new()));
            let permits = Arc::new(Semaphore::new(1));
            let (connection, _client) = pair().await;
            let mut model = Model::new(connection.control(), &permits);
            let admitted = Arc::clone(&model.admitted);
            let mut polls = Vec::new();
            for event in events {
                match event {
                    Event::Join => model.join(),
                    Event::Leave { last } => model.leave(last),
                    Event::Poll => polls.push(Polling::begin(&admitted)),
                    Event::Answer => drop(polls.pop()),
                    Event::Ask => model.ask(&library),
                    Event::Commit => model.commit(),
                    Event::Look => model.look(polls.len()),
                    Event::End => model.end(),
                    Event::Over => model.over(),
                }
                let counted = u64::from(model.here) + u64::from(model.taken.is_some());
                assert_eq!(model.tally.users(), counted, "after {event:?}");
            }
            model.end();
            model.over();
            drop(connection);
            assert_eq!((model.tally.users(), permits.available_permits()), (0, 1));
        });
    }
}
