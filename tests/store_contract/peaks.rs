//! What an instance may expect of every store that keeps peaks: what is told stands, and who is alive is said.

use std::time::{Duration, SystemTime};

use deadpool_redis::redis::{self, Connection};
use headcount::{
    core::{
        count::{Revision, Sequence},
        peaks::{Attendee, DAY_MS, DAYS_MAX, PEAK_TIME_MAX, PEAK_USERS_MAX, Peak, Peaks},
    },
    store::{Store, StoreError},
};
use headcount_testkit::redis_server::RedisServer;
use proptest::{prelude::*, test_runner::TestRunner};
use rstest::rstest;

use crate::{
    entries::here,
    setup::{Backend, Instance, LONG, Subject, redis_store, unique_name},
};

/// A lease that ends within a test.
const SHORT: Duration = Duration::from_millis(300);

/// The machine's time, which is also the time of every store here.
fn now() -> u64 {
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since_1970.as_millis()).unwrap()
}

fn peaks(all: &[Peak]) -> Peaks {
    let mut peaks = Peaks::default();
    for peak in all {
        peaks.add(*peak);
    }
    peaks
}

/// Tells a store what is known, and returns what is known then.
async fn tell(store: &dyn Store, known: &[Peak]) -> Peaks {
    store.peaks(Some(peaks(known))).await.unwrap().peaks
}

async fn read(store: &dyn Store) -> Peaks {
    store.peaks(None).await.unwrap().peaks
}

/// Goal: the store keeps the highest of each day and of all, with the time that was told first, and says its time.
/// Method: several parties tell what they know.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn the_highest_stand(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    assert_eq!(read(&*subject.store).await, Peaks::default());
    assert_eq!(tell(&*subject.store, &[]).await, Peaks::default());
    let started_at = now();
    let today = Peak { users: 7, at: started_at };
    let yesterday = Peak { users: 9, at: started_at - DAY_MS };
    assert_eq!(tell(&*subject.store, &[today]).await, peaks(&[today]));
    assert_eq!(tell(&*subject.store, &[yesterday]).await, peaks(&[today, yesterday]));
    let lower = Peak { users: 6, at: started_at + 5 };
    let mut known = tell(&*subject.store, &[lower]).await;
    for at in [started_at - 1, started_at + 5] {
        known = tell(&*subject.store, &[Peak { users: 7, at }]).await;
    }
    assert_eq!(known, peaks(&[today, yesterday]));
    assert_eq!((known.ever(), known.on(started_at / DAY_MS)), (Some(yesterday), Some(today)));
    let answer = subject.store.peaks(None).await.unwrap();
    assert!((started_at..=now()).contains(&answer.now), "{} after {started_at}", answer.now);
    assert_eq!(answer.peaks, known);
}

/// Goal: old days are forgotten, but neither the current one nor the peak ever; a time far away in either direction changes
/// nothing about it. Method: more days than are kept, the current one among the oldest.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn old_days_are_forgotten(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let today = Peak { users: 3, at: now() };
    let first = Peak { users: 50, at: 12 };
    let mut all = vec![first, today];
    all.extend(
        (1..=DAYS_MAX as u64).map(|day| Peak { users: day, at: today.at + day * 400 * DAY_MS }),
    );
    for peak in &all {
        tell(&*subject.store, &[*peak]).await;
    }
    let known = read(&*subject.store).await;
    let mut expected = peaks(&all);
    expected.prune(today.day());
    assert_eq!(known, expected);
    assert_eq!((known.ever(), known.on(today.day())), (Some(first), Some(today)));
    assert_eq!((known.on(0), known.days().count()), (None, DAYS_MAX));
}

/// Goal: the store says who is counted, by how many reports, and who has left in order; not who has died. Method: an instance
/// with users, one without, one that leaves, and one whose lease ends.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn attendance_tells_a_crash_from_a_farewell(#[case] backend: Backend) {
    let subject = Subject::new(backend);
    let [mut a, mut idle, mut left, mut dead] = [5, 0, 2, 4].map(Instance::new);
    dead.lease = SHORT;
    for instance in [&mut a, &mut idle, &mut left, &mut dead] {
        instance.report(&*subject.store).await;
    }
    let attendance = async || {
        let answer = subject.store.peaks(Some(Peaks::default())).await.unwrap();
        answer.attendance
    };
    let with_all = attendance().await;
    assert_eq!((with_all.instances.len(), with_all.counted().count()), (4, 4));
    left.leave(&*subject.store).await;
    a.lease = dead.lease;
    let last = a.report_until(&*subject.store, |reply| reply.crashed == 1).await;
    let attendance = attendance().await;
    let of = |instance: &Instance| attendance.instances.get(&instance.incarnation.to_string());
    let of_a = of(&a).unwrap();
    assert!(of_a.is_counted && of_a.sequence > Sequence(1), "{of_a:?}");
    assert_eq!(of(&idle), Some(&Attendee { sequence: Sequence(1), is_counted: true }));
    assert_eq!(of(&left), Some(&Attendee { sequence: Sequence(2), is_counted: false }));
    assert_eq!(of(&dead), None);
    assert!(attendance.revision == last.count.revision && attendance.revision > Revision(0));
    let only_read = subject.store.peaks(None).await.unwrap();
    assert!(only_read.attendance.instances.is_empty());
}

/// Goal: the store says as long as users of a dead instance are in the count. Method: an instance with more users of the site than a
/// report takes out ends by its lease, and another one reports until the store says that none is left.
#[rstest]
#[case::embedded(Backend::Embedded)]
#[case::redis(Backend::Redis)]
#[tokio::test]
async fn attendance_tells_of_users_of_the_dead(#[case] backend: Backend) {
    const USERS: usize = 2000;
    let subject = Subject::new(backend);
    let store = &*subject.store;
    let [mut a, mut dying] = [1, 0].map(Instance::new);
    let users: Vec<String> = (0..USERS).map(|number| format!("t:{number}")).collect();
    for users in users.chunks(200) {
        let users: Vec<&str> = users.iter().map(String::as_str).collect();
        dying.say(store, vec![here("/", &users)]).await;
    }
    let has_dead = async || store.peaks(Some(Peaks::default())).await.unwrap().attendance.has_dead;
    assert!(!has_dead().await, "it lives");
    (a.lease, dying.lease) = (SHORT, SHORT);
    dying.report(store).await;
    let reply = a.report_until(store, |reply| reply.crashed == 1).await;
    assert!(reply.count.users > 1 && reply.dead == 1, "some are left: {reply:?}");
    assert!(has_dead().await);
    let reply = a.report_until(store, |reply| reply.dead == 0).await;
    assert_eq!((reply.count.users, has_dead().await), (1, false));
}

/// Goal: both stores answer the same. Method: the same random peaks, told in the same portions, to both.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn both_stores_keep_the_same_peaks() {
    let peak = (1_u64..9, 0_u64..12, 0_u64..3).prop_map(|(users, day, at)| {
        // Around now, so that the current day is among them.
        Peak { users, at: (now() / DAY_MS + day - 6) * DAY_MS + at }
    });
    let portions = proptest::collection::vec(proptest::collection::vec(peak, 0..5), 1..12);
    let runtime = tokio::runtime::Handle::current();
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(48) };
    let answers_are_the_same = async |portions: Vec<Vec<Peak>>| {
        let subjects = [Backend::Embedded, Backend::Redis].map(Subject::new);
        for portion in portions {
            let [one, other] = &subjects;
            prop_assert_eq!(tell(&*one.store, &portion).await, tell(&*other.store, &portion).await);
        }
        Ok(())
    };
    tokio::task::spawn_blocking(move || {
        let outcome = TestRunner::new(config)
            .run(&portions, |portions| runtime.block_on(answers_are_the_same(portions)));
        assert!(outcome.is_ok(), "{outcome:?}");
    })
    .await
    .unwrap();
}

/// A Redis of its own, a store on it, and the name of the key.
fn redis() -> (RedisServer, Connection, impl Store, String) {
    let server = RedisServer::start(&[]);
    let (connection, name) = (server.connection(), unique_name());
    let store = redis_store(&server.url(), &name, LONG);
    (server, connection, store, format!("{{{name}}}:peaks"))
}

fn fields(connection: &mut Connection, key: &str) -> Vec<(String, String)> {
    let mut fields: Vec<_> = redis::cmd("HGETALL").arg(key).query(connection).unwrap();
    fields.sort();
    fields
}

/// Goal: what is in Redis is as documented, each day under its date, and it lives on when nobody is left. Method: peaks on days at
/// which calendars go wrong, compared with the dates of another library.
#[tokio::test]
async fn redis_holds_the_documented_fields() {
    let (_server, mut connection, store, key) = redis();
    let date = |at: u64| {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(at);
        humantime::format_rfc3339(time).to_string()[..10].to_owned()
    };
    let told =
        [951_782_400_000, 951_868_799_999, 4_107_542_400_000, 0, PEAK_TIME_MAX, 1_798_761_599_999];
    for at in told.into_iter().chain((0..300).map(|n| n * 7_919 * DAY_MS / 13)) {
        redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
        tell(&store, &[Peak { users: 5, at }]).await;
        let value = format!("{{\"count\":5,\"at\":{at}}}");
        let expected = [(date(at), value.clone()), ("ever".to_owned(), value)];
        assert_eq!(fields(&mut connection, &key), expected);
    }
    let left: u64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
    assert!((399 * DAY_MS..=400 * DAY_MS).contains(&left), "{left}");
    redis::cmd("PEXPIRE").arg(&key).arg(5 * DAY_MS).exec(&mut connection).unwrap();
    read(&store).await;
    let left: u64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
    assert!(left <= 5 * DAY_MS, "who only reads changes nothing: {left}");
    tell(&store, &[]).await;
    let left: u64 = redis::cmd("PTTL").arg(&key).query(&mut connection).unwrap();
    assert!(left > 399 * DAY_MS, "it is renewed: {left}");
}

/// Goal: what is no peak is never shown, and is put right by the next instance that tells something. What a later version may
/// have stored stays. Method: forged values of every kind, read and then told.
#[tokio::test]
async fn forged_values_are_put_right() {
    let (_server, mut connection, store, key) = redis();
    let today = Peak { users: 4, at: now() };
    let date = humantime::format_rfc3339(SystemTime::now()).to_string()[..10].to_owned();
    let good = format!("{{\"count\":4,\"at\":{}}}", today.at);
    let mut forged: Vec<String> = [
        "",
        "9",
        "x",
        "{}",
        "[4,5]",
        "{\"count\":-5,\"at\":5}",
        "{\"count\":0,\"at\":5}",
        "{\"count\":5e9,\"at\":5}",
        "{\"count\":5}",
        "{\"at\":5,\"count\":5}",
        "\u{0}\u{ff}",
    ]
    .map(str::to_owned)
    .to_vec();
    forged.push(format!("{{\"count\":{},\"at\":5}}", PEAK_USERS_MAX + 1));
    forged.push(format!("{{\"count\":5,\"at\":{}}}", PEAK_TIME_MAX + 1));
    forged.push(format!("{{\"count\":{0},\"at\":{0}}}", "9".repeat(400)));
    forged.push(good.repeat(2000).replace('4', "x"));
    for value in forged {
        for field in ["ever", date.as_str(), "2026-02-30", "0-0-0"] {
            redis::cmd("DEL").arg(&key).exec(&mut connection).unwrap();
            let mut set = redis::cmd("HSET");
            set.arg(&key)
                .arg(field)
                .arg(&value)
                .arg("later")
                .arg("1")
                .exec(&mut connection)
                .unwrap();
            assert_eq!(read(&store).await, Peaks::default(), "{field}: {value}");
            assert_eq!(tell(&store, &[today]).await, peaks(&[today]), "{field}: {value}");
            let expected = [(date.clone(), good.clone()), ("ever".to_owned(), good.clone())];
            let found = fields(&mut connection, &key);
            assert_eq!(found[..2], expected, "{field}: {value}");
            assert_eq!(found[2], ("later".to_owned(), "1".to_owned()));
            assert_eq!(found.len(), 3);
        }
    }
    redis::cmd("HSET").arg(&key).arg("2020-01-01").arg(&good).exec(&mut connection).unwrap();
    assert_eq!(tell(&store, &[]).await, peaks(&[today]), "a day that is not its own");
    redis::cmd("HDEL").arg(&key).arg("ever").exec(&mut connection).unwrap();
    assert_eq!(tell(&store, &[]).await, peaks(&[today]), "it is at least as high as any day");
    assert_eq!(fields(&mut connection, &key).len(), 3);
}

/// Goal: a key of another type costs nothing: it reads as empty, and is replaced by what the next instance knows. The keys of the
/// counts may be of another type too. Method: each key in turn.
#[tokio::test]
async fn keys_of_another_type_are_survived() {
    let (_server, mut connection, store, key) = redis();
    let today = Peak { users: 4, at: now() };
    redis::cmd("RPUSH").arg(&key).arg("x").exec(&mut connection).unwrap();
    assert_eq!(read(&store).await, Peaks::default());
    assert_eq!(tell(&store, &[today]).await, peaks(&[today]));
    assert_eq!(read(&store).await, peaks(&[today]));
    for other in ["connections", "sequence", "meta"] {
        let key = key.replace("peaks", other);
        redis::cmd("RPUSH").arg(&key).arg("x").exec(&mut connection).unwrap();
    }
    let answer = store.peaks(Some(Peaks::default())).await.unwrap();
    assert_eq!((answer.peaks, answer.attendance.instances.len()), (peaks(&[today]), 0));
}

/// Goal: missing rights are told as such, and cost neither a peak nor a report. Method: a user who lacks one command after the
/// other, or the key; then one with the documented rights. A user who may only read can read.
#[tokio::test]
async fn missing_rights_cost_nothing() {
    let (server, mut connection, store, key) = redis();
    let name = key.trim_start_matches('{').split('}').next().unwrap().to_owned();
    let today = Peak { users: 4, at: now() };
    tell(&store, &[today]).await;
    let higher = Peak { users: 5, ..today };
    let url = server.url().replace("//", "//instances:secret@");
    let mut allow = |rules: &[&str]| {
        let mut user = redis::cmd("ACL");
        user.arg("SETUSER").arg("instances").arg("reset").arg("on").arg(">secret");
        user.arg(rules).exec(&mut connection).unwrap();
    };
    let (own, others) = (format!("~{name}"), format!("~{{{name}}}:*"));
    let documented =
        ["+@read", "+@write", "+@pubsub", "+@connection", "+@scripting", "+time", "&*"];
    let all = [documented.as_slice(), &[&own, &others]].concat();
    for denied in ["-hgetall", "-hset", "-pttl", "-pexpire", "-time"] {
        allow(&[all.as_slice(), &[denied]].concat());
        let store = redis_store(&url, &name, LONG);
        let error = store.peaks(Some(peaks(&[higher]))).await;
        let is_needed = denied != "-pttl" && denied != "-pexpire";
        assert!(!is_needed || matches!(error, Err(StoreError::Denied(_))), "{denied}: {error:?}");
    }
    let counted = ["connections", "sequence", "leases", "meta", "about"];
    let keys: Vec<String> = counted.iter().map(|key| format!("~{{{name}}}:{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    allow(&[documented.as_slice(), &[&own], &keys].concat());
    let limited = redis_store(&url, &name, LONG);
    let error = limited.peaks(Some(peaks(&[higher]))).await.unwrap_err();
    assert!(
        matches!(error, StoreError::Denied(_)) && !error.to_string().contains("secret"),
        "{error}"
    );
    assert_eq!(Instance::new(3).report(&limited).await.count.users, 3, "reports go on");
    allow(&all);
    let store = redis_store(&url, &name, LONG);
    assert_eq!(tell(&store, &[higher]).await, peaks(&[higher]));
    allow(&["+@read", "+@connection", "+@scripting", "+time", &own, &others]);
    assert_eq!(read(&redis_store(&url, &name, LONG)).await, peaks(&[higher]));
}
