//! The restart of all instances of one machine, one after the other, by `headcount-rolling-restart`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rustix::process::Signal;
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    task::JoinHandle,
    time::sleep,
};

use headcount_testkit::{
    balancer::Balancer,
    client::Transport,
    cluster::{Cluster, store_and_instances_say},
    foreign::{ForeignClients, Library},
    instance::{Instance, Output, Setting},
    record::Record,
    redis_client::RedisClient,
    rooms::RoomsClient,
    waiting::{PATIENCE, eventually, eventually_within},
};

const NAMES: [&str; 3] = ["a", "b", "c"];
const DRAIN: Duration = Duration::from_secs(3);
const SETTINGS: [Setting<'static>; 2] =
    [("HEADCOUNT_DRAIN", "3s"), ("HEADCOUNT_DRAIN_DELAY", "0s")];
/// Time for one restart on a busy machine, including the drain.
const STEP_WITHIN: Duration = Duration::from_mins(2);

/// The script, running on the instances of a cluster. When it requests a restart, this process makes it, because it
/// started the instances.
struct Roll {
    script: Child,
    folder: TempDir,
}

impl Roll {
    fn start(cluster: &Cluster, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let restart = folder.path().join("restart");
        fs::write(&restart, RESTART.replace("FOLDER", &folder.path().display().to_string()))
            .expect("the folder is ours");
        let programs = PathBuf::from(env!("CARGO_BIN_EXE_headcount"));
        let programs = programs.parent().expect("it is in a folder").display().to_string();
        let path = format!("{programs}:{}", std::env::var("PATH").unwrap_or_default());
        let instances = NAMES
            .iter()
            .zip(&cluster.instances)
            .map(|(name, instance)| format!("{name}={}", instance.admin));
        let script = Command::new(root().join("deploy/systemd/headcount-rolling-restart"))
            .args(["--restart", &format!("sh {}", restart.display()), "--settle", "1"])
            .args(options)
            .args(instances)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(fs::File::create(folder.path().join("stdout")).expect("a file"))
            .stderr(fs::File::create(folder.path().join("stderr")).expect("a file"))
            .kill_on_drop(true)
            .spawn()
            .expect("the script starts");
        Self { script, folder }
    }

    /// Waits for the script to request a restart, and returns the name of the instance.
    async fn wants(&self) -> usize {
        let wanted = self.folder.path().join("wanted");
        let (name, _) = eventually_within(STEP_WITHIN, "a restart is asked for", async || {
            let name = fs::read_to_string(&wanted).map_err(|_| self.said())?;
            let place = NAMES.iter().position(|known| *known == name.trim());
            place.ok_or_else(|| format!("{name:?}"))
        })
        .await;
        fs::remove_file(&wanted).expect("it is there");
        name
    }

    /// Tells the script that the restart it asked for ended with this exit code.
    fn has(&self, code: u8) {
        let done = self.folder.path().join("done");
        fs::write(done.with_extension("new"), code.to_string()).expect("the folder is ours");
        fs::rename(done.with_extension("new"), done).expect("the folder is ours");
    }

    fn said(&self) -> String {
        let read = |name| fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        format!("{}{}", read("stdout"), read("stderr"))
    }

    /// Waits for the end, and returns the exit code and all output.
    async fn ended(mut self) -> (Option<i32>, String) {
        let (status, _) = eventually_within(STEP_WITHIN, "the end of the script", async || {
            match self.script.try_wait() {
                Ok(status) => status.ok_or_else(|| self.said()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await;
        (status.code(), self.said())
    }
}

/// The command that the script calls to restart an instance. It passes the name on and waits for the exit code.
const RESTART: &str = "\
echo \"$1\" >FOLDER/wanted.new && mv FOLDER/wanted.new FOLDER/wanted
until [ -e FOLDER/done ]; do sleep 0.05; done
code=$(cat FOLDER/done) && rm FOLDER/done && exit \"$code\"
";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Ends an instance in order, and starts it at the same addresses.
async fn restart(cluster: &mut Cluster, place: usize) {
    let url = cluster.redis.url();
    let leaving = &mut cluster.instances[place];
    let addresses = [leaving.public, leaving.admin];
    leaving.process().signal(Signal::TERM);
    let (status, _) = leaving.process().ended().await;
    assert_eq!(status.code(), Some(0), "{}", leaving.process().stderr());
    let settings = [&SETTINGS[..], &[("HEADCOUNT_REDIS_URL", url.as_str())]].concat();
    let started = Instance::start_writing_to(Output::default(), addresses, &settings).await;
    cluster.instances[place] = started;
}

/// The public key, observed all the time.
struct Watch {
    seen: Arc<Mutex<Vec<u64>>>,
    task: JoinHandle<()>,
}

impl Watch {
    fn start(redis_client: RedisClient) -> Self {
        let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
        let noted = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                if let Ok(users) = redis_client.users().await {
                    noted.lock().expect("nothing panics while it holds this lock").push(users);
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        Self { seen, task }
    }

    fn end(self) -> Vec<u64> {
        self.task.abort();
        self.seen.lock().expect("nothing panics while it holds this lock").clone()
    }
}

/// When clients lost their connections, from a moment on.
fn sent_away_since(records: &[Record], start: Instant) -> Vec<Instant> {
    let entries = records.iter().flat_map(Record::entries);
    let lost = entries.filter(|entry| entry.at > start && entry.event.is_disconnected());
    lost.map(|entry| entry.at).collect()
}

/// The numbers that clients got, from a moment on.
fn told_since(records: &[Record], start: Instant) -> Vec<u64> {
    let entries = records.iter().flat_map(Record::entries).filter(|entry| entry.at > start);
    entries.filter_map(|entry| entry.event.count()).collect()
}

async fn three_with_visitors(each: usize) -> (Cluster, Balancer, ForeignClients, Vec<Record>) {
    let cluster = Cluster::start_with(3, &SETTINGS).await;
    let balancer = Balancer::start(&cluster.instances).await;
    let mut node = ForeignClients::start(Library::Newest);
    let mut records = Vec::new();
    for transport in Transport::ALL {
        records.extend(node.open(each, balancer.address, transport).await);
    }
    cluster.agrees_on(records.len() as u64, &records).await;
    (cluster, balancer, node, records)
}

/// Goal: while all instances of a machine are restarted, no client is counted twice, and visitors are disconnected one
/// by one. All are back before the next restart and at the end. Method: 24 real clients on all transports, all on one
/// of three instances, so that each drain moves as many as possible. Every displayed number and every value in Redis is
/// checked.
#[tokio::test(flavor = "multi_thread")]
async fn the_number_holds_while_all_are_restarted() {
    let (mut cluster, _balancer, _node, records) = three_with_visitors(8).await;
    let users = records.len() as u64;
    let start = Instant::now();
    let watch = Watch::start(cluster.redis_client.clone());
    let roll = Roll::start(&cluster, &[]);
    let (mut order, mut drains) = (Vec::new(), 0);
    for _ in NAMES {
        let place = roll.wants().await;
        // The script has waited for this.
        let (redis_client, instances) = (&cluster.redis_client, &cluster.instances);
        let away = store_and_instances_say(users, redis_client, instances).await;
        assert_eq!(away.map(drop), Ok(()), "all are back before the next one");
        let begin = Instant::now();
        restart(&mut cluster, place).await;
        roll.has(0);
        order.push(NAMES[place]);
        // On a machine of any speed, clients are disconnected one by one.
        let mut sent = sent_away_since(&records, begin);
        sent.sort();
        if let ([first, .., last], true) = (sent.as_slice(), sent.len() as u64 >= users / 2) {
            let over = *last - *first;
            println!("{} clients were sent away over {over:?}", sent.len());
            assert!(over > DRAIN / 2, "{over:?}");
            drains += 1;
        }
    }
    assert!(drains >= 1, "all were on one instance");
    let (code, said) = roll.ended().await;
    println!("{said}");
    assert_eq!((code, order.as_slice()), (Some(0), &NAMES[..]), "{said}");
    cluster.agrees_on(users, &records).await;
    let (told, stood) = (told_since(&records, start), watch.end());
    for (what, numbers) in [("told", told), ("in Redis", stood)] {
        let (lowest, highest) = (numbers.iter().min(), numbers.iter().max());
        println!("{what}: {} numbers from {lowest:?} to {highest:?}", numbers.len());
        assert!(highest <= Some(&users), "{what}: somebody was counted twice");
        assert!(lowest > Some(&0), "{what}: all were away at a time");
    }
    assert_eq!(said.matches(" well again after ").count(), 3, "{said}");
}

/// Goal: the script stops at the first problem, and does not touch the remaining instances. Method: a restart that
/// fails; one after which a third of the visitors are missing; and a store that does not answer before the first one.
#[tokio::test(flavor = "multi_thread")]
async fn it_stops_at_the_first_thing_that_is_wrong() {
    let (mut cluster, _balancer, mut node, records) = three_with_visitors(12).await;
    let (users, third) = (records.len() as u64, records.len() / 3);

    let roll = Roll::start(&cluster, &[]);
    assert_eq!(roll.wants().await, 0);
    roll.has(3);
    let (code, said) = roll.ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("a: its restart failed with exit code 3\nnot restarted: b c\n"),
        "{said}"
    );

    let roll = Roll::start(&cluster, &["--within", "20", "--loss", "0"]);
    let place = roll.wants().await;
    for client in 0..third {
        node.close(client).await;
    }
    cluster.agrees_on(users - third as u64, &records[third..]).await;
    restart(&mut cluster, place).await;
    roll.has(0);
    let (code, said) = roll.ended().await;
    assert_eq!(code, Some(1), "{said}");
    let missing =
        "24 users are here, of 36 before: they do not find their way back\nnot restarted: b c\n";
    assert!(said.contains(missing), "{said}");

    cluster.redis.stop();
    eventually("an estimate", async || match cluster.instances[0].shown().await? {
        shown if shown.exact => Err(format!("{shown:?}")),
        _ => Ok(()),
    })
    .await;
    let roll = Roll::start(&cluster, &["--within", "2"]);
    let (code, said) = roll.ended().await;
    cluster.redis.cont();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("a shows an estimate: is the store there?\nnot restarted: a b c\n"),
        "{said}"
    );
}

/// Goal: visitors who are only in rooms are waited for too, of whom the number of users knows nothing. Method: 24 of them on an
/// instance that stays; half of them leave during the first restart.
#[tokio::test(flavor = "multi_thread")]
async fn visitors_of_rooms_must_come_back() {
    let mut cluster = Cluster::start_with(3, &SETTINGS).await;
    let server = cluster.instances[2].public;
    let open = |_| RoomsClient::open(server, Transport::Websocket, &["/page"]);
    let mut visitors: Vec<_> = (0..24).map(open).collect();
    eventually("all are there", async || match visitors[0].record("/page").shows() {
        Some(24) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let roll = Roll::start(&cluster, &["--within", "12", "--loss", "0"]);
    let place = roll.wants().await;
    visitors.truncate(12);
    restart(&mut cluster, place).await;
    roll.has(0);
    let (code, said) = roll.ended().await;
    assert_eq!(code, Some(1), "{said}");
    let missing = "12 sessions are in rooms alone, of 24 before: they do not find their way back";
    assert!(said.contains(&format!("{missing}\nnot restarted: b c\n")), "{said}");
}

/// Goal: the only instance is not restarted by mistake, because its visitors would have no other. Method: one instance
/// without and with `--alone`; and invalid arguments.
#[tokio::test(flavor = "multi_thread")]
async fn the_only_instance_is_restarted_only_if_that_is_meant() {
    let mut cluster = Cluster::start_with(1, &SETTINGS).await;
    let (code, said) = Roll::start(&cluster, &[]).ended().await;
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("a sees no other instance"), "{said}");

    let roll = Roll::start(&cluster, &["--alone"]);
    assert_eq!(roll.wants().await, 0);
    restart(&mut cluster, 0).await;
    roll.has(0);
    let (code, said) = roll.ended().await;
    assert_eq!(code, Some(0), "{said}");

    for options in [["--settle", "soon"], ["--patience", "3"]] {
        let (code, said) = Roll::start(&cluster, &options).ended().await;
        assert_eq!(code, Some(2), "{said}");
    }
    assert!(PATIENCE < STEP_WITHIN);
}
