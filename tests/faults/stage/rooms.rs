//! Which clients are in which rooms: rooms of many and of one, on all instances, on one, and on none.

use crate::history::{Membership, Place, member, watcher};

/// A room with members on all instances: all clients that stay, but a few.
pub(crate) const EVERYWHERE: &str = "/everywhere";
/// The beginning of the names of rooms with one member, on one instance.
pub(crate) const ALONE: &str = "/alone/";
/// A room that is watched on all instances. Its members come and go, so it is often empty.
pub(crate) const PASSING: &str = "/passing";
/// A room that is watched, and in which nobody ever is.
const WATCHED: &str = "/watched";

/// The rooms whose counts every instance shows to programs.
pub(super) fn shown() -> Vec<String> {
    let alone = (0..super::INSTANCES).map(|place| format!("{ALONE}{place}"));
    alone.chain([EVERYWHERE, PASSING, WATCHED].map(str::to_owned)).collect()
}

/// The rooms of the client with this number, of those that stay at this place. There are two of each transport.
pub(super) fn of_crowd(place: Place, number: usize) -> Vec<Membership> {
    let alone = |place: Place| format!("{ALONE}{place}");
    match number {
        0 => vec![member(EVERYWHERE), member(alone(place))],
        1 => vec![member(EVERYWHERE), watcher(PASSING), watcher(WATCHED)],
        2 => vec![member(EVERYWHERE), watcher(alone((place + 1) % super::INSTANCES))],
        3 => {
            let all_alone = (0..super::INSTANCES).map(|place| watcher(alone(place)));
            all_alone.chain([member(EVERYWHERE), watcher(PASSING), watcher(WATCHED)]).collect()
        }
        4 => vec![watcher(EVERYWHERE)],
        _ => Vec::new(),
    }
}

/// The rooms of a client that reconnects through a balancer.
pub(super) fn of_faithful() -> Vec<Membership> {
    vec![member(EVERYWHERE), watcher(PASSING)]
}

/// The rooms that the visitor with this number joins when it comes, and when it has stayed for half of its time.
pub(super) fn of_visitor(number: usize) -> [Vec<Membership>; 2] {
    match number % 3 {
        0 => [vec![member(EVERYWHERE), member(PASSING)], Vec::new()],
        1 => [vec![member(format!("/brief/{number}"))], vec![member(PASSING)]],
        _ => [vec![member(PASSING), watcher(EVERYWHERE)], Vec::new()],
    }
}

/// Whether the visitor with this number leaves [`PASSING`] before it goes.
pub(super) fn leaves_early(number: usize) -> bool {
    number % 3 == 2
}
