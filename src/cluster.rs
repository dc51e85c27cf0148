//! An instance's part in the cluster: it reports the local count, receives the count of all, and keeps the view.

pub mod counts;
pub mod lists;
pub mod member;
pub mod observer;
pub mod peaks;
pub mod reporter;
pub mod subscriber;
pub mod tasks;
pub mod view_metrics;
