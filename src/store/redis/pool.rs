//! Makes the connections of the pool, to the one server or to the primary that the sentinels name, and notices when a
//! connection leads to a server that is no longer the primary. It never sends a report.

use std::{fmt, sync::Arc, time::Duration};

use deadpool::managed::{self, Metrics, RecycleError, RecycleResult};
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, RedisError, RedisResult, aio::MultiplexedConnection,
};

use super::{
    error::{self, Secrets},
    sentinel::{Primary, Sentinels},
    url::Address,
    waits::Waits,
};
use crate::store::StoreError;

/// How long a connection may have been idle and still be used without a `PING` first. Ten heartbeats: an instance that reports
/// sends none. A connection that the server has closed in the meantime is noticed by the call itself, which is made again on
/// another one.
const UNCHECKED_MAX: Duration = Duration::from_secs(5);

/// A connection of the pool.
pub(super) struct Link {
    pub(super) connection: MultiplexedConnection,
    /// Whether it is known to work: it is new, or has answered a `PING` just now.
    pub(super) is_checked: bool,
    /// The server that it leads to.
    pub(super) server: Arc<RedisServer>,
}

/// A server to which connections may be made while it is the primary.
pub(super) struct RedisServer {
    pub(super) client: Client,
    /// `None` if there are no sentinels: then the server is always the primary.
    primary: Option<Primary>,
}

/// Makes connections to the primary. Clones share what they know of the sentinels.
#[derive(Clone)]
pub(super) struct Connector {
    target: Target,
    config: AsyncConnectionConfig,
    secrets: Arc<Secrets>,
    /// The address without credentials, for messages.
    name: Arc<str>,
}

#[derive(Clone)]
enum Target {
    Server(Arc<RedisServer>),
    Sentinels(Arc<Sentinels>),
}

impl Connector {
    pub(super) fn new(address: Address, waits: &Waits, secrets: Arc<Secrets>) -> RedisResult<Self> {
        // The response timeout is off: the reply would be lost, although the command may run. Instead, the call as a whole
        // has a limit, after which its connection is dropped.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(waits.connect))
            .set_response_timeout(None);
        let name = address.to_string().into();
        let target = match address {
            Address::Server(info) => {
                Target::Server(Arc::new(RedisServer { client: Client::open(info)?, primary: None }))
            }
            Address::Sentinels(address) => {
                let (config, waits) = (config.clone(), waits.for_sentinels());
                let sentinels = Sentinels::new(address, config, waits, Arc::clone(&secrets))?;
                Target::Sentinels(Arc::new(sentinels))
            }
        };
        Ok(Self { target, config, secrets, name })
    }

    /// The server that is the primary now. With sentinels this connects to it.
    pub(super) async fn server(&self) -> Result<Arc<RedisServer>, StoreError> {
        match &self.target {
            Target::Server(server) => Ok(Arc::clone(server)),
            Target::Sentinels(sentinels) => Ok(self.link_to_primary(sentinels).await?.server),
        }
    }

    async fn link_to_primary(&self, sentinels: &Sentinels) -> Result<Link, StoreError> {
        let (connection, primary) = sentinels.connect().await?;
        let client = sentinels.client(&primary).map_err(|error| self.classify(&error))?;
        let server = Arc::new(RedisServer { client, primary: Some(primary) });
        Ok(Link { connection, is_checked: true, server })
    }

    async fn link_to(&self, server: &Arc<RedisServer>) -> Result<Link, StoreError> {
        let connecting = server.client.get_multiplexed_async_connection_with_config(&self.config);
        let connection = connecting.await.map_err(|error| self.classify(&error))?;
        Ok(Link { connection, is_checked: true, server: Arc::clone(server) })
    }

    /// Resolves when this server is no longer the primary; never if there are no sentinels.
    pub(super) async fn left(&self, server: &RedisServer) {
        match (&self.target, &server.primary) {
            (Target::Sentinels(sentinels), Some(primary)) => sentinels.left(primary).await,
            _ => std::future::pending().await,
        }
    }

    fn classify(&self, error: &RedisError) -> StoreError {
        error::classify(error, &self.secrets)
    }

    fn leads_to_the_primary(&self, link: &Link) -> bool {
        match (&self.target, &link.server.primary) {
            (Target::Sentinels(sentinels), Some(primary)) => sentinels.is_last(primary),
            _ => true,
        }
    }
}

impl managed::Manager for Connector {
    type Type = Link;
    type Error = StoreError;

    async fn create(&self) -> Result<Link, StoreError> {
        match &self.target {
            Target::Server(server) => self.link_to(server).await,
            Target::Sentinels(sentinels) => self.link_to_primary(sentinels).await,
        }
    }

    async fn recycle(&self, link: &mut Link, metrics: &Metrics) -> RecycleResult<StoreError> {
        if !self.leads_to_the_primary(link) {
            return Err(RecycleError::message("there is another primary"));
        }
        link.is_checked = metrics.last_used() > UNCHECKED_MAX;
        if !link.is_checked {
            return Ok(());
        }
        let pong: RedisResult<()> = redis::cmd("PING").query_async(&mut link.connection).await;
        pong.map_err(|error| RecycleError::Backend(self.classify(&error)))
    }
}

impl fmt::Display for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
