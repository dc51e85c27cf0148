//! Counts the sockets of an application that is built on [socketioxide](https://docs.rs/socketioxide).
//!
//! The application joins a cluster as a [`Member`], and names the namespace whose sockets are counted. The sockets are sent
//! the event `user count` with an integer, as in the lesson:
//!
//! ```text
//! io.emit("user count", currentUsers)
//! ```
//!
//! Here `currentUsers` is the count of the whole cluster. An application without a connect handler:
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
//! An application with a connect handler keeps it; see [`Counter::handler`]:
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
//! Guarantees for each socket:
//! - It is counted from its connect until it leaves, whether the client, the application or the library ends it.
//! - Its first value includes itself, and comes after the acknowledgement of its connect. If the store does not answer within
//!   250 ms, the first value is the estimate.
//! - Further values come at most once in every emit interval. The last value always arrives; a slow client skips stale ones.
//! - The application's rooms are not used.
//!
//! Limits that come from socketioxide:
//! - It has one slot for volatile packets on each connection, and counts go through it. If the application sends volatile
//!   events to the same client, they may replace a count that is still waiting. The client then gets the next one.
//! - A polling client that vanishes is counted until its ping times out, 45 s by default.

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

use crate::{cluster::member::Member, core::room::Person, socketioxide::emitter::Emitter};
use roster::{CountedSockets, LeaveReason, SITE};

/// The Socket.IO client for browsers that `headcount serve` serves as `/socket.io/socket.io.js`. It has `io()`, receives
/// events, and sends none.
///
/// socketioxide's layer takes all requests below `/socket.io/`, so the route must be outside of it:
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

/// Counts every socket of a namespace until it leaves, and tells it the count.
///
/// This defines the namespace with a connect handler that only counts. An application with its own connect handler must use
/// [`counter`] instead: defining the namespace again would replace the handler that counts.
///
/// # Errors
/// If the namespace is defined already, is not `/`, or the member counts the sockets of another server.
pub fn count(io: &SocketIo, path: &str, member: &Member) -> Result<(), CountError> {
    if io.of(path).is_some() {
        return Err(CountError::NamespaceDefined);
    }
    let counter = counter(io, path, member)?;
    io.ns(SITE, counter.handler(async || {}));
    Ok(())
}

/// Makes a counter for an application that defines the namespace itself, before or after this call. [`Counter::handler`] or
/// [`Counter::count`] then counts its sockets.
///
/// # Errors
/// If the namespace is not `/`, or the member counts the sockets of another server.
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
    let roster = Arc::new(CountedSockets::new(tally, metrics, member.is_over()));
    let emitter =
        Emitter::new(io.clone(), Arc::clone(&roster), member.view(), member.emit_interval());
    member.run("emitter", emitter.run(member.stop()));
    Ok(Counter { roster, user_of: None })
}

/// Why sockets cannot be counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CountError {
    /// The namespace is not `/`. A cluster has one count, that of the default namespace.
    #[error("only the namespace / can be counted, not {path:?}")]
    NotTheSite {
        /// The namespace.
        path: String,
    },
    /// The namespace has a connect handler already, and defining it again would replace that.
    #[error("the namespace is defined already: use a counter in its connect handler")]
    NamespaceDefined,
    /// The member counts sockets already. Another server in the same process needs another member.
    #[error("this member counts already")]
    CountsAlready,
}

/// Counts sockets of one namespace; made by [`counter`]. All clones are the same counter. It stops when the member leaves.
pub struct Counter<A: Adapter = LocalAdapter> {
    roster: Arc<CountedSockets<A>>,
    /// Says which user a socket belongs to; `None` if sockets are counted and not users.
    user_of: Option<Arc<UserOf<A>>>,
}

/// Says which user of the application a socket belongs to.
type UserOf<A> = dyn Fn(&SocketRef<A>) -> Option<String> + Send + Sync;

impl<A: Adapter> Counter<A> {
    /// Counts users instead of sockets: all sockets of the same user are counted once, on whatever members and instances of the
    /// cluster they are. A user whose last socket leaves is counted for two seconds more, so that nobody sees the number move while
    /// he loads a page.
    ///
    /// `user_of` says for each new socket which user it belongs to, by a name of 1 to 126 bytes without control characters. It is
    /// the application that must know this, for example by a session cookie. The names are those that the claim `sub` of tokens
    /// has on instances where users sign in. A socket without a name, or with another one, is counted by itself.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use socketioxide::SocketIo;
    /// # let member = headcount::Member::join(headcount::MemberSettings::default()).await?;
    /// # let (_layer, io) = SocketIo::new_layer();
    /// # fn name_of_session(_: &str) -> Option<String> { None }
    /// let counter = headcount::socketioxide::counter(&io, "/", &member)?.of_users(|socket| {
    ///     let cookies = socket.req_parts().headers.get("cookie")?;
    ///     name_of_session(cookies.to_str().ok()?)
    /// });
    /// io.ns("/", counter.handler(async || {}));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn of_users(
        self,
        user_of: impl Fn(&SocketRef<A>) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self { user_of: Some(Arc::new(user_of)), ..self }
    }

    /// Returns a connect handler that counts every socket and then calls `handler`, with its middlewares if it has any. A
    /// socket that a middleware refuses is not counted.
    ///
    /// It sets a disconnect handler, which counts the socket out at the moment it leaves. socketioxide keeps one disconnect
    /// handler for each socket. If `handler` sets another one, counting works as with [`Counter::count`].
    pub fn handler<H, T>(&self, handler: H) -> CountingHandler<A, H>
    where
        H: ConnectHandler<A, T>,
        T: Send + Sync + 'static,
    {
        CountingHandler { counter: self.clone(), handler }
    }

    /// Counts a socket until it leaves. A socket that is counted already is not counted again.
    ///
    /// The disconnect handler is left to the application. Its handler should call [`Counter::leave`], which counts the socket
    /// out at once. Without that call, a task finds out that the socket has left, within 50 ms, or within a second if there are
    /// many thousands of sockets.
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
        self.roster.enter(socket, self.person(socket));
    }

    fn person(&self, socket: &SocketRef<A>) -> Option<Person> {
        let name = self.user_of.as_ref()?(socket)?;
        Person::named(&name)
    }

    /// Counts a socket out, which is told nothing more. It does nothing if the socket is not counted.
    pub fn leave(&self, socket: &SocketRef<A>) {
        self.roster.leave(socket, LeaveReason::LeftByApplication);
    }
}

impl<A: Adapter> Clone for Counter<A> {
    fn clone(&self) -> Self {
        Self { roster: Arc::clone(&self.roster), user_of: self.user_of.clone() }
    }
}

impl<A: Adapter> fmt::Debug for Counter<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Counter").finish_non_exhaustive()
    }
}

/// A connect handler that counts the socket and then calls the application's handler; made by [`Counter::handler`].
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
        let counted = SocketRef::from(Arc::clone(&socket));
        self.counter.roster.enter_with_handler(&counted, self.counter.person(&counted));
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
