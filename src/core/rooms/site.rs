//! The site's users with an identity. Its other connections are in the tally, and its count in the view.

use std::fmt;

use tokio::{sync::watch, time::Instant};

use super::{Rooms, due::RoomId, entry::Entry, ledger::SentRooms, table::Table};
use crate::core::{
    report::{Reply, Room},
    room::{Person, UserId},
    site_users::{SiteUsers, UsersHere},
    tally::{Local, SiteLedger},
};

impl<V> Table<V> {
    fn enter_site(&mut self, person: &Person) {
        self.site.get_or_insert_with(|| Box::new(Entry::new(RoomId::SITE, Room::Site)));
        if self.add_connection(RoomId::SITE, person) {
            self.site_has_changed();
        }
    }

    /// Wakes those who report the site and show its estimate.
    pub(super) fn site_has_changed(&self) {
        self.local.send_modify(|local| local.change.0 += 1);
    }

    /// What estimates of the site need to know.
    pub(super) fn site_users(&self) -> SiteUsers {
        let Some(site) = &self.site else { return SiteUsers::default() };
        let is_denied = self.tidings.is_denied();
        SiteUsers {
            here_alone: site.users.here_alone(),
            stored_alone: site.users.stored_alone(),
            // What was denied was not stored.
            are_doubtful: site.doubtful > 0 && !is_denied,
            are_denied: is_denied && !site.is_settled(),
        }
    }

    /// Records what the store has acknowledged, and what it holds of the site's users by that. Which of them other instances have,
    /// too, is taken over if the view takes over from the same reply how many users others have; otherwise a user would be
    /// missing on both sides, or be counted on both.
    pub(super) fn acknowledge_reply(
        &mut self,
        sent: &SentRooms,
        reply: &Reply,
        is_reckoned: bool,
    ) -> SiteUsers {
        let is_newest = reply.is_applied() && self.acknowledge(sent);
        if is_newest && is_reckoned {
            self.learn_who_is_elsewhere(sent, reply);
        }
        // The count of this reply includes exactly what the report said, even if a later one is under way.
        let users = self.site_users();
        SiteUsers { are_doubtful: users.are_doubtful && !is_newest, ..users }
    }

    fn learn_who_is_elsewhere(&mut self, sent: &SentRooms, reply: &Reply) {
        let (Some(site), Some(told)) = (&mut self.site, &reply.rooms) else { return };
        let before = sent.rooms.iter().take_while(|room| room.id != RoomId::SITE);
        let first: usize = before.map(|room| room.users.len()).sum();
        let Some(room) = sent.rooms.iter().find(|room| room.id == RoomId::SITE) else { return };
        let bits = told.elsewhere.iter().skip(first);
        for ((user, _), &is_elsewhere) in room.users.iter().zip(bits) {
            site.users.is_elsewhere(user, is_elsewhere);
        }
    }

    /// Whether the next report leaves out no user of the site whose presence has changed, once it is made.
    pub(super) fn is_site_told(&self) -> bool {
        self.site.as_ref().is_none_or(|site| site.unsent == 0)
    }
}

impl<V: fmt::Debug + Send + 'static> SiteLedger for Rooms<V> {
    fn local(&self) -> &watch::Sender<Local> {
        &self.local
    }

    fn enter_site(&self, person: &Person, now: Instant) {
        let mut table = self.table();
        table.look_at_lingering(now);
        table.enter_site(person);
        self.changed(table);
    }

    fn leave_site(&self, user: &UserId) {
        let mut table = self.table();
        table.end_connection(RoomId::SITE, user, false);
        self.changed(table);
    }

    fn site_users_here(&self) -> UsersHere {
        self.table().site.as_ref().map(|site| site.users.here()).unwrap_or_default()
    }

    fn lingering(&self, now: Instant) -> usize {
        let mut table = self.table();
        table.look_at_lingering(now);
        let lingering = table.lingering.present();
        self.changed(table);
        lingering
    }
}
