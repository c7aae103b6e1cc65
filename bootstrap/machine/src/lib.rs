//! What the certificate authority wants on a machine, and how it gets there: bundle format, applier, preflight, ssh transport.
//!
//! Two lanes reach a machine, and one applier (a POSIX sh script, root-owned) verifies what arrives and makes it so:
//! the **configuration lane** carries [`Bundle`]s, with a snapshot, a timer on the machine and a confirmation over a fresh
//! login; the **KRL lane** carries [`KrlParcel`]s and depends on nothing in the other.
//!
//! # How a caller does it
//!
//! **First apply** (`bootstrap add-machine`), over the admin's own login:
//! 1. [`Connection::open`] with [`HostKey::AskOnFirstContact`]: it answers [`OpenError::UnknownHostKey`] with the key; ask
//!    the person (or compare), then open again with [`HostKey::Pinned`].
//! 2. [`Connection::privilege`] finds out how this login becomes root; [`Connection::preflight`] lists the [`Obstacle`]s: any
//!    means stop, with nothing changed.
//! 3. Have the CA [`render`] and sign a bundle, and the KRL parcel; [`Connection::first_contact`] with a [`Request::Apply`] whose
//!    [`Delivery::first`](request::Delivery) names the fleet keys.
//! 4. Open a **new** [`Connection`] as `ssh-ca-sync` (or the admin) and send [`Request::Confirm`] with the apply's [`Nonce`] within the
//!    time given; without it the machine puts everything back. An apply that changed nothing awaits nothing ([`Report::awaiting`]).
//! 5. Prove it: [`Connection::open`] with [`Login::Certificate`] as `ssh-ca-probe`, then [`Request::Prove`] over loopback with keys that must
//!    be refused.
//!
//! **Sync** (`ca-server`): [`exchange`] one [`Request::Apply`] with both lanes as `ssh-ca-sync`; when
//! [`Report::awaiting`] names a nonce, [`exchange`] a [`Request::Confirm`] (each exchange is a connection of its own).
//!
//! **Revoke** (`ca-server`): sign the [`KrlParcel`] once and [`exchange`] a [`Request::Apply`] with the KRL alone with every machine; the answer's
//! [`State`](report::State) reads back version, hash and canaries, and its [`Session`](report::Session)s say which connections were ended.

pub mod applier;
pub mod bundle;
pub mod checkup;
pub mod facts;
pub mod krl_parcel;
pub mod order;
pub mod preflight;
pub mod pull;
pub mod report;
pub mod request;
pub mod sign;
pub mod spec;
pub mod succession;
pub mod transport;

pub use bundle::{Bundle, Place};
pub use krl_parcel::KrlParcel;
pub use order::{Order, SignedOrder};
pub use preflight::{Obstacle, Preflight, PreflightRequest};
pub use report::Report;
pub use request::{Delivery, FirstContact, Nonce, Request, Trust};
pub use sign::{Namespace, Signed};
pub use spec::{AccountSpec, MachineSpec, Mode, SudoRule, render};
pub use succession::Succession;
pub use transport::{
    Connection, HostKey, Limits, Login, OpenError, Privilege, RunError, Secret, Target, exchange,
    knock,
};
