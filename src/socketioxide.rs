//! Counting the sockets of an application of one's own that is built on [socketioxide](https://docs.rs/socketioxide).
//!
//! The application joins a cluster as a [`Member`], and names the namespace whose sockets are counted. They are told
//! `user count` with one bare integer, as the lesson has it:
//!
//! ```text
//! io.emit("user count", currentUsers)
//! ```
//!
//! with `currentUsers` being what the whole cluster counts. An application without a connect handler of its own:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use socketioxide::SocketIo;
//!
//! let member = headcount::Member::join(headcount::MemberSettings::from_env()?).await?;
//! let (layer, io) = SocketIo::new_layer();
//! headcount::socketioxide::count(&io, "/", &member)?;
//! let app: axum::Router = axum::Router::new().layer(layer);
//! // axum::serve(listener, app).await?;
//! member.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! One with a handler keeps it; see [`Counter::handler`]:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use socketioxide::{SocketIo, extract::{Data, SocketRef}};
//!
//! # let member = headcount::Member::join(headcount::MemberSettings::from_env()?).await?;
//! let (layer, io) = SocketIo::new_layer();
//! let counter = headcount::socketioxide::counter(&io, "/", &member)?;
//! io.ns("/", counter.handler(async |socket: SocketRef| {
//!     socket.on("chat message", async |socket: SocketRef, Data::<String>(text)| {
//!         socket.broadcast().emit("chat message", &text).await.ok();
//!     });
//! }));
//! # let app: axum::Router = axum::Router::new().layer(layer);
//! # member.leave().await;
//! # Ok(())
//! # }
//! ```
//!
//! What is promised of each socket:
//! - It is counted from its connect on until it leaves, whoever ends it: the client, the application or the library.
//! - Its first value includes itself and comes behind the acknowledgement of its connect; while the store does not answer it
//!   is the estimate, after 250 ms.
//! - Further values come at most once each emit interval. The last value always arrives, and a slow client skips stale
//!   ones. It uses no rooms, so the application's are its own.
//!
//! What lies with the library:
//! - It keeps one slot for volatile packets on each connection, and counts go through it. An application that emits
//!   volatile events of its own to the same clients, in whatever namespace, may replace a count that is not on its way yet;
//!   the client then hears the next one.
//! - A polling client that goes without a word is counted until its ping times out, 45 s by the library's defaults.

mod emitter;
mod roster;

use std::{fmt, pin::Pin, sync::Arc};

use ::socketioxide::{
    SocketIo,
    adapter::{Adapter, LocalAdapter},
    extract::SocketRef,
    handler::{ConnectHandler, Value},
    socket::Socket,
};

use crate::{cluster::member::Member, socketioxide::emitter::Emitter};
use roster::{Roster, SITE};

/// A Socket.IO client for browsers, to be served as `/socket.io/socket.io.js` where a page expects the reference server's:
/// `io()`, and what it returns. It is the one that `headcount serve` serves: it receives events and sends none.
///
/// The library takes all requests below `/socket.io/` for its own, so the route must lie around its layer:
///
/// ```
/// # let (layer, _io) = socketioxide::SocketIo::new_layer();
/// # let pages = axum::Router::<()>::new();
/// use axum::{http::header::CONTENT_TYPE, routing::get};
///
/// let script = async || ([(CONTENT_TYPE, "text/javascript")], headcount::socketioxide::client_script());
/// let app = axum::Router::<()>::new()
///     .route("/socket.io/socket.io.js", get(script))
///     .fallback_service(pages.layer(layer));
/// ```
pub fn client_script() -> String {
    crate::web::scripts::socket_io()
}

/// Counts every socket of a namespace, and tells it the count, until it leaves.
///
/// It defines the namespace with a connect handler that does nothing else. An application that has a handler of its own
/// uses [`counter`]; one that defines the namespace after this call replaces what counts.
///
/// # Errors
/// If the namespace is defined already, is not `/`, or the member counts for another server.
pub fn count(io: &SocketIo, path: &str, member: &Member) -> Result<(), CountError> {
    if io.of(path).is_some() {
        return Err(CountError::NamespaceDefined);
    }
    let counter = counter(io, path, member)?;
    io.ns(SITE, counter.handler(async || {}));
    Ok(())
}

/// Prepares counting for an application that defines the namespace itself, before or after this. Which sockets are counted
/// it says with [`Counter::handler`] or [`Counter::count`].
///
/// # Errors
/// If the namespace is not `/`, or the member counts for another server.
pub fn counter<A: Adapter>(
    io: &SocketIo<A>,
    path: &str,
    member: &Member,
) -> Result<Counter<A>, CountError> {
    if path != SITE {
        return Err(CountError::NotTheSite { path: path.to_owned() });
    }
    let tally = member.tally().ok_or(CountError::CountsAlready)?;
    let metrics = member.own_metrics().clone();
    let roster = Arc::new(Roster::new(tally, metrics, member.is_over()));
    let emitter =
        Emitter::new(io.clone(), Arc::clone(&roster), member.view(), member.emit_interval());
    member.run("emitter", emitter.run(member.stop()));
    Ok(Counter { roster })
}

/// Why sockets cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// A cluster has one count, which is that of the default namespace.
    #[error("only the namespace / can be counted, not {path:?}")]
    NotTheSite {
        /// What was asked for.
        path: String,
    },
    /// The namespace has a connect handler, which defining it again would replace.
    #[error("the namespace is defined already: use a counter in its connect handler")]
    NamespaceDefined,
    /// The member counts the sockets of this or of another server. Another server in the same process takes a member of
    /// its own.
    #[error("this member counts already")]
    CountsAlready,
}

/// Counts sockets of one namespace, from [`counter`]. All clones are one. Counting ends with the member.
pub struct Counter<A: Adapter = LocalAdapter> {
    roster: Arc<Roster<A>>,
}

impl<A: Adapter> Counter<A> {
    /// A connect handler that counts each socket and then calls `handler`, with its middlewares if it has any. A socket
    /// that a middleware refuses is not counted.
    ///
    /// This counts a socket out in the moment it leaves, by its disconnect handler, of which the library has one for each
    /// socket. If `handler` sets one of its own, all works as with [`Counter::count`].
    pub fn handler<H, T>(&self, handler: H) -> CountingHandler<A, H>
    where
        H: ConnectHandler<A, T>,
        T: Send + Sync + 'static,
    {
        CountingHandler { counter: self.clone(), handler }
    }

    /// Counts a socket until it leaves. Counting one twice is counting it once.
    ///
    /// The socket's disconnect handler is left to the application. So that it left is found out by looking, within 50 ms or,
    /// with many thousands of sockets, a second; at once if the application calls [`Counter::leave`] in its handler.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use socketioxide::{SocketIo, extract::SocketRef};
    /// # let member = headcount::Member::join(headcount::MemberSettings::default()).await?;
    /// # let (_layer, io) = SocketIo::new_layer();
    /// let counter = headcount::socketioxide::counter(&io, "/", &member)?;
    /// io.ns("/", async move |socket: SocketRef| {
    ///     counter.count(&socket);
    ///     socket.on_disconnect(async move |socket: SocketRef| counter.leave(&socket));
    /// });
    /// # Ok(())
    /// # }
    /// ```
    pub fn count(&self, socket: &SocketRef<A>) {
        self.roster.enter(socket);
    }

    /// Stops counting a socket, which is told nothing more. Nothing happens if it is not counted.
    pub fn leave(&self, socket: &SocketRef<A>) {
        self.roster.leave(socket, roster::LEFT_BY_APPLICATION);
    }
}

impl<A: Adapter> Clone for Counter<A> {
    fn clone(&self) -> Self {
        Self { roster: Arc::clone(&self.roster) }
    }
}

impl<A: Adapter> fmt::Debug for Counter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

/// A connect handler that counts before it calls the application's, from [`Counter::handler`].
pub struct CountingHandler<A: Adapter, H> {
    counter: Counter<A>,
    handler: H,
}

impl<A: Adapter, H: Clone> Clone for CountingHandler<A, H> {
    fn clone(&self) -> Self {
        Self { counter: self.counter.clone(), handler: self.handler.clone() }
    }
}

impl<A: Adapter, H> fmt::Debug for CountingHandler<A, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CountingHandler").finish_non_exhaustive()
    }
}

impl<A, H, T> ConnectHandler<A, T> for CountingHandler<A, H>
where
    A: Adapter,
    H: ConnectHandler<A, T>,
{
    fn call(&self, socket: Arc<Socket<A>>, auth: Option<Value>) {
        self.counter.roster.enter_with_handler(&SocketRef::from(Arc::clone(&socket)));
        self.handler.call(socket, auth);
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<A>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Box<dyn fmt::Display + Send>>> + Send + 'a>> {
        self.handler.call_middleware(socket, auth)
    }
}

#[cfg(test)]
#[path = "socketioxide/tests.rs"]
mod tests;
