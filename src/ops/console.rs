//! The operators' console: a page of the admin listener that shows the cluster as it is. It reads, and changes nothing.
//!
//! ```text
//!  store ──roster, once a second──▶ lookout ──▶ screen ──▶ socketioxide ──▶ open pages
//!  view, metrics of this instance ─────┘          └──▶ `/` as HTML, `/console.json`
//!  store ──largest rooms, every 5 seconds at most──▶ `/` as HTML, `/rooms.json`
//! ```
//!
//! Operators are few and their needs general, so the library serves them. They are not counted as users.

pub mod board;
mod checks;
mod counted;
mod counters;
mod finding;
mod history;
mod instances;
mod look;
pub mod lookout;
mod pace;
mod rooms;
mod screen;
mod words;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{Query, Request, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use socketioxide::{SocketIo, TransportType, extract::SocketRef};
use tokio::sync::OwnedSemaphorePermit;

use crate::{access::origin::Origins, telemetry::escaped::escaped_json};
use board::Board;
use rooms::Search;

/// What a request looks for.
pub(super) type Wish = Result<Query<Search>, QueryRejection>;

/// Screens that wait for an operator who does not read. Whatever is more is skipped.
const BUFFER_PACKETS: usize = 4;
/// Operators send nothing but pongs.
const PAYLOAD_BYTES_MAX: u64 = 1024;
/// A socket that does not join within this time is closed.
const JOIN_WITHIN: Duration = Duration::from_secs(5);

/// The routes of the data. The caller decides which clients may reach them.
pub(super) fn router<S: Clone + Send + Sync + 'static>(board: &Arc<Board>) -> Router<S> {
    let (service, io) = SocketIo::builder()
        .transports([TransportType::Websocket])
        .max_buffer_size(BUFFER_PACKETS)
        .max_payload(PAYLOAD_BYTES_MAX)
        .ws_max_frame_size(1024)
        .ws_max_message_size(1024)
        .connect_timeout(JOIN_WITHIN)
        .build_svc();
    // The board holds `io`, so a strong reference here would keep both for good.
    let looking = Arc::downgrade(board);
    io.ns("/", async move |_: SocketRef| {
        if let Some(board) = looking.upgrade() {
            board.wanted.notify_one();
        }
    });
    board.tell_through(io);
    let sockets = Router::new()
        .route_service("/socket.io/", service)
        .route_layer(from_fn_with_state(Arc::clone(board), admit));
    Router::new()
        .route("/console.json", get(json))
        .route("/rooms.json", get(largest_rooms))
        .with_state(Arc::clone(board))
        .merge(sockets)
}

/// The page, rendered by the server.
pub(super) async fn page(board: &Board, wish: Wish) -> Response {
    match board.page(&search(wish)).await {
        Some(html) => ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing has been seen yet\n").into_response(),
    }
}

async fn json(State(board): State<Arc<Board>>) -> Response {
    match board.current().await {
        Some(shown) => {
            ([(header::CONTENT_TYPE, "application/json")], shown.json.clone()).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "nothing has been seen yet\n").into_response(),
    }
}

/// The largest rooms, of all or of a search. The page's script asks for them.
async fn largest_rooms(State(board): State<Arc<Board>>, wish: Wish) -> Response {
    let rooms = board.largest_rooms(&search(wish)).await;
    let json = serde_json::to_string(&rooms).expect("rooms have texts for keys");
    // Strangers make names of rooms, and operators read this in terminals.
    ([(header::CONTENT_TYPE, "application/json")], escaped_json(&json)).into_response()
}

/// What is looked for; everything if that cannot be read.
fn search(wish: Wish) -> Search {
    wish.map(|Query(search)| search).unwrap_or_default()
}

/// Lets pages of this address open a socket, up to a number. The permit is dropped with the socket.
async fn admit(
    State(board): State<Arc<Board>>,
    headers: HeaderMap,
    mut request: Request,
    next: Next,
) -> Response {
    if !Origins::Same.allow_page_of(&headers) {
        return (StatusCode::FORBIDDEN, "pages of other sites may not read this\n").into_response();
    }
    let Some(permit) = board.place() else {
        return (StatusCode::SERVICE_UNAVAILABLE, "too many operators look\n").into_response();
    };
    request.extensions_mut().insert(Seat { _permit: Arc::new(permit) });
    next.run(request).await
}

/// A place among those who look. The library keeps it with the socket's request.
#[derive(Clone, Debug)]
struct Seat {
    _permit: Arc<OwnedSemaphorePermit>,
}
