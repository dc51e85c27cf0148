//! Tests of the page: what it says, and that it says the same as HTML and as JSON.

use std::collections::BTreeSet;

use regex::Regex;
use serde_json::Value;
use tokio::time::Instant;

use super::*;
use crate::{
    core::{
        count::{Count, Incarnation, Revision, Sequence},
        peaks::Peak,
        report::{Outcome, Reply},
        rooms::RoomsState,
        site_users::{SiteUsers, UsersHere},
        tally::Local,
        view::{SentReport, View},
    },
    ops::console::{
        counters::Counters,
        history::{History, Sample},
        instances::{
            Instances,
            tests::{draining, entry, outside, roster},
        },
        look::StoreAnswers,
    },
};

const SECOND: Duration = Duration::from_secs(1);

/// A world that a page looks at. Tests change it.
pub(in crate::ops::console) struct World {
    pub(in crate::ops::console) now: Instant,
    pub(in crate::ops::console) view: View,
    pub(in crate::ops::console) history: History,
    pub(in crate::ops::console) instances: Instances,
    pub(in crate::ops::console) store: StoreAnswers,
    pub(in crate::ops::console) estimate_since: Option<Instant>,
    pub(in crate::ops::console) rooms_estimate_since: Option<Instant>,
    pub(in crate::ops::console) behind: Option<(Instant, u32)>,
    pub(in crate::ops::console) sessions: [u64; 2],
    pub(in crate::ops::console) memory: Option<[u64; 2]>,
    pub(in crate::ops::console) refusals: Vec<(String, u64)>,
    pub(in crate::ops::console) rooms: RoomsState,
    pub(in crate::ops::console) peaks: ShownPeaks,
    pub(in crate::ops::console) keys_age: Duration,
}

impl World {
    /// Two instances with three connections, all well.
    pub(in crate::ops::console) fn new() -> Self {
        let now = Instant::now();
        let mut view = View::default();
        view.begin_incarnation(Incarnation::random(), 2 * SECOND);
        let local = Local { anonymous: 1, connections: 1, ..Local::default() };
        view.observe(local);
        view.report_sent(Sequence(1));
        view.report_ended();
        let reply = Reply {
            outcome: Outcome::Applied,
            count: Count { users: 3, revision: Revision(7), recovering: false, ..Count::default() },
            announced: Revision(7),
            instances: 2,
            stored_sequence: Sequence(0),
            reaped: 0,
            crashed: 0,
            repaired: 0,
            ..Reply::default()
        };
        view.fold_reply(
            SentReport { sequence: Sequence(1), local, is_site_told: true, at: now },
            &reply,
            SiteUsers::default(),
            now,
        );
        let mut world = Self {
            now,
            view,
            history: History::default(),
            instances: Instances::default(),
            store: StoreAnswers::default(),
            estimate_since: None,
            rooms_estimate_since: None,
            behind: None,
            sessions: [1, 100],
            memory: Some([20 << 20, 512 << 20]),
            refusals: vec![("full".to_owned(), 0)],
            rooms: RoomsState { rooms: 2, most: 100, are_exact: true, ..RoomsState::default() },
            peaks: ShownPeaks::default(),
            keys_age: Duration::ZERO,
        };
        world.sees(vec![entry("web-1", 1, 2 * SECOND), entry("web-2", 2, 2 * SECOND)]);
        world.counts(Counters::default());
        world
    }

    pub(in crate::ops::console) fn sees(&mut self, instances: Vec<RosterEntry>) {
        self.instances.see(roster(instances), self.now);
    }

    pub(in crate::ops::console) fn counts(&mut self, counters: Counters) {
        let at = self.now;
        let sample = Sample {
            at,
            users: 3,
            sessions: 1,
            outside: 0,
            instances: 2,
            revision: 7,
            is_reachable: true,
            drift: 0,
            are_rooms_exact: true,
            drift_of_rooms: 0,
            counters,
        };
        self.history.add(sample);
    }

    pub(in crate::ops::console) fn look(&self) -> Look<'_> {
        Look {
            now: self.now,
            unix_millis: 1_764_172_800_000,
            host: "web-1",
            version: "0.2.0",
            view: &self.view,
            connections: 1,
            users_here: UsersHere { none: 1, ..UsersHere::default() },
            is_draining: false,
            is_embedded: false,
            estimate_since: self.estimate_since,
            rooms_estimate_since: self.rooms_estimate_since,
            behind: self.behind,
            history: &self.history,
            instances: &self.instances,
            store: &self.store,
            sessions: self.sessions,
            memory: self.memory,
            refusals: self.refusals.clone(),
            rooms: self.rooms,
            memberships: [3, 1],
            peaks: self.peaks,
            keys_age: self.keys_age,
            has_token: false,
        }
    }

    fn screen(&self) -> Screen {
        Screen::of(&self.look())
    }

    /// The page, with this list of rooms.
    fn page(&self, rooms: &LargestRooms) -> String {
        Page { screen: &self.screen(), rooms }.render().unwrap()
    }
}

/// Goal: the page says how sure the number is. Method: the states that a view can be in.
#[test]
fn how_sure_the_number_is() {
    let mut world = World::new();
    let screen = world.screen();
    assert_eq!(
        (screen.count.as_str(), screen.people, screen.sure),
        ("3", "people online", "Exact")
    );
    assert_eq!(
        screen.why,
        "It counts everybody on 2 instances once. Redis confirmed it 0.0 s ago."
    );
    assert_eq!(screen.at, "16:00:00 UTC");

    let mut lost = World::new();
    lost.view.fold(
        Count { users: 1, revision: Revision(9), recovering: true, ..Count::default() },
        lost.now,
    );
    let parts = "1 here, which is sure, and 2 elsewhere, as last known.";
    let why = "Redis lost its data, and all instances report again: a few seconds. ".to_owned();
    assert_eq!((lost.screen().sure, lost.screen().why), ("An estimate", why + parts));

    world.now += 12 * SECOND;
    let screen = world.screen();
    assert_eq!((screen.state, screen.sure), ("estimate", "An estimate"));
    assert_eq!(screen.why, format!("Redis has not answered for 12 s. {parts}"));
    assert_eq!(screen.instances_note, "2 instances, as Redis said 12 s ago");
    assert_eq!(screen.instances_age, "old");

    world.view = View::default();
    assert_eq!((world.screen().state, world.screen().sure), ("waiting", "Not known yet"));
    let alone = Screen::of(&Look { is_embedded: true, ..World::new().look() });
    assert_eq!(alone.why, "This instance counts for itself.");
}

/// Goal: the page tells users from connections, and says what is known of users if anything is. Method: no identities, and some.
#[test]
fn users_are_told_from_connections() {
    let world = World::new();
    let screen = world.screen();
    assert_eq!((&*screen.connections, &*screen.users, &*screen.users_note), ("1", "1", ""));
    let users_here = UsersHere { token: 1, visitor: 1000, none: 2 };
    let screen = Screen::of(&Look { connections: 2345, users_here, ..world.look() });
    let note = "Users by token: 1, by visitor key: 1,000, without an identity: 2.";
    assert_eq!((&*screen.connections, &*screen.users), ("2,345", "1,003"));
    assert_eq!(screen.users_note, note);
}

/// Goal: where visitors are only in rooms, the page says of whom the number is, and how many are connected. Method: nobody outside of the
/// site, most, and both sides of a tenth.
#[test]
fn who_is_outside_of_the_site_is_told() {
    let mut world = World::new();
    assert_eq!((world.screen().people, &*world.screen().connected), ("people online", ""));
    world.sees(vec![outside(entry("web-1", 1, SECOND), 1000), entry("web-2", 2, SECOND)]);
    let told = "Connected in all: 1,003 sessions, in the site or in whatever rooms.";
    assert_eq!(
        (world.screen().people, &*world.screen().connected),
        ("people in the site itself", told)
    );
    let rows = world.screen().instances;
    assert_eq!([&*rows[0].sessions, &*rows[0].users, &*rows[0].share], ["1,001", "1", "100 %"]);
    assert_eq!((people(1, false), people(1, true)), ("person online", "person in the site itself"));
    for (few, shown) in [(9, "people online"), (10, "people in the site itself")] {
        world.sees(vec![outside(entry("web-1", 100 - few, SECOND), few)]);
        assert_eq!(world.screen().people, shown, "{few} of 100");
    }
}

/// Goal: the peaks are on the page as far as they are known, with their times. Method: both, one for both, one, and none.
#[test]
fn peaks_are_told() {
    let told = |today, ever| {
        let peaks = ShownPeaks { today, ever };
        Screen::of(&Look { peaks, ..World::new().look() }).peaks
    };
    let today = Some(Peak { users: 5, at: 1_764_172_800_000 });
    let ever = Some(Peak { users: 1234, at: 1_764_000_000_000 });
    assert_eq!(
        told(today, ever),
        "The most at a time: 5 today at 16:00:00 UTC; 1,234 ever, on 2025-11-24 at 16:00:00 UTC."
    );
    assert_eq!(told(today, today), "The most at a time: 5 ever, today at 16:00:00 UTC.");
    assert_eq!(told(None, ever), "The most at a time: 1,234 ever, on 2025-11-24 at 16:00:00 UTC.");
    assert_eq!(told(None, None), "");
}

/// Goal: what Redis says of itself is on the page, and so is that it may not be asked. Method: each answer.
#[test]
fn redis_is_described() {
    let mut world = World::new();
    world.store.round_trip = Some(Duration::from_micros(420));
    let facts = StoreFacts {
        program: "Redis 7.0.15".to_owned().into(),
        role: StoreRole::Primary(2),
        up: 90 * SECOND,
        memory_used: 3 << 20,
        memory_max: Some(64 << 20),
    };
    world.store.facts = Facts::Known(facts);
    let values: Vec<_> = world.screen().store.into_iter().map(|fact| fact.value).collect();
    assert_eq!(
        values,
        ["0.42 ms", "Redis 7.0.15", "primary, 2 replicas", "3.0 MB of 64 MB", "90 s"]
    );
    world.store.facts = Facts::Denied;
    assert!(world.screen().store_note.contains("+info"), "{}", world.screen().store_note);
    assert_eq!(world.screen().store.len(), 1);
    world.store.error = Some("failed to reach the store: refused".to_owned());
    let note = world.screen().store_note;
    assert_eq!(note, "The last question: failed to reach the store: refused.");
    assert!(world.screen().store.is_empty());
}

/// Goal: no text of outsiders becomes markup. Method: an instance whose name, version and id are markup, an error of the
/// store that is, and a label of a metric.
#[test]
fn text_of_outsiders_stays_text() {
    let markup = "<img src=x onerror=alert(1)>\"'&";
    let mut world = World::new();
    let mut hostile = draining(entry(markup, 1, SECOND));
    hostile.incarnation = markup.to_owned();
    world.sees(vec![hostile]);
    world.store.error = Some(markup.to_owned());
    world.refusals = vec![(markup.to_owned(), 1)];
    let room = RoomRow { key: markup.to_owned(), name: markup.to_owned(), ..RoomRow::blank() };
    let note = markup.to_owned();
    let rooms = LargestRooms { prefix: markup.to_owned(), rooms: vec![room], note };
    let html = world.page(&rooms);
    assert!(!html.contains("<img src=x"), "{html}");
    let escaped = "&#60;img src=x onerror=alert(1)&#62;&#34;&#39;&#38;";
    // The key and the name of the row, the check that names who is shutting down, the error, the key and name of the refusal,
    // the key and name of the room, the search and its note.
    assert_eq!(html.matches(escaped).count(), 10, "{html}");
}

/// Goal: the script finds a value for every place of the page, and the server has put the same one there. Method: all names
/// in the page against the JSON, of the page itself and of the items of each list.
#[test]
fn every_place_has_a_value() {
    let mut world = World::new();
    world.refusals = vec![("full".to_owned(), 1)];
    let screen = world.screen();
    let json: Value = serde_json::from_str(&screen.to_json()).unwrap();
    let named = |text: &str| -> BTreeSet<String> {
        let text_names = Regex::new(r#"data-text="([a-z_.]+)""#).unwrap();
        let sets = Regex::new(r#"data-set="([^"]+)""#).unwrap();
        let attributes = sets.captures_iter(text).flat_map(|set| {
            let pairs = set[1].split(' ').map(|pair| pair.split_once(':').unwrap().1.to_owned());
            pairs.collect::<Vec<_>>()
        });
        text_names.captures_iter(text).map(|name| name[1].to_owned()).chain(attributes).collect()
    };
    let page = include_str!("../console.html");
    for name in named(page) {
        let pointer = format!("/{}", name.replace('.', "/"));
        assert!(json.pointer(&pointer).is_some(), "{name}");
    }
    let lists = Regex::new(r#"data-list="([a-z]+)" data-new="([a-z-]+)""#).unwrap();
    let mut found = 0;
    for list in lists.captures_iter(page) {
        let item = match &list[2] {
            "new-checks" => include_str!("../check.html"),
            "new-instances" => include_str!("../instance.html"),
            _ => include_str!("../fact.html"),
        };
        assert!(page.contains(&format!("<template id=\"{}\">", &list[2])));
        for value in json[&list[1]].as_array().unwrap() {
            for name in named(item).into_iter().chain(["key".to_owned()]) {
                assert!(value.get(&name).is_some(), "{name} in {value}");
            }
        }
        found += 1;
    }
    assert_eq!(found, page.matches("data-list").count());
    let room = serde_json::to_value(RoomRow::blank()).unwrap();
    for name in named(include_str!("../room.html")).into_iter().chain(["key".to_owned()]) {
        assert!(room.get(&name).is_some(), "{name} of a room");
    }
    let html = world.page(&LargestRooms::default());
    for text in [&screen.why, &screen.verdict, &screen.line.caption, &screen.checks[0].text] {
        assert!(html.contains(&format!(">{text}<")), "{text}");
    }
}
