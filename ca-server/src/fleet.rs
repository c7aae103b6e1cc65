//! The machines: what the CA wants on each, how it gets there, and what is proven of it.

pub mod agent;
pub mod courier;
pub mod deliver;
pub mod keeper;
pub mod kept;
pub mod leaving;
pub mod orders;
pub mod pull;
pub mod pulse;
pub mod schedule;
pub mod ssh;
pub mod standing;
pub mod succession;
pub mod wanted;
