//! What operators are told: metrics, and a log that neither ends nor delays anything.

pub mod build_info;
pub mod escaped;
pub mod labels;
pub mod log;
pub mod log_limit;
pub mod metrics;
