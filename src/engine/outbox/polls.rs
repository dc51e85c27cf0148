//! The part of an outbox that concerns polls: what waits is taken as one payload.

use std::{mem, task::Waker};

use super::{Carrier, Outbox, push};
use crate::{
    engine::sink::Sink,
    protocol::frame::{CountFrame, RoomFrame},
};

impl<S: Sink, P> Outbox<S, P> {
    /// Takes everything that waits, as the answer to a poll; `None` if nothing waits: packets, then the newest counts and
    /// lists.
    pub fn take_payload(&mut self) -> Option<Vec<u8>> {
        let mut payload = mem::take(&mut self.rest);
        self.ping_waits = false;
        if let Some(users) = self.newest.take() {
            push(&mut payload, CountFrame::new(users).packet());
        }
        if let Some(rooms) = &mut self.rooms {
            while let Some((place, name, users)) = rooms.next_waiting() {
                push(&mut payload, RoomFrame::new(name.as_str(), users).packet());
                rooms.written(place);
            }
            while let Some((place, frame)) = rooms.next_list() {
                push(&mut payload, frame.packet());
                rooms.list_written(place, &frame, frame.bytes().len());
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
