//! Real machines for tests: sshd, sudo, cron, accounts and disks in namespaces of this host, and people who ssh into them.
//!
//! A [`Fleet`] is one network of its own (10.77.0.0/16, no way out of it). [`Machine`]s hang on it; a [`Home`] is a person's
//! workstation on it, with `~/.ssh` and an ssh-agent. Everything ends with the test process, however that ends.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! let fleet = e2e::Fleet::new()?;
//! let admin = fleet.home("admin")?;
//! let web = fleet.machine("web-1").admin_key(&admin.public_key()?).start()?;
//! let output = admin.command("ssh").args(["-o", "StrictHostKeyChecking=accept-new"])
//!     .arg(format!("ssh-admin@{}", web.addr())).arg("sudo id -un").output()?;
//! assert_eq!(output.stdout, b"root\n");
//! # Ok(()) }
//! ```

mod company;
mod fleet;
mod home;
mod machine;
mod security_key;
mod terminal;
mod wait;

pub use company::{Company, Person, program, said, success};
pub use fleet::{CA_ADDRESS, Fleet};
pub use home::{Agent, Home, Identity};
pub use machine::spec::{MachineSpec, Sudo};
pub use machine::{Machine, Success};
pub use security_key::{Middleware, Owner, PIN, SecurityKey, SecurityKeyAgent};
pub use terminal::Terminal;
pub use wait::poll;
