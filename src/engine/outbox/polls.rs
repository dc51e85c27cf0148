//! The part of an outbox that concerns polls: what waits is taken as one payload.

use std::{mem, task::Waker};

use super::{Carrier, Outbox, push};
use crate::{
    engine::{session_rooms::Turn, sink::Sink},
    protocol::frame::{CountFrame, RoomFrame},
};

/// The answer to a poll that has so many bytes takes no further count or list of a room. They wait for the next poll: an answer stays
/// in memory as long as its client does not read it.
pub(super) const PAYLOAD_BYTES: usize = 16 * 1024;

impl<S: Sink, P> Outbox<S, P> {
    /// Takes what waits, as the answer to a poll; `None` if nothing waits: all packets, then the newest counts and lists, as far
    /// as there is space.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        let mut payload = mem::take(&mut self.rest);
        self.ping_waits = false;
        if let Some(users) = self.newest.take() {
            push(&mut payload, CountFrame::new(users).packet());
        }
        if let Some(rooms) = &mut self.rooms {
            while payload.len() < PAYLOAD_BYTES
                && let Some(turn) = rooms.next_turn()
            {
                match turn {
                    Turn::Count(place, name, users) => {
                        push(&mut payload, RoomFrame::new(name.as_str(), users).packet());
                        rooms.written(place);
                    }
                    Turn::List(place, frame) => {
                        push(&mut payload, frame.packet());
                        rooms.list_written(place, &frame, frame.bytes().len());
                    }
                }
            }
        }
        (!payload.is_empty()).then_some(payload)
    }

    /// Stores the waker of the open poll, which waits for something to be sent.
    pub fn await_payload(&mut self, waker: &Waker) {
        if let Carrier::Polling(waiting) = &mut self.carrier {
            *waiting = Some(waker.clone());
        }
    }
}
