//! How other servers keep in Redis who is in a room, if every client says again and again that it is there. The layouts, the
//! commands and the intervals are those of the servers; the scripts are written for this benchmark. This module never measures.
//!
//! - Centrifugo: a hash of clients and a sorted set of their expiries, each for every room; if it is to count users, a hash and
//!   a sorted set of users besides. A client is renewed every 27 s and expires after 60 (`client.presence_update_interval` and
//!   `presence_ttl`, defaults of Centrifugo 6; `presence_redis.go` and `internal/redis_lua` of centrifuge 0.32).
//! - laravel-websockets 2: a hash of sockets for every room, a set of sockets for every user of a room, and one sorted set of
//!   all sockets by the time of their last ping, which clients send every 30 s. Every 10 s, sockets that have not pinged for two
//!   minutes are taken away (`RedisChannelManager.php`).

use anyhow::Result;
use redis::Pipeline;

use crate::{
    redis::Redis,
    reporter::{room_name, user_name},
};

/// Centrifugo's `presence_ttl`, in seconds.
const EXPIRY_S: u64 = 60;
/// After which time laravel-websockets takes a socket away, in seconds.
const OBSOLETE_S: u64 = 120;

/// A client says that it is there: when it joins, and with every refresh.
const REFRESH: &str = r"
-- KEYS 1 clients by expiry   2 what is known of them   3 users by expiry   4 how many clients each user has
-- ARGV 1 seconds that keys live   2 expiry   3 client   4 what is known of it   5 its user, if users are counted
local user = ARGV[5]
local is_new = user and redis.call('HEXISTS', KEYS[2], ARGV[3]) == 0
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[3])
redis.call('HSET', KEYS[2], ARGV[3], ARGV[4])
if user then
  redis.call('ZADD', KEYS[3], ARGV[2], user)
  if is_new then
    redis.call('HINCRBY', KEYS[4], user, 1)
  end
end
for _, key in ipairs(KEYS) do
  redis.call('EXPIRE', key, ARGV[1])
end
";

/// A client leaves.
const LEAVE: &str = r"
-- KEYS as above   ARGV 1 client   2 its user, if users are counted
local user = ARGV[2]
local was_here = redis.call('HDEL', KEYS[2], ARGV[1]) == 1
redis.call('ZREM', KEYS[1], ARGV[1])
if user and was_here and redis.call('HINCRBY', KEYS[4], user, -1) <= 0 then
  redis.call('HDEL', KEYS[4], user)
  redis.call('ZREM', KEYS[3], user)
end
";

/// Somebody asks how many there are: first all who have expired are taken away.
const COUNT: &str = r"
-- KEYS as above   ARGV 1 the time
for place = 1, #KEYS, 2 do
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[place], '-inf', ARGV[1])) do
    redis.call('HDEL', KEYS[place + 1], member)
  end
  redis.call('ZREMRANGEBYSCORE', KEYS[place], '-inf', ARGV[1])
end
return redis.call('HLEN', KEYS[#KEYS])
";

/// A layout.
pub struct Layout {
    /// Whose it is.
    pub name: &'static str,
    /// Seconds between two refreshes of a client.
    pub refresh_s: f64,
    kind: Kind,
}

enum Kind {
    Centrifugo { refresh: String, leave: String, count: String, counts_users: bool },
    Laravel,
}

impl Layout {
    /// All layouts.
    ///
    /// # Errors
    /// If Redis refuses a script.
    pub fn all(redis: &mut Redis) -> Result<[Self; 3]> {
        let mut centrifugo = |counts_users| -> Result<Kind> {
            let [refresh, leave, count] = [REFRESH, LEAVE, COUNT].map(|source| redis.load(source));
            Ok(Kind::Centrifugo { refresh: refresh?, leave: leave?, count: count?, counts_users })
        };
        Ok([
            Self { name: "as Centrifugo", refresh_s: 27.0, kind: centrifugo(false)? },
            Self {
                name: "as Centrifugo, counting users",
                refresh_s: 27.0,
                kind: centrifugo(true)?,
            },
            Self { name: "as laravel-websockets", refresh_s: 30.0, kind: Kind::Laravel },
        ])
    }

    /// The user's only client joins at this time, in seconds.
    pub fn join(&self, commands: &mut Pipeline, user: usize, now: u64) {
        if !matches!(self.kind, Kind::Laravel) {
            return self.refresh(commands, user, now);
        }
        let (id, socket) = (user_name(user), socket(user));
        commands.cmd("ZADD").arg("sockets").arg(now).arg(format!("1:{socket}"));
        commands.cmd("SADD").arg("1:channels").arg(room());
        commands.cmd("HINCRBY").arg(format!("1:{}:stats", room())).arg("connections").arg(1);
        let known = format!(r#"{{"user_id":"{id}"}}"#);
        commands.cmd("HSET").arg(users_key()).arg(&socket).arg(known);
        commands.cmd("SADD").arg(sockets_of(user)).arg(&socket);
    }

    /// The client says that it is still there.
    pub fn refresh(&self, commands: &mut Pipeline, user: usize, now: u64) {
        let Kind::Centrifugo { refresh, counts_users, .. } = &self.kind else {
            let socket = socket(user);
            commands.cmd("ZADD").arg("sockets").arg(now).arg(format!("1:{socket}"));
            let said =
                format!(r#"{{"socketId":"{socket}","appId":"1","serverId":"60a1b2c3d4e5f"}}"#);
            commands.cmd("PUBLISH").arg("1:pong").arg(said);
            return;
        };
        let (id, client) = (user_name(user), client(user));
        let call = self.call(commands, refresh);
        // What Centrifugo knows of a client, in the encoding of protobuf.
        let known = format!("\n\r{id}\x12${client}");
        call.arg(EXPIRY_S).arg(now + EXPIRY_S).arg(client).arg(known);
        if *counts_users {
            call.arg(id);
        }
    }

    /// The client leaves.
    pub fn leave(&self, commands: &mut Pipeline, user: usize) {
        let Kind::Centrifugo { leave, counts_users, .. } = &self.kind else {
            let socket = socket(user);
            commands.cmd("HINCRBY").arg(format!("1:{}:stats", room())).arg("connections").arg(-1);
            commands.cmd("ZREM").arg("sockets").arg(format!("1:{socket}"));
            commands.cmd("HGET").arg(users_key()).arg(&socket);
            commands.cmd("HDEL").arg(users_key()).arg(&socket);
            commands.cmd("SREM").arg(sockets_of(user)).arg(&socket);
            return;
        };
        let call = self.call(commands, leave).arg(client(user));
        if *counts_users {
            call.arg(user_name(user));
        }
    }

    /// The command that finds all whose time is over, and with Centrifugo takes them away. With laravel-websockets each of them
    /// leaves afterwards.
    pub fn find_expired(&self, commands: &mut Pipeline, now: u64) {
        match &self.kind {
            Kind::Centrifugo { count, .. } => {
                self.call(commands, count).arg(now);
            }
            Kind::Laravel => {
                let find = commands.cmd("ZRANGEBYSCORE").arg("sockets").arg("(0");
                find.arg(format!("({}", now - OBSOLETE_S));
            }
        }
    }

    /// Whether those who are found still have to leave one by one.
    pub fn leaves_one_by_one(&self) -> bool {
        matches!(self.kind, Kind::Laravel)
    }

    /// The hash whose fields are those who are counted.
    pub fn kept_in(&self) -> String {
        match self.kind {
            Kind::Centrifugo { counts_users: true, .. } => centrifugo_key("user.clients"),
            Kind::Centrifugo { .. } => centrifugo_key("data"),
            Kind::Laravel => users_key(),
        }
    }

    fn call<'a>(&self, commands: &'a mut Pipeline, script: &str) -> &'a mut Pipeline {
        let keys: &[&str] = match self.kind {
            Kind::Centrifugo { counts_users: true, .. } => {
                &["expire", "data", "user.expire", "user.clients"]
            }
            _ => &["expire", "data"],
        };
        let call = commands.cmd("EVALSHA").arg(script).arg(keys.len());
        keys.iter().fold(call, |call, key| call.arg(centrifugo_key(key)))
    }
}

fn centrifugo_key(part: &str) -> String {
    format!("centrifugo.presence.{part}.{}", room())
}

fn users_key() -> String {
    format!("1:{}:users", room())
}

fn room() -> String {
    room_name(0)
}

/// An id as Centrifugo gives it to a client.
fn client(user: usize) -> String {
    format!("7c9e6679-7425-40de-944b-{user:012x}")
}

/// An id as laravel-websockets gives it to a socket.
fn socket(user: usize) -> String {
    format!("374261549.{user:09}")
}

fn sockets_of(user: usize) -> String {
    format!("1:{}:{}:userSockets", room(), user_name(user))
}
