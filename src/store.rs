//! The store of the shared count, behind one trait.
//!
//! Two implementations pass one contract suite (`tests/store_contract`): [`embedded`], in this process, and [`redis`], which a
//! cluster shares. A store does not decide when to report or what to show.

pub mod embedded;
pub mod facts;
pub mod people;
pub mod redis;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use futures_util::stream::BoxStream;

use crate::{
    core::{
        count::{Count, Revision, Stamp},
        peaks::{Peaks, PeaksAnswer},
        people::People,
        report::{Reply, Report, Roster},
        room::RoomName,
    },
    telemetry::escaped::Escaped,
};
use facts::StoreFacts;
use people::{PeoplePage, PeoplePageQuery, PeopleQuery};

/// What a store does for an instance. Futures are boxed so that the kind of store is chosen at start.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Applies one report and says what the count is now. Applying it twice, late or out of order changes
    /// nothing beyond applying it once, in order. The future must run to its end: dropping it does not stop
    /// a command that is under way. It ends by itself within one lease.
    fn report(&self, report: Report) -> StoreFuture<'_, Reply>;

    /// Subscribes to announcements. When this resolves, every later announcement will be in the stream; an
    /// item that is an error is one message that could not be read. The stream ends when the subscription
    /// is lost.
    fn subscribe(&self) -> StoreFuture<'_, Announcements>;

    /// The incarnations that hold a lease, for operators.
    fn roster(&self) -> StoreFuture<'_, Roster>;

    /// Tells the store which peaks of the site the caller knows, and says which are known now, and who is alive. `None` tells
    /// nothing: then the store changes nothing and says no attendance. No count depends on it.
    fn peaks(&self, known: Option<Peaks>) -> StoreFuture<'_, PeaksAnswer> {
        Box::pin(async {
            Ok(PeaksAnswer { peaks: known.unwrap_or_default(), ..PeaksAnswer::default() })
        })
    }

    /// The largest rooms, for operators: the largest first, and those of the same size by name. It reads a part of the rooms at
    /// a time, so a room that changes meanwhile may be missing.
    fn rooms(&self, query: RoomsQuery) -> StoreFuture<'_, Vec<(RoomName, u64)>> {
        let _ = query;
        Box::pin(async { Ok(Vec::new()) })
    }

    /// Who is in a room, for a list of those with a token: at most [`LISTED_MAX`](crate::core::people::LISTED_MAX) of them, first
    /// those who are on the list already. It changes nothing, and takes no longer in a large room than in one of a few hundred.
    fn people(&self, query: PeopleQuery) -> StoreFuture<'_, People> {
        let _ = query;
        Box::pin(async { Ok(People::default()) })
    }

    /// A page of those who are in a room with a token. Whoever is there while all pages are read is in one of them, perhaps in two.
    fn people_page(&self, query: PeoplePageQuery) -> StoreFuture<'_, PeoplePage> {
        let _ = query;
        Box::pin(async { Ok(PeoplePage::default()) })
    }

    /// What the store says of itself, for operators; `None` if there is nothing to say: it is part of this process. A user of
    /// Redis who may not ask gets [`StoreError::Denied`], and nothing else depends on the answer.
    fn facts(&self) -> StoreFuture<'_, Option<StoreFacts>> {
        Box::pin(async { Ok(None) })
    }

    /// `embedded` or `redis`, as shown to operators.
    fn kind(&self) -> &'static str;
}

/// A future of a [`Store`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// The stream that [`Store::subscribe`] returns: the messages of the channel.
pub type Announcements = BoxStream<'static, Result<Announcement, StoreError>>;

/// Which rooms [`Store::rooms`] lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsQuery {
    /// How their names begin; empty for all rooms.
    pub prefix: String,
    /// The most rooms that are listed, and kept in memory.
    pub most: usize,
}

/// A message of one of the channels. All databases and keys of a Redis share its channels, and anybody may publish there, so a message
/// names its dataset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// This store's count.
    Own(Count),
    /// Counts of rooms of this store.
    Rooms(RoomsPage),
    /// A count without a dataset, published by an older version or by hand. It may belong to another cluster, so it is only a
    /// reason to ask the store. Of a page of rooms only the revision is told, with the count 0.
    Unsigned(Count),
    /// Another cluster's count. Holds that cluster's dataset.
    Foreign(Dataset),
}

/// A page of rooms: the counts of rooms that have changed since they were in a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoomsPage {
    /// The counts are those of this revision.
    pub revision: Revision,
    /// The revision of the page before. Whoever has not received that page has missed counts.
    pub since: Revision,
    /// The report that made the revision.
    pub stamp: Stamp,
    /// The rooms and their counts; 0 if nobody is there any more.
    pub counts: Vec<(RoomName, u64)>,
}

/// The place of a count: a key in one of the databases of a Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// The public key.
    pub key: String,
    /// The number of the database.
    pub database: u64,
}

impl fmt::Display for Dataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in database {}", Escaped::new(&self.key), self.database)
    }
}

/// Why a call to a store failed. Text of the server is escaped, so that the error can be logged as it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The address did not resolve, no connection could be made, or it broke.
    #[error("failed to reach the store: {0}")]
    Unreachable(Escaped),
    /// There was no answer in time. The command may still run; the fence makes that harmless.
    #[error("failed to get an answer from the store within {0:?}")]
    Timeout(Duration),
    /// The server does not accept writes for now: it is loading its data, busy with a script, out of memory, or read-only after
    /// a failover.
    #[error("the store refuses writes for now: {0}")]
    Refused(Escaped),
    /// A key has the wrong type. An audit corrects it.
    #[error("a key of the store has the wrong type: {0}")]
    WrongType(Escaped),
    /// The credentials are wrong, or a permission is missing. Calls are repeated, since an operator may correct it.
    #[error("the store denies access: {0}")]
    Denied(Escaped),
    /// The server sent something that this version does not understand.
    #[error("failed to understand the store: {0}")]
    Protocol(Escaped),
}
