//! Edits of the store by hand: any key deleted, of another type, or with another value.

use super::{
    chance::Chance,
    database::Database,
    episode::{ROOMS, USERS},
};

/// An incarnation that no instance has.
pub(crate) const STRANGER: &str = "01a2011c-f814-765a-8ed8-cd16f884d799";

const ODD: [&str; 6] = ["x", "", "-5", "7", "99999999", "1 2 3"];

/// Edits one thing. `owner` is an incarnation.
pub(crate) fn tamper(database: &mut Database, owner: &str, chance: &mut Chance) {
    let room = chance.pick(&ROOMS);
    let user = chance.pick(&USERS);
    let owner = if chance.one_in(2) { owner } else { STRANGER };
    let keys: Vec<String> = database.command("KEYS", "*").unwrap();
    let key = if keys.is_empty() {
        "currentUsers".to_owned()
    } else {
        keys[chance.index(keys.len())].clone()
    };
    let number = chance.pick(&["-5", "7", "70", "x"]);
    let (tag, pair) = (&owner[owner.len() - 12..], format!("{room}\n{user}"));
    let (at, of) = (Database::key(&format!("at:{owner}")), Database::key(&format!("of:{owner}")));
    let (rooms, people) = (Database::key("rooms"), Database::key(&format!("people:{room}")));
    let mut run = |name: &str, arguments: &[&str]| {
        // An error means that the key has another type by now.
        let _ = database.command::<deadpool_redis::redis::Value>(name, arguments);
    };
    match chance.between(0, 12) {
        0 => run("SET", &["currentUsers", number]),
        1 => {
            run("DEL", &[&key]);
            run("LPUSH", &[&key, "x"]);
        }
        2..=4 => run("DEL", &[&key]),
        5 => run("HSET", &[&Database::key("connections"), owner, number]),
        6 => run("HSET", &[&rooms, room, number]),
        7 => run("HDEL", &[&rooms, room]),
        8 => run("HSET", &[&at, room, number]),
        9 => run("HDEL", &[&at, room]),
        10 => {
            let twice = format!("{tag}{tag}");
            let value = chance.pick(&["", "x", tag, &twice, "{\"a\":1}"]);
            run("HSET", &[&people, user, value]);
        }
        11 => run(if chance.one_in(2) { "SADD" } else { "SREM" }, &[&of, &pair]),
        _ => {
            let fields = ["wide", "total", "revision", "clock", "stamp", "census", "recovering"];
            run("HSET", &[&Database::key("meta"), chance.pick(&fields), chance.pick(&ODD)]);
        }
    }
}
