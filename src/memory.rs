//! The memory of the process: how much it may use, and giving back what a rush left behind.

pub mod heap_trim;
pub mod limit;
