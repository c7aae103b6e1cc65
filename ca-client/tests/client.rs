//! `ca-client` as people and ssh run it: the real binary, real ssh, real ssh-agent, against a small TLS server that
//! speaks the contract and really signs. (The real server takes part in the workspace's end-to-end tests.)
#![allow(
    clippy::unwrap_used,
    reason = "what the tests share stands outside of them"
)]

#[path = "client/admin.rs"]
mod admin;
#[path = "client/agents.rs"]
mod agents;
#[path = "client/ca.rs"]
mod ca;
#[path = "client/certificates.rs"]
mod certificates;
#[path = "client/home.rs"]
mod home;
#[path = "client/hostile.rs"]
mod hostile;
#[path = "client/include.rs"]
mod include;
#[path = "client/pinning.rs"]
mod pinning;
#[path = "client/renewal.rs"]
mod renewal;
#[path = "client/security_key.rs"]
mod security_key;
#[path = "client/ssh.rs"]
mod ssh;
#[path = "client/tls.rs"]
mod tls;
