//! Calls of Redis on pooled connections. Every wait is limited, and a connection that failed is not used again.

use std::{sync::Arc, time::Duration};

use deadpool::managed::{Object, Pool, PoolError, TimeoutType};
use deadpool_redis::redis::{
    Cmd, RedisResult, ScriptInvocation, Value, aio::MultiplexedConnection,
};
use tokio::time::{Instant, timeout_at};

use super::{
    error::{self, Secrets},
    pool::{Connector, RedisServer},
};
use crate::store::StoreError;

/// What is sent.
pub(super) enum Call<'a> {
    Script(ScriptInvocation<'a>),
    Command(Cmd),
}

impl Call<'_> {
    async fn send(&self, connection: &mut MultiplexedConnection) -> RedisResult<Value> {
        match self {
            Self::Script(script) => script.invoke_async(connection).await,
            Self::Command(command) => command.query_async(connection).await,
        }
    }
}

/// The answer to a call.
pub(super) struct Answered {
    pub(super) value: Value,
    /// Whether the call was made twice. The first one may have been carried out, too.
    pub(super) is_repeated: bool,
}

/// Why a call failed.
enum Failure {
    /// The connection broke, and nobody had looked whether it works.
    Unchecked,
    Final(StoreError),
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    fn into_error(self) -> StoreError {
        match self {
            Self::Unchecked => StoreError::Unreachable("the connection broke".into()),
            Self::Final(error) => error,
        }
    }
}

/// Makes the calls.
pub(super) struct Caller {
    pub(super) pool: Pool<Connector>,
    /// Users and passwords, which errors must not contain.
    pub(super) secrets: Arc<Secrets>,
    /// How long a call may take.
    pub(super) patience: Duration,
}

impl Caller {
    /// Runs a command or a script on a pooled connection, within one lease. If the connection turns out to be broken, and was not
    /// checked before, the call is made again on a new one.
    pub(super) async fn run(&self, call: &Call<'_>) -> Result<Answered, StoreError> {
        let deadline = Instant::now() + self.patience;
        match self.run_once(deadline, call).await {
            Err(Failure::Unchecked) => {
                // Others are likely to be broken, too.
                self.pool.retain(|_, _| false);
                let value = self.run_once(deadline, call).await.map_err(Failure::into_error)?;
                Ok(Answered { value, is_repeated: true })
            }
            Ok(value) => Ok(Answered { value, is_repeated: false }),
            Err(failure) => Err(failure.into_error()),
        }
    }

    /// A connection that failed is removed from the pool, so that the next call looks for the server again: after a failover the
    /// old server keeps answering `READONLY`, and passes every health check.
    async fn run_once(&self, deadline: Instant, call: &Call<'_>) -> Result<Value, Failure> {
        let mut link = match timeout_at(deadline, self.pool.get()).await {
            Ok(Ok(link)) => link,
            Ok(Err(error)) => return Err(self.no_connection(error).into()),
            Err(_) => return Err(StoreError::Timeout(self.patience).into()),
        };
        let server = Arc::clone(&link.server);
        match self.answer(deadline, &server, call.send(&mut link.connection)).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let is_unchecked = !link.is_checked && error.is_io_error();
                if error::spoils_connection(&error) {
                    drop(Object::take(link));
                }
                Err(if is_unchecked {
                    Failure::Unchecked
                } else {
                    error::classify(&error, &self.secrets).into()
                })
            }
            Err(error) => {
                drop(Object::take(link));
                Err(error.into())
            }
        }
    }

    /// Waits for a server's answer while it is the primary. The answer of a former primary is of no use.
    pub(super) async fn answer<T>(
        &self,
        deadline: Instant,
        server: &RedisServer,
        answer: impl Future<Output = RedisResult<T>>,
    ) -> Result<RedisResult<T>, StoreError> {
        tokio::select! {
            biased;
            outcome = timeout_at(deadline, answer) => {
                outcome.map_err(|_| StoreError::Timeout(self.patience))
            }
            () = self.pool.manager().left(server) => {
                Err(StoreError::Unreachable("there is another primary".into()))
            }
        }
    }

    fn no_connection(&self, error: PoolError<StoreError>) -> StoreError {
        match error {
            PoolError::Backend(error) => error,
            // Every connection is in use by a call that has not been answered yet.
            PoolError::Timeout(TimeoutType::Wait) => StoreError::Timeout(self.patience),
            other => StoreError::Unreachable(self.secrets.redact(&other.to_string())),
        }
    }
}
