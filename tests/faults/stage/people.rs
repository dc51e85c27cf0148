//! Which clients are whose: people with several clients on one instance and on several, and people who come and go.

use crate::history::{PersonKey, Place};

/// People who come and go. There are few, so that one is often on two instances, or moves from one to another.
const PASSERS: usize = 2;

/// Whose client the one with this number is, of those that stay at this place. There are two of each transport.
pub(super) fn of_crowd(place: Place, number: usize) -> Option<PersonKey> {
    match number {
        1 => Some(everywhere()),
        2 | 3 => Some(key(&format!("tabs-{place}"))),
        5 if place < 2 => Some(key("half-and-half")),
        _ => None,
    }
}

/// Whose client the one with this number is, of those that reconnect through a balancer: three share a person.
pub(super) fn of_faithful(number: usize) -> Option<PersonKey> {
    number.is_multiple_of(2).then(|| key(&format!("faithful-{}", number / 6)))
}

/// Whose client the visitor with this number is: nobody's, that of a person who is there anyway, or that of one who comes and goes.
pub(super) fn of_visitor(number: usize) -> Option<PersonKey> {
    let turn = number / 4;
    match number % 4 {
        0 if turn.is_multiple_of(2) => Some(everywhere()),
        2 | 3 if turn % 3 < PASSERS => Some(key(&format!("passer-{}", turn % 3))),
        _ => None,
    }
}

/// A person with a client on each instance.
fn everywhere() -> PersonKey {
    key("everywhere")
}

/// The visitor key of the person with this name. Servers take keys of 16 to 64 characters.
pub(crate) fn key(name: &str) -> PersonKey {
    format!("person-of-the-faults-{name}").into()
}
