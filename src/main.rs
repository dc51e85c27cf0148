//! headcount
fn main() {}
