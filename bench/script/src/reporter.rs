//! A reporter without an instance: it sends reports one after the other, each of which knows the answer to the one before, as
//! the product's does. It never measures.

use anyhow::{Context, Result, bail};
use redis::Value;

use crate::redis::Redis;

/// The most entries that the product puts into one report.
pub const ENTRIES_MAX: usize = 256;
/// The longest that the script accepts, so that nothing expires while the machine is busy with something else. Audits, which run
/// three times in a lease, are rare then; what measures them asks for them.
const LEASE_MS: u64 = 300_000;

/// The script before there were rooms.
const BEFORE_ROOMS: &str =
    include_str!("../../../tests/store_contract/script/fixtures/before_rooms.lua");

/// A script, with keys of its own.
#[derive(Clone, Debug)]
pub struct Script {
    name: String,
    keys: Vec<String>,
    /// Its channel.
    pub channel: String,
    knows_rooms: bool,
}

impl Script {
    /// The product's.
    ///
    /// # Errors
    /// If Redis refuses it.
    pub fn of_product(redis: &mut Redis) -> Result<Self> {
        Self::load(redis, headcount::store::redis::REPORT_SCRIPT, "currentUsers", true)
    }

    /// The one before rooms.
    ///
    /// # Errors
    /// If Redis refuses it.
    pub fn before_rooms(redis: &mut Redis) -> Result<Self> {
        Self::load(redis, BEFORE_ROOMS, "visitorsThen", false)
    }

    /// The key of a room's users.
    pub fn users_of(&self, room: usize) -> String {
        format!("{{{}}}:people:{}", self.keys[0], room_name(room))
    }

    fn load(redis: &mut Redis, source: &str, public: &str, knows_rooms: bool) -> Result<Self> {
        let mut keys = vec![public.to_owned()];
        for part in ["connections", "sequence", "leases", "meta"] {
            keys.push(format!("{{{public}}}:{part}"));
        }
        Ok(Self {
            name: redis.load(source)?,
            keys,
            channel: format!("{public} count"),
            knows_rooms,
        })
    }
}

/// The reporter of one instance.
#[derive(Debug)]
pub struct Reporter {
    script: Script,
    incarnation: String,
    sequence: u64,
    revision: u64,
    count: u64,
    stamp: String,
    /// How long its reports are valid.
    pub lease_ms: u64,
    /// Of the site.
    pub users: u64,
}

/// What matters here of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Something is not announced yet.
    pub is_unannounced: bool,
    /// Incarnations whose rooms are being taken away.
    pub dead: u64,
}

/// What a report says of one room.
#[derive(Clone, Debug)]
pub struct Group {
    /// The room.
    pub room: String,
    /// Its connections without identity; `None` says nothing of them.
    pub connections: Option<u64>,
    /// Its users, and whether each is there.
    pub users: Vec<(String, bool)>,
}

impl Group {
    /// A number of connections.
    pub fn of_connections(room: usize, connections: u64) -> Self {
        Self { room: room_name(room), connections: Some(connections), users: Vec::new() }
    }

    /// Users alone.
    pub fn of_users(room: usize, users: Vec<(String, bool)>) -> Self {
        Self { room: room_name(room), connections: None, users }
    }
}

/// 18 bytes, as long as an ordinary address of a page.
pub fn room_name(room: usize) -> String {
    format!("/blog/post-{room:07}")
}

/// 13 bytes.
pub fn user_name(user: usize) -> String {
    format!("user-{user:08}")
}

impl Reporter {
    /// The reporter of an instance with this number.
    pub fn new(script: &Script, number: usize) -> Self {
        let incarnation = format!("0192f0e7-3c5a-7000-8000-{number:012x}");
        Self {
            script: script.clone(),
            incarnation,
            sequence: 0,
            revision: 0,
            count: 0,
            stamp: String::new(),
            lease_ms: LEASE_MS,
            users: 10,
        }
    }

    /// Sends a report.
    ///
    /// # Errors
    /// If it is not applied.
    pub fn report(&mut self, redis: &mut Redis, groups: &[Group]) -> Result<Answer> {
        self.send(redis, "report", groups)
    }

    /// Sends a report that asks for an audit.
    ///
    /// # Errors
    /// If it is not applied.
    pub fn audit(&mut self, redis: &mut Redis, groups: &[Group]) -> Result<Answer> {
        self.send(redis, "audit", groups)
    }

    /// Reports until all is announced and all dead are taken away.
    ///
    /// # Errors
    /// If a report fails.
    pub fn settle(&mut self, redis: &mut Redis) -> Result<()> {
        loop {
            let answer = self.report(redis, &[])?;
            if !answer.is_unannounced && answer.dead == 0 {
                return Ok(());
            }
        }
    }

    fn send(&mut self, redis: &mut Redis, kind: &str, groups: &[Group]) -> Result<Answer> {
        let arguments = self.arguments(kind, groups);
        let value = redis.call(&self.script.name, &self.script.keys, &arguments)?;
        let Value::Array(fields) = value else { bail!("an answer that is no list: {value:?}") };
        let number = |place: usize| match fields.get(place) {
            Some(Value::Int(number)) => u64::try_from(*number).context("a negative number"),
            other => bail!("field {place} of an answer is {other:?}"),
        };
        if fields.first() != Some(&Value::BulkString(b"OK".to_vec())) {
            bail!("a report was not applied: {fields:?}");
        }
        self.sequence += 1;
        (self.count, self.revision) = (number(1)?, number(2)?);
        if !self.script.knows_rooms {
            return Ok(Answer { is_unannounced: number(3)? < self.revision, dead: 0 });
        }
        if let Some(Value::BulkString(stamp)) = fields.get(10) {
            self.stamp = String::from_utf8_lossy(stamp).into_owned();
        }
        Ok(Answer { is_unannounced: number(11)? == 1, dead: number(12)? })
    }

    fn arguments(&self, kind: &str, groups: &[Group]) -> Vec<String> {
        let about = if self.sequence == 0 { r#"{"name":"bench"}"# } else { "" };
        let mut arguments = vec![
            self.incarnation.clone(),
            (self.sequence + 1).to_string(),
            self.users.to_string(),
            self.lease_ms.to_string(),
            self.revision.to_string(),
            self.count.to_string(),
            kind.to_owned(),
            self.script.channel.clone(),
            "0".to_owned(),
            about.to_owned(),
        ];
        if !self.script.knows_rooms {
            return arguments;
        }
        arguments.extend([
            self.stamp.clone(),
            self.sequence.to_string(),
            String::new(),
            "0".to_owned(),
        ]);
        for Group { room, connections, users } in groups {
            arguments.push(room.clone());
            arguments.push(connections.map(|number| number.to_string()).unwrap_or_default());
            arguments.push(users.len().to_string());
            for (user, is_here) in users {
                arguments.extend([user.clone(), if *is_here { "+" } else { "-" }.to_owned()]);
            }
        }
        arguments
    }
}
