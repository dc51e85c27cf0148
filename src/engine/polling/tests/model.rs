//! Any order of events of one session that began with polling, beside a model of it.

use std::{collections::BTreeMap, task::Waker};

use proptest::prelude::*;

use super::super::*;
use crate::{
    access::{origin::Origins, rate_limit::TokenBucket, rooms::RoomRules},
    core::{room::RoomName, rooms::Rooms, tally::Tally, view::View},
    engine::{
        admission::Admission, flusher::Flusher, reason::EndReason, settings::SessionSettings,
        upgrade::Opening, upgrade::Upgrade,
    },
    fixtures::LonelyStore,
    identity::sign_in::SignIn,
    net::connection::{Connection, tests::pair},
    protocol::transport::Transports,
    telemetry::metrics::Metrics,
};

/// The rooms that the client may ask for. It may be in fewer, and the instance has space for fewer.
const ROOMS: usize = 5;
const COUNTED_MAX: usize = 2;
const WATCHED_MAX: usize = 2;
const ROOMS_MAX: usize = 3;

/// What may happen.
#[derive(Clone, Copy, Debug)]
enum Event {
    Join,
    /// The client asks to be told the site's count, and not to be counted.
    Watch,
    Leave,
    /// The client joins a room, counted or as a watcher.
    JoinRoom(usize, bool),
    LeaveRoom(usize),
    /// A poll comes.
    Poll,
    /// The poll has a look whether it can be answered.
    Look,
    /// The client cuts it.
    CutPoll,
    /// A post comes that the client cuts.
    CutPost,
    /// The client asks for a websocket.
    Ask,
    Probe,
    Move,
    /// The websocket fails.
    Fail,
    /// The client closes the session.
    Close,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        5 => Just(Event::Join),
        2 => Just(Event::Watch),
        3 => Just(Event::Leave),
        6 => (0..ROOMS, any::<bool>()).prop_map(|(room, watch)| Event::JoinRoom(room, watch)),
        4 => (0..ROOMS).prop_map(Event::LeaveRoom),
        4 => Just(Event::Poll),
        6 => Just(Event::Look),
        1 => Just(Event::CutPoll),
        1 => Just(Event::CutPost),
        3 => Just(Event::Ask),
        3 => Just(Event::Probe),
        3 => Just(Event::Move),
        2 => Just(Event::Fail),
        1 => Just(Event::Close),
    ]
}

/// The session, its client's requests, and what must be true.
#[allow(clippy::struct_excessive_bools, reason = "each may be true independently of the others")]
struct Model {
    engine: Arc<Engine>,
    session: Arc<Session>,
    connection: Connection,
    poll: Option<Poll>,
    upgrade: Option<Upgrade>,
    has_joined: bool,
    watches: bool,
    /// For each room that the client is in, whether it watches.
    rooms: BTreeMap<usize, bool>,
    view: View,
    store: LonelyStore,
    has_moved: bool,
    has_ended: bool,
}

impl Model {
    fn new(connection: Connection) -> Self {
        let metrics = Metrics::new("none").unwrap();
        let settings = SessionSettings {
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            payload_bytes_max: 1000,
            transports: Transports::Both,
            rooms: RoomRules {
                per_connection: COUNTED_MAX,
                watched_per_connection: WATCHED_MAX,
                ..RoomRules::default()
            },
            sign_in: SignIn::default(),
            visitors: None,
        };
        let admission = Admission::new(1, Origins::Same, metrics.clone());
        let (tally, rooms, flusher) = (Tally::new(), Rooms::new(ROOMS_MAX), Flusher::default());
        let engine = Engine::new(settings, admission, tally, rooms, metrics, flusher);
        let permit = engine.admission().permit().expect("one");
        let session = engine.begin(Transport::Polling, permit, |_| Outbox::polled());
        Self {
            engine,
            session,
            connection,
            poll: None,
            upgrade: None,
            has_joined: false,
            watches: false,
            rooms: BTreeMap::new(),
            view: LonelyStore::view(),
            store: LonelyStore::default(),
            has_moved: false,
            has_ended: false,
        }
    }

    /// The client says something on what carries the session.
    fn say(&mut self, packet: &str) {
        let said = if self.has_moved {
            self.engine
                .receive(&self.session, packet)
                .map_err(|end| self.engine.end(&self.session, end))
                .is_ok()
        } else {
            let post = self.engine.post(Arc::clone(&self.session));
            post.and_then(|mut post| post.read(packet.as_bytes()).and_then(|()| post.finish()))
                .is_ok()
        };
        assert!(said || self.has_ended || packet == "1", "{packet} is taken");
    }

    fn poll(&mut self) {
        match self.engine.poll(Arc::clone(&self.session)) {
            Ok(poll) => {
                assert!(!self.has_ended && !self.has_moved && self.poll.is_none());
                self.poll = Some(poll);
            }
            Err(Refusal::UnknownSession) => assert!(self.has_ended),
            Err(_) if self.has_moved => {}
            Err(_) => {
                assert!(self.poll.is_some(), "a second poll");
                self.end();
            }
        }
    }

    fn look(&mut self) {
        let Some(mut poll) = self.poll.take() else { return };
        let mut context = Context::from_waker(Waker::noop());
        if Pin::new(&mut poll).poll(&mut context).is_pending() {
            assert!(!self.has_ended && !self.has_moved, "it is answered");
            self.poll = Some(poll);
        }
    }

    fn end(&mut self) {
        (self.has_ended, self.has_joined, self.watches) = (true, false, false);
        self.rooms.clear();
    }

    fn ask(&mut self) {
        match self.engine.begin_upgrade(Arc::clone(&self.session)) {
            Ok(Opening::Upgrade(upgrade)) => {
                assert!(self.upgrade.is_none() && !self.has_moved && !self.has_ended);
                upgrade.attach(&self.connection.stream()).expect("it is open");
                self.upgrade = Some(upgrade);
            }
            Ok(_) => assert!(self.upgrade.is_some() || self.has_moved),
            Err(_) => assert!(self.has_ended),
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Join => {
                self.say("40");
                self.has_joined |= !self.has_ended && !self.watches;
            }
            Event::Watch => {
                self.say("40{\"watch\":true}");
                self.watches |= !self.has_ended && !self.has_joined;
            }
            Event::Leave => {
                self.say("41");
                (self.has_joined, self.watches) = (false, false);
            }
            Event::JoinRoom(room, watch) => {
                self.say(&format!("40/{room},{{\"watch\":{watch}}}"));
                let most = if watch { WATCHED_MAX } else { COUNTED_MAX };
                let alike = self.rooms.values().filter(|&&watches| watches == watch).count();
                let is_in = self.rooms.contains_key(&room);
                if !self.has_ended && !is_in && alike < most && self.rooms.len() < ROOMS_MAX {
                    self.rooms.insert(room, watch);
                }
            }
            Event::LeaveRoom(room) => {
                self.say(&format!("41/{room},"));
                self.rooms.remove(&room);
            }
            Event::Poll => self.poll(),
            Event::Look => self.look(),
            Event::CutPoll => {
                if self.poll.take().is_some() && !self.has_moved {
                    self.end();
                }
            }
            Event::CutPost if !self.has_moved => {
                drop(self.engine.post(Arc::clone(&self.session)));
                self.end();
            }
            Event::CutPost => {}
            Event::Ask => self.ask(),
            Event::Probe => self.upgrade.iter().for_each(Upgrade::probe),
            Event::Move => {
                if let Some(mut upgrade) = self.upgrade.take() {
                    let moved = upgrade.complete(self.connection.stream()).is_ok();
                    assert_eq!(moved, !self.has_ended);
                    self.has_moved |= moved;
                }
            }
            Event::Fail => self.upgrade = None,
            Event::Close => {
                self.say("1");
                self.end();
            }
        }
        self.holds();
    }

    /// The table of rooms has those in it that the client is in, with the right numbers.
    fn rooms_hold(&mut self) {
        let now = Instant::now();
        self.store.answer(&self.engine.rooms, &mut self.view, now);
        // Takes out the rooms that are empty.
        drop(self.engine.rooms.take_due(&self.view, now));
        let view = self.view;
        for room in 0..ROOMS {
            let name = RoomName::parse(&format!("/{room}")).unwrap();
            let shown = self.engine.rooms.shown(&name, &view, now).map(|shown| shown.users);
            let expected = self.rooms.get(&room).map(|&watches| u64::from(!watches));
            assert_eq!(shown.unwrap_or(0), expected.unwrap_or(0), "{name}");
        }
    }

    fn holds(&mut self) {
        let joined = usize::from(self.has_joined);
        assert_eq!(self.engine.tally.connections(), joined as u64);
        assert_eq!(self.engine.tally.watchers(), u64::from(self.watches));
        for watch in [false, true] {
            let kind = if watch { "watcher" } else { "member" };
            let open = self.engine.metrics.memberships.with_label_values(&[kind]).get();
            let expected = self.rooms.values().filter(|&&watches| watches == watch).count();
            assert_eq!(open, i64::try_from(expected).unwrap(), "{kind}");
        }
        let is_outside = !self.has_joined && !self.watches && self.rooms.is_empty();
        let state = self.session.state();
        assert_eq!(state.is_outside(), is_outside);
        assert!(self.has_ended || state.unjoined_since.is_some() == is_outside);
        drop(state);
        let metrics = &self.engine.metrics;
        let started = metrics.sessions.started.with_label_values(&["polling"]).get();
        let ended =
            |reason: &EndReason| metrics.sessions.ended.with_label_values(&[reason.label()]).get();
        let ended: u64 = EndReason::ALL.iter().map(ended).sum();
        assert_eq!((started, ended), (1, u64::from(self.has_ended)));
        assert_eq!(self.engine.outside(), u64::from(!self.has_ended && !self.has_joined));
        let polls = !self.has_moved && !self.has_ended;
        assert_eq!(self.engine.polling_sessions(), usize::from(polls));
        self.rooms_hold();
        let by_transport = Transport::ALL.map(|transport| self.engine.joined(transport));
        let expected = if self.has_moved { [joined, 0] } else { [0, joined] };
        assert_eq!(by_transport, expected);
        assert_eq!(self.session.ended().is_some(), self.has_ended);
        assert_eq!(self.engine.sessions().all().is_empty(), self.has_ended);
        assert_eq!(self.engine.admission().permit().is_ok(), self.has_ended);
    }
}

proptest! {
    /// Goal: in any order of events a client is counted exactly while it is in the site or a room and its session is open, under
    /// the right transport, and within the limits of rooms; and an ended session holds nothing. Method: random events, each followed by a check of all
    /// counters.
    #[test]
    fn a_session_is_what_its_client_made_of_it(events in proptest::collection::vec(event(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (connection, _client) = pair().await;
            let mut model = Model::new(connection);
            for event in events {
                // A minute passes for what the client may say.
                model.session.state().budget = TokenBucket::new(u32::MAX, 1, Instant::now());
                model.happens(event);
            }
        });
    }
}
