//! The command line from outside: what it prints (snapshots), how it speaks to a server, and how the program ends.

mod binary;
mod client;
mod policy;
mod policy_samples;
mod remote;
mod render;
mod samples;
mod server;
mod snapshot;
mod tty;
mod words;
