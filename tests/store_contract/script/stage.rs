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

/// For commands without arguments.
pub(super) const NO_ARGUMENTS: &[&str] = &[];

/// All stored data, key by key, in the format of `DUMP`.
pub(super) type Snapshot = [Option<Vec<u8>>; STORED.len()];

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
    /// Whether the public key must be the sum of the connections after every report. A case that edits the
    /// store by hand turns this off until the next audit.
    pub(super) sums: bool,
}

impl<'a> Stage<'a> {
    pub(super) fn new(server: &'a RedisServer, script: &str) -> Self {
        let mut connection = server.connection();
        let script_hash =
            redis::cmd("SCRIPT").arg("LOAD").arg(script).query(&mut connection).unwrap();
        Self { server, connection, script_hash, now: 1_700_000_000_000, sums: true }
    }

    /// Plays a case on an empty server.
    pub(super) fn play(&mut self, case: &Case) -> Outcome {
        self.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        self.sums = true;
        (case.play)(self)
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, ms: u64) {
        self.now += ms;
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
        let mut pipe = redis::pipe();
        for key in STORED {
            pipe.cmd("DUMP").arg(key);
        }
        pipe.query(&mut self.connection).map_err(|error| error.to_string())
    }

    /// Returns to an earlier state, as a server does that restarts with an old file.
    pub(super) fn restore(&mut self, snapshot: &Snapshot) -> Outcome {
        self.redis::<()>("FLUSHALL", NO_ARGUMENTS)?;
        for (key, value) in STORED.iter().zip(snapshot) {
            if let Some(value) = value {
                self.redis::<()>("RESTORE", (key, 0, value.as_slice()))?;
            }
        }
        Ok(())
    }

    /// Sends a report, and checks the invariants of the script.
    pub(super) fn send(&mut self, report: &[String]) -> Result<Answer, String> {
        let looks = if self.sums { Looks::AtWhatIsLeft } else { Looks::Away };
        let (answer, left) = self.evaluate(report, looks, None)?;
        if let Some(left) = left.filter(|_| answer.applied) {
            let sum = left.sum()?;
            same("the public key is the sum", left.public, Some(sum.to_string()))?;
            same("the reply is the sum", answer.count, sum)?;
        }
        Ok(answer)
    }

    /// Sends a report, then a message to the channel if one is given, and reads the keys if wanted, all in one
    /// pipeline.
    pub(super) fn evaluate(
        &mut self,
        report: &[String],
        looks: Looks,
        message: Option<&str>,
    ) -> Result<(Answer, Option<Left>), String> {
        let mut pipe = redis::pipe();
        pipe.cmd("EVALSHA").arg((&self.script_hash, KEYS.len(), &KEYS, report, self.now));
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
#[derive(Clone, Copy, Debug, Default, PartialEq)]
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
}

impl Answer {
    fn read(value: Value) -> Result<Self, String> {
        let (outcome, numbers) = match value {
            Value::Array(mut fields) if fields.len() >= 14 => {
                fields.truncate(10);
                (fields.remove(0), fields)
            }
            other => return Err(format!("replied {other:?}")),
        };
        let outcome: String =
            redis::from_redis_value(outcome).map_err(|error| error.to_string())?;
        let numbers: Vec<u64> =
            redis::from_redis_value(Value::Array(numbers)).map_err(|error| error.to_string())?;
        let [
            count,
            revision,
            announced,
            instances,
            stored_sequence,
            recovering,
            reaped,
            repaired,
            crashed,
        ] = numbers[..]
        else {
            return Err(format!("replied {numbers:?}"));
        };
        Ok(Self {
            applied: outcome == "OK",
            count,
            revision,
            announced,
            instances,
            stored_sequence,
            recovering: recovering == 1,
            reaped,
            repaired,
            crashed,
        })
    }
}

/// An instance: its users, and what it has seen.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    name: String,
    pub(super) users: u64,
    pub(super) sequence: u64,
    pub(super) seen_revision: u64,
    pub(super) seen_count: u64,
    /// What its next reports say of it; empty for nothing.
    pub(super) about: String,
}

impl Instance {
    pub(super) fn new(name: impl Into<String>, users: u64) -> Self {
        let (name, about) = (name.into(), String::new());
        Self { name, users, sequence: 0, seen_revision: 0, seen_count: 0, about }
    }

    /// The arguments of its next report, which may be sent later, repeatedly, or never.
    pub(super) fn prepare(&mut self, kind: &str) -> Vec<String> {
        self.sequence += 1;
        let numbers = [self.sequence, self.users, LEASE, self.seen_revision, self.seen_count];
        let mut report = vec![self.name.clone()];
        report.extend(numbers.iter().map(u64::to_string));
        report.extend([kind, CHANNEL, DATABASE, &self.about].map(str::to_owned));
        report.extend(["", "0", "", "0"].map(str::to_owned));
        report
    }

    /// Reports, and remembers the largest revision.
    pub(super) fn report(&mut self, stage: &mut Stage<'_>) -> Result<Answer, String> {
        self.say("report", stage)
    }

    pub(super) fn say(&mut self, kind: &str, stage: &mut Stage<'_>) -> Result<Answer, String> {
        let answer = self.say_deaf(kind, stage)?;
        if answer.revision > self.seen_revision {
            self.seen_revision = answer.revision;
            self.seen_count = answer.count;
        }
        Ok(answer)
    }

    /// Reports, but the reply is lost.
    pub(super) fn say_deaf(&mut self, kind: &str, stage: &mut Stage<'_>) -> Result<Answer, String> {
        stage.send(&self.prepare(kind))
    }
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
