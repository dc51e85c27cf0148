//! Clients that were told an estimate before the store had counted them. An exact count that comes then may leave them out: a reply
//! to a report that was made before they joined. It is kept from them, and from nobody else, until the store has counted them.

use std::mem;

use crate::{
    core::{included::Included, prune::Prune},
    engine::session::{Membership, RoomMembership},
};

/// A client in the site or in a room.
pub(super) trait Member: Clone {
    /// Keeps counts from the client, or does so no more. Returns whether that is a change, or `None` if the client has left.
    fn hold(&self, is_held: bool) -> Option<bool>;
}

impl Member for Membership {
    fn hold(&self, is_held: bool) -> Option<bool> {
        self.session.upgrade()?.hold(self.generation, is_held)
    }
}

impl Member for RoomMembership {
    fn hold(&self, is_held: bool) -> Option<bool> {
        self.session.upgrade()?.hold_room(self.place, is_held)
    }
}

/// The clients of the site or of one room.
#[derive(Debug)]
pub(super) struct Provisional<M> {
    /// Each with the change by which it joined.
    clients: Vec<(M, u64)>,
    /// What the count of the present emission includes, and what the newest one does.
    included: Included,
    newest: Included,
    prune: Prune,
}

impl<M: Member> Provisional<M> {
    /// No clients yet, beside a count that includes this.
    pub(super) fn beside(included: Included) -> Self {
        Self { clients: Vec::new(), included, newest: included, prune: Prune::default() }
    }

    /// Adds a client that was told an estimate.
    pub(super) fn add(&mut self, member: M, change: u64) {
        if member.hold(self.included.leaves_out(change)).is_none() {
            return;
        }
        // While the store is away, all who come are added, and some of them leave.
        let (clients, included) = (&mut self.clients, self.included);
        self.prune.if_due(clients.len(), || {
            clients.retain(|(member, change)| member.hold(included.leaves_out(*change)).is_some());
            clients.len()
        });
        self.clients.push((member, change));
    }

    /// Takes in what the shown count includes. [`Provisional::review`] must follow, once no older count is emitted any more.
    pub(super) fn hear(&mut self, newest: Included) {
        self.newest = newest;
    }

    /// Keeps counts from the clients that the newest one leaves out. Returns those from which counts were kept, and are not any more.
    pub(super) fn review(&mut self) -> Vec<M> {
        let included = self.newest;
        if mem::replace(&mut self.included, included) == included {
            return Vec::new();
        }
        let mut released = Vec::new();
        self.clients.retain(|(member, change)| {
            let is_held = included.leaves_out(*change);
            let Some(has_changed) = member.hold(is_held) else { return false };
            if has_changed && !is_held {
                released.push(member.clone());
            }
            !included.counts(*change)
        });
        released
    }

    /// How many of them the store may not have counted.
    pub(super) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Whether the store has counted all of them.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
