//! Finds the primary by asking the sentinels for every new connection, and notices when they name another one.
//!
//! ```text
//!            what the sentinels answer, and the primary connected to last
//!                   │ newest configuration first
//!                   ▼
//!            a connection, on which ROLE says master ──▶ the primary ──▶ sentinels name a newer one: left
//! ```
//!
//! Sentinels do not agree at every moment: after a failover some still name the old primary, which may even be
//! alive and take writes for seconds. So all are asked at once, and the newest configuration is tried first. One
//! that is down or hangs costs a tenth of a second, and if all are away the last primary stands.
//!
//! It never decides what is done on a connection, and never waits without a limit.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, RedisError, RedisResult,
    Role, Value, aio::MultiplexedConnection, from_redis_value,
};
use futures_util::{StreamExt, stream::FuturesUnordered};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};

use super::{
    error::{self, Secrets},
    url::SentinelAddress,
    waits::SentinelWaits,
};
use crate::{store::StoreError, telemetry::escaped::Escaped};

/// How long the other sentinels may take after the first answer. Sentinels are close to each other, so a slower one is down or
/// cut off, and must not delay every new connection.
const OTHERS_WITHIN: Duration = Duration::from_millis(100);

/// The sentinels of a primary.
pub(super) struct Sentinels {
    all: Vec<Sentinel>,
    /// The name that they know the primary by.
    name: String,
    /// Credentials, database and TLS for any primary.
    server: ConnectionInfo,
    config: AsyncConnectionConfig,
    waits: SentinelWaits,
    secrets: Arc<Secrets>,
    /// The primary that was connected to last.
    last: watch::Sender<Option<Primary>>,
    /// Whether the log has told that no sentinel answers.
    told_of_silence: AtomicBool,
}

/// A server that is, or was, the primary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Primary {
    host: String,
    port: u16,
    /// Grows with every failover: the configuration with the greatest epoch is the newest.
    epoch: u64,
}

impl Primary {
    fn is_at_the_same_address_as(&self, other: &Self) -> bool {
        (&self.host, self.port) == (&other.host, other.port)
    }
}

impl fmt::Display for Primary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The name comes from a sentinel.
        let host = Escaped::new(&self.host).to_string();
        write!(f, "{}", ConnectionAddr::Tcp(host, self.port))
    }
}

impl Sentinels {
    /// Prepares to ask these sentinels. `config` is for the connections to the primary.
    pub(super) fn new(
        address: SentinelAddress,
        config: AsyncConnectionConfig,
        waits: SentinelWaits,
        secrets: Arc<Secrets>,
    ) -> RedisResult<Self> {
        let sentinels = address.sentinels.into_iter().map(|info| Sentinel::new(info, waits));
        Ok(Self {
            all: sentinels.collect::<RedisResult<_>>()?,
            name: address.name,
            server: address.primary,
            config,
            waits,
            secrets,
            last: watch::Sender::new(None),
            told_of_silence: AtomicBool::new(false),
        })
    }

    /// Connects to the primary, and returns which server that is.
    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Primary), StoreError> {
        loop {
            let candidates = self.candidates().await?;
            // After a failover, a former primary that hangs is not waited for.
            tokio::select! {
                connected = self.first_of(&candidates) => return connected,
                () = self.replaced(&candidates[0]) => {}
            }
        }
    }

    /// A client for connections to this primary.
    pub(super) fn client(&self, primary: &Primary) -> RedisResult<Client> {
        let (host, port) = (primary.host.clone(), primary.port);
        let address = match self.server.addr() {
            ConnectionAddr::TcpTls { .. } => {
                ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host, port),
        };
        Client::open(self.server.clone().set_addr(address))
    }

    /// Whether this is the primary that was connected to last.
    pub(super) fn is_last(&self, primary: &Primary) -> bool {
        let last = self.last.borrow();
        last.as_ref().is_none_or(|last| last.is_at_the_same_address_as(primary))
    }

    /// Resolves when there is another primary: one that was connected to since, or that the sentinels name.
    pub(super) async fn left(&self, primary: &Primary) {
        let mut last = self.last.subscribe();
        let is_another = |last: &Option<Primary>| {
            last.as_ref().is_some_and(|last| !last.is_at_the_same_address_as(primary))
        };
        tokio::select! {
            // It fails only once `self` is gone.
            _ = last.wait_for(is_another) => {}
            () = self.replaced(primary) => {}
        }
    }

    /// Asks from time to time until the sentinels name another primary. A subscription to their messages could stall, so asking
    /// is simpler.
    async fn replaced(&self, primary: &Primary) {
        loop {
            sleep(self.waits.look).await;
            let (answers, _) = self.ask_all().await;
            let newer = |answer: &Primary| {
                answer.epoch > primary.epoch && !answer.is_at_the_same_address_as(primary)
            };
            if answers.iter().any(newer) || self.is_disowned(primary, &answers) {
                return;
            }
        }
    }

    /// Whether most sentinels answer, and none of them names this server. Then its epoch has no meaning, even if it is
    /// greater: sentinels that are installed again start to count from the beginning.
    fn is_disowned(&self, primary: &Primary, answers: &[Primary]) -> bool {
        let most_answer = 2 * answers.len() > self.all.len();
        most_answer && !answers.iter().any(|answer| answer.is_at_the_same_address_as(primary))
    }

    /// The servers to try, the newest configuration first. The last primary is one of them: a sentinel that missed a failover
    /// must not lead back to an older server.
    async fn candidates(&self) -> Result<Vec<Primary>, StoreError> {
        let (answers, failures) = self.ask_all().await;
        let last = self.last.borrow().clone();
        let disowned = last.as_ref().is_some_and(|last| self.is_disowned(last, &answers));
        let mut candidates = answers;
        candidates.extend(last.clone());
        candidates.sort_by_key(|candidate| Reverse(candidate.epoch));
        if disowned {
            candidates.retain(|candidate| Some(candidate) != last.as_ref());
            candidates.extend(last);
        }
        let mut distinct: Vec<Primary> = Vec::new();
        for candidate in candidates {
            if !distinct.iter().any(|other| other.is_at_the_same_address_as(&candidate)) {
                distinct.push(candidate);
            }
        }
        if distinct.is_empty() {
            return Err(self.nobody_knows(&failures));
        }
        Ok(distinct)
    }

    /// What the sentinels answer, and what went wrong with those that do not.
    async fn ask_all(&self) -> (Vec<Primary>, Vec<Failure<'_>>) {
        let mut asked: FuturesUnordered<_> =
            self.all.iter().map(|sentinel| sentinel.ask(&self.name)).collect();
        let (mut answers, mut failures) = (Vec::new(), Vec::new());
        let mut deadline = Instant::now() + self.waits.answer;
        while let Ok(Some(answer)) = timeout_at(deadline, asked.next()).await {
            match answer {
                Ok(primary) => {
                    answers.push(primary);
                    deadline = deadline.min(Instant::now() + OTHERS_WITHIN);
                }
                Err(failure) => failures.push(failure),
            }
        }
        self.tell(&answers, &failures);
        (answers, failures)
    }

    /// Logs that no sentinel answers while the primary lives. This has no other effect, so nothing else would show it.
    fn tell(&self, answers: &[Primary], failures: &[Failure<'_>]) {
        let silent = answers.is_empty() && self.last.borrow().is_some();
        let told = self.told_of_silence.swap(silent, Ordering::Relaxed);
        if silent && !told {
            let error = self.nobody_knows(failures);
            tracing::warn!(%error, "no sentinel names a primary: staying with the last one");
        }
        if told && !silent {
            tracing::info!("sentinels answer again");
        }
    }

    /// Connects to the first candidate that is a primary. All are tried at once, and each has the whole time. So a new primary
    /// that is slow does not lose against a former one that is alive and faster.
    async fn first_of(
        &self,
        candidates: &[Primary],
    ) -> Result<(MultiplexedConnection, Primary), StoreError> {
        let deadline = Instant::now() + self.waits.connect;
        let ranked = candidates.iter().enumerate();
        let mut attempts: FuturesUnordered<_> =
            ranked.map(async |(rank, candidate)| (rank, self.attempt(candidate).await)).collect();
        let mut outcomes: Vec<_> = candidates.iter().map(|_| None).collect();
        while let Ok(Some((rank, outcome))) = timeout_at(deadline, attempts.next()).await {
            outcomes[rank] = Some(outcome);
            // The newest candidate that has not failed decides, once it has answered.
            let newest = outcomes.iter().find(|outcome| !matches!(outcome, Some(Err(_))));
            if matches!(newest, Some(Some(Ok(_)))) {
                break;
            }
        }
        let mut failure = None;
        for (candidate, outcome) in candidates.iter().zip(outcomes) {
            let silence = || format!("{candidate}: no answer in {:?}", self.waits.connect);
            match outcome.unwrap_or_else(|| Err(StoreError::Unreachable(silence().into()))) {
                Ok(connection) => {
                    self.remember(candidate);
                    return Ok((connection, candidate.clone()));
                }
                // The error of the newest configuration is the one to report.
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.expect("there is a candidate"))
    }

    /// Connects to a candidate, which must itself say that it is a primary.
    async fn attempt(&self, candidate: &Primary) -> Result<MultiplexedConnection, StoreError> {
        match self.connect_to(candidate).await {
            Ok((connection, Role::Primary { .. })) => Ok(connection),
            Ok(_) => Err(StoreError::Refused(Escaped::from(format!(
                "the sentinels name {candidate} as {}, and it is a replica",
                self.name
            )))),
            Err(error) => Err(error::classify_of(&format!("{candidate}: "), &error, &self.secrets)),
        }
    }

    async fn connect_to(&self, candidate: &Primary) -> RedisResult<(MultiplexedConnection, Role)> {
        let client = self.client(candidate)?;
        let connecting = client.get_multiplexed_async_connection_with_config(&self.config);
        let mut connection = connecting.await?;
        let role = redis::cmd("ROLE").query_async(&mut connection).await?;
        Ok((connection, role))
    }

    fn remember(&self, primary: &Primary) {
        self.last.send_if_modified(|last| {
            let moved = last.as_ref().is_none_or(|last| !last.is_at_the_same_address_as(primary));
            if moved {
                tracing::info!(%primary, name = self.name, "the sentinels name this primary");
            }
            let changed = last.as_ref() != Some(primary);
            *last = Some(primary.clone());
            changed
        });
    }

    /// Why there is no server to connect to. The error of a sentinel that does not know the name says more than that of
    /// an unreachable one. One that answers nonsense or denies access says more than either.
    fn nobody_knows(&self, failures: &[Failure<'_>]) -> StoreError {
        let unknown = failures.iter().any(|failure| matches!(failure, Failure::UnknownName));
        let mut worst = None;
        for failure in failures {
            let Failure::NoAnswer(sentinel, error) = failure else { continue };
            let whom = format!("the sentinel at {sentinel}: ");
            let error = error::classify_of(&whom, error, &self.secrets);
            if worst.is_none() || !matches!(error, StoreError::Unreachable(_)) {
                worst = Some(error);
            }
        }
        match worst {
            Some(error) if !(unknown && matches!(error, StoreError::Unreachable(_))) => error,
            _ if unknown => StoreError::Unreachable(
                format!("no sentinel knows a primary named {}", self.name).into(),
            ),
            _ => StoreError::Unreachable(Escaped::from(format!(
                "none of {} sentinels answers within {:?}",
                self.all.len(),
                self.waits.answer
            ))),
        }
    }
}

/// Why a sentinel named no primary.
enum Failure<'a> {
    UnknownName,
    NoAnswer(&'a ConnectionAddr, RedisError),
}

/// A sentinel, and the connection to it, which is kept from one question to the next.
struct Sentinel {
    client: Client,
    config: AsyncConnectionConfig,
    kept: Mutex<Option<MultiplexedConnection>>,
}

impl Sentinel {
    fn new(info: ConnectionInfo, waits: SentinelWaits) -> RedisResult<Self> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(waits.answer))
            .set_response_timeout(Some(waits.answer));
        Ok(Self { client: Client::open(info)?, config, kept: Mutex::new(None) })
    }

    async fn ask(&self, name: &str) -> Result<Primary, Failure<'_>> {
        let answer = self.ask_on_kept(name).await;
        let no_answer = |error| Failure::NoAnswer(self.client.get_connection_info().addr(), error);
        answer.map_err(no_answer)?.ok_or(Failure::UnknownName)
    }

    /// Asks on the kept connection. If that has broken, asks again on a new one.
    async fn ask_on_kept(&self, name: &str) -> RedisResult<Option<Primary>> {
        let kept = self.kept().clone();
        if let Some(connection) = kept {
            if let Ok(answer) = self.ask_on(connection, name).await {
                return Ok(answer);
            }
            *self.kept() = None;
        }
        let connection =
            self.client.get_multiplexed_async_connection_with_config(&self.config).await?;
        self.ask_on(connection, name).await
    }

    /// Asks on this connection, and keeps it if that works.
    async fn ask_on(
        &self,
        mut connection: MultiplexedConnection,
        name: &str,
    ) -> RedisResult<Option<Primary>> {
        // Only the first of the two speaks of a new primary from the moment when it is one; only the second
        // tells the epoch.
        let mut both = redis::pipe();
        both.cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        both.cmd("SENTINEL").arg("MASTER").arg(name);
        both.ignore_errors();
        let (address, state): (RedisResult<Value>, RedisResult<Value>) =
            both.query_async(&mut connection).await?;
        *self.kept() = Some(connection);
        let Some((host, port)) = from_redis_value::<Option<(String, u16)>>(address?)? else {
            return Ok(None);
        };
        let state: HashMap<String, String> = from_redis_value(state?)?;
        let epoch = state.get("config-epoch").and_then(|epoch| epoch.parse().ok());
        Ok(Some(Primary { host, port, epoch: epoch.unwrap_or_default() }))
    }

    fn kept(&self) -> MutexGuard<'_, Option<MultiplexedConnection>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
