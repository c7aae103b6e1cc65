//! Who may reach what, and the shape of the certificate that says so: pure functions over plain values.
//!
//! Nothing here knows a clock, a file, a socket or a source of randomness: all of these are arguments.

pub mod model;
pub mod names;

pub use model::*;
pub use names::*;
