//! What the cases are played on: a server, a script, a time that only the cases move, and instances that
//! report.

use std::collections::BTreeMap;

use deadpool_redis::redis::{self, Connection, FromRedisValue, ToRedisArgs, Value};
use headcount_testkit::redis_server::RedisServer;

pub(super) const PUBLIC: &str = "currentUsers";
pub(super) const CONNECTIONS: &str = "{currentUsers}:connections";
pub(super) const SEQUENCE: &str = "{currentUsers}:sequence";
pub(super) const LEASES: &str = "{currentUsers}:leases";
pub(super) const META: &str = "{currentUsers}:meta";
/// Beside the keys of the call, since it may be missing or forbidden.
pub(super) const ABOUT: &str = "{currentUsers}:about";
pub(super) const STORED: [&str; 6] = [PUBLIC, CONNECTIONS, SEQUENCE, LEASES, META, ABOUT];
pub(super) const KEYS: [&str; 5] = [PUBLIC, CONNECTIONS, SEQUENCE, LEASES, META];
pub(super) const CHANNEL: &str = "user count";
pub(super) const DATABASE: &str = "0";
pub(super) const LEASE: u64 = 2000;

/// The arguments before the groups of rooms.
const HEADER: usize = 14;

/// For commands without arguments.
pub(super) const NO_ARGUMENTS: &[&str] = &[];

/// All stored data: each key in the format of `DUMP`.
pub(super) type Snapshot = BTreeMap<String, Vec<u8>>;

/// The result of a case: nothing, or what was wrong.
pub(super) type Outcome = Result<(), String>;

/// One case, which starts with an empty server.
pub(super) struct Case {
    pub(super) name: &'static str,
    pub(super) play: fn(&mut Stage<'_>) -> Outcome,
}

pub(super) struct Stage<'a> {
    pub(super) server: &'a RedisServer,
    connection: Connection,
    script_hash: String,
    /// The virtual TIME in ms.
    pub(super) now: u64,
    /// The reports so far. Each runs one microsecond after the one before, as no two run at the same time on a real server.
    evaluated: u64,
    /// Whether the public key must be the sum of the connections after every report. A case that edits the
    /// store by hand turns this off until the next audit.
    pub(super) sums: bool,
    /// Whether a report of this case has named rooms.
    names_rooms: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(server: &'a RedisServer, script: &str) -> Self {
        let mut connection = server.connection();
        let script_hash =
            redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap();
        Self {
            server,
            connection,
            script_hash,
            now: 1_700_000_000_000,
            evaluated: 0,
            sums: true,
            names_rooms: false,
        }
    }

    /// Plays a case on an empty server.
    pub(super) fn play(&mut self, case: &Case) -> Outcome {
        self.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        (self.sums, self.names_rooms) = (true, false);
        (case.play)(self)
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now += ms;
    }

    /// The time of the next report, in microseconds.
    fn micros(&mut self) -> u64 {
        self.evaluated += 1;
        self.now * 1000 + self.evaluated % 1000
    }

    /// Runs one command.
    pub(super) fn redis<T: FromRedisValue>(
        &mut self,
        command: &str,
        arguments: impl ToRedisArgs,
    ) -> Result<T, String> {
        let outcome = redis::cmd(command).arg(arguments).query(&mut self.connection);
        outcome.map_err(|error| format!("{command}: {error}"))
    }

    /// The public count. A missing key means 0.
    pub(super) fn public(&mut self) -> Result<i64, String> {
        Ok(self.redis::<Option<i64>>("GET", PUBLIC)?.unwrap_or(0))
    }

    pub(super) fn remaining_ms(&mut self, key: &str) -> Result<i64, String> {
        self.redis("PTTL", key)
    }

    /// All stored data at this moment.
    pub(super) fn snapshot(&mut self) -> Result<Snapshot, String> {
        let keys = self.keys()?;
        if keys.is_empty() {
            return Ok(Snapshot::new());
        }
        let mut pipe = redis::pipe();
        for key in &keys {
            pipe.cmd("DUMP").arg(key);
        }
        let values: Vec<Option<Vec<u8>>> =
            pipe.query(&mut self.connection).map_err(|error| error.to_string())?;
        Ok(keys.into_iter().zip(values).filter_map(|(key, value)| Some((key, value?))).collect())
    }

    /// The names of all keys.
    pub(super) fn keys(&mut self) -> Result<Vec<String>, String> {
        self.redis("KEYS", "*")
    }

    /// Returns to an earlier state, as a server does that restarts with an old file.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Outcome {
        self.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        for (key, value) in snapshot {
            self.redis::<()>("RESTORE", (key, 0, value.as_slice()))?;
        }
        Ok(())
    }

    /// Sends a report, and checks the invariants of the script.
    pub(super) fn send(&mut self, report: &[String]) -> Result<Answer, String> {
        self.names_rooms |= report.len() > HEADER;
        let looks = if self.sums { Looks::AtWhatIsLeft } else { Looks::Away };
        let (answer, left) = self.evaluate(report, looks, None)?;
        if let Some(left) = left.filter(|_| answer.applied) {
            let users = if self.names_rooms { self.check_rooms()? } else { 0 };
            let sum = left.sum()? + users;
            same("the public key is the sum", left.public, Some(sum.to_string()))?;
            same("the reply is the sum", answer.count, sum)?;
        }
        Ok(answer)
    }

    /// Checks that the count of every room is the sum of its parts. Returns how many users the site has.
    fn check_rooms(&mut self) -> Result<u64, String> {
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for key in self.keys()? {
            if key.starts_with("{currentUsers}:at:") {
                for (room, count) in self.redis::<BTreeMap<String, u64>>("HGETALL", &key)? {
                    ensure("no part is 0", count > 0)?;
                    *sums.entry(room).or_default() += count;
                }
            } else if let Some(room) = key.strip_prefix("{currentUsers}:people:") {
                *sums.entry(room.to_owned()).or_default() += self.redis::<u64>("HLEN", &key)?;
            }
        }
        let of_site = sums.remove("/").unwrap_or(0);
        let counts: BTreeMap<String, u64> = self.redis("HGETALL", "{currentUsers}:rooms")?;
        same("the counts of rooms are the sums of their parts", counts, sums)?;
        Ok(of_site)
    }

    /// Sends a report to another script. Returns the revision and the count of its reply.
    pub(super) fn evaluate_other(
        &mut self,
        script_hash: &str,
        report: &[String],
    ) -> Result<(u64, u64), String> {
        let now = self.micros();
        let reply: Value = self.redis("EVALSHA", (script_hash, KEYS.len(), &KEYS, report, now))?;
        let Value::Array(fields) = reply else { return Err(format!("replied {reply:?}")) };
        let field = |place: usize| convert(fields.get(place).cloned().unwrap_or(Value::Nil));
        Ok((field(2)?, field(1)?))
    }

    /// Sends a report, then a message to the channel if one is given, and reads the keys if wanted, all in one
    /// pipeline.
    pub(super) fn evaluate(
        &mut self,
        report: &[String],
        looks: Looks,
        message: Option<&str>,
    ) -> Result<(Answer, Option<Left>), String> {
        let now = self.micros();
        let mut pipe = redis::pipe();
        pipe.cmd("EVALSHA").arg((&self.script_hash, KEYS.len(), &KEYS, report, now));
        if let Some(message) = message {
            pipe.cmd("PUBLISH").arg((CHANNEL, message)).ignore();
        }
        let text = |error: redis::RedisError| error.to_string();
        if looks == Looks::Away {
            let (value,): (Value,) = pipe.query(&mut self.connection).map_err(text)?;
            return Ok((Answer::read(value)?, None));
        }
        // MGET returns nothing for a key of another type, instead of failing.
        pipe.cmd("HGETALL").arg(CONNECTIONS).cmd("MGET").arg(PUBLIC);
        let (value, parts, [public]): (Value, _, [Option<String>; 1]) =
            pipe.query(&mut self.connection).map_err(text)?;
        Ok((Answer::read(value)?, Some(Left { parts, public })))
    }
}

/// Whether to read the keys after a report.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    AtWhatIsLeft,
    Away,
}

/// The keys after a report: the parts by the names of their instances, and the public key.
pub(super) struct Left {
    pub(super) parts: BTreeMap<String, String>,
    pub(super) public: Option<String>,
}

impl Left {
    /// The sum of the parts.
    pub(super) fn sum(&self) -> Result<u64, String> {
        let number = |part: &String| part.parse::<u64>().map_err(|_| format!("a part is {part:?}"));
        self.parts.values().map(number).sum()
    }
}

/// The reply of the script.
#[derive(Clone, Debug, Default, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "the reply has so many flags")]
pub(super) struct Answer {
    pub(super) applied: bool,
    pub(super) count: u64,
    pub(super) revision: u64,
    pub(super) announced: u64,
    pub(super) instances: u64,
    pub(super) stored_sequence: u64,
    pub(super) recovering: bool,
    pub(super) reaped: u64,
    pub(super) repaired: u64,
    pub(super) crashed: u64,
    pub(super) stamp: String,
    pub(super) unannounced: bool,
    pub(super) dead: u64,
    pub(super) paged: u64,
    /// Whether the reporter must begin again.
    pub(super) resend: bool,
    /// What it says of the rooms of the report.
    pub(super) rooms: Option<AboutRooms>,
}

/// What a reply says of the rooms of its report.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct AboutRooms {
    pub(super) rooms_held: u64,
    pub(super) users_held: u64,
    pub(super) counts: Vec<u64>,
    pub(super) elsewhere: Vec<u64>,
}

impl Answer {
    fn read(value: Value) -> Result<Self, String> {
        let Value::Array(mut fields) = value else {
            return Err(format!("replied {value:?}"));
        };
        if fields.len() != 14 && fields.len() != 18 {
            return Err(format!("replied {fields:?}"));
        }
        let of_rooms = fields.split_off(14);
        let stamp: String = convert(fields.remove(10))?;
        let outcome: String = convert(fields.remove(0))?;
        let numbers: Vec<u64> = convert(Value::Array(fields))?;
        let rooms = (!of_rooms.is_empty()).then(|| AboutRooms::read(of_rooms)).transpose()?;
        Ok(Self {
            applied: outcome == "OK",
            resend: outcome == "RESEND",
            count: numbers[0],
            revision: numbers[1],
            announced: numbers[2],
            instances: numbers[3],
            stored_sequence: numbers[4],
            recovering: numbers[5] == 1,
            reaped: numbers[6],
            repaired: numbers[7],
            crashed: numbers[8],
            unannounced: numbers[9] == 1,
            dead: numbers[10],
            paged: numbers[11],
            stamp,
            rooms,
        })
    }
}

impl AboutRooms {
    fn read(fields: Vec<Value>) -> Result<Self, String> {
        let (rooms_held, users_held, counts, elsewhere) = convert(Value::Array(fields))?;
        Ok(Self { rooms_held, users_held, counts, elsewhere })
    }
}

fn convert<T: FromRedisValue>(value: Value) -> Result<T, String> {
    redis::from_redis_value(value).map_err(|error| error.to_string())
}

/// Fails unless the condition holds.
pub(super) fn ensure(what: &str, holds: bool) -> Outcome {
    if holds { Ok(()) } else { Err(format!("not so: {what}")) }
}

/// Fails unless both values are the same.
#[expect(clippy::needless_pass_by_value, reason = "both are mostly the results of calls")]
pub(super) fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: found {found:?}, expected {expected:?}"))
}
