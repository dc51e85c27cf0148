//! The lesson's complete application on axum and socketioxide: a login form, a session cookie, and a page whose console shows
//! how many people are online. It joins a cluster, together with `headcount serve` and other applications like this one.
//!
//! In the lesson one Node process counts for itself:
//!
//! ```text
//! let currentUsers = 0;
//! io.on("connection", (socket) => {
//!   ++currentUsers;
//!   io.emit("user count", currentUsers);
//! ```
//!
//! Here [`headcount::socketioxide`] does the work of the last two lines, and `currentUsers` is the count of the whole cluster.
//! Try it:
//!
//! ```sh
//! redis-server --port 6400 --save '' &
//! export HEADCOUNT_REDIS_URL=redis://127.0.0.1:6400
//! HEADCOUNT_LISTEN=127.0.0.1:3001 cargo run --example lesson &
//! HEADCOUNT_LISTEN=127.0.0.1:3002 cargo run --example lesson &
//! ```
//!
//! Log in at both addresses, with different names, and both consoles say 2. Open more tabs, or log in with the same name at both
//! addresses: a user is counted once, however many tabs he has and wherever they are. One browser is enough for all of that. As in
//! the lesson, the login guards the page,
//! not the socket: a socket without a session is counted by itself.

use std::{
    collections::HashMap,
    env,
    io::{self, Write},
    sync::{Arc, Mutex},
};

use anyhow::Context;
use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{Html, IntoResponse, Redirect, Response},
    routing::{get, post},
};
use headcount::{
    Member, MemberSettings,
    socketioxide::{client_script, counter},
};
use socketioxide::{
    SocketIo,
    extract::{Data, SocketRef},
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tracing_subscriber::EnvFilter;
use url::form_urlencoded;
use uuid::Uuid;

/// The most sessions at a time. They are in memory and end with the process.
const SESSIONS_MAX: usize = 100_000;
/// The longest name, in bytes.
const NAME_BYTES_MAX: usize = 64;
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    set_up_logs()?;
    let member = Member::join(MemberSettings::from_env()?).await.context("failed to join")?;
    let (layer, io) = SocketIo::new_layer();
    let listener = listen().await?;
    let sessions = Sessions::at_port(listener.local_addr()?.port());
    let of_sockets = sessions.clone();
    let counter = counter(&io, "/", &member)?
        .of_users(move |socket| of_sockets.name(&socket.req_parts().headers));
    io.ns("/", counter.handler(on_connect));

    let socket_io_script = async || ([(header::CONTENT_TYPE, JAVASCRIPT)], client_script());
    let app = Router::new()
        .route("/socket.io/socket.io.js", get(socket_io_script))
        .fallback_service(pages(sessions).layer(layer));

    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    writeln!(io::stdout(), "listening public={}", listener.local_addr()?)?;
    tokio::select! {
        served = axum::serve(listener, app) => served.context("failed to serve")?,
        failure = member.failure() => return Err(failure.into()),
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    // First the clients are sent elsewhere. Until they are there, users stay in the count: `leave` sees to that.
    io.close().await;
    member.leave().await;
    Ok(())
}

/// The application's own connect handler: sends each user's messages to all other users.
async fn on_connect(socket: SocketRef) {
    socket.on("chat message", async |socket: SocketRef, Data::<String>(text)| {
        if let Err(error) = socket.broadcast().emit("chat message", &text).await {
            tracing::debug!(%error, "failed to pass a message on");
        }
    });
}

/// The users that are logged in.
#[derive(Clone, Debug)]
struct Sessions {
    /// Their names, by the value of the session cookie.
    names: Arc<Mutex<HashMap<String, String>>>,
    /// The name of the session cookie. A browser sends the cookies of a host to all its ports, so each port needs a name of its own.
    cookie: Arc<str>,
}

fn pages(sessions: Sessions) -> Router {
    Router::new()
        .route("/", get(async || Html(include_str!("lesson/login.html"))))
        .route("/login", post(log_in))
        .route("/logout", get(log_out))
        .route("/chat", get(chat))
        .route("/public/client.js", get(async || script(include_str!("lesson/client.js"))))
        // The lesson's checks read the server's source.
        .route("/_api/server.js", get(async || include_str!("lesson.rs")))
        .with_state(sessions)
}

fn script(text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, JAVASCRIPT)], text)
}

async fn log_in(State(sessions): State<Sessions>, form: String) -> Response {
    let mut fields = form_urlencoded::parse(form.as_bytes());
    let name = fields.find(|(field, _)| field == "username").map(|(_, name)| name.into_owned());
    let Some(name) = name.filter(|name| (1..=NAME_BYTES_MAX).contains(&name.len())) else {
        return (StatusCode::BAD_REQUEST, "a name has 1 to 64 bytes\n").into_response();
    };
    let Some(token) = sessions.begin(name) else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many are logged in\n").into_response();
    };
    let cookie = format!("{}={token}; Path=/; HttpOnly; SameSite=Lax", sessions.cookie);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/chat")).into_response()
}

async fn log_out(State(sessions): State<Sessions>, headers: HeaderMap) -> impl IntoResponse {
    sessions.end(&headers);
    let cookie = format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0", sessions.cookie);
    ([(header::SET_COOKIE, cookie)], Redirect::to("/"))
}

async fn chat(State(sessions): State<Sessions>, headers: HeaderMap) -> Response {
    let Some(name) = sessions.name(&headers) else {
        return Redirect::to("/").into_response();
    };
    Html(include_str!("lesson/chat.html").replace("{name}", &escaped(&name))).into_response()
}

impl Sessions {
    fn at_port(port: u16) -> Self {
        Self { names: Arc::default(), cookie: format!("session-{port}").into() }
    }

    /// Begins a session and returns its token, or `None` if there are too many sessions.
    fn begin(&self, name: String) -> Option<String> {
        let mut names = self.names.lock().ok()?;
        if names.len() >= SESSIONS_MAX {
            return None;
        }
        let token = Uuid::new_v4().to_string();
        names.insert(token.clone(), name);
        Some(token)
    }

    fn name(&self, headers: &HeaderMap) -> Option<String> {
        self.names.lock().ok()?.get(self.token(headers)?).cloned()
    }

    fn end(&self, headers: &HeaderMap) -> Option<String> {
        self.names.lock().ok()?.remove(self.token(headers)?)
    }

    /// The session cookie's value.
    fn token<'a>(&self, headers: &'a HeaderMap) -> Option<&'a str> {
        let cookies = headers.get(header::COOKIE)?.to_str().ok()?;
        let mut pairs = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
        pairs.find_map(|(name, value)| (*name == *self.cookie).then_some(value))
    }
}

/// The text with characters of HTML markup escaped.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// Listens at the address of `HEADCOUNT_LISTEN`.
async fn listen() -> anyhow::Result<TcpListener> {
    let address = env::var_os("HEADCOUNT_LISTEN").unwrap_or_else(|| "127.0.0.1:3000".into());
    let address = address.into_string().ok().context("HEADCOUNT_LISTEN is not Unicode")?;
    let listener = TcpListener::bind(&address).await;
    listener.with_context(|| format!("failed to listen on {address}"))
}

fn set_up_logs() -> anyhow::Result<()> {
    let filter = env::var_os("HEADCOUNT_LOG").and_then(|filter| filter.into_string().ok());
    let filter = EnvFilter::try_new(filter.as_deref().unwrap_or("info"))?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    logs.try_init().map_err(|error| anyhow::anyhow!("failed to set up logs: {error}"))
}
