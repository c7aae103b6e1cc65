//! The machines: what the CA wants on each, how it gets there, and what is proven of it.

pub mod agent;
pub mod deliver;
pub mod keeper;
pub mod wanted;
