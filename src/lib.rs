//! Headcount
pub mod count;
pub mod store;
