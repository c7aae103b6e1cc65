//! The employee's command line.

fn main() {}
