//! The Redis of a history: the script under virtual time, its messages, and a look at everything that is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use deadpool_redis::redis::{self, Connection, FromRedisValue, ToRedisArgs, Value};
use headcount::{
    core::{
        people::People,
        report::{Reply, Report},
    },
    store::{
        Announcement,
        people::PeopleQuery,
        redis::{PEOPLE_SCRIPT, REPORT_SCRIPT},
    },
};
use headcount_testkit::redis_server::RedisServer;

use super::{
    parts::PREFIX,
    wire::{CHANNEL, arguments, message, people, reply},
    world::Size,
};

const KEYS: [&str; 5] = [
    "currentUsers",
    "{currentUsers}:connections",
    "{currentUsers}:sequence",
    "{currentUsers}:leases",
    "{currentUsers}:meta",
];

/// Published after the messages of every report.
const END: &str = "end";

/// Returns every key with its type and value as one text, but for the keys that it is given. Clients parse one text much faster
/// than a list. No name or value contains the bytes 29 and 30.
const DUMP: &str = "local all, skipped = {}, {}
for _, key in ipairs(KEYS) do
  skipped[key] = true
end
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind, value = redis.call('TYPE', key).ok, {}
  if skipped[key] then kind = 'skipped'
  elseif kind == 'string' then value = { redis.call('GET', key) }
  elseif kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1) end
  table.insert(value, 1, kind)
  table.insert(value, 1, key)
  all[#all + 1] = table.concat(value, '\\30')
end
return table.concat(all, '\\29')";

/// Keys that change with every report, and have no part in any sum.
const UNCHECKED: [&str; 3] =
    ["{currentUsers}:sequence", "{currentUsers}:meta", "{currentUsers}:about"];

/// A stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    Text(String),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    Other,
}

impl Held {
    pub(crate) fn fields(&self) -> BTreeMap<String, String> {
        match self {
            Self::Hash(fields) => fields.clone(),
            _ => BTreeMap::new(),
        }
    }

    pub(crate) fn members(&self) -> BTreeSet<String> {
        match self {
            Self::Set(members) => members.clone(),
            _ => BTreeSet::new(),
        }
    }
}

/// A connection for commands and one for messages.
pub(crate) struct Database {
    connection: Connection,
    listener: Connection,
    script: String,
    people: String,
    dump: String,
    /// The reports so far. Each runs a microsecond after the one before, as no two run at the same time on a real server.
    reports: u64,
    /// What was returned to be checked last.
    checked: String,
}

impl Database {
    /// An empty database with the script under virtual time.
    pub(crate) fn new(server: &RedisServer, size: Size) -> Self {
        let mut connection = server.connection();
        let mut listener = server.connection();
        listener.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut load = |script: &str| -> String {
            redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap()
        };
        let (script, people, dump) = (load(&virtual_script(size)), load(PEOPLE_SCRIPT), load(DUMP));
        redis::cmd("FLUSHALL").query::<()>(&mut connection).unwrap();
        let channels = [CHANNEL.to_owned(), format!("{CHANNEL}:rooms")];
        listener
            .send_packed_command(&redis::cmd("SUBSCRIBE").arg(&channels).get_packed_command())
            .unwrap();
        for _ in channels {
            listener.recv_response().unwrap();
        }
        Self { connection, listener, script, people, dump, reports: 0, checked: String::new() }
    }

    /// Runs a report at this time. Returns the reply, what was announced, and, if wanted, what is stored unless it is the same as
    /// after the last look.
    pub(crate) fn report(
        &mut self,
        report: &Report,
        now: u64,
        looks: bool,
    ) -> Result<Applied, String> {
        let arguments = arguments(report);
        self.reports += 1;
        let micros = now * 1000 + self.reports % 1000;
        let mut pipe = redis::pipe();
        pipe.cmd("EVALSHA").arg((&self.script, KEYS.len(), &KEYS, &arguments, micros));
        pipe.cmd("PUBLISH").arg((CHANNEL, END)).ignore();
        if looks {
            pipe.cmd("EVALSHA").arg((&self.dump, UNCHECKED.len(), &UNCHECKED));
        }
        let outcome: Result<Vec<Value>, _> = pipe.query(&mut self.connection);
        let news = self.hear()?;
        let mut values =
            outcome.map_err(|error| format!("the script failed: {error}"))?.into_iter();
        let reply = reply(values.next().unwrap());
        let dump = values.next().map(text_of).filter(|dump| *dump != self.checked);
        let held = dump.as_deref().map(read_dump);
        self.checked = dump.unwrap_or_else(|| std::mem::take(&mut self.checked));
        Ok(Applied { reply, news, held })
    }

    /// Who is in a room, for a list.
    pub(crate) fn people(&mut self, query: &PeopleQuery) -> Result<People, String> {
        let keys = [Self::key(&format!("people:{}", query.room)), Self::key("meta")];
        let own = query.own.map(|own| own.to_string()).unwrap_or_default();
        let tag = own[own.len().saturating_sub(12)..].to_owned();
        let listed = query.listed.iter().map(|user| user.as_str().to_owned());
        let arguments: Vec<String> = [tag, "0".to_owned()].into_iter().chain(listed).collect();
        let script = self.people.clone();
        let value: Value = self.command("EVALSHA", (script, keys.len(), &keys, arguments))?;
        people(value)
    }

    fn hear(&mut self) -> Result<Vec<Announcement>, String> {
        let mut heard = Vec::new();
        loop {
            let value = self.listener.recv_response().map_err(|error| error.to_string())?;
            let (_, channel, text): (String, String, String) =
                redis::from_redis_value(value).map_err(|error| error.to_string())?;
            if text == END {
                return Ok(heard);
            }
            heard.push(message(&channel, &text)?);
        }
    }

    /// Runs one command.
    pub(crate) fn command<T: FromRedisValue>(
        &mut self,
        name: &str,
        arguments: impl ToRedisArgs,
    ) -> Result<T, String> {
        let outcome = redis::cmd(name).arg(arguments).query(&mut self.connection);
        outcome.map_err(|error| format!("{name}: {error}"))
    }

    /// Everything that is stored.
    pub(crate) fn held(&mut self) -> BTreeMap<String, Held> {
        let dump = self.dump.clone();
        read_dump(&self.command::<String>("EVALSHA", (dump, 0)).unwrap())
    }

    /// All keys as they are stored, to return to later.
    pub(crate) fn save(&mut self) -> Vec<(String, Vec<u8>)> {
        let keys: Vec<String> = self.command("KEYS", "*").unwrap();
        let dump = |key: String| Some((key.clone(), self.command("DUMP", &key).ok()?));
        keys.into_iter().filter_map(dump).collect()
    }

    /// Returns to an earlier state.
    pub(crate) fn restore(&mut self, saved: &[(String, Vec<u8>)]) {
        self.flush();
        for (key, value) in saved {
            self.command::<()>("RESTORE", (key, 0, value.as_slice())).unwrap();
        }
    }

    pub(crate) fn flush(&mut self) {
        self.command::<()>("FLUSHALL", &[] as &[&str]).unwrap();
    }

    /// A key by the end of its name.
    pub(crate) fn key(kind: &str) -> String {
        format!("{PREFIX}{kind}")
    }
}

/// What a report came to.
pub(crate) struct Applied {
    pub(crate) reply: Reply,
    pub(crate) news: Vec<Announcement>,
    pub(crate) held: Option<BTreeMap<String, Held>>,
}

fn text_of(value: Value) -> String {
    redis::from_redis_value(value).unwrap()
}

fn read_dump(dump: &str) -> BTreeMap<String, Held> {
    let keys = dump.split('\u{1d}').filter(|key| !key.is_empty());
    keys.filter_map(|key| {
        let mut words = key.split('\u{1e}');
        let (name, kind) = (words.next()?, words.next()?);
        let mut words = words.map(str::to_owned);
        let held = match kind {
            "skipped" => return None,
            "string" => Held::Text(words.next().unwrap_or_default()),
            "hash" => {
                let mut fields = BTreeMap::new();
                while let (Some(field), Some(value)) = (words.next(), words.next()) {
                    fields.insert(field, value);
                }
                Held::Hash(fields)
            }
            "set" | "zset" => Held::Set(words.collect()),
            _ => Held::Other,
        };
        Some((name.to_owned(), held))
    })
    .collect()
}

/// The script with the time as its last argument. The public key lives by the server's own clock, so it must not expire.
fn virtual_script(size: Size) -> String {
    let mut changes = vec![
        ("redis.call('TIME')", "{ math.floor(NOW / 1000000), NOW % 1000000 }"),
        ("'PX', 2 * lease", "'PX', 2000 * lease"),
        ("call('PEXPIRE', public, 2 * lease)", "call('PEXPIRE', public, 2000 * lease)"),
    ];
    if size == Size::Small {
        changes.extend([
            ("ROOM_COST = 600, 100, 2, 4", "ROOM_COST = 12, 6, 1, 4"),
            ("PAIRS_MAX = 64", "PAIRS_MAX = 3"),
            ("PAGE_ROOMS = 100", "PAGE_ROOMS = 2"),
            ("LOOKUPS_MAX = 256", "LOOKUPS_MAX = 24"),
            ("USERS_AUDITED_MAX = 32", "USERS_AUDITED_MAX = 3"),
        ]);
    }
    let mut script = REPORT_SCRIPT.to_owned();
    for (from, to) in changes {
        assert_eq!(script.matches(from).count(), 1, "not exactly once in the script: {from}");
        script = script.replace(from, to);
    }
    format!("local NOW = table.remove(ARGV)\n{script}")
}
