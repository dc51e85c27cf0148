//! The shared count, behind one trait: what an instance says to the store and what it hears back.
//!
//! Two implementations pass one contract suite (`tests/store_contract`): [`embedded`], in this process,
//! and [`redis`], shared by a cluster. Nothing here decides when to report or what to show.

pub mod embedded;
pub mod redis;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use futures_util::stream::BoxStream;

use crate::{
    core::{
        count::Count,
        report::{Reply, Report, Roster},
    },
    telemetry::escaped::Escaped,
};

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

    /// `embedded` or `redis`, as shown to operators.
    fn kind(&self) -> &'static str;
}

/// A future of a [`Store`].
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What [`Store::subscribe`] gives: what is published on the channel, from now on.
pub type Announcements = BoxStream<'static, Result<Announcement, StoreError>>;

/// One message of the channel. Channels are shared by all databases and keys of a Redis, and anybody may publish
/// there, so a message says which dataset it speaks of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// This store's count.
    Own(Count),
    /// A count of nobody knows which dataset: published by a version that did not say, or by hand. It may be
    /// another cluster's, so it is worth asking the store and no more.
    Unsigned(Count),
    /// Another cluster's count, and what that is called.
    Foreign(Dataset),
}

/// What a count is a count of: a key in one of the databases of a Redis.
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

/// Why a store did not answer as it should. The reporter's reaction depends on the kind, so there is one
/// variant per reaction. What a server said is in it escaped, so that it can be logged as it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No connection could be made, or it broke, or the address did not resolve.
    #[error("failed to reach the store: {0}")]
    Unreachable(Escaped),
    /// No answer within one lease. The command may still run; the fence makes that harmless.
    #[error("failed to get an answer from the store within {0:?}")]
    Timeout(Duration),
    /// The server is up but does not take writes for now: loading its data, busy with a script, out of
    /// memory, or read-only after a failover. It is tried again.
    #[error("the store refuses writes for now: {0}")]
    Refused(Escaped),
    /// A key holds something of another type. An audit puts it right.
    #[error("a key of the store has the wrong type: {0}")]
    WrongType(Escaped),
    /// Wrong credentials or missing permissions. Tried again, since an operator may mend it, but said loudly.
    #[error("the store denies access: {0}")]
    Denied(Escaped),
    /// Something came back that this version does not understand.
    #[error("failed to understand the store: {0}")]
    Protocol(Escaped),
}
