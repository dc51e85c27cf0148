//! The store that a cluster shares. It has up to six connections for calls, and one for each subscription. With sentinels, all of
//! them lead to the current primary.
//!
//! `report/*.lua` define what a report does. This module sends it, limits every wait, and turns errors into [`StoreError`]s. It
//! does not decide when to report or to retry. No error and no `Debug` output of it contains credentials.

mod call;
mod error;
mod info;
mod keys;
mod message;
mod peaks;
mod people;
mod reply;
mod request;
mod rooms;
mod script;
mod url;
mod waits;

mod sentinel;

mod pool;

use std::{fmt, sync::Arc, time::Duration};

use deadpool::{
    Runtime,
    managed::{Pool, QueueMode},
};
use deadpool_redis::redis::{self, Msg, RedisResult, Script};
use futures_util::{StreamExt, stream};
use tokio::time::{Instant, timeout_at};

use super::{Announcements, Store, StoreError, StoreFuture};
use crate::{
    core::{
        peaks::{Peaks, PeaksAnswer},
        people::People,
        report::{Reply, Report, Roster},
        room::RoomName,
    },
    store::{
        Dataset, RoomsQuery,
        facts::StoreFacts,
        people::{PeoplePage, PeoplePageQuery, PeopleQuery},
    },
};
use call::{Call, Caller};
use error::Secrets;
use keys::Keys;
use pool::Connector;
pub use script::{PEOPLE_SCRIPT, REPORT_SCRIPT};
use url::Address;
pub use url::{InvalidRedisUrl, check_url, database_of, shown_url};
use waits::Waits;

/// The longest wait for a call, even if the lease is longer. After it, the server is tried on another connection; the fence
/// makes a late execution harmless.
pub const CALL_MAX: Duration = Duration::from_secs(3);

/// The connections for calls. The reporter has at most two reports under way, and one list of users is read at a time, and one
/// page of users for programs. The others are for the roster, and for dead connections that are not recognised yet.
const POOL_SIZE: usize = 6;

/// The address of the shared store, and the names of its key and channel.
#[derive(Clone)]
pub struct RedisSettings {
    /// `redis://` or `redis+sentinel://`, with user and password if needed.
    pub url: String,
    /// The public key's name; the other keys are derived from it.
    pub key: String,
    /// The channel of the announcements.
    pub channel: String,
    /// The lease of reports: no call waits longer, nor longer than [`CALL_MAX`].
    pub lease: Duration,
}

impl fmt::Debug for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL holds the password.
        f.debug_struct("RedisSettings")
            .field("key", &self.key)
            .field("channel", &self.channel)
            .field("lease", &self.lease)
            .finish_non_exhaustive()
    }
}

/// The count in Redis.
pub struct RedisStore {
    caller: Caller,
    report: Script,
    roster: Script,
    peaks: Script,
    people: Script,
    keys: Keys,
    /// The dataset that this cluster's announcements name.
    dataset: Dataset,
    channel: String,
}

impl RedisStore {
    /// Makes a store. It connects at the first call.
    pub fn new(settings: RedisSettings) -> Result<Self, InvalidRedisUrl> {
        let address = Address::parse(&settings.url)?;
        let secrets = Arc::new(Secrets::of(&address));
        let dataset = Dataset { key: settings.key.clone(), database: address.database().into() };
        let refuse = |error: &dyn fmt::Display| InvalidRedisUrl {
            reason: secrets.redact(&error.to_string()).to_string(),
        };
        let patience = settings.lease.min(CALL_MAX);
        let waits = Waits::within(patience);
        let connector = Connector::new(address, &waits, Arc::clone(&secrets));
        let pool = Pool::builder(connector.map_err(|error| refuse(&error))?)
            .max_size(POOL_SIZE)
            // The one that was used last is known best.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(patience))
            .create_timeout(Some(waits.connect))
            .recycle_timeout(Some(waits.recycle))
            .build()
            .map_err(|error| refuse(&error))?;
        Ok(Self {
            caller: Caller { pool, secrets, patience },
            report: Script::new(REPORT_SCRIPT),
            roster: Script::new(script::ROSTER_SCRIPT),
            peaks: Script::new(include_str!("peaks.lua")),
            people: Script::new(PEOPLE_SCRIPT),
            keys: Keys::of(&settings.key),
            dataset,
            channel: settings.channel,
        })
    }

    async fn send_report(&self, report: Report) -> Result<Reply, StoreError> {
        let keys = &self.keys;
        let mut call = self.report.prepare_invoke();
        for key in [&keys.public, &keys.connections, &keys.sequence, &keys.leases, &keys.meta] {
            call.key(key);
        }
        request::write(&mut call, &report, &self.channel, &self.dataset);
        let answered = self.caller.run(&Call::Script(call)).await?;
        let reply = reply::reply(&answered.value, request::asked(&report))?;
        let is_taken = !reply.is_applied() && reply.stored_sequence == report.sequence;
        if answered.is_repeated && is_taken {
            // The first call was applied, and its reply was lost with the connection.
            return Err(StoreError::Unreachable("the connection broke before the reply".into()));
        }
        Ok(reply)
    }

    async fn read_roster(&self) -> Result<Roster, StoreError> {
        let keys = &self.keys;
        let mut call = self.roster.prepare_invoke();
        for key in [&keys.public, &keys.connections, &keys.leases, &keys.meta] {
            call.key(key);
        }
        let answered = self.caller.run(&Call::Script(call)).await?;
        reply::roster(&answered.value)
    }

    async fn read_facts(&self) -> Result<StoreFacts, StoreError> {
        let mut info = redis::cmd("INFO");
        info.arg(&info::SECTIONS[..]);
        let answered = self.caller.run(&Call::Command(info)).await?;
        info::facts(&answered.value)
    }

    async fn open_subscription(&self) -> Result<Announcements, StoreError> {
        let deadline = Instant::now() + self.caller.patience;
        let connector = self.caller.pool.manager();
        let server = timeout_at(deadline, connector.server()).await;
        let server = server.unwrap_or(Err(StoreError::Timeout(self.caller.patience)))?;
        let rooms_channel = message::rooms_channel(&self.channel);
        let subscribed = async {
            let mut subscription = server.client.get_async_pubsub().await?;
            subscription.subscribe(&self.channel).await?;
            let with_rooms = subscription.subscribe(&rooms_channel).await;
            RedisResult::Ok((subscription.into_on_message(), with_rooms))
        };
        // `get_async_pubsub` has no timeout of its own.
        let subscribed = self.caller.answer(deadline, &server, subscribed).await?;
        let (messages, with_rooms) =
            subscribed.map_err(|error| error::classify(&error, &self.caller.secrets))?;
        let denied = match with_rooms.map_err(|error| error::classify(&error, &self.caller.secrets))
        {
            Ok(()) => None,
            Err(denied @ StoreError::Denied(_)) => Some(denied),
            Err(error) => return Err(error),
        };
        // A former primary, now a replica, delivers announcements late or never.
        let connector = connector.clone();
        let messages = messages.take_until(Box::pin(async move { connector.left(&server).await }));
        let own = self.dataset.clone();
        let read = move |message: Msg| {
            let payload = message.get_payload_bytes();
            if message.get_channel_name() == rooms_channel {
                message::page(payload, &own)
            } else {
                message::announcement(payload, &own)
            }
        };
        // A user of Redis who may only use the other channel still gets the site's count.
        let denied = stream::iter(denied.map(Err));
        Ok(denied.chain(messages.map(read)).boxed())
    }
}

impl Store for RedisStore {
    fn report(&self, report: Report) -> StoreFuture<'_, Reply> {
        Box::pin(self.send_report(report))
    }

    fn subscribe(&self) -> StoreFuture<'_, Announcements> {
        Box::pin(self.open_subscription())
    }

    fn roster(&self) -> StoreFuture<'_, Roster> {
        Box::pin(self.read_roster())
    }

    fn peaks(&self, known: Option<Peaks>) -> StoreFuture<'_, PeaksAnswer> {
        Box::pin(async move { self.exchange_peaks(known.as_ref()).await })
    }

    fn rooms(&self, query: RoomsQuery) -> StoreFuture<'_, Vec<(RoomName, u64)>> {
        Box::pin(rooms::largest(&self.caller, &self.keys.rooms, query))
    }

    fn people(&self, query: PeopleQuery) -> StoreFuture<'_, People> {
        Box::pin(async move {
            let key = self.keys.people(&query.room);
            people::people(&self.caller, &self.people, [&key, &self.keys.meta], &query).await
        })
    }

    fn people_page(&self, query: PeoplePageQuery) -> StoreFuture<'_, PeoplePage> {
        Box::pin(
            async move { people::page(&self.caller, &self.keys.people(&query.room), &query).await },
        )
    }

    fn facts(&self) -> StoreFuture<'_, Option<StoreFacts>> {
        Box::pin(async { self.read_facts().await.map(Some) })
    }

    fn kind(&self) -> &'static str {
        "redis"
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStore")
            .field("address", &self.caller.pool.manager().to_string())
            .field("key", &self.keys.public)
            .field("channel", &self.channel)
            .field("patience", &self.caller.patience)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    fn settings(url: &str) -> RedisSettings {
        RedisSettings {
            url: url.to_owned(),
            key: "currentUsers".to_owned(),
            channel: "user count".to_owned(),
            lease: Duration::from_secs(2),
        }
    }

    /// Goal: debug output contains no credentials. Method: print the settings and a store made of them.
    #[test]
    fn debug_output_holds_no_credential() {
        let settings = settings("rediss://margaret:hunter%232@localhost:6390/1");
        let store = RedisStore::new(settings.clone()).unwrap();
        let shown = format!("{settings:?} {settings:#?} {store:?} {store:#?}");
        for secret in ["margaret", "hunter", "%232"] {
            assert!(!shown.contains(secret), "{secret} in {shown}");
        }
        assert!(shown.contains("localhost:6390"), "{shown}");
    }

    /// Goal: debug output of an address of sentinels contains no credentials. Method: credentials for the primary and for
    /// the sentinels.
    #[test]
    fn debug_output_of_sentinels_holds_no_credential() {
        let settings =
            settings("redis+sentinel://margaret:hunter2@one,two/main?sentinel_password=hunter3");
        let store = RedisStore::new(settings.clone()).unwrap();
        let shown = format!("{settings:?} {store:?}");
        assert!(!shown.contains("margaret") && !shown.contains("hunter"), "{shown}");
        assert!(shown.contains("main according to one:26379,two:26379"), "{shown}");
    }

    /// Goal: an invalid URL is refused at once, and the error does not quote it. Method: one of each kind.
    #[rstest]
    #[case::empty("")]
    #[case::no_scheme("localhost:6379")]
    #[case::other_scheme("http://margaret:hunter2@localhost")]
    #[case::unix_socket("redis+unix:///margaret/hunter2")]
    #[case::insecure_tls("rediss://margaret:hunter2@localhost/#insecure")]
    #[case::bad_port("redis://margaret:hunter2@localhost:hunter2")]
    #[case::bad_database("redis://margaret:hunter2@localhost/hunter2")]
    #[case::bad_protocol("redis://margaret:hunter2@localhost/?protocol=hunter2")]
    #[case::wildcard("redis://margaret:hunter2@0.0.0.0/")]
    fn a_bad_url_is_refused_without_quoting_it(#[case] url: &str) {
        let error = RedisStore::new(settings(url)).unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2") && !text.contains("margaret"), "{text}");
        assert!(text.contains("redis[s]://"), "{text}");
    }
}
