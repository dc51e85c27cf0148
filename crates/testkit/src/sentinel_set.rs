//! A primary, two replicas and three sentinels for a test, on separate ports and in separate directories. All of them
//! end with the test. Their logs are shown only if the test panics.
//!
//! A server is identified by its place in the set, because roles change. At the start the first server is the primary.

use std::{
    collections::HashMap,
    fmt::Write,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use deadpool_redis::redis::{self, Connection, FromRedisValue, RedisResult};

use crate::{
    redis_server::{self, RedisServer, free_port},
    sentinel::Sentinel,
};

/// The sentinels' name for the primary.
pub const NAME: &str = "mymaster";

/// Silence after which the sentinels consider a server down. It is short, because every test waits for it.
pub const DOWN_AFTER: Duration = Duration::from_secs(1);

const SERVERS: usize = 3;
const SENTINELS: usize = 3;

/// How many sentinels must agree on a failover.
const QUORUM: usize = 2;

/// How long it may take on a busy machine until all members know each other.
const TOGETHER_WITHIN: Duration = Duration::from_secs(40);

/// How long a server or a sentinel may take to answer. It is short, so that a stopped process does not delay the test,
/// which asks again.
const ANSWER_WITHIN: Duration = Duration::from_millis(300);

/// The pause between two checks.
const LOOK_GAP: Duration = Duration::from_millis(20);

/// The passwords of the members. An empty one means no password.
#[derive(Clone, Copy, Debug, Default)]
pub struct Passwords {
    /// The password of the servers.
    pub servers: &'static str,
    /// The password of the sentinels.
    pub sentinels: &'static str,
}

/// Messages of the sentinels about new primaries, each with the time when it arrived. Asking the sentinels would take
/// too long on a busy machine, and they may choose a third server soon after the second.
#[derive(Debug)]
pub struct Switches {
    named: Arc<Mutex<HashMap<u16, Instant>>>,
}

impl Switches {
    /// When the first sentinel named the server on this port as the primary.
    pub fn named_at(&self, port: u16) -> Option<Instant> {
        self.named.lock().expect("nobody panics with it").get(&port).copied()
    }
}

/// A running set.
#[derive(Debug)]
pub struct SentinelSet {
    servers: Vec<RedisServer>,
    sentinels: Vec<Sentinel>,
    passwords: Passwords,
    /// The place of the primary that was found last.
    last: AtomicUsize,
}

impl SentinelSet {
    /// Starts a set without passwords, and waits until all members know each other.
    pub fn start() -> Self {
        Self::protected(Passwords::default())
    }

    /// The same as [`SentinelSet::start`], with passwords.
    pub fn protected(passwords: Passwords) -> Self {
        let servers = start_servers(passwords.servers);
        let wiring = Wiring {
            primary: servers[0].port(),
            replicas: servers[1..].iter().map(RedisServer::port).collect(),
            sentinels: (0..SENTINELS).map(|_| free_port()).collect(),
            passwords,
        };
        let sentinels = (0..SENTINELS).map(|index| wiring.start(index)).collect();
        let set = Self { servers, sentinels, passwords, last: AtomicUsize::new(0) };
        until("the set finds together", || set.is_together());
        set
    }

    /// The address for `HEADCOUNT_REDIS_URL`.
    pub fn url(&self) -> String {
        self.url_by(&self.sentinel_ports())
    }

    /// The same as [`SentinelSet::url`] with other ports, whether sentinels listen there or not.
    pub fn url_by(&self, ports: &[u16]) -> String {
        let Passwords { servers, sentinels } = self.passwords;
        let user = if servers.is_empty() { String::new() } else { format!(":{servers}@") };
        let query = format!("?sentinel_password={sentinels}");
        let query = if sentinels.is_empty() { "" } else { &query };
        let hosts: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        format!("redis+sentinel://{user}{}/{NAME}{query}", hosts.join(","))
    }

    /// The ports of the sentinels.
    pub fn sentinel_ports(&self) -> Vec<u16> {
        self.sentinels.iter().map(Sentinel::port).collect()
    }

    /// The server at this place.
    pub fn server(&self, place: usize) -> &RedisServer {
        &self.servers[place]
    }

    /// The server at this place, to kill it or to start it again.
    pub fn server_mut(&mut self, place: usize) -> &mut RedisServer {
        &mut self.servers[place]
    }

    /// Opens a connection to the server at this place.
    pub fn connection(&self, place: usize) -> RedisResult<Connection> {
        connect(self.servers[place].port(), self.passwords.servers)
    }

    /// The place of the primary: the server that the newest configuration of all sentinels names, if the server
    /// confirms it. If no sentinel runs, it is the last primary that was found. The error says why there is none.
    pub fn primary(&self) -> Result<usize, String> {
        let running: Vec<&Sentinel> = self.sentinels.iter().filter(|each| each.runs()).collect();
        let named = running.iter().filter_map(|sentinel| self.named_by(sentinel)).max();
        let place_of = |port| self.servers.iter().position(|server| server.port() == port);
        let place = named.and_then(|(_, port)| place_of(port));
        let last = || running.is_empty().then(|| self.last.load(Ordering::Relaxed));
        let place = place.or_else(last).ok_or("no sentinel names a server of the set")?;
        match self.role(place)?.as_str() {
            "master" => {
                self.last.store(place, Ordering::Relaxed);
                Ok(place)
            }
            role => Err(format!("server {place}, which the sentinels name, is a {role}")),
        }
    }

    /// The place of a primary that is not `former`. The error says why there is none.
    pub fn successor_of(&self, former: usize) -> Result<usize, String> {
        let place = self.primary()?;
        if place == former { Err(format!("{former} is the primary still")) } else { Ok(place) }
    }

    /// The same once all sentinels that run name it. Before that, another one may still promote another replica: its configuration
    /// is newer, so that one is the primary then.
    pub fn agreed_successor_of(&self, former: usize) -> Result<usize, String> {
        let running = self.sentinels.iter().filter(|each| each.runs());
        let named: Vec<_> = running.map(|sentinel| self.named_by(sentinel)).collect();
        if named.windows(2).all(|pair| pair[0] == pair[1]) {
            self.successor_of(former)
        } else {
            Err(format!("epochs and primaries of the sentinels: {named:?}"))
        }
    }

    /// Subscribes to the messages of all sentinels that run.
    pub fn switches(&self) -> Switches {
        let named = Arc::<Mutex<HashMap<u16, Instant>>>::default();
        for sentinel in self.sentinels.iter().filter(|each| each.runs()) {
            let mut to = until("a sentinel answers", || {
                self.to_sentinel(sentinel).map_err(|error| error.to_string())
            });
            to.set_read_timeout(None).expect("a sentinel is connected");
            let named = Arc::clone(&named);
            let (subscribed, ready) = mpsc::channel();
            std::thread::spawn(move || {
                let mut messages = to.as_pubsub();
                let _ = subscribed.send(messages.subscribe("+switch-master"));
                // For example `mymaster 127.0.0.1 10000 127.0.0.1 10001`. The loop ends with the sentinel.
                while let Ok(message) = messages.get_message() {
                    let text: String = message.get_payload().expect("it is text");
                    let port = text.rsplit(' ').next().and_then(|port| port.parse().ok());
                    let mut named = named.lock().expect("nobody panics with it");
                    named.entry(port.expect("it names a port")).or_insert_with(Instant::now);
                }
            });
            ready.recv().expect("the thread says so").expect("a sentinel is listened to");
        }
        Switches { named }
    }

    /// Checks whether the server at this place is a replica that has caught up with its primary.
    pub fn follows(&self, place: usize) -> Result<(), String> {
        let info = self.ask::<String>(place, &["INFO", "replication"])?;
        let follows = info.contains("role:slave") && info.contains("master_link_status:up");
        if follows { Ok(()) } else { Err(info) }
    }

    /// The answer of the server at this place to a command.
    pub fn ask<T: FromRedisValue>(&self, place: usize, words: &[&str]) -> Result<T, String> {
        let connection = self.connection(place);
        connection.and_then(|mut to| query(&mut to, words)).map_err(|error| error.to_string())
    }

    /// Sends a command to every sentinel.
    pub fn tell_sentinels(&self, words: &[&str]) {
        for sentinel in &self.sentinels {
            until("a sentinel obeys", || self.tell(sentinel, words));
        }
    }

    /// Orders a failover, as an operator does for maintenance.
    pub fn order_failover(&self) {
        until("there is a replica to promote", || {
            match self.tell(&self.sentinels[0], &["SENTINEL", "FAILOVER", NAME]) {
                // The failover was ordered, and the answer to an earlier attempt came too late.
                Err(error) if error.contains("INPROG") => Ok(()),
                told => told,
            }
        });
    }

    /// Cuts all replicas off from this primary, so that they miss what it writes from now on. Sentinels still promote
    /// such a replica if the failover begins within ten times [`DOWN_AFTER`].
    pub fn hold_replicas_back(&self, primary: usize) {
        for replica in (0..SERVERS).filter(|&place| place != primary) {
            // The primary does not know this user, so it refuses the replica.
            let stranger = ["CONFIG", "SET", "masteruser", "stranger", "masterauth", "wrong"];
            until::<()>("a replica takes settings", || self.ask(replica, &stranger));
        }
        until::<()>("the primary cuts them off", || {
            self.ask(primary, &["CLIENT", "KILL", "TYPE", "replica"])
        });
        let left = || self.ask::<String>(primary, &["INFO", "replication"]);
        until("the replicas are cut off", || match left()? {
            info if info.contains("connected_slaves:0") => Ok(()),
            info => Err(info),
        });
    }

    /// Kills a sentinel, as a crash would.
    pub fn kill_sentinel(&mut self, index: usize) {
        self.sentinels[index].kill_9();
    }

    /// Starts a sentinel again, with the configuration that it has written.
    pub fn restart_sentinel(&mut self, index: usize) {
        self.sentinels[index].restart();
    }

    /// Stops a sentinel with SIGSTOP: its connections stay open, and it answers nothing. It never continues.
    pub fn stop_sentinel(&mut self, index: usize) {
        self.sentinels[index].stop();
    }

    /// The role of the server at this place, as the server calls it: `master` or `slave`.
    pub fn role(&self, place: usize) -> Result<String, String> {
        let role = self.ask::<Vec<redis::Value>>(place, &["ROLE"])?;
        let word = role.into_iter().next().ok_or("an empty role")?;
        redis::from_redis_value(word).map_err(|error| error.to_string())
    }

    fn tell(&self, sentinel: &Sentinel, words: &[&str]) -> Result<(), String> {
        let connection = self.to_sentinel(sentinel);
        connection.and_then(|mut to| query(&mut to, words)).map_err(|error| error.to_string())
    }

    fn to_sentinel(&self, sentinel: &Sentinel) -> RedisResult<Connection> {
        connect(sentinel.port(), self.passwords.sentinels)
    }

    /// The epoch of a sentinel's configuration, and the port of the server that it names.
    fn named_by(&self, sentinel: &Sentinel) -> Option<(u64, u16)> {
        let mut connection = self.to_sentinel(sentinel).ok()?;
        let named = query(&mut connection, &["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let (_, port): (String, u16) = named.ok()?;
        let state = query(&mut connection, &["SENTINEL", "MASTER", NAME]);
        let state: HashMap<String, String> = state.ok()?;
        Some((state.get("config-epoch")?.parse().ok()?, port))
    }

    /// Checks whether every sentinel sees all others, and replicas that could be promoted.
    fn is_together(&self) -> Result<(), String> {
        for sentinel in &self.sentinels {
            let mut connection = self
                .to_sentinel(sentinel)
                .map_err(|error| format!("{error}: {}", sentinel.log()))?;
            let quorum = query::<String>(&mut connection, &["SENTINEL", "CKQUORUM", NAME]);
            let quorum = quorum.map_err(|error| error.to_string())?;
            if !quorum.contains(&format!("OK {SENTINELS} usable")) {
                return Err(quorum);
            }
            let replicas = query(&mut connection, &["SENTINEL", "REPLICAS", NAME]);
            let replicas: Vec<HashMap<String, String>> =
                replicas.map_err(|error| error.to_string())?;
            let state = |name: &'static str| replicas.iter().map(move |replica| &replica[name]);
            let ready = replicas.len() == SERVERS - 1
                && state("flags").all(|flags| flags == "slave")
                && state("master-link-status").all(|status| status == "ok");
            if !ready {
                return Err(format!("{replicas:?}"));
            }
        }
        Ok(())
    }
}

/// The ports of all members. Sentinels get them in their configuration, which is faster than finding them out.
struct Wiring {
    primary: u16,
    replicas: Vec<u16>,
    sentinels: Vec<u16>,
    passwords: Passwords,
}

impl Wiring {
    fn start(&self, index: usize) -> Sentinel {
        Sentinel::start(self.sentinels[index], &self.configuration(index))
    }

    fn configuration(&self, index: usize) -> String {
        let Passwords { servers, sentinels } = self.passwords;
        let own = self.sentinels[index];
        let mut lines = format!(
            "sentinel myid {}\n\
            sentinel monitor {NAME} 127.0.0.1 {} {QUORUM}\n\
            sentinel down-after-milliseconds {NAME} {}\nsentinel failover-timeout {NAME} 6000\n",
            id_of(own),
            self.primary,
            DOWN_AFTER.as_millis(),
        );
        if !servers.is_empty() {
            let _ = writeln!(lines, "sentinel auth-pass {NAME} {servers}");
        }
        if !sentinels.is_empty() {
            let _ = writeln!(lines, "requirepass {sentinels}");
        }
        for replica in &self.replicas {
            let _ = writeln!(lines, "sentinel known-replica {NAME} 127.0.0.1 {replica}");
        }
        for other in self.sentinels.iter().filter(|&&port| port != own) {
            let id = id_of(*other);
            let _ = writeln!(lines, "sentinel known-sentinel {NAME} 127.0.0.1 {other} {id}");
        }
        lines
    }
}

/// The id of the sentinel on this port: 40 digits, as sentinels require.
fn id_of(port: u16) -> String {
    format!("{port:040x}")
}

fn start_servers(password: &str) -> Vec<RedisServer> {
    let mut arguments = vec!["--repl-diskless-sync-delay", "0", "--repl-timeout", "60"];
    if !password.is_empty() {
        arguments.extend(["--requirepass", password, "--masterauth", password]);
    }
    let primary = RedisServer::start(&arguments);
    let port = primary.port().to_string();
    arguments.extend(["--replicaof", "127.0.0.1", &port]);
    let mut servers = vec![primary];
    servers.extend((1..SERVERS).map(|_| RedisServer::start(&arguments)));
    servers
}

fn connect(port: u16, password: &str) -> RedisResult<Connection> {
    let url = format!("redis://:{password}@127.0.0.1:{port}");
    let url = if password.is_empty() { url.replace(":@", "") } else { url };
    let connection = redis_server::connect(&url, ANSWER_WITHIN)?;
    connection.set_read_timeout(Some(ANSWER_WITHIN))?;
    Ok(connection)
}

fn query<T: FromRedisValue>(connection: &mut Connection, words: &[&str]) -> RedisResult<T> {
    redis::cmd(words[0]).arg(&words[1..]).query(connection)
}

fn until<T>(what: &str, look: impl Fn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + TOGETHER_WITHIN;
    loop {
        let seen = match look() {
            Ok(found) => return found,
            Err(seen) => seen,
        };
        assert!(Instant::now() < deadline, "not in time: {what}; last seen: {seen}");
        std::thread::sleep(LOOK_GAP);
    }
}
