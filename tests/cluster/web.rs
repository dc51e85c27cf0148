//! What people and site owners use: the page, the embeddable client, the HTTP API, and third-party
//! clients.
//!
//! The pages run in a real Chromium, on a real cluster.

mod below_a_path;
mod code;
mod console;
mod console_access;
mod console_rooms;
mod embed;
mod embed_rooms;
mod faces;
mod foreign_page;
mod languages;
mod lesson;
mod page;
mod peaks;
mod room_pages;
mod socketio;
mod tabs;

mod badge;
mod bearer;
mod count;
mod rooms;
mod stream;

mod clients;
mod docs;

mod browser;
mod proxy;
mod site;
