//! Headcount
pub mod admin;
pub mod announcements;
pub mod broadcaster;
pub mod config;
pub mod connection;
pub mod count;
pub mod gate;
pub mod listener;
pub mod metrics;
pub mod pace;
pub mod reporter;
pub mod sockets;
pub mod store;
pub mod tally;
pub mod view;
pub mod web;
