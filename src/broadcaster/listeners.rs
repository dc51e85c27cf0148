//! The connections that are written to directly, told the same count a part of them at a time.

use std::{
    hint,
    sync::{Arc, Weak},
};

use tokio::net::TcpStream;

use crate::{connection::Control, frame::CountFrame, sweep::Sweep};

/// So many are told in one part of an emission, which takes a few milliseconds.
pub(super) const WRITES_AT_ONCE: usize = 256;
/// So many connections are read ahead of being written to. With many of them each is far away in memory, and so
/// their ways overlap.
pub(super) const READ_AHEAD: usize = 16;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    /// Closed ones are swept now and then, and by every emission.
    list: Vec<Listener>,
    sweep: Sweep,
    /// Those who come on the list when what is being done is done: they know the count of the emission under way, a
    /// newer one, or the estimate.
    entering: Vec<Arc<Control>>,
}

impl Listeners {
    /// How many are on the list.
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Whoever is not on the list comes on it at the next [`Listeners::enlist_entering`].
    pub(super) fn enter(&mut self, control: &Arc<Control>) {
        self.entering.push(Arc::clone(control));
    }

    pub(super) fn enlist_entering(&mut self) {
        self.sweep.if_due(self.list.len(), || {
            self.list.retain(Listener::is_open);
            self.list.len()
        });
        self.list.extend(self.entering.drain(..).filter_map(|control| Listener::new(&control)));
    }

    /// Tells the last of the first `untold` on the list; returns how many of them are left. The list is gone through
    /// backwards, so that what takes the place of a connection taken off has been told.
    pub(super) fn tell_last_of(&mut self, untold: usize, frame: &CountFrame) -> usize {
        let left = untold.saturating_sub(WRITES_AT_ONCE);
        let mut end = untold;
        while end > left {
            let group = end.saturating_sub(READ_AHEAD).max(left)..end;
            self.list[group.clone()].iter().for_each(Listener::read_ahead);
            for index in group.clone().rev() {
                if !self.list[index].tell(frame) {
                    self.list.swap_remove(index);
                }
            }
            end = group.start;
        }
        left
    }
}

/// A connection that is written to directly.
#[derive(Debug)]
struct Listener {
    /// Held beyond the connection's end until this is swept, which saves counting references at each emission.
    control: Arc<Control>,
    stream: Weak<TcpStream>,
}

impl Listener {
    fn new(control: &Arc<Control>) -> Option<Self> {
        let stream = Arc::downgrade(&control.stream()?);
        Some(Self { control: Arc::clone(control), stream })
    }

    fn is_open(&self) -> bool {
        self.stream.strong_count() > 0
    }

    /// Brings what [`Listener::tell`] needs near.
    fn read_ahead(&self) {
        hint::black_box((Arc::strong_count(&self.control), self.stream.strong_count()));
    }

    /// Returns false if it is to be taken off the list.
    fn tell(&self, frame: &CountFrame) -> bool {
        let listens = self.control.tell(frame);
        if !listens {
            self.control.unlist();
        }
        listens
    }
}
