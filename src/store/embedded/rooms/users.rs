//! The users of one room: who holds each of them, and what is known of him.

use std::sync::Arc;

use crate::{
    core::{
        count::Incarnation,
        people::{LISTED_MAX, Listed, People, is_listed},
        report::{Report, UserPresence},
        room::UserId,
        small_map::SmallMap,
    },
    store::people::{PeopleCursor, PeoplePage, PeoplePageQuery, PeopleQuery},
};

/// The users of a room. A room without users needs no memory for them.
#[derive(Debug, Default)]
pub(super) struct Users(Option<Box<SmallMap<UserId, Occupant>>>);

/// A user whom somebody holds.
#[derive(Debug, Default)]
struct Occupant {
    /// The incarnations that hold him. Most often it is one.
    holders: Vec<Incarnation>,
    /// What was said of him last, as a JSON object.
    info: Option<Arc<str>>,
}

impl Users {
    pub(super) fn len(&self) -> u64 {
        self.0.as_ref().map_or(0, |occupants| occupants.len() as u64)
    }

    /// The incarnations that hold each user.
    #[cfg(test)]
    pub(super) fn all_holders(&self) -> impl Iterator<Item = &[Incarnation]> {
        self.all().map(|(_, occupant)| &*occupant.holders)
    }

    /// The incarnations that hold a user.
    pub(super) fn holders(&self, user: &UserId) -> &[Incarnation] {
        self.get(user).map_or(&[], |occupant| &occupant.holders)
    }

    /// Records that the incarnation of a report holds a user. Returns whether a list of the users is another now.
    pub(super) fn hold(&mut self, user: &UserId, report: &Report, presence: &UserPresence) -> bool {
        let owner = report.incarnation;
        let occupants = self.0.get_or_insert_default();
        let occupant = occupants.get_or_default(user);
        let is_new = occupant.holders.is_empty();
        if !occupant.holders.contains(&owner) {
            // Most often it stays the only one.
            occupant.holders.reserve_exact(1);
            occupant.holders.push(owner);
        }
        let mut others =
            occupant.holders.iter().filter(|it| **it != owner && Some(**it) != report.former);
        let known = occupant.info.take();
        let info = match presence {
            UserPresence::Here(Some(info)) => Some(info.clone()),
            // What is known of a user goes with the last who has said something.
            UserPresence::Here(None) => known.clone().filter(|_| others.next().is_some()),
            UserPresence::Still(info) => known.clone().or_else(|| Some(info.clone())),
            UserPresence::Gone => known.clone(),
        };
        let is_told_anew = info != known;
        occupant.info = info;
        is_new || is_told_anew
    }

    /// Records that an incarnation does not hold a user any more. Returns whether a list of the users is another now.
    pub(super) fn release(&mut self, user: &UserId, owner: Incarnation) -> bool {
        let Some(occupants) = &mut self.0 else { return false };
        let Some(occupant) = occupants.get_mut(user) else { return false };
        occupant.holders.retain(|holder| *holder != owner);
        let is_gone = occupant.holders.is_empty();
        if is_gone {
            occupants.remove(user);
        }
        if occupants.is_empty() {
            self.0 = None;
        }
        is_gone
    }

    /// Who is there, for a list: first those who are on it, then others in the order of their ids.
    pub(super) fn people(&self, query: &PeopleQuery) -> People {
        let listed = |user: &UserId, occupant: &Occupant| Listed {
            user: user.clone(),
            info: occupant.info.clone(),
            is_elsewhere: occupant.holders.iter().any(|holder| Some(*holder) != query.own),
        };
        let present = query.listed.iter().filter(|user| is_listed(user)).take(LISTED_MAX);
        let mut people = People::default();
        for user in present {
            if let Some(occupant) = self.get(user) {
                people.users.push(listed(user, occupant));
            }
        }
        let on_the_list = people.users.len();
        for (user, occupant) in self.all().filter(|(user, _)| is_listed(user)) {
            if people.users[..on_the_list].iter().any(|other| other.user == *user) {
                continue;
            }
            if people.users.len() < LISTED_MAX {
                people.users.push(listed(user, occupant));
            } else {
                people.more += 1;
            }
        }
        people
    }

    /// The next users in the order of their ids.
    pub(super) fn page(&self, query: &PeoplePageQuery) -> PeoplePage {
        let after = query.cursor.as_ref().and_then(|cursor| cursor.after.as_ref());
        let mut page = PeoplePage::default();
        let Some(occupants) = &self.0 else { return page };
        let mut rest = occupants.after(after);
        while let Some((user, occupant)) = rest.find(|(user, _)| is_listed(user)) {
            if page.users.len() >= query.most {
                let after = page.users.last().map(|(user, _)| user.clone());
                page.next = after.map(|user| PeopleCursor { scan: 0, after: Some(user) });
                break;
            }
            page.users.push((user.clone(), occupant.info.clone()));
        }
        page
    }

    fn get(&self, user: &UserId) -> Option<&Occupant> {
        self.0.as_ref()?.get(user)
    }

    fn all(&self) -> impl Iterator<Item = (&UserId, &Occupant)> {
        self.0.iter().flat_map(|occupants| occupants.entries())
    }
}
